"""An architecture with random weights, as a control, in place of a checkpoint's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .checkpoint import Checkpoint, Origin
from .sizes import check_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class RandomWeights:
    """Random weights of a seed; made as :class:`.checkpoint.Checkpoint` loads trained ones.

    Attributes
    ----------
    source : str
        The architecture, for messages.
    seed : int
    checkpoint : Checkpoint or None
        Where the configuration is from; None for the architecture of a short name, which is known.
    """

    source: str
    seed: int
    checkpoint: Checkpoint | None

    def load(
        self,
        model_class: type[PreTrainedModel],
        config: PretrainedConfig,
        *,
        within: str | None = None,  # noqa: ARG002 - as a checkpoint has it
        **options: Any,
    ) -> tuple[PreTrainedModel, Origin]:
        """As :meth:`.checkpoint.Checkpoint.load`; the global random state is left alone."""
        check_model(model_class, config, self.source, **options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = model_class(config, **options)
        return model, Origin() if self.checkpoint is None else self.checkpoint.origin
