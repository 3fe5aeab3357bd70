"""Probes fitted again without each speaker, and the intervals that follow: against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from emoprobe import fit_layers
from emoprobe.probe import equations as equations_module
from emoprobe.probe import jackknife
from emoprobe.probe.bootstrap import leave_one_out
from emoprobe.probe.deletion import BOTH, MOST, TESTED, TRAINING, Deletions, moments_without
from emoprobe.probe.equations import Removal
from emoprobe.probe.jackknife import FIXED, REFITTED
from emoprobe.probe.metrics import ccc, moments
from emoprobe.probe.refits import Refit, Refits
from emoprobe.probe.results import Results, load_results
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.schema import MOMENTS, REFITS
from emoprobe.probe.significance import layers_compared, paired_differences, score_intervals
from emoprobe.probe.splits import Fold, cross_validation, group_folds
from emoprobe.testing.caches import write_cache

PENALTIES = (0.5, 5.0, 50.0)


def problem(width: int, each: int, speakers: int = 12):
    """Features, three targets (one of which lacks labels), speakers, and their names."""
    rng = np.random.default_rng([width, each])
    speaker = np.arange(each * speakers) % speakers
    x = (
        rng.standard_normal((len(speaker), width)) * np.linspace(0.5, 3, width)
        + rng.standard_normal((speakers, 1))[speaker]
    )
    y = x[:, :3] + rng.standard_normal((len(speaker), 3)) + 4
    y[::7, 2] = np.nan
    return x, y, speaker, [f"s{number:02d}" for number in speaker]


def official(speaker: np.ndarray) -> tuple[Fold, ...]:
    train, test = np.flatnonzero(speaker % 4 > 0), np.flatnonzero(speaker % 4 == 0)
    inner = group_folds(speaker[train], 3)
    return (Fold("all", train, tuple((train[inner != k], train[inner == k]) for k in range(3)), {"test": test}),)


def refitted(x, y, speaker, fold, without, penalty, gain, rescaled) -> np.ndarray:
    """Predictions of all rows by scikit-learn, trained without a speaker; the scale of the features is the fold's."""
    known = fold.train[~np.isnan(y[fold.train])]
    z = (x - x[known].mean(0)) / x[known].std(0)
    rows = known[speaker[known] != without]
    new = Ridge(alpha=penalty).fit(z[rows], y[rows]).predict(z)
    whole = Ridge(alpha=penalty).fit(z[known], y[known]).predict(z)
    return rescaled + gain * (new - whole)


# Fewer rows of a speaker than features, more of them, fewer rows than features altogether, and many of both.
@pytest.mark.parametrize(
    ("width", "each", "many"),
    [(20, 8, 512), (5, 8, 512), (120, 6, 512), (20, 8, 1)],
    ids=["update", "downdate", "kernel", "steps"],
)
@pytest.mark.parametrize("design", ["cross-validation", "official"])
@pytest.mark.parametrize("rescale", [False, True])
def test_sums_without_a_speaker_are_those_of_a_fit_without_them(width, each, many, design, rescale, monkeypatch):
    monkeypatch.setattr(equations_module, "MANY", many)
    x, y, speaker, names = problem(width, each)
    folds = official(speaker) if design == "official" else cross_validation(np.arange(len(y)), speaker, 3)
    equations = accumulate(lambda rows: x[rows], y, folds, chunk_rows=25)
    solved = solve(equations, penalties=PENALTIES, rescale=rescale)
    deletions = Deletions.of(folds, names, y)
    (sums,) = moments_without(equations, solved, y, deletions).values()
    tested = np.concatenate([rows for fold in folds for rows in fold.tests.values()])
    (split,) = deletions.tested
    assert set(deletions.parts(split)) == {TRAINING if design == "official" else BOTH}
    assert set(deletions.names) == {
        name for name, number in zip(names, speaker, strict=True) if number % 4 or design != "official"
    }
    for target in range(3):
        scored = tested[~np.isnan(y[tested, target])]
        origin = y[scored, target].mean()
        for place, name in enumerate(deletions.names):
            without = int(name[1:])
            predicted = np.full(len(y), np.nan)
            for f, fold in enumerate(folds):
                given = solved.penalties[f, target], solved.gains[f, target], solved.predictions[:, target]
                all_rows = refitted(x, y[:, target], speaker, fold, without, *given)
                for rows in fold.tests.values():
                    predicted[rows] = all_rows[rows]
            rows = scored[speaker[scored] != without]  # of an official split these are all: nobody is on both sides
            expected = moments(y[rows, target], predicted[rows], origin=origin)
            np.testing.assert_allclose(sums[place, target], expected, rtol=1e-7, atol=1e-7)


