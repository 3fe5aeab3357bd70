"""The engine that is always there: the process that was started."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from ..devices import choose_device
from ..encoders.speech import Backbone
from ..pipeline import Extracted, Files, Pipeline
from ..precision import PrecisionCheck, check_backbone
from ..settings import ExtractionSettings
from .base import Engine, Site


class LocalEngine(Engine):
    """Computes in this process, on one device.

    Raises
    ------
    UserError
        If the device is not there.
    """

    def __init__(self, backbone: Backbone, settings: ExtractionSettings) -> None:
        super().__init__(backbone, settings)
        self.device = choose_device(settings.device)

    @property
    def site(self) -> Site:
        """See :class:`.base.Engine`."""
        return Site.of(self.device, self.backbone.channels)

    def check(self, waveforms: Sequence[np.ndarray], in_float32: Sequence[str] | None) -> PrecisionCheck:
        """See :class:`.base.Engine`."""
        precision = self.settings.precision
        return check_backbone(self.backbone, waveforms, device=self.device, precision=precision, in_float32=in_float32)

    def extract(
        self, todo: Sequence[tuple[int, np.ndarray]], files: Files, in_float32: Sequence[str]
    ) -> Generator[Callable[[], Extracted], None, None]:
        """See :class:`.base.Engine`; in the order of the batches."""
        backbone = self.backbone.to(self.device)
        yield from Pipeline(backbone, self.device, self.settings, files, in_float32=in_float32).run(todo)
