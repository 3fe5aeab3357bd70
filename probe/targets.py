"""The labels of a corpus as probes and models see them: who has one, what refuses to be fitted, and who is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION

from .classes import ALL, Classes, chosen_classes, told
from .planning import plan
from .shared_audio import shared_audio
from .splits import Split
from .units import GROUPED

#: What can be a target.
TARGETS = (*DIMENSIONS, EMOTION)


class Folding(Protocol):
    """The settings by which folds are made; see :func:`.planning.plan`."""

    @property
    def folds(self) -> int:
        """Folds that keep speakers and groups whole, where the corpus has no split or folds of its own."""

    @property
    def seed(self) -> int:
        """Of the folds."""

    @property
    def ungrouped(self) -> bool:
        """Whether folds by utterance are allowed in a corpus that names no speaker."""


@dataclass(frozen=True)
class Labels:
    """The labels of a table of utterances, of those that can be used.

    Attributes
    ----------
    table : DataFrame
        Columns of a corpus; with `status` and `reason` where some utterances cannot be used.
    usable : ndarray of bool, shape (utterances,)
    values : dict of str to ndarray, shape (utterances,)
        Ratings of each dimension; NaN where there is none, or the utterance cannot be used.
    classes : ndarray of int, shape (utterances,)
        Number of the category; -1 where there is none that is fitted, or the utterance cannot be used.
    categories : list of str
        Names of the categories, by number.
    chosen : Classes
        The names in the corpus that make each category.
    emotions : dict of str to int
        Utterances of each name in the corpus that can be used, whether it is fitted or not.
    notes : list of str
        What is to be said of the choice of categories.
    """

    table: pd.DataFrame
    usable: np.ndarray
    values: dict[str, np.ndarray]
    classes: np.ndarray
    categories: list[str]
    chosen: Classes
    emotions: dict[str, int]
    notes: list[str]

    @classmethod
    def of(cls, table: pd.DataFrame, *, classes: str | None = ALL, corpus: str = "") -> Labels:
        """Labels of a table: of the rows whose `status` is "done", or of all where it has none.

        Parameters
        ----------
        table : DataFrame
        classes : str, optional
            Which categories, see :func:`.classes.chosen_classes`.
        corpus : str
            Its name.

        Raises
        ------
        UserError
            If `classes` names what the corpus does not have.
        """
        usable = (table["status"] == "done").to_numpy() if "status" in table else np.ones(len(table), dtype=bool)
        values = {name: np.where(usable, table[name].to_numpy(np.float64), np.nan) for name in DIMENSIONS}
        emotion = _emotions(table)
        emotions = dict(Counter(name for name in emotion[usable] if name))
        chosen = chosen_classes(classes, corpus, emotions)
        number = {name: k for k, name in enumerate(chosen.names)}
        number_of = {name: number[made] for name, made in chosen.class_of().items()}
        numbers = np.array([number_of.get(name, -1) for name in emotion], dtype=np.int64)
        notes = told(chosen, classes, corpus, emotions)
        return cls(table, usable, values, np.where(usable, numbers, -1), chosen.names, chosen, emotions, notes)

    @cached_property
    def speakers(self) -> list[str]:
        """Speaker of each utterance; "" is unknown."""
        return self.table["speaker"].fillna("").astype(str).tolist()

    def truth(self, target: str) -> np.ndarray:
        """Ratings, or numbers of categories, shape (utterances,)."""
        return self.classes if target == EMOTION else self.values[target]

    def labelled(self, target: str) -> np.ndarray:
        """Who can be used and has a label, shape (utterances,) bool."""
        return self.classes >= 0 if target == EMOTION else ~np.isnan(self.values[target])

    def rated(self, target: str) -> np.ndarray:
        """Who can be used and has a label in the corpus, whether it is fitted or not, shape (utterances,) bool."""
        return self.usable & (_emotions(self.table) != "") if target == EMOTION else self.labelled(target)

    def vary(self, target: str) -> bool:
        """Whether there are two different labels to tell apart."""
        values = self.truth(target)[self.labelled(target)]
        return len(values) > 0 and bool(np.ptp(values) > 0)

    def ratings(self, dimensions: Sequence[str]) -> np.ndarray:
        """Ratings of several dimensions, shape (utterances, dimensions); NaN where there is none."""
        return np.stack([self.values[name] for name in dimensions], axis=1)

    def plan(self, targets: Sequence[str], folding: Folding, *, among: Sequence[str], confirm: bool = False) -> Split:
        """Plan the fits of targets.

        Parameters
        ----------
        targets : sequence of str
            Those that are about to be fitted.
        folding : Folding
        among : sequence of str
            Whoever has a label of any of these is dealt to the folds, so that all of these share them.
        confirm : bool
            Whether layers and rivals are chosen on other speakers than those that are scored.

        Returns
        -------
        Split

        Raises
        ------
        UserError
            As :func:`.planning.plan` tells it.
        """
        planned = plan(
            self.table["split"].fillna("").astype(str).tolist(),
            self.speakers,
            np.logical_or.reduce([self.rated(name) for name in among]),
            np.stack([self.labelled(name) for name in targets], axis=1),
            groups=self.table["group"].fillna("").astype(str).tolist(),
            folds=self.table["fold"].fillna("").astype(str).tolist(),
            n_folds=folding.folds,
            seed=folding.seed,
            ungrouped=folding.ungrouped,
            alike=self.table["gender"].fillna("").astype(str).tolist() if confirm else None,
        )
        return replace(planned, notes=[*shared_audio(self.table, planned.folds), *planned.notes])


def plan_target(labels: Labels, target: str, folding: Folding, *, corpus: str, confirm: bool = False) -> Split:
    """Plan the fits of one target, in the folds that all targets share.

    Parameters
    ----------
    labels : Labels
    target : str
    folding : Folding
    corpus : str
        Its name, for the message.
    confirm : bool
        See :meth:`Labels.plan`.

    Returns
    -------
    Split

    Raises
    ------
    UserError
        If there is nothing to fit or to tell apart, or too few speakers have a label.
    """
    _refuse_unfit(labels, target, corpus)
    split = labels.plan([target], folding, among=TARGETS, confirm=confirm)
    if corpus in GROUPED and not split.units.grouped:
        said = (
            f"'{corpus}' has no groups here, so two who talk to each other may be on both sides: take them over with "
            "probe-extract --refresh-labels, where an earlier version made the cache, or give a manifest the column "
            "'group'"
        )
        split = replace(split, notes=[said, *split.notes])
    labelled = labels.labelled(target)
    for fold in (*split.folds, *(split.exploration.folds if split.exploration else ())):
        if not labelled[fold.train].any() or not all(labelled[train].any() for train, _ in fold.inner):
            speakers = len(np.unique(split.units.speakers[labelled]))
            raise UserError(
                f"too few speakers have a label of {target} ({speakers}) for {folding.folds} folds: "
                "ask for fewer with --folds"
            )
    return split


def left_out(labels: Labels, target: str) -> list[str]:
    """Which utterances take no part in the fits of a target, and what makes its categories, in sentences."""
    notes = []
    usable = int(labels.usable.sum())
    missing = usable - int(labels.rated(target).sum())
    if missing:
        notes.append(f"{target}: {missing} of {usable} utterances have no label and are left out")
    notes += labels.notes if target == EMOTION else _looked_up(labels, target)
    for status, number in labels.table["status"][~labels.usable].value_counts().sort_index().items():
        notes.append(f"{number} utterances have no states and are left out (status {status})")
    return notes


#: Said of ratings that are none.
LOOKED_UP = "has one value for each category of emotion"


def _looked_up(labels: Labels, target: str) -> list[str]:
    """Whether the ratings are read off the categories; nobody then rated an utterance."""
    rated = labels.labelled(target)
    values = pd.Series(labels.values[target][rated]).groupby(_emotions(labels.table)[rated]).agg(["nunique", "size"])
    if len(values) < 2 or "" in values.index or (values["nunique"] > 1).any() or (values["size"] < 2).all():
        return []
    return [f"{target} {LOOKED_UP}: it is no rating of an utterance, and says no more than the category does"]


def _emotions(table: pd.DataFrame) -> np.ndarray:
    return table["emotion"].fillna("").astype(str).str.strip().to_numpy(object)


def _refuse_unfit(labels: Labels, target: str, corpus: str) -> None:
    labelled = labels.labelled(target)
    if not labels.usable.any():
        raise UserError(_why_nothing_is_usable(labels.table))
    if not labelled.any():
        there = [name for name in TARGETS if labels.labelled(name).any()]
        how = "--target emotion" if there == [EMOTION] else "--dim" if EMOTION not in there else "--dim or --target"
        asked = f"; there are labels of {', '.join(there)}: ask for them with {how}" if there else ""
        raise UserError(
            f"no utterance of '{corpus}' has a label of {target}{asked}. Where the corpus holds it under another name, "
            f"extract with --columns {target}=NAME --refresh-labels, which hears no audio again"
        )
    if labels.vary(target):
        return
    label = labels.truth(target)[labelled][0]
    if target == EMOTION:
        raise UserError(f"every utterance is '{labels.categories[label]}': nothing to tell apart")
    raise UserError(f"{target} is {label:g} in all {int(labelled.sum())} labelled utterances: nothing to predict")


def _why_nothing_is_usable(table: pd.DataFrame) -> str:
    statuses = table["status"].value_counts().sort_index()
    counts = ", ".join(f"{number} are {status}" for status, number in statuses.items())
    reasons = sorted({reason for reason in table["reason"].fillna("").astype(str) if reason})
    return (
        f"no utterance has hidden states, of whatever label: {counts}"
        + (f" ({reasons[0]})" if reasons else "")
        + "; mend that, and extract again with --overwrite"
    )
