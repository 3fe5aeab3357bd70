"""The library versions that a number depends on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("emoprobe", "torch", "torchaudio", "transformers", "numpy", "h5py", "soundfile", "scikit-learn", "pandas")


def versions() -> dict[str, str]:
    """Version by name, of Python and of each library that is installed."""
    return dict(_versions())


@cache  # looking through what is installed takes tens of milliseconds
def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed
