"""Erasure: against its definition, against the authors' package, and where the truth is planted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from emoprobe import HiddenStateCache, UserError
from emoprobe.analysis import ErasureSettings, ask_erasure, plot_erasure
from emoprobe.analysis.measures.concepts import Concept, shared_variance
from emoprobe.analysis.measures.erasure import ERASURE
from emoprobe.analysis.measures.leace import Eraser, Whitening
from emoprobe.testing import write_cache


def states(rows: int = 300, width: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated states of unlike sizes, and a concept of three columns of which two are told apart."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)) @ rng.standard_normal((width, width)) * np.geomspace(0.1, 10, width) + 5
    one, other = x[:, 0] + 0.3 * rng.standard_normal(rows), x @ rng.standard_normal(width)
    return x, np.stack([one, other, one + other], axis=1)


def test_no_linear_probe_reads_what_is_erased_and_other_directions_stay():
    x, z = states()
    eraser = Eraser.of_concept(x, z)
    assert eraser.rank == 2
    left = eraser(x)
    assert abs(LinearRegression().fit(left, z).score(left, z)) < 1e-12
    assert LinearRegression().fit(x, z).score(x, z) > 0.8
    np.testing.assert_allclose(left.mean(0), x.mean(0))
    # What has nothing to do with the probe of the concept is read from what is left as before.
    probe = LinearRegression().fit(x, z).predict(x)
    free = x @ np.random.default_rng(1).standard_normal(8)
    free -= LinearRegression().fit(probe, free).predict(probe)
    plainly = Eraser.of_concept(x, z, Whitening.of(x, shrinkage=0.0))(x)
    assert LinearRegression().fit(plainly, free).score(plainly, free) == pytest.approx(1)
    # Twice is once.
    np.testing.assert_allclose(eraser(left), left, atol=1e-9)


def test_of_all_maps_that_erase_it_changes_the_states_least():
    """Without shrinkage; against projections along other whitenings, which erase as well."""
    x, z = states()
    least = ((Eraser.of_concept(x, z, Whitening.of(x, shrinkage=0.0))(x) - x) ** 2).sum()
    rng = np.random.default_rng(2)
    for _ in range(20):
        root = rng.standard_normal((8, 8))
        symmetric = root @ root.T + np.eye(8)
        other = Eraser.of_concept(x, z, Whitening(symmetric, np.linalg.inv(symmetric)))(x)
        assert abs(LinearRegression().fit(other, z).score(other, z)) < 1e-9
        assert ((other - x) ** 2).sum() > least


def test_it_is_that_of_the_authors():
    package = pytest.importorskip("concept_erasure")
    torch = pytest.importorskip("torch")
    x, z = states()
    own = Eraser.of_concept(x, z, Whitening.of(x, shrinkage=0.0))(x)
    given = torch.from_numpy(x), torch.from_numpy(z)
    fitted = package.LeaceFitter.fit(*given, shrinkage=False, constrain_cov_trace=False, svd_tol=1e-6)
    np.testing.assert_allclose(own, fitted.eraser(given[0]).numpy(), rtol=1e-6, atol=1e-6)


def test_shared_variance_is_the_adjusted_share():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((4000, 2))
    y = z[:, :1] + rng.standard_normal((4000, 1))
    assert shared_variance(y, z) == pytest.approx(0.5, abs=0.03)
    by_chance = [shared_variance(rng.standard_normal((40, 1)), rng.standard_normal((40, 20))) for _ in range(50)]
    assert np.mean(by_chance) < 0.15  # not adjusted it would be a half
    assert np.isnan(shared_variance(y[:3], z[:3]))


SETTINGS = {"controls": 4}


def asked(path, **options):
    with HiddenStateCache(path) as cache:
        table = ask_erasure([cache], ErasureSettings(**SETTINGS | options))
    return table.set_index(["erased", "read", "layer"])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Arousal and valence in layer 1, in directions that have nothing to do with each other; and its answer."""
    path = tmp_path_factory.mktemp("cache") / "c.h5"
    gender = ["female" if k % 2 else "male" for k in range(240)]
    write_cache(
        path, n=240, layers=3, width=12, gender=gender, planted={"arousal": 1, "valence": 1, "dominance": 2}
    )  # fmt: skip
    return path, asked(path)


def test_what_lies_in_other_directions_is_left(planted):
    _, table = planted
    row = table.loc["arousal", "valence", 1]
    assert row["before"] > 0.9
    assert row["after"] > row["before"] - 0.05
    assert table.loc["arousal", "dominance", 2]["after"] > 0.8  # the labels correlate a little by chance
    of_itself = table.loc["arousal", "arousal", 1]
    assert abs(of_itself["after"]) < 0.02  # the mean label of each fold
    assert of_itself["lost"] > 0.7
    assert of_itself["p_holm"] < 0.05
    assert (table["rank"].loc[["arousal", "valence", "dominance", "gender"]] == 1).all()
    assert (table["rank"].loc["speaker"] >= 9).all()  # of 12 speakers the training part of a fold has fewer
    assert "speaker" not in table.index.get_level_values("read")


