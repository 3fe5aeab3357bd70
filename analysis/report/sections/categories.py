"""What the layers know of each category of emotion."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.probe.selecting import chosen_in_words

from ...figures.confusion import plot_confusion
from ...figures.recalls import plot_recalls
from ...measures.categories import Categories, Confusion
from ...tables import records
from ..content import (
    Block,
    Figure,
    Gallery,
    Missing,
    Paragraph,
    Table,
    counted,
    layers_in_words,
    number,
    whole,
    with_interval,
)
from ..material import Material
from ..pictures import picture
from ..study import EMOTION, Model, Study


def categories_section(material: Material) -> list[Block]:
    """Recalls and confusion of each model, with the mistakes in words; nothing where no categories were probed."""
    study = material.study
    if not study.has_emotion:
        return []
    blocks: list[Block] = []
    for corpus in study.corpora:
        runs = [(model, run) for model in study.of(corpus) if (run := _run(study, model))]
        figures = [figure for model, run in runs if not model.random for figure in _figures(study, model, run)]
        if figures:
            blocks.append(Gallery(tuple(figures)))
        blocks += [Paragraph(_in_words(study, model, run)) for model, run in runs]
        blocks += [_table(study, corpus, runs)] if runs else []
    if not blocks:
        return [Missing("No layer was probed for categories.", study.fit_command("--target emotion"))]
    return blocks


def _run(study: Study, model: Model) -> Categories | None:
    """The run of the layers of a model, where the results hold all that is shown of it."""
    layers = study.layers(model, EMOTION)
    if not len(layers) or study.choice(model, EMOTION) is None:
        return None
    first = layers.iloc[0]
    try:
        run = Categories.of(
            study.results, model=model.label, corpus=model.corpus, split=first["split"], features=first["features"]
        )
        run.recalls()
        run.confusion()
    except UserError:  # results of before there were recalls, or handed on without predictions
        return None
    return run


def _figures(study: Study, model: Model, run: Categories) -> list[Figure]:
    same: dict[str, Any] = {
        "model": model.label,
        "corpus": model.corpus,
        "split": run.curve.split,
        "features": run.curve.features,
    }
    matrix = run.confusion()
    recalls = ", ".join(
        f"{name} {number(share, 2)}" for name, share in zip(matrix.names, np.diagonal(matrix.shares), strict=True)
    )
    on = f"{model.label} on {model.corpus}"
    return [
        picture(
            ("recalls", model.label, model.corpus),
            partial(plot_recalls, study.results, **same),
            alt=f"Recall of each category at each layer of {on}; at layer {matrix.layer}: {recalls}.",
        ),
        picture(
            ("confusion", model.label, model.corpus),
            partial(plot_confusion, study.results, **same),
            alt=f"Confusion matrix of layer {matrix.layer} of {on}, true categories in rows; recalls: {recalls}.",
        ),
    ]


def _in_words(study: Study, model: Model, run: Categories) -> str:
    """Which layers read categories at all, and what the reported one mistakes."""
    layers = study.layers(model, EMOTION)
    read = layers.loc[(layers["p_holm"] <= 0.05).fillna(False).to_numpy(bool), "layer"].tolist()
    text = ""
    if layers["p_holm"].notna().any():
        text = (
            f"{layers_in_words(read) if read else 'None'} of the {len(layers)} layers of {model.label} on "
            f"{model.corpus} {'tell' if len(read) > 1 else 'tells'} categories apart better than permuted labels allow "
            "(p at most 0.05, corrected over layers; by the nearest class mean). "
        )
    matrix = run.confusion()
    if mistaken := matrix.mistaken():
        text += _mistake(matrix, mistaken)
    return text.strip()


def _mistake(matrix: Confusion, mistaken: tuple[str, str, int]) -> str:
    true, answer, times = mistaken
    of = counted(matrix.counts[matrix.names.index(true)].sum(), "utterance")
    return f"The commonest mistake at layer {matrix.layer}: {whole(times)} of {of} of {true} are taken for {answer}."


def _table(study: Study, corpus: str, runs: list[tuple[Model, Categories]]) -> Table:
    rows = []
    for model, run in runs:
        table = run.recalls()
        of_layer = table[(table["layer"] == run.choice.best).to_numpy(bool)]
        highest = table.loc[table.groupby("category")["recall"].idxmax().dropna()].set_index("category")
        for row in records(of_layer):
            best = f"{number(highest.loc[row.category, 'recall'])} (layer {highest.loc[row.category, 'layer']})"
            rows.append(
                (
                    model.label,
                    row.category,
                    f"{run.choice.best}",
                    whole(row.n),
                    whole(row.speakers),
                    with_interval(row.recall, row.recall_low, row.recall_high),
                    number(row.precision),
                    best if pd.notna(row.recall) else number(None),
                    row.reason,
                )
            )
    columns = ("Model", "Category", "Layer", "Utterances", "Speakers", "Recall, 95 % interval", "Precision",
               "Highest recall, with hindsight", "Remark")  # fmt: skip
    on = chosen_in_words((run.choice.chosen_on, run.choice.split) for _, run in runs)
    text = (
        f"Recall of each category on {corpus}, {study.split(corpus)}, at the layer of highest UAR, chosen on {on}. UAR "
        "is the mean of these recalls; its interval leaves out categories that are too rare for one."
    )
    return Table(text, columns, tuple(rows), words=2).filled()
