"""Ridge probes of every layer beside scikit-learn's RidgeCV given the same speaker-grouped folds.

Both choose one of 13 penalties for every layer and dimension by the same folds, refit, and predict held-out rows. Ours
streams the layers from an HDF5 file; RidgeCV is given each layer as a float64 array that is already in memory, and is
timed on a few layers, its time for all of them being that of one times their number. Ratios come from one run, so
that whatever else the machine does slows both.

    python benchmarks/ridge.py             # small, a minute
    python benchmarks/ridge.py --full      # 25 layers x 3 dimensions x 10,000 utterances x width 1,024
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.linalg
from sklearn.linear_model import RidgeCV
from sklearn.metrics import make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoprobe.jsontext import to_json
from emoprobe.probe.arrays import solve_penalties
from emoprobe.probe.metrics import ccc
from emoprobe.probe.ridge import PENALTIES, ridge_probe
from emoprobe.probe.splits import Fold, group_folds


class PeakMemory:
    """Most anonymous memory (arrays, not pages of files that are mapped) beyond that at the start, in MB."""

    def __enter__(self):
        self.start, self.peak, self.stop = self._now(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self):
        while not self.stop.wait(0.01):
            self.peak = max(self.peak, self._now() - self.start)

    def __exit__(self, *error):
        self.stop.set()
        self.thread.join()

    @staticmethod
    def _now() -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("this system does not tell a process's anonymous memory")


def write_states(path: Path, layers: int, rows: int, width: int, dimensions: int, speakers: int, seed: int = 0):
    """Correlated states, as a network's are, and labels that a layer predicts; return labels and speakers."""
    rng = np.random.default_rng(seed)
    speaker = rng.integers(0, speakers, rows)
    direction = rng.standard_normal((width, dimensions)) / np.sqrt(width)
    spectrum = np.arange(1, width + 1) ** -0.5
    with h5py.File(path, "w") as file:
        states = file.create_dataset("pooled/mean", (layers, rows, width), "f4")
        for layer in range(layers):
            x = rng.standard_normal((rows, width), dtype=np.float32) * spectrum
            x += rng.standard_normal((speakers, width))[speaker] * spectrum * 0.5
            x = np.roll(x, layer, axis=1)
            states[layer] = x
            if layer == layers // 2:
                signal = x @ direction
    signal /= signal.std(0)
    return signal + rng.standard_normal(signal.shape), speaker


