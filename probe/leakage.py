"""Who is on both sides of a split that the corpus gives: speakers and groups, with their utterances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError

from .units import GROUP, SPEAKER, Units

if TYPE_CHECKING:
    from .splits import Fold


def shared_names(
    one: np.ndarray, other: np.ndarray, numbers: np.ndarray, names: Sequence[str], *, kind: str = SPEAKER
) -> list[dict]:
    """Speakers, or groups, with rows in both parts, with how many in each.

    Parameters
    ----------
    one, other : ndarray of int
        Rows of the two parts.
    numbers : ndarray of int, shape (utterances,)
        Number of each row's speaker or group; below 0 is unknown.
    names : sequence of str, shape (utterances,)
    kind : str
        `units.SPEAKER` or `units.GROUP`: the key of the name.

    Returns
    -------
    list of dict
        The name under `kind`, `first` and `second` (utterances in `one` and in `other`), by name.
    """
    size = int(numbers.max(initial=-1)) + 1
    first, second = (np.bincount(numbers[part][numbers[part] >= 0], minlength=size) for part in (one, other))
    places = dict(zip(*np.unique(numbers, return_index=True), strict=True))
    shared = [
        {kind: str(names[places[number]]), "first": int(first[number]), "second": int(second[number])}
        for number in np.flatnonzero((first > 0) & (second > 0))
    ]
    return sorted(shared, key=lambda entry: entry[kind])


def leaks(
    pairs: Iterable[tuple[str, np.ndarray, str, np.ndarray]], units: Units, names: Mapping[str, Sequence[str]]
) -> list[dict]:
    """What pairs of parts share.

    Parameters
    ----------
    pairs : iterable of (name, rows, name, rows)
    units : Units
    names : mapping of str to sequence of str
        Names by row of `units.SPEAKER` and `units.GROUP`.

    Returns
    -------
    list of dict
        For each pair that shares anybody: `parts`, `speakers`, and `groups` where the corpus names any.
    """
    numbers = {SPEAKER: units.speakers} | ({GROUP: units.groups} if units.grouped else {})
    leakage = []
    for one, first, other, second in pairs:
        shared = {
            f"{kind}s": shared_names(first, second, number, names[kind], kind=kind) for kind, number in numbers.items()
        }
        if any(shared.values()):
            leakage.append({"parts": [one, other], **shared})
    return leakage


def pairs_of(parts: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray, str, np.ndarray]]:
    """Every two of the parts of a corpus's own split, for :func:`leaks`."""
    return [(one, parts[one], other, parts[other]) for one, other in combinations(parts, 2)]


def folds_in_words(leakage: Sequence[dict]) -> list[str]:
    """Leaks of given folds, each against the others, in a sentence for speakers and one for groups."""
    said = []
    for kind in (SPEAKER, GROUP):
        shared = [entry for leak in leakage for entry in leak.get(f"{kind}s", ())]
        names = {entry[kind] for entry in shared}
        if names:
            what = f"1 {kind} is" if len(names) == 1 else f"{len(names)} {kind}s are"
            said.append(
                f"LEAKAGE in the corpus's own folds: {what} in more than one of them, with "
                f"{sum(entry['first'] for entry in shared)} utterances"
            )
    return said


def in_words(leakage: Iterable[dict]) -> list[str]:
    """Leaks of a corpus's own split, in a sentence for each two parts and kind.

    Parameters
    ----------
    leakage : iterable of dict
        Of :func:`leaks`.
    """
    said = []
    for leak in leakage:
        one, other = leak["parts"]
        for kind in (SPEAKER, GROUP):
            shared = leak.get(f"{kind}s")
            if shared:
                first, second = (sum(entry[side] for entry in shared) for side in ("first", "second"))
                said.append(
                    f"LEAKAGE in the corpus's own split: {len(shared)} {kind}s are in both '{one}' "
                    f"({first} utterances) and '{other}' ({second} utterances)"
                )
    return said


def shared_kinds(splits: Iterable[Mapping]) -> str:
    """What splits share between their parts, in words: "speakers", "groups", both, or nothing.

    Parameters
    ----------
    splits : iterable of mapping
        Entries `split` of a protocol; of one without `leakage` nothing is known.
    """
    leakage = [leak for split in splits for leak in split.get("leakage", ())]
    # A leak that does not say of what is of an earlier version, which looked at speakers alone.
    shared = {kind: any(leak.get(f"{kind}s", kind == SPEAKER) for leak in leakage) for kind in (SPEAKER, GROUP)}
    return " and ".join(f"{kind}s" for kind, there in shared.items() if there)


def cannot_be_told(parts: Mapping[str, np.ndarray], known: np.ndarray) -> list[str]:
    """Pairs of a training part and others of which nobody can say whether they share a speaker, with counts.

    Parameters
    ----------
    parts : mapping of str to ndarray of int
        Rows by name; the first is trained on.
    known : ndarray of bool, shape (utterances,)
        Whose speaker is known.
    """
    (train, trained), *others = parts.items()
    unknown = int((~known[trained]).sum())
    said = []
    for name, rows in others:
        held_out = int((~known[rows]).sum())
        if len(rows) and (unknown or held_out):
            of = [f"{count:,} of {len(part):,} in '{where}'" for where, part, count in
                  ((train, trained, unknown), (name, rows, held_out)) if count]  # fmt: skip
            said.append(
                f"whether '{train}' and '{name}' share speakers cannot be excluded: the speaker is unknown of "
                f"{' and '.join(of)}"
            )
    return said


def refuse_leakage(folds: Iterable[Fold], groups: np.ndarray, speakers: Sequence[str]) -> None:
    """Refuse folds in which somebody is trained on and held out.

    Parameters
    ----------
    folds : iterable of Fold
    groups : ndarray of int, shape (utterances,)
        Number of what no fold may split.
    speakers : sequence of str, shape (utterances,)

    Raises
    ------
    UserError
        Naming the fold, the speakers and their utterances.
    """
    for fold in folds:
        parts = [(fold.train, rows, f"'{name}'") for name, rows in fold.tests.items()]
        parts += [(train, validation, "its inner validation rows") for train, validation in fold.inner]
        for train, held_out, name in parts:
            shared = shared_names(train, held_out, groups, speakers)
            if shared:
                names = ", ".join(
                    f"{entry[SPEAKER] or 'an unnamed row'} ({entry['first']} and {entry['second']} utterances)"
                    for entry in shared[:5]
                )
                more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
                raise UserError(
                    f"fold {fold.name} trains on speakers who are also in {name}: {names}{more}; "
                    "group the folds by speaker"
                )
