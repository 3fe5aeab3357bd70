"""What to fit, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.extract.options import check_counts, check_device, check_seed
from emoprobe.misspelt import meant

from .classes import ALL, Classes

#: What can read a weighted sum.
HEADS = ("linear", "mlp")


@dataclass(frozen=True)
class FitSettings:
    """What to fit, and how; all of it goes into the protocol.

    Parameters
    ----------
    dimensions : tuple of str
        Of "arousal", "valence", "dominance" and "emotion" (categories).
    classes : str, optional
        Which categories, and which names of the corpus make each: ``"ang hap=hap+exc neu sad"``; ``"all"`` as they are
        written. By default those that are usual for the corpus (:mod:`.classes`), else all.
    probes : tuple of str
        Of "ridge" (one linear probe a layer; "logistic" for categories), "mlp" (one hidden layer), "weighted" (learned
        weighted sum of the layers).
    features : tuple of str
        Feature sets, each a statistic of the cache or several joined by "+", such as "mean+std". A weighted sum takes
        "mean" or "mean_ln" alone. Left empty, a probe of single layers reads mean and standard deviation together (how
        a voice varies is in the second), a weighted sum the mean; each as far as the cache holds them.
    seed : int
        Of the folds, the bootstrap, and the first seed of the trained probes.
    seeds : int
        Number of seeds of the weighted sum.
    folds : int
        Folds that keep speakers and groups whole, where the corpus has no split or folds of its own.
    penalties : tuple of float, optional
        Penalties to choose from; by default `ridge.PENALTIES`, `logistic.PENALTIES`.
    resamples : int
        Bootstrap resamples of the speakers, or of the groups where a corpus has them.
    mdl : bool
        Measure the minimum description length of the labels given each layer and baseline (:mod:`.mdl`).
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    permutations : int
        Permutations of the labels that give each ridge probe, and each layer and baseline of categories, its null; 0
        for none.
    permute_within_speakers : bool, optional
        Permute labels within speakers only: what the features know of the speaker is then part of the null. By default
        so where speakers are known and have rows enough (`permutation.within_by_rule`).
    rescale : bool
        Give ridge predictions the mean and spread of the labels, fitted on inner validation rows.
    confirm : bool
        Choose layers, penalties and rivals on speakers other than those that claims are made on (:mod:`.halves`).
    head : str
        "linear" or "mlp": what reads the weighted sum.
    device : str
        "auto", "cpu", "cuda", "mps": where trained probes run, and ridge probes as :attr:`ridge_device` has it. No part
        of the protocol.
    """

    dimensions: tuple[str, ...] = DIMENSIONS
    probes: tuple[str, ...] = ("ridge",)
    features: tuple[str, ...] = ()
    seed: int = 0
    seeds: int = 3
    folds: int = 5
    penalties: tuple[float, ...] | None = None
    resamples: int = 2000
    permutations: int = 1000
    permute_within_speakers: bool | None = None
    mdl: bool = True
    ungrouped: bool = False
    rescale: bool = False
    confirm: bool = False
    head: str = "linear"
    classes: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        from .probes.registry import PROBES

        _known("dimension", self.dimensions, (*DIMENSIONS, EMOTION))
        _known("probe", self.probes, tuple(PROBES))
        if self.head not in HEADS:
            raise UserError(f"unknown head '{self.head}': there is {' and '.join(HEADS)}")
        check_device(self.device)
        check_counts(self, "seeds", least=1)
        check_seed(self.seed, seeds=self.seeds)
        check_counts(self, "folds", "resamples", "permutations")
        if self.classes is not None and EMOTION not in self.dimensions:
            raise UserError("--classes is of the categories: ask for them with --target emotion, or leave it out")
        if self.classes not in (None, ALL):
            Classes.parse(self.classes)
        if self.penalties is not None:
            from .ridge import check_penalties

            check_penalties(self.penalties)

    @property
    def ridge_device(self) -> str:
        """Where ridge probes run: on a GPU by CUDA if it is named, else on the CPU; MPS has no double precision."""
        return self.device if self.device.startswith("cuda") else "cpu"

    @classmethod
    def of(cls, settings: FitSettings | None = None, **changes: Any) -> FitSettings:
        """Settings with some of them changed, in the words of a command.

        Parameters
        ----------
        settings : FitSettings, optional
            The defaults if left out.
        **changes
            Single settings. One name stands for a tuple of it; "all" for the three dimensions, and for every probe of
            them; `probe` is another word for `probes`.

        Returns
        -------
        FitSettings

        Raises
        ------
        UserError
            If a value is none that is known.
        TypeError
            If there is no such setting.
        """
        from .probes.registry import ALL

        if "probe" in changes:
            if "probes" in changes:
                raise TypeError("give probe or probes, not both: they are one setting")
            changes["probes"] = changes.pop("probe")
        for name, everything in (("dimensions", DIMENSIONS), ("probes", ALL), ("features", ())):
            if name in changes:
                changes[name] = _names(changes[name], everything)
        if changes.get("penalties") is not None:
            changes["penalties"] = tuple(float(penalty) for penalty in changes["penalties"])
        return replace(settings or cls(), **changes)


def _names(given: str | Iterable[str], everything: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(given, str):
        return everything if everything and given == "all" else (given,)
    return tuple(given)


def _known(what: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not given:
        raise UserError(f"name at least one {what}: {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(f"unknown {what} '{name}': {meant(name, known)}")
