"""What both forms of a model, torch and ONNX, ask of the arguments of `predict`; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np


class Predictor(Protocol):
    """A model by what it takes."""

    label: str
    uses_audio: bool
    receptive_field: int
    longest: int | None


def checked_texts(
    model: Predictor, waveforms: Sequence[np.ndarray] | None, texts: Sequence[str | None] | None
) -> list[str]:
    """One text for each utterance, "" where none is known.

    Raises
    ------
    UserError
        If an argument is missing, their lengths differ, or a waveform is shorter than a frame or longer than the
        model's window.
    """
    if model.uses_audio and waveforms is None:
        raise UserError(f"{model.label} hears speech: give waveforms")
    if not model.uses_audio and texts is None:
        raise UserError(f"{model.label} reads text alone: give texts")
    count = len(waveforms) if model.uses_audio else len(texts)
    said = [""] * count if texts is None else [text or "" for text in texts]
    if len(said) != count:
        raise UserError(f"{count} waveforms and {len(said)} texts: give one text for each, or none at all")
    for samples in [len(waveform) for waveform in waveforms] if model.uses_audio else []:
        if samples < model.receptive_field:
            raise UserError(
                f"a waveform of {samples} samples is shorter than the {model.receptive_field} that one frame of "
                f"{model.label} needs; leave it out"
            )
        if model.longest is not None and samples > model.longest:
            raise UserError(
                f"a waveform of {samples} samples is longer than the {model.longest} that {model.label} takes; leave "
                "it out, or cut it"
            )
    return said
