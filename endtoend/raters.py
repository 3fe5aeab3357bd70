"""How far each label can be trusted, from the spread and the number of the ratings that it is the mean of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

#: Ratings that the spread common to all utterances counts for, beside an utterance's own few.
_PRIOR = 4.0

#: Reliabilities that differ by less weigh alike.
_ALIKE = 1e-6

_WITHOUT = "leave out --reliability, and --ratings if given"


def reliabilities(
    utterances: pd.DataFrame,
    labels: np.ndarray,
    dimensions: Sequence[str],
    rows: np.ndarray,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    r"""Share of each label's variance that is the utterance's own, and not the raters' that happened to be asked.

    :math:`r_i = V / (V + s_i^2 / n_i)`, with :math:`n_i` ratings of the spread :math:`s_i`, and :math:`V` the variance
    of the utterances' mean ratings less what the raters add to it: labels on another scale, a normalised one say, are
    as reliable. An utterance's own spread is known from a few ratings alone: its square is averaged, by degrees of
    freedom, with the mean one of all, which counts for four.

    Parameters
    ----------
    utterances : DataFrame
        With the columns :data:`~emoprobe.extract.corpora.cells.RATERS`.
    labels : ndarray, (utterances, dimensions)
    dimensions : sequence of str
    rows : ndarray of int
        The training part, from which variances are taken.
    say : callable
        Told the range of what is found, and how many labels have no rating: they have the mean reliability.

    Returns
    -------
    ndarray, (utterances, dimensions)
        From 0 to 1; NaN where there is no label.

    Raises
    ------
    UserError
        If no utterance of the training part has two ratings, or the ratings vary more than the labels.

    References
    ----------
    P. E. Shrout and J. L. Fleiss, "Intraclass correlations", Psychological Bulletin 86(2), 1979: ICC(1, k), here for
    each utterance by itself.
    """
    trusted = np.full(labels.shape, np.nan)
    for column, name in enumerate(dimensions):
        refuse_unrated(utterances, name)
        ratings, spread, n = (utterances[f"{name}_{what}"].to_numpy(float) for what in ("mean", "sd", "n"))
        s2, n = spread**2, np.where(n >= 1, n, np.nan)
        labelled = ~np.isnan(labels[:, column])
        trained = np.zeros(len(labels), bool)
        trained[rows] = (labelled & ~np.isnan(ratings) & ~np.isnan(n))[rows]
        freedom = np.where(np.isnan(s2) | np.isnan(n), 0.0, n - 1)
        common = _mean(s2[trained & (freedom > 0)], freedom[trained & (freedom > 0)])
        if not np.isfinite(common):
            raise UserError(f"--reliability: no utterance that is trained on has two ratings of {name}; {_WITHOUT}")
        noise = (freedom * np.nan_to_num(s2) + _PRIOR * common) / (freedom + _PRIOR) / n
        own = ratings[trained].var() - noise[trained].mean()
        if np.ptp(ratings[trained]) == 0:
            raise UserError(f"--reliability: the mean ratings of {name} that are trained on do not vary; {_WITHOUT}")
        if own <= 0:
            raise UserError(
                f"--reliability: the ratings of {name} of one utterance vary as much as their means do over "
                f"utterances, so that no label can be trusted more than another; {_WITHOUT}"
            )
        trusted[:, column] = own / (own + noise)
        unrated = labelled & np.isnan(trusted[:, column])
        trusted[unrated, column] = trusted[trained, column].mean()
        trusted[~labelled, column] = np.nan
        low, high = trusted[trained, column].min(), trusted[trained, column].max()
        alike = ": all alike, so that weighing changes nothing" if high - low < _ALIKE else ""
        say(f"reliability of {name}: {low:.2f} to {high:.2f}{alike}")
        if unrated.any():
            say(f"note: {unrated.sum():,} labels of {name} come with no rating: they have the mean reliability")
    return trusted


def refuse_unrated(utterances: pd.DataFrame, dimension: str) -> None:
    """Refuse a corpus without single ratings of a dimension.

    Raises
    ------
    UserError
    """
    number, mean = (utterances.get(f"{dimension}_{what}") for what in ("n", "mean"))
    if number is None or mean is None or (number.isna() | mean.isna()).all():
        raise UserError(
            f"--reliability needs single ratings of {dimension}: name their table with --ratings, or leave out "
            "--reliability"
        )


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() > 0 else float("nan")
