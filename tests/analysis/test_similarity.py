"""CKA and PWCCA against formulas written out in full, and the table that they are put into."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from emoprobe.analysis.figures.similarity import draw_similarity, plot_feature_similarity, plot_similarity
from emoprobe.analysis.measures import alignment, summaries
from emoprobe.analysis.measures import similarity as module
from emoprobe.analysis.measures.alignment import linear_cka, pwcca
from emoprobe.analysis.measures.similarity import COLUMNS, load_similarity, similarity_table
from emoprobe.cli.similarity import main
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache
from emoprobe.testing.caches import write_cache, write_checksums

# Sums over n rows in another order, in float64: far above their rounding, far below anything of meaning.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def direct_hsic(x, y):
    """Song et al. 2012, equation 5, from whole kernels and without centring."""
    n = len(x)
    k, other = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(other, 0)
    one = np.ones(n)
    total = np.trace(k @ other)
    total += (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    total -= 2 / (n - 2) * (one @ k @ other @ one)
    return total / (n * (n - 3))


def direct_cka(x, y):
    return direct_hsic(x, y) / np.sqrt(direct_hsic(x, x) * direct_hsic(y, y))


def biased_cka(x, y):
    """Kornblith et al. 2019, equation 4 with the plain estimate of HSIC."""
    x, y = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.norm(x.T @ y) ** 2
    return cross / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def direct_pwcca(x, y):
    """Morcos et al. 2018, from QR factorisations, nothing reduced."""
    x, y = x - x.mean(0), y - y.mean(0)
    qx, _ = np.linalg.qr(x)
    qy, _ = np.linalg.qr(y)
    u, rho, _ = np.linalg.svd(qx.T @ qy, full_matrices=False)
    alpha = np.abs((qx @ u).T @ x).sum(1)
    return (alpha * rho).sum() / alpha.sum()


def related(seed, n, width, other):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)) * rng.uniform(0.3, 3, width) + rng.standard_normal(width)
    y = x @ rng.standard_normal((width, other)) + 2 * rng.standard_normal((n, other)) + 5
    return x, y


def rotation(seed, width):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]


sizes = {
    "seed": st.integers(0, 2**16),
    "n": st.integers(4, 60),
    "width": st.integers(1, 20),
    "other": st.integers(1, 20),
}


@given(**sizes)
@settings(max_examples=60, deadline=None)
def test_cka_is_the_formula_over_whole_kernels(seed, n, width, other):
    x, y = related(seed, n, width, other)
    if min(direct_hsic(x, x), direct_hsic(y, y)) < 1e-3:  # few rows: an estimate near 0 or below, which has no root
        return
    np.testing.assert_allclose(linear_cka(x, y), direct_cka(x, y), **CLOSE)


@given(**sizes, scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
@settings(max_examples=40, deadline=None)
def test_cka_ignores_rotation_scale_and_shift(seed, n, width, other, scale, shift):
    x, y = related(seed, n, width, other)
    turned = scale * y @ rotation(seed + 1, other) + shift
    np.testing.assert_allclose(linear_cka(x, turned), linear_cka(x, y), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(linear_cka(y, x), linear_cka(x, y), **CLOSE)
    if np.isfinite(linear_cka(y, y)):
        np.testing.assert_allclose(linear_cka(y, turned), 1.0, rtol=1e-7)


def test_cka_of_unrelated_features_is_zero_where_the_plain_estimate_is_far_off():
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((100, 100)), rng.standard_normal((100, 100))) for _ in range(40)]
    found = np.array([linear_cka(x, y) for x, y in draws])
    standard_error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean()) < 4 * standard_error
    assert standard_error < 0.01
    assert np.mean([biased_cka(x, y) for x, y in draws]) > 0.45


def test_chunks_and_kernels_give_the_same_sums(monkeypatch):
    x, y = related(3, 90, 12, 7)
    whole = linear_cka(x, y), pwcca(x, y)
    monkeypatch.setattr(summaries, "CHUNK_ROWS", 17)
    np.testing.assert_allclose((linear_cka(x, y), pwcca(x, y)), whole, **CLOSE)
    # Columns of zeros change neither measure, but make the matrix wider than long: another way to compute it.
    wide = np.concatenate([y, np.zeros((90, 100))], axis=1)
    np.testing.assert_allclose((linear_cka(x, wide), pwcca(x, wide)), whole, **CLOSE)


@given(seed=st.integers(0, 2**16), n=st.integers(60, 120), width=st.integers(1, 20), other=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_pwcca_is_that_of_qr_factorisations(seed, n, width, other):
    x, y = related(seed, n, width, other)
    # From Gram matrices, so half of the digits are left: those of the square root of the rounding.
    np.testing.assert_allclose(pwcca(x, y, variance=1), direct_pwcca(x, y), rtol=1e-6)


@given(seed=st.integers(0, 2**16), n=st.integers(60, 120), width=st.integers(1, 12), other=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_pwcca_ignores_invertible_maps_of_the_other_side(seed, n, width, other):
    x, y = related(seed, n, width, other)
    mixed = y @ (rotation(seed, other) @ np.diag(np.linspace(0.2, 5, other))) - 3
    np.testing.assert_allclose(pwcca(x, mixed, variance=1), pwcca(x, y, variance=1), rtol=1e-6)
    np.testing.assert_allclose(pwcca(y, mixed, variance=1), 1.0, rtol=1e-6)


def test_pwcca_is_weighted_by_the_first_side():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((400, 1))
    x = np.concatenate([10 * shared, rng.standard_normal((400, 2))], axis=1)
    y = np.concatenate([shared, 10 * rng.standard_normal((400, 2))], axis=1)
    assert pwcca(x, y, variance=1) > 0.8  # nearly all of x is what they share
    assert pwcca(y, x, variance=1) < 0.3  # and little of y


def test_pwcca_of_unrelated_features_is_the_stated_chance():
    rng = np.random.default_rng(1)
    for width, other in ((5, 5), (20, 60), (60, 20)):
        pairs = [
            alignment.compare_arrays(
                rng.standard_normal((200, width)), rng.standard_normal((200, other)), ("pwcca",), variance=1.0
            )["pwcca"]
            for _ in range(20)
        ]
        # The stated level is the quadratic mean; the mean is lower, by up to a fifth, where the correlations spread.
        found = np.mean([pair.value for pair in pairs])
        assert 0.8 * pairs[0].chance < found < 1.02 * pairs[0].chance


def test_pwcca_keeps_the_components_of_svcca_and_refuses_to_count():
    rng = np.random.default_rng(2)
    core = rng.standard_normal((50, 3))
    x = core @ rng.standard_normal((3, 40)) + 1e-3 * rng.standard_normal((50, 40))
    y = core @ rng.standard_normal((3, 30)) + 1e-3 * rng.standard_normal((50, 30))
    assert pwcca(x, y) > 0.99  # three components each hold 99 % of the variance
    score = alignment.compare_arrays(x, y, ("pwcca",), variance=1.0)["pwcca"]
    assert np.isnan(score.value)
    assert "40 and 30 components of 50 utterances" in score.reason


def test_what_does_not_vary_has_no_similarity():
    x = np.random.default_rng(0).standard_normal((30, 4))
    scores = alignment.compare_arrays(x, np.ones((30, 2)), tuple(alignment.MEASURES))
    assert set(scores) == set(alignment.MEASURES)
    for score in scores.values():
        assert np.isnan([score.value, score.back]).all()
        assert score.reason == "one side does not vary"
    assert np.isnan(linear_cka(x[:3], x[:3]))


# The table -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def caches(tmp_path):
    """A teacher; a student whose layer 1 is the teacher's layer 2, rotated, on other utterances in another order."""
    write_cache(tmp_path / "teacher.h5", n=100, layers=4, width=8, label="teacher", pending=0)
    write_cache(tmp_path / "student.h5", n=100, layers=2, width=8, label="student", seed=1)
    import h5py

    with h5py.File(tmp_path / "teacher.h5") as one, h5py.File(tmp_path / "student.h5", "r+") as two:
        two["pooled/mean"][1] = 3 * one["pooled/mean"][2] @ rotation(0, 8)
    write_checksums(tmp_path / "student.h5")
    return tmp_path / "teacher.h5", tmp_path / "student.h5"


