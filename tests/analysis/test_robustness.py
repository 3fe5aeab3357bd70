"""Specifications: each changes what it says and nothing else, and planted verdicts hang on the planted choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoprobe.analysis import RobustnessSettings, ask, plot_robustness, write_report
from emoprobe.analysis.figures.robustness import TOGETHER, each_group_of_claims
from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.analysis.measures.robustness import tallies
from emoprobe.analysis.measures.specifications import (
    CHOICES,
    FACTORS,
    LEFT_OUT,
    Choice,
    Specification,
    factors,
    labels_within,
    of_like_duration,
    specifications,
    standardised_within,
)
from emoprobe.analysis.measures.varied_cache import VariedCache
from emoprobe.errors import UserError
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.probe import fit_layers
from emoprobe.probe.significance import paired_differences
from emoprobe.testing.caches import write_cache, write_checksums

QUICK = RobustnessSettings(dimensions=("arousal", "valence"), seeds=2, resamples=20)


def of(name: str) -> Choice:
    return next(choice for choice in CHOICES if choice.name == name)


# Each choice ---------------------------------------------------------------------------------------------------------


def test_standardised_within_speakers_is_what_scikit_learn_makes_of_each() -> None:
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    values = (5 + 3 * rng.standard_normal((2, 40, 4))).astype(np.float32)
    voices = rng.integers(0, 3, 40)
    values[:, voices == 2, 1] = 4.0
    values[:, 7] = np.nan
    changed = standardised_within(values, voices)
    for layer, other in zip(values, changed, strict=True):
        for voice in range(3):
            rows = np.flatnonzero((voices == voice) & (np.arange(40) != 7))
            np.testing.assert_allclose(other[rows], StandardScaler().fit_transform(layer[rows]), atol=1e-5)
    assert np.isnan(changed[:, 7]).all()
    assert (standardised_within(values[:, :1], np.array([3])) == 0).all()


def test_the_middle_half_of_the_durations_stays() -> None:
    table = pd.DataFrame({"seconds": np.arange(1.0, 102.0), "status": ["done"] * 101})
    table.loc[50, "status"] = "decoding"
    status = of_like_duration(table)["status"]
    stays = status == "done"
    assert stays.sum() == 50
    assert table["seconds"][stays].between(26, 76).all()
    assert status[50] == "decoding"
    assert (status == LEFT_OUT).sum() == 50


def test_labels_within_speakers_keep_what_differs_within_them() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.standard_normal(30) for name in ("arousal", "valence", "dominance")})
    table["speaker"], table["status"] = ["a", "b", ""] * 10, "done"
    table["valence"] += table["speaker"].map({"a": 2.0, "b": -1.0, "": 0.0})
    changed = labels_within(table)
    for speaker in "ab":
        rows = table["speaker"] == speaker
        assert changed.loc[rows, "valence"].mean() == pytest.approx(table["valence"].mean())
        np.testing.assert_allclose(
            changed.loc[rows, "valence"] - changed.loc[rows, "valence"].mean(),
            table.loc[rows, "valence"] - table.loc[rows, "valence"].mean(),
        )
    unknown = table["speaker"] == ""
    pd.testing.assert_series_equal(changed.loc[unknown, "valence"], table.loc[unknown, "valence"])


def test_a_varied_cache_changes_what_is_asked_and_not_the_file(tmp_path: Path) -> None:
    write_cache(tmp_path / "c.h5", n=48, speakers=6)
    before = (tmp_path / "c.h5").read_bytes()
    specification = Specification((of("standardised within speakers"), of("all")))
    with HiddenStateCache(tmp_path / "c.h5") as plain, VariedCache(tmp_path / "c.h5", specification) as varied:
        voices = np.arange(48) % 6
        whole = standardised_within(plain.states("mean"), voices)
        rows = np.array([3, 9, 21])
        np.testing.assert_array_equal(varied.states("mean", layers=2, rows=rows), whole[2][rows])
        np.testing.assert_array_equal(varied.states("mean", layers=1, rows=slice(5, 9)), whole[1, 5:9])
        np.testing.assert_array_equal(varied.states("mean"), whole)
        mfcc = standardised_within(plain.baseline("mfcc"), voices)
        np.testing.assert_array_equal(varied.baseline("mfcc"), mfcc)
        pd.testing.assert_frame_equal(varied.utterances, plain.utterances)
    assert (tmp_path / "c.h5").read_bytes() == before


def test_specifications_are_one_at_a_time_or_crossed() -> None:
    some = [*CHOICES, Choice("folds", "seed 0", ""), Choice("folds", "seed 1", ""), Choice("folds", "seed 2", "")]
    alone = list(specifications(some, crossed=False))
    crossed = list(specifications(some, crossed=True))
    assert len(alone) == 1 + 1 + 1 + 1 + 2
    assert len(crossed) == 2 * 2 * 2 * 3
    assert alone[0] == crossed[0]
    assert all(one in crossed for one in alone)
    default = {factor: choices[0].name for factor, choices in factors(some).items()}
    for one in alone[1:]:
        assert sum(one.name_of(factor) != name for factor, name in default.items()) == 1


# What is asked of them -----------------------------------------------------------------------------------------------


def labels_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in DIMENSIONS}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Path:
    """A planted model and two twins that know nothing."""
    folder = tmp_path_factory.mktemp("robustness")
    size = {"n": 120, "layers": 2, "width": 6, "speakers": 12}
    labels = labels_of(write_cache(folder / "planted.h5", **size))
    for seed in (1, 2):
        write_cache(folder / f"twin{seed}.h5", **size, seed=seed, label=f"planted (random {seed})", **labels)
    ask("robustness", [folder / f"{name}.h5" for name in NAMES], QUICK, results=folder / "results")
    return folder


NAMES = ("planted", "twin1", "twin2")


def answer_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results" / "robustness.parquet")


@pytest.mark.slow
def test_each_claim_stands_once_under_each_specification(asked: Path) -> None:
    answer = answer_of(asked)
    claims = {("slope", "arousal"), ("slope", "valence"), ("depth", "")}
    claims |= {(name, dimension) for name in ("twin", "acoustics") for dimension in ("arousal", "valence")}
    keys = ["claim", "dimension", *FACTORS]
    assert not answer.duplicated(keys).any()
    assert set(answer[["claim", "dimension"]].fillna("").itertuples(index=False, name=None)) == claims
    # By default, states, utterances, labels, features, one more seed, one more twin.
    assert len(answer) == len(claims) * 7
    assert set(answer["model"]) == {"planted"}
    assert dict(answer["twin"].value_counts()) == {
        "planted (random 1)": 6 * len(claims),
        "planted (random 2)": len(claims),
    }


@pytest.mark.slow
def test_the_specification_by_default_is_the_fit_that_everybody_makes(asked: Path) -> None:
    """The numbers of `fit_layers` and `paired_differences`, asked by themselves."""
    row = answer_of(asked).query("claim == 'twin' and dimension == 'valence'").iloc[0]
    fit = {"dimensions": ("arousal", "valence"), "permutations": 0, "mdl": False, "resamples": 20}
    results = fit_layers(asked / "planted.h5", **fit).updated(fit_layers(asked / "twin1.h5", **fit))
    best = results.best_layers().query("probe == 'ridge' and dimension == 'valence'").set_index("model")["layer"]
    one, other = ({"model": name, "layer": int(best[name])} for name in ("planted", "planted (random 1)"))
    (expected,) = paired_differences(
        results, one | {"dimension": "valence"}, other | {"dimension": "valence"}, smallest=0.05
    ).to_dict("records")
    for column, name in (("estimate", "difference"), ("low", "low"), ("high", "high"), ("p", "p"), ("n", "n")):
        assert row[column] == pytest.approx(expected[name])
    assert row["verdict"] == "supported"
    assert row["layer"] == 1


@pytest.mark.slow
def test_what_is_planted_is_found_under_every_specification(asked: Path) -> None:
    answer = answer_of(asked)
    of_twins = answer[answer["claim"] == "twin"]
    assert set(of_twins.loc[of_twins["utterances"] == "all", "verdict"]) == {"supported"}
    counted = tallies(answer).query("claim == 'twin' and dimension == 'arousal'")
    assert counted["count"].sum() == 7
    assert set(counted["default"]) == {"supported"}
    (said,) = INQUIRIES["robustness"].told(answer)
    assert "planted on handmade, of 7 specifications" in said


@pytest.mark.slow
def test_a_verdict_that_hangs_on_one_choice_is_told_so(tmp_path: Path) -> None:
    """States that are mostly the voice: what is planted shows where the voice is taken off, and not where it is not."""
    size = {"n": 192, "layers": 2, "width": 12, "speakers": 24}
    labels = labels_of(write_cache(tmp_path / "planted.h5", **size, planted=dict.fromkeys(DIMENSIONS, 0)))
    write_cache(tmp_path / "twin.h5", **size, seed=1, label="planted (random 1)", **labels)
    rng = np.random.default_rng(0)
    for name in ("planted", "twin"):
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            states = file["pooled/mean"]
            states[:] = states[:] + 40 * rng.standard_normal((2, 24, 12))[:, np.arange(192) % 24]
        write_checksums(tmp_path / f"{name}.h5")
    settings = replace(QUICK, dimensions=("valence",), features=("mean",), seeds=1)
    answer = ask("robustness", [tmp_path / "planted.h5", tmp_path / "twin.h5"], settings, results=tmp_path / "results")
    verdicts = answer[answer["claim"] == "twin"].set_index("states")["verdict"]
    assert verdicts["standardised within speakers"] == "supported"
    assert "supported" not in set(verdicts["as they are"])
    (said,) = INQUIRIES["robustness"].told(answer)
    assert "Not the same: twin of valence " in said
    assert "supported under 1" in said


@pytest.mark.slow
def test_what_cannot_be_fitted_is_not_tested_and_says_why(asked: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(arousal=4.0, valence=4.0)

    monkeypatch.setattr(
        "emoprobe.analysis.measures.robustness.CHOICES", (*CHOICES, Choice("labels", "none", "", table=refuse))
    )
    answer = ask("robustness", [asked / "planted.h5"], replace(QUICK, seeds=1, features=("mean",)), results=tmp_path)
    rows = answer[answer["labels"] == "none"]
    assert len(rows) == 5
    assert set(rows["verdict"]) == {"not tested"}
    assert rows["reason"].str.contains("arousal is 4 in all 120 labelled utterances").all()
    figure = Figure()
    plot_robustness(answer, claims="acoustics", figure=figure)
    assert "Not tested, and not drawn: 2." in figure.get_supxlabel().replace("\n", " ")


@pytest.mark.slow
def test_random_weights_alone_claim_nothing(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="every cache is of random weights"):
        ask("robustness", [asked / "twin1.h5"], QUICK, results=tmp_path)
    with pytest.raises(UserError, match="none of --features"):
        ask("robustness", [asked / "planted.h5"], replace(QUICK, features=("max",)), results=tmp_path)


# Figure and report ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_figure_sorts_and_marks_each_specification(asked: Path) -> None:
    answer = answer_of(asked)
    wanted = list(each_group_of_claims(answer))
    assert [one.parts for one in wanted] == [("planted", name) for name in TOGETHER]
    for one in wanted:
        axes = plot_robustness(answer, figure=Figure(), **one.options)
        panels = len(axes) // 2
        for above, below in zip(axes[:panels], axes[panels:], strict=True):
            drawn = {}
            for line in above.lines:
                if line.get_gid() not in (None, "default"):
                    drawn |= dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
            estimates = [drawn[place] for place in sorted(drawn)]
            assert len(estimates) == 7
            assert estimates == sorted(estimates)
            assert len([line for line in above.lines if line.get_gid() == "default"]) == 1
            # Each specification has one choice of each of the six factors.
            marked = [x for line in below.lines if line.get_marker() == "o" for x in line.get_xdata()]
            assert sorted(marked) == sorted([place for place in range(7) for _ in range(6)])


@pytest.mark.slow
def test_the_report_shows_it_where_it_was_asked(asked: Path, tmp_path: Path) -> None:
    fit_layers(
        asked / "planted.h5", out=asked / "results", dimensions=("arousal", "valence"), permutations=0, mdl=False
    )
    page = write_report(asked / "results", caches=[asked / "planted.h5"], out=tmp_path / "report", quick=True)[1]
    text = page.read_text("utf-8")
    assert "Robustness" in text
    assert "Claims on planted on handmade under 7 specifications" in text
    assert "labels, within speakers: each speaker's mean rating replaced by the mean of all" in text
    assert "Simonsohn" in text
