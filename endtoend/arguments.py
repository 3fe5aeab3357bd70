"""What both forms of a model, torch and ONNX, ask of the arguments of `predict`; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from emoprobe.errors import UserError

if TYPE_CHECKING:
    import numpy as np


class Predictor(Protocol):
    """A model by what it takes."""

    @property
    def label(self) -> str:
        """Short name of its encoders."""

    @property
    def uses_audio(self) -> bool:
        """Whether it hears."""

    @property
    def receptive_field(self) -> int:
        """Samples at 16 kHz that an utterance needs."""

    @property
    def longest(self) -> int | None:
        """Samples at 16 kHz that an utterance has at most; None without limit."""


def checked_arguments(
    model: Predictor, waveforms: Sequence[np.ndarray] | None, texts: Sequence[str | None] | None
) -> tuple[Sequence[np.ndarray], list[str]]:
    """What a model is to predict, in the form that it works with.

    Returns
    -------
    waveforms : sequence of ndarray
        As given; none for a model of text alone.
    texts : list of str
        One for each utterance, "" where none is known.

    Raises
    ------
    UserError
        If an argument is missing, their lengths differ, or a waveform is shorter than a frame or longer than the
        model's window.
    """
    if not model.uses_audio:
        if texts is None:
            raise UserError(f"{model.label} reads text alone: give texts")
        return [], [text or "" for text in texts]
    if waveforms is None:
        raise UserError(f"{model.label} hears speech: give waveforms")
    said = [""] * len(waveforms) if texts is None else [text or "" for text in texts]
    if len(said) != len(waveforms):
        raise UserError(f"{len(waveforms)} waveforms and {len(said)} texts: give one text for each, or none at all")
    for samples in map(len, waveforms):
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
    return waveforms, said
