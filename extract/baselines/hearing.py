"""What every baseline that is computed from audio shares: each utterance is heard as when the cache was made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..audio import AudioHeader, AudioProblem, Kept, read_audio, refuse_vanished
from ..corpora.places import places
from ..scan import read_headers
from .base import Resources

if TYPE_CHECKING:
    from ..cache import HiddenStateCache


def of_waveforms(
    cache: HiddenStateCache, resources: Resources, width: int, measured: Callable[[np.ndarray], np.ndarray | str]
) -> Callable[[np.ndarray], tuple[np.ndarray, list[str]]]:
    """Features of utterances from their audio, for :class:`.base.Features`.

    Parameters
    ----------
    cache : HiddenStateCache
    resources : Resources
    width : int
        Features of an utterance.
    measured : callable
        From a waveform, shape (samples,) at 16 kHz, to its features, shape (width,), or to the reason why it has none.
        It is called from several threads, and its warnings (UserWarning) are not shown.

    Returns
    -------
    callable
        From rows of the cache to their features, shape (rows, width) float32, NaN where there are none, and for each
        the reason.

    Raises
    ------
    UserError
        By what is returned, if a folder of audio is no longer there at all.
    """
    paths = [resources.root / path for path in cache.utterances["path"]]
    parts = places(cache.utterances)
    samples, kept = cache.samples, Kept()

    def one(row: int, header: AudioHeader | AudioProblem) -> tuple[np.ndarray, str]:
        nothing = np.full(width, np.nan, np.float32)
        try:
            if isinstance(header, AudioProblem):
                raise header
            waveform = read_audio(paths[row], header, kept)
        except AudioProblem as problem:
            if samples[row]:  # it was there when the cache was made
                refuse_vanished(paths[row].parent)
            return nothing, f"{paths[row]}: {problem}"
        if samples[row] and len(waveform) != samples[row]:
            return nothing, f"{paths[row]}: of another length than when the cache was made"
        features = measured(waveform)
        return (nothing, f"{paths[row]}: {features}") if isinstance(features, str) else (features, "")

    def of_rows(rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        with warnings.catch_warnings(), ThreadPoolExecutor(resources.workers) as threads:
            warnings.simplefilter("ignore", UserWarning)  # of a signal too short, which `measured` tells itself
            headers = read_headers([str(paths[row]) for row in rows], [parts[row] for row in rows])
            features, reasons = zip(*threads.map(one, rows, headers), strict=True)
        return np.stack(features), list(reasons)

    return of_rows
