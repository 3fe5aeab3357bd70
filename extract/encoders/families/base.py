"""What is asked of a family of speech models: how its input is made, what makes it exact, where its blocks are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Recipe(ABC):
    """How a model of one family is fed, so that no state depends on the batch.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The encoder without a head, in evaluation mode; it may be changed in place, its parameters' names may not.

    Attributes
    ----------
    blocks : torch.nn.ModuleList
        The transformer blocks, each called with the states (batch, frames, width) and returning them.
    front_end : list of torch.nn.Module
        What comes before the blocks and is frozen as `frontend`; empty where that has no weights.
    channels : int
        Of the first convolution, at 3,200 steps a second, or what gives as many numbers a second: by it the batch that
        suits a processor's caches is chosen.
    shortest : int
        Samples at 16 kHz that one frame needs.
    longest : int or None
        Samples that the model takes at most; None without limit.
    features : str or None
        What is computed from a waveform before the model, for the record; None for a model that reads the waveform.
    """

    blocks: nn.ModuleList
    front_end: list[nn.Module]
    channels: int
    shortest: int
    longest: int | None = None
    features: str | None = None
    #: Whether the model's input is the waveform; if not, it is never brought to zero mean and unit variance.
    reads_waveform: ClassVar[bool] = True

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.config = model.config

    @classmethod
    def normalises(cls, settings: dict, config: PretrainedConfig, source: str) -> bool:  # noqa: ARG003 - others need it
        """Whether waveforms are brought to zero mean and unit variance.

        Parameters
        ----------
        settings : dict
            The checkpoint's `preprocessor_config.json`.
        config : transformers.PretrainedConfig
        source : str
            Where it is from, for the message.

        Raises
        ------
        UserError
            If its input is made otherwise than here.
        """
        return bool(settings.get("do_normalize", True))

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Frames of a waveform of that many samples; 0 when it is shorter than `shortest`."""

    def sizes(self, samples: np.ndarray) -> np.ndarray:
        """What utterances of so many samples take of a batch, in samples, each (utterances,) int."""
        return samples

    @abstractmethod
    def forward(self, padded: torch.Tensor, samples: list[int] | None) -> torch.Tensor:
        """One forward pass.

        Parameters
        ----------
        padded : Tensor, (batch, samples)
            Zero past each waveform's end.
        samples : list of int or None
            Length of each waveform; None where nothing is padded.

        Returns
        -------
        Tensor, (batch, frames, width)
            Output of the last block, after the final norm where the model has one.
        """

    def narrow(self, seconds: float) -> None:  # noqa: ARG002 - others need it
        """Shorten the window: of a family that has one (`longest`), which then has a method of its own."""
        # A user is told by `shortening.narrow`; whoever gets here has added a family with a window and not this.
        raise TypeError(f"{type(self).__name__} does not say how its window is shortened")

    def keep_every_block(self) -> None:
        """Let training skip no block and mask no frame: a learned sum needs every layer, and a mask has a length."""
        self.config.layerdrop = 0.0
        self.config.apply_spec_augment = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of speech models: what `model_type` in a checkpoint's `config.json` stands for.

    Attributes
    ----------
    title : str
        Its name, for people.
    config, model : str
        Names of transformers' classes: named here and not looked up, so that no checkpoint can bring code of its own.
    module : str
        Where transformers has them.
    recipe : type
        Subclass of :class:`Recipe`.
    within : str or None
        Name that the encoder has in models with a head, such as ``"encoder"`` for the weights ``model.encoder.…``; None
        where it is the one that transformers' class gives (`base_model_prefix`).
    """

    title: str
    config: str
    model: str
    recipe: type[Recipe]
    module: str = "transformers"
    within: str | None = None

    @property
    def config_class(self) -> type[PretrainedConfig]:
        """Class of the configuration."""
        return self._named(self.config)

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """Class of the encoder without a head."""
        return self._named(self.model)

    def _named(self, name: str) -> type:
        # What is imported with it makes tensors of its own, which are no part of a model on the meta device.
        with torch.device("cpu"):
            return getattr(import_module(self.module), name)


@contextmanager
def plain_float(device: torch.device) -> Iterator[None]:
    """No gradients and no autocast: what is computed before the model is as exact as its feature extractor."""
    usable = torch.amp.is_autocast_available(device.type)  # not on the meta device, where only shapes are computed
    with torch.no_grad(), torch.autocast(device.type, enabled=False) if usable else nullcontext():
        yield


def check_settings(settings: dict, expected: dict, source: str) -> None:
    """Refuse a checkpoint whose features are made otherwise than here.

    Parameters
    ----------
    settings : dict
        The checkpoint's `preprocessor_config.json`; what it leaves out is as expected.
    expected : dict
    source : str

    Raises
    ------
    UserError
    """
    for name, value in expected.items():
        if settings.get(name, value) != value:
            raise UserError(
                f"{source}: preprocessor_config.json says {name} {settings[name]}, and {value:g} is what the model's "
                "config.json and this program go by; bring both files from the original checkpoint"
            )


def blocks_of(model: nn.Module, name: str) -> nn.ModuleList:
    """The list of blocks of that name within a model.

    Raises
    ------
    TypeError
        If what has the name is no list of blocks.
    """
    blocks = model.get_submodule(name)
    if not isinstance(blocks, nn.ModuleList):
        raise TypeError(f"{name} of {type(model).__name__} is a {type(blocks).__name__}, and no list of blocks")
    return blocks


def each_row(padded: torch.Tensor, samples: Sequence[int] | None) -> Iterator[torch.Tensor]:
    """Each waveform (samples,) of a batch without its padding."""
    return (row[:n] for row, n in zip(padded, samples or [padded.shape[1]] * len(padded), strict=True))


def weight_type(model: nn.Module) -> torch.dtype:
    """Type of the model's weights, which its input must have."""
    return next(model.parameters()).dtype
