"""One rule for which part is reported and which layer is best, asked by every table, figure and claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoprobe.analysis import compare_systems, fairness_table, plot_comparison, plot_fairness, plot_heatmap
from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.computed import compute
from emoprobe.analysis.report.content import Table
from emoprobe.analysis.report.material import Material
from emoprobe.analysis.report.sections.curves import curves_section
from emoprobe.analysis.report.sections.limits import limits_section
from emoprobe.analysis.report.sections.systems import systems_section
from emoprobe.analysis.report.study import Model, Study
from emoprobe.cli.fit import summary
from emoprobe.probe import ccc
from emoprobe.probe.results import PREDICTIONS, SCORES, WEIGHTS, Results, table
from emoprobe.probe.selecting import Choice, choose, chosen_in_words, held_out, is_pooled, reported_split
from emoprobe.probe.significance import layers_compared

RUN = {"model": "m", "corpus": "c", "dimension": "valence", "probe": "ridge", "features": "mean"}
GENDERS = pd.DataFrame({"id": [f"u{k}" for k in range(240)], "gender": ["female", "male"] * 120})


def probed(development: dict[int, float]) -> Results:
    """Three layers, the first of which is best on the test part, with the given scores of the development part."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(240)
    scores, predictions = [], []
    for layer, noise in enumerate((0.3, 0.6, 0.9)):
        predicted = truth + noise * rng.standard_normal(240)
        value = float(ccc(truth, predicted))
        about = {"split": "test", "fold": "all", "layer": layer}
        scores.append(RUN | about | {"n": 240, "speakers": 12, "ccc": value, "ccc_low": value - 0.1,
                                     "ccc_high": value + 0.1, "pearson": value, "rmse": noise})  # fmt: skip
        predictions += [
            RUN | about | {"id": f"u{k}", "speaker": f"s{k % 12}", "truth": truth[k], "prediction": predicted[k]}
            for k in range(240)
        ]
    of_development = {"split": "development", "fold": "all", "n": 60, "speakers": 3}
    baseline = {"probe": "mfcc", "features": "mfcc", "layer": -1}
    scores.append(RUN | scores[0] | baseline | {"ccc": 0.1})
    predictions += [row | baseline | {"prediction": rng.standard_normal()} for row in predictions[:240]]
    scores += [RUN | of_development | {"layer": layer, "ccc": value} for layer, value in development.items()]
    protocol = [RUN | {"split": {"kind": "official", "counts": {}, "notes": [], "leakage": []}}]
    return Results(table(scores, SCORES), table([], WEIGHTS), protocol, table(predictions, PREDICTIONS))


def material_of(results: Results) -> Material:
    study = Study(results, (Model("m", "c", {"name": "m"}, "c.h5"),), (Path("results"),))
    return Material(study, claims(study), compute(replace(study, quick=True), Path()))


def answers(results: Results) -> dict[str, int]:
    """The best layer by each place that names one."""
    best = results.best_layers()
    (compared,) = compare_systems(results).query("kind == 'layer'").to_dict("records")
    (against,) = set(layers_compared(results, probe="ridge", resamples=20)["other"])
    tables = [block for block in curves_section(material_of(results)) if hasattr(block, "rows")]
    (axes,) = plot_heatmap(results, figure=Figure())
    return {
        "best_layers": int(best.loc[(best["split"] == "test") & (best["layer"] >= 0), "layer"].item()),
        "compare_systems": compared["layer"],
        "fairness_table": int(fairness_table(results, GENDERS, resamples=20)["layer"].iloc[0]),
        "layers_compared": int(against.removeprefix("layer ")),
        "report": int(tables[0].rows[0][2].split()[0]),
        "heatmap": round(axes.patches[0].get_y() + 0.5),
    }


def words(results: Results) -> dict[str, str]:
    """What each place says of the choice."""
    figures = {"heatmap": Figure(), "comparison": Figure(), "fairness": Figure()}
    plot_heatmap(results, figure=figures["heatmap"])
    plot_comparison(results, figure=figures["comparison"])
    plot_fairness(fairness_table(results, GENDERS, resamples=20), figure=figures["fairness"])
    material = material_of(results)
    return {name: figure.get_supxlabel().replace("\n", " ") for name, figure in figures.items()} | {
        "summary": summary(results),
        "curves": " ".join(block.caption for block in curves_section(material) if isinstance(block, Table)),
        "systems": " ".join(block.caption for block in systems_section(material) if isinstance(block, Table)),
        "limits": " ".join(line for block in limits_section(material) for line in block.entries),
        "claims": " ".join(claim.how for claim in material.claims),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("development", "layer"),
    [
        ({0: 0.1, 1: 0.2, 2: 0.9}, 2),
        ({1: 0.2, 2: 0.9}, 0),  # a choice among some layers alone is none
        ({}, 0),
    ],
)
def test_all_name_the_same_layer(development, layer):
    assert set(answers(probed(development)).values()) == {layer}


