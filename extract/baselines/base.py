"""What a baseline is: its names, what its features are of, how they are computed, and what a probe makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..cache import HiddenStateCache


@dataclass(frozen=True)
class Resources:
    """With what features are computed.

    Attributes
    ----------
    root : Path
        Where the audio lies.
    device : str
        "auto", "cpu", "cuda", "mps".
    workers : int
        Threads.
    choice : str
        What was chosen with ``NAME=CHOICE``, or the baseline's own default.
    """

    root: Path
    device: str
    workers: int
    choice: str


@dataclass(frozen=True)
class Features:
    """Features that are ready to be computed.

    Attributes
    ----------
    columns : tuple of str
        Their names.
    settings : dict
        What they depend on, besides the corpus.
    versions : dict
        Of the libraries that compute them.
    compute : callable
        From rows of the cache, in order, to their features, shape (rows, columns) float32, and for each the reason why
        it has none ("" where it has).
    """

    columns: tuple[str, ...]
    settings: dict
    versions: dict
    compute: Callable[[np.ndarray], tuple[np.ndarray, list[str]]]


@dataclass(frozen=True)
class Baseline:
    """Something known of an utterance without the model.

    Attributes
    ----------
    name : str
        In commands, files, and the column `probe` of the results.
    label : str
        In figures and tables.
    described : str
        What the features are, for a sentence.
    acoustic : bool
        Whether it is heard, and not read.
    version : int
        Of what a probe makes of the features. Raise it with any change that moves numbers beyond rounding; kept ones
        are then made anew.
    compute : callable, optional
        What gets its features ready; None of one that every cache holds.
    features_version : int
        Of the features that it computes, to be raised likewise.
    part : int
        Utterances that are stored together, and lost together when a run is killed.
    choice, default : str
        What can be chosen with ``NAME=CHOICE``, in words, and what is taken otherwise; empty where nothing can be.
    clean : callable, optional
        From features (utterances, width) and the rows that are trained on to features that a probe can take.
    cleaning : mapping
        What that depends on, for the protocol.
    cites : tuple of str
        Keys in the report's bibliography.
    """

    name: str
    label: str
    described: str
    acoustic: bool
    version: int = 1
    compute: Callable[[HiddenStateCache, Resources], Features] | None = None
    features_version: int = 1
    part: int = 256
    choice: str = ""
    default: str = ""
    clean: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    cleaning: Mapping[str, float] = field(default_factory=dict)
    cites: tuple[str, ...] = ()
