"""Short names for the common checkpoints, and their architectures for random initialisation without a network."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Architecture:
    """A published model: where its checkpoint is, and how it differs from its family's default configuration.

    Attributes
    ----------
    hub_name : str
        Name of the checkpoint on the Hugging Face hub.
    model_type : str
        Family, as in `config.json`.
    normalise : bool
        Whether each waveform is brought to zero mean and unit variance; for random initialisation only, since a
        checkpoint says it itself.
    config : dict
        Arguments of the family's configuration that differ from its defaults.
    """

    hub_name: str
    model_type: str
    normalise: bool
    config: dict = field(default_factory=dict)


_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}

ARCHITECTURES: dict[str, Architecture] = {
    "hubert-base": Architecture("facebook/hubert-base-ls960", "hubert", True),
    "hubert-large": Architecture("facebook/hubert-large-ll60k", "hubert", True, {**_LARGE, "conv_bias": True}),
    "hubert-xlarge": Architecture(
        "facebook/hubert-xlarge-ll60k",
        "hubert",
        True,
        {**_LARGE, "conv_bias": True, "hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120},
    ),
    "distilhubert": Architecture(
        "ntu-spml/distilhubert", "hubert", False, {"num_hidden_layers": 2, "feat_proj_layer_norm": False}
    ),
    "wav2vec2-base": Architecture("facebook/wav2vec2-base", "wav2vec2", True),
    "wav2vec2-large": Architecture("facebook/wav2vec2-large-lv60", "wav2vec2", True, {**_LARGE, "conv_bias": True}),
    "wavlm-base": Architecture("microsoft/wavlm-base", "wavlm", False),
    "wavlm-base-plus": Architecture("microsoft/wavlm-base-plus", "wavlm", False),
    "wavlm-large": Architecture("microsoft/wavlm-large", "wavlm", True, _LARGE),
    "data2vec-audio-base": Architecture("facebook/data2vec-audio-base", "data2vec-audio", True),
    "data2vec-audio-large": Architecture(
        "facebook/data2vec-audio-large",
        "data2vec-audio",
        True,
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
}