def test_what_correlates_is_lost_with_it(planted, tmp_path):
    """Valence is half arousal: in its layer a direction of its own is left, and in another nothing was."""
    path, _ = planted
    with HiddenStateCache(path) as cache:
        arousal, own = (cache.utterances[name].to_numpy(float) for name in ("arousal", "valence"))
    write_cache(
        tmp_path / "c.h5", n=240, layers=3, width=12, planted={"arousal": 1, "valence": 1, "dominance": 2},
        valence=arousal + own,
    )  # fmt: skip
    table = asked(tmp_path / "c.h5", concepts=("arousal", "valence"))
    row = table.loc["arousal", "valence", 1]
    assert row["shared"] == pytest.approx(0.5, abs=0.15)
    assert row["before"] > 0.9
    # The half that is left has r² = 1/2; its best linear prediction has half of the variance: CCC 2/3.
    assert row["after"] == pytest.approx(2 / 3, abs=0.12)
    assert row["lost"] > 0.15
    assert row["p_holm"] < 0.05
    assert row["control"] > row["after"]


def test_erasers_are_fitted_on_training_rows_alone(planted):
    """Other states of the tested rows change nothing of what is left to read in the other folds' training."""
    path, _ = planted
    with HiddenStateCache(path) as cache:
        from emoprobe.analysis.measures.erasure import _as_relevance, _in_units
        from emoprobe.analysis.measures.problems import problems

        (problem,) = problems(cache, _as_relevance(ErasureSettings()))
        fold = problem.folds[0]
        held = fold.tests[problem.split]
        units, ahead = _in_units(problem, 1, fold.train, held)
        np.testing.assert_allclose(units.std(0), 1)
        assert not np.allclose(ahead.std(0), 1)
        assert not set(problem.groups[fold.train]) & set(problem.groups[held])


def test_what_the_corpus_does_not_know_is_refused_or_left_out(planted):
    path, table = planted
    assert "words" not in table.index.get_level_values("erased")
    with pytest.raises(UserError, match="words cannot be erased, the cache has not the baseline 'text'"):
        asked(path, concepts=("words",))
    with pytest.raises(UserError, match="unknown concept 'mood'"):
        ErasureSettings(concepts=("mood",))


def test_a_control_is_the_same_of_others():
    """Of other utterances, or of other speakers where each has one value; and of nobody who is not among them."""
    rng, voices = np.random.default_rng(0), np.arange(40) // 5
    among = np.arange(30)
    labels = Concept("arousal", rng.standard_normal((40, 1)))
    moved = labels.permuted(among, voices, rng)
    assert sorted(moved.values[:30, 0]) == sorted(labels.values[:30, 0])
    assert (moved.values[30:] == labels.values[30:]).all()
    assert (moved.values[:30] != labels.values[:30]).mean() > 0.8
    gender = Concept("gender", (voices[:, None] % 2).astype(float))
    drawn = [gender.permuted(among, voices, rng).values[:, 0] for _ in range(20)]
    assert all(len(set(one[voices == speaker])) == 1 for one in drawn for speaker in range(8))
    assert all(one[:30].sum() == 15 for one in drawn)
    assert len({tuple(one) for one in drawn}) > 5


def test_few_texts_are_told_apart_by_which_they_are(tmp_path):
    texts = [("a b", "c d", "e f")[k % 3] for k in range(120)]
    write_cache(tmp_path / "c.h5", n=120, layers=2, transcript=texts)
    table = asked(tmp_path / "c.h5", concepts=("words", "arousal"))
    assert set(table.loc["words", "arousal"]["rank"]) == {2}
    assert abs(table.loc["words", "words", 0]["before"]) < 0.3  # no state knows of them


def test_the_answer_is_told_and_drawn(planted):
    from matplotlib.figure import Figure

    _, table = planted
    answer = table.reset_index()
    said = ERASURE.told(answer)
    assert [line.split("without ")[1].split(" ")[0] for line in said] == ["arousal", "valence", "dominance", "speaker",
                                                                           "gender"]  # fmt: skip
    axes = plot_erasure(answer, figure=Figure())
    drawn = {line.get_gid(): line for line in axes[1].get_lines()}
    rows = answer[(answer["erased"] == "arousal") & (answer["read"] == "valence")]
    np.testing.assert_allclose(drawn["after-arousal"].get_ydata(), rows["after"])
    np.testing.assert_allclose(drawn["before"].get_ydata(), rows["before"])
