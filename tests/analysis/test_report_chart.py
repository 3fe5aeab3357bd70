"""The chart of a report: how much of the data it holds, what it says of that, and the page without its library."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis.report import chart
from emoprobe.analysis.report.chart_data import ChartData, chart_data
from emoprobe.analysis.report.content import Chart, Document, Section
from emoprobe.analysis.report.html import to_html
from emoprobe.analysis.report.study import Model, Study
from emoprobe.probe.results import PREDICTIONS, SCORES, Results, table

N, LAYERS, SPEAKERS = 100_000, 3, 2_000
EVIL = "</script><script>alert(1)</script>"


def of_layers(n: int, speakers: int, *, label: str = "m") -> Study:
    """A model with one dimension, whose predictions are the truth and a little more with each layer."""
    truth = np.random.default_rng(0).normal(size=n)
    same = {
        "model": label,
        "corpus": "c",
        "dimension": "valence",
        "probe": "ridge",
        "features": "mean",
        "split": "test",
    }
    scores = [
        {**same, "layer": layer, "fold": "all", "seed": 0, "n": n, "ccc": 0.5, "ccc_low": 0.4, "ccc_high": 0.6,
         "p": 1 / 1001, "p_holm": 3 / 1001, "permutations": 1000, "null_high": 0.1, "speakers": speakers}
        for layer in range(LAYERS)
    ]  # fmt: skip
    utterances = pd.DataFrame({"id": [f"u{i}" for i in range(n)], "speaker": [f"s{i % speakers}" for i in range(n)]})
    predictions = [
        utterances.assign(**same, layer=layer, seed=0, fold="all", truth=truth, prediction=truth + layer / 10)
        for layer in range(LAYERS)
    ]
    results = replace(
        Results.empty(),
        scores=table(pd.DataFrame(scores), SCORES),
        predictions=table(pd.concat(predictions), PREDICTIONS),
    )
    return Study(results, (Model(label, "c", {"name": label}, "m.h5"),), ())


pytestmark = pytest.mark.slow
drawn = pytest.mark.skipif(not chart.can_be_asked(), reason="needs emoprobe[report]")


@pytest.fixture(scope="module")
def large() -> ChartData:
    return chart_data(of_layers(N, SPEAKERS), "c")


@drawn
def test_the_page_holds_a_bounded_number_of_rows_and_says_so(large):
    shown, there = large.utterances
    assert there == N
    assert shown * LAYERS <= 60_000
    kept, speakers = large.speakers_there
    assert speakers == SPEAKERS
    assert 2 * kept * LAYERS <= 30_000
    said = chart.note(large)
    assert f"Shown are {shown} of 100 000 utterances, drawn at random, the same for every layer" in said
    assert len(json.dumps(chart.specification(large, start=("m", "valence", 0)))) < 2_000_000


def test_every_layer_shows_the_same_utterances(large):
    (rated,) = large.rated
    for row in large.predicted:
        moved = np.array(row["predictions"]) - np.array(rated["truth"])
        assert moved == pytest.approx(row["layer"] / 10, abs=2e-3)
    # Drawn from the whole, not from its beginning.
    assert max(int(name[1:]) for name in rated["id"]) > 0.9 * N


def test_all_of_a_small_corpus_is_shown_with_the_mean_of_each_speaker():
    data = chart_data(of_layers(60, 3), "c")
    assert data.utterances == (60, 60)
    assert "Shown are" not in chart.note(data)
    truth = np.array(data.rated[0]["truth"])
    for row in data.speakers:
        for name, rows, rating, prediction in zip(
            row["name"], row["rows"], row["rating"], row["prediction"], strict=True
        ):
            mean = truth[int(name[1:]) :: 3].mean()
            assert (rows, rating, prediction) == (
                20,
                pytest.approx(mean, abs=2e-3),
                pytest.approx(mean + row["layer"] / 10, abs=2e-3),
            )


def test_a_bound_stands_where_no_permutation_reached_the_score(large):
    assert {row["p"] for row in large.scores} == {"≤ 3/1001"}


@drawn
def test_no_name_ends_the_element_of_the_data(monkeypatch):
    monkeypatch.setattr("emoprobe.analysis.report.html.library", lambda: "0")
    data = chart_data(of_layers(6, 2, label=EVIL), "c")
    asked = Chart((), chart.specification(data, start=(EVIL, "valence", 0)), "note")
    page = to_html(Document("t", "s", (Section("answer", "The answer", (asked,)),)))
    assert EVIL not in page
    assert page.count("<script") == page.count("</script>") == 3  # data, library, start


def test_without_its_library_the_page_says_how_to_get_it():
    page = to_html(Document("t", "s", (Section("answer", "The answer", (Chart((), None, chart.REMEDY),)),)))
    assert "emoprobe[report]" in page
    assert "<script" not in page
    assert "script-src" not in page
