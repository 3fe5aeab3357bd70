"""One rule for which part is reported and which layer is best, asked by every table, figure and claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoprobe.analysis import compare_systems, fairness_table, plot_heatmap
from emoprobe.analysis.report.sections.curves import curves_section
from emoprobe.analysis.report.study import Model, Study
from emoprobe.analysis.tables import ordered_splits, read_tables
from emoprobe.probe import ccc
from emoprobe.probe.results import PREDICTIONS, SCORES, WEIGHTS, Results, table
from emoprobe.probe.selecting import first_split
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
    scores += [RUN | of_development | {"layer": layer, "ccc": value} for layer, value in development.items()]
    protocol = [RUN | {"split": {"kind": "official", "counts": {}, "notes": [], "leakage": []}}]
    return Results(table(scores, SCORES), table([], WEIGHTS), protocol, table(predictions, PREDICTIONS))


def study_of(results: Results) -> Study:
    return Study(results, read_tables(results), (Model("m", "c", {"name": "m"}, "c.h5"),), (Path("results"),))


def answers(results: Results) -> dict[str, int]:
    """The best layer by each place that names one."""
    best = results.best_layers()
    (compared,) = compare_systems(results).to_dict("records")
    (against,) = set(layers_compared(results, resamples=20)["other"])
    tables = [block for block in curves_section(study_of(results)) if hasattr(block, "rows")]
    (axes,) = plot_heatmap(results, figure=Figure())
    return {
        "best_layers": int(best.loc[best["split"] == "test", "layer"].item()),
        "compare_systems": compared["layer"],
        "fairness_table": int(fairness_table(results, GENDERS, resamples=20)["layer"].iloc[0]),
        "layers_compared": int(against.removeprefix("layer ")),
        "report": int(tables[0].rows[0][2].split()[0]),
        "heatmap": round(axes.patches[0].get_y() + 0.5),
    }


def test_where_development_and_test_choose_differently():
    assert answers(probed({0: 0.1, 1: 0.2, 2: 0.9})) == {
        "best_layers": 0, "compare_systems": 2, "fairness_table": 2, "layers_compared": 2, "report": 0, "heatmap": 0,
    }  # fmt: skip


def test_where_development_knows_some_layers_alone():
    assert answers(probed({1: 0.2, 2: 0.9})) == {
        "best_layers": 0, "compare_systems": 2, "fairness_table": 2, "layers_compared": 0, "report": 0, "heatmap": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("splits", "measures", "tables"),
    [
        (["development", "test2", "test1", "test"], "test", "test"),
        (["development", "test2"], "test2", "test2"),
        (["development", "cross-validation"], "development", "cross-validation"),
        (["train", "development"], "train", "development"),
        (["other", "test1"], "test1", "other"),
    ],
)
def test_the_part_that_is_reported(splits, measures, tables):
    assert first_split(splits) == measures
    assert ordered_splits(splits)[0] == tables
