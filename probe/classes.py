"""Which categories are fitted, and which of a corpus's names make each: the rule behind ``--classes``."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import identifier

#: What asks for every category as the corpus writes it.
ALL = "all"

#: What the literature fits of a corpus, by the corpus's name: the four classes of IEMOCAP take excitement for
#: happiness, and challenges on MSP-Podcast leave "other" and "no agreement" out.
USUAL = {
    "iemocap": "ang hap=hap+exc neu sad",
    "msp-podcast": "A S H U F D C N",
    "msp-improv": "A H N S",
}


#: What a word of a rule is made of: names, in which a backslash comes before "+", "=" or another one, and marks.
_PIECES = re.compile(r"(?:\\[\\+=]|[^+=])+|[+=]")


@dataclass(frozen=True)
class Classes:
    """The categories that are fitted.

    Attributes
    ----------
    members : dict of str to tuple of str
        Names in the corpus by the class that they make, in the order of the classes.

    Examples
    --------
    >>> classes = Classes.parse("ang hap=hap+exc neu sad")
    >>> classes.members["hap"], str(classes)
    (('hap', 'exc'), 'ang hap=hap+exc neu sad')
    """

    members: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, rule: str) -> Classes:
        r"""Read a rule.

        Parameters
        ----------
        rule : str
            Classes with blanks between them. A class is a name of the corpus, or ``CLASS=NAME+NAME`` where several
            names make one. A name with a blank in it is quoted, as in a shell; so is one with "+" or "=" in it, which
            also has a backslash before that: ``'hap\+exc'``.

        Raises
        ------
        UserError
            If it is no such list, or names something twice, or fewer than two classes.
        """
        members: dict[str, tuple[str, ...]] = {}
        try:
            words = shlex.split(rule)
        except ValueError as problem:
            raise UserError(f"--classes {rule!r}: a quote is not closed ({problem})") from None
        for word in words:
            pieces = _PIECES.findall(word)
            name, *parts = [_plain(piece) for piece in pieces[::2]] or [""]
            marks = "".join(pieces[1::2])
            if not name or not all(parts) or marks != "=" * bool(parts) + "+" * (len(parts) - 1):
                raise UserError(
                    f"--classes: {word!r} is neither a class nor CLASS=NAME+NAME, such as hap=hap+exc (where '+' or "
                    f"'=' is part of a name, write {shlex.quote(_written(word))})"
                )
            if name in members:
                raise UserError(f"--classes: the class {name!r} is there twice; write {name}=NAME+NAME once")
            members[name] = tuple(parts) or (name,)
        counts = Counter(part for parts in members.values() for part in parts)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise UserError(f"--classes: {', '.join(twice)} would be in two classes, or twice in one; name each once")
        if len(members) < 2:
            raise UserError(f"--classes {rule!r}: name two classes or more, such as 'ang hap=hap+exc neu sad'")
        return cls(members)

    @classmethod
    def every(cls, names: Iterable[str]) -> Classes:
        """Each name a class of its own, in alphabetical order."""
        return cls({name: (name,) for name in sorted(names)})

    @property
    def names(self) -> list[str]:
        """The classes, in order."""
        return list(self.members)

    def class_of(self) -> dict[str, str]:
        """The class of each name of the corpus that has one."""
        return {part: name for name, parts in self.members.items() for part in parts}

    def restricted(self, there: Iterable[str]) -> Classes:
        """Without names that are not there, and classes that nothing is left of."""
        kept = {name: tuple(part for part in parts if part in there) for name, parts in self.members.items()}
        return Classes({name: parts for name, parts in kept.items() if parts})

    def __str__(self) -> str:
        """The rule as it is typed."""
        words = []
        for name, parts in self.members.items():
            names = "" if parts == (name,) else "=" + "+".join(map(_written, parts))
            words.append(shlex.quote(_written(name) + names))
        return " ".join(words)


def _written(name: str) -> str:
    """A name as a rule has it."""
    return re.sub(r"([\\+=])", r"\\\1", name)


def _plain(piece: str) -> str:
    """The name that a piece of a word writes; "" of a mark alone."""
    return "" if piece in ("+", "=") else identifier(re.sub(r"\\([\\+=])", r"\1", piece).strip())


def chosen_classes(asked: str | None, corpus: str, there: Mapping[str, int]) -> Classes:
    """The classes that are fitted of a corpus.

    Parameters
    ----------
    asked : str, optional
        A rule, or ``all``; by default the corpus's usual ones (:data:`USUAL`), which are all where there are none.
    corpus : str
        Its name.
    there : mapping of str to int
        Utterances of each category.

    Returns
    -------
    Classes

    Raises
    ------
    UserError
        If the rule names what the corpus does not have.
    """
    if asked is not None and asked != ALL:
        classes = Classes.parse(asked)
        unknown = [part for parts in classes.members.values() for part in parts if part not in there]
        if unknown:
            listed = ", ".join(f"{name} {count:,}" for name, count in sorted(there.items()))
            raise UserError(
                f"--classes: no utterance of '{corpus}' is {' or '.join(map(repr, unknown))}; there is "
                f"{listed or 'no category at all'}"
            )
        return classes
    usual = Classes.parse(USUAL[corpus]).restricted(there) if corpus in USUAL and asked is None else None
    return usual if usual is not None and len(usual.members) > 1 else Classes.every(there)


def told(classes: Classes, asked: str | None, corpus: str, there: Mapping[str, int]) -> list[str]:
    """What is to be said of the choice: which classes, which names make one, and what is left out, with counts.

    Parameters
    ----------
    classes : Classes
    asked, corpus, there
        As for :func:`chosen_classes`.
    """
    if classes == Classes.every(there):
        return []
    said = []
    if asked is None:
        said.append(
            f"the usual classes of {corpus} are fitted: --classes {shlex.quote(str(classes))}; all with --classes all"
        )
        gone = [name for name in Classes.parse(USUAL[corpus]).members if name not in classes.members]
        if gone:
            said.append(f"no utterance is of the usual class{'es' * (len(gone) > 1)} {', '.join(gone)}")
    for name, parts in classes.members.items():
        if parts != (name,):
            said.append(f"class {name} is {' and '.join(f'{part} ({there[part]:,})' for part in parts)}")
    taken = classes.class_of()
    left = {name: count for name, count in there.items() if name not in taken}
    if left:
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(left.items(), key=lambda item: -item[1]))
        said.append(f"{sum(left.values()):,} utterances of other categories are left out ({listed})")
    return said
