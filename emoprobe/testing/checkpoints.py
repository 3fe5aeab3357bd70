"""Small models of every accepted family, random but complete, in the form that transformers saves and the hub has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emoprobe.extract.limits import SAMPLE_RATE

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, SequenceFeatureExtractor

    from emoprobe.extract.encoders.speech import Backbone

#: What the small speech models share; a variant changes some of it.
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
#: As the large models of several families differ from the base ones.
LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_CONFORMER = {**LARGE, "conv_depthwise_kernel_size": 7, "hidden_act": "swish"}
_BERT = {
    **{name: SIZES[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")},
    "feature_projection_input_dim": 40,
    "conv_depthwise_kernel_size": 7,
    "left_max_position_embeddings": 5,
    "right_max_position_embeddings": 2,
}
# With a window of 2 s, so that tests are fast.
_WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 20,
    "max_source_positions": 100,
    "vocab_size": 20,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
}

#: Every accepted architecture that reads the waveform, with both norms of the front end, post- and pre-norm blocks, and
#: the odd parts: the family by the name of its classes in transformers, and what its config changes in :data:`SIZES`.
WAVEFORM_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", LARGE),
    "hubert-group-norm-pre-norm": ("Hubert", {"do_stable_layer_norm": True}),
    "hubert-batch-norm-position": ("Hubert", {"conv_pos_batch_norm": True}),
    "distilhubert": ("Hubert", {"num_hidden_layers": 2, "feat_proj_layer_norm": False}),
    "wav2vec2-base": ("Wav2Vec2", {}),
    "wav2vec2-large": ("Wav2Vec2", LARGE),
    "wavlm-base": ("WavLM", {}),
    "wavlm-large": ("WavLM", {**LARGE, "conv_bias": False}),
    "data2vec-audio": ("Data2VecAudio", {"conv_pos_kernel_size": 19}),
    "unispeech": ("UniSpeech", LARGE),
    "unispeech-sat-base": ("UniSpeechSat", {}),
    "unispeech-sat-large": ("UniSpeechSat", {**LARGE, "conv_bias": False}),
    "wav2vec2-conformer-relative": ("Wav2Vec2Conformer", {**_CONFORMER, "max_source_positions": 40}),
    "wav2vec2-conformer-rotary": ("Wav2Vec2Conformer", {**_CONFORMER, "position_embeddings_type": "rotary"}),
    "sew": ("SEW", {"conv_dim": (8,) * 13}),
    "sew-three": ("SEW", {"conv_dim": (8,) * 13, "squeeze_factor": 3, "num_conv_pos_embeddings": 17}),
}

#: Every accepted architecture. Those named here take features that are computed from the waveform, and have all their
#: sizes here.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **WAVEFORM_VARIANTS,
    "w2v-bert": ("Wav2Vec2Bert", _BERT),
    "w2v-bert-relative": (
        "Wav2Vec2Bert",
        {**_BERT, "position_embeddings_type": "relative", "max_source_positions": 40},
    ),
    "w2v-bert-rotary": ("Wav2Vec2Bert", {**_BERT, "position_embeddings_type": "rotary"}),
    "whisper": ("Whisper", _WHISPER),
}


def make_model(variant: str, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random speech encoder in evaluation mode, its norms away from their neutral start.

    Parameters
    ----------
    variant : str
        A name in :data:`VARIANTS`.
    seed : int
        Of the weights. The global random state is left alone.
    **changes
        Of the config.

    Returns
    -------
    PreTrainedModel
        Of Whisper the encoder alone.
    """
    import torch
    import transformers

    family, kwargs = VARIANTS[variant]
    sizes = SIZES if variant in WAVEFORM_VARIANTS else {}
    config = getattr(transformers, f"{family}Config")(**{**sizes, **kwargs, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = getattr(transformers, f"{family}Model")(config).eval()
        model = whole.encoder if family == "Whisper" else whole
        for module in model.modules():
            norm = isinstance(module, torch.nn.GroupNorm | torch.nn.LayerNorm | torch.nn.BatchNorm1d)
            if norm and module.weight is not None:
                torch.nn.init.normal_(module.weight, 1.0, 0.2)
                torch.nn.init.normal_(module.bias, 0.0, 0.2)
            if isinstance(module, torch.nn.BatchNorm1d):
                module.get_buffer("running_mean").normal_()
                module.get_buffer("running_var").uniform_(0.5, 2.0)
    return model


def make_backbone(variant: str, *, normalise: bool = True, name: str | None = None, **changes: Any) -> Backbone:
    """The model of :func:`make_model` as a :class:`~emoprobe.extract.encoders.speech.Backbone`.

    Parameters
    ----------
    variant : str
    normalise : bool
        Whether waveforms are normalised, where they can be for this architecture.
    name : str, optional
        By default that of the variant.
    **changes
        As of :func:`make_model`.
    """
    from emoprobe.extract.encoders.speech import Backbone

    return Backbone(
        make_model(variant, **changes), name=name or variant, normalise=normalise and variant in WAVEFORM_VARIANTS
    )


def feature_extractor(config: PretrainedConfig, *, normalise: bool = True) -> SequenceFeatureExtractor:
    """Transformers' own feature extractor for a model, by its config.

    Parameters
    ----------
    config : PretrainedConfig
    normalise : bool
        Whether it normalises waveforms, where the model reads them.
    """
    import transformers

    if config.model_type == "whisper":
        seconds = config.max_source_positions * 320 // SAMPLE_RATE
        return transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)
    if config.model_type == "wav2vec2-bert":
        bins = config.feature_projection_input_dim // 2
        return transformers.SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, padding_value=1.0)
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)