def main() -> None:
    """Measure and print; see the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true", help="25 layers x 3 dimensions x 10,000 x 1,024")
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--dimensions", type=int, default=3)
    options.add_argument("--speakers", type=int, default=200)
    options.add_argument("--folds", type=int, default=5)
    options.add_argument("--reference-layers", type=int, default=1, help="layers on which RidgeCV is timed")
    options.add_argument("--out", type=Path, help="write the numbers there as JSON")
    given = options.parse_args()
    if given.full:
        given.layers, given.rows, given.width, given.dimensions = 25, 10_000, 1024, 3
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(given, Path(folder) / "states.h5")
    if given.out:
        given.out.write_text(to_json(measured, indent=1) + "\n")


def measure(given, path: Path) -> dict:
    """Time both on the same rows; return and print the numbers."""
    targets, speaker = write_states(path, given.layers, given.rows, given.width, given.dimensions, given.speakers)
    held_out = speaker % 5 == 0
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    fold = group_folds(speaker[train], given.folds)
    pairs = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(given.folds)]
    plan = [Fold("all", train, tuple((train[a], train[b]) for a, b in pairs), {"test": test})]
    print(
        f"{given.layers} layers x {given.dimensions} dimensions x {given.rows} utterances x width {given.width}, "
        f"{len(PENALTIES)} penalties, {given.folds} speaker-grouped folds of {len(train)} training rows"
    )

    ours, seconds, processor = [], [], []
    with h5py.File(path) as file, PeakMemory() as used:
        states = file["pooled/mean"]
        for layer in range(given.layers):
            start, cpu = time.perf_counter(), time.process_time()
            ours.append(ridge_probe(lambda rows, layer=layer: _read(states, layer, rows), targets, plan))
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - cpu)
    total, total_cpu = sum(seconds), sum(processor)
    print(
        f"ours:    {total:8.2f} s ({total_cpu:.2f} s of processor) for all layers and dimensions, "
        f"peak {used.peak:.0f} MB"
    )

    def score(truth, prediction):
        return float(ccc(truth, prediction))

    reference, reference_cpu, same, other, peak = [], [], [], [], 0.0
    for layer in range(given.reference_layers):
        with h5py.File(path) as file:
            x = file["pooled/mean"][layer].astype(np.float64)
        for dimension in range(given.dimensions):
            y = targets[:, dimension]
            with PeakMemory() as memory:
                start, cpu = time.perf_counter(), time.process_time()
                model = make_pipeline(
                    StandardScaler(), RidgeCV(alphas=PENALTIES, cv=pairs, scoring=make_scorer(score))
                ).fit(x[train], y[train])
                predicted = model.predict(x[test])
                reference.append(time.perf_counter() - start)
                reference_cpu.append(time.process_time() - cpu)
            peak = max(peak, memory.peak)
            differ = abs(score(y[test], predicted) - score(y[test], ours[layer].predictions[test, dimension]))
            # RidgeCV averages the folds' scores and standardises once for all folds: it may choose another.
            (same if model[-1].alpha_ == ours[layer].penalties[0, dimension] else other).append(differ)
    each = float(np.mean(reference))
    whole = each * given.dimensions * given.layers
    whole_cpu = float(np.mean(reference_cpu)) * given.dimensions * given.layers
    print(
        f"RidgeCV: {each:8.2f} s a layer and dimension (mean of {len(reference)}), so {whole:.0f} s "
        f"({whole_cpu:.0f} s of processor) for all; peak {peak:.0f} MB beside the layer in memory"
    )
    print(
        f"ratio:   {whole / total:8.1f} times faster by the clock, {whole_cpu / total_cpu:.1f} times by processor time"
    )
    print(
        f"test CCC differs by at most {max(same, default=0):.1e} in {len(same)} fits with the same penalty, "
        f"{max(other, default=0):.1e} in {len(other)} with another"
    )

    # All dimensions in one RidgeCV share a factorisation there too, but also the penalty: less than what is asked.
    start = time.process_time()
    RidgeCV(alphas=PENALTIES, cv=pairs).fit(StandardScaler().fit_transform(x[train]), targets[train])
    joint = (time.process_time() - start) * given.layers
    print(
        f"RidgeCV with one penalty for all dimensions at once: {joint:.0f} s of processor for all layers, "
        f"ratio {joint / total_cpu:.1f}"
    )
    cholesky, eigen = solvers(x[train], targets[train])
    print(f"one training set, all penalties: Cholesky {cholesky * 1e3:.0f} ms, eigendecomposition {eigen * 1e3:.0f} ms")
    return {
        "layers": given.layers, "rows": given.rows, "width": given.width, "dimensions": given.dimensions,
        "ours_seconds": total, "ours_peak_mb": used.peak, "ridgecv_seconds": whole,
        "ridgecv_fits_timed": len(reference), "ratio": whole / total, "ratio_joint_cpu": joint / total_cpu,
        "ratio_cpu": whole_cpu / total_cpu, "differences_same_penalty": same, "differences_other_penalty": other,
        "cholesky_seconds": cholesky, "eigh_seconds": eigen,
    }  # fmt: skip


def _read(states, layer: int, rows: np.ndarray) -> np.ndarray:
    """Rows of a layer; the piece that spans them is read at once, which HDF5 does far faster than a list of rows."""
    return states[layer, rows[0] : rows[-1] + 1][rows - rows[0]]


def solvers(x: np.ndarray, y: np.ndarray, repeats: int = 3) -> tuple[float, float]:
    """Best processor seconds of a Cholesky a penalty, and of one eigendecomposition for all."""
    x = (x - x.mean(0)) / x.std(0)
    matrix, right = x.T @ x, x.T @ (y - y.mean(0))
    times = {"cholesky": [], "eigen": []}
    for _ in range(repeats):
        start = time.process_time()
        direct = solve_penalties(matrix, right, PENALTIES)
        times["cholesky"].append(time.process_time() - start)
        start = time.process_time()
        values, vectors = scipy.linalg.eigh(matrix, driver="evd", check_finite=False)
        turned = vectors.T @ right
        other = np.stack([vectors @ (turned / (values + penalty)[:, None]) for penalty in PENALTIES])
        times["eigen"].append(time.process_time() - start)
        np.testing.assert_allclose(direct, other, atol=1e-6)
    return min(times["cholesky"]), min(times["eigen"])


if __name__ == "__main__":
    main()
