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
