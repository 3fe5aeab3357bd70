"""What an interactive chart is drawn from: scores, baselines, predictions and speakers, bounded in size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.probe.choosing import rows_of

from ..tables import BASELINE_NAMES, METRICS, ordered_baselines
from .content import clean, counted_probability, known, with_interval
from .study import Model, Study

#: Scores that can be chosen.
CHOICES = ("ccc", "pearson", "rmse")

#: Numbers of utterances, and of speakers, that a page holds at most, over all layers of a corpus.
_PREDICTIONS, _SPEAKERS = 60_000, 30_000

#: However many layers there are, so many utterances and speakers are shown.
_FEWEST = 20


@dataclass(frozen=True)
class ChartData:
    """Rows of the chart of a corpus; every text in them is clean, and nothing but a value.

    Parameters
    ----------
    scores : list of dict
        One a layer, dimension and score: `model, of, twin, dimension, layer, metric, value, low, high, null, n,
        speakers, said, p`. `of` is the trained model that a random twin belongs to.
    baselines : list of dict
        `name, dimension, place, metric, value, said`; `place` counts down from -1.
    rated : list of dict
        One a dimension: the `truth`, `speaker` and `id` of each shown utterance.
    predicted : list of dict
        One a layer and dimension: `predictions` of the same utterances.
    speakers : list of dict
        One a layer and dimension: of each shown speaker its `name`, `rows`, mean `rating` and mean `prediction`.
    utterances, speakers_there : tuple of int
        How many are shown, and how many there are.
    """

    scores: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    rated: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    speakers: list[dict[str, Any]]
    utterances: tuple[int, int]
    speakers_there: tuple[int, int]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The rows by the names that the chart calls them."""
        return {name: getattr(self, name) for name in ("scores", "baselines", "rated", "predicted", "speakers")}

    @property
    def models(self) -> list[str]:
        """Labels of the trained models."""
        return list(dict.fromkeys(row["of"] for row in self.scores))

    @property
    def dimensions(self) -> list[str]:
        """The dimensions that have a score, in their order."""
        return list(dict.fromkeys(row["dimension"] for row in self.scores))


