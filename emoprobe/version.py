"""The version of the package, asked of its metadata when somebody wants to know it: that takes as long as `--help`."""

from __future__ import annotations


def version() -> str:
    """Version of the installed package; in an editable installation, that of the day it was installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("emoprobe")
    except PackageNotFoundError:  # the source alone, on somebody's path
        return "0+unknown"


def __getattr__(name: str) -> str:
    if name == "__version__":
        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
