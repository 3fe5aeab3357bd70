"""Layers of a student that tell layers of a teacher: a linear head a pair, and the loss of DistilHuBERT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn


class Matching(nn.Module):
    """A linear head for each pair of a student's and a teacher's layer.

    The loss of a pair is the mean absolute difference between the head's answer and the target, less the weighted
    log-sigmoid of their cosine (Chang, Yang and Lee, ICASSP 2022), averaged over frames.

    Parameters
    ----------
    pairs : sequence of (int, int)
        Student's layer, teacher's layer.
    student_width, teacher_width : int
        Size of a state of each.
    cosine_weight : float
    """

    size: torch.Tensor

    def __init__(
        self, pairs: Sequence[tuple[int, int]], student_width: int, teacher_width: int, *, cosine_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.pairs, self.cosine_weight = tuple(pairs), cosine_weight
        self.heads = nn.ModuleList(nn.Linear(student_width, teacher_width) for _ in pairs)
        # A pre-norm model's states grow with depth: each layer is brought to unit size, once, so that a head begins
        # near its target and stays linear in the states.
        self.register_buffer("size", torch.zeros(len(self.pairs)))

    @property
    def student_layers(self) -> tuple[int, ...]:
        """Layers of the student that are asked."""
        return tuple(dict.fromkeys(layer for layer, _ in self.pairs))

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """Layers of the teacher that are told, in the order of targets."""
        return tuple(dict.fromkeys(layer for _, layer in self.pairs))

    def forward(
        self, states: Mapping[int, torch.Tensor], targets: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, tuple[float, int]]]:
        """The loss, summed over pairs, and what it is made of.

        Parameters
        ----------
        states : mapping of int to Tensor (batch, frames, student's width)
            By layer.
        targets : sequence of Tensor (batch, frames, teacher's width)
            One for each of :attr:`teacher_layers`.

        Returns
        -------
        loss : Tensor, ()
        measured : dict of str to (float, int)
            Distance and cosine of each pair, and the number of frames that they are means over.
        """
        told = dict(zip(self.teacher_layers, targets, strict=True))
        if not bool(self.size.any()):
            sizes = [states[asked].detach().float().pow(2).mean().sqrt() for asked, _ in self.pairs]
            self.size.copy_(torch.stack(sizes))
        loss = targets[0].new_zeros(())
        measured: dict[str, tuple[float, int]] = {}
        for (asked, layer), head, size in zip(self.pairs, self.heads, self.size, strict=True):
            predicted, target = head(states[asked] / size).float(), told[layer]
            distance = nn.functional.l1_loss(predicted, target)
            cosine = nn.functional.cosine_similarity(predicted, target, dim=-1)
            loss = loss + distance - self.cosine_weight * nn.functional.logsigmoid(cosine).mean()
            frames = cosine.numel()
            measured[f"layer{asked}_tells_{layer}_l1"] = (float(distance.detach()), frames)
            measured[f"layer{asked}_tells_{layer}_cosine"] = (float(cosine.detach().mean()), frames)
        return loss, measured
