"""Second opinions on relevance: each finds what was planted, and the ones that like layers mislead are known."""

from __future__ import annotations

import sys
import weakref
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from emoprobe.analysis.figures.relevance import plot_relevance
from emoprobe.analysis.measures import problems
from emoprobe.analysis.measures import relevance as module
from emoprobe.analysis.measures.opinions import (
    OPINIONS,
    Opinion,
    banded_ridge,
    best_layer,
    cumulative_bottom,
    cumulative_top,
    leave_one_out,
)
from emoprobe.analysis.measures.relevance import COLUMNS, agreement, load_relevance, relevance_opinions, starts
from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.cli.relevance import main
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache
from emoprobe.probe import ccc, fit_layers
from emoprobe.probe.bootstrap import resample_counts, stretched
from emoprobe.probe.ridge import PENALTIES
from emoprobe.probe.significance import score_intervals
from emoprobe.probe.weighted import weighted_probe
from emoprobe.testing.caches import write_cache, write_checksums

pytestmark = pytest.mark.slow

PLANTED = {"arousal": 1, "valence": 3, "dominance": 2}
FAST = RelevanceSettings(resamples=200, iterations=20, seeds=1)
VALENCE = RelevanceSettings(dimensions=("valence",), resamples=200, iterations=20, seeds=1)
SPLIT = ["train"] * 120 + ["development"] * 30 + ["test"] * 60


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Five layers that are independent of each other; each dimension is in one."""
    path = tmp_path_factory.mktemp("planted") / "cache.h5"
    write_cache(path, n=210, layers=5, width=6, speakers=21, planted=PLANTED)
    return path


@pytest.fixture(scope="module")
def opinions(planted):
    return relevance_opinions(planted, FAST)


def test_opinions_that_are_asked_at_once_say_the_same(planted, opinions, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 0)
    at_once = relevance_opinions(planted, FAST, out=tmp_path, workers=2)
    pd.testing.assert_frame_equal(at_once, opinions, rtol=1e-9, atol=1e-12)  # the number of threads may differ
    kept = relevance_opinions(planted, FAST, out=tmp_path, workers=2)
    pd.testing.assert_frame_equal(kept, at_once, check_exact=True)


def copied(path, **options):
    """A cache in which layer 3 is layer 1 but for a little noise, and valence is in both."""
    write_cache(path, n=210, layers=5, width=6, speakers=21, planted=dict.fromkeys(PLANTED, 1), **options)
    with h5py.File(path, "r+") as file:
        states = file["pooled/mean"]
        states[3] = states[1] + 0.01 * np.random.default_rng(0).standard_normal(states[1].shape)
    write_checksums(path)
    return path


# What was planted ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_opinion_finds_the_planted_layer(opinions):
    assert set(opinions["opinion"]) == set(OPINIONS)
    later = opinions[~starts(opinions)]
    best = later.loc[later.groupby(["dimension", "opinion"])["relevance"].idxmax()]
    assert len(best) == 18
    for row in best.itertuples():
        assert row.layer == PLANTED[row.dimension], (row.dimension, row.opinion)
        assert row.opinion == "learned_weights" or row.low > 0


def test_layers_without_the_planted_are_not_relevant(opinions):
    planted = opinions["layer"] == opinions["dimension"].map(PLANTED)
    others = opinions[~planted & ~opinions["opinion"].isin(["learned_weights"])]
    highest = opinions[planted].set_index(["dimension", "opinion"])["relevance"]
    share = others["relevance"].to_numpy() / highest[list(zip(others["dimension"], others["opinion"], strict=True))]
    # A CCC of layers that know nothing is within 2 / √210 of 0, most of the time; the planted ones are near 0.8.
    assert np.abs(share).max() < 0.35
    assert np.abs(share).mean() < 0.08


@pytest.mark.slow
def test_which_opinions_a_copy_of_a_layer_misleads(tmp_path):
    with HiddenStateCache(copied(tmp_path / "cache.h5")) as cache:
        found = pd.concat([opinion.ask(cache, VALENCE) for opinion in OPINIONS.values()])
    wide = found.pivot(index="layer", columns="opinion", values="relevance")
    low = found.pivot(index="layer", columns="opinion", values="low")
    score = wide["best_layer"].max()
    assert score > 0.6
    # Right: alone, both layers know it.
    assert abs(wide["best_layer"][1] - wide["best_layer"][3]) < 0.05
    # Misled: neither is missed.
    assert wide["leave_one_out"].abs().max() < 0.1 * score
    assert (low["leave_one_out"] < 0.03).all()
    # Misled by the order: the first that is met has it all.
    assert wide["cumulative_bottom"][1] > 0.8 * score
    assert wide["cumulative_bottom"][3] < 0.1 * score
    assert wide["cumulative_top"][3] > 0.8 * score
    assert wide["cumulative_top"][1] < 0.1 * score
    # Between them, in whatever proportion: the two together have it all.
    for name in ("banded_ridge", "learned_weights"):
        assert wide[name][[1, 3]].sum() > 0.8 * wide[name].sum(), name


# The ridges ----------------------------------------------------------------------------------------------------------


def problem_of(cache, **options):
    (problem,) = problems.problems(cache, RelevanceSettings(resamples=0, **options), kernels=True)
    return problem


@pytest.mark.parametrize("kind", ["bottom", "top", "without"])
def test_summed_kernels_are_scikit_learns_ridge_on_layers_side_by_side(planted, kind):
    with HiddenStateCache(planted) as cache:
        problem = problem_of(cache)
        fold = problem.folds[0]
        (rows,) = fold.tests.values()
        found = problems._all_penalties(problem, kind, fold.train, rows)
        states = cache.states("mean").astype(np.float64)
    sets = {
        "bottom": [range(k + 1) for k in range(5)],
        "top": [range(k, 5) for k in range(5)],
        "without": [*([j for j in range(5) if j != k] for k in range(5)), range(5)],
    }[kind]
    assert len(found) == len(sets)
    for fit, layers in zip(found, sets, strict=True):
        x = np.concatenate([states[k] for k in layers], axis=1)
        scaler = StandardScaler().fit(x[fold.train])
        for penalty, predicted in zip(PENALTIES, fit, strict=True):
            model = Ridge(alpha=penalty * len(layers)).fit(scaler.transform(x[fold.train]), problem.targets[fold.train])
            # The smallest penalty leaves a condition number near 1e6, so ten digits of the sixteen.
            np.testing.assert_allclose(predicted, model.predict(scaler.transform(x[rows])), rtol=0, atol=1e-8)


def test_one_layer_from_below_is_the_probe_of_that_layer(planted):
    with HiddenStateCache(planted) as cache:
        alone, below = best_layer(cache, FAST), cumulative_bottom(cache, FAST)
        above = cumulative_top(cache, FAST)
    first, last = (alone["layer"] == 0).to_numpy(), (alone["layer"] == 4).to_numpy()
    # Not the limits: that of a score is widened on the scale of CCC, that of a gain, which is a difference, as it is.
    for column in ("score", "relevance"):
        np.testing.assert_allclose(below.loc[first, column], alone.loc[first, column], rtol=1e-7)
        np.testing.assert_allclose(above.loc[last, column], alone.loc[last, column], rtol=1e-7)


@pytest.mark.parametrize("split", [None, SPLIT])
def test_the_best_layer_is_that_of_probe_fit(tmp_path, split):
    official = {} if split is None else {"split": split, "speaker": [f"s{i // 10}" for i in range(210)]}
    write_cache(tmp_path / "cache.h5", n=210, speakers=21, **official)
    results = fit_layers(tmp_path / "cache.h5", features="mean", resamples=200)
    part = "cross-validation" if split is None else "test"
    wanted = results.select(probe="ridge", fold="all", split=part)
    with HiddenStateCache(tmp_path / "cache.h5") as cache:
        found = best_layer(cache, FAST)
    assert set(found["split"]) == {part}
    both = found.merge(wanted, on=["model", "corpus", "dimension", "layer"])
    assert len(both) == len(found) == 12
    for mine, theirs in (("score", "ccc"), ("depth_x", "depth_y")):
        np.testing.assert_allclose(both[mine], both[theirs], rtol=1e-9, atol=1e-12)
    # An opinion resamples around its fixed probe, as the results do where they have no refits.
    fixed = score_intervals(replace(results, refits=results.refits.iloc[:0]), resamples=200, probe="ridge", split=part)
    assert set(fixed["interval"]) == {"fixed probe"}
    both = found.merge(fixed, on=["model", "corpus", "dimension", "layer"])
    for end in ("low", "high"):
        np.testing.assert_allclose(both[f"{end}_x"], both[f"{end}_y"], rtol=1e-9, atol=1e-12)


def test_gains_and_losses_add_up(opinions):
    for dimension in PLANTED:
        part = opinions[opinions["dimension"] == dimension].set_index("opinion")
        below, above, without = (part.loc[name] for name in ("cumulative_bottom", "cumulative_top", "leave_one_out"))
        # All layers together are the end of one way, the end of the other, and what a loss is counted from.
        whole = below["score"].iloc[-1]
        np.testing.assert_allclose(below["relevance"].sum(), whole, rtol=1e-9)
        np.testing.assert_allclose(above["relevance"].sum(), whole, rtol=1e-7)
        np.testing.assert_allclose(without["score"] + without["relevance"], whole, rtol=1e-7)


def test_intervals_are_of_paired_resamples(planted):
    with HiddenStateCache(planted) as cache:
        problem = problem_of(cache, dimensions=("valence",))
        predicted = problems.concatenated(problem, "without", iter)
        found = leave_one_out(cache, VALENCE)
    truth, groups = problem.targets[problem.scored, 0], problem.groups[problem.scored]
    fits = predicted[:, problem.scored, 0]
    names = np.unique(groups)
    drops = []
    for counts in resample_counts(len(names), 200, seed=0):
        for draw in counts.astype(int):
            rows = np.concatenate(
                [np.flatnonzero(groups == g) for g, c in zip(names, draw, strict=True) for _ in range(c)]
            )
            scores = ccc(truth[rows], fits[:, rows])
            drops.append(scores[-1] - scores[:-1])
    left_out = []
    for name in names:
        scores = ccc(truth[groups != name], fits[:, groups != name])
        left_out.append(scores[-1] - scores[:-1])
    low, high = np.quantile(stretched(np.array(drops), np.array(left_out)), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(found["low"], low, atol=1e-10)
    np.testing.assert_allclose(found["high"], high, atol=1e-10)


# Banded ridge and weights --------------------------------------------------------------------------------------------


def test_parts_of_the_banded_ridge_are_himalayas(planted):
    from himalaya.scoring import correlation_score_split

    with HiddenStateCache(planted) as cache:
        problem = problem_of(cache, dimensions=("valence",), iterations=20)
        parts = np.full((5, 210), np.nan)
        for fold in problem.folds:
            (rows,) = fold.tests.values()
            parts[:, rows] = problems.banded_parts(problem, fold, rows)[..., 0]
        found = banded_ridge(cache, VALENCE)
    truth = problem.targets[:, 0]
    np.testing.assert_allclose(found["score"], ccc(truth, parts.sum(0)), rtol=1e-9)
    np.testing.assert_allclose(found["relevance"].sum(), found["score"].iloc[0], rtol=1e-9)
    shares = correlation_score_split(truth[:, None], parts[..., None])[:, 0]
    np.testing.assert_allclose(found["relevance"] / found["relevance"].sum(), shares / shares.sum(), rtol=1e-6)


def test_parts_by_weights_are_those_by_kernels(planted, monkeypatch):
    """The parts that himalaya itself predicts from the cross kernels of all layers."""
    from himalaya.kernel_ridge import MultipleKernelRidgeCV

    fitted = []
    fit = MultipleKernelRidgeCV.fit
    monkeypatch.setattr(MultipleKernelRidgeCV, "fit", lambda self, *given: fitted.append(fit(self, *given)) or self)
    monkeypatch.setattr(problems, "_ROWS_AT_ONCE", 16)  # several chunks, the last one shorter
    with HiddenStateCache(planted) as cache:
        problem = problem_of(cache, iterations=10)
        fold = problem.folds[0]
        (rows,) = fold.tests.values()
        parts = problems.banded_parts(problem, fold, rows)
        cross = np.stack([problems._kernels(problem, k, fold.train, rows)[1] for k in range(cache.n_layers)])
    targets = problem.targets[fold.train]
    expected = np.asarray(fitted[0].predict(cross, split=True)) * targets.std(0) + targets.mean(0) / len(cross)
    np.testing.assert_allclose(parts, expected, rtol=1e-9, atol=1e-9)


def test_predictions_are_dropped_after_their_last_fold(planted, monkeypatch):
    """Nothing is fitted twice, and no more is held than what later folds ask for."""
    made, alive = [], []
    fit = problems._all_penalties

    def watched(problem, kind, train, rows):
        alive.append(sum(there() is not None for there in made))
        predicted = fit(problem, kind, train, rows)
        made.append(weakref.ref(predicted))
        return predicted

    monkeypatch.setattr(problems, "_all_penalties", watched)
    with HiddenStateCache(planted) as cache:
        problem = problem_of(cache, dimensions=("valence",))
        parts = {train.tobytes() for fold in problem.folds for train in (*(t for t, _ in fold.inner), fold.train)}
        problems.concatenated(problem, "bottom", iter)
    assert len(made) == len(parts)
    assert max(alive) < len(parts) - 1
    assert not any(there() is not None for there in made)


@given(seed=st.integers(0, 2**16), layers=st.integers(1, 6), offset=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_parts_sum_to_the_ccc(seed, layers, offset):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((layers, 40)) + offset / layers
    truth = parts.sum(0) + rng.standard_normal(40)
    sums = problems.split_moments(truth, parts, np.arange(40) // 4).sum(0)
    found = problems.split_ccc(sums)
    np.testing.assert_allclose(found.sum(), ccc(truth, parts.sum(0)), atol=1e-9)
    covariance = [np.cov(truth, part, bias=True)[0, 1] for part in parts]
    np.testing.assert_allclose(found * sum(covariance), np.array(covariance) * found.sum(), atol=1e-8)


@pytest.mark.slow
def test_weights_are_those_of_the_weighted_probe(tmp_path):
    write_cache(tmp_path / "cache.h5", n=90, speakers=9, layers=3)
    with h5py.File(tmp_path / "cache.h5", "r+") as file:
        for values in (file["pooled/mean"], file["frame_norm"]):
            values[:] = (values[:].T * np.float32([1.0, 5.0, 0.2])).T  # by layer
    write_checksums(tmp_path / "cache.h5")
    settings = RelevanceSettings(dimensions=("arousal",), seeds=2, resamples=0)
    with HiddenStateCache(tmp_path / "cache.h5") as cache:
        (problem,) = problems.problems(cache, settings)
        learned = weighted_probe(lambda rows: cache.states(rows=rows), problem.targets, problem.folds, seeds=(0, 1))
        found = OPINIONS["learned_weights"].ask(cache, settings)
        with pytest.raises(UserError, match="take the features mean or mean_ln"):
            OPINIONS["learned_weights"].ask(cache, RelevanceSettings(features="mean+std"))
    np.testing.assert_allclose(found["relevance"], learned.corrected.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["relevance"].sum(), 1.0, rtol=1e-9)
    assert found[["low", "high"]].isna().all(axis=None)


# Whom they ask -------------------------------------------------------------------------------------------------------


def test_dimensions_with_labels_of_other_utterances_are_fitted_apart(tmp_path):
    arousal = np.random.default_rng(0).standard_normal(120)
    arousal[::3] = np.nan
    write_cache(tmp_path / "cache.h5", arousal=arousal, dominance=np.nan)
    with HiddenStateCache(tmp_path / "cache.h5") as cache:
        both = leave_one_out(cache, FAST)
        alone = leave_one_out(cache, VALENCE)
        with pytest.raises(UserError, match="dominance has no labels that vary"):
            leave_one_out(cache, RelevanceSettings(dimensions=("dominance",)))
    assert dict(both.groupby("dimension")["n"].first()) == {"arousal": 80, "valence": 120}
    pd.testing.assert_frame_equal(both[both["dimension"] == "valence"].reset_index(drop=True), alone)


def test_training_is_cut_to_the_limit_by_one_lot(planted):
    with HiddenStateCache(planted) as cache:
        (whole,) = problems.problems(cache, RelevanceSettings())
        few = problem_of(cache, max_train=50)
        assert leave_one_out(cache, RelevanceSettings(max_train=50, resamples=0))["trained"].max() == 50
        assert best_layer(cache, RelevanceSettings(max_train=50, resamples=0))["trained"].max() == 170
    for before, after in zip(whole.folds, few.folds, strict=True):
        assert 40 <= len(after.train) <= 50
        assert set(after.train) <= set(before.train)
        for (train, held), (_, same) in zip(after.inner, before.inner, strict=True):
            assert set(train) <= set(after.train)
            np.testing.assert_array_equal(held, same)


@pytest.mark.parametrize("speakers", [3, 22])
def test_inner_folds_of_the_banded_ridge_part_the_speakers(tmp_path, speakers):
    # With few speakers the penalty of a ridge is chosen on the development part, which no band may be trained on.
    speaker = [f"t{i % speakers}" for i in range(120)] + ["d"] * 30 + ["x"] * 60
    write_cache(tmp_path / "cache.h5", n=210, split=SPLIT, speaker=speaker)
    with HiddenStateCache(tmp_path / "cache.h5") as cache:
        problem = problem_of(cache)
        (fold,) = problem.folds
        places = problems._inner_places(problem, fold)
        assert len(banded_ridge(cache, VALENCE)) == 4
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in places])), np.arange(120))
    for train, held in places:
        assert not set(problem.groups[fold.train[train]]) & set(problem.groups[fold.train[held]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dimensions": ("joy",)}, "unknown dimension 'joy'"),
        ({"max_train": 3}, "--max-train 3 must be at least 10"),
        ({"features": "median"}, "no statistic 'median'"),
        ({"split": "test"}, "no part 'test' is scored; there is cross-validation"),
        ({"folds": 100}, "cannot fill 100 folds"),
    ],
)
def test_what_cannot_be_asked_is_said(planted, given, message):
    with pytest.raises(UserError, match=message):
        relevance_opinions(planted, RelevanceSettings(**given), opinions=["best_layer"])


def test_a_lacking_package_is_named_before_anything_is_asked(planted, monkeypatch):
    monkeypatch.setattr("emoprobe.analysis.measures.opinions.find_spec", lambda name: None)
    monkeypatch.setattr(module, "problems", None)  # nothing gets that far
    with pytest.raises(UserError, match=r"^banded_ridge needs himalaya: .*pip install 'emoprobe\[relevance\]'"):
        relevance_opinions(planted, FAST)


def test_without_himalaya_the_remedy_is_named(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "himalaya.backend", None)
    with pytest.raises(UserError, match=r"pip install 'emoprobe\[relevance\]'"):
        relevance_opinions(planted, FAST)
    assert len(relevance_opinions(planted, VALENCE, opinions=["best_layer"])) == 5


# Table, figure, command ----------------------------------------------------------------------------------------------


def test_what_is_there_is_not_asked_again(planted, tmp_path, monkeypatch):
    names = ["best_layer", "leave_one_out"]
    first = relevance_opinions(planted, VALENCE, opinions=names[:1], out=tmp_path)
    both = relevance_opinions(planted, FAST, opinions=names, out=tmp_path)
    assert tuple(both.columns) == COLUMNS
    assert len(load_relevance(tmp_path)) == len(both) == 2 * 3 * 5
    kept = both[(both["opinion"] == "best_layer") & (both["dimension"] == "valence")]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), first)
    nobody = {name: replace(opinion, ask=None) for name, opinion in OPINIONS.items()}
    monkeypatch.setattr(module, "OPINIONS", nobody)
    again = relevance_opinions(planted, FAST, opinions=names, out=tmp_path)
    keys = ["opinion", "dimension", "layer"]
    pd.testing.assert_frame_equal(again.sort_values(keys, ignore_index=True), both.sort_values(keys, ignore_index=True))
    with pytest.raises(TypeError):
        relevance_opinions(planted, RelevanceSettings(seed=1), opinions=names, out=tmp_path)


def test_a_new_opinion_is_one_entry(planted, monkeypatch):
    """It is asked, compared with others and drawn by what its entry says."""

    def the_deeper_the_better(cache, settings, *, bar):
        tables = [
            problem.table("the_deeper_the_better", column, np.arange(5.0), *np.full((3, 5), np.nan))
            for problem in problems.problems(cache, settings)
            for column in range(len(problem.dimensions))
        ]
        return pd.concat(tables, ignore_index=True)

    entry = Opinion(the_deeper_the_better, "depth itself", "depth", methods=())
    monkeypatch.setitem(OPINIONS, "the_deeper_the_better", entry)
    table = relevance_opinions(planted, VALENCE, opinions=["best_layer", "the_deeper_the_better"])
    (compared,) = agreement(table).itertuples()
    best = table[table["opinion"] == "best_layer"].sort_values("layer")["relevance"]
    assert compared.spearman == pytest.approx(spearmanr(best, np.arange(5)).statistic)
    assert compared.other_best == 4
    (axes,) = plot_relevance(table, figure=Figure())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["each layer alone", "depth itself"]


def opinion_table(**opinions):
    rows = [
        {"model": "m", "corpus": "c", "features": "mean", "dimension": "valence", "opinion": name, "layer": k,
         "depth": k / (len(values) - 1), "relevance": value, "low": value - 0.1, "n": 9, "split": "test"}
        for name, values in opinions.items()
        for k, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_agreement_is_that_of_ranks():
    table = opinion_table(
        best_layer=[0.1, 0.2, 0.3, 0.5], leave_one_out=[0.4, 0.3, 0.2, 0.1], cumulative_bottom=[9, 0.1, 0.2, 0.3]
    )
    found = agreement(table).set_index(["opinion", "other"])
    assert found.loc[("best_layer", "leave_one_out"), ["spearman", "kendall"]].tolist() == pytest.approx([-1, -1])
    # The layer that it starts with is left out, else it would be first.
    with_start = found.loc[("best_layer", "cumulative_bottom")]
    assert with_start["layers"] == 3
    assert with_start["kendall"] == pytest.approx(1)
    assert (with_start["best"], with_start["other_best"]) == (3, 3)
    constant = agreement(opinion_table(best_layer=[1, 1, 1], leave_one_out=[1, 2, 3]))
    assert constant["kendall"].isna().all()


def test_the_figure_marks_the_best_and_what_is_uncertain():
    from matplotlib.figure import Figure

    table = opinion_table(
        best_layer=[0.2, 0.4, 0.8, 0.6], cumulative_bottom=[0.9, 0.05, -0.2, 0.01], banded_ridge=[-1, -1, -1, -1]
    )
    figure = Figure()
    (axes,) = plot_relevance(table, figure=figure)
    shown = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert shown == {
        (0, 0): "25", (0, 1): "50", (0, 2): "100", (0, 3): "75",
        (1, 0): "•", (1, 1): "100", (1, 2): "0", (1, 3): "20",
        (2, 0): "0", (2, 1): "0", (2, 2): "0", (2, 3): "0",  # no layer is the best where none is relevant
    }  # fmt: skip
    frames = [frame for frame in axes.patches if frame.get_edgecolor() == (0, 0, 0, 1)]
    framed = {(round(frame.get_y() + 0.5), round(frame.get_x() + 0.5)): frame.get_linestyle() for frame in frames}
    assert framed.keys() == {(0, 2), (1, 1)}
    assert framed[0, 2] in ("-", "solid")
    assert framed[1, 1] not in ("-", "solid")
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "Dashed frame: its 95 % interval, around the fixed fits, includes 0" in caption
    assert "9 utterances" in caption
    with pytest.raises(UserError, match="name one of them"):
        plot_relevance(pd.concat([table, table.assign(model="other")]))


def test_the_command_writes_tables_and_a_figure(planted, tmp_path, capsys):
    arguments = [str(planted), "--dim", "valence", "--out", str(tmp_path), "--resamples", "50"]
    arguments += ["--opinions", "best_layer", "cumulative_bottom"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    written = {path.name for path in tmp_path.iterdir() if f"{path}\n" in said}
    assert written == {"relevance.csv", "agreement.csv", "relevance_planted.png"}
    assert "2 opinions on 5 layers, of valence, in" in said
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(arguments) == 0
    assert len(load_relevance(tmp_path)) == 10
    assert main([str(tmp_path / "none.h5"), "--quiet"]) == 2
    assert "there is no cache" in capsys.readouterr().err


def test_the_agreement_on_disk_is_that_of_the_opinions_on_disk(planted, tmp_path, capsys):
    """It held a pair in both orders, and the numbers of opinions that had been asked again since."""
    from scipy.stats import spearmanr

    asked = [str(planted), "--dim", "valence", "--out", str(tmp_path), "--quiet", "--resamples", "20", "--opinions"]
    assert main([*asked, "best_layer", "cumulative_bottom", "leave_one_out"]) == 0
    first = pd.read_csv(tmp_path / "agreement.csv")
    assert main([*asked, "leave_one_out", "best_layer", "--seed", "7"]) == 0
    kept = pd.read_csv(tmp_path / "agreement.csv")
    pairs = [
        ("best_layer", "cumulative_bottom"),
        ("best_layer", "leave_one_out"),
        ("cumulative_bottom", "leave_one_out"),
    ]
    assert list(kept[["opinion", "other"]].itertuples(index=False, name=None)) == pairs
    wide = pd.read_csv(tmp_path / "relevance.csv").pivot(index="layer", columns="opinion", values="relevance")
    wide.loc[0, "cumulative_bottom"] = np.nan
    for row in kept.itertuples():
        both = wide[[row.opinion, row.other]].dropna()
        assert row.spearman == pytest.approx(spearmanr(both[row.opinion], both[row.other]).statistic)
    assert not kept["spearman"].equals(first["spearman"])
    (tmp_path / "agreement.csv").write_text("mine\\n")
    assert main([*asked, "best_layer"]) == 2
    assert "agreement.csv is no table of how far opinions agree by this program" in capsys.readouterr().err
    assert (tmp_path / "agreement.csv").read_text() == "mine\\n"
