"""Ridge probes on a device, forced by torch's own CPU: the numbers of numpy and LAPACK, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe import parallel
from emoprobe.errors import UserError
from emoprobe.extract import devices
from emoprobe.extract.cluster import EngineSettings
from emoprobe.probe import device_check, equations, on_device, permutation
from emoprobe.probe.arrays import HOST
from emoprobe.probe.deletion import Deletions, moments_without
from emoprobe.probe.device_check import ALLOWED, checked_device, differences
from emoprobe.probe.fit import fit_caches
from emoprobe.probe.mdl import online_code
from emoprobe.probe.on_device import Device, brought
from emoprobe.probe.permutation import exchangeable, permuted_scores
from emoprobe.probe.ridge import solve
from emoprobe.probe.ridge_equations import accumulate
from emoprobe.probe.settings import FitSettings
from emoprobe.probe.splits import Fold, cross_validation, group_folds
from emoprobe.probe.spreading import ridge_device
from emoprobe.testing.caches import write_cache

CPU = torch.device("cpu")
PENALTIES = (0.5, 5.0, 50.0)
TOLERANCE = 1e-8


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    on_device.forget()


def problem(width=20, each=8, speakers=12):
    """Features, of which one is constant; three targets, the last of which lacks labels; speakers."""
    rng = np.random.default_rng([width, each])
    speaker = np.arange(each * speakers) % speakers
    x = rng.standard_normal((len(speaker), width)) * np.linspace(0.5, 3, width)
    x += rng.standard_normal((speakers, 1))[speaker]
    y = x[:, :3] + rng.standard_normal((len(speaker), 3)) + 4
    x[:, 3] = 2.5
    y[::7, 2] = np.nan
    return x.astype("f4"), y, speaker


def folds_of(design, speaker):
    if design == "cross-validation":
        return cross_validation(np.arange(len(speaker)), speaker, 3)
    train, test = np.flatnonzero(speaker % 4 > 0), np.flatnonzero(speaker % 4 == 0)
    inner = group_folds(speaker[train], 3)
    return (Fold("all", train, tuple((train[inner != k], train[inner == k]) for k in range(3)), {"test": test}),)


def on_both(x, y, folds, chunk_rows=25):
    """The equations of the reference, and those on a device."""

    def read(rows):
        return x[rows]

    reference = accumulate(read, y, folds, chunk_rows=chunk_rows)
    there = accumulate(brought(read, folds, CPU), y, folds, chunk_rows=chunk_rows)
    assert reference.arrays is HOST
    assert isinstance(there.arrays, Device)
    return reference, there


def assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def assert_same_solution(found, wanted):
    np.testing.assert_array_equal(found.penalties, wanted.penalties)
    for name in ("predictions", "inner_scores", "coef", "intercept", "gains"):
        assert_close(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("chunk_rows", [17, 1000])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("design", ["official", "cross-validation"])
def test_solutions_are_those_of_the_cpu(design, rescale, chunk_rows):
    x, y, speaker = problem()
    equations = on_both(x, y, folds_of(design, speaker), chunk_rows)
    wanted, found = (solve(each, rescale=rescale) for each in equations)
    assert_same_solution(found, wanted)
    assert (found.coef[:, :, 3] == 0).all()  # a constant feature says nothing


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(24, 60),
    width=st.integers(1, 9),
    missing=st.floats(0, 0.4),
    chunk_rows=st.integers(1, 70),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_any_small_problem_has_the_solution_of_the_cpu(n, width, missing, chunk_rows, scale, seed):
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((n, width)) + rng.normal(0, 3 * scale, width)
    y = rng.standard_normal((n, 2)) + x[:, :1] / scale
    y[rng.random(y.shape) < missing] = np.nan
    y[:12] = rng.standard_normal((12, 2))  # of every speaker there is something
    speaker = np.arange(n) % 6
    folds = cross_validation(np.arange(n), speaker, 3)
    wanted, found = (solve(each, penalties=[1.0]) for each in on_both(x, y, folds, chunk_rows))
    assert_close(found.predictions, wanted.predictions)
    assert_close(found.inner_scores, wanted.inner_scores)


# Fewer rows of a speaker than features, more of them, and many of both.
@pytest.mark.parametrize(
    ("width", "each", "many"), [(20, 8, 512), (5, 8, 512), pytest.param(20, 8, 1, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("design", ["official", "cross-validation"])
def test_deletions_are_those_of_the_cpu(design, rescale, width, each, many, monkeypatch):
    monkeypatch.setattr(equations, "MANY", many)
    x, y, speaker = problem(width, each)
    folds = folds_of(design, speaker)
    deletions = Deletions.of(folds, [f"s{number}" for number in speaker], y)
    wanted, found = (
        moments_without(each, solve(each, penalties=PENALTIES, rescale=rescale), y, deletions)
        for each in on_both(x, y, folds)
    )
    assert set(found) == set(wanted)
    for name, sums in wanted.items():
        assert isinstance(found[name], np.ndarray)
        assert_close(found[name], sums)


def test_without_the_one_speaker_nothing_is_left_on_a_device_either():
    x, y, speaker = problem(5, 8, speakers=4)
    folds = folds_of("official", speaker)
    alone = np.where(np.isin(np.arange(len(y)), folds[0].train), "one", speaker.astype(str)).tolist()
    _, there = on_both(x, y, folds)
    (sums,) = moments_without(there, solve(there), y, Deletions.of(folds, alone, y)).values()
    assert np.isnan(sums[0, :, 2]).all()


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("design", ["official", "cross-validation"])
def test_permutations_are_those_of_the_cpu(design, within, single, rescale, monkeypatch):
    if single:
        monkeypatch.setattr(permutation, "MANY", 1)
    x, y, speaker = problem()
    folds = folds_of(design, speaker)
    sets = exchangeable(folds, speaker, within_speakers=within)
    wanted, found = (
        permuted_scores(each, y, solve(each, penalties=PENALTIES), sets, count=30, rescale=rescale)
        for each in on_both(x, y, folds)
    )
    for name, null in wanted.items():
        # In single precision as far from each other as each is from double: see test_permutation.
        np.testing.assert_allclose(found[name], null, rtol=0, atol=1e-4 * null.std() if single else TOLERANCE)
        assert single is not np.allclose(found[name], null, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_permutations_are_drawn_once_for_all_layers_and_in_any_pieces(monkeypatch):
    x, y, speaker = problem()
    folds = folds_of("official", speaker)
    sets, drawn = exchangeable(folds, speaker), []
    permutations = permutation.permutations

    def counted(*args, **options):
        drawn.append(options["chunk"])
        return permutations(*args, **options)

    monkeypatch.setattr(permutation, "permutations", counted)
    _, there = on_both(x, y, folds)
    solved = solve(there)
    (at_once,) = permuted_scores(there, y, solved, sets, count=7).values()
    assert len(drawn) == 2  # targets that lack no label, and the one that does
    monkeypatch.setattr(permutation, "MEMORY", 1)
    (one_by_one,) = permuted_scores(there, y, solved, sets, count=7).values()
    assert_close(one_by_one, at_once)
    assert len(drawn) == 2
    monkeypatch.setattr(on_device, "KEPT", 7 * 4 * len(y))  # room for one of the two: the older one goes
    permuted_scores(there, y, solved, sets, count=7, seed=1)
    assert len(drawn) == 4
    assert len(on_device._kept) == 1
    on_device.forget()
    monkeypatch.setattr(on_device, "KEPT", 0)
    (not_kept,) = permuted_scores(there, y, solved, sets, count=7).values()
    assert_close(not_kept, at_once)
    assert not on_device._kept


def test_description_lengths_are_those_of_the_cpu():
    x, y, speaker = problem(each=20)
    rows = np.flatnonzero(speaker != 3)
    folds = [Fold("all", rows, (), {})]
    codes = [
        online_code(read, y, rows, speaker)
        for read in (lambda some: x[some], brought(lambda some: x[some], folds, CPU))
    ]
    assert_close(codes[1].bits, codes[0].bits)
    assert np.isfinite(codes[0].bits).all()


def test_fewer_rows_than_features_stay_on_the_cpu():
    x, y, speaker = problem(width=150)
    folds = folds_of("official", speaker)
    there = accumulate(brought(lambda rows: x[rows], folds, CPU), y, folds)
    assert there.arrays is HOST
    here = accumulate(lambda rows: x[rows], y, folds)
    np.testing.assert_array_equal(solve(there).predictions, solve(here).predictions)


@pytest.mark.parametrize("free", [float("inf"), 0.0])
def test_a_layer_is_read_once_where_it_fits(free, monkeypatch):
    monkeypatch.setattr(on_device, "free_memory", lambda device: free)
    monkeypatch.setattr(on_device, "_ROWS_SENT", 10)
    x, y, speaker = problem()
    folds, asked = folds_of("official", speaker), []

    def read(rows):
        asked.append(rows)
        return x[rows]

    there = accumulate(brought(read, folds, CPU), y, folds, chunk_rows=40)
    found = solve(there)
    assert_same_solution(found, solve(accumulate(lambda rows: x[rows], y, folds, chunk_rows=40)))
    permuted_scores(there, y, found, exchangeable(folds, speaker), count=2)
    counts = np.bincount(np.concatenate(asked[1:]))  # the first asks how wide a row is
    assert (counts == 1).all() if free else counts.max() > 1


def test_a_feature_that_is_no_number_is_named_on_a_device_too():
    x, y, speaker = problem()
    x[45, 2] = np.inf
    folds = folds_of("cross-validation", speaker)
    with pytest.raises(UserError, match="feature 2 of utterance 45 is not a finite number"):
        accumulate(brought(lambda rows: x[rows], folds, CPU), y, folds, chunk_rows=20)


def test_a_penalty_that_is_too_small_is_refused_on_a_device_too():
    x, y, speaker = problem()
    x[:, 5:] = x[:, 4:5]
    _, there = on_both(x, y, folds_of("official", speaker))
    with pytest.raises(UserError, match=r"penalty 1e-15 is too small"):
        solve(there, penalties=[1e-15])


# The device -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretended(monkeypatch):
    """torch's CPU answers where a GPU is asked for."""
    for module in (devices, device_check):
        monkeypatch.setattr(module, "choose_device", lambda name: CPU)
    monkeypatch.setattr(device_check, "MANY", 40)
    monkeypatch.setattr(equations, "MANY", 40)
    checked_device.cache_clear()
    yield
    checked_device.cache_clear()


