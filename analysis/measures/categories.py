"""What the layers know of each category: recalls by layer, and which categories are taken for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.metrics import confusion
from emoprobe.probe.schema import CATEGORIES
from emoprobe.probe.selecting import Choice

from ..curves import Curve, best_of_curve, layer_curve
from ..tables import Subject, one_subject, read_tables

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from emoprobe.probe.results import Results


@dataclass(frozen=True)
class Categories:
    """One run of a probe of categories.

    Parameters
    ----------
    results : Results
    curve : Curve
        UAR of each layer.
    choice : Choice
        The layer that is reported.
    """

    results: Results
    curve: Curve
    choice: Choice

    @classmethod
    def of(
        cls,
        results: Any,
        *,
        model: str | None = None,
        corpus: str | None = None,
        probe: str = "logistic",
        split: str | None = None,
        features: str | None = None,
    ) -> Categories:
        """The run that is asked for, or the only one there is.

        Parameters
        ----------
        results : results, pandas.DataFrame or path
            As for :func:`emoprobe.plot_layers`.
        model, corpus : str, optional
            Needed where the results hold several.
        probe : str
        split, features : str, optional
            By default the part that is reported, and the first features that there are.

        Raises
        ------
        UserError
            If there is no score of categories, or several models and none is named.
        """
        tables = read_tables(results)
        subject = one_subject(tables.scores, model, corpus)
        curve = layer_curve(
            tables.scores, subject, dimension=CATEGORIES, metric="uar", probe=probe, split=split, features=features
        )
        if curve is None:
            raise UserError(
                f"{subject.model} on {subject.corpus} has no score of categories: fit them with "
                "probe-fit --target emotion"
            )
        return cls(tables, curve, best_of_curve(tables.scores, curve))

    @property
    def subject(self) -> Subject:
        """Model and corpus."""
        return self.curve.subject

    def recalls(self) -> pd.DataFrame:
        """Recall of each category at each layer: rows of the results' table, by layer and category.

        Raises
        ------
        UserError
            If the results hold none.
        """
        rows = self._own(self.results.recalls)
        if not len(rows):
            raise UserError(
                "the results hold no recalls of categories (recalls.parquet): fit again with probe-fit --target "
                "emotion --overwrite"
            )
        return rows.sort_values(["layer", "category"], kind="stable").reset_index(drop=True)

    def confusion(self, layer: int | None = None) -> Confusion:
        """Which categories a layer takes for which.

        Parameters
        ----------
        layer : int, optional
            By default the one that is reported.

        Raises
        ------
        UserError
            If the results hold no predictions of that layer.
        """
        layer = self.choice.best if layer is None else layer
        rows = self._own(self.results.predictions)
        if len(rows):
            rows = rows[(rows["layer"] == layer).fillna(False).to_numpy(bool)]
        if not len(rows):
            raise UserError(
                f"the results hold no predictions of layer {layer} (predictions.parquet): bring the file back, or fit "
                "again with probe-fit --target emotion --overwrite"
            )
        truth, answers = (rows[name].to_numpy(dtype=str) for name in ("true_category", "predicted_category"))
        names, numbers = np.unique(np.concatenate([truth, answers]), return_inverse=True)
        counts = confusion(numbers[: len(truth)], numbers[len(truth) :], len(names))
        return Confusion(int(layer), tuple(map(str, names)), counts.astype(int))

    def _own(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of the layers of this run."""
        if not len(table):
            return table
        curve = self.curve
        same = (table["layer"] >= 0).fillna(False).to_numpy(bool)
        for column, value in (
            ("model", curve.subject.model),
            ("corpus", curve.subject.corpus),
            ("dimension", CATEGORIES),
            ("probe", curve.probe),
            ("features", curve.features),
            ("split", curve.split),
        ):
            same &= (table[column] == value).to_numpy(bool)
        return table[same]


@dataclass(frozen=True)
class Confusion:
    """How often each category was answered with each.

    Parameters
    ----------
    layer : int
    names : tuple of str
    counts : ndarray of int, shape (categories, categories)
        Rows for the truth, columns for the answers.
    """

    layer: int
    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Counts as shares of the true category, shape as `counts`; NaN where it has no utterance."""
        total = self.counts.sum(1, keepdims=True)
        return np.where(total > 0, self.counts / np.maximum(total, 1), np.nan)

    def mistaken(self) -> tuple[str, str, int] | None:
        """The commonest mistake: the true category, the answer, how often; None where there is none."""
        others = self.counts * (1 - np.eye(len(self.names), dtype=int))
        if not others.any():
            return None
        row, column = np.unravel_index(others.argmax(), others.shape)
        return self.names[row], self.names[column], int(others[row, column])
