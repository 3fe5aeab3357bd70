"""What a report cites: only what its numbers rest on, from ``references.bib`` beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from emoprobe.errors import UserError

_LETTERS = {"{\\'e}": "é", '{\\"o}': "ö"}
_FIELD = re.compile(r" *(\w+) *= *\{(.*)\},\n")
_ENTRY = re.compile(r"@(\w+)\{([\w-]+),\n((?: *\w+ *= *\{.*\},\n)+)\}\n\s*")


@dataclass(frozen=True)
class Reference:
    """One entry.

    Parameters
    ----------
    key : str
        Of BibTeX.
    kind : str
        "inproceedings", "article", "software".
    fields : tuple of pairs of str
        In order; values as BibTeX has them.
    """

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    @property
    def short(self) -> str:
        """As a sentence cites it: Hewitt and Liang, 2019."""
        fields = dict(self.fields)
        names = [name.split(",")[0] for name in fields["author"].split(" and ")]
        who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
        for tex, letter in _LETTERS.items():
            who = who.replace(tex, letter)
        return f"{who}, {fields['year']}"

    def bibtex(self) -> str:
        """The entry as BibTeX."""
        lines = [f"  {name:<9} = {{{value}}}," for name, value in self.fields]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def read_references(path: Path) -> dict[str, Reference]:
    """The entries of a ``.bib`` file, by their keys and in its order.

    Of BibTeX it takes what the report writes itself: a field a line, its value in braces. So what is read is what is
    written, letter by letter, and a line that is anything else is refused rather than skipped.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UserError
        If a line belongs to no entry, a key is there twice, or an entry lacks its author, title or year.
    """
    text = path.read_text(encoding="utf-8")
    references: dict[str, Reference] = {}
    place = 0
    while place < len(text):
        where = f"{path}, line {text.count(chr(10), 0, place) + 1}"
        entry = _ENTRY.match(text, place)
        if entry is None:
            raise UserError(f"{where}: no entry with a field a line, as in 'year = {{1989}},': mend it")
        kind, key, body = entry.groups()
        fields = tuple(_FIELD.findall(body))
        missing = [name for name in ("author", "title", "year") if name not in dict(fields)]
        if missing or key in references:
            what = f"lacks {' and '.join(missing)}" if missing else "is there twice"
            raise UserError(f"{where}: the entry {key} {what}: mend it")
        references[key] = Reference(key, kind, fields)
        place = entry.end()
    return references


REFERENCES = read_references(Path(__file__).with_name("references.bib"))
"""Every entry that a report may cite, by its key, in the order of its list."""

PAPER = "deoliveira2023leveraging"

#: What introduced the architectures, by the model type of their configuration.
ARCHITECTURES = {
    "hubert": "hsu2021hubert",
    "distilhubert": "chang2022distilhubert",
    "wav2vec2": "baevski2020wav2vec",
    "wavlm": "chen2022wavlm",
    "data2vec-audio": "baevski2022data2vec",
}


#: What introduced a corpus, by its name.
CORPORA = {"msp-podcast": "lotfian2019building", "iemocap": "busso2008iemocap", "emobank": "buechel2017emobank"}


def software(version: str) -> Reference:
    """The entry of emoprobe itself, with the version that made the numbers."""
    title = "emoprobe: which layers of a speech self-supervised model carry emotion"
    fields = (("author", "{The emoprobe authors}"), ("title", title), ("version", version))
    return Reference("emoprobe", "software", tuple((name, value) for name, value in fields if value))


def bibtex(keys: Iterable[str], version: str) -> str:
    """The entries of `keys`, each once and in the order of the list, and this program."""
    wanted = set(keys)
    entries = [reference for key, reference in REFERENCES.items() if key in wanted]
    return "\n\n".join(reference.bibtex() for reference in [*entries, software(version)])
