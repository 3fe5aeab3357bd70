"""A hidden state does not depend on its batch: beside transformers' own forward of each utterance alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.extract.encoders.speech import Backbone
from emoprobe.extract.precision import check_backbone, run_in_float32
from emoprobe.testing.checkpoints import VARIANTS, feature_extractor, make_backbone, make_model

# float32 keeps 24 bits (6e-8); some dozens of roundings in another order over a few layers stay below 1e-5 of a
# layer's largest value, which is the promise. A leak of padding is off by 1e-2 and more.
FLOAT32_TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request: pytest.FixtureRequest) -> tuple[transformers.PreTrainedModel, Backbone]:
    """Transformers' model as it comes, and ours around a copy of the same weights."""
    return make_model(request.param), make_backbone(request.param)


def own_input(model: transformers.PreTrainedModel, waveform: np.ndarray) -> tuple[dict[str, torch.Tensor], int | None]:
    """What transformers' own feature extractor makes of one utterance; where it pads, also the frames that are its own.

    In float64, the last rounding of the features is float64's too.
    """
    dtype = next(model.parameters()).dtype
    extractor = feature_extractor(model.config)
    found = extractor(waveform, sampling_rate=16000, return_tensors="pt", return_attention_mask=True)
    if model.config.model_type == "whisper":
        steps = int(found.attention_mask.sum())
        return {"input_features": found.input_features.to(dtype)}, (steps + 1) // 2  # a convolution of stride 2
    if model.config.model_type == "wav2vec2-bert":
        features = found.input_features.to(dtype)
        if dtype == torch.float64:
            levels = extractor._extract_fbank_features(waveform).astype(np.float64)
            levels = (levels - levels.mean(0)) / np.sqrt(levels.var(0, ddof=1) + 1e-7)
            levels = np.pad(levels, ((0, len(levels) % 2), (0, 0)))
            features = torch.from_numpy(levels.reshape(1, len(levels) // 2, -1))
        return {"input_features": features, "attention_mask": found.attention_mask}, int(found.attention_mask.sum())
    return {"input_values": found.input_values.to(dtype)}, None


def blocks_of(model: transformers.PreTrainedModel) -> torch.nn.ModuleList:
    return model.layers if model.config.model_type == "whisper" else model.encoder.layers


def alone(model: transformers.PreTrainedModel, waveform: np.ndarray) -> list[np.ndarray]:
    """Layers of one utterance by transformers, caught at the blocks, with its own feature extractor before them."""
    values, frames = own_input(model, waveform)
    caught: list[torch.Tensor] = []
    blocks = blocks_of(model)
    hooks = [blocks[0].register_forward_pre_hook(_catch_input(caught), with_kwargs=True)]
    hooks += [block.register_forward_hook(_catch_output(caught)) for block in blocks]
    try:
        with torch.inference_mode():
            model(**values)
    finally:
        for hook in hooks:
            hook.remove()
    return [states[0, :frames].numpy() for states in caught]


def _catch_input(caught: list[torch.Tensor]):
    return lambda block, args, kwargs: caught.append((args[0] if args else kwargs["hidden_states"]).clone())


def _catch_output(caught: list[torch.Tensor]):
    return lambda block, args, out: caught.append((out[0] if isinstance(out, tuple) else out).clone())


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def waveforms(lengths: list[int], seed: int) -> list[np.ndarray]:
    """Noise of very different levels and offsets, so that nothing of one utterance can pass for another's."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(rng.normal(), 1, n) * 10.0 ** rng.uniform(-3, 0)).astype(np.float32) for n in lengths]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    extra=st.lists(st.integers(0, 19_600), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_padded_batch_equals_each_utterance_alone(pair, extra, seed):
    model, backbone = pair
    batch = waveforms([backbone.receptive_field + more for more in extra], seed)
    states, frames = backbone.hidden_states(batch)
    for row, waveform in enumerate(batch):
        wanted = alone(model, waveform)
        assert len(wanted) == backbone.n_layers
        for layer, reference in enumerate(wanted):
            found = states[layer, row, : frames[row]].numpy()
            assert found.shape == reference.shape
            if relative_error(found, reference) > FLOAT32_TOLERANCE:
                # A tiny model's layer norms divide by the spread of a few channels, which some input makes nearly
                # nothing: float32 itself, transformers' forward included, is then off by more (data2vec-audio with 8
                # channels: 2e-5). So are the features of w2v-BERT, each bin of which is divided by its spread over the
                # utterance (two steps that are nearly equal: 1e-4). Ours must then be near to float64, and as near as
                # transformers' own, up to the scatter of two small errors.
                exact = alone(copy.deepcopy(model).double(), waveform)[layer]
                assert relative_error(found, exact) <= 1e-4
                assert relative_error(found, exact) <= 16 * relative_error(reference, exact)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["hubert-base", "wavlm-base", "data2vec-audio", "wav2vec2-conformer-rotary", "sew"])
def test_plain_padding_would_not_do(variant):
    """What the exactness is for: transformers' own padded batch with its mask is off by far more than the tolerance."""
    model = make_model(variant)
    short, long = waveforms([4000, 16000], 0)
    padded = torch.zeros(2, 16000)
    padded[0, :4000], padded[1] = torch.from_numpy(short), torch.from_numpy(long)
    mask = torch.zeros(2, 16000, dtype=torch.long)
    mask[0, :4000], mask[1] = 1, 1
    with torch.inference_mode():
        batched = model(padded, attention_mask=mask).last_hidden_state[0]
        single = model(padded[:1, :4000]).last_hidden_state[0]
    assert relative_error(batched[: len(single)].numpy(), single.numpy()) > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # Half precision keeps 8 and 11 bits (4e-3, 5e-4); seven convolutions and three blocks multiply that by some ten
    # (in Euclidean norm; at worst here 0.076 and 0.008, by the five stacked convolutions of data2vec-audio).
    [(torch.bfloat16, 0.1), (torch.float16, 0.02)],
)
def test_half_precision_stays_near_float32(variant, dtype, tolerance):
    """Once the check before every run has decided what runs in float32: on some processors a kernel is wrong."""
    backbone = make_backbone(variant)
    batch = waveforms([16000, 9000, backbone.receptive_field], 1)
    exact, frames = backbone.hidden_states(batch)
    precision = str(dtype).removeprefix("torch.")
    prepared = [backbone.prepare(waveform) for waveform in batch]
    check = check_backbone(backbone, prepared, device=torch.device("cpu"), precision=precision)
    with run_in_float32(backbone.model, check.in_float32), torch.autocast("cpu", dtype=dtype):
        half, _ = backbone.hidden_states(batch)
    for row, n in enumerate(frames):
        for layer in range(backbone.n_layers):
            wanted = exact[layer, row, :n]
            assert torch.linalg.norm(half[layer, row, :n].float() - wanted) <= tolerance * torch.linalg.norm(wanted)


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_agree_with_the_tuple_of_transformers_before_its_last(variant):
    """Up to the last block, where releases differ, transformers' tuple and the hooks name the same states."""
    model, backbone = make_model(variant), make_backbone(variant)
    (waveform,) = waveforms([8000], 2)
    values, own = own_input(model, waveform)
    with torch.inference_mode():
        tuple_ = model(**values, output_hidden_states=True).hidden_states
    states, (frames,) = backbone.hidden_states([waveform])
    assert len(tuple_) == backbone.n_layers
    assert own in (None, frames)
    # Another layer is off by a tenth and more; the features of w2v-BERT are rounded to float32 in another place.
    tolerance = 1e-4 if "w2v-bert" in variant else FLOAT32_TOLERANCE
    for layer in range(backbone.n_layers - 1):
        assert relative_error(states[layer, 0, :frames].numpy(), tuple_[layer][0, :frames].numpy()) <= tolerance


@pytest.mark.slow
@given(samples=st.integers(0, 60_000))
def test_number_of_frames_is_that_of_transformers(samples):
    backbone = Backbone(make_model("hubert-base"), name="tiny", normalise=False)
    expected = int(backbone.model._get_feat_extract_output_lengths(samples)) if samples >= 400 else 0
    assert backbone.frames(samples) == expected
    assert backbone.receptive_field == 400


@pytest.mark.parametrize("variant", ["w2v-bert", "whisper"])
def test_number_of_frames_is_that_of_the_feature_extractor(variant):
    model, backbone = make_model(variant), make_backbone(variant)
    shortest = backbone.receptive_field
    for samples in (0, 1, shortest - 1):
        assert backbone.frames(samples) == 0
    for samples in (shortest, 561, 639, 640, 641, 719, 720, 721, 879, 880, 960, 961, 16_000, 31_999, 32_000):
        _, own = own_input(model, np.ones(samples, np.float32))
        assert backbone.frames(samples) == own


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pass_leaves_nothing_behind_for_the_next(variant):
    """Transformers keeps position embeddings of conformers from one pass to the next, rounded as the first was."""
    backbone = make_backbone(variant)
    batch = waveforms([9000, 16000], 6)
    before, _ = backbone.hidden_states(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        backbone.hidden_states(batch)
    backbone.hidden_states(batch[:1])
    after, _ = backbone.hidden_states(batch)
    assert torch.equal(before, after)


def test_shortest_waveform_has_one_frame_and_a_shorter_one_is_refused():
    backbone = Backbone(make_model("hubert-base"), name="tiny", normalise=True)
    states, frames = backbone.hidden_states(waveforms([400], 3))
    assert states.shape == (4, 1, 1, 16)
    assert frames == [1]
    with pytest.raises(ValueError, match="shorter than the 400"):
        backbone.hidden_states(waveforms([399], 3))
