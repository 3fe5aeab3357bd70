"""Who is trained on and who is tested: a corpus's own split or folds, or folds that keep speakers and groups whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from emoprobe.errors import UserError

from .halves import CONFIRMATION, EXPLORATION, HALVES, folds_within, halves
from .leakage import cannot_be_told, folds_in_words, in_words, leaks, pairs_of, refuse_leakage
from .splits import (
    CROSS_VALIDATION,
    DEVELOPMENT,
    OFFICIAL,
    POOLED,
    Fold,
    Pairs,
    Split,
    cross_validation,
    each_held_out,
    inner_folds,
)
from .units import GROUP, SPEAKER, Units, is_unknown

#: Known speakers of a training part from which its own folds choose a penalty better than a development part would.
_FEWEST_SPEAKERS = 5

#: Given folds up to which each serves as an inner fold of the others; more would cost a fit for every two of them.
_MOST_PAIRED = 10


def plan(
    split: Sequence[str],
    speakers: Sequence[str],
    usable: ArrayLike,
    labelled: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    folds: Sequence[str] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    ungrouped: bool = False,
    alike: Sequence[str] | None = None,
) -> Split:
    """Plan the fits of a corpus.

    A corpus that names a training part and something to score is fitted on its own split: the penalty is chosen on
    inner folds of the training part, which keep speakers and groups whole and have many more speakers than a
    development part; on the development part only where the training part names fewer than five speakers. A corpus that
    names folds is cross-validated in them. What either shares between its parts is told. Any other corpus is
    cross-validated in folds that keep speakers and groups whole.

    With `alike`, layers and rivals are chosen on rows that are not scored (:mod:`.halves`). A corpus's own test part
    confirms as it is: the choice is made on its development part, or in folds of its training part where it has none.
    In any other corpus one half of the speakers explores and the other confirms, each cross-validated by itself.

    Parameters
    ----------
    split : sequence of str, shape (utterances,)
        "", "train", "development", "test", "test1", ...
    speakers : sequence of str, shape (utterances,)
        "" is unknown.
    usable : array_like of bool, shape (utterances,)
        Whether the utterance has hidden states and any label at all. Folds are made of these rows whatever the
        target, so that dimensions share them.
    labelled : array_like of bool, shape (utterances, targets)
        Whether the utterance has a label of each target that is about to be fitted.
    groups, folds : sequence of str, shape (utterances,), optional
        What no fold may split, and the name of a given fold; "" is none.
    n_folds : int
    seed : int
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    alike : sequence of str, shape (utterances,), optional
        To have layers and rivals chosen on rows that are not scored: what both halves are to have in common, such as
        the gender of the speaker.

    Returns
    -------
    Split

    Raises
    ------
    UserError
        If a fold cannot be made without a speaker on both sides, or speakers are unknown and `ungrouped` is false,
        or `ungrouped` is true and speakers are known.
    """
    units = Units.of(speakers, groups)
    rows = np.flatnonzero(np.asarray(usable, bool))
    nothing = [""] * len(split)
    asked = _Asked(
        rows=rows,
        split=np.asarray([str(part) for part in split]),
        fold=np.asarray([str(name).strip() for name in (nothing if folds is None else folds)]),
        names={SPEAKER: list(speakers), GROUP: nothing if groups is None else list(groups)},
        labelled=np.asarray(labelled, bool).reshape(len(split), -1),
        known=np.array([not is_unknown(speaker) for speaker in speakers], dtype=bool),
        units=units,
        n_folds=n_folds,
        seed=seed,
        ungrouped=ungrouped,
        alike=np.asarray([str(value) for value in (nothing if alike is None else alike)]),
    )
    if ungrouped and asked.named.any():
        raise UserError(
            "--ungrouped is for a corpus that names no speaker, and this one does: without it the folds are grouped "
            "by speaker"
        )
    official = _official(asked)
    if alike is not None:
        planned = _confirmed(official, asked) if official else _halved(asked)
    else:
        planned = official or _given(asked) or _dealt(asked)
    notes = asked.unknown_told(planned.kind) + planned.notes + units.told(rows)
    return replace(planned, notes=notes, unknown_speakers=int((~asked.known[rows]).sum()))


@dataclass(frozen=True)
class _Asked:
    """The arguments of :func:`plan`, row by row."""

    rows: np.ndarray
    split: np.ndarray
    fold: np.ndarray
    names: dict[str, list[str]]
    labelled: np.ndarray
    known: np.ndarray
    units: Units
    n_folds: int
    seed: int
    ungrouped: bool
    alike: np.ndarray

    @property
    def named(self) -> np.ndarray:
        """Of the rows that take part, whose speaker or group is known."""
        return (self.known | (self.units.groups >= 0))[self.rows]

    def part(self, name: str) -> np.ndarray:
        return self.rows[self.split[self.rows] == name]

    def need_speakers(self) -> None:
        if self.named.any() or self.ungrouped:
            return
        raise UserError(
            "the corpus names no speaker, so folds cannot keep one on one side: add a speaker column to the manifest, "
            "or accept folds by utterance with --ungrouped (scores will be too high if voices recur)"
        )

    def unknown_told(self, kind: str) -> list[str]:
        """That some utterances have no speaker, and what cannot be known of them."""
        unknown = int((~self.known[self.rows]).sum())
        if not 0 < unknown < len(self.rows):
            return []
        said = f"{unknown} of {len(self.rows)} utterances have no speaker: each counts as a speaker of its own"
        return [said + ("" if kind == OFFICIAL else "; whether folds share their voices cannot be told")]

    @property
    def kinds(self) -> list[str]:
        """Of speakers and groups, those that the corpus names."""
        return [SPEAKER] * bool(self.known[self.rows].any()) + [GROUP] * self.units.grouped

    @property
    def by(self) -> str:
        return "speaker and group" if self.units.grouped else "speaker"


def _held_out(asked: _Asked) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """Test parts, and the development part, of the corpus's own that have a label; and which have none."""
    tests, notes = {}, []
    for name in sorted({name for name in asked.split if name.startswith("test")}):
        part = asked.part(name)
        if asked.labelled[part].any():
            tests[name] = part
        else:
            notes.append(f"split '{name}' has no labels of what is fitted: it is not scored")
    development = asked.part(DEVELOPMENT)
    if len(development) and not asked.labelled[development].any():
        notes.append("split 'development' has no labels of what is fitted: it is not used")
        development = development[:0]
    return tests, development, notes


