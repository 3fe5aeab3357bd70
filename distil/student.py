"""The student with its heads, as a module whose forward pass gives the loss against its teacher."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from emoprobe.errors import UserError

from .training import Reporting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from emoprobe.extract.encoders.speech import Backbone

    from .settings import DistillSettings


def predicted_layers(blocks: int) -> tuple[int, ...]:
    """Layers of a teacher of so many blocks that stand where 4, 8 and 12 stand in one of twelve."""
    return tuple(sorted({max(1, round(blocks * part / 12)) for part in (4, 8, 12)}))


def student_of(model: PreTrainedModel, blocks: int) -> PreTrainedModel:
    """A model of the teacher's class with its front end and first blocks, weights copied.

    Raises
    ------
    UserError
        If the teacher has fewer blocks.
    """
    if not 1 <= blocks <= model.config.num_hidden_layers:
        raise UserError(f"the teacher has {model.config.num_hidden_layers} blocks: --blocks must be 1 to that")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = blocks
    student = type(model)(config)
    wanted = student.state_dict()
    weights = {name: value for name, value in model.state_dict().items() if name in wanted}
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise UserError(f"the teacher lacks the weights {', '.join(missing[:3])}: its architecture is not supported")
    student.load_state_dict(weights)
    return student


class Distiller(Reporting):
    """The student with a head for each of the teacher's layers that it predicts.

    Parameters
    ----------
    teacher : Backbone
    layers : tuple of int
        Of the teacher.
    settings : DistillSettings
    """

    size: torch.Tensor

    def __init__(self, teacher: Backbone, layers: tuple[int, ...], settings: DistillSettings) -> None:
        super().__init__()
        self.layers, self.cosine_weight = layers, settings.cosine_weight
        # A pre-norm model's states grow with depth: each layer is brought to unit size, or the last would drown the
        # rest.
        self.scaled = bool(getattr(teacher.config, "do_stable_layer_norm", False))
        self.student = student_of(teacher.model, settings.blocks)
        self.student.config.apply_spec_augment = False
        self.student.config.layerdrop = 0.0
        if hasattr(self.student, "set_attn_implementation"):
            self.student.set_attn_implementation("eager")
        width = teacher.config.hidden_size
        self.heads = nn.ModuleList(nn.Linear(width, width) for _ in layers)
        self.register_buffer("size", torch.zeros(len(layers)))
        self.seen: list[torch.Tensor] = []
        encoder: Any = self.student.encoder
        encoder.layers[-1].register_forward_hook(
            lambda _, __, out: self.seen.append(out[0] if isinstance(out, tuple) else out)
        )
        # In a list, so that it is no part of this module and of its checkpoints.
        self.teacher = [teacher]

    def targets(self, waves: torch.Tensor) -> list[torch.Tensor]:
        """The teacher's states of the layers to predict, each (batch, frames, width)."""
        states: dict[int, torch.Tensor] = {}
        (teacher,) = self.teacher
        with torch.no_grad():
            teacher.to(waves.device)
            teacher.walk(list(waves.cpu().numpy()), lambda k, of_layer: states.__setitem__(k, of_layer.float()))
        stacked = [states[layer] for layer in self.layers]
        if self.scaled and not bool(self.size.any()):
            self.size.copy_(torch.stack([of_layer.pow(2).mean().sqrt() for of_layer in stacked]))
        return [s / self.size[i] for i, s in enumerate(stacked)] if self.scaled else stacked

    def forward(self, waves: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of some waveforms, shape (batch, samples)."""
        targets = self.targets(waves)
        self.seen.clear()
        self.student(waves)
        output = self.seen.pop()
        loss = waves.new_zeros(())
        for layer, head, target in zip(self.layers, self.heads, targets, strict=True):
            predicted = head(output).float()
            distance = nn.functional.l1_loss(predicted, target)
            cosine = nn.functional.cosine_similarity(predicted, target, dim=-1)
            loss = loss + distance - self.cosine_weight * nn.functional.logsigmoid(cosine).mean()
            for name, value in (("l1", distance), ("cosine", cosine.mean())):
                sums = self.tally.setdefault(f"layer{layer}_{name}", [0.0, 0.0])
                sums[0] += float(value.detach())
                sums[1] += 1.0
        return {"loss": loss}

    def report(self) -> dict[str, float]:
        """Mean distance and cosine of each layer since the last report."""
        means = {name: round(total / count, 4) for name, (total, count) in sorted(self.tally.items())}
        self.tally.clear()
        return means


def build_distiller(teacher: Backbone, settings: DistillSettings) -> Distiller:
    """The student of a teacher with its heads, drawn from the settings' seed.

    Raises
    ------
    UserError
        If the teacher reads no waveform, or lacks a layer or block that is asked for.
    """
    if not teacher.reads_waveform:
        raise UserError(
            f"{teacher.label} takes log-mel features; give a teacher that reads the waveform, as HuBERT does"
        )
    layers = settings.layers or predicted_layers(teacher.n_layers - 1)
    if any(not 1 <= layer < teacher.n_layers for layer in layers):
        raise UserError(f"layers {layers} are not all among 1 to {teacher.n_layers - 1} of the teacher")
    torch.manual_seed(settings.seed)
    return Distiller(teacher, layers, settings)
