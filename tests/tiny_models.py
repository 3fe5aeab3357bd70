"""Small models of every accepted family, random but complete, in the form that transformers saves."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}

#: Every accepted architecture, with both norms of the front end, post- and pre-norm blocks, and the odd parts.
VARIANTS: dict[str, tuple[str, dict]] = {
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
}


def make_model(variant: str, *, seed: int = 0, **changes) -> transformers.PreTrainedModel:
    """A random model of the variant in evaluation mode, its norms and biases away from their neutral start."""
    family, kwargs = VARIANTS[variant]
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **kwargs, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}Model")(config).eval()
        for module in model.modules():
            norm = isinstance(module, torch.nn.GroupNorm | torch.nn.LayerNorm | torch.nn.BatchNorm1d)
            if norm and module.weight is not None:
                torch.nn.init.normal_(module.weight, 1.0, 0.2)
                torch.nn.init.normal_(module.bias, 0.0, 0.2)
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model


def save_model(folder: Path, variant: str = "hubert-base", *, normalise: bool = True, seed: int = 0, **changes) -> Path:
    """The same as a checkpoint folder."""
    make_model(variant, seed=seed, **changes).save_pretrained(folder, safe_serialization=True)
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": normalise}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


#: The whole vocabulary of the tiny text encoders.
WORDS = ("a", "bad", "good", "went", "no", "oh", "one", "out", "so", "that", "the", "was", "weather", "morning", "!")
TEXT_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}


def save_text_model(folder: Path, family: str = "distilbert", *, seed: int = 0, **changes) -> Path:
    """A random text encoder of the family (`bert`, `distilbert`, `roberta`, …) with a tokeniser of a few words."""
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
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    transformers.BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    return folder
