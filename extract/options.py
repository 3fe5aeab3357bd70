"""Settings that are numbers: one range for seconds, threads and counts, whatever command they belong to."""

from __future__ import annotations

from emoprobe.errors import UserError

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
    """Refuse settings that say how often something is done and are below `least` or above :data:`MOST_REPEATS`.

    None is left to whoever chooses it.

    Raises
    ------
    UserError
        Naming the option.
    """
    for name in names:
        value = getattr(settings, name)
        option = f"--{name.replace('_', '-')}"
        if value is not None and not value >= least:
            raise UserError(f"{option} {value} must be {'0 or more' if least == 0 else f'at least {least}'}")
        if value is not None and value > MOST_REPEATS:
            raise UserError(f"{option} {value:g} has no end: ask for at most {MOST_REPEATS:,}")
