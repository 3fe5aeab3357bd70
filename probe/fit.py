"""From caches to results: which probes on which features, unit by unit, each kept as soon as it is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.corpora.cells import EMOTION
from emoprobe.progress import progress_bar

from .jackknife import OF_REFITS
from .keeping import keeping
from .permutation import FREE, WITHIN
from .probes.base import Fit, Fitted, Task
from .protocol import entry_of, is_of, refuse_mixture
from .results import (
    KEY,
    PREDICTIONS,
    RECALLS,
    REFITS,
    SCORES,
    WEIGHTS,
    Results,
    has_results,
    load_results,
    table,
)
from .scoring import Scored, score
from .settings import FitSettings
from .splits import Split
from .spreading import Spread, in_turn, ridge_device, spread_over
from .strangers import refuse_other_results
from .study import Study, Unit


def fit_layers(
    cache: HiddenStateCache | str | Path,
    settings: FitSettings | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    workers: int | None = None,
    **changes: Any,
) -> Results:
    """Fit probes on every layer of a cache, and baselines beside them.

    Parameters
    ----------
    cache : HiddenStateCache, str or Path
    settings : FitSettings, optional
        The defaults if left out.
    out : str or Path, optional
        Folder of results to write to; nothing is written by default.
    overwrite : bool
        Fit anew what `out` already holds with the same protocol.
    progress : bool
        Show bars on standard error.
    workers : int, optional
        See :func:`fit_caches`.
    **changes
        Single settings of :class:`FitSettings`, such as ``dimensions="valence"`` or ``probe=("ridge", "mlp")``. One
        name stands for a tuple of it; ``dimensions="all"`` for the three dimensions, ``probe="all"`` for "ridge",
        "mlp" and "weighted".

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
    A small cache, in whose last layer valence was planted:

    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.testing import write_cache
    >>> quick = {"permutations": 0, "resamples": 20, "mdl": False, "progress": False}
    >>> with TemporaryDirectory() as folder:
    ...     planted = write_cache(Path(folder) / "states.h5", layers=4)
    ...     results = fit_layers(Path(folder) / "states.h5", dimensions="valence", **quick)
    >>> ridge = results.select(probe="ridge", fold="all").set_index("layer")
    >>> int(ridge["ccc"].idxmax())
    3
    """
    settings = FitSettings.of(settings, **changes)
    return fit_caches([cache], settings, out=out, overwrite=overwrite, progress=progress, workers=workers)


def fit_caches(
    caches: Iterable[HiddenStateCache | str | Path],
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
    engine: EngineSettings = EngineSettings(),
    workers: int | None = None,
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
    engine : EngineSettings
        Where the layers of ridge and logistic probes are fitted: here, or each as a task of a Ray cluster.
    workers : int, optional
        Layers that are fitted at once here, each by a process of its own where that pays; as many as there are
        processors by default. Their memory adds up. Those of ridge probes on a device follow each other.

    Returns
    -------
    Results
        The runs that were asked for, whether fitted now or before.
    """
    there = Results.empty()
    if out is not None:
        refuse_other_results(out)
        if has_results(out):
            there = load_results(out)
    usable = Results.empty() if overwrite else there
    fitted: list[Results] = []
    wanted: set[tuple[str, ...]] = set()
    paths: dict[tuple[str, str], Path] = {}
    with (
        ridge_device(settings, engine, workers=workers, say=say),
        keeping(out) as keep,
        spread_over(engine, workers=workers) as spread,
    ):
        for given in caches:
            with nullcontext(given) if isinstance(given, HiddenStateCache) else HiddenStateCache(given) as cache:
                name = (cache.label, cache.corpus)
                if name in paths:
                    raise UserError(
                        f"{paths[name]} and {cache.path} are both '{cache.label}' on '{cache.corpus}', so their "
                        "results could not be told apart: fit them into different folders, or give one another --label "
                        "when it is extracted"
                    )
                paths[name] = cache.path
                refuse_mixture(there, cache, out)
                study = Study.of(cache, settings, say=say)
                not_again = []
                for unit in study.units:
                    targets = study.targets_of(unit)
                    wanted.update(study.key(unit, target) for target in targets)
                    done = {entry["dimension"] for entry in usable.protocol if is_of(entry, study, unit)}
                    lacking = [target for target in targets if target not in done]
                    if done:
                        not_again.append(study.name(unit) + (f" ({', '.join(sorted(done))})" if lacking else ""))
                    if lacking:
                        new = run_unit(study, unit, lacking, progress=progress, spread=spread)
                        fitted.append(new)
                        keep(new)
                if not_again:
                    say(f"not fitted again, {out} has it with this protocol: {'; '.join(not_again)}")
    return usable.updated(*fitted).of(wanted)


# Running -------------------------------------------------------------------------------------------------------------


def run_unit(
    study: Study, unit: Unit, targets: Sequence[str], *, progress: bool = False, spread: Spread = in_turn
) -> Results:
    """Fit one unit for the given targets, and score it.

    Parameters
    ----------
    study : Study
    unit : Unit
    targets : sequence of str
    progress : bool
        Show bars on standard error.
    spread : Spread
        Fits layers, here or elsewhere.

    Returns
    -------
    Results

    Raises
    ------
    UserError
        If a fit fails, naming the cache.
    """
    together: dict[tuple[bool, str], list[str]] = {}
    for target in targets:
        # Dimensions with the same fits are solved together; categories always alone.
        together.setdefault((target == EMOTION, _signature(study.splits[target])), []).append(target)
    parts = []
    for group in together.values():
        try:
            parts.append(_run_together(study, unit, tuple(group), progress, spread))
        except UserError as error:
            raise UserError(f"{study.cache.path}: {error}") from error
    first, *more = parts
    return first.updated(*more) if more else first


