"""How deep a dimension of emotion lies, as one number with an interval: the paper's claim in a form that can fail."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, run_command

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..probe.results import Results


def relevance_centroids(
    results: Results,
    *,
    probe: str = "ridge",
    split: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean relative depth of each dimension, weighted by the CCC of each layer, and the differences between dimensions.

    With c_k the CCC of layer k of L, negative ones taken as 0, the centroid is Σ c_k (k / L) / Σ c_k: 0 is the input of
    the first block, 1 the output of the last, and a flat curve gives 0.5. A model whose layers know nothing has no
    centroid worth the name; its interval is then wide.

    Parameters
    ----------
    results : Results
        With predictions of every layer.
    probe : str
        A probe of single layers.
    split : str, optional
        Such as "test"; by default the first test split, or cross-validation.
    resamples, seed : int
        Of the bootstrap over speakers. One resample serves every layer and dimension, so differences are paired.

    Returns
    -------
    DataFrame
        `model`, `corpus`, `features`, `split`, `dimension` (or "valence − arousal" for a difference), `speakers`,
        `centroid`, `low`, `high` (95 % percentile interval), and `defined`, the share of resamples that have a
        centroid at all.

    Raises
    ------
    UserError
        If there are no predictions of single layers.
    """
    import pandas as pd

    table = results.predictions
    table = table[(table["probe"] == probe) & table["layer"].notna() & (table["dimension"] != "emotion")]
    if not len(table):
        raise UserError(f"the results hold no predictions of single layers by {probe}; run probe-fit --probe {probe}")
    rows = []
    for (model, corpus, features), part in table.groupby(["model", "corpus", "features"], sort=False):
        name = _first_split(part["split"], split)
        part = part[part["split"] == name]
        drawn = {d: _drawn(p, resamples, seed) for d, p in part.groupby("dimension", sort=False)}
        pairs = [(a, b) for i, a in enumerate(drawn) for b in list(drawn)[i + 1 :]]
        found = {d: values for d, (values, _) in drawn.items()}
        for a, b in pairs:
            # Paired only where both dimensions were scored on the same speakers.
            if drawn[a][1] == drawn[b][1]:
                found[f"{b} − {a}"] = drawn[b][0] - drawn[a][0]
        about = {"model": model, "corpus": corpus, "features": features, "split": name}
        rows += [
            {**about, "dimension": d, "speakers": part["speaker"].nunique(), **_summary(values)}
            for d, values in found.items()
        ]
    return pd.DataFrame(rows)


def _first_split(splits: pd.Series, wanted: str | None) -> str:
    there = list(dict.fromkeys(splits))
    if wanted is not None:
        if wanted not in there:
            raise UserError(f"no predictions on {wanted!r}; there are {', '.join(there)}")
        return wanted
    return next((s for s in sorted(there) if s.startswith("test")), there[0])


def _drawn(part: pd.DataFrame, resamples: int, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Centroid on all speakers, then on each resample of them; and the speakers."""
    import numpy as np

    from ..probe.bootstrap import moments_by_speaker, resample_counts
    from ..probe.metrics import ccc_from_moments

    wide = part.pivot(index=["id", "speaker"], columns="layer", values="prediction")
    truth = part.drop_duplicates("id").set_index("id")["truth"].reindex(wide.index.get_level_values("id")).to_numpy()
    names = wide.index.get_level_values("speaker").to_numpy(dtype=object)
    # An utterance of unknown speaker counts as a speaker of its own.
    names = np.where(names == "", wide.index.get_level_values("id"), names)
    speakers, group = np.unique(names.astype(str), return_inverse=True)
    sums = moments_by_speaker(truth, wide.to_numpy().T, group)
    flat = sums.reshape(len(speakers), -1)
    counts = [np.ones((1, len(speakers))), *resample_counts(len(speakers), resamples, seed=seed)]
    ccc = ccc_from_moments((np.concatenate(counts) @ flat).reshape(-1, *sums.shape[1:]))
    depth = np.asarray(wide.columns, dtype=float) / max(wide.columns)
    weight = np.nan_to_num(np.maximum(ccc, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return weight @ depth / weight.sum(1), tuple(speakers)


def _summary(values: np.ndarray) -> dict[str, float]:
    import numpy as np

    drawn = values[1:]
    defined = float(np.isfinite(drawn).mean()) if len(drawn) else 0.0
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if defined > 0.9 else (np.nan, np.nan)
    return {"centroid": float(values[0]), "low": float(low), "high": float(high), "defined": defined}


def main(argv: list[str] | None = None) -> int:
    """``python -m emoprobe.analysis.centroid``: print the centroids of results on disk."""
    parser = argparse.ArgumentParser(
        prog="python -m emoprobe.analysis.centroid",
        description="Relevance centroid of each dimension (0 = input of the first block, 1 = last block) and their "
        "differences, with 95 % intervals by bootstrap over speakers.",
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