def _official(asked: _Asked) -> Split | None:
    """The corpus's own parts, where there is one to train on and one to score."""
    units, train = asked.units, asked.part("train")
    tests, development, notes = _held_out(asked)
    if not (len(train) and (tests or len(development))):
        return None
    left = np.setdiff1d(asked.rows, np.concatenate([train, development, *tests.values()]))
    if len(left):
        notes.append(f"{len(left)} utterances belong to no part that is used and are left out")
    if (asked.fold[asked.rows] != "").any():
        notes.append("the column 'fold' is not used: the corpus has a training part, and parts to score")
    if tests and len(development):
        tests = {DEVELOPMENT: development, **tests}
        stop = development
        notes.append("probes trained by epochs stop on 'development', so their score of that part is optimistic")
    else:
        asked.need_speakers()
        tests = tests or {DEVELOPMENT: development}
        stop = None
    named = train[asked.known[train] | (units.groups[train] >= 0)]
    whole, by, why = _kept_whole(train, asked)
    on_development = stop is not None and len(np.unique(whole[named])) < _FEWEST_SPEAKERS
    inner: Pairs = ((train, development),)
    if on_development:
        by = asked.by
        notes.append("the penalty is chosen on 'development', so the score of that part is optimistic")
    else:
        inner = _inner(train, whole, asked)
        notes.append(f"the penalty is chosen on {len(inner)} inner folds of 'train', grouped by {by}{why}")
    parts = {"train": train, DEVELOPMENT: development, **tests}
    leakage = leaks(pairs_of(parts), units, asked.names)
    notes += in_words(leakage)
    if not asked.known[asked.rows].any():
        notes.append("the corpus names no speaker: whether its split shares speakers cannot be told")
    else:
        notes += cannot_be_told({"train": train, **tests}, asked.known)
    if not on_development:
        refuse_leakage([Fold(POOLED, train, inner, {})], whole, asked.names[SPEAKER])
    return Split(OFFICIAL, (Fold(POOLED, train, inner, tests, stop),), units, whole, leakage, notes, kept_whole=by)


