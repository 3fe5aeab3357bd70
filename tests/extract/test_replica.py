"""A replica computes what its original does, with the same memory, and knows nothing of the batch of the other."""

from __future__ import annotations

import threading

import pytest
import torch

from emoprobe.extract.encoders.replica import replica_of
from emoprobe.testing.checkpoints import VARIANTS, make_backbone
from emoprobe.testing.corpora import tone

ONE = [tone(seconds, seed=k) for k, seconds in enumerate((1.1, 0.8, 0.5))]
OTHER = [tone(seconds, seed=k) for k, seconds in enumerate((0.6, 1.5), start=10)]


def states(backbone, waveforms) -> torch.Tensor:
    """All layers of all frames, side by side."""
    seen = []
    with torch.inference_mode():
        backbone.walk(
            [backbone.prepare(waveform) for waveform in waveforms], lambda _, layer: seen.append(layer.clone())
        )
    return torch.stack(seen)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_states_are_the_same_bits_in_the_same_memory(variant):
    backbone = make_backbone(variant)
    replica = replica_of(backbone)
    torch.testing.assert_close(states(replica, ONE), states(backbone, ONE), rtol=0, atol=0)
    own, shared = dict(replica.model.named_parameters()), dict(backbone.model.named_parameters())
    assert own.keys() == shared.keys()
    assert all(own[name] is shared[name] for name in own)
    assert not any(tensor.is_meta for tensor in (*own.values(), *replica.model.buffers()))


@pytest.mark.parametrize("variant", ["hubert-base", "wav2vec2-conformer-rotary", "wavlm-base"])
def test_two_batches_at_a_time_do_not_meet(variant):
    backbone = make_backbone(variant)
    replica = replica_of(backbone)
    wanted = states(backbone, ONE), states(backbone, OTHER)
    found: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def compute(number, model, waveforms):
        found[number] += [states(model, waveforms) for _ in range(10)]

    threads = [threading.Thread(target=compute, args=given) for given in ((0, backbone, ONE), (1, replica, OTHER))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, expected in enumerate(wanted):
        assert len(found[number]) == 10
        for each in found[number]:
            torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5)  # other threads, other sums
