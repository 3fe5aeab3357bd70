"""What a ridge probe of one layer costs at the size of a corpus, part by part, and what all layers then cost.

The layer is synthetic, the design that of MSP-Podcast: an official split with two test parts, three dimensions,
speakers of about a hundred utterances. Beside it stands what the machine can do: the same multiplications alone.

    python benchmarks/probes.py                                     # small, a minute
    python benchmarks/probes.py --rows 270000 --width 2048          # MSP-Podcast 2.0, mean and std of 1,024
    python benchmarks/probes.py --rows 270000 --width 2048 --device cuda

On a device, the layer is brought there first, and the first draw of the permutations, which the device keeps for the
next layers, is told apart.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emoprobe.jsontext import to_json
from emoprobe.probe import deletion, permutation, ridge
from emoprobe.probe.arrays import HOST, Arrays
from emoprobe.probe.device_check import checked_device
from emoprobe.probe.layer_equations import Reader
from emoprobe.probe.on_device import Device, brought, working
from emoprobe.probe.splits import Fold

#: Share of the speakers in each part.
PARTS = {"train": 0.6, "development": 0.15, "test1": 0.2, "test2": 0.05}


def main() -> None:
    """Measure and print; see the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=10_000, help="utterances")
    options.add_argument("--width", type=int, default=768)
    options.add_argument("--permutations", type=int, default=1000)
    options.add_argument("--layers", type=int, default=25, help="for how many layers the time is told")
    options.add_argument("--device", default="cpu", help="cpu for numpy, or cuda")
    options.add_argument("--out", type=Path, help="write the numbers there as JSON")
    given = options.parse_args()
    device = None if given.device == "cpu" else checked_device(given.device)
    with tempfile.TemporaryDirectory() as folder, working(device) if device else nullcontext():
        measured = measure(given, Path(folder) / "layer.f4", device)
    if given.out:
        given.out.write_text(to_json(measured, indent=1) + "\n")


def measure(given: argparse.Namespace, path: Path, device: torch.device | None = None) -> dict[str, Any]:
    """Time each part of one layer, by numpy or on a device; return and print the numbers."""
    rng = np.random.default_rng(0)
    n_speakers = max(100, given.rows // 100)
    speaker = np.sort(rng.integers(0, n_speakers, given.rows))
    states = np.lib.format.open_memmap(path, "w+", "f4", (given.rows, given.width))
    signal = np.empty((given.rows, 3))
    direction = rng.standard_normal((given.width, 3)) / np.sqrt(given.width)
    for start in range(0, given.rows, 10_000):
        some = states[start : start + 10_000]
        some[:] = rng.standard_normal(some.shape, dtype=np.float32)
        signal[start : start + 10_000] = some @ direction
    ratings = signal + 2 * rng.standard_normal(signal.shape)
    ends = np.cumsum(list(PARTS.values())) * n_speakers
    part = np.searchsorted(ends, rng.permutation(n_speakers), side="right")[speaker]
    rows = {name: np.flatnonzero(part == k) for k, name in enumerate(PARTS)}
    tests = {name: of_part for name, of_part in rows.items() if name != "train"}
    folds = [Fold("all", rows["train"], ((rows["train"], rows["development"]),), tests)]
    seconds: dict[str, tuple[float, float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wait_for(device)
        wall, processor = time.perf_counter(), time.process_time()
        made = work()
        wait_for(device)
        seconds[name] = time.perf_counter() - wall, time.process_time() - processor
        print(f"{name:14}{seconds[name][0]:9.1f} s   {seconds[name][1]:9.1f} s of processor time", flush=True)
        return made

    print(f"{given.rows:,} utterances x width {given.width:,}, {given.permutations:,} permutations, 3 dimensions")
    read: Reader = states.__getitem__
    if device is not None:
        read = timed("brought", lambda: brought(states.__getitem__, folds, device))
    equations = timed("sums", lambda: ridge.accumulate(read, ratings, folds))
    solved = timed("penalties", lambda: ridge.solve(equations))
    deletions = deletion.Deletions.of(folds, [f"speaker{k}" for k in speaker], ratings)
    timed("deletions", lambda: deletion.moments_without(equations, solved, ratings, deletions))
    sets = permutation.exchangeable(folds, speaker, within_speakers=True)

    def null() -> dict[str, np.ndarray]:
        return permutation.permuted_scores(equations, ratings, solved, sets, count=given.permutations)

    if device is not None:
        timed("the first time", null)
    once, _ = seconds.pop("the first time", (0.0, 0.0))
    timed("permutations", null)
    wall, processor = (sum(times) for times in zip(*seconds.values(), strict=True))
    arrays = HOST if device is None else Device(device)
    trained = len(rows["train"]) + len(rows["development"])
    limit = least(given.rows, given.width, given.permutations, trained=trained, arrays=arrays)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'a layer':14}{wall:9.1f} s   {processor:9.1f} s of processor time, {wall / limit:.2f} times its products")
    print(
        f"{given.layers} layers: {(once + given.layers * wall) / 60:.1f} minutes; most memory {peak:.2f} GiB, "
        "pages of the file too"
    )
    on_device = None
    if device is not None and device.type == "cuda":
        on_device = torch.cuda.max_memory_allocated(device) / 2**30
        print(f"most memory of the device {on_device:.2f} GiB")
    return {
        **vars(given) | {"out": None},
        "seconds": seconds,
        "seconds_the_first_time": once,
        "seconds_a_layer": wall,
        "seconds_of_the_products": limit,
        "peak_gib": peak,
        "peak_gib_of_the_device": on_device,
    }


def wait_for(device: torch.device | None) -> None:
    """Until a GPU has done what it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def least(rows: int, width: int, permutations: int, *, trained: int, arrays: Arrays) -> float:
    """Seconds of the multiplications that sums and permutations cannot do without, at the speed of a large product."""
    a, b = (arrays.take(matrix) for matrix in np.random.default_rng(0).standard_normal((2, 2048, 2048)))
    arrays.back(a @ b)
    start = time.perf_counter()
    for _ in range(3):
        product = a @ b
    arrays.back(product)
    speed = 3 * 2 * 2048**3 / (time.perf_counter() - start)
    return (trained * width**2 + 2 * rows * width * 3 * permutations) / speed


if __name__ == "__main__":
    main()
