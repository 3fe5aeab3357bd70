"""From caches to results: which probes on which features, unit by unit, each kept as soon as it is done."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora import DIMENSIONS, LARGEST_RATING
from emoprobe.extract.versions import versions
from emoprobe.jsontext import to_json

from . import bootstrap, logistic, mdl, metrics, permutation, ridge, splits
from .baselines import BASELINES, EGEMAPS_LIMIT, VERSIONS, commonest_category, mean_predictor, probe_features
from .bootstrap import INTERVAL
from .mdl import OnlineCode, online_code
from .permutation import exchangeable, permuted_scores
from .results import (
    KEY,
    PREDICTIONS,
    SCORES,
    WEIGHTS,
    Results,
    load_results,
    refuse_other_results,
    table,
    update_results,
)
from .scoring import Scored, score
from .splits import Split, is_unknown, plan

EMOTION = "emotion"
PROBES = ("ridge", "weighted", "mlp", "logistic")

#: Statistics of which a weighted sum of layers is the pooled weighted sum of their frames.
SUMMABLE = ("mean", "mean_ln")


@dataclass(frozen=True)
class FitSettings:
    """What to fit, and how; all of it goes into the protocol.

    Parameters
    ----------
    dimensions : tuple of str
        Of "arousal", "valence", "dominance" and "emotion" (categories).
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
        Speaker-grouped folds, where the corpus has no split of its own or no development part.
    penalties : tuple of float, optional
        Penalties to choose from; by default `ridge.PENALTIES`, `logistic.PENALTIES`.
    resamples : int
        Bootstrap resamples of the speakers.
    mdl : bool
        Measure the minimum description length of the labels given each layer and baseline (:mod:`.mdl`).
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    permutations : int
        Permutations of the labels that give each ridge probe its null; 0 for none.
    permute_within_speakers : bool
        Permute labels within speakers only: what the features know of the speaker is then part of the null.
    rescale : bool
        Give ridge predictions the mean and spread of the labels, fitted on inner validation rows.
    head : str
        "linear" or "mlp": what reads the weighted sum.
    device : str
        "auto", "cpu", "cuda", "mps": where trained probes run. No part of the protocol.
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
    permute_within_speakers: bool = False
    mdl: bool = True
    ungrouped: bool = False
    rescale: bool = False
    head: str = "linear"
    device: str = "auto"

    def __post_init__(self):
        _known("dimension", self.dimensions, (*DIMENSIONS, EMOTION))
        _known("probe", self.probes, PROBES)
        if self.head not in ("linear", "mlp"):
            raise UserError(f"unknown head '{self.head}': there is linear and mlp")
        if not 0 <= self.seed < 2**32 or self.seeds < 1:
            raise UserError(f"--seed {self.seed} must be from 0 to 2**32 - 1, and --seeds {self.seeds} at least 1")
        for name in ("resamples", "permutations"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} {getattr(self, name)} must be 0 or more")
        if self.penalties is not None:
            ridge.check_penalties(self.penalties)