def test_a_sound_device_passes(pretended):
    assert checked_device("cuda") is CPU
    assert all(difference <= ALLOWED[what] for what, difference in differences(CPU).items())


@pytest.mark.parametrize(
    ("method", "what"), [("solve_penalties", "predictions"), ("eye", "deletions"), ("dots", "permutations")]
)
def test_a_device_that_computes_something_else_is_refused(method, what, pretended, monkeypatch):
    sound = getattr(Device, method)
    monkeypatch.setattr(Device, method, lambda *given, **options: sound(*given, **options) * 1.001)
    with pytest.raises(UserError, match=rf"not those of the CPU: {what} of .* differ by .*--device cpu"):
        checked_device("cuda")


def test_products_in_less_than_single_precision_are_refused(pretended, monkeypatch):
    def ten_bits(values: torch.Tensor) -> torch.Tensor:
        """What is left of single precision in TF32: 10 bits behind the first, rounded to the nearest."""
        bits = values.contiguous().view(torch.int32)
        return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)

    monkeypatch.setattr(device_check, "product", lambda a, b: ten_bits(a) @ ten_bits(b))
    with pytest.raises(UserError, match="not those of the CPU: products in single precision"):
        checked_device("cuda")


def fitted(path, say=lambda line: None, **options):
    asked = FitSettings.of(
        dimensions=("arousal", "valence"), resamples=50, permutations=20, device=options.pop("device")
    )
    return fit_caches([path], asked, say=say, **options)


