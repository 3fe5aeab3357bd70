"""Names of weights as programs save them, and as a model has them: what stands before them is taken off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def model_names(model_class: type[PreTrainedModel], config: PretrainedConfig, **options: Any) -> frozenset[str]:
    """Names of all weights of a model, with and without that of the encoder within one with a head."""
    with torch.device("meta"):
        names = model_class(config, **options).state_dict()
    return frozenset(names) | {name.removeprefix(f"{model_class.base_model_prefix}.") for name in names}


def named_as_the_model(
    tensors: dict[str, torch.Tensor], within: str | None, expected: Callable[[], frozenset[str]], source: str
) -> dict[str, torch.Tensor]:
    """The weights under the names that the model has for them, without what programs put before them.

    Data-parallel training leaves ``module.``; a model with a head, or one within another, names its encoder; a wrapper
    of any other name (``model.``, ``encoder_model.``) is known by what it leaves when it is taken off.

    Parameters
    ----------
    tensors : dict of str to Tensor
        As in the file.
    within : str or None
        The encoder's name in models with a head; weights beside it are left out.
    expected : callable
        Returns the names of :func:`model_names`; called where it is needed.
    source : str
        For the message.

    Raises
    ------
    UserError
        If the weights of several such models are there.
    """
    tensors = {re.sub(r"^(module\.)+", "", name): tensor for name, tensor in tensors.items()}
    if within is not None:
        before = {name: re.match(rf"(?:\w+\.)*?{re.escape(within)}\.", name) for name in tensors}
        if prefixes := sorted({prefix[0] for prefix in before.values() if prefix}):
            return _without(tensors, _one_of(prefixes, source))
    wanted = expected()
    if wanted & set(tensors):
        return tensors
    counts = Counter(prefix for name in tensors for prefix in _prefixes(name) if name.removeprefix(prefix) in wanted)
    if not counts:
        return tensors
    most = max(counts.values())
    return _without(tensors, _one_of(sorted(prefix for prefix, count in counts.items() if count == most), source))


def first_parts(names: Iterable[str]) -> str:
    """What the names of weights begin with, for a message."""
    parts = sorted({name.partition(".")[0] for name in names})
    return ", ".join(parts[:4]) + ", …" * (len(parts) > 4)


def _prefixes(name: str) -> list[str]:
    """``a.b.c`` may stand behind ``a.`` or ``a.b.``."""
    return [name[: dot.end()] for dot in re.finditer(r"\.", name)]


def _without(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _one_of(prefixes: list[str], source: str) -> str:
    if len(prefixes) > 1:
        raise UserError(f"{source} holds several encoders ({', '.join(prefixes)}); give a checkpoint of one")
    return prefixes[0]
