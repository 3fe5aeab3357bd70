"""What an input is, and the register of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzz.material import CLEAN


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    command : str
        A key of :data:`.running.COMMANDS`.
    arguments : tuple of str
    mutation : str
        What was done to the material, in words.
    own : tuple of str
        Patterns of files that this command may replace or remove.
    compare : str
        ``states``, if the cache made is to hold the intact utterances as they are; ``scores``, if a result is to have
        the numbers of the intact cache; nothing for no comparison.
    """

    command: str
    arguments: tuple[str, ...]
    mutation: str
    own: tuple[str, ...] = ()
    compare: str = ""


#: A kind's function and its weight among the inputs.
KINDS: dict[str, tuple[Callable[[Path, np.random.Generator], Case], float]] = {}


def kind(weight: float):
    def register(function: Callable[[Path, np.random.Generator], Case]):
        KINDS[function.__name__] = (function, weight)
        return function

    return register


def made(name: str, mutation: str, own: tuple[str, ...] = (), *, compare: str = "", **options: str) -> Case:
    """A command on the intact material, with other values of some options (`out="x"` is ``--out x``)."""
    command, arguments = CLEAN[name]
    arguments = list(arguments)
    for option, value in options.items():
        flag = f"--{option.replace('_', '-')}"
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
    return Case(command, tuple(arguments), mutation, own, compare)
