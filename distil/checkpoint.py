"""A trained model as a checkpoint that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.jsontext import to_json
from emoprobe.ownership import mark, marked, refuse_stranger, refuse_strangers, remove

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD = "README.md"
EXPORTED = ("config.json", "model.safetensors", "preprocessor_config.json")
# In the folder itself: a checkpoint is whole before any of it takes its place, so that a full disk leaves the old one.
_BESIDE = ".new"


def check_export(folder: Path, *, option: str, made_by: str, names: Sequence[str] = EXPORTED) -> None:
    """Refuse a folder in which a checkpoint would take the place of another command's, or of somebody else's.

    Parameters
    ----------
    folder : Path
    option : str
        The option that names it.
    made_by : str
        Command that writes the checkpoint.
    names : sequence of str
        Files that it writes.

    Raises
    ------
    UserError
    """
    own = marked(folder, made_by)
    for name in names:
        refuse_stranger(folder / name, lambda path: path.name in own, "checkpoint", option=option)
    begun = [name.removeprefix(f"{_BESIDE}/") for name in own if name.startswith(f"{_BESIDE}/")]
    refuse_strangers(folder / _BESIDE, begun, "a checkpoint that is being written", option=option)


def export(
    model: PreTrainedModel,
    folder: Path,
    *,
    normalise: bool = True,
    half: bool = True,
    made_by: str,
    card: str | None = None,
) -> Path:
    """Write a model without head in transformers' own format: weights, configuration, preprocessor.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    folder : Path
    normalise : bool
        Whether the model wants each waveform at zero mean and unit variance.
    half : bool
        Store the weights in float16.
    made_by : str
        Command that the folder is marked with.
    card : str, optional
        Text of a ``README.md`` beside the weights.

    Raises
    ------
    UserError
        If the folder holds a checkpoint that is not ours.
    """
    import copy

    from transformers import Wav2Vec2FeatureExtractor

    folder = Path(folder)
    names = (*EXPORTED, *((CARD,) if card is not None else ()))
    check_export(folder, option="--out", made_by=made_by, names=names)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / _BESIDE
    mark(folder, made_by, files=[*names, *(f"{_BESIDE}/{name}" for name in names)])
    stored = copy.deepcopy(model)
    stored = stored.half() if half else stored.float()
    try:
        stored.save_pretrained(beside)
        # Stored in half the space, computed in full precision: releases that follow the type would compute in half.
        path = beside / "config.json"
        config = json.loads(path.read_text())
        config.pop("torch_dtype", None)
        config["dtype"] = "float32"
        path.write_text(to_json(config, indent=2, sort_keys=True) + "\n")
        Wav2Vec2FeatureExtractor(
            feature_size=1,
            sampling_rate=SAMPLE_RATE,
            padding_value=0.0,
            do_normalize=normalise,
            return_attention_mask=True,
        ).save_pretrained(beside)
        if card is not None:
            (beside / CARD).write_text(card, encoding="utf-8")
        for name in names:
            (beside / name).replace(folder / name)
        beside.rmdir()
    finally:
        remove(beside, names)
    mark(folder, made_by, files=names)
    return folder