def chart_data(study: Study, corpus: str) -> ChartData:
    """Everything that the chart of a corpus shows.

    Parameters
    ----------
    study : Study
    corpus : str

    Returns
    -------
    ChartData
    """
    trained = study.of(corpus, random=False) or study.of(corpus)
    models = [(model, model) for model in trained]
    models += [(twin, model) for model in trained if (twin := study.twin(model))]
    curves = [
        (model, of, dimension, layers)
        for dimension in study.dimensions
        for model, of in models
        if study.choice(model, dimension) and len(layers := study.layers(model, dimension))
    ]
    scores = [row for model, of, _, layers in curves for row in _scores(model, of, layers)]
    n_layers = sum(len(layers) for *_, layers in curves)
    predictions = [
        (model, dimension, layer, rows)
        for model, _, dimension, layers in curves
        for layer, rows in _predictions(study, model, dimension, layers)
    ]
    rated, predicted, utterances = _sampled(predictions, max(_FEWEST, _PREDICTIONS // max(n_layers, 1)))
    speakers, there = _speakers(predictions, max(_FEWEST, _SPEAKERS // max(2 * n_layers, 1)))
    return ChartData(scores, _baselines(study, corpus), rated, predicted, speakers, utterances, there)


def _scores(model: Model, of: Model, layers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in layers.to_dict("records"):
        for metric in CHOICES:
            value, low, high = row[metric], row[f"{metric}_low"], row[f"{metric}_high"]
            if not known(value):
                continue
            yield {
                "model": clean(model.label),
                "of": clean(of.label),
                "twin": model != of,
                "dimension": row["dimension"],
                "layer": int(row["layer"]),
                "metric": METRICS[metric],
                "value": _short(value),
                "low": _short(low),
                "high": _short(high),
                # Labels are permuted for the first score alone.
                "null": _short(row["null_high"]) if metric == CHOICES[0] else None,
                "n": int(row["n"]),
                "speakers": int(row["speakers"]) if known(row["speakers"]) else None,
                "said": with_interval(value, low, high),
                "p": counted_probability(row["p_holm"], row["p"], row["permutations"]),
            }


def _baselines(study: Study, corpus: str) -> list[dict[str, Any]]:
    rows = rows_of(study.results.scores, corpus=corpus, fold="all", split=study.split(corpus))
    rows = rows[rows["layer"].eq(-1).fillna(False).to_numpy(bool) & rows["dimension"].isin(study.dimensions)]
    names = [name for name in ordered_baselines(rows["probe"]) if name in BASELINE_NAMES]
    said = []
    for row in rows.drop_duplicates(["probe", "dimension"]).to_dict("records"):
        for metric in CHOICES:
            if row["probe"] in names and known(row[metric]):
                said.append(
                    {
                        "name": BASELINE_NAMES[row["probe"]],
                        "dimension": row["dimension"],
                        "place": names.index(row["probe"]) - len(names),
                        "metric": METRICS[metric],
                        "value": _short(row[metric]),
                        "low": _short(row[f"{metric}_low"]),
                        "high": _short(row[f"{metric}_high"]),
                        "said": with_interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"]),
                    }
                )
    return said


def _predictions(
    study: Study, model: Model, dimension: str, layers: pd.DataFrame
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Predictions of each of these layers; none where the results were handed on without."""
    table, first = study.results.predictions, layers.iloc[0]
    same = np.ones(len(table), bool)
    for name, value in (("model", model.label), ("corpus", model.corpus), ("dimension", dimension)):
        same &= (table[name] == value).to_numpy(bool)
    for name in ("probe", "features", "split"):
        same &= (table[name] == first[name]).to_numpy(bool)
    rows = table[same]
    rows = rows[rows["layer"].isin(layers["layer"]).to_numpy(bool)]
    for layer, part in rows.groupby("layer", sort=True):
        yield int(str(layer)), part


_Predictions = Sequence[tuple[Model, str, int, pd.DataFrame]]


def _sampled(predictions: _Predictions, most: int) -> tuple[list[dict], list[dict], tuple[int, int]]:
    """The same utterances for each layer: drawn at random, by one seed, where there are more than `most`."""
    rated: dict[str, tuple[pd.Index, dict[str, Any]]] = {}
    predicted = []
    shown = there = 0
    for model, dimension, layer, rows in predictions:
        table = rows.drop_duplicates("id").set_index("id")
        if dimension not in rated:
            drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:most])
            part = table.iloc[drawn]
            shown, there = max(shown, len(part)), max(there, len(table))
            rated[dimension] = (
                part.index,
                {
                    "dimension": dimension,
                    "truth": [_short(value) for value in part["truth"]],
                    "speaker": [clean(name) for name in part["speaker"]],
                    "id": [clean(name) for name in part.index],
                },
            )
        values = table["prediction"].reindex(rated[dimension][0])
        predicted.append(
            {
                "model": clean(model.label),
                "dimension": dimension,
                "layer": layer,
                "predictions": [_short(value) for value in values],
            }
        )
    return [row for _, row in rated.values()], predicted, (shown, there)


def _speakers(predictions: _Predictions, most: int) -> tuple[list[dict], tuple[int, int]]:
    """Mean rating and mean prediction of each speaker: of `most` of them, those with the most utterances."""
    said, shown, there = [], 0, 0
    for model, dimension, layer, rows in predictions:
        named = rows[(rows["speaker"].fillna("") != "").to_numpy(bool)]
        of = named.groupby("speaker").agg(n=("truth", "size"), truth=("truth", "mean"), said=("prediction", "mean"))
        kept = of.sort_values("n", ascending=False, kind="stable").head(most)
        shown, there = max(shown, len(kept)), max(there, len(of))
        said.append(
            {
                "model": clean(model.label),
                "dimension": dimension,
                "layer": layer,
                "name": [clean(name) for name in kept.index],
                "rows": [int(n) for n in kept["n"]],
                "rating": [_short(value) for value in kept["truth"]],
                "prediction": [_short(value) for value in kept["said"]],
            }
        )
    return said, (shown, there)


def _short(value: Any) -> float | None:
    """Three digits behind the point are more than a pixel."""
    return round(float(value), 3) if known(value) else None
