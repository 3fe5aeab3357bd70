"""How deep a dimension of emotion lies, as one number with an interval: the paper's claim in a form that can fail."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, run_command

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..probe.results import Results

#: What the layers are weighed by, where the results have a null of permuted labels and where not.
ABOVE_NULL, ABOVE_ZERO = "CCC above the mean of permuted labels", "CCC above 0"


def relevance_centroids(
    results: Results,
    *,
    probe: str = "ridge",
    split: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean relative depth of each dimension, weighted by the score of each layer; differences of dimensions and models.

    With c_k the CCC of layer k of L, less the mean CCC of permuted labels where the results have it, negative ones
    taken as 0, the centroid is Σ c_k (k / L) / Σ c_k: 0 is the input of the first block, 1 the output of the last, and
    a flat curve gives 0.5. A model whose layers know nothing has no centroid worth the name; its interval is then wide.

    Parameters
    ----------
    results : Results
        With predictions of every layer.
    probe : str
        A probe of single layers.
    split : str, optional
        Such as "test"; by default the first test split, or cross-validation.
    resamples, seed : int
        Of the bootstrap over speakers. One resample serves every layer, dimension and model, so differences are paired.

    Returns
    -------
    DataFrame
        `model` (or "student − teacher" for a difference), `corpus`, `features`, `split`, `dimension` (or
        "valence − arousal" for a difference), `speakers`, `centroid`, `low`, `high` (95 % interval of the bootstrap,
        widened for few speakers), `p` (two-sided, of no difference; empty for a centroid), `weighted_by`, and
        `defined`, the share of resamples that have a centroid at all: below 0.9 there is no interval.

    Raises
    ------
    UserError
        If there are no predictions of single layers.
    """
    import pandas as pd

    table = results.predictions
    table = table[(table["probe"] == probe) & table["layer"].notna() & (table["dimension"] != "emotion")]
    table = table[table["layer"] >= 0]
    if not len(table):
        raise UserError(f"the results hold no predictions of single layers by {probe}; run probe-fit --probe {probe}")
    rows: list[dict] = []
    differences: list[dict] = []
    for (corpus, features), of_corpus in table.groupby(["corpus", "features"], sort=False):
        name = _split(of_corpus["split"], split)
        of_corpus = of_corpus[of_corpus["split"] == name]
        found: dict[tuple[str, str], _Centroid] = {}
        for (model, dimension), part in of_corpus.groupby(["model", "dimension"], sort=False):
            found[model, dimension] = _centroid(part, _null(results, part), resamples, seed)
        about = {"corpus": corpus, "features": features, "split": name}
        pairs = [(one, other) for i, one in enumerate(found) for other in list(found)[i + 1 :]]
        for model in dict.fromkeys(model for model, _ in found):
            rows += [
                {"model": model, **about, "dimension": dimension, **centroid.row()}
                for (of, dimension), centroid in found.items()
                if of == model
            ]
            rows += [
                {"model": model, **about, "dimension": f"{other[1]} − {one[1]}", **found[other].less(found[one])}
                for one, other in pairs
                # Paired only where both were scored on the same speakers.
                if one[0] == other[0] == model and found[one].speakers == found[other].speakers
            ]
        differences += [
            {"model": f"{other[0]} − {one[0]}", **about, "dimension": one[1], **found[other].less(found[one])}
            for one, other in pairs
            if one[0] != other[0] and one[1] == other[1] and found[one].speakers == found[other].speakers
        ]
    columns = ["model", "corpus", "features", "split", "dimension", "speakers", "centroid", "low", "high", "p",
               "weighted_by", "defined"]  # fmt: skip
    return pd.DataFrame(rows + differences, columns=columns)


def _split(splits: pd.Series, wanted: str | None) -> str:
    from ..probe.significance import first_split

    if wanted is not None and wanted not in set(splits):
        raise UserError(f"no predictions on {wanted!r}; there are {', '.join(dict.fromkeys(splits))}")
    return first_split(splits) if wanted is None else wanted


