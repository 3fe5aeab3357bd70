"""Low-rank updates in place of whole weights: what LoRA trains, by peft, and how it becomes a plain model again."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import nn

from emoprobe.errors import UserError

from .model import AudioTextModel
from .rates import text_blocks

_NAME = "lora"


class Adapters:
    r"""Low-rank updates of the linear layers in the blocks of a model's encoders: all else of an encoder is frozen.

    A layer computes :math:`W x + 2 B A x` with `A` and `B` of the rank asked for, and `B` zero at first, so that
    training begins at the pretrained model.

    Parameters
    ----------
    model : AudioTextModel
        Changed in place. An encoder that is frozen whole gets none, nor does a layer that is never called while its
        weight is read (:func:`adaptable`).
    rank : int
    seed : int
        Of `A`.

    Raises
    ------
    UserError
        If peft is not installed, or both encoders are frozen.

    References
    ----------
    E. J. Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022.
    """

    def __init__(self, model: AudioTextModel, rank: int, *, seed: int = 0) -> None:
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise UserError(
                "--lora needs peft: pip install 'emoprobe[lora]', or leave it out to train whole weights"
            ) from error
        self._adapted = []
        device = model.label_mean.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for encoder in _trained_encoders(model):
                names = linear_layers(model, encoder)[0]
                config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
                self._adapted.append(LoraModel(encoder, {_NAME: config}, _NAME).to(device))
        if not self._adapted:
            raise UserError("--lora is of encoders that are trained, and --freeze keeps all of them: leave one out")

    def merge(self) -> None:
        """Add the updates to the weights, and leave the encoders as plain as they were."""
        for adapted in self._adapted:
            adapted.merge_and_unload()
        self._adapted = []


def _trained_encoders(model: AudioTextModel) -> list[nn.Module]:
    sides = {"audio": None if model.audio is None else model.audio.model, "text": model.text}
    return [encoder for name, encoder in sides.items() if encoder is not None and name not in model.settings.freeze]


def adaptable(model: AudioTextModel, rank: int) -> list[str]:
    """Notes on layers of a model that get no update, before anything is trained.

    Raises
    ------
    UserError
        If the blocks of an encoder are not known, or updates of that rank have as many parameters as the weights.
    """
    notes = []
    for encoder in _trained_encoders(model):
        called, count = linear_layers(model, encoder)
        layers = [encoder.get_submodule(name) for name in called]
        shapes = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
        whole, of_rank_one = sum(a * b for a, b in shapes), sum(a + b for a, b in shapes)
        if rank * of_rank_one >= whole:
            most = (whole - 1) // of_rank_one
            raise UserError(
                f"--lora {rank}: updates of that rank have as many parameters as the weights of "
                f"{type(encoder).__name__}, or more; give {most} at most, or leave it out to train whole weights"
            )
        if len(called) < count:
            notes.append(
                f"--lora updates {len(called)} of the {count} linear layers in the blocks of {type(encoder).__name__}: "
                "its attention reads the weights of the others without calling them, and they stay as they are"
            )
    return notes


def linear_layers(model: AudioTextModel, encoder: nn.Module) -> tuple[list[str], int]:
    """Names within an encoder of the linear layers in its blocks that a forward pass calls, and how many there are.

    Some attentions (WavLM's) read the weights of layers that they never call; an update of these would have no effect.
    """
    if encoder is model.text:
        blocks = text_blocks(encoder, option="--lora")
    else:
        blocks = model.audio.backbone.blocks  # type: ignore[union-attr]
    inside = {id(module) for block in blocks for module in block.modules() if isinstance(module, nn.Linear)}
    names = {id(module): name for name, module in encoder.named_modules() if id(module) in inside}
    called: dict[str, None] = {}
    with ExitStack() as hooks:
        for module in encoder.modules():
            if id(module) in inside:
                name = names[id(module)]
                hook = module.register_forward_hook(lambda *_, name=name: called.setdefault(name))
                hooks.callback(hook.remove)
        _pass(model, encoder)
    return list(called), len(inside)


@torch.no_grad()
def _pass(model: AudioTextModel, encoder: nn.Module) -> None:
    """A forward pass of next to nothing."""
    device, was = model.label_mean.device, encoder.training
    encoder.eval()
    if encoder is model.text:
        ids = torch.zeros(1, 2, dtype=torch.long, device=device)
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    elif model.audio is not None:
        samples = 2 * model.audio.backbone.receptive_field
        model.audio.backbone.forward(torch.zeros(1, samples, device=device), [samples])
    encoder.train(was)
