"""What layers add to acoustics and words: planted parts come out, refits are refits, and the claim can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe import HiddenStateCache
from emoprobe.analysis import ContributionSettings, ask, contributions
from emoprobe.analysis.figures.contribution import plot_contribution
from emoprobe.analysis.measures.carried import carried_errors
from emoprobe.analysis.measures.contribution import IN_STATES, R2, SHARED, SLOPE, STATEMENT, verdict
from emoprobe.analysis.measures.partition import ALLOWED, BANDS, GRID, MODELS, PARTS, WHOLE, NestedModels, parts_of
from emoprobe.analysis.report import write_report
from emoprobe.errors import UserError
from emoprobe.probe import fit_layers, pearson
from emoprobe.probe.splits import cross_validation
from emoprobe.testing import write_cache
from tests.planted_contributions import contributing_cache

pytestmark = pytest.mark.slow


def asked_of(path: Path, **settings) -> pd.DataFrame:
    with HiddenStateCache(path) as cache:
        return contributions(cache, ContributionSettings(features="mean", acoustics=("logmel",), **settings))


def rising(strengths: np.ndarray) -> list[dict[str, float]]:
    return [{"voice": 0.5, "words": float(strength)} for strength in strengths]


# The arithmetic -----------------------------------------------------------------------------------------------------


def test_the_parts_sum_to_the_whole():
    assert np.array_equal(sum(PARTS[name] for name in WHOLE), PARTS["total"])
    assert np.array_equal(PARTS["shared with text"] + PARTS["beyond text"], PARTS["layer"])
    of_layer = ("unique layer", "layer & text", "layer & acoustics", "layer & acoustics & text")
    assert np.array_equal(sum(PARTS[name] for name in of_layer), PARTS["layer"])
    assert np.array_equal(PARTS["layer & text"] + PARTS["layer & acoustics & text"], PARTS["shared with text"])
    assert list(ALLOWED.sum(1)) == [10, 8, 5, 80, 50, 40, 400]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    unit = np.arange(96) % 12
    bands = {name: rng.standard_normal((96, width)) for name, width in zip(BANDS, (6, 5, 4), strict=True)}
    label = sum(x[:, 0] for x in bands.values()) + rng.standard_normal(96)
    return bands, np.stack([label, rng.standard_normal(96)], axis=1), unit, cross_validation(np.arange(96), unit, 4)


def dense(bands, targets, unit, folds, penalties, *, without=None) -> np.ndarray:
    """Labels and predictions of every model of the first target, by least squares with added rows of penalties."""
    pairs: list[list] = [[] for _ in MODELS]
    for f, fold in enumerate(folds):
        (tests,) = fold.tests.values()
        kept, train = tests[unit[tests] != without], fold.train[unit[fold.train] != without]
        mean = targets[fold.train, 0].mean()
        for k in range(len(MODELS)):
            chosen = [(bands[name], p) for name, p in zip(BANDS, penalties[f, 0, k], strict=True) if np.isfinite(p)]
            own = targets[train, 0].mean()
            predicted = np.full(len(kept), own)
            if chosen:
                # The unit of a feature is that of all training rows, as the penalty's.
                x = np.hstack([x / x[fold.train].std(0) for x, _ in chosen])
                added = np.concatenate([np.full(x.shape[1], np.sqrt(p)) for x, p in chosen])
                rows = np.vstack([x[train] - x[train].mean(0), np.diag(added)])
                right = np.concatenate([targets[train, 0] - own, np.zeros(len(added))])
                weights = np.linalg.lstsq(rows, right, rcond=None)[0]
                predicted = (x[kept] - x[train].mean(0)) @ weights + own
            pairs[k].append(np.stack([targets[kept, 0], predicted]) - mean)
    return np.stack([np.concatenate(parts, axis=1) for parts in pairs])


def test_models_and_refits_are_those_of_least_squares(problem):
    bands, targets, unit, folds = problem
    models = NestedModels(targets, folds, bands["acoustics"], bands["text"], unit)
    scored = models.score(bands["layer"])
    (left_out,) = scored.left_out
    for number, name in [(None, None), *enumerate(models.deletions.names)]:
        without = None if name is None else int(name)
        truth, predicted = np.moveaxis(dense(bands, targets, unit, folds, scored.penalties, without=without), 1, 0)
        r = np.array([pearson(t, p) if np.ptp(p) > 1e-9 else 0.0 for t, p in zip(truth, predicted, strict=True)])
        sums = (scored.whole if number is None else left_out[number])[0]
        expected = np.stack(list(PARTS.values())) @ (r * np.abs(r))
        assert np.allclose(parts_of(sums), expected, atol=1e-9)


def test_penalties_are_those_of_least_inner_error(problem):
    """Of the models of one band, against every penalty tried by hand."""
    bands, targets, unit, folds = problem
    scored = NestedModels(targets, folds, bands["acoustics"], bands["text"], unit).score(bands["layer"])
    for f, fold in enumerate(folds):
        for k, model in enumerate(MODELS[:3]):
            x = bands[model[0]]
            errors = {}
            for penalty in np.unique(GRID[ALLOWED[k]][:, BANDS.index(model[0])]):
                errors[penalty] = 0.0
                for train, held in fold.inner:
                    z = (x - x[train].mean(0)) / x[train].std(0)
                    y = targets[train, 0] - targets[train, 0].mean()
                    weights = np.linalg.solve(
                        z[train].T @ z[train] + min(penalty, 1e12) * np.eye(x.shape[1]), z[train].T @ y
                    )
                    errors[penalty] += ((targets[held, 0] - targets[train, 0].mean() - z[held] @ weights) ** 2).sum()
            assert scored.penalties[f, 0, k, BANDS.index(model[0])] == min(errors, key=errors.get)


def test_an_official_split_has_two_samples(tmp_path):
    """Of training units, whose refits change the predictions, and of tested ones, which are left out of the score."""
    parts = ["train"] * 16 + ["test"] * 8
    split = [parts[i % 24] for i in range(480)]
    contributing_cache(tmp_path / "c.h5", rising(np.array([0.0, 1.0])), n=480, split=split)
    rows = asked_of(tmp_path / "c.h5")
    assert set(rows["split"]) == {"test"}
    assert (rows["n"] == 160).all()
    assert (rows["units"] == 8).all()
    assert (rows["trained"] == 320).all()
    told = rows[(rows["quantity"] == R2) & (rows["part"] == "total")]
    assert ((told["low"] < told["value"]) & (told["value"] < told["high"])).all()


def test_what_features_explain_of_states_is_that_of_a_ridge(problem):
    bands, _, unit, folds = problem
    rng = np.random.default_rng(3)
    spread = np.array([5.0, 1.0, 0.1])
    states = (bands["text"][:, :3] + 0.5 * rng.standard_normal((96, 3))) * spread
    whole, (left_out,) = carried_errors(bands["text"], states, folds, unit)
    expected, mean = 0.0, 0.0
    for fold in folds:
        (rows,) = fold.tests.values()
        x = bands["text"]
        errors = {}
        for penalty in 10.0 ** np.arange(1, 8):
            errors[penalty] = 0.0
            for train, held in fold.inner:
                z = (x - x[train].mean(0)) / x[train].std(0)
                y = states[train] - states[train].mean(0)
                weights = np.linalg.solve(z[train].T @ z[train] + penalty * np.eye(4), z[train].T @ y)
                errors[penalty] += ((states[held] - states[train].mean(0) - z[held] @ weights) ** 2).sum()
        chosen = min(errors, key=errors.get)
        z = (x - x[fold.train].mean(0)) / x[fold.train].std(0)
        y = states[fold.train] - states[fold.train].mean(0)
        weights = np.linalg.solve(z[fold.train].T @ z[fold.train] + chosen * np.eye(4), z[fold.train].T @ y)
        expected += ((states[rows] - states[fold.train].mean(0) - z[rows] @ weights) ** 2).sum()
        mean += ((states[rows] - states[fold.train].mean(0)) ** 2).sum()
    assert np.allclose(whole, [mean, expected])
    assert left_out.shape == (12, 2)
    assert (left_out < whole).all()


# What was planted ---------------------------------------------------------------------------------------------------

LAYERS = (
    {"voice": 1},
    {"words": 1},
    {"words": 1, "own": 1},
    {"voice": 1, "words": 1, "own": 1},
    {},
)

#: Parts of the explained variance by dimension and layer; what is not named is 0.
PLANTED = {
    "arousal": [
        {"layer & acoustics": 0.8}, {"unique acoustics": 0.8}, {"unique acoustics": 0.8}, {"layer & acoustics": 0.8},
        {"unique acoustics": 0.8},
    ],
    "valence": [
        {"unique text": 0.5}, {"layer & text": 0.5}, {"layer & text": 0.5, "unique layer": 0.3},
        {"layer & text": 0.5, "unique layer": 0.3}, {"unique text": 0.5},
    ],
    "dominance": [
        {"layer & acoustics": 0.4, "unique text": 0.4}, {"layer & text": 0.4, "unique acoustics": 0.4},
        {"layer & text": 0.4, "unique acoustics": 0.4}, {"layer & acoustics": 0.4, "layer & text": 0.4},
        {"unique acoustics": 0.4, "unique text": 0.4},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("planted") / "c.h5"
    contributing_cache(path, LAYERS, of_speakers=0.0)
    return asked_of(path)


@pytest.mark.parametrize("dimension", PLANTED)
def test_planted_parts_come_out(planted, dimension):
    r"""The total of independent sources is the sum of their shares, since r² is: within 0.07 of 1,200 utterances."""
    rows = planted[(planted["quantity"] == R2) & (planted["dimension"] == dimension)]
    for layer, parts in enumerate(PLANTED[dimension]):
        of_layer = rows[rows["layer"] == layer].set_index("part")
        for name in WHOLE:
            assert np.isclose(of_layer.loc[name, "value"], parts.get(name, 0.0), atol=0.07), (layer, name)
            if parts.get(name):
                assert of_layer.loc[name, "low"] > 0
        assert np.isclose(of_layer.loc[list(WHOLE), "value"].sum(), of_layer.loc["total", "value"])


def test_words_in_the_states_come_out(planted):
    rows = planted[(planted["quantity"] == R2) & (planted["part"] == IN_STATES["text"])].sort_values("layer")
    # Layers mix as many directions of each source that they have; the mixing is drawn, so shares are near these.
    assert np.allclose(rows["value"], [0, 1, 1 / 2, 1 / 3, 0], atol=0.15)
    acoustics = planted[(planted["quantity"] == R2) & (planted["part"] == IN_STATES["acoustics"])].sort_values("layer")
    assert np.allclose(acoustics["value"], [1, 0, 0, 1 / 3, 0], atol=0.15)


@pytest.mark.parametrize(
    ("strengths", "said"),
    [(np.linspace(0.02, 1, 6), "supported"), (np.linspace(1, 0.02, 6), "contradicted"), (np.full(6, 0.5), "undecided")],
)
def test_the_claim_holds_fails_or_stays_open(tmp_path, strengths, said):
    contributing_cache(tmp_path / "c.h5", rising(strengths), n=360, speakers=12, noise=0.5)
    rows = asked_of(tmp_path / "c.h5")
    assert verdict(rows) == said
    slope = rows[(rows["quantity"] == SLOPE) & (rows["dimension"] == "arousal") & (rows["part"] == SHARED)]
    assert abs(slope["value"].iloc[0]) < 0.05  # the voice knows it, whatever the words do
    assert verdict(rows[rows["dimension"] != "valence"]) == "not tested"


def test_words_that_do_not_vary_explain_nothing(tmp_path):
    """Two sentences that everybody says with every emotion: the negative control."""
    contributing_cache(tmp_path / "c.h5", rising(np.linspace(0.2, 1, 4)), n=360, speakers=12, labels={
        "arousal": {"voice": 0.8}, "valence": {"voice": 0.4, "own": 0.2}, "dominance": {"voice": 0.5},
    })  # fmt: skip
    rows = asked_of(tmp_path / "c.h5")
    of_words = rows[(rows["quantity"] == R2) & rows["part"].isin(["text", SHARED, "unique text"])]
    assert (of_words["value"].abs() < 0.05).all()
    assert verdict(rows) == "undecided"


def test_within_speakers_what_differs_between_them_takes_no_part(tmp_path):
    """Labels that differ between speakers, of which nothing is known: without that, the rest is explained as before."""
    shares = {"arousal": {"voice": 0.8}, "valence": {"words": 0.8}, "dominance": {"voice": 0.8}}
    contributing_cache(tmp_path / "c.h5", [{"voice": 1}], n=600, labels=shares, of_speakers=1.0)
    total = {}
    for within in (False, True):
        rows = asked_of(tmp_path / "c.h5", within_speakers=within)
        total[within] = rows[(rows["part"] == "total") & (rows["quantity"] == R2)].set_index("dimension")["value"]
    assert np.allclose(total[False], 0.4, atol=0.12)
    assert np.allclose(total[True], 0.8, atol=0.06)


@pytest.mark.slow
def test_equal_layers_are_seldom_called_unequal(tmp_path):
    """Words as strong in all layers, 60 corpora of 12 speakers: either verdict at most 5 % and the error of so many."""
    said = []
    for seed in range(60):
        contributing_cache(tmp_path / f"{seed}.h5", rising(np.full(4, 0.5)), n=240, speakers=12, noise=0.5, seed=seed)
        said.append(verdict(asked_of(tmp_path / f"{seed}.h5", dimensions=("valence",))))
    assert sum(one != "undecided" for one in said) <= 0.05 * 60 + 2.58 * np.sqrt(60 * 0.05 * 0.95)


@pytest.mark.slow
def test_intervals_hold_the_mean_of_what_they_are_of(tmp_path):
    """Cross-validation of 40 corpora of 12 speakers: 95 %, less the error of so many."""
    layers = [{"voice": 0.6, "words": 0.6}, {"voice": 0.4, "words": 1.0, "own": 0.5}]
    labels = {
        "arousal": {"voice": 0.4},
        "valence": {"words": 0.4, "own": 0.1, "voice": 0.1},
        "dominance": {"voice": 0.4},
    }
    told = []
    for seed in range(40):
        path, more = tmp_path / f"{seed}.h5", {"n": 240, "speakers": 12, "noise": 0.6, "of_speakers": 0.15}
        contributing_cache(path, layers, labels=labels, seed=seed, **more)
        told.append(asked_of(path, dimensions=("valence",)))
    rows = pd.concat(told)
    for part, quantity in (("layer", R2), ("total", R2), ("beyond text", R2), (SHARED, R2), (SHARED, SLOPE)):
        for _, of in rows[(rows["part"] == part) & (rows["quantity"] == quantity)].groupby("layer", dropna=False):
            held = of["value"].mean()
            assert ((of["low"] <= held) & (held <= of["high"])).mean() >= 0.95 - 2.58 * np.sqrt(0.05 * 0.95 / 40)


# As it is asked -----------------------------------------------------------------------------------------------------


def test_it_is_asked_kept_and_drawn(tmp_path):
    contributing_cache(tmp_path / "c.h5", rising(np.array([0.1, 0.5, 1.0])), n=240, speakers=12)
    settings = ContributionSettings(features="mean", dimensions=("valence",))
    said: list[str] = []
    rows = ask("contribution", [tmp_path / "c.h5"], settings, results=tmp_path / "results", say=said.append)
    assert "has no egemaps" in said[0]
    assert "probe-extract --out" in said[0]
    assert set(rows["acoustics"]) == {"logmel"}
    again = ask("contribution", [tmp_path / "c.h5"], settings, results=tmp_path / "results", say=said.append)
    pd.testing.assert_frame_equal(rows, again)
    assert "stands in" in said[-1]
    from matplotlib.figure import Figure

    axes = plot_contribution(rows, figure=Figure())
    assert [ax.get_title(loc="left") for ax in axes[:2]] == ["valence", "the states themselves"]
    for name in WHOLE:
        of_last = rows[(rows["layer"] == 2) & (rows["part"] == name) & (rows["quantity"] == R2)]
        drawn = sum(
            bar.get_height() for bar in axes[0].patches if bar.get_gid() == f"part-{name}" and bar.get_x() > 1.5
        )
        assert np.isclose(drawn, of_last["value"].iloc[0])


def test_the_report_tells_parts_and_how_the_claim_stands(tmp_path):
    contributing_cache(tmp_path / "c.h5", rising(np.linspace(0.02, 1, 3)), n=240, speakers=12, noise=0.5)
    fit_layers(tmp_path / "c.h5", out=tmp_path / "results", permutations=0, mdl=False)
    ask("contribution", [tmp_path / "c.h5"], ContributionSettings(features="mean"), results=tmp_path / "results")
    write_report(tmp_path / "results", out=tmp_path / "report", quick=True)
    page = (tmp_path / "report" / "report.md").read_text()
    assert STATEMENT in page
    assert "first, middle and last layer of planted" in page
    assert "Nimon and Oswald, 2013" in page
    assert "de Heer et al., 2017" in page
    write_report(tmp_path / "results", out=tmp_path / "arousal", quick=True, dimensions=("arousal",))
    page = (tmp_path / "arousal" / "report.md").read_text()
    assert "not tested" in page[page.index(STATEMENT) - 200 : page.index(STATEMENT) + 400].casefold()


def test_what_is_missing_is_told_with_what_helps(tmp_path):
    write_cache(tmp_path / "c.h5", n=60, layers=2)
    with pytest.raises(UserError, match=r"no baseline 'text'.*--baselines text"):
        ask("contribution", [tmp_path / "c.h5"], results=tmp_path / "results")
    contributing_cache(tmp_path / "d.h5", [{"voice": 1}], n=60, speakers=12)
    settings = ContributionSettings(acoustics=("egemaps",))
    with pytest.raises(UserError, match="none of the acoustic baselines egemaps"):
        ask("contribution", [tmp_path / "d.h5"], settings, results=tmp_path / "results")
    with pytest.raises(UserError, match="unknown dimension"):
        ContributionSettings(dimensions=("anger",))
