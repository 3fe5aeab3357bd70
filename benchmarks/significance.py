"""Permutations and resamples of every layer and dimension, beside the fit itself and scikit-learn's permutation test.

Ours permutes the labels of all dimensions as right-hand sides of one factorisation a fold, and resamples speakers by
matrix products. `permutation_test_score` is given each layer as a float64 array that is already in memory, the same
folds, Pipeline(StandardScaler(), Ridge(alpha)) with the penalty fixed, and CCC; it is timed on few permutations of one
layer, one dimension at a time, and scaled to all layers, dimensions and permutations. (With several outputs at once it
would share the factorisation of a permutation's fits, but score only their mean.) Both meet the same permutations, and
their scores are compared. Times are of the processor, so that what else the machine does matters less.

    python benchmarks/significance.py             # small, a minute
    python benchmarks/significance.py --full      # 25 layers x 3 dimensions x 10,000 utterances x width 1,024
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoprobe.jsontext import to_json
from emoprobe.probe.bootstrap import intervals, moments_by_speaker
from emoprobe.probe.metrics import ccc, ccc_from_moments, pearson_from_moments, rmse_from_moments
from emoprobe.probe.permutation import exchangeable, permuted_moments, permuted_scores
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold, cross_validation, group_folds

from ridge import _read, write_states  # isort: skip  (the benchmark beside this one)

MEASURES = {"ccc": ccc_from_moments, "pearson": pearson_from_moments, "rmse": rmse_from_moments}
SCORED = "cross-validation"
PENALTY = 100.0  # of the scores that are compared; the time does not depend on it


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
    options.add_argument("--official", action="store_true", help="one training part and one test part, no folds")
    options.add_argument("--permutations", type=int, default=1000)
    options.add_argument("--resamples", type=int, default=1000)
    options.add_argument("--reference-permutations", type=int, default=3, help="on which scikit-learn is timed")
    options.add_argument("--out", type=Path, help="write the numbers there as JSON")
    given = options.parse_args()
    if given.full:
        given.layers, given.rows, given.width, given.dimensions = 25, 10_000, 1024, 3
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(given, Path(folder) / "states.h5")
    if given.out:
        given.out.write_text(to_json(measured, indent=1) + "\n")


def plan(speaker: np.ndarray, n_folds: int, official: bool) -> list[Fold]:
    """Speaker-grouped folds, or a training part with inner folds and a test part of a fifth of the speakers."""
    if not official:
        groups = np.unique(speaker, return_inverse=True)[1]
        return list(cross_validation(np.arange(len(speaker)), groups, n_folds))
    train, test = np.flatnonzero(speaker % 5 > 0), np.flatnonzero(speaker % 5 == 0)
    fold = group_folds(speaker[train], n_folds)
    inner = tuple((train[fold != k], train[fold == k]) for k in range(n_folds))
    return [Fold("all", train, inner, {SCORED: test})]


def measure(given, path: Path) -> dict:
    """Time all parts on the same rows; return and print the numbers."""
    targets, speaker = write_states(path, given.layers, given.rows, given.width, given.dimensions, given.speakers)
    folds = plan(speaker, given.folds, given.official)
    sets = exchangeable(folds, speaker)
    scored = np.sort(np.concatenate([fold.tests[SCORED] for fold in folds]))
    print(
        f"{given.layers} layers x {given.dimensions} dimensions x {given.rows} utterances x width {given.width}, "
        f"{'one split' if given.official else f'{given.folds} folds'}; {given.permutations} permutations, "
        f"{given.resamples} resamples of {len(np.unique(speaker[scored]))} speakers"
    )
    seconds = {"fit": 0.0, "permutations": 0.0, "resamples": 0.0}
    predictions = []
    with h5py.File(path) as file:
        states = file["pooled/mean"]
        for layer in range(given.layers):
            start = time.process_time()
            equations = accumulate(lambda rows, layer=layer: _read(states, layer, rows), targets, folds)
            solved = solve(equations)
            seconds["fit"] += time.process_time() - start
            start = time.process_time()
            permuted_scores(equations, targets, solved, sets, count=given.permutations)
            seconds["permutations"] += time.process_time() - start
            predictions.append(solved.predictions)
    start = time.process_time()
    for dimension in range(given.dimensions):
        fits = np.stack([each[scored, dimension] for each in predictions])
        sums = moments_by_speaker(targets[scored, dimension], fits, speaker[scored])
        intervals(sums, MEASURES, resamples=given.resamples)
    seconds["resamples"] = time.process_time() - start
    ours = seconds["permutations"] + seconds["resamples"]
    print(
        f"ours:    fit {seconds['fit']:.2f} s, permutations {seconds['permutations']:.2f} s, resamples "
        f"{seconds['resamples']:.2f} s of processor: significance costs {ours / seconds['fit']:.2f} times the fit"
    )

    with h5py.File(path) as file:
        x = file["pooled/mean"][0].astype(np.float64)
    count, times, differ = given.reference_permutations, [], 0.0
    pairs = [(fold.train, fold.tests[SCORED]) for fold in folds]
    order = _orders(given.rows, count)
    equations = accumulate(lambda rows: x[rows], targets, folds)
    same = solve(equations, penalties=[PENALTY])
    for dimension in range(given.dimensions):
        start = time.process_time()
        _, null, _ = permutation_test_score(
            make_pipeline(StandardScaler(), Ridge(alpha=PENALTY)),
            x,
            targets[:, dimension],
            cv=pairs,
            scoring=make_scorer(lambda truth, predicted: float(ccc(truth, predicted))),
            n_permutations=count,
            random_state=0,
        )
        # It scores the true labels first, which is one permutation more.
        times.append((time.process_time() - start) / (count + 1))
        sums = permuted_moments(equations, targets, same.penalties, (dimension,), order)[SCORED]
        differ = max(differ, float(np.abs(ccc_from_moments(sums)[..., 0].mean(0) - null).max()))
    each = float(np.mean(times))
    whole = each * given.permutations * given.layers * given.dimensions
    print(
        f"sklearn: {each:.3f} s a permutation of one layer and dimension (mean of {count + 1} in each of "
        f"{given.dimensions}), so {whole:.0f} s for all permutations, layers and dimensions"
    )
    print(
        f"ratio:   {whole / seconds['permutations']:.0f} times less for the permutations, {whole / ours:.0f} with "
        "the resamples, of which scikit-learn has none"
    )
    print(f"scores of the same permutations differ by at most {differ:.1e}")
    return {
        "layers": given.layers, "rows": given.rows, "width": given.width, "dimensions": given.dimensions,
        "official": given.official, "permutations": given.permutations, "resamples": given.resamples,
        **{f"{name}_seconds": value for name, value in seconds.items()}, "of_the_fit": ours / seconds["fit"],
        "sklearn_seconds": whole, "sklearn_permutations_timed": count + 1, "ratio": whole / ours, "difference": differ,
    }  # fmt: skip


def _orders(rows: int, count: int) -> np.ndarray:
    """The permutations that scikit-learn draws with the seed 0."""
    random = np.random.RandomState(0)
    return np.stack([random.permutation(rows) for _ in range(count)])


if __name__ == "__main__":
    main()
