"""What can be erased from states, and read from them: dimensions, the speaker and their gender, the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS

if TYPE_CHECKING:
    from emoprobe.extract.cache import HiddenStateCache

#: Beside the dimensions.
SPEAKER, GENDER, WORDS = "speaker", "gender", "words"

CONCEPTS = (*DIMENSIONS, SPEAKER, GENDER, WORDS)

#: A corpus of at most so many texts has its words told by which text it is.
FEW_TEXTS = 20


@dataclass(frozen=True)
class Concept:
    """Something that states may hold.

    Attributes
    ----------
    name : str
        One of :data:`CONCEPTS`.
    values : ndarray, shape (utterances, columns)
        Numbers; NaN in each column where it is not known.
    read : bool
        Whether a probe can read it from speakers whom it was not trained on.
    """

    name: str
    values: np.ndarray
    read: bool = True

    @property
    def known(self) -> np.ndarray:
        """Rows of which it is known, shape (utterances,) bool."""
        return ~np.isnan(self.values).any(1)

    def varies_in(self, rows: np.ndarray) -> bool:
        """Whether two values of it are known among some rows."""
        known = rows[self.known[rows]]
        return len(known) > 1 and bool((self.values[known] != self.values[known[0]]).any())

    def permuted(self, among: np.ndarray, voices: np.ndarray, rng: np.random.Generator) -> Concept:
        """The same values of other utterances; of other speakers, where each speaker has one of a few values.

        Parameters
        ----------
        among : ndarray of int
            Rows that exchange their values.
        voices : ndarray of int, shape (utterances,)
            Number of the speaker.
        rng : numpy.random.Generator
        """
        rows, values = among[self.known[among]], self.values.copy()
        if self.name != SPEAKER and _one_each(self.values[rows], voices[rows]):
            _, first, member = np.unique(voices[rows], return_index=True, return_inverse=True)
            values[rows] = self.values[rows[first]][rng.permutation(len(first))][member]
        else:
            values[rows] = self.values[rng.permutation(rows)]
        return Concept(self.name, values, self.read)


def _one_each(values: np.ndarray, voices: np.ndarray) -> bool:
    """Whether all rows of a speaker have the same values."""
    _, first, member = np.unique(voices, return_index=True, return_inverse=True)
    return len(first) < len(voices) and bool((values == values[first][member]).all())


def concept_of(cache: HiddenStateCache, name: str, *, components: int, fitted: np.ndarray) -> Concept | None:
    """A concept of a corpus; None where the corpus does not know it.

    Parameters
    ----------
    cache : HiddenStateCache
    name : str
    components : int
        Of the words: principal components of their embedding.
    fitted : ndarray of int
        Rows that the components are fitted on, without their labels.

    Raises
    ------
    UserError
        If the components are more than there are rows.
    """
    table = cache.utterances
    if name in DIMENSIONS:
        values = np.where(cache.done, table[name].to_numpy(float), np.nan)
        return Concept(name, values[:, None]) if len(np.unique(values[np.isfinite(values)])) > 1 else None
    if name == WORDS:
        return _words(cache, components, fitted)
    names = table[name].fillna("").astype(str).str.strip().to_numpy(object)
    return _named(name, names, read=name == GENDER)


def _named(name: str, names: np.ndarray, *, read: bool) -> Concept | None:
    """A column of 0 and 1 for each name but the first."""
    known = np.array([bool(one) and one.casefold() != "unknown" for one in names])
    several = sorted(set(names[known]))[1:]
    if not several:
        return None
    values = np.stack([(names == one).astype(float) for one in several], axis=1)
    values[~known] = np.nan
    return Concept(name, values, read)


def _words(cache: HiddenStateCache, components: int, fitted: np.ndarray) -> Concept | None:
    texts = cache.utterances["transcript"].fillna("").astype(str).str.strip().to_numpy(object)
    if 1 < len(set(texts) - {""}) <= FEW_TEXTS:
        return _named(WORDS, texts, read=True)
    if "text" not in cache.baselines:
        return None
    from sklearn.decomposition import PCA

    embedded = cache.baseline("text").astype(np.float64)
    known = np.isfinite(embedded).all(1)
    among = np.intersect1d(fitted, np.flatnonzero(known))
    if components > min(len(among), embedded.shape[1]):
        raise UserError(
            f"{cache.path}: {components} components of the words are more than {len(among)} training rows with a "
            "transcript have: ask for fewer with --components"
        )
    values = np.full((len(embedded), components), np.nan)
    values[known] = PCA(components, random_state=0).fit(embedded[among]).transform(embedded[known])
    return Concept(WORDS, values / values[among].std(0)[0])


def shared_variance(read: np.ndarray, erased: np.ndarray) -> float:
    """Share of the variance of what is read that a linear function of what is erased explains, adjusted.

    Parameters
    ----------
    read, erased : ndarray, shapes (rows, columns)
        Without NaN.

    Returns
    -------
    float
        :math:`1 - (1 - R^2)(n - 1)/(n - k - 1)`, where k is the rank of what is erased; at least 0, NaN of too few
        rows.
    """
    y, z = read - read.mean(0), erased - erased.mean(0)
    solution, _, rank, _ = np.linalg.lstsq(z, y, rcond=None)
    if len(y) - rank - 1 < 1:
        return float("nan")
    left = ((y - z @ solution) ** 2).sum() / (y**2).sum()
    return float(max(0.0, 1 - left * (len(y) - 1) / (len(y) - rank - 1)))


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise a `UserError` for a name that is no concept."""
    for name in names:
        if name not in CONCEPTS:
            raise UserError(f"unknown concept '{name}': there is {', '.join(CONCEPTS)}")