def test_a_new_measure_is_one_entry(caches, tmp_path, monkeypatch):
    """It is computed, kept, drawn and named by what its entry says."""

    def of_norms(x, y, product):
        value = float(np.corrcoef(x.norms, y.norms)[0, 1])
        return alignment.Score(value, value, 0.0)

    entry = alignment.Measure("norms", "r", "Correlation of norms", "the norms' correlation", "by norms", (), of_norms)
    monkeypatch.setitem(alignment.MEASURES, "norms", entry)
    table = similarity_table(caches[0], measures=["norms"], features=[], out=tmp_path)
    with HiddenStateCache(caches[0]) as cache:
        done = np.flatnonzero(cache.done)
        states = [cache.states("mean", layers=layer, rows=done).astype(float) for layer in range(4)]
    norms = [((values - values.mean(0)) ** 2).sum(1) for values in states]
    np.testing.assert_allclose(table["value"].to_numpy(float), np.corrcoef(norms).ravel(), **CLOSE)
    assert [path.name for path in draw_similarity(table, tmp_path)] == ["similarity_norms_teacher.png"]
    figure = Figure()
    plot_similarity(table, measure="norms", figure=figure)
    assert figure.axes[1].get_ylabel() == "Correlation of norms"
    assert "the norms' correlation" in figure.get_supxlabel().replace("\n", " ")