def save_speech_model(
    folder: Path, variant: str = "hubert-base", *, normalise: bool = True, seed: int = 0, **changes: Any
) -> Path:
    """Save the model of :func:`make_model` with its feature extractor as a checkpoint; return `folder`.

    Parameters
    ----------
    folder : Path
        What ``--model`` takes then.
    variant : str
        A name in :data:`VARIANTS`. Whisper is saved with a decoder and a head.
    normalise : bool
        Whether its preprocessor normalises waveforms, where the model reads them.
    seed : int
        Of the weights.
    **changes
        Of the config.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.extract.encoders.speech import load_backbone
    >>> with TemporaryDirectory() as folder:
    ...     backbone = load_backbone(str(save_speech_model(Path(folder), "distilhubert")))
    >>> backbone.n_layers, backbone.width
    (3, 16)
    """
    import transformers

    model = make_model(variant, seed=seed, **changes)
    if variant == "whisper":
        whole = transformers.WhisperForConditionalGeneration(cast("transformers.WhisperConfig", model.config))
        whole.model.encoder.load_state_dict(model.state_dict())
        model = whole
    model.save_pretrained(folder, safe_serialization=True)
    feature_extractor(model.config, normalise=normalise).save_pretrained(folder)
    return folder


#: The whole vocabulary of the small text encoders.
WORDS = ("a", "bad", "good", "went", "no", "oh", "one", "out", "so", "that", "the", "was", "weather", "morning", "!")
#: What the small text encoders share.
TEXT_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}


def save_text_model(folder: Path, family: str = "distilbert", *, seed: int = 0, **changes: Any) -> Path:
    """Save a random text encoder with a tokeniser of a few words as a checkpoint; return `folder`.

    Parameters
    ----------
    folder : Path
        What ``--text`` takes then.
    family : str
        `model_type` of the config: "bert", "distilbert", "roberta" and others.
    seed : int
        Of the weights.
    **changes
        Of the config.
    """
    import torch
    import transformers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: i for i, token in enumerate([*special, *WORDS])}
    sizes = {**TEXT_SIZES, "vocab_size": len(vocabulary), **changes}
    if family == "roberta":  # positions start behind the padding token's number
        sizes["pad_token_id"] = 1
        vocabulary["[PAD]"], vocabulary["[UNK]"] = 1, 0
    if family == "convbert":
        sizes["embedding_size"] = sizes["hidden_size"]
    config = transformers.AutoConfig.for_model(family, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(config).eval()
        for parameter in model.parameters():  # the usual start is so small that one layer looks like the next
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder
