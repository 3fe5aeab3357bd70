"""The arithmetic that a forward pass runs in: what is set, what is left alone, and what is put back."""

from __future__ import annotations

import pytest
import torch

from emoprobe.extract.devices import arithmetic, numerics

CPU = torch.device("cpu")
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

#: Whether each operation has a setting of its own, as since torch 2.9.
NAMED = hasattr(cudnn, "conv")


def tf32() -> dict:
    """What decides whether float32 is computed in less."""
    found = {"products": torch.get_float32_matmul_precision()}
    if NAMED:
        named = {"convolutions": cudnn.conv, "GPU products": matmul, "CPU products": torch.backends.mkldnn.matmul}
        return found | {name: operation.fp32_precision for name, operation in named.items()}
    return found | {"convolutions": cudnn.allow_tf32, "GPU products": matmul.allow_tf32}


def is_off(settings: dict) -> bool:
    if NAMED:
        return all(settings[name] == "ieee" for name in ("convolutions", "GPU products", "CPU products"))
    return not settings["convolutions"] and not settings["GPU products"] and settings["products"] == "highest"


@pytest.fixture(params=["highest", "high", "medium"])
def chosen(request):
    """A process that has chosen another precision for its own float32 products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("context", [arithmetic, numerics])
def test_tf32_is_off_inside_and_as_it_was_outside(context, precision, chosen):
    before = tf32()
    with context(CPU, precision):
        assert is_off(tf32())
    assert tf32() == before
    with pytest.raises(KeyError, match="inside"), context(CPU, precision):
        raise KeyError("inside")
    assert tf32() == before
    assert not is_off(before)  # by default torch has TF32 on for convolutions


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", ["enabled", "benchmark", "deterministic"])
def test_every_other_setting_of_cudnn_stays_the_users(name, given):
    before = getattr(cudnn, name)
    setattr(cudnn, name, given)
    try:
        kept = {other: getattr(cudnn, other) for other in ("enabled", "benchmark", "deterministic")}
        with numerics(CPU, "float32"):
            assert {other: getattr(cudnn, other) for other in kept} == kept
        assert getattr(cudnn, name) is given
    finally:
        setattr(cudnn, name, before)


def test_one_within_another_leaves_the_outer_as_it_was():
    with arithmetic(CPU, "bfloat16"):
        with arithmetic(CPU, "float32"):
            assert not torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
        assert is_off(tf32())


def test_only_numerics_forbids_gradients():
    with numerics(CPU, "float32"):
        assert torch.is_inference_mode_enabled()
    with arithmetic(CPU, "float32"):
        assert not torch.is_inference_mode_enabled()