def test_the_table_holds_every_pair_and_feature(caches):
    table = similarity_table(caches, features=["logmel", "duration"])
    assert tuple(table.columns) == COLUMNS
    layers = {"teacher": 4, "student": 2}
    for measure in alignment.MEASURES:
        for model, depth in layers.items():
            of_model = table[(table["measure"] == measure) & (table["model"] == model)]
            for other, other_depth in layers.items():
                rows = of_model[of_model["other"] == other]
                assert sorted(zip(rows["layer"], rows["other_layer"], strict=True)) == [
                    (i, j) for i in range(depth) for j in range(other_depth)
                ]
            for name in ("logmel", "duration"):
                rows = of_model[of_model["other"] == name]
                assert list(rows["layer"]) == list(range(depth))
                assert rows["other_layer"].isna().all()
    assert (table["n"] == 100).all()
    same = table[(table["model"] == table["other"]) & (table["layer"] == table["other_layer"])]
    np.testing.assert_allclose(same["value"], 1.0, rtol=1e-9)


def test_the_tables_values_are_those_of_the_arrays(caches):
    table = similarity_table(caches, features=["logmel"]).set_index(["measure", "model", "other", "layer"]).sort_index()
    with HiddenStateCache(caches[0]) as one, HiddenStateCache(caches[1]) as two:
        x, y, logmel = one.states("mean"), two.states("mean"), one.baseline("logmel")
    logmel = (logmel - logmel.mean(0)) / logmel.std(0)
    for name, function in (("cka", linear_cka), ("pwcca", pwcca)):
        found = table.loc[(name, "student", "teacher", 1)].set_index("other_layer")["value"]
        wanted = [function(y[1], layer) for layer in x]
        np.testing.assert_allclose(found[[0, 1, 2, 3]], wanted, rtol=1e-6, atol=1e-9)
        assert found.idxmax() == 2
        found = table.loc[(name, "teacher", "logmel")]["value"]
        # The features are float32, and were standardised here in float32, too.
        np.testing.assert_allclose(found, [function(layer, logmel) for layer in x], rtol=1e-4, atol=1e-6)


