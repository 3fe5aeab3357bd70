"""The main figure: a panel a dimension with its own controls; what stands beside the pictures; what can be chosen."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from emoprobe.analysis.figures.captions import caption_of
from emoprobe.analysis.figures.cells import written
from emoprobe.analysis.figures.drawing import draw_figures
from emoprobe.analysis.figures.files import latex_text
from emoprobe.analysis.figures.panels import plot_layer_panels
from emoprobe.analysis.figures.style import COLUMN_WIDTH, FULL_WIDTH
from emoprobe.analysis.tables import read_tables
from emoprobe.errors import UserError
from emoprobe.probe.results import PREDICTIONS, WEIGHTS, Results, table
from tests.analysis.test_plots import DIMENSIONS, column, line, some_scores


def with_controls() -> pd.DataFrame:
    scores = some_scores(last=4)
    scores["null_high"] = np.where(scores["dimension"] == "valence", 0.02, 0.01) * (1 + scores["layer"].astype(float))
    return pd.concat([scores, some_scores(model="base (random 7)", last=4, seed=3)], ignore_index=True)


def some_predictions(last=2, speakers=("a", "b", "c"), n=6, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"model": "base", "corpus": "speech", "dimension": dimension, "probe": "ridge", "features": "mean",
         "layer": layer, "seed": 0, "split": "test", "fold": "all", "id": f"{speaker}{k}", "speaker": speaker,
         "truth": rng.normal(), "prediction": rng.normal()}
        for dimension in DIMENSIONS for layer in range(last + 1) for speaker in speakers for k in range(n)
    ]  # fmt: skip
    return table(rows, PREDICTIONS)


# The main figure ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_panel_has_its_own_curve_and_controls():
    scores = with_controls()
    figure = Figure()
    panels = plot_layer_panels(scores, model="base", figure=figure)
    assert [axes.get_title(loc="left") for axes in panels] == list(DIMENSIONS)
    of_model, twin = scores[scores["model"] == "base"], scores[scores["model"] != "base"]
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        others = [name for name in DIMENSIONS if name != dimension]
        assert not [one for one in axes.get_lines() if str(one.get_gid()).endswith(tuple(others))]
        ridge = {"dimension": dimension, "probe": "ridge"}
        np.testing.assert_array_equal(line(axes, f"layers-{dimension}").get_ydata(), column(of_model, "ccc", **ridge))
        np.testing.assert_array_equal(line(axes, f"random-{dimension}").get_ydata(), column(twin, "ccc", **ridge))
        for end in ("low", "high"):
            drawn = line(axes, f"random-{end}-{dimension}").get_ydata()
            np.testing.assert_array_equal(drawn, column(twin, f"ccc_{end}", **ridge))
        # Its own null, not the highest of all dimensions.
        hatched = next(one for one in axes.collections if one.get_gid() == f"null-{dimension}")
        corners = hatched.get_paths()[0].vertices
        reached = [corners[corners[:, 0] == layer, 1].max() for layer in range(5)]
        np.testing.assert_allclose(reached, column(of_model, "null_high", **ridge))
        low, high = axes.get_ylim()
        for name in ("left-mfcc", "left-logmel", "right-weighted"):
            (value,) = line(axes, f"{name}-{dimension}").get_ydata()
            assert low < value < high
    caption = caption_of(figure)
    for said in ("Hatched: 95 % of permuted labels", "Dashed: base (random 7), dotted its interval", "Layer 0: input"):
        assert said in caption


@pytest.mark.slow
def test_a_learned_sum_of_other_features_says_which():
    scores = some_scores(last=4)
    scores.loc[scores["probe"] == "ridge", "features"] = "mean+std"
    figure = Figure()
    panels = plot_layer_panels(scores, dimensions=["valence"], figure=figure)
    names = [label.get_text() for label in panels[0].get_xticklabels()]
    assert "weighted\n(mean)" in names
    assert "A sum of mean or mean LN does not compare with the curves, which read mean+std" in caption_of(figure)
    same = plot_layer_panels(some_scores(last=4), dimensions=["valence"], figure=Figure())
    assert [label.get_text() for label in same[0].get_xticklabels()][-2:] == ["weighted", "weighted LN"]


@pytest.mark.slow
def test_a_baseline_of_another_cache_stands_beside_and_is_said():
    scores = some_scores(last=4)
    other = some_scores(model="other", last=2)
    scores = scores[scores["probe"] != "logmel"]
    figure = Figure()
    (axes,) = plot_layer_panels(pd.concat([scores, other]), model="base", dimensions=["arousal"], figure=figure)
    expected = column(other, "ccc", dimension="arousal", probe="logmel")
    np.testing.assert_array_equal(line(axes, "left-logmel-arousal").get_ydata(), expected)
    assert "log-mel from another cache of the corpus" in caption_of(figure)


@pytest.mark.slow
def test_lines_of_speakers_are_their_own_scores():
    few = some_predictions(speakers=("few",), n=4, seed=1)
    predictions = pd.concat([some_predictions(), few], ignore_index=True)
    results = Results(some_scores(last=2), table([], WEIGHTS), [], predictions)
    figure = Figure()
    panels = plot_layer_panels(results, speakers=True, figure=figure)
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        for speaker in "abc":
            drawn = line(axes, f"speaker-{speaker}-{dimension}").get_ydata()
            rows = predictions.query("speaker == @speaker and dimension == @dimension")
            for layer, of_layer in rows.groupby("layer"):
                x, y = of_layer["truth"], of_layer["prediction"]
                covariance = ((x - x.mean()) * (y - y.mean())).mean()
                expected = 2 * covariance / (x.var(ddof=0) + y.var(ddof=0) + (x.mean() - y.mean()) ** 2)
                assert drawn[layer] == pytest.approx(expected)
        assert not [one for one in axes.get_lines() if "speaker-few" in str(one.get_gid())]
    assert "single speakers of 5 utterances or more; left out: 1." in caption_of(figure)


def test_speakers_without_predictions_are_refused_with_a_remedy():
    with pytest.raises(UserError, match=r"predictions.parquet, or draw without speakers"):
        plot_layer_panels(some_scores(last=2), speakers=True, figure=Figure())


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 12, 24])
@pytest.mark.parametrize(("width", "size"), [("page", FULL_WIDTH), ("column", COLUMN_WIDTH)])
def test_text_is_legible_inside_the_figure_and_touches_nothing(last, width, size):
    figure = Figure()
    panels = plot_layer_panels(some_scores(last=last), width=width, figure=figure)
    figure.draw_without_rendering()
    assert figure.get_figwidth() == size
    box = figure.bbox
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            assert text.get_fontsize() >= 8
            extent = text.get_window_extent()
            assert extent.x0 >= box.x0 - 0.5, text.get_text()
            assert extent.x1 <= box.x1 + 0.5, text.get_text()
    labels = [label for label in panels[-1].get_xticklabels() if label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda one: one.x0)
    assert all(left.x1 <= right.x0 + 0.5 for left, right in itertools.pairwise(boxes))
    for axes in panels:
        assert "\n" not in axes.get_xlabel() + axes.get_ylabel()


def test_a_width_that_is_none_is_refused():
    with pytest.raises(UserError, match="choose of column, page"):
        plot_layer_panels(some_scores(last=2), width="wide", figure=Figure())


def test_explained_variance_is_the_square_of_pearson():
    scores = read_tables(some_scores()).scores
    np.testing.assert_allclose(scores["share"].abs(), scores["pearson"] ** 2)
    assert (np.sign(scores["share"]) == np.sign(scores["pearson"])).all()


@pytest.mark.parametrize(("value", "text"), [(-0.0, "0.00"), (-0.004, "0.00"), (-0.006, "−0.01"), (0.125, "0.12")])
def test_zero_has_no_sign(value, text):
    assert written(value) == text


# What stands beside the pictures --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_captions_stand_beside_the_picture_and_inside_on_request(tmp_path):
    scores = with_controls()
    (picture, *_) = draw_figures(scores, tmp_path, formats=["svg"], dimensions=["arousal"], models=["base"])
    assert picture.name == "layers_base_arousal.svg"
    text = picture.with_suffix(".txt").read_text()
    assert text.startswith("base on speech: ridge probes")
    tex = picture.with_suffix(".tex").read_text()
    assert latex_text(text.split("\n")[0]) in tex
    assert r"\includegraphics[width=\columnwidth]{layers_base_arousal}" in tex
    plain = picture.stat().st_size
    draw_figures(scores, tmp_path, formats=["svg"], dimensions=["arousal"], models=["base"], caption=True)
    assert picture.stat().st_size > plain  # letters are outlines


def test_latex_escapes_what_has_a_meaning_there():
    assert latex_text(r"50 % of a_b & c\d −1") == r"50~\% of a\_b \& c\textbackslash{}d $-$1"


@pytest.mark.slow
def test_tables_hold_the_scores_in_three_forms(tmp_path):
    scores = some_scores(last=2, dimensions=("arousal", "valence"))
    written_files = draw_figures(scores, tmp_path, formats=["svg"], tables=True)
    assert {path.suffix for path in written_files} == {".svg", ".csv", ".md", ".tex"}
    numbers = pd.read_csv(tmp_path / "table_layers_base.csv")
    for dimension in ("arousal", "valence"):
        rows = numbers[numbers["dimension"] == dimension].sort_values("layer")
        for name, of in (("value", "ccc"), ("low", "ccc_low"), ("high", "ccc_high")):
            np.testing.assert_array_equal(rows[name], column(scores, of, dimension=dimension, probe="ridge"))
    first = scores.query("dimension == 'arousal' and probe == 'ridge' and layer == 0").iloc[0]
    cell = f"{written(first['ccc'])} [{written(first['ccc_low'])}, {written(first['ccc_high'])}]"
    assert f"| 0 | {cell} |" in (tmp_path / "table_layers_base.md").read_text()
    tex = (tmp_path / "table_layers_base.tex").read_text()
    assert rf"    0 & {latex_text(cell)} &" in tex
    assert tex.count(r"\toprule") == tex.count(r"\midrule") == tex.count(r"\bottomrule") == 1
    assert "weighted sum" in (tmp_path / "table_comparison.md").read_text()
    (tmp_path / "table_layers_base.csv").write_text("mine\n1\n")
    with pytest.raises(UserError, match=r"table_layers_base\.csv"):
        draw_figures(scores, tmp_path, formats=["svg"], tables=True)


# What can be chosen ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": ["arusal"]}, "--dim arusal: the results hold arousal, valence, dominance"),
        ({"models": ["bass"]}, "--models bass: the results hold base"),
        ({"metric": "uar"}, "fit them with probe-fit --target emotion"),
        ({"width": "wide"}, "no width is called 'wide'"),
    ],
)
def test_a_choice_that_is_not_there_is_refused_with_what_is(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        draw_figures(some_scores(last=2), tmp_path, formats=["svg"], **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_chosen_model_keeps_its_twin_as_a_control_and_no_figure_of_its_own(tmp_path):
    names = [path.name for path in draw_figures(with_controls(), tmp_path, formats=["svg"], models=["base"])]
    assert "layers_base.svg" in names
    assert not [name for name in names if "random" in name]
    assert "Dashed: base (random 7)" in (tmp_path / "layers_base.txt").read_text()
    assert "comparison_base.svg" in names
    assert "random" not in (tmp_path / "heatmap_base.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "width"), [("share", "column"), ("rmse", "page")])
def test_another_metric_at_a_width(tmp_path, metric, width):
    scores = with_controls().query("dimension != 'dominance'")
    pictures = draw_figures(scores, tmp_path, formats=["svg"], metric=metric, width=width)
    sizes = {"column": COLUMN_WIDTH, "page": FULL_WIDTH}
    for path in pictures:
        assert metric in path.stem
        assert f'width="{sizes[width] * 72:g}pt"' in path.read_text()
