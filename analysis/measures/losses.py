"""What is lost by erasing a concept, with its interval; see :mod:`.erasure`."""

from __future__ import annotations

import numpy as np
from scipy import stats

from emoprobe.probe import jackknife
from emoprobe.probe.bootstrap import leave_one_out, moments_by_speaker
from emoprobe.probe.metrics import ccc_from_moments


def losses(truth: np.ndarray, fits: np.ndarray, groups: np.ndarray) -> list[dict]:
    """Scores of each concept's erasure, and what is lost beyond its permutations.

    Columns of one thing, such as components of the words, stand one below the other, each taken from its mean.

    Parameters
    ----------
    truth : ndarray, shape (rows, columns)
    fits : ndarray, shape (1 + concepts, 1 + controls, rows, columns)
        Of :func:`.erasure.erased_predictions`.
    groups : ndarray of int, shape (rows,)
        What the jackknife leaves out.

    Returns
    -------
    list of dict
        One a concept. The variance of a loss is that of the jackknife, and that of the permutations' scores times
        1 + 1/controls; its degrees of freedom are Satterthwaite's.
    """
    several, draws = len(fits) - 1, fits.shape[1] - 1
    mean = truth.mean(0)
    single = [fits[0, 0], *fits[1:].reshape(-1, *fits.shape[2:])]
    sums = moments_by_speaker(
        (truth - mean).ravel(), np.stack([(one - mean).ravel() for one in single]), np.repeat(groups, truth.shape[1])
    )

    def measured(values: np.ndarray) -> np.ndarray:
        """After the erasure of each concept, and of its permutations, (..., concepts, 1 + controls)."""
        return np.nan_to_num(ccc_from_moments(values))[..., 1:].reshape(*values.shape[:-2], several, 1 + draws)

    whole, left_out = measured(sums.sum(0)), measured(leave_one_out(sums))
    after, control = whole[:, 0], whole[:, 1:].mean(1)
    low, high, _ = jackknife.limits(after, [left_out[..., 0]], scale="ccc")
    of_units, freedom = jackknife.spread([left_out[..., 1:].mean(-1) - left_out[..., 0]])
    of_draws = whole[:, 1:].var(1, ddof=1) * (1 + 1 / draws)
    variance = of_units + of_draws
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / (of_units**2 / freedom + of_draws**2 / (draws - 1))
        p = 2 * stats.t.sf(np.abs(control - after) / np.sqrt(variance), freedom)
        reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    before = float(ccc_from_moments(sums.sum(0))[0])
    return [
        {
            "before": before,
            "after": after[k],
            "low": low[k],
            "high": high[k],
            "control": control[k],
            "control_low": whole[k, 1:].min(),
            "lost": control[k] - after[k],
            "lost_low": control[k] - after[k] - reach[k],
            "lost_high": control[k] - after[k] + reach[k],
            "p": p[k],
            "units": len(sums),
        }
        for k in range(several)
    ]
