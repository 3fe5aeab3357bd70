"""Nulls of permuted labels against refits by scikit-learn, one permutation at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoprobe.cli.fit import parser
from emoprobe.errors import UserError
from emoprobe.probe import fit_layers, load_results, permutation
from emoprobe.probe.metrics import ccc, ccc_from_moments
from emoprobe.probe.permutation import (
    FREE,
    WITHIN,
    exchangeable,
    holm,
    permutations,
    permuted_moments,
    permuted_scores,
    summarise,
    told,
    within_by_rule,
)
from emoprobe.probe.planning import plan
from emoprobe.probe.results import SCORES
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.splits import Fold, cross_validation
from emoprobe.probe.units import Units
from emoprobe.testing.caches import write_cache

# Gram matrices square the condition number; float64 leaves more than ten digits at these penalties.
TOLERANCE = 1e-9


def problem(n=80, width=10, n_targets=2, speakers=12, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, width)) * rng.uniform(0.1, 9, width) + rng.normal(0, 5, width)).astype("f4")
    targets = 4 + rng.standard_normal((n, n_targets)) + 0.3 * (x - x.mean(0)) @ rng.standard_normal((width, n_targets))
    targets[rng.random(targets.shape) < missing] = np.nan
    return x, targets, np.arange(n) % speakers


def official(n):
    rows = np.arange(n)
    train, development, test = rows[: n // 2], rows[n // 2 : 3 * n // 4], rows[3 * n // 4 :]
    half = len(train) // 2
    inner = ((train[:half], train[half:]), (train[half:], train[:half]))
    return [Fold("all", train, inner, {"development": development, "test": test})]


def folds_of(kind, speaker):
    return official(len(speaker)) if kind == "official" else list(cross_validation(np.arange(len(speaker)), speaker, 4))


def naive(x, targets, folds, penalties, order, target, *, rescale=False):
    """Scores of one target for the permutations in `order`, refitted by scikit-learn."""
    x, found = x.astype(np.float64), {}
    for one in order:
        y = targets[one, target]
        truth, predicted = {}, {}
        for f, fold in enumerate(folds):

            def fitted(train, rows, y=y, f=f):
                train, rows = train[~np.isnan(y[train])], rows[~np.isnan(y[rows])]
                model = make_pipeline(StandardScaler(), Ridge(alpha=penalties[f, target])).fit(x[train], y[train])
                return y[rows], model.predict(x[rows])

            gain, shift = 1.0, 0.0
            if rescale:
                held = [np.concatenate(parts) for parts in zip(*(fitted(*pair) for pair in fold.inner), strict=True)]
                gain = held[0].std() / held[1].std()
                shift = held[0].mean() - gain * held[1].mean()
            for name, rows in fold.tests.items():
                t, p = fitted(fold.train, rows)
                truth.setdefault(name, []).append(t)
                predicted.setdefault(name, []).append(p * gain + shift)
        for name in truth:
            found.setdefault(name, []).append(ccc(np.concatenate(truth[name]), np.concatenate(predicted[name])))
    return found


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("kind", ["official", "cross-validation"])
@pytest.mark.parametrize("width", [10, 120])  # both solvers: fewer features than rows, and more
def test_equals_refits_with_missing_labels(kind, width, rescale, monkeypatch):
    x, targets, speaker = problem(width=width, missing=0.15)
    folds = folds_of(kind, speaker)
    equations = accumulate(lambda rows: x[rows], targets, folds, chunk_rows=17)
    found = solve(equations, penalties=[3.0, 100.0], rescale=rescale)
    sets = exchangeable(folds, speaker)
    monkeypatch.setattr(permutation, "MEMORY", 1)  # one permutation at a time: chunks must not change the draw
    scores = permuted_scores(equations, targets, found, sets, count=5, seed=3, rescale=rescale)
    for target in range(2):
        here = np.where(np.isnan(targets[:, target]), -1, sets)
        order = np.concatenate(list(permutations(here, 5, seed=3)))
        expected = naive(x, targets, folds, found.penalties, order, target, rescale=rescale)
        assert set(scores) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(scores[name][:, target], values, atol=TOLERANCE)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("kind", ["official", "cross-validation"])
@pytest.mark.parametrize("width", [10, 120])
def test_single_precision_leaves_a_null_as_it_is(kind, width, rescale, monkeypatch):
    """A product over n rows of standardised numbers is off by some n·2⁻²⁴ of its size: far below a null's spread."""
    x, targets, speaker = problem(width=width, missing=0.15)
    folds = folds_of(kind, speaker)
    equations = accumulate(lambda rows: x[rows], targets, folds, chunk_rows=17)
    found = solve(equations, penalties=[3.0, 100.0], rescale=rescale)
    asked = {"count": 50, "rescale": rescale}
    double = permuted_scores(equations, targets, found, exchangeable(folds, speaker), **asked)
    monkeypatch.setattr(permutation, "MANY", 1)
    single = permuted_scores(equations, targets, found, exchangeable(folds, speaker), **asked)
    for name, scores in double.items():
        assert not np.array_equal(single[name], scores)
        np.testing.assert_allclose(single[name], scores, atol=1e-4 * scores.std())


