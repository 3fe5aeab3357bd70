"""What is drawn is what the table says: read back from the Axes' artists."""

from __future__ import annotations

import itertools
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from emoprobe.analysis.curves import layer_curve
from emoprobe.analysis.figures.captions import caption_of, curve_caption
from emoprobe.analysis.figures.depth import plot_teacher_student
from emoprobe.analysis.figures.heatmap import plot_heatmap
from emoprobe.analysis.figures.layers import plot_layers
from emoprobe.analysis.figures.style import (
    COLUMN_WIDTH,
    SMALL_FONT_SIZE,
    dimension_look,
    printable,
    publication_style,
    series_look,
    text_width,
    wrap,
)
from emoprobe.analysis.figures.weights import plot_weights
from emoprobe.analysis.tables import Subject, ordered_features, read_tables
from emoprobe.errors import UserError
from emoprobe.probe.jackknife import FIXED, IN_BLOCKS, REFITTED
from emoprobe.probe.results import KEY, PREDICTIONS, SCORES, WEIGHTS, Results, table
from emoprobe.probe.selecting import ordered_splits

DIMENSIONS = ("arousal", "valence", "dominance")
ODD_NAMES = (
    "$x^$ costs $5",
    r"\frac{1}{0} $\alpha",
    "../../etc/passwd",
    "<script>alert(1)</script> & 'co' \"x\"",
    "_hidden",
    "wav2vec2-" + "xlsr-" * 40,
    "tab\tline\nbreak",
    "bell\x07",
    "%s {0} é ü",
)


def some_scores(model="base", last=12, dimensions=DIMENSIONS, corpus="speech", seed=0, **same) -> pd.DataFrame:
    """A table as probe-fit leaves it, of random but plausible numbers."""
    rng = np.random.default_rng(seed)
    rows = []
    for dimension in dimensions:
        measure = "uar" if dimension == "emotion" else "ccc"
        probe = "logistic" if dimension == "emotion" else "ridge"
        places = [(probe, "mean", layer) for layer in range(last + 1)]
        places += [("mean", "", -1), ("mfcc", "mfcc", -1), ("logmel", "logmel", -1)]
        places += [] if dimension == "emotion" else [("weighted", "mean", None), ("weighted", "mean_ln", None)]
        for name, features, layer in places:
            value = 0.25 if name == "mean" and measure == "uar" else rng.uniform(0.3, 0.8)
            row = {"model": model, "corpus": corpus, "dimension": dimension, "probe": name, "features": features}
            row |= {"layer": layer, "fold": "all", "seed": 0, "split": "test", "n": 412, "speakers": 10}
            row |= {measure: value, f"{measure}_low": value - 0.06, f"{measure}_high": value + 0.04}
            if measure == "ccc":
                row |= {"pearson": value + 0.02, "rmse": 1 - value}
            rows.append(row | same)
    return table(rows, SCORES)


def some_weights(model="base", last=12, seeds=3, corpus="speech") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for dimension in DIMENSIONS:
        for seed in range(seeds):
            raw, normed = rng.dirichlet(np.ones(last + 1), 2)
            for layer in range(last + 1):
                row = {"model": model, "corpus": corpus, "dimension": dimension, "layer": layer, "seed": seed}
                row |= {"weight": raw[layer], "weight_normed": normed[layer], "probe": "weighted", "features": "mean"}
                rows.append(row)
    return table(rows, WEIGHTS)


def runs_of(scores: pd.DataFrame, **parts) -> list[dict]:
    """A protocol: one run a key of the scores."""
    return [{**key, **parts} for key in scores[list(KEY)].drop_duplicates().to_dict("records")]


def line(ax, gid):
    return next(artist for artist in ax.get_lines() if artist.get_gid() == gid)


def column(scores, name, **where):
    for key, value in where.items():
        scores = scores[scores[key] == value]
    return scores.sort_values("layer")[name].to_numpy(float)


@pytest.fixture
def figure():
    return Figure()


