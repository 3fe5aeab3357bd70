"""The pretraining recipe at toy size, and the models that it made."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch

from emoprobe.claims import alone
from emoprobe.cli import demo_pretrain
from emoprobe.demo import batches, hubert, pretrain, recordings, shards, units, zoo
from emoprobe.distil.checkpoint import export
from emoprobe.distil.store import open_store
from emoprobe.errors import UserError
from emoprobe.extract.encoders.speech import load_backbone
from tests.store_fixtures import make_stores, one_thread  # noqa: F401 - a fixture

pytest.importorskip("accelerate", reason="the recipe trains with transformers' Trainer, which needs accelerate")
pytest.importorskip("espeakng_loader", reason="synthetic speech needs espeakng-loader")

TINY = pretrain.PretrainSettings(
    width=32,
    blocks=2,
    heads=2,
    intermediate=64,
    conv_dim=(8, 8, 16, 16, 16, 32, 32),
    position_kernel=8,
    position_groups=4,
    unit_block=1,
    word_units=40,
    discovered_units=8,
    recluster=20,
    spectrum_from=0,
    recorded_share=0.3,
    batch_seconds=6.0,
    longest=2.0,
    steps=40,
    warmup=4,
    decay=10,
    learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return make_stores(tmp_path_factory.mktemp("stores"))


def train(run, stores, settings=TINY, **options):
    return pretrain.pretrain(run, settings, synthetic=stores[0], recorded=stores[1], log_steps=2, **options)


@pytest.fixture(scope="module")
def unbroken(stores, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, train(run, stores, save_steps=10)


@pytest.mark.slow
def test_training_lowers_the_loss(unbroken):
    run, _ = unbroken
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 41, 2))
    phones = [line["phones_unmasked_loss"] for line in lines if "phones_unmasked_loss" in line]
    spectrum = [line["spectrum_loss"] for line in lines]
    for losses in (phones, spectrum):
        assert np.mean(losses[-4:]) < np.mean(losses[:4])


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(unbroken, stores, tmp_path, monkeypatch):
    """Stopped at the checkpoint of step 10 and again after the second units: weights and log as if never stopped."""

    class Killed(Exception):
        pass

    original = pretrain.Batches.__getitem__
    for broken_at in (13, 27):

        def fetch(self, step, broken_at=broken_at):
            if step == broken_at:
                raise Killed
            return original(self, step)

        monkeypatch.setattr(pretrain.Batches, "__getitem__", fetch)
        with pytest.raises(Killed):
            train(tmp_path, stores, save_steps=10)
    monkeypatch.setattr(pretrain.Batches, "__getitem__", original)
    resumed = train(tmp_path, stores, save_steps=10)
    for (name, one), (_, other) in zip(unbroken[1].state_dict().items(), resumed.state_dict().items(), strict=True):
        # The same operations in the same order on one thread: not a bit differs.
        assert torch.equal(one, other), name

    def log(run):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k == "step" or k.endswith("accuracy")} for line in lines]

    assert [line["step"] for line in log(tmp_path)] == [line["step"] for line in log(unbroken[0])]
    assert log(tmp_path)[-1] == log(unbroken[0])[-1]


@pytest.mark.slow
def test_two_at_once_do_not_share_a_folder(stores, tmp_path):
    synthetic, _ = stores
    with alone(tmp_path / "run", option="--out"), pytest.raises(UserError, match=r"run is in use by .* another --out"):
        pretrain.pretrain(tmp_path / "run", TINY, synthetic=synthetic)
    with alone(tmp_path / "speech", option="--out"), pytest.raises(UserError, match="speech is in use by"):
        shards.make_synthetic(tmp_path / "speech", hours=0.01)
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.slow
def test_missing_second_units_are_told(unbroken, stores, tmp_path):
    import shutil

    shutil.copytree(unbroken[0], tmp_path / "run")
    (tmp_path / "run" / "units2.npz").unlink()
    with pytest.raises(UserError, match=r"units2\.npz"):
        train(tmp_path / "run", stores)


@pytest.mark.slow
def test_batches_are_a_function_of_seed_and_step(stores):
    one, other = (pretrain.Batches(TINY, *stores) for _ in range(2))
    for step in (3, 0, 7):
        a, b = one[step], other[step]
        assert torch.equal(a["waves"], b["waves"])
        assert torch.equal(a["mask"], b["mask"])
        # Nothing is padded: every waveform is heard to its end, and normalised over all of it.
        assert torch.allclose(a["waves"].mean(1), torch.zeros(len(a["waves"])), atol=0.05)
    assert not torch.equal(one[3]["waves"][:1, :900], one[4]["waves"][:1, :900])


@pytest.mark.slow
def test_frame_labels_follow_the_events(stores):
    synthetic = stores[0]
    starts, ends, names, firsts = synthetic.events["phones"]
    for index in range(3):
        for at in range(firsts[index], firsts[index + 1]):
            middle = np.array([(starts[at] + ends[at]) / 2])
            assert synthetic.label("phones", index, middle)[0] == names[at]
    assert synthetic.label("phones", 0, np.array([1e4]))[0] == -1


def test_frames_and_field_are_those_of_transformers():
    from transformers import HubertModel

    settings = dataclasses.replace(TINY, blocks=1)
    model = HubertModel(hubert.hubert_config(settings)).eval()
    for samples in (settings.field, settings.field + settings.hop - 1, settings.field + settings.hop, 20_000):
        with torch.inference_mode():
            found = model(torch.randn(1, samples)).last_hidden_state.shape[1]
        assert found == settings.frames(samples)


def test_masked_spans_cover_their_share():
    mask = batches.spans(np.random.default_rng(0), 200, 100, 0.4, 10)
    # Overlap leaves less than the share: 1 - (1 - 0.1)^4 of the frames for four spans of ten of a hundred.
    assert mask.mean() == pytest.approx(0.34, abs=0.03)


@pytest.mark.slow
def test_front_end_alone_is_fitted(stores, tmp_path):
    settings = dataclasses.replace(TINY, frontend_only=True, steps=6, recluster=0)
    torch.manual_seed(settings.seed)
    names = units.choose_vocabulary(stores[0], settings)
    before = hubert.build_model(settings, {kind: len(units) for kind, units in names.items()}).state_dict()
    before = {name: value.clone() for name, value in before.items()}
    after = pretrain.pretrain(tmp_path, settings, synthetic=stores[0], log_steps=2).state_dict()
    changed = {name.split(".")[1] for name in after if not torch.equal(before[name], after[name]) and "hubert" in name}
    assert changed == {"feature_extractor", "feature_projection"}


@pytest.mark.slow
def test_exported_checkpoint_loads_and_has_no_heads(unbroken, tmp_path):
    from safetensors import safe_open
    from transformers import AutoFeatureExtractor, HubertModel

    export(unbroken[1].hubert, tmp_path, made_by=pretrain.MADE_BY)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = list(file.keys())
        assert all(file.get_tensor(name).dtype == torch.float16 for name in names)
    assert not [name for name in names if "head" in name or "spectrum" in name]
    model = HubertModel.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert AutoFeatureExtractor.from_pretrained(tmp_path).do_normalize
    wave = torch.randn(1, 8000)
    with torch.inference_mode():
        found = model.eval()(wave).last_hidden_state
        wanted = unbroken[1].hubert.eval()(wave).last_hidden_state
    # float16 keeps 11 bits of each weight.
    assert torch.allclose(found, wanted, atol=0.05)


@pytest.mark.slow
def test_a_store_is_resumed_part_by_part(tmp_path):
    first = shards.make_synthetic(tmp_path / "a", hours=0.004, seed=6, part=3)
    import shutil

    # As a killed run leaves it: some parts, no joined store.
    (tmp_path / "b").mkdir()
    shutil.copytree(first / "part-0000000", tmp_path / "b" / "part-0000000")
    second = shards.make_synthetic(tmp_path / "b", hours=0.004, seed=6, part=3)
    assert (first / "samples.i16").read_bytes() == (second / "samples.i16").read_bytes()


def test_recorded_speech_of_any_rate_is_packed_and_bad_files_named(tmp_path):
    import soundfile

    rng = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "a.flac", 0.1 * rng.standard_normal(44_100), 44_100)
    soundfile.write(tmp_path / "audio" / "b.wav", 0.1 * rng.standard_normal((16_000, 2)), 16_000)
    soundfile.write(tmp_path / "audio" / "short.wav", 0.1 * rng.standard_normal(1_000), 16_000)
    (tmp_path / "audio" / "broken.wav").write_bytes(b"RIFF nothing")
    said: list[str] = []
    store = open_store(shards.make_recorded(tmp_path / "store", tmp_path / "audio", say=said.append))
    assert list(np.diff(store.offsets)) == [16_000, 16_000]
    assert [line for line in said if "broken.wav" in line] == said
    assert len(said) == 1


def test_no_speech_and_no_store_are_told(tmp_path):
    with pytest.raises(UserError, match="no speech"):
        pretrain.pretrain(tmp_path, TINY)
    with pytest.raises(UserError, match="no finished store"):
        open_store(tmp_path)
    assert demo_pretrain.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "run")]) == 2


@pytest.mark.parametrize("name", zoo.MODELS)
def test_packaged_models_load_and_give_finite_states(name):
    from transformers import AutoFeatureExtractor, HubertModel

    folder = zoo.model_folder(name)
    assert (folder / "model.safetensors").stat().st_size < 15_000_000
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text(encoding="utf-8")
    model, info = HubertModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.float32
    prepared = AutoFeatureExtractor.from_pretrained(folder)(
        np.random.default_rng(0).standard_normal(16_000), sampling_rate=16_000, return_tensors="pt"
    )
    with torch.inference_mode():
        states = model.eval()(prepared.input_values, output_hidden_states=True).hidden_states
    assert len(states) == model.config.num_hidden_layers + 1
    for state in states:
        assert torch.isfinite(state).all()
        assert state.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.MODELS)
def test_packaged_models_do_not_feel_a_padded_batch(name):
    backbone = load_backbone(name)
    rng = np.random.default_rng(3)
    waves = [rng.standard_normal(n).astype(np.float32) for n in (9_000, 31_000, 20_500)]
    together, frames = backbone.hidden_states(waves)
    for row, wave in enumerate(waves):
        alone, _ = backbone.hidden_states([wave])
        size = alone.abs().amax()
        assert (together[:, row, : frames[row]] - alone[:, 0]).abs().amax() < 1e-4 * size


def test_the_model_that_a_recogniser_taught_says_so_and_credits_its_sources():
    folder = zoo.model_folder("hubert-nano")
    card, notice = ((folder / name).read_text(encoding="utf-8") for name in ("README.md", "NOTICE.md"))
    assert "not self-supervised alone" in " ".join(card.split())
    for source in recordings.SOURCES:
        named = source.package in notice or f"-{source.package.split('-')[3]}-g722" in notice
        assert named, source.package
        assert all(name in notice for name in source.credit.split(" and ")), source.package


def test_unknown_packaged_model_is_refused():
    with pytest.raises(UserError, match="hubert-nano"):
        zoo.model_folder("hubert-micro")


@pytest.mark.slow
def test_a_run_with_other_settings_or_speech_is_refused(unbroken, stores):
    with pytest.raises(UserError, match=r"steps \(there 40, now 60\)"):
        train(unbroken[0], stores, dataclasses.replace(TINY, steps=60))
    with pytest.raises(UserError, match=r"speech\.recorded"):
        pretrain.pretrain(unbroken[0], TINY, synthetic=stores[0])