def _given(asked: _Asked) -> Split | None:
    """The folds that the corpus names, as they are."""
    rows = asked.rows[asked.fold[asked.rows] != ""]
    if not len(rows):
        return None
    by_letters, fold = np.unique(asked.fold[rows], return_inverse=True)
    order = sorted(range(len(by_letters)), key=lambda k: _natural(str(by_letters[k])))
    names, fold = [str(by_letters[k]) for k in order], np.argsort(order)[fold]
    if POOLED in names:
        raise UserError(f"no fold can be called '{POOLED}', which names the score of all of them: give it another name")
    if len(names) < 2:
        raise UserError(
            f"every utterance is in the fold '{names[0]}': name two folds or more in the column 'fold', or leave it out"
        )
    notes = [f"the corpus names {len(names)} folds, which are used as they are ({_first(names)}); --folds is not"]
    if len(rows) < len(asked.rows):
        notes.append(f"{len(asked.rows) - len(rows)} of {len(asked.rows)} utterances are in no fold and are left out")
    units = asked.units
    if units.unit == GROUP and _same_parts(fold, units.resampled[rows]):
        notes.append("each fold is one group: one group is left out at a time")
    if 2 < len(names) <= _MOST_PAIRED:
        planned, by = each_held_out(rows, fold, names), ""
    else:
        kept_whole = [_kept_whole(rows[fold != k], asked) for k in range(len(names))]
        planned = tuple(
            Fold(name, others, _inner(others, numbers, asked), {CROSS_VALIDATION: rows[fold == k]})
            for k, (name, (numbers, *_)) in enumerate(zip(names, kept_whole, strict=True))
            for others in [rows[fold != k]]
        )
        _, by, why = kept_whole[-1]
        notes.append(
            f"the penalty is chosen on {len(planned[0].inner)} inner folds of the other folds, grouped by {by}{why}"
        )
    pairs = [(f"fold {name}", rows[fold == k], "the other folds", rows[fold != k]) for k, name in enumerate(names)]
    leakage = leaks(pairs, units, asked.names)
    notes += folds_in_words(leakage) or [f"no {' and no '.join(asked.kinds)} is in two folds"] * bool(asked.kinds)
    if not by and not leakage and asked.kinds:
        by = asked.by
    if not asked.known[rows].any():
        notes.append("the corpus names no speaker: whether its folds share speakers cannot be told")
    whole, *_ = _kept_whole(rows, asked)
    return Split("folds of the corpus", planned, units, whole, leakage, notes, kept_whole=by)


def _dealt(asked: _Asked) -> Split:
    """Folds that keep speakers and groups whole."""
    asked.need_speakers()
    rows, units = asked.rows, asked.units
    if len(rows) == 0:
        raise UserError("no utterance has both hidden states and a label")
    notes = []
    sets, sizes = np.unique(units.whole[rows], return_counts=True)
    if units.grouped:
        if len(sets) < max(asked.n_folds, 3):
            raise UserError(_too_few(asked, len(sets)))
        notes.append(f"folds keep speakers and groups whole: {len(sets)} sets of utterances share neither")
        if sizes.max() > len(rows) / 2:
            notes.append(f"one such set holds {int(sizes.max())} of {len(rows)} utterances: the folds are uneven")
        if not asked.known[rows].any():
            notes.append("the corpus names no speaker: whether groups share one cannot be told")
    folds = cross_validation(rows, units.whole, asked.n_folds, seed=asked.seed)
    refuse_leakage(folds, units.whole, asked.names[SPEAKER])
    kind = "speaker-grouped folds" if asked.named.any() else "ungrouped folds"
    kind = "speaker- and group-wise folds" if units.grouped else kind
    return Split(kind, folds, units, units.whole, [], notes, kept_whole=asked.by)


def _confirmed(official: Split, asked: _Asked) -> Split:
    """A corpus's own split, whose scored part confirms what was chosen elsewhere.

    The score is that of a probe whose training speakers the layer was chosen on: of this probe it is right, and others
    that are trained on other speakers may have less.
    """
    (fold,) = official.folds
    if fold.development is not None:
        said = "layers and rivals are chosen on 'development', and nothing on a test part: that confirms (--confirm)"
        return replace(official, notes=[*official.notes, said])
    whole, by, _ = _kept_whole(fold.train, asked)
    folds = folds_within(fold.train, whole, asked.n_folds, seed=asked.seed, name=EXPLORATION)
    explored = Split("folds of 'train'", folds, asked.units, whole, kept_whole=by)
    tests = {CONFIRMATION if name == DEVELOPMENT else name: rows for name, rows in fold.tests.items()}
    said = (
        f"layers and rivals are chosen in {len(folds)} folds of 'train' that keep every {by} whole, and nothing on "
        f"{' or '.join(repr(str(name)) for name in fold.tests)}: that confirms (--confirm)"
    )
    if DEVELOPMENT in fold.tests:
        said += f", and is called '{CONFIRMATION}'"
    fold = replace(fold, tests=tests)
    return replace(official, folds=(fold,), notes=[*official.notes, said], exploration=explored)


