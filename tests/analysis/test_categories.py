"""Recalls by layer and confusion matrices: numbers against scikit-learn, and pictures that can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import confusion_matrix, recall_score

from emoprobe.analysis import Categories, plot_confusion, plot_recalls
from emoprobe.analysis.figures.drawing import draw_figures
from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.study import Model, Study
from emoprobe.errors import UserError
from emoprobe.probe.results import PREDICTIONS, RECALLS, SCORES, WEIGHTS, Results, table

NAMES = ["anger", "boredom", "calm", "sadness"]
SPEAKERS, LAYERS = 10, 5


def some_results(
    names: list[str] | None = None, *, best: int = 3, rare: int = 0, models: tuple[str, ...] = ("m",), n: int = 200
) -> Results:
    """Layers that are right the more often the nearer they are to the best, and baselines that guess."""
    names = NAMES if names is None else names
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(names) - bool(rare), n)
    truth[:rare] = len(names) - 1
    labels = np.array(names, dtype=object)
    scores, recalls, predictions, protocol = [], [], [], []
    for model in models:
        skill = 0.3 if "random" in model else 0.7
        for probe, layer in [*(("logistic", layer) for layer in range(LAYERS)), ("mfcc", -1), ("text", -1)]:
            right = skill / (1 + abs(layer - best)) if layer >= 0 else 0.1
            answers = np.where(rng.random(n) < right, truth, rng.integers(0, len(names), n))
            run = {"model": model, "corpus": "c", "dimension": "emotion", "probe": probe}
            run["features"] = "mean" if layer >= 0 else probe
            fit = run | {"layer": layer, "seed": 0, "split": "cross-validation"}
            each = recall_score(truth, answers, labels=range(len(names)), average=None)
            pooled = {
                "fold": "all",
                "n": n,
                "speakers": SPEAKERS,
                "uar": each.mean(),
                "p_holm": 0.01 + 0.1 * (layer == 0),
            }
            scores.append(fit | pooled)
            for k, name in enumerate(names):
                reason = "too rare for an interval" if rare and k == len(names) - 1 else ""
                row = {"category": name, "n": int((truth == k).sum()), "speakers": 9, "recall": each[k]}
                recalls.append(fit | row | {"precision": 0.5, "reason": reason})
            frame = {"id": [f"u{i}" for i in range(n)], "speaker": [f"s{i % SPEAKERS}" for i in range(n)]}
            predictions.append(
                pd.DataFrame(fit | {"fold": "1"} | frame)
                .assign(true_category=labels[truth], predicted_category=labels[answers])
            )  # fmt: skip
            split = {"kind": "speaker-grouped folds", "folds": 5}
            protocol += [run | {"split": split, "categories": names}] if layer <= 0 else []
    return Results(
        table(scores, SCORES),
        table([], WEIGHTS),
        protocol,
        table(pd.concat(predictions), PREDICTIONS),
        table(recalls, RECALLS),
    )


def of_layer(results: Results, layer: int) -> pd.DataFrame:
    rows = results.predictions
    return rows[(rows["layer"] == layer).to_numpy(bool)]


def test_the_lines_are_the_recalls_of_scikit_learn():
    results = some_results()
    ax = plot_recalls(results, figure=Figure())
    drawn = {line.get_gid(): line.get_ydata() for line in ax.get_lines()}
    for name in NAMES:
        expected = [
            recall_score(rows["true_category"], rows["predicted_category"], labels=[name], average="macro")
            for rows in (of_layer(results, layer) for layer in range(LAYERS))
        ]
        np.testing.assert_allclose(drawn[f"recall-{name}"], expected)
    np.testing.assert_allclose(drawn["recall-mean"], np.mean([drawn[f"recall-{name}"] for name in NAMES], axis=0))
    assert drawn["best"][0] is not None
    caption = ax.figure.get_supxlabel().replace("\n", " ")
    assert "chosen on the same rows, with hindsight" in caption
    assert "(200 utterances, 10 speakers)" in caption


def test_the_matrix_is_that_of_scikit_learn_at_the_layer_that_is_reported():
    results = some_results()
    figure = Figure()
    ax = plot_confusion(results, figure=figure)
    (best,) = results.best_layers().query("probe == 'logistic'")["layer"]
    assert best == 3
    rows = of_layer(results, best)
    truth, answers = rows["true_category"], rows["predicted_category"]
    expected = 100 * confusion_matrix(truth, answers, labels=NAMES, normalize="true")
    (mesh,) = (made for made in ax.collections if made.get_gid() == "confusion")
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(4, 4), expected)
    written = [text.get_text() for text in ax.texts]
    assert written == [f"{value:.0f}" for value in expected.ravel()]
    assert "layer 3" in ax.get_title(loc="left")
    assert len(figure.axes) == 2  # the matrix and its colour bar
    np.testing.assert_array_equal(
        Categories.of(results).confusion(1).counts,
        confusion_matrix(of_layer(results, 1)["true_category"], of_layer(results, 1)["predicted_category"]),
    )


def test_the_commonest_mistake_is_named():
    results = some_results()
    matrix = Categories.of(results).confusion()
    true, answer, times = matrix.mistaken()
    rows = of_layer(results, 3)
    own = rows[rows["true_category"] == true]
    assert true != answer
    assert times == (own["predicted_category"] == answer).sum()
    assert times == max(matrix.counts[~np.eye(4, dtype=bool)])


@pytest.mark.parametrize(
    "names", [NAMES, [f"a very long category {k}" for k in range(9)], [f"c{k}" for k in range(22)]]
)
@pytest.mark.parametrize("plot", [plot_recalls, plot_confusion])
@pytest.mark.parametrize("model", ["m", "a-very-long-model-name/" * 4])
def test_nothing_is_cut_and_nothing_collides(plot, names, model):
    figure = Figure()
    ax = plot(some_results(names, n=400, models=(model,)), figure=figure)
    figure.draw_without_rendering()
    page = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    for text in texts:
        extent = text.get_window_extent()
        assert extent.x0 >= page.x0 - 0.5, text.get_text()
        assert extent.x1 <= page.x1 + 0.5, text.get_text()
        assert extent.y0 >= page.y0 - 0.5, text.get_text()
        assert extent.y1 <= page.y1 + 0.5, text.get_text()
    title = next(text for text in texts if text.get_text() == ax.get_title(loc="left")).get_window_extent()
    assert not any(title.overlaps(text.get_window_extent()) for text in texts if text.get_text().isdigit())
    legend = ax.get_legend()
    assert legend is None or not legend.get_window_extent().overlaps(ax.get_window_extent())
    ticks = [label.get_window_extent() for label in ax.get_yticklabels() if label.get_text()]
    middles = sorted((box.y0 + box.y1) / 2 for box in ticks)
    assert np.diff(middles).min() > 0.7 * max(box.height for box in ticks)


@pytest.mark.slow
def test_both_are_among_the_figures_of_categories(tmp_path):
    made = {path.name for path in draw_figures(some_results(), tmp_path / "figures", formats=["svg"])}
    assert {"recalls_m.svg", "confusion_m.svg", "emotion_m.svg"} <= made
    without = some_results()
    without = Results(without.scores, without.weights, without.protocol)
    made = {path.name for path in draw_figures(without, tmp_path / "less", formats=["svg"])}
    assert not any(name.startswith(("recalls", "confusion")) for name in made)
    with pytest.raises(UserError, match="probe-fit --target emotion"):
        plot_recalls(without)
    with pytest.raises(UserError, match=r"predictions\.parquet"):
        plot_confusion(without)


def study_of(results: Results) -> Study:
    models = tuple(
        Model(name, "c", {"name": "net", "blocks": 4, "random_init": 0 if "random" in name else None}, f"{name}.h5")
        for name in dict.fromkeys(results.scores["model"])
    )
    return Study(results, models, (Path("results"),))


def test_claims_hold_categories_against_acoustics_words_and_a_random_twin():
    results = some_results(models=("m", "m (random 0)"))
    found = {claim.subject: claim for claim in claims(study_of(results))}
    assert set(found) == {"acoustics", "words", "twin"}
    for claim in found.values():
        assert "emotion categories" in claim.statement
        assert claim.measure == "difference in UAR"
        assert claim.verdict == "supported"
    best = results.best_layers().set_index(["model", "probe"])["uar"]
    assert found["words"].value == pytest.approx(best["m", "logistic"] - best["m", "text"])
    assert found["twin"].value == pytest.approx(best["m", "logistic"] - best["m (random 0)", "logistic"])


def test_a_claim_names_the_category_that_it_leaves_out():
    found = claims(study_of(some_results(rare=3)))
    assert found
    assert all("Left out, because too rare for an interval: sadness." in claim.how for claim in found)