def test_caches_are_matched_by_id(tmp_path):
    write_cache(tmp_path / "a.h5", n=60, label="a")
    write_cache(tmp_path / "b.h5", n=40, label="b", id=[f"u{i:04d}" for i in reversed(range(20, 60))])
    import h5py

    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5", "r+") as two:
        two["pooled/mean"][:] = one["pooled/mean"][:, 20:60][:, ::-1]
    write_checksums(tmp_path / "b.h5")
    table = similarity_table([tmp_path / "a.h5", tmp_path / "b.h5"], features=(), measures=["cka"])
    between = table[(table["model"] == "a") & (table["other"] == "b")]
    assert (between["n"] == 40).all()
    equal = between[between["layer"] == between["other_layer"]]
    np.testing.assert_allclose(equal["value"], 1.0, rtol=1e-9)


def test_utterances_without_a_feature_are_left_out_of_it_alone(tmp_path, monkeypatch):
    write_cache(tmp_path / "a.h5", n=50)
    words = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    words[::5] = np.nan
    monkeypatch.setattr(HiddenStateCache, "baselines", {"text": {}, "mfcc": {}})
    stored = HiddenStateCache.baseline
    monkeypatch.setattr(
        HiddenStateCache, "baseline", lambda cache, name: words if name == "text" else stored(cache, name)
    )
    table = similarity_table(tmp_path / "a.h5", measures=["cka"])
    assert set(table.loc[table["other"] == "text", "n"]) == {40}
    assert set(table.loc[table["other"] != "text", "n"]) == {50}


@pytest.mark.slow
def test_what_is_there_is_not_made_again(caches, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = similarity_table(caches[0], measures=["cka"], out=out)
    both = similarity_table(caches, out=out)
    pd.testing.assert_frame_equal(load_similarity(out)[list(COLUMNS)].sort_values(list(COLUMNS), ignore_index=True),
                                  both.sort_values(list(COLUMNS), ignore_index=True))  # fmt: skip
    pd.testing.assert_frame_equal(similarity_table(caches[0], measures=["cka"], out=out), first)

    def fail(*given, **more):
        raise AssertionError("computed again")

    with monkeypatch.context() as patched:
        patched.setattr(module, "compare", fail)
        pd.testing.assert_frame_equal(similarity_table(caches, out=out), both)
        with pytest.raises(AssertionError):
            similarity_table(caches, out=out, variance=0.9)
        with pytest.raises(AssertionError):
            similarity_table(caches, out=out, overwrite=True)
    again = similarity_table(caches, out=out, variance=0.9, features=())
    assert len(load_similarity(out)) == len(both)
    assert set(again["made_from"]) <= set(load_similarity(out)["made_from"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"measures": ["rsa"]}, "unknown measure 'rsa'"),
        ({"variance": 0.0}, "--variance 0 must be"),
        ({"statistic": "median"}, "no statistic 'median': did you mean mean"),
        ({"features": ["egemaps"]}, "no baseline 'egemaps'"),
    ],
)
def test_what_cannot_be_compared_is_said(caches, given, message):
    with pytest.raises(UserError, match=message):
        similarity_table(caches[0], **given)


@pytest.mark.slow
def test_caches_that_cannot_be_told_apart_or_hold_other_audio_are_refused(tmp_path, monkeypatch):
    write_cache(tmp_path / "a.h5", n=40, label="a")
    write_cache(tmp_path / "b.h5", n=40, label="a")
    with pytest.raises(UserError, match="are both 'a'"):
        similarity_table([tmp_path / "a.h5", tmp_path / "b.h5"])
    write_cache(tmp_path / "c.h5", n=40, label="c", id=[f"v{i}" for i in range(40)])
    with pytest.raises(UserError, match="share no utterance"):
        similarity_table([tmp_path / "a.h5", tmp_path / "c.h5"], features=())
    write_cache(tmp_path / "d.h5", n=40, label="d")
    lengths = {"a": [16000] * 40, "d": [16000] * 3 + [12345] + [16000] * 36}
    monkeypatch.setattr(HiddenStateCache, "samples", property(lambda cache: np.array(lengths[cache.label])))
    with pytest.raises(UserError, match="u0003 is 16000 samples long"):
        similarity_table([tmp_path / "a.h5", tmp_path / "d.h5"], features=())
    write_cache(tmp_path / "e.h5", n=40, label="e", pending=2)
    with pytest.raises(UserError, match="not complete"):
        similarity_table(tmp_path / "e.h5")


