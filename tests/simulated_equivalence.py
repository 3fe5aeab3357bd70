"""How often two layers are called practically equal: of one truth, and of truths that differ by the margin itself.

The ridge probes are those of :mod:`tests.simulated_probes`, the truth is their mean score over training sets. Layer 1
is as good as layer 0; layers 2 and 3 differ from it. With the margin at the true difference of layer 2, "practically
equal" is wrong of that layer, and "different" is wrong of layer 1: both are decided in one family, as a report does it.

    python -m tests.simulated_equivalence [--replications 400]

prints, for each design and size, how often each was said.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import stats

from emoprobe.analysis.measures.family import corrected_together
from emoprobe.analysis.report.paired_claims import SHARES
from emoprobe.probe import jackknife
from emoprobe.probe.metrics import ccc_from_moments
from tests.simulated_probes import CROSSED, MODERATE, OFFICIAL, Design, less_first, replicate

#: Layers 1, 2 and 3, each less layer 0.
DIFFERENCES = less_first(ccc_from_moments)

#: The margin that a report has by default.
SMALLEST = 0.05


@dataclass(frozen=True)
class Counts:
    """Of so many replications, how often something was said.

    Attributes
    ----------
    margin : float
        The true difference of layer 2.
    replications : int
    equal_at_margin : int
        Layer 2 practically equal within that, taken alone: wrong.
    equal_of_one_truth : int
        Layer 1 practically equal within :data:`SMALLEST`, taken alone: right.
    equal_of_one_truth_within_margin : int
        The same within the margin.
    any_wrong : int
        Any wrong verdict of the family of three claims, within the margin.
    """

    margin: float
    replications: int
    equal_at_margin: int
    equal_of_one_truth: int
    equal_of_one_truth_within_margin: int
    any_wrong: int


def count(speakers: int, design: Design, replications: int, seed: int = 1) -> Counts:
    """Fit so many draws of speakers, and count."""
    rng = np.random.default_rng([seed, speakers, design.trained])
    drawn = [replicate(MODERATE, speakers, design, rng) for _ in range(replications)]
    true = np.mean([DIFFERENCES(one.truth).mean(0) for one in drawn], axis=0)
    margin = float(abs(true[1]))
    alone, by_default, wrong = [], [], []
    for one in drawn:
        score, samples = DIFFERENCES(one.tested.sum(0)), one.refit.samples(DIFFERENCES, one.tested)
        different = jackknife.limits(score, samples)[2]
        equal = jackknife.equivalence(score, samples, margin)
        alone.append(equal <= 0.05)
        by_default.append(jackknife.equivalence(score, samples, SMALLEST) <= 0.05)
        wrong.append(_any_wrong(different, equal, np.array([0.0, margin, abs(true[2])]), margin, np.sign(score * true)))
    (one_truth, at_margin, _), (small, *_) = np.sum(alone, 0), np.sum(by_default, 0)
    return Counts(margin, replications, int(at_margin), int(small), int(one_truth), int(np.sum(wrong)))


def _any_wrong(
    different: np.ndarray, equal: np.ndarray, size: np.ndarray, margin: float, same_sign: np.ndarray
) -> bool:
    """Whether a page of claims with the given p values says anything wrong of differences of the given true size."""
    number = np.arange(len(size))
    p, claims = np.stack([different, equal], 1).ravel(), np.repeat(number, 2)
    decided = (corrected_together(p, claims.tolist(), np.tile(SHARES, len(size))) <= 0.05).reshape(-1, 2)
    told_apart = decided[:, 0] & ((size == 0) | (same_sign < 0))
    return bool((told_apart | (decided[:, 1] & (size >= margin))).any())


def wrong_pages(
    sizes: np.ndarray, margin: float, error: float, *, correlation: float, pages: int, freedom: int = 23, seed: int = 0
) -> int:
    """Pages with any wrong verdict, where estimates are normal about true differences and their errors are estimated.

    Parameters
    ----------
    sizes : ndarray, shape (claims,)
        True differences.
    margin : float
    error : float
        Standard error of each estimate.
    correlation : float
        Of the estimates of one page.
    pages : int
    freedom, seed : int
    """
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(pages):
        common, own = rng.standard_normal(), rng.standard_normal(len(sizes))
        estimate = sizes + error * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
        spread = error * np.sqrt(rng.chisquare(freedom, len(sizes)) / freedom)
        different = 2 * stats.t.sf(np.abs(estimate) / spread, freedom)
        equal = np.minimum(2 * stats.t.sf((margin - np.abs(estimate)) / spread, freedom), 1)
        wrong += _any_wrong(different, equal, np.abs(sizes), margin, np.sign(estimate * sizes))
    return wrong


def main() -> None:
    """Print the counts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--replications", type=int, default=400)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    for design in (CROSSED, OFFICIAL):
        for speakers in (12, 24, 50, 100):
            print(speakers, design.name, count(speakers, design, given.replications, given.seed), flush=True)
    for name, sizes in PAGES.items():
        for error in (0.01, 0.02, 0.05):
            for correlation in (0.0, 0.5):
                wrong = wrong_pages(sizes, SMALLEST, error, correlation=correlation, pages=2000)
                print(f"{name}, error {error}, correlation {correlation}: wrong {wrong} of 2000", flush=True)


#: True differences of the claims of a page.
PAGES = {
    "all 0": np.zeros(12),
    "all at the margin": np.full(12, SMALLEST),
    "half 0, half at the margin": np.repeat([0.0, SMALLEST], 6),
    "0, at the margin, far beyond": np.repeat([0.0, SMALLEST, 0.5], 4),
}

if __name__ == "__main__":
    main()