def test_equals_permutation_test_score_of_scikit_learn():
    """The same permutations (scikit-learn's), folds, pipeline and penalty: the same scores."""
    x, targets, speaker = problem(n=60, width=7, n_targets=1, seed=2)
    folds = cross_validation(np.arange(60), speaker, 3)
    pairs = [(fold.train, fold.tests["cross-validation"]) for fold in folds]
    score, null, p = permutation_test_score(
        make_pipeline(StandardScaler(), Ridge(alpha=5.0)),
        x.astype(np.float64),
        targets[:, 0],
        cv=pairs,
        scoring=make_scorer(lambda t, p: float(ccc(t, p))),
        n_permutations=20,
        random_state=4,
    )
    random = np.random.RandomState(4)
    order = np.stack([random.permutation(60) for _ in range(20)])
    equations = accumulate(lambda rows: x[rows], targets, folds)
    found = solve(equations, penalties=[5.0])
    sums = permuted_moments(equations, targets, found.penalties, (0,), order)["cross-validation"]
    ours = ccc_from_moments(sums)[..., 0].mean(0)  # scikit-learn averages folds
    np.testing.assert_allclose(ours, null, atol=1e-6)
    identity = permuted_moments(equations, targets, found.penalties, (0,), np.arange(60)[None])["cross-validation"]
    true = ccc_from_moments(identity)[..., 0].mean()
    assert true == pytest.approx(score, abs=1e-6)
    assert summarise(true, ours)["p"] == pytest.approx(p)


@pytest.mark.parametrize("width", [5, 200])
def test_many_permutations_at_once_equal_few(width):
    """More right-hand sides than features are solved by an inverse, fewer by a triangular solve."""
    x, targets, speaker = problem(width=width)
    folds = folds_of("cross-validation", speaker)
    equations = accumulate(lambda rows: x[rows], targets, folds)
    found = solve(equations, penalties=[2.0])
    order = np.concatenate(list(permutations(exchangeable(folds, speaker), 120)))
    (many,) = permuted_moments(equations, targets, found.penalties, (0, 1), order).values()
    (few,) = permuted_moments(equations, targets, found.penalties, (0, 1), order[:2]).values()
    np.testing.assert_allclose(ccc_from_moments(many[:, :2]), ccc_from_moments(few), atol=1e-8)


def test_labels_stay_within_their_set_and_prefixes_agree():
    _, _, speaker = problem()
    for kind in ("official", "cross-validation"):
        folds = folds_of(kind, speaker)
        for within in (False, True):
            sets = exchangeable(folds, speaker, within_speakers=within)
            many = np.concatenate(list(permutations(sets, 30, seed=1, chunk=7)))
            few = np.concatenate(list(permutations(sets, 11, seed=1)))
            np.testing.assert_array_equal(many[:11], few)
            assert (np.sort(many, axis=1) == np.arange(80)).all()
            assert (sets[many] == sets).all()
            if within:
                assert (speaker[many] == speaker).all()
            assert (many != np.arange(80)).any(1).all()
        parts = 3 if kind == "official" else 1
        # Inner folds of the training part are no parts of their own, nor is a development part that is also scored.
        assert len(np.unique(exchangeable(folds, speaker))) == parts
    other = np.concatenate(list(permutations(sets, 11, seed=2)))
    assert (other != few).any()