# The numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 12, 24])
@pytest.mark.parametrize("metric", ["ccc", "pearson", "rmse"])
def test_layer_lines_are_the_scores(figure, last, metric):
    scores = some_scores(last=last)
    ax = plot_layers(scores, metric=metric, figure=figure)
    for dimension in DIMENSIONS:
        drawn = line(ax, f"layers-{dimension}")
        np.testing.assert_array_equal(drawn.get_xdata(), np.arange(last + 1))
        expected = column(scores, metric, dimension=dimension, probe="ridge")
        np.testing.assert_array_equal(drawn.get_ydata(), expected)


def test_band_is_the_interval(figure):
    scores = some_scores()
    ax = plot_layers(scores, dimensions=["valence"], figure=figure)
    (band,) = [artist for artist in ax.collections if artist.get_paths() and len(artist.get_paths()[0]) > 10]
    corners = band.get_paths()[0].vertices
    for name, pick in (("ccc_low", np.min), ("ccc_high", np.max)):
        drawn = [pick(corners[corners[:, 0] == layer, 1]) for layer in range(13)]
        np.testing.assert_array_equal(drawn, column(scores, name, dimension="valence", probe="ridge"))


def test_baselines_stand_left_and_learned_sums_right_of_the_layers(figure):
    scores = some_scores()
    ax = plot_layers(scores, figure=figure)
    for dimension in DIMENSIONS:
        for side, probe, features in (
            ("left", "mfcc", "mfcc"),
            ("left", "logmel", "logmel"),
            ("right", "weighted", "mean"),
            ("right", "weighted", "mean_ln"),
        ):
            name = f"{probe} {features}" if features == "mean_ln" else probe
            mark = line(ax, f"{side}-{name}-{dimension}")
            expected = column(scores, "ccc", dimension=dimension, probe=probe, features=features)
            np.testing.assert_array_equal(mark.get_ydata(), expected)
            (place,) = mark.get_xdata()
            assert place < -0.5 if side == "left" else place > 12.5
    # The mean label has a CCC of zero by definition; of its error nobody knows that.
    assert not [a for a in ax.get_lines() if a.get_gid() == "left-mean-valence"]
    assert line(plot_layers(scores, metric="rmse", figure=Figure()), "left-mean-valence")
    assert not [
        a for a in plot_layers(scores, baselines=False, figure=Figure()).get_lines() if "left" in str(a.get_gid())
    ]


@pytest.mark.slow
def test_missing_scores_are_gaps(figure):
    scores = some_scores()
    ridge = (scores["probe"] == "ridge") & (scores["dimension"] == "valence")
    scores.loc[ridge & (scores["layer"] == 4), ["ccc", "ccc_low", "ccc_high"]] = np.nan
    scores.loc[ridge & (scores["layer"] == 7), ["ccc_low", "ccc_high"]] = np.nan
    scores = scores[~(ridge & scores["layer"].isin([9, 12]))]
    ax = plot_layers(scores, figure=figure)
    drawn = line(ax, "layers-valence").get_ydata()
    assert np.flatnonzero(np.isnan(drawn)).tolist() == [4, 9, 12]
    assert np.isfinite(line(ax, "layers-arousal").get_ydata()).all()
    figure.draw_without_rendering()
    assert np.isfinite(ax.get_ylim()).all()

    cells = plot_heatmap(scores, figure=Figure())[0]
    written = [text.get_text() for text in cells.texts]
    assert written.count("–") == 3
    depth = line(plot_teacher_student(scores, figure=Figure())[1], "depth-0").get_ydata()
    assert np.flatnonzero(np.isnan(depth)).tolist() == [4, 9, 12]


def test_a_score_that_is_missing_everywhere_is_an_error_that_says_what_to_do():
    scores = some_scores()
    scores["ccc"] = np.nan
    for plot in (plot_layers, plot_heatmap, plot_teacher_student):
        with pytest.raises(UserError, match="probe-fit"):
            plot(scores, figure=Figure())


