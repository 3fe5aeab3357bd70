"""A trained model as a folder: safetensors, configurations, tokeniser and card; no network and no pickle to load it."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from emoprobe.errors import UserError
from emoprobe.extract.devices import choose_device
from emoprobe.extract.encoders.shortening import cut_down
from emoprobe.extract.encoders.speech import load_backbone
from emoprobe.extract.encoders.text import TextEncoder, load_text_encoder
from emoprobe.extract.versions import versions
from emoprobe.fields import COUNT, NUMBER, TABLE, TEXT, TEXTS, TRUTH, Part, Spec, check_fields, read_json
from emoprobe.jsontext import to_json
from emoprobe.ownership import mark, refuse_strangers, remove

from .emotion_model import EmotionModel
from .exported import INSIDE, own_export_files, own_of_format, saved_in
from .fields import DIMENSION_LIST, INTERVALS, REASONS, SCALE, TRAINED_ON
from .model import AudioTextModel
from .settings import LATER, ModelSettings, stated
from .unlike import Familiar

FORMAT = "emoprobe audio-text model 1"

#: Command that a folder of ours is marked with.
_MADE_BY = "probe-train"

#: In a saved model that has no list of its files.
_FILES_OF_0_1 = ("README.md", "config.json", "model.safetensors", "audio/*", "text/*")


def build(
    settings: ModelSettings, *, weights: tuple[float, ...] = (), seed: int = 0, label: str | None = None
) -> tuple[AudioTextModel, TextEncoder | None]:
    """A model with pretrained encoders and new heads.

    Parameters
    ----------
    settings : ModelSettings
    weights : tuple of float
        Of each dimension's loss.
    seed : int
        Of the new weights. The global random state is left alone.
    label : str, optional
        Of the speech encoder.

    Returns
    -------
    AudioTextModel, and the TextEncoder that it reads with, or None
    """
    backbone = text = None
    if settings.audio is not None:
        backbone = load_backbone(
            settings.audio, revision=settings.audio_revision, random_init=settings.audio_random, label=label
        )
        cut_down(backbone, blocks=settings.keep_layers, window=settings.audio_window)
    if settings.text is not None:
        text = load_text_encoder(settings.text, revision=settings.text_revision, random_init=settings.text_random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AudioTextModel(settings, backbone=backbone, text=None if text is None else text.model, weights=weights)
    return model, text


def save_model(
    folder: Path, model: AudioTextModel, text: TextEncoder | None, config: dict, familiar: Familiar | None = None
) -> Path:
    """Write a model as a folder, whole or not at all.

    Parameters
    ----------
    folder : Path
        Replaced if it is there.
    model : AudioTextModel
    text : TextEncoder or None
    config : dict
        What is to be known of it; `format`, `settings`, `normalise` and `versions` are added.
    familiar : Familiar, optional
        What it learned from.

    Returns
    -------
    Path
        `folder`.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    beside, before = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for path in (folder, beside, before):
        refuse_strangers(path, own_files(path), "a saved model", option="--out")
    for path in (beside, before):
        remove(path, own_files(path))
    beside.mkdir(parents=True, exist_ok=True)
    mark(beside, _MADE_BY, also=["**"])  # until it is whole
    config = {"format": FORMAT, **config, "settings": stated(model.settings), "versions": versions()}
    if model.audio is not None:
        backbone = model.audio.backbone
        config["normalise"] = backbone.normalise
        backbone.config.save_pretrained(beside / "audio")
    if text is not None:
        text.model.config.save_pretrained(beside / "text")
        text.tokenizer.save_pretrained(beside / "text")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, beside / "model.safetensors", metadata={"format": "pt"})
    if familiar is not None:
        familiar.save(beside)
    (beside / "config.json").write_text(to_json(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    mark(beside, _MADE_BY, also=["README.md"])
    return put_in_place(beside, folder)


def put_in_place(new: Path, folder: Path) -> Path:
    """Give a saved model the place of another one, or of none; both are whole until it has it."""
    before = folder.with_name(f".{folder.name}.old")
    for path in (folder, before):
        refuse_strangers(path, own_files(path), "a saved model", option="--out")
    remove(before, own_files(before))
    if folder.exists():
        folder.rename(before)
    new.rename(folder)
    remove(before, own_files(before))
    return folder


def own_files(folder: Path) -> list[str]:
    """What a saved model's folder holds of ours, its ONNX form included; nothing where it is no such folder."""
    own = own_of_format(folder, _MADE_BY, FORMAT, _FILES_OF_0_1)
    inside = folder / INSIDE
    return own + [f"{INSIDE}/{name}" for name in own_export_files(inside)] if own else []


_AGAIN = "bring the folder back from a copy, or train again"
_FIELDS: dict[str, Spec] = {"label": TEXT, "settings": TABLE}
_MORE_FIELDS: dict[str, Spec] = {
    "dimensions": DIMENSION_LIST,
    "dimensions_left_out": REASONS,
    "intervals": INTERVALS,
    "scale": SCALE,
    "normalise": TRUTH,
    "text_helps": TABLE,
    "run": Part(optional={"corpus": TRAINED_ON}),
    "versions": TABLE,
}
_ENCODER = Part({"label": TEXT}, or_none=True)
_RUN = Part(
    {
        "training": TABLE,
        "corpus": Part({"name": TEXT, "sha256": TEXT, "notes": TEXTS}),
        "model": Part({"freeze": TEXTS, "text_dropout": NUMBER, "audio_dropout": NUMBER}),
        "audio": _ENCODER,
        "text": _ENCODER,
    }
)
_FIELDS_OF_A_RUN: dict[str, Spec] = {
    "seed": COUNT,
    "fold": TEXT,
    "development_ccc": NUMBER,
    "scale": SCALE,
    "run": _RUN,
}


def read_config(folder: str | Path, *, of_a_run: bool = False) -> dict:
    """`config.json` of a saved model, its fields checked.

    Parameters
    ----------
    folder : str or Path
    of_a_run : bool
        Whether it must say how the model was trained, too.

    Raises
    ------
    UserError
        If the folder holds no model of this program, or a field is missing or cannot be.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no config.json: give the folder of a model that probe-train wrote")
    config = read_json(path, remedy="bring the folder back from a copy")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{folder} is no model of probe-train ('{FORMAT}'); give the folder that it wrote")
    required = _FIELDS | (_FIELDS_OF_A_RUN if of_a_run else {})
    check_fields(config, path, required, _MORE_FIELDS, remedy=_AGAIN)
    settings = _settings(config, path)
    if settings.audio is not None:
        check_fields(config, path, {"normalise": TRUTH}, remedy=_AGAIN)
    if tuple(config.get("dimensions", settings.dimensions)) != settings.dimensions:
        raise UserError(f"{path}: the field 'dimensions' is not that of 'settings'; {_AGAIN}")
    return config


def _settings(config: dict, path: Path) -> ModelSettings:
    given = config["settings"]
    names = [field.name for field in fields(ModelSettings) if field.name not in LATER or field.name in given]
    check_fields(given, path, {name: (lambda value: True, "") for name in names}, remedy=_AGAIN)
    values: dict[str, Any] = {
        name: tuple(given[name]) if isinstance(given[name], list) else given[name] for name in names
    }
    try:
        return ModelSettings(**values)
    except (ValueError, TypeError) as error:  # a value of another kind, or one that --help would not allow
        raise UserError(f"{path}: the field 'settings' cannot be ({error}); {_AGAIN}") from error


def window_of(folder: Path, config: dict) -> int | None:
    """Samples that a saved model takes at most, None without limit; no weight is read.

    Parameters
    ----------
    folder : Path
    config : dict
        Its `config.json`.
    """
    if config["settings"]["audio"] is None:
        return None
    with torch.device("meta"):
        return load_backbone(str(folder / "audio"), random_init=0, normalise=config["normalise"]).longest


def load_model(folder: str | os.PathLike[str], *, device: str = "cpu") -> EmotionModel:
    """Load a model that ``probe-train`` saved; no network is asked.

    Parameters
    ----------
    folder : path-like
        Of the model, or of its training.
    device : str
        "auto", "cpu", "cuda", "mps".

    Returns
    -------
    EmotionModel

    Raises
    ------
    UserError
        If the folder holds no such model, or it is damaged.
    """
    from safetensors.torch import load_file

    folder = saved_in(folder)
    config = read_config(folder)
    settings = _settings(config, folder / "config.json")
    try:
        _check_widths(settings, folder)
        backbone = text = None
        if settings.audio is not None:
            backbone = load_backbone(
                str(folder / "audio"), random_init=0, normalise=config["normalise"], label=config["label"]
            )
        if settings.text is not None:
            text = load_text_encoder(str(folder / "text"), random_init=0)
        model = AudioTextModel(settings, backbone=backbone, text=None if text is None else text.model)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{folder} is damaged ({reason}); {_AGAIN}") from error
    familiar = None if model.audio is None else Familiar.load(folder, model.audio.width)
    return EmotionModel(model.to(choose_device(device)), text, config, familiar)


def _check_widths(settings: ModelSettings, folder: Path) -> None:
    """Compare the head that the settings name with the stored one, before memory is taken for it."""
    sides = (settings.audio is not None) + (settings.text is not None)
    wanted = [len(settings.dimensions), sides * settings.hidden]
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        stored = weights.get_slice("head.1.weight").get_shape()
    if stored != wanted:
        raise UserError(
            f"{folder / 'config.json'}: the field 'settings' names a head of {wanted[1]} x {wanted[0]}, and "
            f"model.safetensors holds one of {stored[1]} x {stored[0]}; {_AGAIN}"
        )