def test_every_layer_meets_the_same_permutations_and_a_target_does_not_depend_on_its_company():
    x, targets, speaker = problem(missing=0.1)
    folds = folds_of("cross-validation", speaker)
    sets = exchangeable(folds, speaker)

    def null(features, targets):
        equations = accumulate(lambda rows: features[rows], targets, folds)
        found = solve(equations, penalties=[10.0])
        return permuted_scores(equations, targets, found, sets, count=8)["cross-validation"]

    np.testing.assert_allclose(null(x, targets)[:, 1:], null(x, targets[:, 1:]), atol=TOLERANCE)
    # A layer that is a linear image of another has the same null, permutation by permutation.
    np.testing.assert_allclose(null(x, targets), null(x * np.float32(-2), targets), atol=1e-6)


def test_p_value_and_selectivity_by_hand():
    found = summarise(0.5, np.array([0.1, 0.5, 0.6, 0.0]))
    assert found["p"] == pytest.approx(3 / 5)
    assert found["null_mean"] == pytest.approx(0.3)
    assert found["selectivity"] == pytest.approx(0.2)
    assert found["null_high"] == pytest.approx(np.quantile([0.1, 0.5, 0.6, 0.0], 0.95))
    assert summarise(0.9, np.zeros(999))["p"] == pytest.approx(1 / 1000)
    assert np.isnan(summarise(np.nan, np.zeros(9))["p"])
    # What constant features score, permuted or not: nothing, but for rounding.
    assert summarise(3e-17, np.array([-2e-17, 0.0, 1e-17, 4e-17]))["p"] == 1


def test_holm_by_hand():
    found = holm([0.01, np.nan, 0.04, 0.03, 0.9])
    np.testing.assert_allclose(found, [0.04, np.nan, 0.09, 0.09, 0.9])
    assert len(holm([])) == 0


@pytest.mark.slow
def test_the_table_has_the_null_of_every_ridge_probe(tmp_path):
    path = tmp_path / "c.h5"
    write_cache(path)
    results = fit_layers(path, dimensions="arousal", resamples=20, permutations=99, out=tmp_path / "r")
    pooled = results.select(fold="all")
    probes = pooled[pooled["probe"] != "mean"]
    assert (probes["permutations"] == 99).all()
    assert pooled[pooled["probe"] == "mean"]["p"].isna().all()
    np.testing.assert_allclose(probes["selectivity"], probes["ccc"] - probes["null_mean"])
    assert (probes["null_mean"] < probes["null_high"]).all()
    layers = probes[probes["probe"] == "ridge"].set_index("layer")
    assert layers["p"].idxmin() == 1
    assert layers.loc[1, "p"] == pytest.approx(1 / 100)
    np.testing.assert_allclose(layers["p_holm"], holm(layers["p"]))
    baselines = probes[probes["layer"] == -1]
    np.testing.assert_allclose(baselines["p_holm"], baselines["p"])
    single = results.scores[results.scores["fold"] != "all"]
    assert single["p"].isna().all()
    assert single["permutations"].isna().all()
    # Another number of permutations, or kind, is another protocol.
    for options in ({"permutations": 0}, {"permutations": 99, "permute_within_speakers": False}):
        changed = fit_layers(path, dimensions="arousal", resamples=20, **options)
        assert changed.protocol[-1]["hash"] != results.protocol[-1]["hash"]
    assert fit_layers(path, dimensions="arousal", resamples=20, permutations=0).scores["p"].isna().all()
    with pytest.raises(UserError, match="--permutations -1"):
        fit_layers(path, permutations=-1)


