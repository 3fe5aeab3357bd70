"""Who is trained on and who is tested: a corpus's own split, or folds in which no speaker is on both sides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import NOBODY, identifier

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1

CROSS_VALIDATION = "cross-validation"


#: Known speakers of a training part from which its own folds choose a penalty better than a development part would.
_FEWEST_SPEAKERS = 5


@dataclass(frozen=True)
class Fold:
    """One fit: rows to train on, rows to choose the penalty (or the epoch) on, rows to score.

    Parameters
    ----------
    name : str
        "1", "2", ... in a cross-validation, "all" for a corpus's own split.
    train : ndarray of int
        Rows of the final fit, ascending.
    inner : tuple of (train, validation)
        Fits from which the penalty is chosen: inner folds of `train`, or the development split alone.
    tests : dict of str to ndarray of int
        Rows to score by the name of their split.
    development : ndarray of int, optional
        Rows of the corpus's own development part, on which probes that are trained by epochs stop.
    """

    name: str
    train: np.ndarray
    inner: tuple[tuple[np.ndarray, np.ndarray], ...]
    tests: dict[str, np.ndarray]
    development: np.ndarray | None = None

    @property
    def stopping(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that a probe is trained on by epochs, and the rows on which it stops."""
        return self.inner[0] if self.development is None else (self.train, self.development)


@dataclass(frozen=True)
class Split:
    """All fits of a corpus, who the speakers are, and what is to be said about it.

    Parameters
    ----------
    kind : str
        "official" or "speaker-grouped folds" or "ungrouped folds".
    folds : tuple of Fold
    groups : ndarray of int, shape (utterances,)
        Number of the speaker; each row of an unknown speaker is a group of its own.
    leakage : list of dict
        For an official split: each pair of parts that share speakers, with the speakers and their utterances.
    notes : list of str
        Sentences for the protocol and the screen.
    unknown_speakers : int
        Utterances that take part and have no known speaker.
    """

    kind: str
    folds: tuple[Fold, ...]
    groups: np.ndarray
    leakage: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown_speakers: int = 0


def speaker_groups(speakers) -> np.ndarray:
    """Number the speakers; every row of an unknown one ("" or "unknown") becomes a group of its own.

    Parameters
    ----------
    speakers : sequence of str, shape (utterances,)

    Returns
    -------
    ndarray of int, shape (utterances,)
        0 to groups - 1, in the order of first appearance.
    """
    names: dict = {}
    groups = np.empty(len(speakers), dtype=np.int64)
    for row, speaker in enumerate(speakers):
        key = row if is_unknown(speaker) else identifier(str(speaker).strip())
        groups[row] = names.setdefault(key, len(names))
    return groups


def is_unknown(speaker) -> bool:
    """Whether a cell of the speaker column names nobody."""
    return not isinstance(speaker, str) or speaker.strip().casefold() in NOBODY


