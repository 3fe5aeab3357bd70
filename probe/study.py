"""One cache under one set of settings: its labels, its splits, and its units of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.extract.digest import cache_digest
from emoprobe.extract.finished import refuse_unfinished

from .mismatches import mismatches
from .permutation import within_by_rule
from .probes.base import Inputs, Probe
from .probes.registry import ALL, BASELINES, PROBES
from .settings import FitSettings
from .splits import Split
from .targets import Labels, left_out, plan_target

#: What a fit reads of the utterances of a cache.
_READ = ("id", "speaker", "split", "emotion", "status", *DIMENSIONS)


class Unit(NamedTuple):
    """A piece of work whose results are kept together: a probe on one set of features."""

    probe: Probe
    features: str


@dataclass(frozen=True)
class Study:
    """What is to be fitted on a cache, and on whom.

    Attributes
    ----------
    cache : HiddenStateCache
    settings : FitSettings
    inputs : Inputs
    digest : str
        Hash of everything of the cache on which numbers depend.
    labels : Labels
    splits : dict of str to Split
        Of each target that can be fitted, in the order in which they were asked for.
    left_out : dict of str to list of str
        What is to be said of each target's utterances without label or states, and of categories that do not match.
    units : tuple of Unit
        The baselines first: they are quick, and everything is compared to them.
    """

    cache: HiddenStateCache
    settings: FitSettings
    inputs: Inputs
    digest: str
    labels: Labels
    splits: dict[str, Split]
    left_out: dict[str, list[str]]
    units: tuple[Unit, ...]

    @classmethod
    def of(cls, cache: HiddenStateCache, settings: FitSettings, *, say: Callable[[str], None]) -> Study:
        """Plan the study of a cache.

        Parameters
        ----------
        cache : HiddenStateCache
        settings : FitSettings
        say : callable
            Told what is left out and why, a line at a time.

        Returns
        -------
        Study

        Raises
        ------
        UserError
            If the cache is incomplete or damaged, or nothing that is asked for can be fitted.
        """
        _refuse_what_is_not_there(cache, settings)
        labels = _labels(cache, settings)
        inputs = Inputs(tuple(cache.statistics), cache.baselines)
        digest = cache_digest(cache, labels.table, (*_READ, "gender") if settings.confirm else _READ)
        splits, problems = _plan(cache, settings, labels)
        if not splits:
            raise UserError("; ".join(problems.values()))
        without = {target: left_out(labels, target) for target in splits}
        if EMOTION in splits:
            without[EMOTION] += mismatches(labels, splits[EMOTION])
        where = f"{cache.label} on {cache.corpus}"
        for target, problem in problems.items():
            say(f"{where}: {target} is left out: {problem}")
        for line in _notes(splits, without):
            say(f"{where}: {line}")
        return cls(cache, settings, inputs, digest, labels, splits, without, _units(settings, inputs, list(splits)))

    def settings_for(self, target: str) -> FitSettings:
        """The settings, with what they leave to the corpus decided for a target: how its labels are permuted."""
        if self.settings.permute_within_speakers is not None:
            return self.settings
        split = self.splits[target]
        return replace(
            self.settings,
            permute_within_speakers=within_by_rule(split.folds, split.units, self.labels.labelled(target)),
        )

    def targets_of(self, unit: Unit) -> list[str]:
        """Targets of a unit, in the order in which they were asked for."""
        return [target for target in self.splits if unit.probe.takes(target)]

    def name(self, unit: Unit) -> str:
        """A unit in words, for bars and messages."""
        words = f"{self.cache.label} on {self.cache.corpus}, {unit.probe.name}"
        return words + (f" on {unit.features}" if unit.features not in ("", unit.probe.name) else "")

    def key(self, unit: Unit, target: str) -> tuple[str, ...]:
        """Values of :data:`.results.KEY`."""
        return (self.cache.label, self.cache.corpus, target, unit.probe.name, unit.features)


def _refuse_what_is_not_there(cache: HiddenStateCache, settings: FitSettings) -> None:
    refuse_unfinished(cache)
    for statistic in (statistic for name in settings.features for statistic in name.split("+")):
        if statistic not in cache.statistics:
            raise UserError(
                f"{cache.path} has no '{statistic}' (it has {', '.join(cache.statistics)}): extract it with "
                "probe-extract --pool, or leave it out of --features"
            )


def _labels(cache: HiddenStateCache, settings: FitSettings) -> Labels:
    try:
        return Labels.of(cache.utterances, classes=settings.classes, corpus=cache.corpus)
    except UserError as error:
        raise UserError(f"{cache.path}: {error}") from error


def _plan(cache: HiddenStateCache, settings: FitSettings, labels: Labels) -> tuple[dict[str, Split], dict[str, str]]:
    """Split of each target that can be fitted, and why each of the others cannot."""
    splits, problems = {}, {}
    for target in settings.dimensions:
        try:
            splits[target] = plan_target(labels, target, settings, corpus=cache.corpus, confirm=settings.confirm)
        except UserError as error:
            problems[target] = f"{cache.path}: {error}"
    return splits, problems


def _notes(splits: dict[str, Split], without: dict[str, list[str]]) -> list[str]:
    """What is to be said of the targets, each line once, with the names of those that it is said of."""
    said: dict[str, list[str]] = {}
    for target, split in splits.items():
        for line in (*without[target], *split.notes):
            said.setdefault(line, []).append(target)
    return [
        line if line.startswith(targets[0]) or "status" in line else f"{', '.join(targets)}: {line}"
        for line, targets in said.items()
    ]


def _units(settings: FitSettings, inputs: Inputs, targets: list[str]) -> tuple[Unit, ...]:
    asked = [PROBES[name] for name in settings.probes]
    if EMOTION in targets:
        partners = [PROBES[probe.for_categories] for probe in asked if probe.for_categories]
        asked += [probe for probe in partners if probe not in asked]
    units = [
        Unit(probe, features)
        for probe in (*BASELINES, *asked)
        for features in probe.feature_sets(settings.features, inputs)
        if any(probe.takes(target) for target in targets)
    ]
    if not any(unit.probe in asked for unit in units):
        for_categories = [name for name, probe in PROBES.items() if probe.takes(EMOTION)]
        raise UserError(
            f"the probe {', '.join(settings.probes)} does not fit {', '.join(targets)}: "
            f"categories take --probe {' or '.join(for_categories)}, dimensions take "
            f"{', '.join(ALL[:-1])} or {ALL[-1]}"
        )
    return tuple(units)
