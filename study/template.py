"""A programme as a file: every setting with what it means, those of the single commands as comments where unset."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields

from .settings import Programme, StudySettings
from .tables import TABLES, default_of
from .values import as_toml

_WIDTH = 110
_ROLE = re.compile(r":\w+:`~?\.?([^`]*)`")


def written(programme: Programme, *, head: str = "") -> str:
    """The text of study.toml, which :func:`.reading.read_programme` reads back as the same programme.

    Parameters
    ----------
    programme : Programme
    head : str
        What the file is, in its first lines.
    """
    lines = [*_comment(head), ""] if head else []
    about = meanings(StudySettings)
    for field in fields(StudySettings):
        lines += [
            *_comment(about[field.name]),
            f"{field.name} = {as_toml(getattr(programme.settings, field.name))}",
            "",
        ]
    for name, table in TABLES.items():
        lines += [f"[{name}]", *_comment(table.about), ""]
        for key, (settings, field) in table.fields().items():
            told = meanings(settings).get(field.name, "")
            is_set = field.name in programme.table(name)
            value = as_toml(programme.table(name)[field.name] if is_set else default_of(field))
            lines += [*_comment(told), f"{'' if is_set else '#'}{key} = {value}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def meanings(settings: type) -> dict[str, str]:
    """What each field of a dataclass means: its entry in the numpydoc docstring, on one line.

    Fields that share an entry (``text, audio : str``) share its text.
    """
    return dict(_entries(inspect.getdoc(settings) or ""))


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    _, _, body = re.split(r"\n(Attributes|Parameters)\n-+\n", doc, maxsplit=1) if "\n---" in doc else ("", "", "")
    for entry in re.split(r"\n(?=\S)", body):
        names, _, text = entry.partition("\n")
        plain = _ROLE.sub(lambda role: role[1].rpartition(".")[2], " ".join(text.split())).replace("`", "")
        for name in names.partition(" : ")[0].split(","):
            yield name.strip(), plain
