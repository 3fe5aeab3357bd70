"""The models that have a short name: what each is, where it comes from, and whether it is on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec

from .architectures import ARCHITECTURES, MINILM_PACKAGE, TEXT_ARCHITECTURES
from .hub import cached_names
from .packaged import GROUP, packaged_models

SPEECH, TEXT = "speech", "text"


@dataclass(frozen=True)
class Listed:
    """A model with a short name.

    Attributes
    ----------
    name : str
        As commands take it.
    kind : str
        :data:`SPEECH` or :data:`TEXT`: what it encodes.
    family : str
        As ``config.json`` calls it; empty for one that an installed package brings.
    source : str
        Its name on the hub, or the package that brings it.
    is_here : bool
        Whether it can be used without a network.
    """

    name: str
    kind: str
    family: str
    source: str
    is_here: bool


def listed_models() -> list[Listed]:
    """All models that have a short name, those that installed packages bring first."""
    return [*_packaged(), *_published()]


def _packaged() -> Iterator[Listed]:
    there = packaged_models()
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = "emoprobe" if entry.dist is None else entry.dist.name
        try:
            wheel = getattr(entry.load(), "wheel", package)
        except Exception:  # somebody else's package that cannot be imported: asked for by name, it says why
            wheel = package
        yield Listed(entry.name, SPEECH, "", f"package {wheel}", entry.name in there)


def _published() -> Iterator[Listed]:
    cached = set(cached_names())
    for kind, models in ((SPEECH, ARCHITECTURES), (TEXT, TEXT_ARCHITECTURES)):
        for name, model in models.items():
            is_here = model.hub_name in cached
            source = model.hub_name
            if name == "minilm" and find_spec(MINILM_PACKAGE) is not None:
                is_here, source = True, f"package {MINILM_PACKAGE.replace('_', '-')}"
            yield Listed(name, kind, model.model_type, source, is_here)
