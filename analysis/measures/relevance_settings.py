"""What second opinions are asked about, and on whom."""

from __future__ import annotations

from dataclasses import dataclass

from emoprobe.errors import UserError
from emoprobe.extract.options import check_counts, check_seed

DIMENSIONS = ("arousal", "valence", "dominance")


@dataclass(frozen=True)
class RelevanceSettings:
    """What is asked, and on whom; the same for every opinion.

    Parameters
    ----------
    dimensions : tuple of str
        Of "arousal", "valence", "dominance"; empty for all that the corpus has labels of.
    features : str
        Statistic of the cache, or several joined by "+". Learned weights take "mean" or "mean_ln" alone.
    split : str, optional
        Part to score, such as "test"; by default the first test part, or all speaker-grouped folds pooled.
    folds, seed : int
        Of the folds, as :func:`emoprobe.probe.planning.plan` makes them. The seed is also that of the bootstrap, of the
        random search, and the first of the learned weights.
    seeds : int
        Seeds of the learned weights, which are averaged.
    resamples : int
        Of the bootstrap over speakers.
    max_train : int
        Opinions that solve kernels (all but the best layer and the learned weights) are trained on at most so many
        utterances, drawn by lot: their time grows with the cube of that number. So many numbers are held at once, of 8
        bytes: by the banded ridge its square times the layers; by the others a few times its square and its product
        with the utterances predicted from one training part, and the predictions of these for each fit, penalty and
        dimension, until the last fold that uses them is done.
    iterations : int
        Tries of the random search of the banded ridge.
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    """

    dimensions: tuple[str, ...] = ()
    features: str = "mean"
    split: str | None = None
    folds: int = 5
    seed: int = 0
    seeds: int = 3
    resamples: int = 2000
    max_train: int = 2000
    iterations: int = 60
    ungrouped: bool = False

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        check_counts(self, "seeds", "iterations", least=1)
        check_counts(self, "max_train", least=10)
        check_counts(self, "folds", "resamples")
        check_seed(self.seed, seeds=self.seeds)
