"""Which engine the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emoprobe.allocation import keeping_memory

from ..cluster import EngineSettings, session
from ..encoders.speech import Backbone
from ..settings import ExtractionSettings
from .base import Engine
from .local import LocalEngine


@contextmanager
def opened_engine(
    backbone: Backbone, settings: ExtractionSettings, engine: EngineSettings, say: Callable[[str], None]
) -> Iterator[Engine]:
    """Open an engine, and close it at the end.

    Raises
    ------
    UserError
        If its device or its cluster is not there.
    """
    if not engine.on_ray:
        local = LocalEngine(backbone, settings)
        # From here on, before the threads that read headers begin, which would leave heaps of their own.
        with keeping_memory(local.device.type):
            yield local
        return
    from .ray_engine import RayEngine

    with session(engine) as ray:
        place = RayEngine(backbone, settings, ray, engine)
        say(f"computing on {place}")
        yield place
