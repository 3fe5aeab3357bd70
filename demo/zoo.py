"""The models that come with the package."""

from __future__ import annotations

from pathlib import Path

from emoprobe.errors import UserError

MODELS = ("hubert-nano", "distilhubert-nano")


def model_folder(name: str) -> Path:
    """Folder of a packaged checkpoint, which transformers' ``from_pretrained`` loads.

    Raises
    ------
    UserError
        If there is no such model.
    """
    folder = Path(__file__).parent / "models" / name
    if name not in MODELS or not (folder / "model.safetensors").is_file():
        raise UserError(f"no packaged model {name!r}: the package has {', '.join(MODELS)}")
    return folder


def hubert_nano() -> Path:
    """Folder of ``hubert-nano``, the small HuBERT of the offline default."""
    return model_folder("hubert-nano")


def distilhubert_nano() -> Path:
    """Folder of ``distilhubert-nano``, its distilled student."""
    return model_folder("distilhubert-nano")