@pytest.mark.slow
def test_both_layers_stand_where_development_and_scored_rows_disagree():
    results = probed({0: 0.1, 1: 0.2, 2: 0.9})
    best = results.best_layers().query("layer >= 0").set_index("split").loc["test"]
    highest = results.select(split="test", layer=0)["ccc"].item()
    assert (best["chosen_on"], best["highest_layer"], best["highest"]) == ("development", 0, highest)
    (compared,) = compare_systems(results).query("kind == 'layer'").to_dict("records")
    assert (compared["chosen_on"], compared["highest_layer"], compared["highest"]) == ("development", 0, highest)
    said = words(results)
    assert "Framed: highest of each column, chosen on development. Dashed" in said["heatmap"]
    assert "Numbers on the right: the layer, chosen on development. In brackets" in said["comparison"]
    assert "valence 2 (best on these rows, with hindsight: 0); chosen on development" in said["fairness"]
    assert f"highest here, with hindsight: layer 0, {highest:.3f}" in said["summary"]
    assert "Best layers on test are chosen on development." in said["summary"]
    assert "Best layer of each model on c, test, chosen on development." in said["curves"]
    assert "would choose another layer than development" in said["curves"]
    assert "Layers chosen on development." in said["systems"]
    (table,) = [block for block in systems_section(material_of(results)) if isinstance(block, Table)]
    assert ("m", "best layer, with hindsight", "–", f"{highest:.3f} (layer 0)") in table.rows
    assert "Development and scored rows disagree" in said["limits"]
    assert "the best of many" not in said["limits"]
    assert f"Chosen on development. On the scored rows layer 0 of m is best ({highest:.3f}), with h" in said["claims"]


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "beside a ridge"])
def test_a_probe_with_seeds_is_at_the_best_layer_of_their_mean(beside):
    results = probed({0: 0.1, 1: 0.2, 2: 0.9})
    ridge = results.scores[results.scores["layer"] >= 0]
    first = ridge.assign(probe="mlp", seed=0)
    second = first.assign(seed=1, ccc=first["ccc"] - 0.2)
    lucky = (first["split"] == "development") & (first["layer"] == 1)
    first.loc[lucky, "ccc"], second.loc[lucky, "ccc"] = 0.99, 0.0
    scores = pd.concat([ridge] * beside + [first, second], ignore_index=True)
    best = replace(results, scores=scores).best_layers().query("probe == 'mlp' and split == 'test'").iloc[0]
    mean = ridge[ridge["split"] == "test"].set_index("layer")["ccc"] - 0.1
    assert (best["layer"], best["chosen_on"], best["highest_layer"]) == (2, "development", 0)
    assert (best["ccc"], best["highest"]) == pytest.approx((mean[2], mean[0]))


def test_the_mean_of_seeds_is_a_row_of_scores_whole():
    results = probed({})
    one = results.scores[results.scores["layer"] == 1].assign(
        probe="mlp", seed=0, text_source="whisper", reason="one speaker: no interval", penalty=0.3, depth=0.1, n=10
    )
    third = one.assign(seed=2, ccc=0.3)
    several = table(pd.concat([one.assign(ccc=0.1), one.assign(seed=1, ccc=0.2), third]), SCORES)
    (best,) = replace(results, scores=several).best_layers().to_dict("records")
    assert best["ccc"] == pytest.approx(0.2)
    first = several.iloc[0]
    for name in ("text_source", "reason", "penalty", "depth", "n", "speakers", "fold", "unit", "rmse"):
        assert best[name] == first[name] or pd.isna(first[name]), name
    assert pd.isna(best["seed"])
    frame = replace(results, scores=several).best_layers()
    assert list(frame.columns[: len(several.columns)]) == list(several.columns)
    assert {name: str(kind) for name, kind in frame.dtypes.items() if name in SCORES} == {
        name: str(kind) for name, kind in several.dtypes.items()
    }


def test_where_nothing_has_a_score_nothing_is_chosen():
    choice = choose(pd.Series({0: np.nan, 1: np.nan}), pd.Series(dtype=float), "test", "ccc")
    assert (choice.best, choice.chosen_on, choice.hindsight) == (None, "", False)
    results = probed({})
    scores = results.scores.assign(ccc=np.nan, reason="the labels that are scored are constant")
    best = replace(results, scores=scores).best_layers().query("probe == 'ridge'").iloc[0]
    assert (best["reason"], best["chosen_on"]) == ("the labels that are scored are constant", "")
    assert pd.isna(best["highest_layer"])


@pytest.mark.slow
def test_hindsight_is_called_so_wherever_the_score_stands():
    assert "would choose another" not in words(probed({}))["curves"]
    for name, text in words(probed({})).items():
        assert "hindsight" in text, name
        assert "chosen on development" not in text, name


def test_of_both_kinds_of_choice_both_are_told():
    assert chosen_in_words([("development", "test"), ("test", "test")]) == (
        "development; where that does not score each layer, on the same rows, with hindsight"
    )
    assert chosen_in_words([("development", "development")]) == "the same rows, with hindsight"
    assert chosen_in_words([("", "test")]) == ""


def test_errors_are_best_where_they_are_lowest():
    choice = choose(pd.Series([0.3, 0.2, np.nan]), pd.Series([0.1, 0.4, 0.0]), "test", "rmse")
    assert choice == Choice(0, "development", 1, 0.2, "test")


def test_nothing_is_chosen_where_nothing_has_a_score():
    assert choose(pd.Series([np.nan]), pd.Series([0.5]), "test", "ccc").best is None


@pytest.mark.parametrize(
    ("splits", "reported"),
    [
        (["development", "test2", "test1", "test"], "test"),
        (["development", "test2"], "test2"),
        (["development", "cross-validation"], "cross-validation"),
        (["train", "development"], "development"),
        (["other", "test1"], "test1"),
        ([], ""),
    ],
)
def test_the_part_that_is_reported(splits, reported):
    assert reported_split(splits) == reported


def test_no_part_that_choices_were_made_on_is_drawn_beside_a_held_out_one():
    assert held_out(["development", "test2", "test1"]) == ["test1", "test2"]
    assert held_out(["train", "development"]) == ["development", "train"]


def test_a_pooled_score_is_of_no_fold() -> None:
    """Also where a table names no fold."""
    table = pd.DataFrame({"fold": ["1", "all", "", "Session1"]})
    assert is_pooled(table).tolist() == [False, True, True, False]
