"""Description lengths: against refits by scikit-learn, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emoprobe.probe.fit import fit_layers
from emoprobe.probe.mdl import PRECISION, blocks_of, online_code
from emoprobe.testing.caches import write_cache

PENALTIES = (0.3, 10.0, 300.0)


def planted(*, n=240, width=8, speakers=12, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)) + 3.0
    y = np.stack([x @ rng.standard_normal(width), rng.standard_normal(n)], axis=1)
    y[:, 0] += noise * rng.standard_normal(n)
    return x, 4.0 + 0.5 * y, np.arange(n) % speakers


def by_hand(x, y, blocks) -> tuple[float, float]:
    """The same code with scikit-learn's ridge refitted on every prefix, in plain sums of log densities."""
    sent_labels = np.concatenate([y[block] for block in blocks])
    delta = PRECISION * sent_labels.std()
    start = len(blocks[0]) * np.log2(np.ptp(sent_labels) / delta + 1)
    lengths = []
    for penalty in (*PENALTIES, None):
        bits, variance = start, y[blocks[0]].var()
        for k in range(1, len(blocks)):
            sent, now = np.concatenate(blocks[:k]), blocks[k]
            if penalty is None:
                predicted = np.full(len(now), y[sent].mean())
            else:
                predicted = make_pipeline(StandardScaler(), Ridge(penalty)).fit(x[sent], y[sent]).predict(x[now])
            variance = max(variance, delta**2)
            density = stats.norm.logpdf(y[now], predicted, np.sqrt(variance))
            bits -= (density / np.log(2) + np.log2(delta)).sum()
            variance = np.mean((y[now] - predicted) ** 2)
        lengths.append(bits)
    shortest = min(lengths)
    mixed = shortest - np.log2(np.mean([2.0 ** (shortest - bits) for bits in lengths]))
    return mixed, lengths[-1]


@pytest.mark.parametrize("width", [8, 400])  # solved from the sums, and from the kernel
def test_equals_refits_by_scikit_learn(width):
    x, y, groups = planted(width=width)
    found = online_code(lambda rows: x[rows], y, np.arange(len(y)), groups, penalties=PENALTIES, seed=3)
    blocks = blocks_of(np.arange(len(y)), groups, seed=3)
    for column in range(2):
        bits, label_bits = by_hand(x, y[:, column], blocks)
        # Sums of hundreds of terms of size one, by two solvers.
        assert found.bits[column] == pytest.approx(bits, abs=1e-5)
        assert found.label_bits[column] == pytest.approx(label_bits, abs=1e-6)


def test_what_features_tell_shortens_the_code_and_what_they_do_not_costs_next_to_nothing():
    x, y, groups = planted(n=600, noise=0.2)
    found = online_code(lambda rows: x[rows], y, np.arange(len(y)), groups)
    assert found.compression[0] > 1.2
    # The mixture of 13 penalties and the labels alone is at most log2(14) bits longer than the labels alone.
    assert found.bits[1] <= found.label_bits[1] + np.log2(14) + 1e-9
    easier = online_code(lambda rows: np.tile(y[rows, :1], 3), y, np.arange(len(y)), groups)
    assert easier.bits[0] < found.bits[0]


def test_missing_labels_are_not_sent_and_targets_do_not_mix():
    x, y, groups = planted()
    rows = np.arange(len(y))
    y[::5, 1] = np.nan
    y[groups < 5, 1] = np.nan  # of five speakers not one label
    both = online_code(lambda r: x[r], y, rows, groups, penalties=PENALTIES)
    for column in range(2):
        alone = online_code(lambda r: x[r], y[:, [column]], rows, groups, penalties=PENALTIES)
        assert both.bits[column] == pytest.approx(alone.bits[0], abs=1e-6)
    blocks = blocks_of(rows[~np.isnan(y[:, 1])], groups)
    assert both.bits[1] == pytest.approx(by_hand(x, y[:, 1], blocks)[0], abs=1e-5)


def test_blocks_are_whole_speakers_and_grow():
    groups = np.repeat(np.arange(40), 7)
    rows = np.arange(280)
    blocks = blocks_of(rows, groups, seed=1)
    assert sorted(np.concatenate(blocks)) == rows.tolist()
    assert [len(block) for block in blocks] == [7, 7, 21, 35, 70, 140]
    for k, block in enumerate(blocks):
        others = np.concatenate([b for j, b in enumerate(blocks) if j != k])
        assert not set(groups[block]) & set(groups[others])
    assert [b.tolist() for b in blocks_of(rows, groups, seed=1)] == [b.tolist() for b in blocks]
    assert blocks_of(rows, groups, seed=2)[0].tolist() != blocks[0].tolist()


def test_nothing_is_claimed_of_too_few_speakers_or_constant_beginnings():
    x, y, groups = planted(speakers=3)
    assert np.isnan(online_code(lambda r: x[r], y, np.arange(len(y)), groups).bits).all()
    x, y, groups = planted()
    y[:, 1] = np.nan
    found = online_code(lambda r: x[r], y, np.arange(len(y)), groups)
    assert np.isfinite(found.bits[0])
    assert np.isnan(found.bits[1])
    assert np.isnan(found.compression[1])


@pytest.mark.slow
def test_the_table_has_them_for_layers_and_baselines(tmp_path):
    write_cache(tmp_path / "cache.h5", n=240)
    results = fit_layers(tmp_path / "cache.h5", dimensions=["arousal"], permutations=0, resamples=20)
    rows = results.scores.query("fold == 'all' and probe in ('ridge', 'mfcc', 'duration')")
    assert rows["mdl_bits"].notna().all()
    assert rows["compression"].notna().all()
    layers = rows.query("probe == 'ridge'").set_index("layer")
    assert layers["compression"].idxmax() == 1  # where arousal is planted
    assert layers["mdl_bits"].idxmin() == 1
    without = fit_layers(tmp_path / "cache.h5", dimensions=["arousal"], permutations=0, resamples=20, mdl=False)
    assert without.scores["mdl_bits"].isna().all()
    assert without.protocol[0]["hash"] == results.protocol[0]["hash"]  # the mean label has no code
    assert without.protocol[-1]["hash"] != results.protocol[-1]["hash"]