@dataclass(frozen=True)
class _Centroid:
    """On all speakers, on each resample of them, and without each of them."""

    value: float
    drawn: np.ndarray
    left_out: np.ndarray
    speakers: tuple[str, ...]
    weighted_by: str

    def row(self) -> dict[str, object]:
        from ..probe.significance import limits

        low, high, _ = limits(self.drawn[:, None], self.left_out[:, None], scale="share")
        return self._row(self.value, self.drawn, low, high, float("nan"), self.weighted_by)

    def less(self, other: _Centroid) -> dict[str, object]:
        """The difference of two centroids on the same resamples."""
        from ..probe.significance import limits

        drawn = self.drawn - other.drawn
        low, high, p = limits(drawn[:, None], (self.left_out - other.left_out)[:, None], scale="difference of shares")
        by = " or ".join(dict.fromkeys([self.weighted_by, other.weighted_by]))
        return self._row(self.value - other.value, drawn, low, high, p[0], by)

    def _row(self, value, drawn, low, high, p, by) -> dict[str, object]:
        import numpy as np

        return {
            "speakers": len(self.speakers),
            "centroid": value,
            "low": low[0],
            "high": high[0],
            "p": p,
            "weighted_by": by,
            "defined": float(np.isfinite(drawn).mean()) if len(drawn) else 0.0,
        }


def _null(results: Results, part: pd.DataFrame) -> pd.Series | None:
    """Mean CCC of permuted labels by layer; None where the table of scores does not have it for every layer."""
    scores, first = results.scores, part.iloc[0]
    if "null_mean" not in scores:
        return None
    same = scores["fold"] == "all"
    for column in ("model", "corpus", "dimension", "probe", "features", "split"):
        same &= scores[column] == first[column]
    null = scores[same].groupby("layer")["null_mean"].mean()
    null = null.reindex(sorted(part["layer"].unique()))
    return null if null.notna().all() else None


def _centroid(part: pd.DataFrame, null: pd.Series | None, resamples: int, seed: int) -> _Centroid:
    import numpy as np

    from ..probe.bootstrap import leave_one_out, moments_by_speaker, resample_counts
    from ..probe.metrics import ccc_from_moments

    wide = part.pivot(index=["id", "speaker"], columns="layer", values="prediction")
    truth = part.drop_duplicates("id").set_index("id")["truth"].reindex(wide.index.get_level_values("id")).to_numpy()
    names = wide.index.get_level_values("speaker").to_numpy(dtype=object)
    # An utterance of unknown speaker counts as a speaker of its own.
    names = np.where(names == "", wide.index.get_level_values("id"), names)
    speakers, group = np.unique(names.astype(str), return_inverse=True)
    sums = moments_by_speaker(truth, wide.to_numpy().T, group)
    floor = 0.0 if null is None else null.to_numpy(float)
    depth = np.asarray(wide.columns, dtype=float) / max(*wide.columns, 1)

    def of(summed: np.ndarray) -> np.ndarray:
        weight = np.nan_to_num(np.maximum(ccc_from_moments(summed) - floor, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            return weight @ depth / weight.sum(-1)

    flat = sums.reshape(len(speakers), -1)
    drawn = [
        of((counts @ flat).reshape(-1, *sums.shape[1:]))
        for counts in resample_counts(len(speakers), resamples, seed=seed)
    ]
    return _Centroid(
        value=float(of(sums.sum(0))),
        drawn=np.concatenate([np.empty(0), *drawn]),
        left_out=of(leave_one_out(sums)),
        speakers=tuple(speakers),
        weighted_by=ABOVE_ZERO if null is None else ABOVE_NULL,
    )


def main(argv: list[str] | None = None) -> int:
    """``python -m emoprobe.analysis.centroid``: print the centroids of results on disk."""
    parser = argparse.ArgumentParser(
        prog="python -m emoprobe.analysis.centroid",
        description="Relevance centroid of each dimension (0 = input of the first block, 1 = last block), and the "
        "differences between dimensions and between models, with 95 % intervals by bootstrap over speakers.",
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="folder that probe-fit wrote")
    parser.add_argument("--probe", choices=("ridge", "mlp"), default="ridge")
    parser.add_argument("--split", help="such as test or development (default: the first test split)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    def body() -> int:
        from ..probe import load_results

        found = relevance_centroids(
            load_results(options.results),
            probe=options.probe,
            split=options.split,
            resamples=options.resamples,
            seed=options.seed,
        )
        print(found.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
