"""Where a model runs, in which precision, and what fits there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from emoprobe.errors import UserError

from .options import check_device

#: What autocast is told of each of :data:`.limits.PRECISIONS`; None leaves all as it is.
_TYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: What a type that overflows may be replaced with.
WIDER_TYPES = {"float16": "bfloat16 or float32", "bfloat16": "float32"}

# On a CPU a larger batch pays until the first convolution's output (channels x 3,200 steps a second) leaves the caches:
# of 4 to 48 seconds, 8 was best for DistilHuBERT with its 512 channels (14 to 17 times real time; 13 at 24), while
# hubert-nano with its 32 channels ran at 91 and 104 times with 24 seconds, at 75 and 67 with 8.
_CPU_CHANNEL_SECONDS = 8.0 * 512
_CPU_MOST_SECONDS = 24.0

# Memory that one padded second takes in the largest front end in use (512 channels at 3,200 steps a second in float32,
# five such tensors at once), with a margin for the blocks.
_BYTES_PER_SECOND = 64e6


def choose_device(name: str) -> torch.device:
    """The device by name; ``"auto"`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    UserError
        If it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_device(name)
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("only cpu, cuda and mps are supported")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise RuntimeError("this machine has no MPS")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--device {name} is not usable here ({reason}); try --device auto") from error
    return device


def default_batch_seconds(device: torch.device, channels: int) -> float:
    """Seconds of audio, padding included, that one batch takes on the device.

    Parameters
    ----------
    device : torch.device
    channels : int
        Of the model's first convolution.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(min(600, max(30, int(0.5 * free / _BYTES_PER_SECOND))))
    return min(_CPU_MOST_SECONDS, max(4.0, _CPU_CHANNEL_SECONDS / channels))


@contextmanager
def numerics(device: torch.device, precision: str) -> Iterator[None]:
    """No gradients, in the :func:`arithmetic` asked for."""
    with torch.inference_mode(), arithmetic(device, precision):
        yield


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """The precision asked for, and where that is float32 nothing less on the way, whatever the process has set.

    By default cuDNN rounds a float32 convolution's operands to 10 bits (TF32); every layer would then be off by about
    1e-3. ``torch.set_float32_matmul_precision`` does the same to matrix products, on some processors too. Only these
    settings are changed, and put back at the end: `enabled`, `benchmark` and `deterministic` of cuDNN stay the user's.
    """
    kind = _TYPES[precision]
    with whole_float32(), torch.autocast(device.type, dtype=kind, enabled=kind is not None):
        yield


@contextmanager
def whole_float32() -> Iterator[None]:
    """Matrix products and convolutions of float32 in float32, on GPUs and in oneDNN."""
    # Objects at run time, of more settings than torch's types give the modules that they stand for.
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):  # one setting for each, since torch 2.9; reading the older ones can raise there
        operations = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
        before = [operation.fp32_precision for operation in operations]
        try:
            for operation in operations:
                operation.fp32_precision = "ieee"
            yield
        finally:
            for operation, precision in zip(operations, before, strict=True):
                operation.fp32_precision = precision
    else:
        products, convolutions = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
        try:
            torch.set_float32_matmul_precision("highest")
            backends.cudnn.allow_tf32 = False
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            backends.cudnn.allow_tf32 = convolutions


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the machine, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
