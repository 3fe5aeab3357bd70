"""What an engine is: a place where batches are computed, and what is to be known of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..devices import default_batch_seconds
from ..pipeline import Extracted, Files
from ..settings import ExtractionSettings

if TYPE_CHECKING:
    from ..encoders.speech import Backbone
    from ..precision import PrecisionCheck


@dataclass(frozen=True)
class Site:
    """Where batches are computed.

    Attributes
    ----------
    kind : str
        ``"cpu"``, ``"cuda"``, ``"mps"``.
    name : str
        Of the device.
    batch_seconds : float
        What suits it, where no number is asked for.
    """

    kind: str
    name: str
    batch_seconds: float

    @classmethod
    def of(cls, device: torch.device, channels: int) -> Site:
        """Of a device of this machine; `channels` as :func:`..devices.default_batch_seconds` takes them."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return cls(device.type, name, default_batch_seconds(device, channels))


class Engine(ABC):
    """Where an extraction computes.

    Parameters
    ----------
    backbone : Backbone
    settings : ExtractionSettings
    """

    def __init__(self, backbone: Backbone, settings: ExtractionSettings) -> None:
        self.backbone, self.settings = backbone, settings

    @property
    @abstractmethod
    def site(self) -> Site:
        """Where batches are computed."""

    @abstractmethod
    def check(self, waveforms: Sequence[np.ndarray], in_float32: Sequence[str] | None) -> PrecisionCheck:
        """Compare the site with float32 on the CPU, as :func:`..precision.check_backbone` does."""

    @abstractmethod
    def extract(
        self, todo: Sequence[tuple[int, np.ndarray]], files: Files, in_float32: Sequence[str]
    ) -> Generator[Callable[[], Extracted], None, None]:
        """Compute batches, in whatever order suits the engine.

        Parameters
        ----------
        todo : sequence of (int, ndarray of int)
            Number and utterances of each batch.
        files : Files
        in_float32 : sequence of str
            Modules that reduced precision spares.

        Yields
        ------
        callable
            Gives what came of a batch.

        Raises
        ------
        UserError
            If a problem stops all (`settings.strict`), or the site does.
        """
