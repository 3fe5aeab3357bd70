"""Whether reduced precision, or another device, computes what float32 on the CPU computes, before anything is stored.

A vendor's kernel can be wrong on one processor and right on the next: oneDNN's bfloat16 grouped convolution is off by
more than 100 % on processors with AMX for some numbers of channels, such as those of hubert-nano. So a short real batch
is computed both ways where the run is to be, every layer is compared, and a run that is far off is refused.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from emoprobe.errors import UserError
from emoprobe.jsontext import dict_from_json, to_json
from emoprobe.storage import write_file

from .devices import arithmetic, is_out_of_memory, whole_float32
from .encoders.speech import Backbone

#: Largest error of a layer. One rounding to bfloat16 (8 bits) or float16 (11 bits) is off by up to 0.4 % or 0.05 %, and
#: sound kernels were off by at most ten times that in the last of 3 to 12 blocks, trained and random, the error growing
#: slowly with depth: fifty roundings leave room for 48 blocks. A wrong kernel is off by about 100 %. Two devices in
#: float32 differ by some 1e-6; what is caught there is TF32, which rounds to 11 bits.
TOLERANCES = {"bfloat16": 0.2, "float16": 0.025, "float32": 5e-4}

#: How many times the largest error before it a layer's may be, where it is more than this share of the tolerance too.
#: Roundings add up slowly: sound kernels made no layer of speech off by more than twice the largest before it, in any
#: family, and the first block behind a text's embeddings, which are looked up, by less than that share. A kernel that
#: spoils a part of a block, such as one head of six, is off by many times as much, and yet within the tolerance, which
#: a deep model needs.
_LEAP, _LEAP_FROM = 4.0, 0.25

#: Share of a layer's dimensions that the error is an upper bound of. A trained model has a few dimensions that are
#: nearly nothing, or hundreds of times larger than the rest: taken together, these would hide an error of all others.
_SHARE = 0.9

#: Layers of a batch by name, each a row a frame: (frames, width).
States = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class PrecisionCheck:
    """How far one batch was from float32 on the CPU.

    Attributes
    ----------
    precision : str
        What it was computed in.
    device : str
        Type of device that it was computed on.
    errors : dict of str to float
        Of each layer, two digits: what nine in ten of its dimensions stay below. The error of a dimension is the
        Euclidean norm of its difference over all frames, as a share of the norm of the dimension itself.
    tolerance : float
        What no layer may exceed; a layer that is far from those before it, less (:attr:`allowed`).
    frames : int
        Frames of the batch.
    in_float32 : tuple of str
        Modules that run in float32 whatever the precision, since their kernel in that precision is wrong here.
    """

    precision: str
    device: str
    errors: dict[str, float]
    tolerance: float
    frames: int
    in_float32: tuple[str, ...]

    @property
    def allowed(self) -> dict[str, float]:
        """What each layer may be off by: the tolerance, or less where the layers before it are off by far less."""
        allowed: dict[str, float] = {}
        before: list[float] = []
        for name, error in self.errors.items():
            leap = max(_LEAP_FROM * self.tolerance, _LEAP * max(before, default=np.inf))
            allowed[name] = min(self.tolerance, leap)
            before.append(error)
        return allowed

    @property
    def passed(self) -> bool:
        """Whether every layer is within what is allowed; an error that is not finite is not."""
        return all(self.errors[name] <= allowed for name, allowed in self.allowed.items())

    @property
    def refused(self) -> str:
        """The first layer that is off by more than is allowed.

        Raises
        ------
        StopIteration
            If there is none.
        """
        return next(name for name, allowed in self.allowed.items() if not self.errors[name] <= allowed)

    def provenance(self) -> dict:
        """The same as JSON."""
        return {**asdict(self), "in_float32": list(self.in_float32), "against": "float32 on the CPU"}

    def __str__(self) -> str:
        worst = max(self.errors, key=self.errors.__getitem__)
        allowed = self.allowed[worst]
        apart = ""
        if self.in_float32:
            apart = (
                f"; {', '.join(self.in_float32)} in float32, since the {self.precision} kernel of grouped convolutions "
                f"is wrong on this {self.device.upper()}"
            )
        return (
            f"{self.precision} on the {self.device.upper()} checked against float32 on the CPU: {worst} is off by "
            f"{self.errors[worst]:.2g}, and {allowed:.2g} is allowed{apart}"
        )


def is_exact(device: torch.device, precision: str) -> bool:
    """Whether a run is what others are checked against: float32 on the CPU."""
    return device.type == "cpu" and precision == "float32"


def check_precision(
    model: nn.Module,
    states: Callable[[], States],
    *,
    device: torch.device,
    precision: str,
    remedy: str,
    in_float32: Sequence[str] | None = None,
) -> PrecisionCheck:
    """Compare every layer of one batch with float32 on the CPU; decide which modules must run in float32.

    Parameters
    ----------
    model : torch.nn.Module
        Moved to the CPU, then to `device`, and left there.
    states : callable
        Computes the batch with `model`, wherever that is.
    device : torch.device
    precision : str
        One of :data:`.limits.PRECISIONS`.
    remedy : str
        What its user can do against a refusal, such as ``"use --precision float32"``.
    in_float32 : sequence of str, optional
        Modules that a run that is gone on with has in float32. Left out: none if that will do, or else every grouped
        convolution, such as the positional one of HuBERT.

    Returns
    -------
    PrecisionCheck

    Raises
    ------
    UserError
        If a layer is off by more than is allowed: it names the first.
    """
    cpu = torch.device("cpu")
    model.to(cpu)
    with torch.no_grad(), arithmetic(cpu, "float32"):
        exact = {name: layer.double() for name, layer in states().items()}
    model.to(device)

    def check(names: Sequence[str]) -> PrecisionCheck:
        with torch.no_grad(), arithmetic(device, precision), run_in_float32(model, names):
            reduced = {name: layer.cpu().double() for name, layer in states().items()}
        return PrecisionCheck(
            precision=precision,
            device=device.type,
            errors={name: _error(reduced[name], layer) for name, layer in exact.items()},
            tolerance=TOLERANCES[precision],
            frames=len(next(iter(exact.values()))),
            in_float32=tuple(names),
        )

    result = check(in_float32 or ())
    if result.passed:
        return result
    if in_float32 is None and precision != "float32":
        grouped = [name for name, part in model.named_modules() if isinstance(part, nn.Conv1d) and part.groups > 1]
        if grouped:
            second = check(grouped)
            if second.passed:
                return second
            # Where both kernels are wrong, the one that is left is what is to be told.
            result = max(result, second, key=lambda tried: list(tried.allowed).index(tried.refused))
    raise UserError(_refusal(result, remedy, going_on=in_float32 is not None))


def _error(reduced: torch.Tensor, exact: torch.Tensor) -> float:
    """What nine in ten dimensions stay below; infinite where a number is not finite."""
    difference = torch.linalg.vector_norm(reduced - exact, dim=0)
    size = torch.linalg.vector_norm(exact, dim=0)
    errors = torch.where(difference > 0, difference / size, 0.0)  # a dimension that is zero in both is right
    error = torch.quantile(errors, _SHARE, interpolation="higher").item() if reduced.isfinite().all() else torch.inf
    return float(f"{error:.2g}")


def _refusal(result: PrecisionCheck, remedy: str, *, going_on: bool) -> str:
    layer = result.refused
    error, allowed = result.errors[layer], result.allowed[layer]
    far = f"is off by {error:.2g}" if np.isfinite(error) else "is not finite"
    if going_on:
        how = (
            f"with {', '.join(result.in_float32)} in float32" if result.in_float32 else f"wholly in {result.precision}"
        )
        remedy = (
            f"What is to be gone on with was begun {how}: finish it on the machine that it was begun on, or start anew"
        )
    onednn = ""
    if result.device == "cpu" and result.precision == "bfloat16":
        onednn = "; the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 leaves out a kernel known to be wrong"
    return (
        f"{result.precision} on this {result.device.upper()} does not compute what float32 on the CPU computes: of a "
        f"real batch of {result.frames} frames {layer} {far}, and {allowed:.2g} is allowed. {remedy}{onednn}"
    )


@contextmanager
def train_checked(
    model: nn.Module,
    states: Callable[[], States],
    *,
    record: Path,
    device: torch.device,
    precision: str,
    remedy: str,
    say: Callable[[str], None] = lambda line: None,
    write: bool = True,
) -> Iterator[None]:
    """Check the model before its training in reduced precision or on another device than the CPU; then train it.

    Float32 is whole float32 meanwhile (:func:`.devices.whole_float32`), as it is while the model is checked, and the
    modules that need it are in float32. No autocast is set: within another, even one that is off, the training's own
    would keep its copies of the weights from one step to the next.

    Parameters
    ----------
    model, states, device, precision, remedy
        As for :func:`check_precision`; the model is in evaluation mode while it is checked.
    record : Path
        JSON file of the check. Where it is there, a training is gone on with, and keeps what it was begun with.
    say : callable
        Told the outcome.
    write : bool
        Whether this process writes `record`, of several that train together.

    Raises
    ------
    UserError
        If a layer is off by more than the tolerance, or `record` cannot be read.
    """
    if is_exact(device, precision):
        with whole_float32():
            yield
        return
    begun = _recorded_in_float32(record) if record.exists() else None
    training = model.training
    model.eval()
    # Some models draw random numbers even where they use none; a training that goes on must draw the same as a new one,
    # however often its check ran the model.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        check = check_precision(model, states, device=device, precision=precision, remedy=remedy, in_float32=begun)
    model.train(training)
    say(str(check))
    if write and begun is None:
        write_file(record, to_json(check.provenance(), indent=1) + "\n")
    with whole_float32(), run_in_float32(model, check.in_float32):
        yield


def _recorded_in_float32(path: Path) -> list[str]:
    try:
        return [str(name) for name in dict_from_json(path.read_bytes())["in_float32"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); bring it back from a copy, or start the training anew"
        ) from error


@contextmanager
def run_in_float32(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let the modules of these names, each a function of one tensor, compute in float32 under any autocast."""
    modules = [model.get_submodule(name) for name in names]
    for module in modules:
        module.forward = types.MethodType(_forward_in_float32, module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _forward_in_float32(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    with torch.autocast(values.device.type, enabled=False):
        return type(module).forward(module, values.float())


def check_backbone(
    backbone: Backbone,
    waveforms: Sequence[np.ndarray],
    *,
    device: torch.device,
    precision: str,
    in_float32: Sequence[str] | None = None,
) -> PrecisionCheck:
    """:func:`check_precision` of every layer of a speech model.

    Parameters
    ----------
    backbone : Backbone
        Moved to `device`.
    waveforms : sequence of ndarray, (samples,) float32
        A short batch, already through :meth:`.Backbone.prepare`; of two or more lengths, so that padding is part of
        what is compared. Halved where the device has no memory for it.
    device, precision, in_float32
        As for :func:`check_precision`.
    """

    def states() -> States:
        layers: list[torch.Tensor] = []
        frames = backbone.walk(waveforms, lambda _, layer: layers.append(layer.clone()))
        names = [f"layer {k} ({name})" for k, name in enumerate(backbone.layer_names)]
        return {name: valid_rows(layer, frames) for name, layer in zip(names, layers, strict=True)}

    remedy = "Use --device cpu" if precision == "float32" else "Use --precision float32"
    try:
        return check_precision(
            backbone.model, states, device=device, precision=precision, remedy=remedy, in_float32=in_float32
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(waveforms) == 1:
            raise
    half = waveforms[: len(waveforms) // 2]
    return check_backbone(backbone, half, device=device, precision=precision, in_float32=in_float32)


def valid_rows(states: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """The steps of each utterance, one below the other: (batch, steps, width) to (sum of lengths, width)."""
    return torch.cat([utterance[:length] for utterance, length in zip(states, lengths, strict=True)])