def test_rows_are_taken_out_in_steps_where_these_suffice(monkeypatch):
    """Few rows leave in few steps; without nearly all of them no number of steps is enough, and nothing is lost."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 30)), rng.standard_normal((300, 2))
    x, y = x - x.mean(0), y - y.mean(0)
    removal = Removal.of(x.T @ x, x.T @ y, 1.0, len(x))
    expected = {}
    for count in (40, 299):
        expected[count] = removal.without(x[:count], y[:count])
    monkeypatch.setattr(equations_module, "MANY", 1)
    taken = []
    steps = Removal._in_steps
    monkeypatch.setattr(Removal, "_in_steps", lambda *given: taken.append(steps(*given)) or taken[-1])
    for count, (slope, offset) in expected.items():
        found = removal.without(x[:count], y[:count])
        np.testing.assert_allclose(found[0], slope, atol=1e-9 * np.abs(slope).max())
        np.testing.assert_allclose(found[1], offset, atol=1e-9 * np.abs(slope).max())
    assert taken[0] is not None
    monkeypatch.setattr(equations_module, "STEPS", 2)
    np.testing.assert_allclose(removal.without(x[:299], y[:299])[0], expected[299][0], rtol=1e-6)
    assert taken[-1] is None


def test_many_units_are_left_out_in_blocks_that_their_names_tell_apart():
    units = [f"s{k:03d}" for k in range(250)]
    folds, labels = cross_validation(np.arange(250), np.arange(250), 5), np.zeros((250, 1))
    drawn = Deletions.of(folds, units, labels, seed=1)
    assert len(set(drawn.names)) == MOST
    assert set(np.bincount(drawn.block)) == {2, 3}
    assert drawn.names == Deletions.of(folds, units, labels, seed=1).names
    assert not set(drawn.names) & set(Deletions.of(folds, units, labels, seed=2).names)
    # The blocks are of the units, wherever their rows stand.
    shuffled = np.random.default_rng(0).permutation(250)
    again = Deletions.of(folds, [units[k] for k in shuffled], labels, seed=1)
    assert again.names == drawn.names
    np.testing.assert_array_equal(again.block, drawn.block[shuffled])


def test_one_speaker_to_train_on_leaves_nothing_to_fit_again():
    x, y, speaker, names = problem(5, 8, speakers=4)
    folds = official(speaker)
    alone = np.where(np.isin(np.arange(len(y)), folds[0].train), "s01", names)
    equations = accumulate(lambda rows: x[rows], y, folds)
    solved = solve(equations, penalties=PENALTIES)
    deletions = Deletions.of(folds, alone.tolist(), y)
    (sums,) = moments_without(equations, solved, y, deletions).values()
    assert deletions.names == ("s01",)
    assert np.isnan(sums[0, :, 2]).all()


# The jackknife --------------------------------------------------------------------------------------------------------


def means_without(values: np.ndarray) -> np.ndarray:
    return (values.sum() - values)[:, None] / (len(values) - 1)


def test_of_a_mean_it_is_the_t_interval_and_of_two_samples_welchs():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal(9) + 0.8, 2 * rng.standard_normal(23)
    low, high, p = jackknife.limits(np.array([one.mean()]), [means_without(one)])
    expected = stats.ttest_1samp(one, 0)
    np.testing.assert_allclose([low[0], high[0]], expected.confidence_interval(), rtol=1e-12)
    assert p[0] == pytest.approx(expected.pvalue)
    samples = [means_without(one) - other.mean(), one.mean() - means_without(other)]
    low, high, p = jackknife.limits(np.array([one.mean() - other.mean()]), samples)
    expected = stats.ttest_ind(one, other, equal_var=False)
    np.testing.assert_allclose([low[0], high[0]], expected.confidence_interval(), rtol=1e-12)
    assert p[0] == pytest.approx(expected.pvalue)


def test_units_on_both_sides_are_a_sample_of_their_own():
    """Of a sum of two means, one over each side of ten: the variance is that of three samples of terms."""
    rng = np.random.default_rng(1)
    trained, tested, shared = np.arange(10), np.arange(7, 17), np.arange(7, 10)
    one, other = rng.standard_normal(17), 3 * rng.standard_normal(17)

    def without(unit):
        return one[trained[trained != unit]].mean() + other[tested[tested != unit]].mean()

    samples = [np.array([[without(unit)] for unit in units]) for units in (trained[:7], tested[3:], shared)]
    variance, freedom = jackknife.spread(samples)
    parts = np.array([7 * one[:7].var(ddof=1), 7 * other[10:].var(ddof=1), 3 * (one + other)[shared].var(ddof=1)]) / 100
    assert variance[0] == pytest.approx(parts.sum())
    assert freedom[0] == pytest.approx(parts.sum() ** 2 / (parts**2 / [6, 6, 2]).sum())
    # Where nobody is shared they are two samples, and where everybody is, one.
    nobody, two = np.empty((0, 1)), [rng.standard_normal((6, 1)), rng.standard_normal((9, 1))]
    assert jackknife.spread([*two, nobody]) == jackknife.spread(two)
    assert jackknife.spread([nobody, nobody, two[0]]) == jackknife.spread(two[:1])


def test_limits_of_a_correlation_stay_below_one_and_identical_systems_do_not_differ():
    without = np.array([[0.97], [0.99], [0.9], [0.995]])
    low, high, _ = jackknife.limits(np.array([0.98]), [without], scale="ccc")
    assert -1 < low[0] < 0.98 < high[0] < 1
    low, high, p = jackknife.limits(np.zeros(1), [np.zeros((5, 1))])
    assert (low[0], high[0], p[0]) == (0, 0, 1)
    assert np.isnan(jackknife.limits(np.zeros(1), [np.zeros((1, 1))])).all()
    assert np.isnan(jackknife.limits(np.zeros(1), [np.array([[0.1], [np.nan], [0.2]])])).all()


# In the results -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "c.h5"
    write_cache(path, layers=3, width=6, n=96, speakers=8)
    return path


SETTINGS = {"dimensions": ("valence", "arousal"), "folds": 4, "features": "mean", "permutations": 0, "mdl": False}


@pytest.fixture(scope="module")
def results(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "results"
    fit_layers(cache, out=folder, probe=("ridge", "mlp"), resamples=200, **SETTINGS)
    return load_results(folder)


@pytest.mark.slow
def test_scores_say_which_interval_they_have(results):
    pooled = results.select(fold="all")
    kinds = pooled.groupby("probe")["interval"].unique()
    assert all(kinds[probe].tolist() == [REFITTED] for probe in ("ridge", "duration"))
    assert all(kinds[probe].tolist() == [FIXED] for probe in ("mean", "mlp"))
    assert (results.scores[results.scores["fold"] != "all"]["interval"] == "").all()
    said = {entry["probe"]: entry["interval"] for entry in results.protocol}
    assert "fitted again" in said["ridge"]
    assert "around the fitted probe" not in said["ridge"]
    assert "around the fitted probe" in said["mlp"]


@pytest.mark.slow
def test_intervals_follow_from_the_table_of_refits(results):
    row = results.select(fold="all", probe="ridge", dimension="valence", layer=1).iloc[0]
    table = results.refits
    table = table[(table["probe"] == "ridge") & (table["dimension"] == "valence") & (table["layer"] == 1)]
    assert sorted(table["unit"]) == [f"s{k:02d}" for k in range(8)]
    assert (table["n"] == 96 - 12).all()
    n, t, p, tt, pp, tp = table[list(MOMENTS)].to_numpy(float).T
    without = 2 * (tp / n - t * p / n**2) / (tt / n + pp / n - 2 * t * p / n**2)
    values = np.arctanh(without)
    error = np.sqrt(7 / 8 * ((values - values.mean()) ** 2).sum())
    expected = np.tanh(np.arctanh(row["ccc"]) + stats.t.ppf([0.025, 0.975], 7) * error)
    np.testing.assert_allclose([row["ccc_low"], row["ccc_high"]], expected, rtol=1e-9)
    same = score_intervals(results, probe="ridge", dimension="valence", layer=1, resamples=50).iloc[0]
    assert same["interval"] == REFITTED
    np.testing.assert_allclose([same["low"], same["high"]], expected, rtol=1e-9)


@pytest.mark.slow
def test_differences_are_refitted_where_both_sides_are(results):
    layers = layers_compared(results, against=0, probe="ridge", dimension="valence", resamples=50)
    assert (layers["interval"] == REFITTED).all()
    dimensions = paired_differences(
        results, {"dimension": "valence", "probe": "ridge"}, {"dimension": "arousal", "probe": "ridge"}, resamples=50
    )
    assert (dimensions["interval"] == REFITTED).all()
    mixed = paired_differences(results, {"probe": "ridge", "layer": 1}, {"probe": "mlp", "layer": 1}, resamples=50)
    assert (mixed["interval"] == FIXED).all()
    swapped = layers_compared(results, against=1, probe="ridge", dimension="valence", resamples=50)
    one, other = layers[layers["one"] == "layer 1"].iloc[0], swapped[swapped["one"] == "layer 0"].iloc[0]
    np.testing.assert_allclose([one["low"], one["high"], one["p"]], [-other["high"], -other["low"], other["p"]])


@pytest.mark.slow
def test_without_refits_intervals_are_of_the_fixed_probe(results):
    old = Results(results.scores, results.weights, results.protocol, results.predictions)
    assert (layers_compared(old, against=0, probe="ridge", resamples=50)["interval"] == FIXED).all()
    assert (score_intervals(old, probe="ridge", resamples=50)["interval"] == FIXED).all()
    # Sides that leave out others cannot be paired, nor can what scores other utterances.
    table = results.refits.copy()
    table.loc[table["layer"] == 1, "unit"] = table["unit"].str.upper()
    moved = Results(old.scores, old.weights, old.protocol, old.predictions, refits=table)
    found = layers_compared(moved, against=0, probe="ridge", dimension="valence", resamples=50).set_index("one")
    assert found["interval"].to_dict() == {"layer 1": FIXED, "layer 2": REFITTED}
    fewer = results.predictions[results.predictions["id"] != "u0003"]
    lacking = Results(old.scores, old.weights, old.protocol, fewer, refits=results.refits)
    assert (layers_compared(lacking, against=0, probe="ridge", resamples=50)["interval"] == FIXED).all()


@pytest.mark.slow
def test_an_official_split_adds_what_the_tested_speakers_vary_by(tmp_path):
    path = tmp_path / "c.h5"
    split = np.where(np.arange(96) % 8 < 5, "train", "test")
    write_cache(path, layers=2, width=6, n=96, speakers=8, split=split)
    results = fit_layers(path, resamples=100, **{**SETTINGS, "dimensions": "valence"})
    refit = Refits(results.refits).of(
        {"model": "planted", "corpus": results.scores["corpus"].iloc[0], "dimension": "valence", "probe": "ridge",
         "features": "mean", "layer": 1, "split": "test"}
    )  # fmt: skip
    assert isinstance(refit, Refit)
    assert (refit.parts, refit.units, refit.utterances) == ((TRAINING,) * 5, tuple(f"s{k:02d}" for k in range(5)), 36)
    row = results.select(fold="all", probe="ridge", layer=1).iloc[0]
    rows = results.predictions[(results.predictions["probe"] == "ridge") & (results.predictions["layer"] == 1)]
    tested = np.array([ccc(*rows[rows["speaker"] != name][["truth", "prediction"]].to_numpy().T) for name in
                       sorted(set(rows["speaker"]))])  # fmt: skip
    trained = refit.samples(lambda sums: sums, np.zeros((2, 6)))[0]
    n, t, p, tt, pp, tp = trained.T
    trained = 2 * (tp / n - t * p / n**2) / (tt / n + pp / n - 2 * t * p / n**2)
    parts = [(len(v) - 1) / len(v) * ((np.arctanh(v) - np.arctanh(v).mean()) ** 2).sum() for v in (trained, tested)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 2)
    expected = np.tanh(np.arctanh(row["ccc"]) + stats.t.ppf([0.025, 0.975], freedom) * np.sqrt(sum(parts)))
    np.testing.assert_allclose([row["ccc_low"], row["ccc_high"]], expected, rtol=1e-9)


@pytest.mark.slow
def test_a_speaker_on_both_sides_and_one_without_labels_are_told_apart(tmp_path):
    """Speakers 0 to 4 are trained on, 4 to 7 tested; of speaker 0 nothing is labelled."""
    path = tmp_path / "c.h5"
    speaker = np.arange(96) % 8
    split = np.where(speaker < 4, "train", np.where((speaker == 4) & (np.arange(96) < 48), "train", "test"))
    labels = write_cache(path, layers=2, width=6, n=96, speakers=8)["valence"].to_numpy(float).copy()
    labels[speaker == 0] = np.nan
    write_cache(path, layers=2, width=6, n=96, speakers=8, split=split, valence=labels)
    results = fit_layers(path, resamples=100, **{**SETTINGS, "dimensions": "valence"})
    table = results.refits
    table = table[(table["probe"] == "ridge") & (table["layer"] == 1)].sort_values("unit")
    parts = {"s01": TRAINING, "s02": TRAINING, "s03": TRAINING, "s04": BOTH, "s05": TESTED, "s06": TESTED,
             "s07": TESTED}  # fmt: skip
    assert dict(zip(table["unit"], table["part"], strict=True)) == parts
    assert table["n"].tolist() == [42, 42, 42, 36, 30, 30, 30]
    row = results.select(fold="all", probe="ridge", layer=1).iloc[0]
    n, t, p, tt, pp, tp = table[list(MOMENTS)].to_numpy(float).T
    without = (2 * (tp / n - t * p / n**2) / (tt / n + pp / n - 2 * t * p / n**2))[:, None]
    part = table["part"].to_numpy(str)
    samples = [without[part == one] for one in (TRAINING, TESTED, BOTH)]
    low, high, _ = jackknife.limits(np.array([row["ccc"]]), samples, scale="ccc")
    np.testing.assert_allclose([row["ccc_low"], row["ccc_high"]], [low[0], high[0]], rtol=1e-9)


def test_many_units_of_unlike_parts_share_no_block():
    """Of 300 units the first 200 are trained on and the last 101 tested."""
    train, test = np.arange(200), np.arange(199, 300)
    folds = (Fold("all", train, ((train[::2], train[1::2]),), {"test": test}),)
    deletions = Deletions.of(folds, [f"s{k:03d}" for k in range(300)], np.zeros((300, 1)))
    parts = deletions.parts("test")
    assert {part: int((parts == part).sum()) for part in (TRAINING, TESTED, BOTH)} == {
        TRAINING: 66, TESTED: 33, BOTH: 1
    }  # fmt: skip
    assert (deletions.block == np.flatnonzero(parts == BOTH)[0]).tolist() == (np.arange(300) == 199).tolist()
    assert set(parts[deletions.block[:199]]) == {TRAINING}


@pytest.mark.slow
def test_no_resamples_no_intervals(cache):
    results = fit_layers(cache, resamples=0, **{**SETTINGS, "dimensions": "valence"})
    assert not len(results.refits)
    assert list(results.refits.columns) == list(REFITS)
    assert results.scores["ccc_low"].isna().all()
    assert (results.scores["interval"] == "").all()


def test_samples_of_several_systems_are_those_of_each():
    rng = np.random.default_rng(0)
    refits = [Refit(("a", "b", "c"), (TRAINING,) * 3, rng.random((3, 6))) for _ in range(2)]
    tested = rng.random((4, 2, 6))
    together = Refit.stacked(refits).samples(lambda sums: sums[..., 1], tested)
    for k, refit in enumerate(refits):
        for joint, alone in zip(together, refit.samples(lambda sums: sums[..., 1], tested[:, k]), strict=True):
            np.testing.assert_array_equal(joint[:, k], alone)
    np.testing.assert_array_equal(together[1], leave_one_out(tested)[..., 1])