def test_weights_are_means_and_ranges_over_seeds(figure):
    weights = some_weights(last=24, seeds=4)
    axes = plot_weights(weights, figure=figure)
    assert len(axes) == 2
    for ax, part, name in zip(axes, ("raw", "normed"), ("weight", "weight_normed"), strict=True):
        assert ax.get_ylim()[0] == 0
        for dimension in DIMENSIONS:
            found = weights[weights["dimension"] == dimension].pivot(index="seed", columns="layer", values=name)
            drawn = line(ax, f"{part}-{dimension}").get_ydata()
            # Means of the same four numbers, summed in another order: a few units in the last place.
            np.testing.assert_allclose(drawn, found.mean().to_numpy(float), rtol=1e-14)
            tops = [band.get_paths()[0].vertices[:, 1].max() for band in ax.collections if band.get_paths()]
            assert found.to_numpy(float).max() in tops
        assert max(line(ax, f"{part}-{d}").get_ydata().max() for d in DIMENSIONS) < ax.get_ylim()[1]


def test_heatmap_shows_and_writes_every_score(figure):
    scores = pd.concat([some_scores(), some_scores("student", 2, seed=1)])
    axes = plot_heatmap(scores, figure=figure)
    for ax, model, last in zip(axes, ("base", "student"), (12, 2), strict=True):
        mesh = ax.collections[0]
        expected = np.stack(
            [column(scores, "ccc", model=model, dimension=d, probe="ridge") for d in DIMENSIONS], axis=1
        )
        np.testing.assert_array_equal(mesh.get_array(), expected)
        written = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts}
        assert written == {(c, r): f"{expected[r, c]:.2f}" for r in range(last + 1) for c in range(3)}
        framed = {(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in ax.patches}
        assert framed == {(c, int(expected[:, c].argmax())) for c in range(3)}
    assert axes[0].collections[0].get_clim() == axes[1].collections[0].get_clim()


def test_heatmap_of_errors_frames_the_lowest(figure):
    scores = some_scores()
    (ax,) = plot_heatmap(scores, metric="rmse", figure=figure)
    values = ax.collections[0].get_array()
    framed = {(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in ax.patches}
    assert framed == {(c, int(np.argmin(values[:, c]))) for c in range(3)}


@pytest.mark.slow
def test_models_share_an_axis_of_relative_depth(figure):
    parts = [some_scores("teacher", 24), some_scores("student", 2, seed=1), some_scores("random", 12, seed=2)]
    scores = pd.concat(parts)
    axes = plot_teacher_student(scores, figure=figure)
    assert [ax.get_title(loc="left") for ax in axes] == list(DIMENSIONS)
    for ax, dimension in zip(axes, DIMENSIONS, strict=True):
        for position, (model, last) in enumerate((("teacher", 24), ("student", 2), ("random", 12))):
            drawn = line(ax, f"depth-{position}")
            np.testing.assert_allclose(drawn.get_xdata(), np.linspace(0, 1, last + 1), atol=1e-15)
            expected = column(scores, "ccc", model=model, dimension=dimension, probe="ridge")
            np.testing.assert_array_equal(drawn.get_ydata(), expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["teacher", "student", "random"]
    chosen = plot_teacher_student(scores, model=["random", "teacher"], dimensions=["valence"], figure=Figure())
    names = [text.get_text() for text in chosen[0].figure.legends[0].get_texts()]
    assert names == ["random", "teacher"]


def test_categories_are_drawn_with_their_chance_level(figure):
    scores = some_scores(dimensions=("emotion",))
    protocol = runs_of(scores, categories=["angry", "calm", "happy", "sad", "tired"])
    ax = plot_layers(Results(scores, table([], WEIGHTS), protocol, table([], PREDICTIONS)), figure=figure)
    np.testing.assert_array_equal(line(ax, "layers-emotion").get_ydata(), column(scores, "uar", probe="logistic"))
    assert set(line(ax, "chance").get_ydata()) == {1 / 5}
    assert ax.get_ylabel().startswith("UAR (test")
    assert "chance (1/5)" in [text.get_text() for text in ax.get_legend().get_texts()]
    two = pd.concat([scores, some_scores("other", 2, dimensions=("emotion",))])
    results = Results(two, table([], WEIGHTS), runs_of(two, categories=["a", "b", "c", "d"]), table([], PREDICTIONS))
    (depth,) = plot_teacher_student(results, figure=Figure())
    assert set(line(depth, "chance").get_ydata()) == {1 / 4}
    assert "chance (1/4)" in depth.figure.get_supxlabel().replace("\n", " ")
    # The number of categories is not in the scores, and the commonest category need not be at chance.
    alone = plot_layers(scores, figure=Figure())
    assert not [artist for artist in alone.get_lines() if artist.get_gid() == "chance"]


def test_pooled_scores_are_drawn_and_folds_only_where_there_are_no_others(figure):
    pooled = some_scores()
    folds = [pooled.assign(fold=str(fold), ccc=pooled["ccc"] + shift) for fold, shift in (("1", 0.1), ("2", -0.3))]
    both = pd.concat([pooled, *folds])
    drawn = line(plot_layers(both, figure=figure), "layers-valence").get_ydata()
    np.testing.assert_array_equal(drawn, column(pooled, "ccc", dimension="valence", probe="ridge"))
    ax = plot_layers(pd.concat(folds), figure=Figure())
    expected = column(pooled, "ccc", dimension="valence", probe="ridge") - 0.1
    # (x + 0.1 + x - 0.3) / 2 rounds differently from x - 0.1.
    np.testing.assert_allclose(line(ax, "layers-valence").get_ydata(), expected, rtol=1e-12)
    assert not [band for band in ax.collections if band.get_paths() and len(band.get_paths()[0]) > 10]
    assert "Means of 2 folds" in ax.figure.get_supxlabel().replace("\n", " ")


@pytest.mark.slow
def test_seeds_are_averaged(figure):
    seeds = pd.concat([some_scores(seed=seed).assign(probe="mlp", seed=seed) for seed in range(3)])
    seeds = seeds[seeds["layer"].notna()]
    seeds = seeds[seeds["layer"] >= 0]
    ax = plot_layers(seeds, probe="mlp", figure=figure)
    expected = seeds[seeds["dimension"] == "arousal"].groupby("layer")["ccc"].mean().to_numpy(float)
    # The same three numbers summed in another order.
    np.testing.assert_allclose(line(ax, "layers-arousal").get_ydata(), expected, rtol=1e-14)
    assert "Means of 3 seeds" in figure.get_supxlabel().replace("\n", " ")


# Which rows -----------------------------------------------------------------------------------------------------------


def test_several_models_need_a_choice_and_one_needs_none():
    scores = pd.concat([some_scores("a"), some_scores("b", 2)])
    with pytest.raises(UserError, match=r"model='a'.*model='b'"):
        plot_layers(scores, figure=Figure())
    assert len(line(plot_layers(scores, model="b", figure=Figure()), "layers-arousal").get_xdata()) == 3
    with pytest.raises(UserError, match="no row for model='c'"):
        plot_layers(scores, model="c", figure=Figure())


def test_the_same_model_on_two_corpora_is_two_subjects():
    scores = pd.concat([some_scores(corpus="x"), some_scores(corpus="y", seed=1)])
    with pytest.raises(UserError, match=r"corpus='x'.*corpus='y'"):
        plot_layers(scores, figure=Figure())
    drawn = line(plot_layers(scores, corpus="y", figure=Figure()), "layers-valence").get_ydata()
    np.testing.assert_array_equal(drawn, column(scores, "ccc", corpus="y", dimension="valence", probe="ridge"))
    axes = plot_heatmap(scores, figure=Figure())
    assert [ax.get_title(loc="left") for ax in axes] == ["base on x", "base on y"]


def test_test_parts_come_before_others():
    assert ordered_splits(["train", "development", "cross-validation", "test2", "test", "test1"]) == [
        "test",
        "test1",
        "test2",
        "cross-validation",
        "development",
        "train",
    ]
    assert ordered_features(["mean_ln", "mean+std", "mean"]) == ["mean", "mean+std", "mean_ln"]


@pytest.mark.slow
def test_one_split_and_one_feature_set_at_a_time(figure):
    first = some_scores()
    other = some_scores(seed=1, split="test2")
    scores = pd.concat([other, first, some_scores(seed=2, features="mean_ln")])
    for settings, expected in (({}, first), ({"split": "test2"}, other)):
        drawn = line(plot_layers(scores, figure=Figure(), **settings), "layers-valence").get_ydata()
        np.testing.assert_array_equal(drawn, column(expected, "ccc", dimension="valence", probe="ridge"))
    assert plot_layers(scores, split="test2", figure=figure).get_ylabel() == "CCC (test2)"


@pytest.mark.parametrize(
    "read", [lambda r, f: r, lambda r, f: r.scores, lambda r, f: f, lambda r, f: str(f), lambda r, f: [f]]
)
def test_results_table_and_folder_draw_the_same(tmp_path, read):
    scores = some_scores()
    results = Results(scores, some_weights(), runs_of(scores), table([], PREDICTIONS))
    results.save(tmp_path)
    ax = plot_layers(read(results, tmp_path), figure=Figure())
    np.testing.assert_array_equal(
        line(ax, "layers-valence").get_ydata(), column(scores, "ccc", dimension="valence", probe="ridge")
    )


@pytest.mark.slow
def test_what_cannot_be_read_is_said():
    with pytest.raises(UserError, match="load_results"):
        plot_layers(42)
    with pytest.raises(UserError, match="empty"):
        plot_layers(Results.empty(), figure=Figure())
    with pytest.raises(UserError, match="learned weights"):
        plot_weights(Results.empty(), figure=Figure())
    with pytest.raises(UserError, match="split"):
        plot_layers(some_scores().drop(columns="split"), figure=Figure())
    with pytest.raises(UserError, match="'cc'"):
        plot_layers(some_scores(), metric="cc", figure=Figure())
    with pytest.raises(UserError, match="needs 3"):
        plot_teacher_student(some_scores(), ax=Figure().subplots())


def test_tables_are_not_changed():
    scores = some_scores()
    before = scores.copy(deep=True)
    plot_layers(scores, figure=Figure())
    plot_heatmap(scores, figure=Figure())
    pd.testing.assert_frame_equal(scores, before)


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_drawn_as_they_are(name):
    results = Results(
        pd.concat([some_scores(name, 4, corpus=name), some_scores("b", 2, corpus=name)]),
        some_weights(name, 4, corpus=name),
        [],
        table([], PREDICTIONS),
    )
    shown = printable(name)
    for plot, settings in (
        (plot_layers, {"model": name}),
        (plot_weights, {}),
        (plot_heatmap, {}),
        (plot_teacher_student, {}),
    ):
        figure = Figure()
        plot(results, figure=figure, **settings)
        if plot is plot_layers or "$" in name:
            figure.draw_without_rendering()
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())
        drawn = "|".join("".join(text.get_text().split()) for text in texts)
        assert "".join(shown[:150].split()) in drawn


@pytest.mark.slow
def test_text_stays_inside_the_figure():
    long = "a-very-long-model-name/" * 5
    for plot, settings in ((plot_layers, {"model": long}), (plot_heatmap, {}), (plot_teacher_student, {})):
        figure = Figure()
        plot(pd.concat([some_scores(long, 24), some_scores("b", 2)]), figure=figure, **settings)
        figure.draw_without_rendering()
        box = figure.bbox
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                extent = text.get_window_extent()
                # Half a pixel at 100 dots an inch: glyphs overhang their advance width by that much.
                assert extent.x0 >= box.x0 - 0.5, text.get_text()
                assert extent.x1 <= box.x1 + 0.5, text.get_text()
                assert extent.y0 >= box.y0 - 0.5, text.get_text()
                assert extent.y1 <= box.y1 + 0.5, text.get_text()


@pytest.mark.slow
@pytest.mark.parametrize("last", [2, 12, 24, 48])
def test_tick_labels_do_not_touch_and_name_the_last_layer(last):
    figure = Figure()
    ax = plot_layers(some_scores(last=last), figure=figure)
    assert figure.get_size_inches()[0] == COLUMN_WIDTH
    figure.draw_without_rendering()
    labels = [label for label in ax.get_xticklabels() if label.get_text()]
    assert str(last) in [label.get_text() for label in labels]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.slow
def test_legend_covers_no_data():
    for plot in (plot_layers, plot_teacher_student):
        figure = Figure()
        axes = np.atleast_1d(plot(some_scores(last=24), figure=figure))
        figure.draw_without_rendering()
        legend = axes[0].get_legend() or figure.legends[0]
        assert not any(legend.get_window_extent().overlaps(ax.get_window_extent()) for ax in axes)


@pytest.mark.slow
def test_smallest_text_is_legible():
    for plot, source in ((plot_layers, some_scores()), (plot_weights, some_weights()), (plot_heatmap, some_scores())):
        figure = Figure()
        plot(source, figure=figure)
        # Outside the house style, where ticks that are made late would take the global sizes.
        with matplotlib.rc_context({"font.size": 3, "xtick.labelsize": 3, "ytick.labelsize": 3}):
            figure.draw_without_rendering()
            sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert min(sizes) >= SMALL_FONT_SIZE >= 7


def test_caption_says_what_was_measured():
    scores = some_scores(split="cross-validation")
    (curve,) = [
        layer_curve(
            read_tables(scores).scores, Subject("base", "speech"), dimension="valence", metric="ccc", probe="ridge"
        )
    ]
    split = {"kind": "speaker-grouped folds", "folds": 5, "leakage": []}
    text = curve_caption([curve], runs_of(scores, split=split), band="Bands")
    assert text == (
        "base on speech: ridge probes on pooled states (mean), scored on 5 speaker-grouped folds "
        "(412 utterances, 10 speakers). "
        "Bands: 95 % intervals over speakers."
    )
    for kinds, told in (
        ((REFITTED,), "over speakers, the probes fitted again without each of them."),
        ((FIXED,), "over speakers, around the fixed fits."),
        ((REFITTED, FIXED), "without each of them; of MLP probes around the fixed fit."),
        ((IN_BLOCKS,), "without each of them, or blocks of them."),
    ):
        curves = [replace(curve, interval=kind, probe=("ridge", "mlp")[k]) for k, kind in enumerate(kinds)]
        assert curve_caption(curves, runs_of(scores, split=split), band="Bands").endswith(told)
    leaking = runs_of(scores, split=split | {"leakage": [{"parts": ["train", "test"]}]}, settings={"rescale": True})
    text = curve_caption([curve], leaking, band="Bands")
    assert "shares speakers" in text
    assert "rescaled" in text


@pytest.mark.slow
def test_caption_of_weights_tells_which_length_corrected_those_that_are_drawn(figure):
    weights = some_weights()
    of_centred, of_norm = "root mean square of the layer's centred states", "mean state norm, its mean included"

    def caption(by_norm, **options):
        figure.clear()
        plot_weights(weights.assign(weight_by_norm=by_norm), figure=figure, **options)
        return figure.get_supxlabel().replace("\n", " ")

    assert of_norm in caption(np.nan)
    assert of_centred not in caption(np.nan)
    assert of_norm not in caption(weights["weight_normed"])
    assert of_centred in caption(weights["weight_normed"])
    mixed = weights["weight_normed"].where(weights["dimension"] != "arousal")
    assert f"{of_centred}; of some or all seeds of arousal, fitted by an earlier version, times the" in caption(mixed)
    # What is not drawn does not count.
    assert of_norm not in caption(mixed, dimensions=["valence"])
    assert of_centred not in caption(mixed, dimensions=["arousal"])


def test_interval_over_utterances_is_not_said_to_be_over_speakers(figure):
    plot_layers(some_scores(speakers=412), figure=figure)
    assert "95 % intervals over utterances" in caption_of(figure)
    assert "over speakers" not in caption_of(figure)


def test_a_note_that_speech_is_synthetic_reaches_the_caption(figure):
    scores = some_scores()
    notes = ["two files are missing", "Synthetic speech: it shows nothing about people."]
    protocol = runs_of(scores, cache={"provenance": {"corpus": {"notes": notes}}})
    plot_layers(Results(scores, some_weights(), protocol, table([], PREDICTIONS)), figure=figure)
    caption = figure.get_supxlabel().replace("\n", " ")
    assert notes[1] in caption
    assert notes[0] not in caption


def test_wrapping_breaks_words_only_where_it_must():
    text = "one two three " + "x" * 100 + " $four$"
    lines = wrap(text, 1.0, 7)
    assert all(text_width(one, 7) <= 1.0 for one in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert lines[0] == "one two three"
    assert wrap("", 1, 7) == [""]


# Manners --------------------------------------------------------------------------------------------------------------


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    plot_layers(some_scores(), figure=Figure())
    plot_weights(some_weights(), figure=Figure())
    with publication_style():
        pass
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_axes_of_the_caller_keep_their_size_and_get_a_caption():
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plot_layers(some_scores(), ax=left) is left
    axes = plot_heatmap(some_scores(), ax=right)
    assert axes[0] is right
    assert tuple(figure.get_size_inches()) == (8, 4)
    figure.draw_without_rendering()
    (caption,) = [text for text in left.texts if text.get_gid() == "caption"]
    ticks = min(label.get_window_extent().y0 for label in left.get_xticklabels())
    assert caption.get_window_extent().y1 <= ticks
    plain = Figure().subplots()
    plot_layers(some_scores(), ax=plain, caption=False)
    assert not [text for text in plain.texts if text.get_gid() == "caption"]


def test_without_axes_a_notebook_gets_a_figure_of_pyplot():
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    ax = plot_layers(some_scores())
    assert plt.fignum_exists(ax.figure.number)
    plt.close(ax.figure)


def test_looks_differ_in_more_than_colour():
    dimensions = [dimension_look(name) for name in (*DIMENSIONS, "emotion")]
    models = [series_look(position) for position in range(14)]
    for looks in (dimensions, models[:7], models[7:]):
        assert len({(look.marker, look.filled) for look in looks}) == len(looks)
    assert len({(look.color, look.marker, str(look.linestyle), look.filled) for look in models}) == 14


def test_controls_are_drawn_as_the_table_has_them(figure):
    scores = some_scores()
    scores["null_high"] = np.where(scores["dimension"] == "valence", 0.01, 0.005) * scores["layer"].astype(float)
    twin = some_scores(model="base (random 7)", seed=3)
    ax = plot_layers(pd.concat([scores, twin]), model="base", figure=figure)
    band = next(artist for artist in ax.collections if artist.get_gid() == "null")
    corners = band.get_paths()[0].vertices
    np.testing.assert_allclose([corners[corners[:, 0] == k, 1].max() for k in range(1, 13)], 0.01 * np.arange(1, 13))
    for dimension in DIMENSIONS:
        expected = column(twin, "ccc", dimension=dimension, probe="ridge")
        np.testing.assert_array_equal(line(ax, f"random-{dimension}").get_ydata(), expected)
    assert {"permuted", "random"} <= {text.get_text() for text in ax.get_legend().get_texts()}
    caption = " ".join(text.get_text() for text in ax.figure.texts).replace("\n", " ")
    assert "base (random 7)" in caption
    assert "permuted labels" in caption
    plain = plot_layers(pd.concat([scores, twin]), model="base", baselines=False, figure=Figure())
    assert not [artist for artist in plain.collections if artist.get_gid() == "null"]
