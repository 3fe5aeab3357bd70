"""Pool each layer's frames on the device, so that layers x width numbers an utterance cross the bus, not frames."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .encoders.exact import frame_mask
from .limits import STATISTICS

#: Of the numbers made here. Raise it with any change that moves them beyond rounding; kept ones are then made anew.
VERSION = 1


class Pooling:
    """Pools every layer of a batch over the valid frames of each utterance.

    Parameters
    ----------
    frames : list of int
        Each utterance's own number of frames.
    statistics : tuple of str
        Some of :data:`.limits.STATISTICS`.
    """

    def __init__(self, frames: list[int], statistics: tuple[str, ...]) -> None:
        self._frames, self._statistics = frames, statistics
        self._share: torch.Tensor | None = None

    def pool(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool one layer.

        Parameters
        ----------
        states : Tensor, (batch, frames, width)
            Hidden states, padding included; of the same sizes for each layer.

        Returns
        -------
        pooled : Tensor, (statistics, batch, width), float32
        norm : Tensor, (batch,), float32
            Mean Euclidean norm of an utterance's frames.
        """
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            if self._share is None:  # the same for every layer
                mask = frame_mask(self._frames, states.shape[1], states.device)
                self._share = mask / mask.sum(1, keepdim=True)
            share = self._share  # each valid frame's part in its utterance's mean

            def average(values: torch.Tensor) -> torch.Tensor:
                return torch.bmm(share[:, None], values)[:, 0]

            mean = average(states)
            pooled = []
            for statistic in self._statistics:
                if statistic == "mean":
                    pooled.append(mean)
                elif statistic == "std":
                    # Difference and square in one pass over the states, which is what takes the time.
                    squares = F.mse_loss(states, mean[:, None].expand_as(states), reduction="none")
                    pooled.append(average(squares).sqrt_())
                elif statistic == "mean_ln":
                    pooled.append(average(F.layer_norm(states, states.shape[-1:])))
                else:
                    raise ValueError(f"unknown statistic {statistic!r}; known are {', '.join(STATISTICS)}")
            norm = (torch.linalg.vector_norm(states, dim=-1) * share).sum(1)
            return torch.stack(pooled), norm
