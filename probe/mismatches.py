"""Categories that do not match: one class under two names, classes that fits have not seen, and rare ones."""

from __future__ import annotations

import shlex
from collections import Counter

import numpy as np

from emoprobe.extract.corpora.cells import appearance

from .classes import Classes
from .splits import Split
from .targets import Labels

#: Utterances of a class below which its recall says next to nothing.
FEWEST_UTTERANCES = 10

#: Letters from which one name may be the beginning of another: "ang" and "anger".
_FEWEST_LETTERS = 3


def mismatches(labels: Labels, split: Split) -> list[str]:
    """What is wrong with the categories that are about to be fitted, with counts and what would mend it.

    Nothing is merged or left out by itself: what is meant only the user knows.

    Parameters
    ----------
    labels : Labels
    split : Split
        Of the categories.

    Returns
    -------
    list of str
        Sentences; none where nothing is wrong.
    """
    counts = Counter(labels.categories[number] for number in labels.classes if number >= 0)
    return [*_alike(labels.chosen, counts), *_unmatched(labels, split), *_rare(labels.chosen, counts)]


def _alike(chosen: Classes, counts: Counter) -> list[str]:
    """Names that may be one class, and the rule that makes them one."""
    same: dict[str, list[str]] = {}
    for name, key in zip(chosen.names, _one_name(chosen.names), strict=True):
        same.setdefault(key, []).append(name)
    groups = [names for names in same.values() if len(names) > 1]
    if not groups:
        return []
    listed = "; ".join(" and ".join(f"{name!r} ({counts[name]:,})" for name in names) for names in groups)
    merged = {}
    for names in same.values():
        commonest = max(names, key=lambda name: counts[name])
        merged[commonest] = tuple(part for name in names for part in chosen.members[name])
    rule = f"; to make them one: --classes {shlex.quote(str(Classes(merged)))}" if len(merged) > 1 else ""
    return [f"may be one class, and are fitted apart: {listed}{rule}"]


def _one_name(names: list[str]) -> list[str]:
    """For each name, one for all that look alike, or that it is the beginning of, where that is one alone."""
    looks = [appearance(name) for name in names]
    longer = {
        look: {other for other in looks if other != look and other.startswith(look)}
        for look in looks
        if len(look) >= _FEWEST_LETTERS
    }
    return [min(longer[look]) if len(longer.get(look, ())) == 1 else look for look in looks]


def _unmatched(labels: Labels, split: Split) -> list[str]:
    """Classes that are scored and not trained on, or trained on and not scored."""
    unseen: dict[int, Counter] = {}
    said = []
    official = split.kind == "official"
    for fold in split.folds:
        trained = _present(labels, fold.train)
        for name, rows in fold.tests.items():
            scored = _present(labels, rows)
            for number in scored.keys() - trained.keys():
                where = f"'{name}'" if official else f"fold {fold.name}"
                unseen.setdefault(number, Counter())[where] += scored[number]
            if official and scored:
                absent = [f"{labels.categories[k]} ({trained[k]:,})" for k in sorted(trained.keys() - scored.keys())]
                said += [f"in 'train' and not in '{name}': {', '.join(absent)}"] if absent else []
    for number, places in sorted(unseen.items()):
        there = "1 utterance there is" if places.total() == 1 else f"{places.total():,} utterances there are"
        said.append(
            f"'{labels.categories[number]}' is recognised nowhere in {', '.join(places)}: its {there} scored by fits "
            "that were trained on none of it"
        )
    return said


def _present(labels: Labels, rows: np.ndarray) -> Counter:
    return Counter(number for number in labels.classes[rows].tolist() if number >= 0)


def _rare(chosen: Classes, counts: Counter) -> list[str]:
    """Classes of too few utterances, and the rule that leaves them out."""
    rare = [name for name in chosen.names if counts[name] < FEWEST_UTTERANCES]
    if not rare:
        return []
    listed = ", ".join(f"{name} {counts[name]}" for name in rare)
    others = Classes({name: parts for name, parts in chosen.members.items() if name not in rare})
    rule = f"; to leave them out: --classes {shlex.quote(str(others))}" if len(others.members) > 1 else ""
    return [f"of fewer than {FEWEST_UTTERANCES} utterances, so that a recall says little: {listed}{rule}"]
