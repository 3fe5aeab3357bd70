"""How unlike what a model learned from an utterance sounds: its distance in the space that the head reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError, reason

#: File in the folder of a saved model.
FILE = "familiar.safetensors"

#: Column of a table of predictions: share of the development part that is more like the training part.
UNLIKE = "unlike"

#: From this share on an utterance is flagged.
FAR = 0.99

#: Most utterances of the training and of the development part that are asked.
MOST = 2000

#: Of a distance, in single precision and in whatever order its states were computed.
_ROUNDING = 1e-4

_AGAIN = "bring the folder back from a copy, or train again"


@dataclass(frozen=True)
class Familiar:
    """What a model learned from, as a cloud of pooled states.

    The distance of an utterance is Mahalanobis's, by a covariance that is shrunk (O. Ledoit and M. Wolf, 2004), for a
    cloud has often fewer points than dimensions. It knows nothing of emotion. K. Lee et al. use it so ("A simple
    unified framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018).

    Attributes
    ----------
    mean : ndarray, shape (width,)
        Of the training part.
    whitening : ndarray, shape (width, width)
        Brings it to unit covariance: the distance of x is the length of ``whitening @ (x - mean)``.
    distances : ndarray, shape (utterances,)
        Of the development part, ascending.
    """

    mean: np.ndarray
    whitening: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, trained: np.ndarray, development: np.ndarray) -> Familiar:
        """From pooled states, each shape (utterances, width)."""
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(np.asarray(trained, np.float64))
        covariance = fitted.covariance_
        # A model that hears nothing has states that do not vary, and a covariance of nothing has no inverse.
        covariance = covariance + (1e-9 * np.trace(covariance) / len(covariance) + 1e-12) * np.eye(len(covariance))
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        found = cls(fitted.location_.astype(np.float32), whitening.astype(np.float32), np.empty(0, np.float32))
        return cls(found.mean, found.whitening, np.sort(found.distance(development)).astype(np.float32))

    def distance(self, pooled: np.ndarray) -> np.ndarray:
        """Distance of each utterance, shape (utterances,)."""
        return np.linalg.norm(
            (np.asarray(pooled, np.float64) - self.mean) @ self.whitening.T.astype(np.float64), axis=1
        )

    def unlike(self, pooled: np.ndarray) -> np.ndarray:
        """Share of the development part that is nearer to the training part than each utterance, (utterances,).

        Nearer by more than rounding, so that an utterance of that part is told alike in every form of a model.
        """
        nearer = self.distance(pooled) * (1 - _ROUNDING)
        return np.searchsorted(self.distances, nearer, side="left") / len(self.distances)

    def save(self, folder: Path) -> None:
        """Write it into the folder of a model."""
        from safetensors.numpy import save_file

        arrays = {"mean": self.mean, "whitening": np.ascontiguousarray(self.whitening), "distances": self.distances}
        save_file(arrays, folder / FILE)

    @classmethod
    def load(cls, folder: Path, width: int, *, remedy: str = _AGAIN) -> Familiar | None:
        """Of a saved model whose pooled states have that width; None where it was saved without.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        from safetensors.numpy import load_file

        path = folder / FILE
        if not path.is_file():
            return None
        try:
            arrays = load_file(path)
            found = cls(arrays["mean"], arrays["whitening"], arrays["distances"])
        except Exception as error:  # a damaged file raises nearly anything
            raise UserError(f"{path} is damaged ({reason(error)[:160]}); {remedy}") from error
        shapes = found.mean.shape, found.whitening.shape, found.distances.ndim
        finite = all(np.isfinite(array).all() for array in arrays.values())
        if shapes != ((width,), (width, width), 1) or not len(found.distances) or not finite:
            raise UserError(f"{path} does not belong to the model beside it; {remedy}")
        return found


def told_unlike(shares: np.ndarray) -> str:
    """How many utterances are flagged, in one sentence; empty where none is.

    Examples
    --------
    >>> told_unlike(np.array([0.2, 1.0, 0.5]))
    '1 of 3 utterances sound unlike what the model learned from, more so than 99 in 100 of its development part'
    """
    shares = np.asarray(shares, float)
    shares = shares[~np.isnan(shares)]
    far = int((shares >= FAR).sum())
    if not far:
        return ""
    return (
        f"{far} of {len(shares)} utterances sound unlike what the model learned from, more so than "
        f"{round(100 * FAR)} in 100 of its development part"
    )
