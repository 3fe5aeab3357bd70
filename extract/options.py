"""Settings that are numbers: one range for seconds, threads and counts, whatever command they belong to."""

from __future__ import annotations

import re

from emoprobe.errors import UserError
from emoprobe.misspelt import meant

#: Names of devices; several GPUs are cuda:0, cuda:1 and so on.
DEVICES = ("auto", "cpu", "cuda", "mps")

#: Seconds, threads or utterances that nobody means; times a sampling rate it is still a whole number.
LARGEST = 1e9


def check_positive(settings: object, *names: str) -> None:
    """Refuse settings that are neither None nor a number above 0 and at most :data:`LARGEST`.

    Raises
    ------
    UserError
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value <= LARGEST:
            raise UserError(f"{name} is {value}; it must be a number above 0, and at most {LARGEST:,.0f}")


#: Resamples, permutations, seeds, folds, epochs or steps beyond which a command has no end.
MOST_REPEATS = 1_000_000


def check_counts(settings: object, *names: str, least: int = 0) -> None:
    """:func:`check_count` of several settings; None is left to whoever chooses it.

    Raises
    ------
    UserError
        Naming the option.
    """
    for name in names:
        if (value := getattr(settings, name)) is not None:
            check_count(name, value, least=least)


def check_count(name: str, value: float, *, least: int = 0) -> None:
    """Refuse a number of times that something is done, below `least` or above :data:`MOST_REPEATS`.

    Raises
    ------
    UserError
        Naming the option.
    """
    option = f"--{name.replace('_', '-')}"
    if not value >= least:
        raise UserError(f"{option} {value} must be {'0 or more' if least == 0 else f'at least {least}'}")
    if value > MOST_REPEATS:
        raise UserError(f"{option} {value:g} has no end: ask for at most {MOST_REPEATS:,}")


#: The last that every generator of random numbers takes.
LAST_SEED = 2**32 - 1


def check_seed(seed: int, *, seeds: int = 1) -> None:
    """Refuse a first seed from which `seeds` of them cannot be counted: all are from 0 to :data:`LAST_SEED`.

    Raises
    ------
    UserError
    """
    last = LAST_SEED - (seeds - 1)
    if not 0 <= seed <= last:
        end = "2**32 - 1" if seeds == 1 else f"2**32 - {seeds}, so that {seeds} seeds can follow each other"
        raise UserError(f"--seed {seed} must be from 0 to {end}")


def check_device(name: str) -> None:
    """Refuse what is no name of a device, before anything is loaded; whether it is here is seen later.

    Raises
    ------
    UserError
    """
    if not re.fullmatch(rf"({'|'.join(DEVICES)})(:\d+)?", name):
        raise UserError(
            f"--device {name}: {meant(name.partition(':')[0], DEVICES)}; a certain GPU is cuda:0, cuda:1, …"
        )
