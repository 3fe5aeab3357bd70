r"""Erasing what is linearly readable of a concept from states, and nothing else: LEACE in closed form.

With :math:`\Sigma` the covariance of the states :math:`x`, :math:`W = \Sigma^{-1/2}` and :math:`P` the orthogonal
projection on the columns of :math:`W \Sigma_{xz}`,

.. math:: r(x) = x - W^{-1} P W (x - \bar x).

Then :math:`\operatorname{cov}(r(x), z) = 0`, so that no linear probe reads :math:`z` from :math:`r(x)` better than a
constant, and of all affine maps with that property this one changes the states least (Belrose et al. 2023).
The first holds for every invertible :math:`W`; :math:`\Sigma` is therefore estimated with the shrinkage of Ledoit and
Wolf, without which few utterances in many dimensions would make a poor one.

The package ``concept-erasure`` of the authors computes the same with torch (`tests/analysis/test_erasure.py` compares),
but leaves out directions whose covariance is below 0.01 in whatever unit the concept has.

References
----------
N. Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023. O. Ledoit and M. Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis 88(2), 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Singular values of the whitened covariance below this share of the largest are rounding.
_ROUNDING = 1e-8


@dataclass(frozen=True)
class Whitening:
    """What makes states white, and back.

    Attributes
    ----------
    forth, back : ndarray, shape (width, width)
        :math:`W` and its inverse; both symmetric.
    """

    forth: np.ndarray
    back: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray, *, shrinkage: float | None = None) -> Whitening:
        """From states, shape (rows, width).

        Parameters
        ----------
        states : ndarray
        shrinkage : float, optional
            Share of the mean variance in the covariance, by default as Ledoit and Wolf estimate it.
        """
        from sklearn.covariance import ledoit_wolf_shrinkage

        centred = states - states.mean(0)
        covariance = centred.T @ centred / len(states)
        share = ledoit_wolf_shrinkage(states) if shrinkage is None else shrinkage
        width = len(covariance)
        covariance = (1 - share) * covariance + share * np.trace(covariance) / width * np.eye(width)
        values, vectors = np.linalg.eigh(covariance)
        there = values > values[-1] * width * np.finfo(np.float64).eps
        root = np.sqrt(np.where(there, values, 1.0))
        return cls(
            (vectors * np.where(there, 1 / root, 0.0)) @ vectors.T, (vectors * np.where(there, root, 0.0)) @ vectors.T
        )


@dataclass(frozen=True)
class Eraser:
    """An affine map that takes some directions away: x less `left` `right` (x less `centre`).

    Attributes
    ----------
    left : ndarray, shape (width, rank)
    right : ndarray, shape (rank, width)
    centre : ndarray, shape (width,)
        Where nothing is moved.
    """

    left: np.ndarray
    right: np.ndarray
    centre: np.ndarray

    @classmethod
    def of_concept(cls, states: np.ndarray, concept: np.ndarray, whitening: Whitening | None = None) -> Eraser:
        """What erases a concept.

        Parameters
        ----------
        states : ndarray, shape (rows, width)
        concept : ndarray, shape (rows, columns)
            Numbers; names as a column of 0 and 1 for each.
        whitening : Whitening, optional
            That of the states by default.
        """
        whitening = Whitening.of(states) if whitening is None else whitening
        centre = states.mean(0)
        covariance = (states - centre).T @ (concept - concept.mean(0)) / len(states)
        directions, sizes, _ = np.linalg.svd(whitening.forth @ covariance, full_matrices=False)
        chosen = directions[:, sizes > _ROUNDING * max(sizes[0], np.finfo(np.float64).tiny)]
        return cls(whitening.back @ chosen, chosen.T @ whitening.forth, centre)

    @property
    def rank(self) -> int:
        """How many directions it takes away."""
        return self.left.shape[1]

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """The states without the concept, shape (rows, width)."""
        return states - ((states - self.centre) @ self.right.T) @ self.left.T