def test_a_damaged_table_is_said(caches, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "similarity.csv").write_text("model,value\nx,1\n")
    with pytest.raises(UserError, match="lacks the columns"):
        similarity_table(caches[0], out=tmp_path / "out")


# Figures and command -------------------------------------------------------------------------------------------------


def test_the_figures_show_the_table(caches):
    from matplotlib.figure import Figure

    table = similarity_table(caches)
    axes = plot_similarity(table, model="student", other="teacher", figure=Figure())
    (mesh,) = [c for c in axes.collections if hasattr(c, "get_coordinates")]
    rows = table[(table["measure"] == "cka") & (table["model"] == "student") & (table["other"] == "teacher")]
    wanted = rows.sort_values(["layer", "other_layer"])["value"].to_numpy().reshape(2, 4)
    np.testing.assert_array_equal(mesh.get_array().reshape(2, 4), wanted)
    assert "1.00" in {text.get_text() for text in axes.texts}
    panels = plot_feature_similarity(table, measure="pwcca", features=["logmel", "mfcc"], figure=Figure())
    assert [ax.get_title(loc="left") for ax in panels] == ["teacher", "student"]
    lines = {line.get_gid(): line.get_ydata() for line in panels[0].lines}
    rows = table[(table["measure"] == "pwcca") & (table["model"] == "teacher") & (table["other"] == "mfcc")]
    np.testing.assert_array_equal(lines["similarity-mfcc"], rows["value"])
    np.testing.assert_array_equal(lines["chance-mfcc"], rows["chance"])
    with pytest.raises(UserError, match="name one of them"):
        plot_similarity(table)


@pytest.mark.slow
def test_a_missing_value_is_a_gap_and_its_reason_in_the_caption(tmp_path):
    from matplotlib.figure import Figure

    write_cache(tmp_path / "a.h5", n=12, width=12)
    table = similarity_table(tmp_path / "a.h5", features=(), variance=1.0)
    assert table.loc[table["measure"] == "pwcca", "value"].isna().all()
    figure = Figure()
    plot_similarity(table, measure="pwcca", figure=figure)
    assert "correlate by counting alone" in figure.get_supxlabel().replace("\n", " ")
    assert draw_similarity(table, tmp_path / "figures")


@pytest.mark.slow
def test_the_command_writes_table_and_figures(caches, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*map(str, caches), "--out", str(out), "--baselines", "mfcc"]) == 0
    written = capsys.readouterr().out.split()
    assert f"{out}/similarity.csv" in written
    assert {path.name for path in out.glob("*.png")} == {
        f"{kind}.png"
        for measure in ("cka", "pwcca")
        for kind in (
            f"similarity_{measure}_teacher",
            f"similarity_{measure}_student",
            f"similarity_{measure}_teacher_student",
            f"features_{measure}",
        )
    }
    assert main([str(tmp_path / "none.h5"), "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no cache")


@pytest.mark.parametrize("name", ["similarity", "relevance"])
def test_help_needs_nothing_heavy(name):
    code = (
        f"import sys\nfrom emoprobe.cli.{name} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        # A module that is to be loaded at its first use stands in the list by its name, but holds nothing yet.
        "loaded = {name for name, module in sys.modules.items() if type(module).__name__ == 'module'}\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'torch', 'h5py', 'matplotlib', 'himalaya'} & loaded\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