@pytest.mark.slow
def test_a_fit_on_a_device_has_the_scores_of_the_cpu(pretended, tmp_path, monkeypatch):
    write_cache(tmp_path / "states.h5", layers=2, width=6, n=90, speakers=9)
    here = fitted(tmp_path / "states.h5", device="cpu", out=tmp_path / "out", workers=1)
    brought_there, told = [], []

    def watched(*given):
        assert torch.is_inference_mode_enabled()
        brought_there.append(given)
        return brought(*given)

    monkeypatch.setattr(on_device, "brought", watched)
    monkeypatch.setattr(parallel, "WORTH", 0.0)  # another process would not find the pretended device
    there = fitted(tmp_path / "states.h5", told.append, device="cuda", workers=2)
    layers = len(here.scores["layer"].unique())
    assert len(brought_there) >= layers - 1  # those of the cache, and baselines but the mean
    assert told == ["layers of ridge probes are fitted one after the other on cuda, whatever --workers is"]
    assert not on_device._kept
    # Durations are all alike here: what they score is what their null is, but for rounding.
    scores = [results.scores[results.scores["probe"] != "duration"] for results in (there, here)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-7, atol=1e-9)
    assert [run["hash"] for run in there.protocol] == [run["hash"] for run in here.protocol]
    brought_there.clear()
    kept = fitted(tmp_path / "states.h5", told.append, device="cuda", out=tmp_path / "out")
    assert not brought_there
    assert told[-1].startswith("not fitted again")
    pd.testing.assert_frame_equal(kept.scores, here.scores)


def test_where_ridge_probes_run_is_said(monkeypatch):
    assert [FitSettings(device=name).ridge_device for name in ("auto", "cpu", "mps", "cuda", "cuda:1")] == [
        "cpu", "cpu", "cpu", "cuda", "cuda:1"
    ]  # fmt: skip
    told = []
    if not torch.backends.mps.is_available():
        with pytest.raises(UserError, match=r"--device mps is not usable here \(this machine has no MPS\)"):
            ridge_device(FitSettings(device="mps"), EngineSettings(), workers=2, say=told.append).__enter__()
        monkeypatch.setattr("emoprobe.extract.devices.choose_device", lambda name: torch.device("cpu"))
    for name in ("auto", "cpu", "mps"):
        with ridge_device(FitSettings(device=name), EngineSettings(), workers=2, say=told.append):
            pass
    assert told == ["ridge probes stay on the CPU: --device mps has no double precision"]


def test_a_cluster_is_refused_beside_a_device(pretended, tmp_path):
    with pytest.raises(UserError, match=r"--device cuda fits ridge probes on this machine.*leave one of them out"):
        fitted(tmp_path / "none.h5", device="cuda", engine=EngineSettings(engine="ray"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r"--device cuda is not usable here .*; try --device auto"):
        fitted(tmp_path / "none.h5", device="cuda")
