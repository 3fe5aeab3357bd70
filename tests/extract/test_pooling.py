"""Pooled statistics beside numpy in double precision, whatever lies in the padding; and the norm that keeps it zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from emoprobe.extract.encoders.exact import ValidGroupNorm, ValidLengths
from emoprobe.extract.limits import STATISTICS
from emoprobe.extract.pooling import Pooling


@settings(max_examples=25, deadline=None)
@given(frames=st.lists(st.integers(1, 60), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_each_statistic_is_of_the_valid_frames(frames: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.normal(rng.normal(0, 3, 7), 1, (len(frames), max(frames), 7)).astype(np.float32)
    for row, count in enumerate(frames):
        states[row, count:] = 1e4
    pooled, norms = Pooling(frames, STATISTICS).pool(torch.from_numpy(states))
    for row, count in enumerate(frames):
        valid = states[row, :count].astype(np.float64)
        spread = np.sqrt(valid.var(1, keepdims=True) + 1e-5)
        wanted = valid.mean(0), valid.std(0), ((valid - valid.mean(1, keepdims=True)) / spread).mean(0)
        # Some sixty sums of numbers up to ten in float32; a frame of padding among them is off by hundreds.
        np.testing.assert_allclose(pooled[:, row].numpy(), np.stack(wanted), atol=1e-4, rtol=0)
        np.testing.assert_allclose(norms[row].item(), np.linalg.norm(valid, axis=1).mean(), atol=1e-4, rtol=0)


def test_it_is_float32_under_autocast_and_the_same_for_every_layer() -> None:
    pooling, states = Pooling([5, 3], STATISTICS), torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    plain, again = pooling.pool(states), pooling.pool(states)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = pooling.pool(states)
    for other in (again, under):
        for one, two in zip(plain, other, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown statistic 'median'; known are mean, std, mean_ln"):
        Pooling([2], ("median",)).pool(torch.ones(1, 2, 3))


@pytest.fixture
def memory_that_was_used_before() -> Iterator[None]:
    """Empty tensors hold NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("memory_that_was_used_before")
def test_the_group_norm_is_that_of_each_utterance_alone_and_zero_behind_it() -> None:
    lengths = ValidLengths((10,), (5,))
    norm = nn.GroupNorm(6, 6)
    exact = ValidGroupNorm(norm, lengths)
    lengths.samples = [100, 60, 100]
    states = torch.randn(3, 6, 19, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        normed = exact(states)
        for row, valid in enumerate((19, 11, 19)):
            torch.testing.assert_close(
                normed[row, :, :valid], norm(states[row : row + 1, :, :valid])[0], rtol=0, atol=0
            )
            assert not normed[row, :, valid:].any()