def _signature(split: Split) -> str:
    """Hash of the rows of every fit."""
    digest = hashlib.sha256()
    for fold in (*split.folds, *(split.exploration.folds if split.exploration else ())):
        for rows in (fold.train, *(rows for pair in fold.inner for rows in pair), *fold.tests.values()):
            digest.update(np.ascontiguousarray(rows).tobytes() + b"|")
        digest.update("|".join(fold.tests).encode())
    return digest.hexdigest()


def _run_together(study: Study, unit: Unit, targets: tuple[str, ...], progress: bool, spread: Spread) -> Results:
    """Fit a unit for targets that share their fits, and where layers are chosen by other fits, those too."""
    splits = {target: study.splits[target] for target in targets}
    results = _run_splits(study, unit, splits, study.settings_for(targets[0]), progress, spread)
    explored = {target: split.exploration for target, split in splits.items() if split.exploration}
    if not explored:
        return results
    # What a choice is made by is the score alone.
    settings = replace(study.settings_for(targets[0]), permutations=0, mdl=False)
    chosen_by = _run_splits(study, unit, explored, settings, progress, spread)
    return Results(
        scores=table(pd.concat([results.scores, chosen_by.scores]), SCORES),
        weights=results.weights,
        protocol=results.protocol,
        predictions=table(pd.concat([results.predictions, chosen_by.predictions]), PREDICTIONS),
        recalls=table(pd.concat([results.recalls, chosen_by.recalls]), RECALLS),
        refits=table(pd.concat([results.refits, chosen_by.refits]), REFITS),
    )


def _run_splits(
    study: Study,
    unit: Unit,
    splits: Mapping[str, Split],
    settings: FitSettings,
    progress: bool,
    spread: Spread,
) -> Results:
    """Fit and score a unit for targets that share their fits, on the split of each."""
    targets = tuple(splits)
    task = Task(
        cache=study.cache,
        settings=settings,
        features=unit.features,
        targets=targets,
        labels=study.labels,
        split=splits[targets[0]],
        bar=partial(_bar, study.name(unit)) if progress else lambda items, _: items,
        spread=spread,
    )
    fitted = unit.probe.fit(task)
    scores, predictions, of_classes, refits, entries = [], [], [], [], []
    for column, target in enumerate(targets):
        scored = _to_score(study, unit, fitted, column, target, splits[target])
        found = score(scored, resamples=study.settings.resamples, seed=study.settings.seed)
        scores += found.scores
        of_classes += found.recalls
        predictions.append(found.predictions)
        refits += found.refits
        notes = list(dict.fromkeys([*fitted.notes.get(target, ()), *found.reasons]))
        refitted = any(row.get("interval") in OF_REFITS for row in found.scores)
        entries.append(entry_of(study, unit, target, notes, refitted=refitted))
    weights = [
        {
            **row,
            **dict(zip(KEY, study.key(unit, row["dimension"]), strict=True)),
            "depth": _depth(study, row["layer"]),
        }
        for row in fitted.weights
    ]
    return Results(
        table(scores, SCORES),
        table(weights, WEIGHTS),
        entries,
        table(pd.concat(predictions), PREDICTIONS),
        table(of_classes, RECALLS),
        table(pd.concat(refits) if refits else [], REFITS),
    )


def _to_score(study: Study, unit: Unit, fitted: Fitted, column: int, target: str, split: Split) -> Scored:
    """Predictions of one of the targets that were fitted together, beside its labels."""
    labels = study.labels

    def identity(fit: Fit) -> dict:
        key = dict(zip(KEY, study.key(unit, target), strict=True))
        return {**key, "layer": fit.layer, "depth": _depth(study, fit.layer), "seed": fit.seed}

    return Scored(
        split=split,
        truth=labels.truth(target),
        labelled=labels.labelled(target),
        predictions=np.stack([fit.predictions[:, column] for fit in fitted.fits]),
        identity=[identity(fit) for fit in fitted.fits],
        penalties=[None if fit.penalties is None else fit.penalties[:, column] for fit in fitted.fits],
        categories=labels.categories if target == EMOTION else None,
        ids=labels.table["id"].tolist(),
        speakers=labels.speakers,
        nulls=[
            {name: null[:, column] for name, null in fit.nulls.items()} if fit.nulls else None for fit in fitted.fits
        ],
        tested=[
            {name: score[column] for name, score in fit.tested.items()} if fit.tested else None for fit in fitted.fits
        ],
        permuted=WITHIN if study.settings_for(target).permute_within_speakers else FREE,
        codes=[
            {"mdl_bits": fit.code.bits[column], "compression": fit.code.compression[column]} if fit.code else None
            for fit in fitted.fits
        ],
        left_out=[None if fit.left_out is None else fit.left_out.of_target(column) for fit in fitted.fits],
    )


def _depth(study: Study, layer: int | None) -> float | None:
    """Place of a layer from 0 to 1; None for what is no layer."""
    return None if layer is None or layer < 0 else layer / max(study.cache.n_layers - 1, 1)


def _bar(name: str, items: Iterable, unit: str) -> Iterable:
    """A progress bar on standard error."""
    return progress_bar(items, desc=name, unit=unit)
