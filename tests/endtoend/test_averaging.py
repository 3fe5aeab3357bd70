"""A running average of weights: its closed form, and that it is what is scored and kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emoprobe.endtoend.averaging import FILE, RunningAverage, take_average
from emoprobe.errors import UserError


def small() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[1].requires_grad_(False)
    return model


def stepped(model: nn.Module, average: RunningAverage, steps: int) -> list[np.ndarray]:
    """Weights at the beginning and after each of some steps that lead anywhere."""
    seen = [model[0].weight.detach().numpy().copy()]
    for _ in range(steps):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3))
        average.update()
        seen.append(model[0].weight.detach().numpy().copy())
    return seen


def test_it_is_what_it_says_it_is():
    model = small()
    average = RunningAverage(model, 0.5)
    seen = stepped(model, average, 12)
    expected = seen[0]
    for step, weight in enumerate(seen[1:], start=1):
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * weight
    with average.in_place():
        np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), seen[-1])


def test_what_is_frozen_has_no_average(tmp_path):
    from safetensors.torch import load_file

    RunningAverage(small(), 0.9).save(tmp_path)
    assert sorted(load_file(tmp_path / FILE)) == ["0.bias", "0.weight", "steps averaged"]


def test_gone_on_with_it_is_as_if_never_stopped(tmp_path):
    whole, model = small(), small()
    one, first = RunningAverage(whole, 0.9), RunningAverage(model, 0.9)
    torch.manual_seed(1)
    stepped(whole, one, 7)
    torch.manual_seed(1)
    stepped(model, first, 4)
    first.save(tmp_path)
    second = RunningAverage(model, 0.9)
    second.load(tmp_path)
    stepped(model, second, 3)
    with one.in_place(), second.in_place():
        np.testing.assert_array_equal(whole[0].weight.detach().numpy(), model[0].weight.detach().numpy())


def test_a_model_takes_the_average_of_a_checkpoint(tmp_path):
    model = small()
    average = RunningAverage(model, 0.9)
    stepped(model, average, 3)
    average.save(tmp_path)
    other = small()
    take_average(other, tmp_path)
    with average.in_place():
        torch.testing.assert_close(other[0].weight, model[0].weight, rtol=0, atol=0)


def test_a_damaged_one_and_one_of_another_model_are_told(tmp_path):
    model = small()
    with pytest.raises(
        UserError, match=r"average\.safetensors cannot be read .*: remove .*trains this seed and fold again"
    ):
        take_average(model, tmp_path)
    (tmp_path / FILE).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"cannot be read"):
        RunningAverage(model, 0.9).load(tmp_path)
    RunningAverage(nn.Linear(4, 4), 0.9).save(tmp_path)
    with pytest.raises(UserError, match="is not of this model"):
        take_average(model, tmp_path)
