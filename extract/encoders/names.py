"""What the user typed for a model: a misspelt name is answered at once, without torch and without the hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.misspelt import nearest

_ON_THE_HUB = r"\w[\w.-]*(/\w[\w.-]*)?"


def refuse_misspelt(name: str, short_names: Iterable[str], hub_names: Collection[str]) -> None:
    """Refuse a name that is no folder and cannot be on the hub, or is nearly a short name.

    Parameters
    ----------
    name : str
        As given with ``--model``, ``--audio`` or ``--text``.
    short_names : iterable of str
        Those that stand for a model, packaged models included.
    hub_names : collection of str
        Names on the hub that are known; they are never taken for a misspelt short name.

    Raises
    ------
    UserError
    """
    short_names = list(short_names)
    if name in short_names or name in hub_names or Path(name).is_dir():
        return
    if Path(name).is_file():
        raise UserError(f"{name} is a file; give the folder that holds config.json and the weights")
    if not re.fullmatch(_ON_THE_HUB, name):
        raise UserError(
            f"no model at {name}: it is not a folder, and cannot be the name of one on the hub"
            f"{_meant(nearest_folder(name))}"
        )
    if "/" not in name and (near := nearest(name, short_names)):
        raise UserError(
            f"no model is called {name}: did you mean {near}? One on the hub is given with its owner, OWNER/{name}"
        )


def _meant(name: str | None) -> str:
    return "" if name is None else f". Did you mean {name}?"


def nearest_folder(name: str) -> str | None:
    """The folder whose path is nearly this one: a neighbour of it, or of the first of its parents that is not there."""
    path = Path(name)
    for place in (path, *path.parents):
        parent = place.parent
        if place.name in ("", "..") or not parent.is_dir():
            continue
        near = nearest(place.name, (each.name for each in parent.iterdir() if each.is_dir()))
        whole = None if near is None else parent / near / path.relative_to(place)
        return str(whole) if whole is not None and whole.is_dir() else None
    return None