def _halved(asked: _Asked) -> Split:
    """One half of the speakers to explore, the other to confirm."""
    asked.need_speakers()
    rows, units = asked.rows, asked.units
    if len(rows) == 0:
        raise UserError("no utterance has both hidden states and a label")
    first, second = halves(rows, units.whole, asked.alike.tolist(), seed=asked.seed)
    inner = _inner(first, units.whole, asked)
    explored, confirmed = (
        folds_within(half, units.whole, asked.n_folds, seed=asked.seed, name=name)
        for half, name in ((first, EXPLORATION), (second, CONFIRMATION))
    )
    folds = tuple(replace(fold, inner=inner, development=first) for fold in confirmed)
    refuse_leakage((*folds, *explored), units.whole, asked.names[SPEAKER])
    gender = "gender and " if len(np.unique(asked.alike[rows])) > 1 else ""
    notes = [
        f"{_who(first, asked)} explore and {_who(second, asked)} confirm, drawn by seed {asked.seed} in pairs alike in "
        f"{gender}number of utterances: layers, penalties and rivals are chosen on the first, in {len(explored)} folds "
        f"that keep every {asked.by} whole; with these, probes are fitted and scored on the others, in {len(folds)} "
        "such folds, and nothing is chosen on them"
    ]
    if (asked.fold[rows] != "").any():
        notes.append("the column 'fold' is not used: --confirm parts the speakers anew")
    chosen_by = Split("folds of the exploration", explored, units, units.whole, kept_whole=asked.by)
    return Split(HALVES, folds, units, units.whole, [], notes, kept_whole=asked.by, exploration=chosen_by)


def _who(rows: np.ndarray, asked: _Asked) -> str:
    sets, speakers = len(np.unique(asked.units.whole[rows])), len(np.unique(asked.units.speakers[rows]))
    together = f" in {sets} sets" if asked.units.grouped else ""
    return f"{speakers} speakers{together} ({len(rows)} utterances)"


def _too_few(asked: _Asked, sets: int) -> str:
    rows, units = asked.rows, asked.units
    groups = units.groups[rows]
    remedy = (
        "leave the groups out (probe-extract … --columns group= --refresh-labels), and folds keep speakers alone "
        "whole; or name folds in a column 'fold'"
    )
    if sets >= 3:
        remedy = f"ask for at most {sets} with --folds"
    apart = f"{sets} {'set that shares' if sets == 1 else 'sets that share'} neither"
    return (
        f"{len(np.unique(units.speakers[rows]))} speakers in {len(np.unique(groups[groups >= 0]))} groups make {apart} "
        f"(a speaker in two groups joins them), too few for {max(asked.n_folds, 3)} folds: {remedy}"
    )


def _same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two numberings part the rows in the same way."""
    pairs = np.unique(np.stack([one, other]), axis=1).shape[1]
    return pairs == len(np.unique(one)) == len(np.unique(other))


def _kept_whole(rows: np.ndarray, asked: _Asked) -> tuple[np.ndarray, str, str]:
    """What inner folds of these rows keep whole, in numbers and in words, and why it is not more.

    Where speakers who are in several groups join most of the rows, that is the larger of speakers and groups alone.
    """
    units = asked.units
    _, sizes = np.unique(units.whole[rows], return_counts=True)
    if units.grouped and sizes.max() > len(rows) / 2:
        return units.resampled, units.unit, " alone, since speakers and groups together hold most utterances together"
    return units.whole, asked.by, ""


def _inner(rows: np.ndarray, numbers: np.ndarray, asked: _Asked) -> Pairs:
    what = "speaker" if not asked.units.grouped else "set of speakers and groups"
    return inner_folds(rows, numbers, asked.n_folds, seed=asked.seed, what=what)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """The order of names in which 10 comes after 9."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
