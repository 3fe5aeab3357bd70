"""What a number depends on: the identity of a unit's results, and their entry in the protocol."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora.cells import EMOTION
from emoprobe.extract.versions import versions
from emoprobe.jsontext import to_json

from . import bootstrap, halves, jackknife, metrics, recalls, splits
from .bootstrap import INTERVALS
from .classes import Classes
from .probes.base import versions_of
from .results import KEY, Results
from .splits import Split
from .units import SPEAKER, count_speakers

if TYPE_CHECKING:
    from .study import Study, Unit


def settings_of(study: Study, unit: Unit, target: str) -> dict:
    """Settings on which the numbers of a unit depend, as JSON."""
    settings, probe = study.settings_for(target), unit.probe
    others = [recalls] * (target == EMOTION) + [halves] * settings.confirm
    return {
        "probe": probe.name,
        "features": unit.features,
        "dimension": target,
        "seed": settings.seed,
        "folds_asked": settings.folds,
        "resamples": settings.resamples,
        "ungrouped": settings.ungrouped,
        "methods": {**versions_of(splits, metrics, bootstrap, *others), **probe.versions(settings, target)},
        **probe.identity(settings, target, study.inputs),
        **_classes(study, target),
        **({"confirm": True} if settings.confirm else {}),
    }


def _classes(study: Study, target: str) -> dict[str, str]:
    """Which categories are fitted, where that is not every name that the corpus has."""
    labels = study.labels
    chosen = target == EMOTION and labels.chosen != Classes.every(labels.emotions)
    return {"classes": str(labels.chosen)} if chosen else {}


def unit_hash(study: Study, unit: Unit, target: str) -> str:
    """Hash of the settings of a unit and of the cache it is fitted on."""
    used = {"settings": settings_of(study, unit, target), "cache": study.digest}
    return hashlib.sha256(to_json(used, sort_keys=True).encode()).hexdigest()


def is_of(entry: dict, study: Study, unit: Unit) -> bool:
    """Whether an entry of a protocol is of this unit, fitted with these settings on this cache."""
    target = entry["dimension"]
    return (
        target in study.targets_of(unit)
        and tuple(entry[name] for name in KEY) == study.key(unit, target)
        and entry.get("hash") == unit_hash(study, unit, target)
    )


def entry_of(study: Study, unit: Unit, target: str, notes: list[str], *, refitted: bool = False) -> dict:
    """Entry of the protocol: what is needed to cite the numbers of a unit, and to make them again.

    Parameters
    ----------
    study : Study
    unit : Unit
    target : str
    notes : list of str
    refitted : bool
        Whether its intervals are of probes that were fitted again without each speaker.
    """
    split, labels = study.splits[target], study.labels
    labelled = labels.labelled(target)
    entry = {
        **dict(zip(KEY, study.key(unit, target), strict=True)),
        "hash": unit_hash(study, unit, target),
        "cache": {
            "file": study.cache.path.name,
            "provenance": study.cache.provenance,
            "utterances": len(labels.table),
            "labelled": int(labelled.sum()),
            "speakers": count_speakers([labels.speakers[row] for row in np.flatnonzero(labelled)])[0],
            "unknown_speaker": split.unknown_speakers,
            **_groups(split, labelled),
            "left_out": study.left_out[target],
        },
        "split": {
            "kind": split.kind,
            "folds": len(split.folds),
            "inner_folds": len(split.folds[0].inner),
            **({} if split.kept_whole == SPEAKER else {"kept_whole": split.kept_whole}),
            "counts": _counts(split, labelled),
            **_exploration(split, labelled),
            "leakage": split.leakage,
            "notes": split.notes,
        },
        "settings": settings_of(study, unit, target),
        "interval": (jackknife.IN_WORDS if refitted else INTERVALS)[split.units.unit],
        "versions": versions(),
        "notes": notes,
    }
    if target == EMOTION:
        entry["categories"] = labels.categories
    return entry


def _groups(split: Split, labelled: np.ndarray) -> dict[str, int]:
    """How many groups there are, in a corpus that names any."""
    groups = split.units.groups[labelled]
    return {"groups": len(np.unique(groups[groups >= 0]))} if split.units.grouped else {}


def _exploration(split: Split, labelled: np.ndarray) -> dict[str, dict]:
    """The fits that layers and rivals are chosen by, where they are not those of the split."""
    if split.exploration is None:
        return {}
    explored = split.exploration
    return {"exploration": {"kind": explored.kind, "folds": len(explored.folds), "counts": _counts(explored, labelled)}}


def _counts(split: Split, labelled: np.ndarray) -> dict[str, int]:
    """Labelled utterances of each part of a corpus's own split or of the halves, or of each fold."""
    first = split.folds[0]
    if split.kind == "official":
        parts = {"train": first.train, **first.tests}
    elif split.kind == halves.HALVES and split.exploration:
        parts = {
            name: np.concatenate([fold.tests[name] for fold in folds])
            for name, folds in ((halves.EXPLORATION, split.exploration.folds), (halves.CONFIRMATION, split.folds))
        }
    else:
        parts = {fold.name: np.concatenate(list(fold.tests.values())) for fold in split.folds}
    return {name: int(labelled[rows].sum()) for name, rows in parts.items()}


def refuse_mixture(there: Results, cache: HiddenStateCache, out: str | Path | None) -> None:
    """Keep numbers of different models, corpora or precisions from standing under one name.

    Parameters
    ----------
    there : Results
        What the folder holds.
    cache : HiddenStateCache
        What is about to be fitted.
    out : str or Path, optional
        The folder, for the message.

    Raises
    ------
    UserError
        If `there` has results of another cache of the same names.
    """
    for entry in there.protocol:
        same_name = (entry["model"], entry["corpus"]) == (cache.label, cache.corpus)
        probed = "cache" in entry  # a model trained end to end has none
        if same_name and probed and _source(entry["cache"]["provenance"]) != _source(cache.provenance):
            raise UserError(
                f"{out} holds results of another '{cache.label}' on '{cache.corpus}' (other weights, corpus or "
                f"precision than {cache.path}): give another folder with --out, or extract with another --label"
            )


def _source(provenance: dict) -> tuple:
    """What states of one name must have in common."""
    model, corpus = provenance["model"], provenance["corpus"]
    return model.get("weights_sha256"), model.get("normalise"), corpus["sha256"], provenance.get("precision")