def _known(what, given, known):
    if not given:
        raise UserError(f"name at least one {what}: {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(f"unknown {what} '{name}': there is {', '.join(known)}")


def fit_layers(
    cache: HiddenStateCache | str | Path,
    *,
    dimensions: str | Sequence[str] = DIMENSIONS,
    probe: str | Sequence[str] = "ridge",
    features: str | Sequence[str] = (),
    seed: int = 0,
    seeds: int = 3,
    folds: int = 5,
    penalties: Sequence[float] | None = None,
    resamples: int = 2000,
    permutations: int = 1000,
    permute_within_speakers: bool = False,
    mdl: bool = True,
    ungrouped: bool = False,
    rescale: bool = False,
    head: str = "linear",
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Results:
    """Fit probes on every layer of a cache, and baselines beside them.

    Parameters
    ----------
    cache : HiddenStateCache, str or Path
    dimensions : str or sequence of str
        "arousal", "valence", "dominance", "emotion", or "all" for the three dimensions.
    probe : str or sequence of str
        "ridge", "weighted", "mlp", "logistic", or "all".
    features, seed, seeds, folds, penalties, resamples, permutations, permute_within_speakers, mdl, ungrouped, rescale
        See :class:`FitSettings`.
    head, device
        See :class:`FitSettings`.
    out : str or Path, optional
        Folder of results to write to; nothing is written by default.
    overwrite : bool
        Fit anew what `out` already holds with the same protocol.
    progress : bool
        Show bars on standard error.

    Returns
    -------
    Results
        The runs of this call.

    Raises
    ------
    UserError
        If the cache is incomplete, or the target cannot be probed: no label, constant, too few speakers.

    Examples
    --------
    >>> results = fit_layers("hidden_states.h5", dimensions="valence")  # doctest: +SKIP
    >>> results.select(probe="ridge", fold="all")[["layer", "ccc", "ccc_low", "ccc_high"]]  # doctest: +SKIP
    """
    settings = FitSettings(
        dimensions=DIMENSIONS if dimensions == "all" else _tuple(dimensions),
        probes=("ridge", "mlp", "weighted") if probe == "all" else _tuple(probe),
        features=_tuple(features),
        seed=seed,
        seeds=seeds,
        folds=folds,
        penalties=None if penalties is None else tuple(float(penalty) for penalty in penalties),
        resamples=resamples,
        permutations=permutations,
        permute_within_speakers=permute_within_speakers,
        mdl=mdl,
        ungrouped=ungrouped,
        rescale=rescale,
        head=head,
        device=device,
    )
    return fit_caches([cache], settings, out=out, overwrite=overwrite, progress=progress)


def _tuple(names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def fit_caches(
    caches: Iterable[HiddenStateCache | str | Path],
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Results:
    """Fit the same probes on several caches; see :func:`fit_layers`.

    Parameters
    ----------
    caches : iterable of HiddenStateCache, str or Path
    settings : FitSettings
    out : str or Path, optional
        Each unit (cache, probe, features) is written there when it is done; a unit that is there with the same
        protocol is not fitted again.
    overwrite, progress : bool
    say : callable
        Told what is left out and why, a line at a time.

    Returns
    -------
    Results
        The runs that were asked for, whether fitted now or found.
    """
    found = there_already = Results.empty()
    if out is not None:
        refuse_other_results(out)
    if out is not None and (Path(out) / "protocol.json").exists():
        there_already = load_results(out)
        found = Results.empty() if overwrite else there_already
    wanted: list[tuple] = []
    kept = Results.empty()
    seen: dict = {}
    for one in caches:
        opened = not isinstance(one, HiddenStateCache)
        cache = HiddenStateCache(one) if opened else one
        try:
            name = (cache.label, cache.corpus)
            if name in seen:
                raise UserError(
                    f"{seen[name]} and {cache.path} are both '{cache.label}' on '{cache.corpus}', so their results "
                    "could not be told apart: fit them into different folders, or give one another --label when it "
                    "is extracted"
                )
            seen[name] = cache.path
            _refuse_mixture(there_already, cache, out)
            study = _Study(cache, settings, say)
            there: list[str] = []
            for unit in study.units():
                done = {entry["dimension"] for entry in found.protocol if study.is_same(entry, unit)}
                dimensions = [dimension for dimension in study.dimensions_of(unit) if dimension not in done]
                wanted += [study.key(unit, dimension) for dimension in study.dimensions_of(unit)]
                if done:
                    there.append(study.name(unit) + ("" if not dimensions else f" ({', '.join(sorted(done))})"))
                if not dimensions:
                    continue
                new = study.run(unit, dimensions, progress=progress)
                kept = kept.updated(new)
                if out is not None:
                    update_results(out, new)
            if there:
                say(f"not fitted again, {out} has it with this protocol: {'; '.join(there)}")
        finally:
            if opened:
                cache.close()
    everything = found.updated(kept)
    return _only(everything, set(wanted))


def _refuse_mixture(there: Results, cache: HiddenStateCache, out: str | Path | None) -> None:
    """Keep numbers of different models, corpora or precisions from standing under one name."""

    def identity(provenance: dict) -> tuple:
        model, corpus = provenance["model"], provenance["corpus"]
        return model.get("weights_sha256"), model.get("normalise"), corpus["sha256"], provenance.get("precision")

    for entry in there.protocol:
        same_name = (entry["model"], entry["corpus"]) == (cache.label, cache.corpus)
        probed = "cache" in entry  # a model trained end to end has none
        if same_name and probed and identity(entry["cache"]["provenance"]) != identity(cache.provenance):
            raise UserError(
                f"{out} holds results of another '{cache.label}' on '{cache.corpus}' (other weights, corpus or "
                f"precision than {cache.path}): give another folder with --out, or extract with another --label"
            )


def _only(results: Results, keys: set) -> Results:
    def rows(frame):
        if not len(frame):
            return frame
        mask = [key in keys for key in zip(*(frame[name].astype(str) for name in KEY), strict=True)]
        return frame[np.array(mask)].reset_index(drop=True)

    return Results(
        rows(results.scores),
        rows(results.weights),
        [entry for entry in results.protocol if tuple(str(entry[name]) for name in KEY) in keys],
        rows(results.predictions),
    )


class _Study:
    """One cache under one set of settings: its labels, its splits, its units of work."""

    def __init__(self, cache: HiddenStateCache, settings: FitSettings, say: Callable[[str], None]):
        self.cache, self.settings = cache, settings
        if not cache.complete:
            raise UserError(
                f"{cache.path} is not complete: run the same probe-extract again, it goes on where it stopped"
            )
        for name in settings.features:
            for statistic in name.split("+"):
                if statistic not in cache.statistics:
                    raise UserError(
                        f"{cache.path} has no '{statistic}' (it has {', '.join(cache.statistics)}): extract it with "
                        "probe-extract --pool, or leave it out of --features"
                    )
        self.table = cache.utterances
        self.baselines = cache.baselines
        self.done = (self.table["status"] == "done").to_numpy()
        self.targets = {name: self.table[name].to_numpy(np.float64) for name in DIMENSIONS}
        emotion = self.table["emotion"].fillna("").astype(str).str.strip()
        self.categories = sorted({name for name in emotion[self.done] if name})
        number = {name: k for k, name in enumerate(self.categories)}
        classes = np.array([number.get(name, -1) for name in emotion], dtype=np.int64)
        self.classes = np.where(self.done, classes, -1)
        self.labelled = {name: self.done & ~np.isnan(values) for name, values in self.targets.items()}
        self.labelled[EMOTION] = self.classes >= 0
        self.speakers = self.table["speaker"].fillna("").astype(str).tolist()
        self.splits: dict[str, Split] = {}
        self.left_out: dict[str, list[str]] = {}
        self._digest = self._hash_of_cache()
        problems = {}
        for dimension in settings.dimensions:
            try:
                self.splits[dimension] = self._plan(dimension)
            except UserError as error:
                problems[dimension] = error
        if not self.splits:
            raise UserError("; ".join(str(error) for error in problems.values()))
        where = f"{cache.label} on {cache.corpus}"
        for dimension, error in problems.items():
            say(f"{where}: {dimension} is left out: {error}")
        for line in dict.fromkeys(
            line if line.startswith(dimension) or "status" in line else f"{dimension}: {line}"
            for dimension, split in self.splits.items()
            for line in (*self.left_out[dimension], *split.notes)
        ):
            say(f"{where}: {line}")

    # What is fitted, and on whom ------------------------------------------------------------------------------------

    def _plan(self, dimension: str) -> Split:
        path, labelled = self.cache.path, self.labelled[dimension]
        count = int(labelled.sum())
        if not self.done.any():
            statuses = self.table["status"].value_counts().sort_index()
            told = ", ".join(f"{number} are {status}" for status, number in statuses.items())
            reasons = sorted({reason for reason in self.table["reason"].fillna("").astype(str) if reason})
            raise UserError(
                f"{path}: no utterance has hidden states, of whatever label: {told}"
                + (f" ({reasons[0]})" if reasons else "")
                + "; mend that, and extract again with --overwrite"
            )
        if count == 0:
            raise UserError(
                f"{path}: no utterance of '{self.cache.corpus}' has a label of {dimension}; give the corpus that "
                "column and extract it again, or ask for another with --dim or --target"
            )
        if dimension == EMOTION:
            present = np.unique(self.classes[labelled])
            if len(present) < 2:
                raise UserError(f"{path}: every utterance is '{self.categories[present[0]]}': nothing to tell apart")
        else:
            values = self.targets[dimension][labelled]
            if np.ptp(values) == 0:
                raise UserError(
                    f"{path}: {dimension} is {values[0]:g} in all {count} labelled utterances: nothing to predict"
                )
            if np.abs(values).max() > LARGEST_RATING:  # a cache of version 0.1, whose readers let it pass
                row = int(np.flatnonzero(labelled)[np.abs(values).argmax()])
                raise UserError(
                    f"{path}: {dimension} of {self.table['id'][row]} is {self.targets[dimension][row]:g}, which is no "
                    "rating; correct it in the corpus, and extract that again with --overwrite"
                )
        any_label = np.zeros(len(self.table), bool)
        for mask in self.labelled.values():
            any_label |= mask
        settings = self.settings
        try:
            split = plan(
                self.table["split"].fillna("").astype(str),
                self.speakers,
                self.done & any_label,
                labelled,
                n_folds=settings.folds,
                seed=settings.seed,
                ungrouped=settings.ungrouped,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        for fold in split.folds:
            if not labelled[fold.train].any() or not all(labelled[train].any() for train, _ in fold.inner):
                speakers = len(np.unique(split.groups[labelled]))
                raise UserError(
                    f"{path}: too few speakers have a label of {dimension} ({speakers}) for {settings.folds} folds: "
                    "ask for fewer with --folds"
                )
        notes = []
        missing = int(self.done.sum()) - count
        if missing:
            notes.append(f"{dimension}: {missing} of {int(self.done.sum())} utterances have no label and are left out")
        for status, number in self.table["status"][~self.done].value_counts().sort_index().items():
            notes.append(f"{number} utterances have no states and are left out (status {status})")
        self.left_out[dimension] = notes
        return split

    def dimensions_of(self, unit) -> list[str]:
        """Targets of a unit, in the order in which they were asked for."""
        probe, _ = unit
        return [
            dimension
            for dimension in self.splits
            if probe in BASELINES or (dimension == EMOTION) == (probe == "logistic")
        ]

    def features_of(self, probe: str) -> list[str]:
        """Feature sets that a probe reads: those asked for that it can, or its own choice of what the cache holds."""
        there = self.cache.statistics
        if probe == "weighted":
            asked = self.settings.features or [name for name in SUMMABLE if name in there][:1]
            return [name for name in asked if name in SUMMABLE]
        return list(self.settings.features) or ["+".join(s for s in ("mean", "std") if s in there) or there[0]]

    def units(self) -> list[tuple[str, str]]:
        """Units of work (probe, features): the baselines first, they are quick and everything is compared to them."""
        probes = list(self.settings.probes)
        if EMOTION in self.splits and "ridge" in probes and "logistic" not in probes:
            probes.append("logistic")
        units = [("mean", "")]
        units += [(name, name) for name in BASELINES if name in self.baselines]
        for probe in probes:
            units += [(probe, features) for features in self.features_of(probe)]
        if "weighted" in probes and not any(probe == "weighted" for probe, _ in units):
            raise UserError(
                f"a weighted sum of layers takes --features mean or mean_ln, not {', '.join(self.settings.features)}: "
                "other statistics of a sum are no sum of statistics"
            )
        units = [unit for unit in units if self.dimensions_of(unit)]
        if not any(probe not in BASELINES for probe, _ in units):
            raise UserError(
                f"the probe {', '.join(self.settings.probes)} does not fit {', '.join(self.splits)}: "
                "categories take --probe logistic, dimensions take ridge, mlp or weighted"
            )
        return units

    def name(self, unit) -> str:
        """Unit in words, for bars and messages."""
        probe, features = unit
        where = f"{self.cache.label} on {self.cache.corpus}"
        return f"{where}, {probe}" + (f" on {features}" if features and features != probe else "")

    def key(self, unit, dimension: str) -> tuple[str, ...]:
        probe, features = unit
        return (self.cache.label, self.cache.corpus, dimension, probe, features)

    # Protocol -------------------------------------------------------------------------------------------------------

    def _hash_of_cache(self) -> str:
        digest = hashlib.sha256(to_json(self.cache.provenance, sort_keys=True).encode())
        # The states that are fitted, not what they once were: a score of damaged ones is never taken for theirs.
        digest.update(b"verified" + self.cache.verified_checksums().tobytes())
        for column in ("id", "speaker", "split", "emotion", "status", *DIMENSIONS):
            digest.update("\x1f".join(map(str, self.table[column])).encode())
        return digest.hexdigest()

    def _methods_of(self, unit, dimension: str) -> dict[str, int]:
        """Versions of the methods by which the numbers of a unit are made."""
        probe, _ = unit
        methods = [splits, metrics, bootstrap]
        if probe in ("weighted", "mlp"):
            from . import mlp, training, weighted

            methods += [training, {"weighted": weighted, "mlp": mlp}[probe]]
        elif probe != "mean":
            methods += [logistic if dimension == EMOTION else ridge]
            if dimension != EMOTION:
                methods += [permutation] * bool(self.settings.permutations) + [mdl] * self.settings.mdl
        found = {method.__name__.rpartition(".")[2]: method.VERSION for method in methods}
        return {**found, **({f"baseline {probe}": VERSIONS[probe]} if probe in BASELINES else {})}

    def _settings_of(self, unit, dimension: str) -> dict:
        """Settings on which the numbers of a unit depend."""
        probe, features = unit
        settings = self.settings
        used = {
            "probe": probe,
            "features": features,
            "dimension": dimension,
            "seed": settings.seed,
            "folds_asked": settings.folds,
            "resamples": settings.resamples,
            "ungrouped": settings.ungrouped,
            "methods": self._methods_of(unit, dimension),
        }
        if self.baselines.get(probe):
            used["baseline"] = self.baselines[probe]
        if probe == "egemaps":
            used["limit"] = EGEMAPS_LIMIT
        if probe in ("ridge", "logistic", *BASELINES[1:]):
            used["penalties"] = [float(penalty) for penalty in self._penalties(dimension)]
            used["rescale"] = settings.rescale and dimension != EMOTION
            if dimension != EMOTION:
                used["mdl"] = settings.mdl
                used["permutations"] = settings.permutations
                used["permuted"] = "within speakers" if settings.permute_within_speakers else "among utterances"
        if probe == "weighted":
            from dataclasses import asdict

            from .weighted import WeightedSettings

            used["seeds"] = self._seeds()
            used["training"] = asdict(WeightedSettings(head=settings.head))
        if probe == "mlp":
            from dataclasses import asdict

            from .mlp import MLPSettings

            used["training"] = asdict(MLPSettings())
        return used

    def _penalties(self, dimension):
        if self.settings.penalties is not None:
            return ridge.check_penalties(self.settings.penalties)
        return logistic.PENALTIES if dimension == EMOTION else ridge.PENALTIES

    def _seeds(self) -> list[int]:
        return list(range(self.settings.seed, self.settings.seed + self.settings.seeds))

    def _hash(self, unit, dimension: str) -> str:
        used = {"settings": self._settings_of(unit, dimension), "cache": self._digest}
        return hashlib.sha256(to_json(used, sort_keys=True).encode()).hexdigest()

    def is_same(self, entry: dict, unit) -> bool:
        """Whether an entry of a protocol is this unit, fitted with these settings on this cache."""
        dimension = entry["dimension"]
        return (
            dimension in self.dimensions_of(unit)
            and tuple(entry[name] for name in KEY) == self.key(unit, dimension)
            and entry.get("hash") == self._hash(unit, dimension)
        )

    def _entry(self, unit, dimension: str, found: dict) -> dict:
        split, labelled = self.splits[dimension], self.labelled[dimension]
        provenance = self.cache.provenance
        entry = dict(zip(KEY, self.key(unit, dimension), strict=True))
        first = split.folds[0]
        parts = {name: int(labelled[rows].sum()) for name, rows in first.tests.items()}
        if split.kind == "official":
            counts = {"train": int(labelled[first.train].sum()), **parts}
        else:
            counts = {fold.name: int(labelled[np.concatenate(list(fold.tests.values()))].sum()) for fold in split.folds}
        known = [not is_unknown(speaker) for speaker in self.speakers]
        entry.update(
            {
                "hash": self._hash(unit, dimension),
                "cache": {
                    "file": self.cache.path.name,
                    "provenance": provenance,
                    "utterances": len(self.table),
                    "labelled": int(labelled.sum()),
                    "speakers": len({s for s, k, u in zip(self.speakers, known, labelled, strict=True) if k and u}),
                    "unknown_speaker": split.unknown_speakers,
                    "left_out": self.left_out[dimension],
                },
                "split": {
                    "kind": split.kind,
                    "folds": len(split.folds),
                    "inner_folds": len(first.inner),
                    "counts": counts,
                    "leakage": split.leakage,
                    "notes": split.notes,
                },
                "settings": self._settings_of(unit, dimension),
                "interval": INTERVAL,
                "versions": versions(),
                **found,
            }
        )
        if dimension == EMOTION:
            entry["categories"] = self.categories
        return entry

    # Running --------------------------------------------------------------------------------------------------------

    def run(self, unit, dimensions: Sequence[str], *, progress: bool) -> Results:
        """Fit one unit for the given dimensions."""
        together: dict = {}
        for dimension in dimensions:
            # Dimensions with the same fits are solved together; categories always alone.
            together.setdefault((dimension == EMOTION, _signature(self.splits[dimension])), []).append(dimension)
        results = Results.empty()
        for group in together.values():
            try:
                results = results.updated(self._run(unit, group, progress))
            except UserError as error:
                raise UserError(f"{self.cache.path}: {error}") from error
        return results

    def _run(self, unit, dimensions, progress) -> Results:
        probe, features = unit
        emotion = dimensions == [EMOTION]
        folds = self.splits[dimensions[0]].folds
        bar = _Bar(self.name(unit), progress)
        notes: dict[str, list[str]] = {dimension: [] for dimension in dimensions}
        weights: list[dict] = []
        fits: list[dict] = []
        if probe == "mean":
            targets = self._targets(dimensions)
            predicted = commonest_category(self.classes, folds) if emotion else mean_predictor(targets, folds)
            fits.append({"layer": -1, "predictions": predicted})
        elif probe in BASELINES:
            values = self._baseline(probe, dimensions, notes)
            fits.append({"layer": -1, **self._linear(lambda rows: values[rows], dimensions, folds, notes)})
        elif probe in ("ridge", "logistic"):
            for layer in bar(range(self.cache.n_layers), "layer"):
                found = self._linear(self._reader(features, layer), dimensions, folds, notes, f"layer {layer}")
                fits.append({"layer": layer, **found})
        elif probe == "mlp":
            fits = self._mlp(features, dimensions, folds, bar)
        else:
            fits, weights = self._weighted(features, dimensions, folds, bar)
        scores, predictions = [], []
        for column, dimension in enumerate(dimensions):
            scored = Scored(
                split=self.splits[dimension],
                truth=self.classes if emotion else self.targets[dimension],
                labelled=self.labelled[dimension],
                predictions=np.stack([f["predictions"] if emotion else f["predictions"][:, column] for f in fits]),
                identity=[self._identity(unit, dimension, fit) for fit in fits],
                penalties=[fit["penalties"][:, column] if "penalties" in fit else None for fit in fits],
                categories=self.categories if emotion else None,
                ids=self.table["id"].to_numpy(),
                speakers=self.speakers,
                nulls=[
                    {name: null[:, column] for name, null in fit["nulls"].items()} if fit.get("nulls") else None
                    for fit in fits
                ],
                codes=[_code(fit["code"], column) if fit.get("code") else None for fit in fits],
            )
            rows, frame, reasons = score(scored, resamples=self.settings.resamples, seed=self.settings.seed)
            scores += rows
            predictions.append(frame)
            notes[dimension] += reasons
        entries = [
            self._entry(unit, dimension, {"notes": list(dict.fromkeys(notes[dimension]))}) for dimension in dimensions
        ]
        import pandas as pd

        return Results(
            table(scores, SCORES), table(weights, WEIGHTS), entries, table(pd.concat(predictions), PREDICTIONS)
        )

    def _identity(self, unit, dimension, fit) -> dict:
        """Columns that say which fit a row is of."""
        layer = fit["layer"]
        inside = layer is not None and layer >= 0
        return {
            **dict(zip(KEY, self.key(unit, dimension), strict=True)),
            "layer": layer,
            "depth": layer / max(self.cache.n_layers - 1, 1) if inside else None,
            "seed": fit.get("seed", self.settings.seed),
        }

    def _targets(self, dimensions) -> np.ndarray | None:
        if dimensions == [EMOTION]:
            return None
        return np.stack([np.where(self.done, self.targets[name], np.nan) for name in dimensions], axis=1)

    def _baseline(self, name: str, dimensions, notes) -> np.ndarray:
        """Features of a baseline for every labelled utterance, and a note on those that have none."""
        values = self.cache.baseline(name)
        for dimension in dimensions:
            labelled = self.labelled[dimension]
            lacking = int(np.isnan(values[labelled]).any(1).sum())
            if lacking:
                notes[dimension].append(
                    f"{lacking} of {int(labelled.sum())} labelled utterances lack the baseline '{name}': the mean over "
                    "the training utterances stands in for it"
                )
        return probe_features(name, values, self.splits[dimensions[0]].folds)

    def _reader(self, features: str, layer: int) -> ridge.Reader:
        names = features.split("+")

        def read(rows):
            parts = [self.cache.states(name, layers=layer, rows=_as_slice(rows)) for name in names]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

        return read

    def _read_layers(self, features: str, layers=None) -> Callable[[np.ndarray], np.ndarray]:
        names = features.split("+")

        def read(rows, layers=layers):
            parts = [self.cache.states(name, layers=layers, rows=_as_slice(rows)) for name in names]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

        return read

    def _linear(self, read, dimensions, folds, notes, where="") -> dict:
        """Ridge or logistic probe of one layer or baseline."""
        penalties = self._penalties(dimensions[0])
        nulls = code = None
        if dimensions == [EMOTION]:
            found = logistic.logistic_probe(read, self.classes, folds, penalties=penalties)
            notes[EMOTION] += found.notes
            chosen, inner = found.penalties[:, None], found.inner_scores[:, None]
        else:
            targets, settings = self._targets(dimensions), self.settings
            system = ridge.accumulate(read, targets, folds)
            found = ridge.solve(system, penalties=penalties, rescale=settings.rescale)
            if settings.permutations:
                groups = self.splits[dimensions[0]].groups
                sets = exchangeable(folds, groups, within_speakers=settings.permute_within_speakers)
                nulls = permuted_scores(
                    system,
                    targets,
                    found,
                    sets,
                    count=settings.permutations,
                    seed=settings.seed,
                    rescale=settings.rescale,
                )
            if settings.mdl:
                code = self._code(read, targets, dimensions, folds, notes)
            chosen, inner = found.penalties, found.inner_scores
        for column, dimension in enumerate(dimensions):
            if np.isnan(inner[:, column]).all(-1).any():
                notes[dimension].append(
                    f"{where or 'baseline'}: in a fold no penalty had a score to be chosen by; the largest was taken"
                )
            if len(penalties) > 1 and np.isin(chosen[:, column], [penalties[0], penalties[-1]]).any():
                notes[dimension].append(f"{where or 'baseline'}: a chosen penalty is at the end of the grid")
        return {"predictions": found.predictions, "penalties": chosen, "nulls": nulls, "code": code}

    def _code(self, read, targets, dimensions, folds, notes) -> OnlineCode | None:
        """Length of the labels' code given the features: of the training part, or of all rows of a cross-validation."""
        rows = folds[0].train
        if len(folds) > 1:
            rows = np.union1d(rows, np.concatenate(list(folds[0].tests.values())))
        groups, penalties = self.splits[dimensions[0]].groups, self._penalties(dimensions[0])
        try:
            return online_code(read, targets, rows, groups, penalties=penalties, seed=self.settings.seed)
        except UserError as error:  # too few labels of somebody to begin with; the scores do not depend on it
            for dimension in dimensions:
                notes[dimension].append(f"no description length: {error}")
            return None

    def _mlp(self, features, dimensions, folds, bar) -> list[dict]:
        from .mlp import MLPSettings, mlp_probe

        predictions = mlp_probe(
            self._read_layers(features),
            self.cache.n_layers,
            self._targets(dimensions),
            folds,
            seed=self.settings.seed,
            settings=MLPSettings(),
            device=self.settings.device,
            bar=lambda items: bar(items, "fold"),
        )
        return [{"layer": layer, "predictions": found} for layer, found in enumerate(predictions)]

    def _weighted(self, features, dimensions, folds, bar) -> tuple[list[dict], list[dict]]:
        from .weighted import WeightedSettings, norm_corrected, weighted_probe

        found = weighted_probe(
            self._read_layers(features),
            self._targets(dimensions),
            folds,
            seeds=self._seeds(),
            settings=WeightedSettings(head=self.settings.head),
            device=self.settings.device,
            bar=lambda items: bar(items, "fold"),
        )
        norm = self.cache.layers["norm"].to_numpy(np.float64)
        # Layer-normed frames have one norm, so the weight is already the share.
        normed = norm_corrected(found.weights, np.ones_like(norm) if features == "mean_ln" else norm)
        fits = [
            {"layer": None, "seed": seed, "predictions": found.predictions[k]} for k, seed in enumerate(self._seeds())
        ]
        weights = [
            {
                "model": self.cache.label,
                "corpus": self.cache.corpus,
                "dimension": dimension,
                "layer": layer,
                "depth": layer / max(self.cache.n_layers - 1, 1),
                "seed": seed,
                "weight": found.weights[k, :, column, layer].mean(),
                "weight_normed": normed[k, :, column, layer].mean(),
                "probe": "weighted",
                "features": features,
            }
            for column, dimension in enumerate(dimensions)
            for k, seed in enumerate(self._seeds())
            for layer in range(self.cache.n_layers)
        ]
        return fits, weights


def _code(code: OnlineCode, column: int) -> dict:
    return {"mdl_bits": code.bits[column], "compression": code.compression[column]}


def _signature(split: Split) -> str:
    digest = hashlib.sha256()
    for fold in split.folds:
        for rows in (fold.train, *(rows for pair in fold.inner for rows in pair), *fold.tests.values()):
            digest.update(np.ascontiguousarray(rows).tobytes() + b"|")
        digest.update("|".join(fold.tests).encode())
    return digest.hexdigest()


def _as_slice(rows: np.ndarray):
    """A slice where the rows follow each other: the cache reads that in one piece."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


class _Bar:
    """A progress bar on standard error, or nothing."""

    def __init__(self, name: str, show: bool):
        self.name, self.show = name, show

    def __call__(self, items, unit: str):
        if not self.show:
            return items
        from tqdm import tqdm

        return tqdm(items, desc=self.name, unit=unit, file=sys.stderr)
