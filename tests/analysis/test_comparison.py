"""Every system is there once, with the table's numbers; its layer is not chosen on the rows that are scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoprobe.analysis.figures.comparison import plot_comparison
from emoprobe.analysis.figures.drawing import draw_figures
from emoprobe.analysis.figures.layers import plot_layers
from emoprobe.analysis.figures.style import SMALL_FONT_SIZE
from emoprobe.analysis.measures.comparison import COLUMNS, compare_systems
from emoprobe.errors import UserError
from emoprobe.probe.results import PREDICTIONS, SCORES, WEIGHTS, Results, table
from emoprobe.probe.significance import score_intervals
from tests.analysis.test_plots import ODD_NAMES, runs_of

DIMENSIONS = ("arousal", "valence")
BASELINES = ("mean", "logmel", "text", "duration")


def all_kinds(
    *, models=("teacher", "student", "teacher (random 0)"), corpus="speech", development=True
) -> pd.DataFrame:
    """Scores of every kind of system, each of another value."""
    rng = np.random.default_rng(0)
    baselines = {(name, dimension): rng.uniform(0, 0.3) for name in BASELINES for dimension in DIMENSIONS}
    rows = []

    def add(value, **row):
        score = {"ccc": value, "ccc_low": value - 0.05, "ccc_high": value + 0.04, "pearson": value + 0.01}
        same = {"corpus": corpus, "fold": "all", "seed": 0, "split": "test", "n": 400, "speakers": 20}
        rows.append(same | {"rmse": 1 - value} | score | row)

    for model in models:
        for dimension in DIMENSIONS:
            of = {"model": model, "dimension": dimension}
            for name in BASELINES:
                add(baselines[name, dimension], probe=name, features="" if name == "mean" else name, layer=-1, **of)
            for layer in range(4):
                for probe, features in (("ridge", "mean+std"), ("ridge", "mean"), ("mlp", "mean")):
                    add(rng.uniform(0.3, 0.6), probe=probe, features=features, layer=layer, **of)
                    if development:
                        add(rng.uniform(), probe=probe, features=features, layer=layer, split="development", **of)
            for features in ("mean", "mean_ln"):
                for seed in range(3):
                    add(rng.uniform(0.5, 0.7), probe="weighted", features=features, seed=seed, **of)
    for model, features in (("student", "audio"), ("student", "audio+text"), ("words", "text")):
        for dimension in DIMENSIONS:
            for seed in range(2):
                of = {"model": model, "dimension": dimension, "features": features, "seed": seed}
                add(rng.uniform(0.6, 0.8), probe="end-to-end", **of)
    return table(rows, SCORES)


def one(found: pd.DataFrame, **where) -> pd.Series:
    for name, value in where.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


# The table ------------------------------------------------------------------------------------------------------------


def test_every_system_is_there_once_in_the_order_of_the_figure():
    found = compare_systems(all_kinds())
    assert tuple(found.columns) == COLUMNS
    assert not found.duplicated(["corpus", "model", "system", "dimension"]).any()
    systems = found[["model", "system"]].drop_duplicates().apply(tuple, axis=1).tolist()
    probes = ["best layer", "best layer (mean+std)", "best layer, MLP", "weighted sum", "weighted sum (layer-normed)"]
    trained = ["end to end, audio", "end to end, audio+text"]
    assert systems == [
        *(("", name) for name in ("mean label", "duration", "log-mel", "words")),
        *(("teacher", name) for name in probes),
        *(("student", name) for name in (*probes, *trained)),
        *(("teacher (random 0)", name) for name in probes),
        ("words", "end to end, text"),
    ]
    assert set(found["dimension"]) == set(DIMENSIONS)
    assert (found["split"] == "test").all()


def test_values_are_those_of_the_scores_and_means_over_seeds():
    scores = all_kinds()
    found = compare_systems(scores)
    trained = one(found, model="student", system="end to end, audio+text", dimension="valence")
    rows = scores[(scores["model"] == "student") & (scores["features"] == "audio+text")]
    rows = rows[(rows["dimension"] == "valence") & (rows["probe"] == "end-to-end")]
    assert trained["seeds"] == len(rows) == 2
    assert trained["value"] == pytest.approx(rows["ccc"].mean())
    assert trained["low"] == pytest.approx(rows["ccc_low"].mean())
    assert trained["high"] == pytest.approx(rows["ccc_high"].mean())
    assert (trained["n"], trained["speakers"], trained["kind"]) == (400, 20, "end to end")
    words = one(found, system="words", dimension="arousal")
    expected = scores[(scores["probe"] == "text") & (scores["dimension"] == "arousal")]["ccc"].iloc[0]
    assert words["value"] == expected
    assert pd.isna(words["layer"])


@pytest.mark.slow
def test_limits_of_several_seeds_are_over_speakers_and_seeds_where_there_are_predictions():
    scores = all_kinds(models=("teacher",))
    run = {"model": "student", "corpus": "speech", "dimension": "valence", "probe": "end-to-end", "features": "audio"}
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80)
    rows = [
        run | {"seed": seed, "split": "test", "fold": "all", "id": f"u{i}", "speaker": f"s{i % 8}"}
        | {"truth": truth[i], "prediction": truth[i] + (1 + 2 * seed) * rng.normal()}
        for seed in range(2)
        for i in range(80)
    ]  # fmt: skip
    results = Results(scores, table([], WEIGHTS), [], table(rows, PREDICTIONS))
    found = compare_systems(results)
    mine = one(found, model="student", system="end to end, audio", dimension="valence")
    expected = score_intervals(results, probe="end-to-end").iloc[0]
    assert (mine["low"], mine["high"]) == (expected["low"], expected["high"])
    # One seed is far worse: an interval that knows of seeds is wider than that of either.
    alone = compare_systems(scores)
    assert mine["high"] - mine["low"] > 3 * (alone["high"] - alone["low"]).max()
    others = found["system"] != "end to end, audio"
    pd.testing.assert_frame_equal(found[others], alone[others])
    figure = Figure()
    plot_comparison(results, figure=figure)
    assert "intervals over speakers and seeds together" in figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("metric", ["ccc", "rmse"])
def test_the_layer_is_chosen_on_development_and_scored_on_test(metric):
    scores = all_kinds()
    found = compare_systems(scores, metric=metric)
    rows = scores[(scores["model"] == "teacher") & (scores["dimension"] == "arousal") & (scores["probe"] == "mlp")]
    development = rows[rows["split"] == "development"].set_index("layer")[metric]
    best = development.idxmin() if metric == "rmse" else development.idxmax()
    mine = one(found, model="teacher", system="best layer, MLP", dimension="arousal")
    assert (mine["layer"], mine["chosen_on"]) == (best, "development")
    assert mine["value"] == rows[(rows["split"] == "test") & (rows["layer"] == best)][metric].item()


@pytest.mark.slow
def test_without_development_the_choice_has_hindsight_and_says_so():
    scores = all_kinds(development=False)
    mine = one(compare_systems(scores), model="teacher", system="best layer, MLP", dimension="arousal")
    rows = scores[(scores["model"] == "teacher") & (scores["dimension"] == "arousal") & (scores["probe"] == "mlp")]
    assert mine["value"] == rows["ccc"].max()
    assert mine["chosen_on"] == "test"
    figure = Figure()
    plot_comparison(scores, figure=figure)
    assert "chosen on the same rows, with hindsight" in figure.get_supxlabel().replace("\n", " ")


def test_a_baseline_that_differs_between_models_is_told_apart():
    scores = all_kinds()
    other = (scores["model"] == "student") & (scores["probe"] == "text")
    scores.loc[other, "ccc"] += 0.1
    systems = dict.fromkeys(compare_systems(scores).query("model == ''")["system"])
    assert list(systems)[-2:] == ["words (teacher)", "words (student)"]
    assert "log-mel" in systems


@pytest.mark.slow
def test_parts_and_corpora_are_chosen():
    two = pd.concat([all_kinds(), all_kinds(corpus="other")])
    assert list(dict.fromkeys(compare_systems(two)["corpus"])) == ["speech", "other"]
    assert set(compare_systems(two, corpus="other")["corpus"]) == {"other"}
    assert set(compare_systems(two, split="development")["kind"]) == {"layer"}
    with pytest.raises(UserError, match="do not compare: choose by corpus= among speech, other"):
        plot_comparison(two)
    with pytest.raises(UserError, match="no CCC of arousal, valence on 'nowhere'"):
        compare_systems(two, corpus="nowhere")
    with pytest.raises(UserError, match="no score is called 'mse'"):
        compare_systems(two, metric="mse")
    with pytest.raises(UserError, match="nothing to compare"):
        compare_systems(Results.empty())


# The figure -----------------------------------------------------------------------------------------------------------


def marks(axes) -> dict[str, float]:
    return {line.get_gid(): line.get_xdata()[0] for line in axes.get_lines() if "-" in str(line.get_gid())}


@pytest.mark.slow
def test_what_is_drawn_is_the_table():
    scores = all_kinds()
    found = compare_systems(scores).query("probe != 'mean'")
    figure = Figure()
    panels = plot_comparison(scores, figure=figure)
    assert [axes.get_title(loc="left") for axes in panels] == ["arousal", "valence"]
    labels = [text.get_text().strip() for text in panels[0].get_yticklabels()]
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        drawn = {line.get_gid(): line for line in axes.get_lines()}
        rows = found[found["dimension"] == dimension]
        for row in rows.itertuples():
            mark = drawn[f"{row.kind}-{row.model}-{row.system}-{dimension}"]
            assert mark.get_xdata()[0] == row.value
            # Its name stands beside it, below the heading of its model.
            place = int(mark.get_ydata()[0])
            assert labels[place] == row.system
            headings = [label for label in labels[:place] if label in {"baselines", *found["model"]}]
            assert headings[-1] == (row.model or "baselines")
        best = rows.loc[rows["kind"] == "baseline", "value"].max()
        assert drawn["best-baseline"].get_xdata()[0] == best
        layers = [text.get_text() for text in axes.texts if text.get_text() != "layer"]
        chosen = rows.dropna(subset="layer")[["layer", "highest_layer"]].itertuples(index=False)
        assert layers == [str(one) if one == highest else f"{one} ({highest})" for one, highest in chosen]
    caption = figure.get_supxlabel().replace("\n", " ")
    for words in ("on the test split (400 utterances, 20 speakers)", "up to 3 seeds", "chosen on development"):
        assert words in caption


@pytest.mark.slow
def test_nothing_overlaps_or_leaves_the_page_whatever_the_names():
    scores = all_kinds(models=ODD_NAMES)
    figure = Figure()
    panels = plot_comparison(scores, figure=figure)
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in panels[0].get_yticklabels() if text.get_text()]
    for box in boxes:
        assert box.x0 >= page.x0 - 1
        assert box.width > 0
    tops = sorted((box.y0 + box.y1) / 2 for box in boxes)
    assert np.diff(tops).min() > SMALL_FONT_SIZE / 72 * figure.dpi
    # The names take no more than their share of the page.
    assert panels[0].get_window_extent().width > 0.15 * page.width


def test_categories_are_compared_by_uar():
    rows = []
    for probe, layer in (("mean", -1), ("mfcc", -1), ("logistic", 0), ("logistic", 1)):
        same = {"model": "m", "corpus": "c", "dimension": "emotion", "fold": "all", "seed": 0, "split": "test", "n": 9}
        rows.append(same | {"probe": probe, "features": "", "layer": layer, "uar": 0.3 + 0.1 * (layer + 1)})
    scores = table(rows, SCORES)
    found = compare_systems(scores)
    assert found["system"].tolist() == ["majority", "MFCC", "best layer"]
    assert found["layer"].dropna().tolist() == [1]
    (axes,) = plot_comparison(scores, figure=Figure())
    assert axes.get_xlabel() == "UAR"


@pytest.mark.slow
def test_it_is_among_the_figures_where_there_are_two_systems(tmp_path):
    scores = all_kinds()
    trained = scores[scores["probe"] == "end-to-end"]

    def drawn(rows, folder):
        results = Results(rows, table([], WEIGHTS), runs_of(rows), table([], {}))
        return [path.name for path in draw_figures(results, tmp_path / folder, formats=["png"])]

    assert drawn(trained, "trained") == ["comparison.png"]
    assert "comparison.png" in drawn(scores, "all")
    assert (tmp_path / "all" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    one_layered = scores[(scores["model"] == "teacher") & (scores["probe"] == "mlp") & scores["layer"].notna()]
    assert "comparison.png" not in drawn(one_layered, "one")
    with pytest.raises(UserError, match="no two systems"):
        drawn(trained[(trained["features"] == "text")], "none")
    twice = pd.concat([trained, trained.assign(split="test2")])
    assert drawn(twice, "parts") == ["comparison.png", "comparison_test2.png"]


# Beside the layers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_models_trained_end_to_end_stand_right_of_the_layers_and_new_baselines_left():
    scores = all_kinds()
    figure = Figure()
    axes = plot_layers(scores, model="student", figure=figure)
    names = [text.get_text() for text in axes.get_xticklabels()]
    left = names[-7:-4]
    assert left == ["duration", "log-mel", "words"]
    assert names[-4:] == ["weighted", "weighted LN", "end to end, audio", "end to end, audio+text"]
    drawn = {line.get_gid(): line for line in axes.get_lines()}
    mark = drawn["right-end-to-end audio+text-valence"]
    assert mark.get_xdata()[0] > 3
    found = one(compare_systems(scores), system="end to end, audio+text", dimension="valence")
    assert mark.get_ydata()[0] == pytest.approx(found["value"])
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "weighted sum of all layers (mean of 3 seeds); models trained end to end (mean of 2 seeds)" in caption
    figure.draw_without_rendering()
    label = axes.xaxis.label.get_window_extent()
    upright = [text.get_window_extent() for text in axes.get_xticklabels()[-8:]]
    assert not any(label.overlaps(box) for box in upright)
