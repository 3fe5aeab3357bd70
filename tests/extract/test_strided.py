"""A front end's convolutions as matrix products: the same sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from emoprobe.extract.encoders.strided import StridedConv, is_strided
from emoprobe.testing.checkpoints import make_backbone


@given(
    channels=st.integers(1, 9),
    stride=st.integers(1, 5),
    beyond=st.integers(0, 5),
    more=st.integers(0, 40),
    batch=st.integers(1, 3),
    bias=st.booleans(),
)
def test_a_product_is_the_convolution(channels, stride, beyond, more, batch, bias):
    torch.manual_seed(channels)
    conv = nn.Conv1d(channels, 7, stride + min(beyond, stride), stride, bias=bias)
    states = torch.randn(batch, channels, conv.kernel_size[0] + more)
    with torch.inference_mode():
        ours = StridedConv(conv)
        found = ours(states)
        expected = conv.double()(states.double())
    assert ours._agrees  # it was the product, and not what takes its place
    assert found.shape == expected.shape
    # At most 90 products of numbers near 1, each rounded to 24 bits.
    assert torch.allclose(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("variant", "strided"), [("hubert-large", True), ("hubert-base", False)])
def test_a_front_end_that_normalises_over_channels_never_turns_its_states(variant, strided):
    model = make_backbone(variant).model
    layers = list(model.get_submodule("feature_extractor.conv_layers").children())
    assert [isinstance(layer.conv, StridedConv) for layer in layers] == [strided] * len(layers)
    with torch.inference_mode():
        features = model.get_submodule("feature_extractor")(torch.randn(2, 4000))
    assert features.transpose(1, 2).is_contiguous() == strided


@pytest.mark.parametrize("when", ["gradient", "autocast", "float64"])
def test_what_is_no_plain_pass_in_float32_goes_through_torch(when, monkeypatch):
    conv = nn.Conv1d(3, 4, 3, 2)
    ours = StridedConv(conv)
    monkeypatch.setattr(torch, "mm", None)  # what the product would need
    states = torch.randn(1, 3, 20)
    if when == "gradient":
        ours(states).sum().backward()
        gradient = conv.weight.grad.clone()
        conv.weight.grad = None
        conv(states).sum().backward()
        assert torch.equal(gradient, conv.weight.grad)
        return
    kind = torch.float64 if when == "float64" else torch.float32
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=when == "autocast"):
        assert torch.equal(ours.to(kind)(states.to(kind)), conv.to(kind)(states.to(kind)))


def test_a_product_that_is_far_off_is_not_used(monkeypatch):
    """As a vendor's kernel was once found to be."""
    conv = nn.Conv1d(3, 4, 3, 2)
    ours, states, right = StridedConv(conv), torch.randn(1, 3, 20), torch.mm
    monkeypatch.setattr(torch, "mm", lambda one, other, out: right(one, 1.01 * other, out=out))
    with torch.inference_mode():
        with pytest.warns(UserWarning, match="torch's own convolution is used"):
            assert torch.equal(ours(states), conv(states))
        assert torch.equal(ours(states), conv(states))


def test_what_torch_refuses_is_refused_in_its_words():
    ours = StridedConv(nn.Conv1d(1, 4, 3, 2))
    with torch.inference_mode():
        assert ours(torch.randn(1, 20)).shape == (4, 9)  # one utterance without its batch
        for shape in ((1, 2, 20), (1, 1, 2)):
            with pytest.raises(RuntimeError):
                ours(torch.randn(shape))


def test_a_convolution_with_a_weight_that_is_computed_is_left_as_it_is():
    assert not is_strided(torch.nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3, 2)))


@pytest.mark.parametrize("settings", [{"padding": 1}, {"dilation": 2}, {"groups": 3}, {"kernel_size": 7}])
def test_another_convolution_is_refused(settings):
    with pytest.raises(ValueError, match="no plain strided convolution"):
        StridedConv(nn.Conv1d(3, 6, **{"kernel_size": 3, "stride": 2} | settings))