def group_folds(groups, n_folds: int, *, seed: int = 0) -> np.ndarray:
    """Deal groups to folds of nearly equal size, none to two folds.

    The largest group goes first, each to the fold that is smallest so far; groups of equal size are dealt in an order
    drawn from `seed`.

    Parameters
    ----------
    groups : array_like of int, shape (rows,)
    n_folds : int
    seed : int

    Returns
    -------
    ndarray of int, shape (rows,)
        Number of each row's fold, 0 to n_folds - 1.

    Raises
    ------
    UserError
        If there are fewer groups than folds.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if n_folds < 2:
        raise UserError(f"{n_folds} folds cannot hold anything out: ask for 2 or more")
    if len(names) < n_folds:
        raise UserError(
            f"{len(names)} speakers cannot fill {n_folds} folds without one on both sides: "
            f"ask for at most {len(names)} with --folds"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_group = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for group in order:
        smallest = int(filled.argmin())
        fold_of_group[group] = smallest
        filled[smallest] += sizes[group]
    return fold_of_group[member]


def shared_speakers(one, other, groups, speakers) -> list[dict]:
    """Speakers with rows in both parts, with how many in each.

    Parameters
    ----------
    one, other : ndarray of int
        Rows of the two parts.
    groups : ndarray of int, shape (utterances,)
    speakers : sequence of str, shape (utterances,)

    Returns
    -------
    list of dict
        `speaker`, `first` and `second` (utterances in `one` and in `other`), by speaker's name.
    """
    both = np.intersect1d(groups[one], groups[other])
    found = []
    for group in both:
        row = int(np.flatnonzero(groups == group)[0])
        first, second = int((groups[one] == group).sum()), int((groups[other] == group).sum())
        found.append({"speaker": str(speakers[row]), "first": first, "second": second})
    return sorted(found, key=lambda entry: entry["speaker"])


def refuse_leakage(folds, groups, speakers) -> None:
    """Refuse folds in which a speaker is trained on and held out.

    Raises
    ------
    UserError
        Naming the fold, the speakers and their utterances.
    """
    for fold in folds:
        parts = [(fold.train, rows, f"'{name}'") for name, rows in fold.tests.items()]
        parts += [(train, validation, "its inner validation rows") for train, validation in fold.inner]
        for train, held_out, name in parts:
            shared = shared_speakers(train, held_out, groups, speakers)
            if shared:
                names = ", ".join(
                    f"{entry['speaker'] or 'an unnamed row'} ({entry['first']} and {entry['second']} utterances)"
                    for entry in shared[:5]
                )
                more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
                raise UserError(
                    f"fold {fold.name} trains on speakers who are also in {name}: {names}{more}; "
                    "group the folds by speaker"
                )


def _inner(rows, groups, n_folds, seed):
    """Speaker-grouped inner folds of `rows`, as many as there are speakers for, 2 at least."""
    available = len(np.unique(groups[rows]))
    if available < 2:
        raise UserError(
            f"the {len(rows)} training utterances come from {available} speaker: no speaker is left to choose the "
            "penalty on; give the corpus a development split or more speakers"
        )
    fold = group_folds(groups[rows], min(n_folds, available), seed=seed)
    return tuple((rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1))


def cross_validation(rows, groups, n_folds: int, *, seed: int = 0) -> tuple[Fold, ...]:
    """Speaker-grouped folds, each with the other folds as its inner folds.

    The inner fits of a fold leave out one more fold: the fit that leaves out folds i and j serves both. The first
    inner validation fold of fold i is the one that follows it, so each is used for that once.

    Parameters
    ----------
    rows : ndarray of int
        Rows that take part, ascending.
    groups : ndarray of int, shape (utterances,)
    n_folds : int
        At least 3: one to score, one to choose on, one to train on.
    seed : int

    Returns
    -------
    tuple of Fold

    Raises
    ------
    UserError
        If there are fewer groups than folds, or fewer folds than 3.
    """
    speakers = len(np.unique(groups[rows]))
    if speakers < 3:
        raise UserError(
            f"{speakers} speakers are too few: one is scored, one chooses the penalty, the others train; "
            "at least 3 are needed"
        )
    if n_folds < 3:
        raise UserError(
            f"--folds {n_folds} is too few: one scores, one chooses the penalty, the others train; ask for 3"
        )
    fold = group_folds(groups[rows], n_folds, seed=seed)
    folds = []
    for k in range(n_folds):
        train = rows[fold != k]
        others = [(k + step) % n_folds for step in range(1, n_folds)]
        inner = tuple((rows[(fold != k) & (fold != j)], rows[fold == j]) for j in others)
        folds.append(Fold(str(k + 1), train, inner, {CROSS_VALIDATION: rows[fold == k]}))
    return tuple(folds)


def plan(split, speakers, usable, labelled, *, n_folds: int = 5, seed: int = 0, ungrouped: bool = False) -> Split:
    """Plan the fits of a corpus.

    A corpus that names a training part and something to score is fitted on its own split: the penalty is chosen on
    inner speaker-grouped folds of the training part, which has many more speakers than a development part; on the
    development part only where the training part names fewer than five speakers. Any other corpus is cross-validated
    in speaker-grouped folds.

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
    n_folds : int
    seed : int
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.

    Returns
    -------
    Split

    Raises
    ------
    UserError
        If a fold cannot be made without a speaker on both sides, or speakers are unknown and `ungrouped` is false,
        or `ungrouped` is true and speakers are known.
    """
    split = np.asarray([str(part) for part in split])
    speakers = list(speakers)
    usable, labelled = np.asarray(usable, bool), np.asarray(labelled, bool).reshape(len(split), -1)
    groups = speaker_groups(speakers)
    known = np.array([not is_unknown(speaker) for speaker in speakers], dtype=bool)
    rows = np.flatnonzero(usable)
    unknown = int((~known[rows]).sum())
    notes: list[str] = []
    if 0 < unknown < len(rows):
        notes.append(f"{unknown} of {len(rows)} utterances have no speaker: each counts as a speaker of its own")

    def part(name):
        return np.flatnonzero(usable & (split == name))

    tests = {}
    for name in sorted({name for name in split if name.startswith("test")}):
        found = part(name)
        if labelled[found].any():
            tests[name] = found
        else:
            notes.append(f"split '{name}' has no labels of what is fitted: it is not scored")
    train, development = part("train"), part("development")
    if len(development) and not labelled[development].any():
        notes.append("split 'development' has no labels of what is fitted: it is not used")
        development = development[:0]
    if ungrouped and known[rows].any():
        raise UserError(
            "--ungrouped is for a corpus that names no speaker, and this one does: without it the folds are grouped "
            "by speaker"
        )

    def need_speakers():
        if known[rows].any() or ungrouped:
            return
        raise UserError(
            "the corpus names no speaker, so folds cannot keep one on one side: add a speaker column to the manifest, "
            "or accept folds by utterance with --ungrouped (scores will be too high if voices recur)"
        )

    if len(train) and (tests or len(development)):
        left = np.setdiff1d(rows, np.concatenate([train, development, *tests.values()]))
        if len(left):
            notes.append(f"{len(left)} utterances belong to no part that is used and are left out")
        if tests and len(development):
            tests = {"development": development, **tests}
            stop = development
            notes.append("probes trained by epochs stop on 'development', so their score of that part is optimistic")
        else:
            need_speakers()
            tests = tests or {"development": development}
            stop = None
        if stop is not None and len(np.unique(groups[train[known[train]]])) < _FEWEST_SPEAKERS:
            inner = ((train, development),)
            notes.append("the penalty is chosen on 'development', so the score of that part is optimistic")
        else:
            inner = _inner(train, groups, n_folds, seed)
            notes.append(f"the penalty is chosen on {len(inner)} inner folds of 'train', grouped by speaker")
        parts = {"train": train, "development": development, **tests}
        leakage = []
        names = list(parts)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                shared = shared_speakers(parts[one], parts[other], groups, speakers)
                if shared:
                    leakage.append({"parts": [one, other], "speakers": shared})
                    first = sum(entry["first"] for entry in shared)
                    second = sum(entry["second"] for entry in shared)
                    notes.append(
                        f"LEAKAGE in the corpus's own split: {len(shared)} speakers are in both '{one}' "
                        f"({first} utterances) and '{other}' ({second} utterances)"
                    )
        if not known[rows].any():
            notes.append("the corpus names no speaker: whether its split shares speakers cannot be told")
        fold = Fold("all", train, inner, tests, stop)
        if len(inner) > 1:
            refuse_leakage([Fold("all", train, inner, {})], groups, speakers)
        return Split("official", (fold,), groups, leakage, notes, unknown)

    need_speakers()
    if len(rows) == 0:
        raise UserError("no utterance has both hidden states and a label")
    folds = cross_validation(rows, groups, n_folds, seed=seed)
    refuse_leakage(folds, groups, speakers)
    kind = "speaker-grouped folds" if known[rows].any() else "ungrouped folds"
    return Split(kind, folds, groups, [], notes, unknown)