@pytest.mark.slow
def test_older_results_without_the_columns_are_read(tmp_path):
    path = tmp_path / "c.h5"
    write_cache(path)
    made = fit_layers(path, dimensions="arousal", resamples=20, permutations=9, out=tmp_path / "r")
    new = list(SCORES)[list(SCORES).index("reason") + 1 :]
    for name in ("scores.parquet", "scores.csv"):
        (tmp_path / "r" / name).unlink()
    made.scores.drop(columns=new).to_parquet(tmp_path / "r" / "scores.parquet", index=False)
    loaded = load_results(tmp_path / "r")
    assert (loaded.scores[new].isna() | (loaded.scores[new] == "")).all().all()
    pd.testing.assert_frame_equal(loaded.scores.drop(columns=new), made.scores.drop(columns=new))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_no_true_label_of_an_unknown_speaker_stays_in_the_null(share):
    """A planted effect is seen within speakers as well with most speakers unknown as with all of them known."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] + rng.normal(size=300))[:, None]
    part = np.repeat(["train", "test"], [200, 100])
    known = [f"{name}{row % 10}" for row, name in enumerate(part)]
    names = ["" if rng.random() < share else name for name in known]
    units = Units.of(names)
    split = plan(part, names, np.ones(300, bool), np.ones((300, 1), bool))
    sets = exchangeable(split.folds, units.voices, within_speakers=True)
    (order,) = permutations(sets, 99)
    unknown = np.array([not name for name in names])
    assert (order[:, unknown] != np.flatnonzero(unknown)).mean() > 0.95
    assert unknown[order[:, unknown]].all()
    assert all(names[row] == names[given] for row, given in enumerate(order[0]))
    assert (part[order] == part).all()
    equations = accumulate(lambda rows: x[rows], y, split.folds)
    found = solve(equations, penalties=[1.0])
    null = permuted_scores(equations, y, found, sets, count=99)["test"][:, 0]
    rows = split.folds[0].tests["test"]
    assert summarise(float(ccc(y[rows, 0], found.predictions[rows, 0])), null)["p"] == 0.01


def test_speakers_who_are_all_known_are_permuted_as_before():
    """A set for each number, in ascending order, each with a generator of its own."""
    _, _, speaker = problem()
    units = Units.of([f"s{number}" for number in speaker])
    np.testing.assert_array_equal(units.voices, units.speakers)
    sets = exchangeable(folds_of("official", speaker), units.voices, within_speakers=True)
    sets[::7] = -1
    (order,) = permutations(sets, 5, seed=3)
    expected = np.tile(np.arange(len(sets)), (5, 1))
    for k, number in enumerate(np.unique(sets[sets >= 0])):
        rows = np.flatnonzero(sets == number)
        if len(rows) > 1:
            expected[:, rows] = np.random.default_rng([3, k]).permuted(np.tile(rows, (5, 1)), axis=1)
    np.testing.assert_array_equal(order, expected)


@pytest.mark.slow
def test_unknown_speakers_in_a_test_within_speakers_are_told_with_their_count(tmp_path):
    speakers = ["" if row % 3 == 0 else f"s{row % 10}" for row in range(60)]
    write_cache(tmp_path / "c.h5", n=60, layers=2, width=4, speaker=speakers)
    fit = {"dimensions": ("valence",), "folds": 3, "penalties": (1.0,), "resamples": 0, "mdl": False}
    for within in (False, True):
        results = fit_layers(tmp_path / "c.h5", permutations=5, permute_within_speakers=within, **fit)
        (entry,) = [entry for entry in results.protocol if entry["probe"] == "ridge"]
        said = [note for note in entry["notes"] if "permuted among themselves" in note]
        assert len(said) == within
        assert not within or said[0].startswith("labels of the 20 of 60 utterances of unknown speaker")


# Which null -----------------------------------------------------------------------------------------------------------


def units_and_folds(speakers, *, groups=None, design="cross-validation"):
    units = Units.of(speakers, groups)
    rows = np.arange(len(speakers))
    if design == "official":
        test = np.arange(len(speakers)) % 2 == 0
        train = rows[~test]
        return units, (Fold("all", train, ((train[::2], train[1::2]),), {"test": rows[test]}),)
    return units, cross_validation(rows, units.whole, 3)


@pytest.mark.parametrize(
    ("speakers", "design", "within", "words"),
    [
        ([f"s{k % 6}" for k in range(60)], "cross-validation", True, None),
        ([f"s{k % 6}" for k in range(60)], "official", True, None),
        # Eight rows a speaker, but four of each part.
        ([f"s{k // 8}" for k in range(64)], "official", False, "fewer than 5, too few to permute labels within"),
        (
            [f"s{k // 2}" for k in range(60)],
            "cross-validation",
            False,
            "fewer than 5, too few to permute labels within",
        ),
        ([f"s{k}" for k in range(60)], "cross-validation", False, None),
        ([""] * 60, "cross-validation", False, "no speaker is known"),
        (["" if k % 3 == 0 else f"s{k % 5}" for k in range(60)], "cross-validation", True, "labels of the 20 of 60"),
        (["" if k % 3 else f"s{k % 2}" for k in range(60)], "cross-validation", False, "fewer than 5, too few"),
    ],
)
def test_labels_are_permuted_within_speakers_where_these_have_rows_enough(speakers, design, within, words):
    units, folds = units_and_folds(speakers, design=design)
    assert within_by_rule(folds, units) == within
    said = told(folds, units, within_speakers=within)
    assert len(said) == (words is not None)
    assert words is None or words in said[0]
    # No valid null is said where speakers may differ and are not held.
    assert any("no permutation is a valid null" in line for line in said) == (not within and words is not None)


def test_rows_without_a_label_are_no_rows_to_permute():
    units, folds = units_and_folds([f"s{k % 6}" for k in range(60)])
    assert within_by_rule(folds, units, np.ones(60, dtype=bool))
    assert not within_by_rule(folds, units, np.arange(60) < 6)  # one of each speaker
    assert not within_by_rule(folds, units, np.zeros(60, dtype=bool))


def test_what_neither_null_holds_is_said():
    speakers = [f"s{k % 6}" for k in range(60)]
    units, folds = units_and_folds(speakers, groups=[f"d{k % 3}" for k in range(60)])
    (said,) = told(folds, units, within_speakers=True)
    assert "labels of a group go together" in said
    units, folds = units_and_folds(speakers)
    (said,) = told(folds, units, within_speakers=False)
    assert "where speakers differ in their labels, p is too small" in said


@pytest.mark.slow
def test_the_null_that_was_taken_stands_in_the_protocol_and_in_a_column(tmp_path):
    fit = {"dimensions": ("valence",), "folds": 3, "penalties": (1.0,), "resamples": 0, "mdl": False,
           "permutations": 19}  # fmt: skip
    write_cache(tmp_path / "c.h5", n=60, layers=2, width=4, speakers=6)
    entries, columns = {}, {}
    for asked in (None, True, False):
        results = fit_layers(tmp_path / "c.h5", permute_within_speakers=asked, **fit)
        (entries[asked],) = (entry for entry in results.protocol if entry["probe"] == "ridge")
        pooled = results.select(fold="all")
        columns[asked] = set(pooled[pooled["probe"] == "ridge"]["permuted"])
        assert (pooled[pooled["probe"] == "mean"]["permuted"] == "").all()
        assert entries[asked]["settings"]["permuted"] in columns[asked]
    assert columns == {None: {WITHIN}, True: {WITHIN}, False: {FREE}}
    # What the rule decides and what is asked for are one protocol.
    assert entries[None]["hash"] == entries[True]["hash"] != entries[False]["hash"]


def test_the_command_takes_either_null():
    assert parser().parse_args([]).permute_within_speakers is None
    assert parser().parse_args(["--permute-within-speakers"]).permute_within_speakers is True
    assert parser().parse_args(["--no-permute-within-speakers"]).permute_within_speakers is False
