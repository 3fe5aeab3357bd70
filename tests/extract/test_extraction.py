"""`probe-extract` from the command's arguments to what the cache holds."""

from __future__ import annotations

import json
import shlex
import shutil
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from emoprobe.analysis.measures.relevance import relevance_opinions
from emoprobe.cli.extract import main
from emoprobe.cli.fit import main as fit_main
from emoprobe.cli.running import run_command
from emoprobe.errors import Note, UserError
from emoprobe.extract import HiddenStateCache, extract, load_backbone, verifying
from emoprobe.extract import scan as scanning
from emoprobe.extract.audio import AudioProblem
from emoprobe.extract.batching import plan_batches
from emoprobe.extract.cache_file import CacheFile
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.encoders.speech import Backbone
from emoprobe.extract.scan import scan
from emoprobe.extract.storing import Progress
from emoprobe.extract.writer import CacheWriter, lock_cache
from emoprobe.probe.fit import fit_layers
from emoprobe.probe.results import load_results
from emoprobe.testing.checkpoints import make_model, save_speech_model
from emoprobe.testing.corpora import make_corpus, tone
from tests.extract.test_exactness import alone, relative_error

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory: pytest.TempPathFactory, model: Path, manifest: Path) -> Path:
    out = tmp_path_factory.mktemp("cache") / "states.h5"
    arguments = ["--corpus", str(manifest), "--model", str(model), "--out", str(out), "--batch-seconds", "3"]
    assert main([*arguments, "--frames", "--quiet", "--device", "cpu"]) == 0
    return out


def run(manifest: Path, model: Path, out: Path, *more: str) -> int:
    return main(
        ["--corpus", str(manifest), "--model", str(model), "--out", str(out), "--quiet", "--device", "cpu", *more]
    )


@pytest.fixture(scope="module")
def damageable(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cache with frames whose first file is missing and whose last is silent, and its manifest."""
    manifest = make_corpus(tmp_path_factory.mktemp("corpus"), utterances=8)
    (manifest.parent / "u000.wav").unlink()
    soundfile.write(manifest.parent / "u007.wav", np.zeros(8000), 16000)
    out = tmp_path_factory.mktemp("damageable") / "states.h5"
    assert run(manifest, model, out, "--frames", "--batch-seconds", "3") == 3
    return out, manifest


class TestValues:
    """What is in the cache is what transformers and numpy give, utterance by utterance."""

    def test_pooled_states_equal_transformers_alone_and_numpy(self, cache_path, manifest):
        reference = make_model("hubert-base")
        table = pd.read_csv(manifest)
        with HiddenStateCache(cache_path) as cache:
            found = {s: cache.states(s) for s in ("mean", "std", "mean_ln")}
            with h5py.File(cache_path) as file:
                norms = file["frame_norm"][:]
            for row, path in enumerate(table["path"]):
                waveform, _ = soundfile.read(manifest.parent / path, dtype="float32")
                for layer, states in enumerate(alone(reference, waveform)):
                    states = states.astype(np.float64)
                    centred = states - states.mean(1, keepdims=True)
                    normed = centred / np.sqrt(states.var(1, keepdims=True) + 1e-5)
                    # The promise of the forward pass, 1e-5 of the layer's largest value, which a mean cannot widen.
                    scale = np.abs(states).max()
                    np.testing.assert_allclose(found["mean"][layer, row], states.mean(0), atol=1e-5 * scale, rtol=0)
                    np.testing.assert_allclose(found["std"][layer, row], states.std(0), atol=1e-5 * scale, rtol=0)
                    # A frame's layer norm divides by its spread over the width, so errors grow by scale / spread.
                    spread = np.sqrt(states.var(1)).min()
                    np.testing.assert_allclose(
                        found["mean_ln"][layer, row], normed.mean(0), atol=1e-5 * scale / spread, rtol=0
                    )
                    norm = np.linalg.norm(states, axis=1).mean()
                    np.testing.assert_allclose(norms[layer, row], norm, rtol=1e-5)

    def test_every_frame_is_kept_in_half_precision(self, cache_path, manifest):
        reference = make_model("hubert-base")
        with HiddenStateCache(cache_path) as cache:
            for name in cache.utterances["id"][:3]:
                waveform, _ = soundfile.read(manifest.parent / f"{name}.wav", dtype="float32")
                frames = cache.frames(name)
                for layer, states in enumerate(alone(reference, waveform)):
                    assert frames.dtype == np.float16
                    # float16 rounds to 11 bits: 4.9e-4.
                    assert relative_error(frames[layer].astype(np.float64), states) < 6e-4

    def test_layer_norm_is_the_mean_over_all_frames(self, cache_path):
        with HiddenStateCache(cache_path) as cache:
            names = cache.utterances["id"]
            for layer, norm in enumerate(cache.layers["norm"]):
                frames = np.concatenate([cache.frames(name, layers=layer) for name in names]).astype(np.float64)
                # The frames are rounded to float16; the mean of hundreds of norms averages that out well below 1e-3.
                assert np.linalg.norm(frames, axis=1).mean() == pytest.approx(norm, rel=1e-3)

    def test_any_batch_size_gives_the_same_states(self, cache_path, manifest, model, tmp_path):
        with HiddenStateCache(cache_path) as cache:
            wanted = cache.states("mean")
        assert run(manifest, model, tmp_path / "one.h5", "--batch-seconds", "0.01") == 0
        with HiddenStateCache(tmp_path / "one.h5") as cache:
            np.testing.assert_allclose(cache.states("mean"), wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)

    @pytest.mark.parametrize("variant", ["hubert-large", "wavlm-base", "data2vec-audio", "wav2vec2-base"])
    def test_other_families_from_their_folders(self, variant, manifest, tmp_path):
        folder = save_speech_model(tmp_path / variant, variant)
        assert run(manifest, folder, tmp_path / "states.h5") == 0
        reference = make_model(variant)
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            waveform, _ = soundfile.read(manifest.parent / "u000.wav", dtype="float32")
            for layer, states in enumerate(alone(reference, waveform)):
                found = cache.states("mean", layers=layer, rows=np.array([0]))[0]
                np.testing.assert_allclose(found, states.mean(0), atol=1e-5 * np.abs(states).max(), rtol=0)

    def test_input_is_normalised_exactly_when_the_checkpoint_says_so(self, manifest, tmp_path):
        folder = save_speech_model(tmp_path / "plain", normalise=False)
        assert run(manifest, folder, tmp_path / "states.h5") == 0
        waveform, _ = soundfile.read(manifest.parent / "u000.wav", dtype="float32")
        with torch.inference_mode():
            states = make_model("hubert-base")(torch.from_numpy(waveform)[None], output_hidden_states=True)
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            assert cache.provenance["model"]["normalise"] is False
            found = cache.states("mean", layers=0, rows=np.array([0]))[0]
        wanted = states.hidden_states[0][0].mean(0).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)


class TestRuns:
    """Going on, refusing, listing."""

    def test_running_again_changes_nothing(self, cache_path, manifest, model):
        before = cache_path.read_bytes()
        assert run(manifest, model, cache_path, "--frames") == 0
        assert cache_path.read_bytes() == before

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (["--pool", "mean"], "the pooling"),
            (["--dtype", "bfloat16"], "the precision"),
            (["--random-init", "1"], "the model's weights"),
            (["--normalise", "no"], "the model's input"),
            (["--limit", "5"], "the corpus"),
        ],
    )
    def test_a_cache_of_something_else_is_refused_and_left_alone(
        self, change, what, cache_path, manifest, model, capsys
    ):
        before = cache_path.read_bytes()
        assert run(manifest, model, cache_path, "--frames", *change) == 2
        assert what in capsys.readouterr().err
        assert cache_path.read_bytes() == before

    @pytest.mark.slow
    def test_audio_that_changed_its_length_is_refused(self, model, tmp_path, capsys):
        manifest = make_corpus(tmp_path / "corpus", utterances=3)
        assert run(manifest, model, tmp_path / "states.h5") == 0
        soundfile.write(tmp_path / "corpus" / "u001.wav", tone(2.0, seed=99), 16000)
        assert run(manifest, model, tmp_path / "states.h5") == 2
        assert "u001.wav" in capsys.readouterr().err
        assert run(manifest, model, tmp_path / "states.h5", "--overwrite") == 0

    @pytest.mark.slow
    def test_a_file_that_is_gone_at_the_second_run_costs_its_own_utterance_alone(self, model, tmp_path, monkeypatch):
        manifest = make_corpus(tmp_path / "corpus", utterances=6)
        out = tmp_path / "states.h5"
        write, done = CacheWriter.write, []

        def stop_after_the_first(self, *arguments):
            if done:
                raise UserError("stopped")
            done.append(write(self, *arguments))

        monkeypatch.setattr(CacheWriter, "write", stop_after_the_first)
        assert run(manifest, model, out, "--batch-seconds", "2") == 2
        monkeypatch.undo()
        with HiddenStateCache(out) as cache:
            gone = cache.utterances["path"][~cache.done].iloc[0]
        (manifest.parent / gone).unlink()
        assert run(manifest, model, out, "--batch-seconds", "2") == 3
        with HiddenStateCache(out) as cache:
            table = cache.utterances.set_index("path")
            assert table["status"].to_dict() == {p: "missing" if p == gone else "done" for p in table.index}
            assert cache.verify() == []

    def test_the_corpus_may_move_and_the_cache_too(self, cache_path, manifest, model, tmp_path):
        shutil.copytree(manifest.parent, tmp_path / "elsewhere")
        shutil.copy(cache_path, tmp_path / "states.h5")
        shutil.copytree(f"{cache_path}.frames", tmp_path / "states.h5.frames", dirs_exist_ok=True)
        assert run(tmp_path / "elsewhere" / manifest.name, model, tmp_path / "states.h5", "--frames") == 0

    @pytest.mark.parametrize("more", [(), ("--frames",)])
    def test_single_frames_of_a_cache_that_was_renamed_stay(self, cache_path, manifest, model, tmp_path, capsys, more):
        out, frames = tmp_path / "states.h5", tmp_path / "states.h5.frames"
        shutil.copytree(f"{cache_path}.frames", frames)
        before = {path.name: path.read_bytes() for path in frames.iterdir()}
        assert len(before) > 0
        assert run(manifest, model, out, *more) == 2
        assert f"a cache that is not at {out}" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in frames.iterdir()} == before
        assert not out.exists()
        assert run(manifest, model, out, *more, "--overwrite") == 0
        assert frames.exists() == bool(more)

    def test_a_second_writer_is_refused(self, manifest, model, tmp_path, capsys):
        out = tmp_path / "states.h5"
        with lock_cache(out):
            assert run(manifest, model, out) == 2
        assert "being written by another process" in capsys.readouterr().err
        assert run(manifest, model, out) == 0

    def test_a_limit_is_told_in_numbers_that_differ(self, tmp_path):
        """One sample above a second is no "1.0 s, and the limit is 1 s"; nor 401 samples of 402."""
        manifest = make_corpus(tmp_path, utterances=3)
        for name, samples in (("u000", 16001), ("u001", 401), ("u002", 16000)):
            soundfile.write(tmp_path / f"{name}.wav", tone(1.1, seed=1)[:samples], 16000)
        corpus = read_corpus(str(manifest))
        table, _ = scan(corpus, shortest=402, longest=1.0, progress=False)
        assert table["reason"].tolist() == [
            "1.0001 s, and the limit is 1 s (--longest)",
            "25.06 ms, and one frame of the model needs 25.125 ms",
            "",
        ]
        table, _ = scan(corpus, shortest=402, longest=1.0, option="cut it into parts", progress=False)
        assert table["reason"][0].endswith("(cut it into parts)")

    def test_what_is_wrong_with_a_file_does_not_depend_on_what_is_read_beside_it(self, tmp_path, monkeypatch):
        """libsndfile tells an error of one thread to all of them."""
        read_header = scanning.read_header

        def read(path: str, kept):
            if threading.current_thread() is not threading.main_thread() and path.endswith("u001.wav"):
                raise AudioProblem("unreadable", "garbled")
            return read_header(path, kept)

        monkeypatch.setattr(scanning, "read_header", read)
        manifest = make_corpus(tmp_path, utterances=3)
        (tmp_path / "u001.wav").write_bytes(b"not sound")
        table, headers = scan(read_corpus(str(manifest)), shortest=402, longest=60, progress=False)
        assert table["status"].tolist() == ["pending", "unreadable", "pending"]
        assert "garbled" not in table["reason"][1]
        assert headers[1].reason == table["reason"][1]

    @pytest.mark.slow
    def test_problem_files_are_listed_and_the_others_go_on(self, model, tmp_path, capsys):
        manifest = make_corpus(tmp_path, utterances=8)
        (tmp_path / "u000.wav").unlink()
        (tmp_path / "u001.wav").write_bytes(b"")
        soundfile.write(tmp_path / "u002.wav", np.zeros(8000), 16000)
        soundfile.write(tmp_path / "u003.wav", np.full(8000, np.nan), 16000, subtype="FLOAT")
        soundfile.write(tmp_path / "u004.wav", tone(0.02, seed=1), 16000)
        assert run(manifest, model, tmp_path / "states.h5", "--longest", "30") == 3
        error = capsys.readouterr().err
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            table = cache.utterances
            assert cache.complete
            assert list(table["status"][5:]) == ["done"] * 3
            assert list(table["status"][:5]) == ["missing", "empty", "silent", "non-finite", "too short"]
            assert np.isnan(cache.states("mean")[:, :5]).all()
            assert np.isfinite(cache.states("mean")[:, 5:]).all()
            assert np.isnan(cache.acoustics["logmel"][:5]).all()
            assert cache.verify() == []
            for row in table[:5].itertuples():
                assert row.reason
                assert f"{row.path}: {row.status}: {row.reason}" in error
        assert run(manifest, model, tmp_path / "states.h5") == 2  # the limit of length differs
        assert run(manifest, model, tmp_path / "strict.h5", "--strict") == 2
        assert "u000.wav" in capsys.readouterr().err
        assert not (tmp_path / "strict.h5").exists()

    def test_strict_stops_at_a_file_that_only_decoding_shows(self, model, tmp_path, capsys):
        manifest = make_corpus(tmp_path, utterances=3)
        soundfile.write(tmp_path / "u002.wav", np.zeros(8000), 16000)
        assert run(manifest, model, tmp_path / "states.h5", "--strict") == 2
        assert "u002.wav is silent" in capsys.readouterr().err

    def test_nothing_usable_is_an_error(self, model, tmp_path, capsys):
        manifest = make_corpus(tmp_path, utterances=2)
        for path in tmp_path.glob("*.wav"):
            path.unlink()
        assert run(manifest, model, tmp_path / "states.h5") == 2
        assert "u000.wav, is missing" in capsys.readouterr().err

    @pytest.mark.slow
    def test_limit_keeps_speakers_that_come_in_turn(self, model, tmp_path):
        manifest = make_corpus(tmp_path, utterances=24, speakers=6, longest=0.3)
        found = []
        for name in ("one.h5", "two.h5"):
            assert run(manifest, model, tmp_path / name, "--limit", "12") == 0
            with HiddenStateCache(tmp_path / name) as cache:
                found.append(cache.utterances)
        pd.testing.assert_frame_equal(found[0], found[1])
        assert len(found[0]) == 12
        assert found[0]["speaker"].nunique() > 3  # every second one would be of three speakers
        assert found[0]["id"].is_monotonic_increasing

    @pytest.mark.parametrize("fits", [1, 2, 3])
    def test_a_batch_that_does_not_fit_is_halved(self, fits, cache_path, manifest, model, tmp_path, monkeypatch):
        walk, sizes = Backbone.walk, []

        def walk_with_little_memory(self, waveforms, visit):
            sizes.append(len(waveforms))
            if len(waveforms) > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return walk(self, waveforms, visit)

        monkeypatch.setattr(Backbone, "walk", walk_with_little_memory)
        assert run(manifest, model, tmp_path / "states.h5", "--batch-seconds", "60") == 0
        assert max(sizes) > fits
        with HiddenStateCache(tmp_path / "states.h5") as cache, HiddenStateCache(cache_path) as usual:
            wanted = usual.states("mean")
            np.testing.assert_allclose(cache.states("mean"), wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)

    def test_an_utterance_that_never_fits_is_listed(self, manifest, model, tmp_path, monkeypatch):
        walk = Backbone.walk
        longest = 16000

        def walk_with_little_memory(self, waveforms, visit):
            if max(len(w) for w in waveforms) > longest:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return walk(self, waveforms, visit)

        monkeypatch.setattr(Backbone, "walk", walk_with_little_memory)
        assert run(manifest, model, tmp_path / "states.h5") == 3
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            table = cache.utterances
        assert set(table["status"]) == {"done", "memory"}
        assert ((table["seconds"] * 16000 > longest) == (table["status"] == "memory")).all()

    def test_other_errors_of_the_device_are_not_taken_for_memory(self, manifest, model, tmp_path, monkeypatch):
        def broken(self, waveforms, visit):
            raise RuntimeError("something else")

        monkeypatch.setattr(Backbone, "walk", broken)
        with pytest.raises(RuntimeError, match="something else"):
            run(manifest, model, tmp_path / "states.h5")

    def test_states_that_overflow_are_listed_not_stored(self, manifest, model, tmp_path, monkeypatch):
        walk = Backbone.walk

        def overflow(self, waveforms, visit):
            def spoil(layer, states):
                states = states.clone()
                if layer == 2:
                    states[0, 0, 0] = torch.inf
                visit(layer, states)

            return walk(self, waveforms, spoil)

        monkeypatch.setattr(Backbone, "walk", overflow)
        assert run(manifest, model, tmp_path / "states.h5", "--batch-seconds", "60") == 3
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            assert list(cache.utterances["status"]).count("overflow") == 1
            assert np.isfinite(cache.states("mean", rows=cache.done)).all()
            (reason,) = [reason for reason in cache.utterances["reason"] if reason]
        assert "in float32, its widest type, from finite weights" in reason  # where float32 is no remedy
        assert "--precision" not in reason

    def test_an_empty_file_at_out_holds_nothing_to_lose(self, manifest, model, tmp_path):
        (tmp_path / "states.h5").touch()  # as mktemp makes one
        assert run(manifest, model, tmp_path / "states.h5") == 0
        assert [path.name for path in tmp_path.iterdir()] == ["states.h5"]  # and no lock is left beside it
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            assert cache.complete

    def test_damaged_weights_are_told_once_when_they_are_loaded(self, manifest, tmp_path, capsys):
        damaged = save_speech_model(tmp_path / "damaged")
        weights = load_file(damaged / "model.safetensors")
        weights["encoder.layers.0.final_layer_norm.weight"][:] = torch.nan
        save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
        capsys.readouterr()  # transformers draws a bar while it saves
        assert run(manifest, damaged, tmp_path / "damaged.h5") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "NaN or infinity in 1 weight (encoder.layers.0.final_layer_norm.weight); get the checkpoint" in line
        assert not (tmp_path / "damaged.h5").exists()

    @pytest.mark.slow
    def test_what_an_overflow_is_due_to_is_told_with_what_helps(self, manifest, tmp_path, monkeypatch):
        """The remedy of the message for float16, followed, ends without an overflow."""
        large = save_speech_model(tmp_path / "large")
        weights = load_file(large / "model.safetensors")
        weights["encoder.layer_norm.weight"] *= 1e5  # beyond float16, within float32
        save_file(weights, large / "model.safetensors", metadata={"format": "pt"})
        # The check of the first batch refuses this model; an utterance that overflows later gets past it.
        with monkeypatch.context() as patch:
            patch.setattr("emoprobe.extract.extraction._short_batch", lambda *batch: [])
            assert run(manifest, large, tmp_path / "large.h5", "--dtype", "float16") == 3
        with HiddenStateCache(tmp_path / "large.h5") as cache:
            (reason,) = set(cache.utterances["reason"])
        assert "in float16; use --precision bfloat16 or float32 (and --overwrite)" in reason
        assert run(manifest, large, tmp_path / "large.h5", "--dtype", "float32", "--overwrite") == 0


class TestScreen:
    """What a command shows beside its summary."""

    def test_the_bar_ends_full_whatever_the_lengths_sum_to(self):
        """In hours as floats the parts add up to more than the whole, and tqdm complains."""
        seconds = np.random.default_rng(1).uniform(0.1, 2.0, 500)
        batches = [(k, np.arange(k, 500, 7)) for k in range(7)]
        with warnings.catch_warnings(), Progress(seconds, batches, show=True) as bar:
            warnings.simplefilter("error")
            for _, rows in batches:
                bar.advance(rows)
            bar._bar.refresh()
            assert bar._bar.n == bar._bar.total
        with Progress(seconds, batches[3:], show=True) as bar:
            bar.advance(batches[3][1])
            whole = round(float(seconds.sum()), 1)
            assert bar._bar.n / 1000 == pytest.approx(sum(seconds[rows].sum() for _, rows in batches[:4]), abs=0.5)
            assert bar._bar.total / 1000 == pytest.approx(whole, abs=0.5)  # 500 lengths rounded to a millisecond each

    @pytest.mark.parametrize("variant", ["wavlm-base", "wavlm-large"])
    def test_wavlm_gives_torch_nothing_to_warn_of(self, variant):
        backbone = Backbone(make_model(variant), name=variant, normalise=False)
        waveforms = [np.random.default_rng(0).normal(size=n).astype(np.float32) for n in (8000, 6000)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            backbone.hidden_states(waveforms)

    def test_a_note_is_a_line_and_another_warning_stays_one(self, capsys):
        def command() -> int:
            warnings.warn("the cache stands in", Note, stacklevel=1)
            warnings.warn("something else", RuntimeWarning, stacklevel=1)
            return 0

        with pytest.warns(RuntimeWarning, match="something else") as others:
            assert run_command(command) == 0
        assert capsys.readouterr().err == "note: the cache stands in\n"
        assert len(others) == 1


class TestCache:
    """Reading, slicing, converting, and trust."""

    def test_select_and_slices(self, cache_path, manifest):
        table = pd.read_csv(manifest)
        with HiddenStateCache(cache_path) as cache:
            rows = cache.select(speaker=["s1", "s2"], emotion="angry")
            wanted = table["speaker"].isin(["s1", "s2"]) & (table["emotion"] == "angry")
            np.testing.assert_array_equal(rows, wanted)
            every = cache.states("std")
            assert every.shape == (cache.n_layers, cache.n_utterances, cache.width) == (4, 12, 16)
            np.testing.assert_array_equal(cache.states("std", layers=2, rows=rows), every[2][rows])
            np.testing.assert_array_equal(cache.states("std", layers=[3, 1], rows=slice(2, 5)), every[[3, 1], 2:5])
            with pytest.raises(UserError, match="no column"):
                cache.select(nonsense="x")
            with pytest.raises(UserError, match=r"no statistic 'median'.*There are mean, std, mean_ln"):
                cache.states("median")
            for layers in (40, -5, [0, 4]):
                with pytest.raises(UserError, match=r"holds the layers 0 to 3, and no layer (40|-5|4)$"):
                    cache.states("mean", layers=layers)
            np.testing.assert_array_equal(cache.states("std", layers=-1), every[3])
            with pytest.raises(UserError, match="no utterance whose emotion is 'angri': did you mean angry"):
                cache.select(emotion="angri")

    def test_a_corpus_without_a_split_says_so(self, model, tmp_path):
        manifest = make_corpus(tmp_path / "corpus", utterances=4, speakers=2)
        table = pd.read_csv(manifest)
        table.assign(split="").to_csv(manifest, index=False)
        assert run(manifest, model, tmp_path / "states.h5", "--pool", "mean") == 0
        with HiddenStateCache(tmp_path / "states.h5") as cache:
            with pytest.raises(UserError, match=r"says no split of any.*--refresh-labels"):
                cache.select(split="test")
            with pytest.raises(UserError, match=r"holds mean and no 'std'.*--pool mean std"):
                cache.states("std")

    def test_conversions(self, cache_path):
        with HiddenStateCache(cache_path) as cache:
            tensor = cache.to_torch("mean", layers=1)
            frame = cache.to_frame("mean", layer=1)
            np.testing.assert_array_equal(tensor.numpy(), frame.to_numpy())
            assert list(frame.index) == list(cache.utterances["id"])
            assert cache.states("mean", dtype="float64").dtype == np.float64

    def test_utterances_carry_the_corpus(self, cache_path, manifest):
        table = pd.read_csv(manifest)
        with HiddenStateCache(cache_path) as cache:
            found = cache.utterances
        for column in ("path", "speaker", "emotion", "transcript", "arousal", "valence"):
            pd.testing.assert_series_equal(found[column], table[column], check_dtype=False)
        for name, seconds in zip(found["path"], found["seconds"], strict=True):
            assert soundfile.info(manifest.parent / name).duration == pytest.approx(seconds)

    def test_anyone_can_read_it_with_h5py_alone(self, cache_path):
        with h5py.File(cache_path) as file:
            assert file["pooled/mean"].shape == (4, 12, 16)
            assert set(file["utterances/status"].asstr()[:]) == {"done"}
            assert list(file["layers/name"].asstr()[:]) == ["input of block 1", "block 1", "block 2", "block 3"]
            provenance = json.loads(file.attrs["provenance"])
        assert provenance["model"]["weights_sha256"]
        assert torch.__version__.startswith(provenance["versions"]["torch"])

    def test_jupyter_shows_it_with_foreign_text_escaped(self, manifest, tmp_path):
        backbone = Backbone(make_model("hubert-base"), name="tiny", normalise=True, label="<b>x</b>")
        out = tmp_path / "states.h5"
        with extract(manifest, backbone, out, progress=False, device="cpu", limit=2) as cache:
            assert "&lt;b&gt;x" in cache._repr_html_()
            assert "<b>x" not in cache._repr_html_()
            assert "4 layers, 2 of 2 utterances" in repr(cache)

    @pytest.mark.parametrize(
        ("name", "byte"),
        [
            ("pooled/std", 4 * 5 * 16),
            ("acoustic/mfcc", 4 * 2 * 160 + 13),
            ("frame_norm", 13),
            ("layers/norm", 2),
            ("utterances/status", 16 * 3 + 3),
            ("utterances/status", 1),
            ("utterances/reason", 240 * 4),
            ("utterances/reason", 3),
            ("utterances/checksum", 16 * 6),
            ("frames/part_checksum", 5),
        ],
    )
    def test_any_changed_byte_is_found_and_repaired(self, name, byte, model, tmp_path, capsys, damageable):
        whole, manifest = damageable
        copy = tmp_path / whole.name
        shutil.copy(whole, copy)
        shutil.copytree(f"{whole}.frames", f"{copy}.frames")
        with h5py.File(copy) as file:
            place = file[name].id.get_offset() + byte
        damaged = bytearray(copy.read_bytes())
        damaged[place] ^= 1
        copy.write_bytes(damaged)
        assert main(["--verify", "--out", str(copy)]) == 1
        assert "--repair" in capsys.readouterr().err
        assert run(manifest, model, copy, "--frames", "--batch-seconds", "3", "--repair") == 3
        assert copy.read_bytes() == whole.read_bytes()
        assert main(["--verify", "--out", str(copy)]) == 0

    @pytest.mark.slow
    def test_a_damaged_cache_is_not_fitted_and_the_remedy_that_is_told_works(
        self, model, tmp_path, monkeypatch, capsys
    ):
        """Fit, damage, fit, repair as it is said, fit: no score is of damaged states, none is taken for another's."""
        monkeypatch.chdir(tmp_path)
        manifest = make_corpus(tmp_path / "a corpus", utterances=24, speakers=6)
        assert run(manifest, model, Path("states.h5"), "--pool", "mean", "std", "--limit", "20", "--label", "it's") == 0
        whole = Path("states.h5").read_bytes()
        fit = ["--dim", "arousal", "--folds", "3", "--permutations", "0", "--resamples", "20", "--no-mdl", "--quiet"]
        wanted = fit_layers("states.h5", dimensions="arousal", folds=3, permutations=0, resamples=20, mdl=False).scores
        with h5py.File("states.h5") as file:
            _, count, width = file["pooled/mean"].shape
            place = file["pooled/mean"].id.get_offset() + 4 * (2 * count + 3) * width
        damaged = bytearray(whole)
        damaged[place : place + 4 * width * 2] = np.full(2 * width, 7, "<f4").tobytes()  # two utterances of layer 2
        Path("states.h5").write_bytes(damaged)
        capsys.readouterr()

        assert fit_main(["states.h5", *fit]) == 2
        said = capsys.readouterr().err
        assert "states.h5 is damaged in 2 of 20 utterances" in said
        assert not Path("results").exists()
        command = shlex.split(said.strip().rpartition("extract them again: ")[2])
        assert command[0] == "probe-extract"
        with pytest.raises(UserError, match="damaged in 2 of 20"):
            relevance_opinions("states.h5")

        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")  # the corpus and the model are found from any folder
        command[command.index("states.h5")] = "../states.h5"
        assert main([*command[1:], "--quiet", "--device", "cpu"]) == 0
        monkeypatch.chdir(tmp_path)
        assert Path("states.h5").read_bytes() == whole
        assert fit_main(["states.h5", *fit]) == 0
        pd.testing.assert_frame_equal(load_results("results").scores, wanted)
        assert "not fitted again" not in capsys.readouterr().err
        assert fit_main(["states.h5", *fit]) == 0
        assert "not fitted again" in capsys.readouterr().err

    def test_the_command_that_made_a_cache_made_in_python_is_not_guessed(self, manifest, model, tmp_path):
        corpus = replace(read_corpus(str(manifest)), arguments=())
        with extract(corpus, str(model), tmp_path / "states.h5", progress=False, device="cpu", limit=2) as cache:
            assert cache.repair_command.endswith("with the arguments that it was made with")

    def test_many_blocks_and_gaps_have_the_checksums_of_single_rows(self, cache_path, monkeypatch):
        """By blocks of two rows, over rows that are not all there, against one row after the other."""
        monkeypatch.setattr(verifying, "_BLOCK_BYTES", 1)
        with HiddenStateCache(cache_path) as cache:
            file = CacheFile(cache_path)
            for rows in ([0, 1, 2, 5, 6, 11], [3], []):
                there = dict(verifying.checksums_of(file, np.array(rows, dtype=int)))
                assert there == {row: cache.checksums[row] for row in rows}
            file.close()
            assert cache.verify() == []

    @pytest.mark.parametrize("damage", ["cut", "gone"])
    def test_damaged_single_frames_are_found_and_repaired(self, damage, model, tmp_path, capsys, damageable):
        whole, manifest = damageable
        copy = tmp_path / whole.name
        shutil.copy(whole, copy)
        shutil.copytree(f"{whole}.frames", f"{copy}.frames")
        part = Path(f"{copy}.frames") / "000001.h5"
        content = part.read_bytes()
        part.unlink()
        if damage == "cut":
            part.write_bytes(content[: len(content) // 2])
        assert main(["--verify", "--out", str(copy)]) == 1
        assert str(part) in capsys.readouterr().err
        with HiddenStateCache(copy) as cache:
            wrong = cache.utterances["id"][cache.damaged()].tolist()
            assert wrong
            for name in wrong:
                with pytest.raises(UserError, match="--repair"):
                    cache.frames(name)
        assert run(manifest, model, copy, "--frames", "--batch-seconds", "3", "--repair") == 3
        assert part.read_bytes() == content
        assert copy.read_bytes() == whole.read_bytes()

    def test_frames_are_those_of_the_folder_beside_it_whatever_it_is_called(self, cache_path, tmp_path):
        shutil.copy(cache_path, tmp_path / "renamed.h5")
        shutil.copytree(f"{cache_path}.frames", tmp_path / "renamed.h5.frames")
        with HiddenStateCache(tmp_path / "renamed.h5") as renamed, HiddenStateCache(cache_path) as cache:
            np.testing.assert_array_equal(renamed.frames("u003"), cache.frames("u003"))
            assert np.isfinite(renamed.frames("u003")).all()

    @pytest.mark.slow
    def test_an_open_cache_stays_itself_when_the_file_is_replaced(self, manifest, model, tmp_path):
        out = tmp_path / "states.h5"
        assert run(manifest, model, out, "--limit", "3") == 0
        with HiddenStateCache(out) as cache:
            before = cache.states("mean")
            assert run(manifest, model, out, "--limit", "3", "--random-init", "5", "--overwrite") == 0
            np.testing.assert_array_equal(cache.states("mean"), before)
        with HiddenStateCache(out) as cache:
            assert not np.array_equal(cache.states("mean"), before)

    def test_changed_labels_are_recognised_at_opening(self, cache_path, tmp_path):
        copy = tmp_path / "states.h5"
        shutil.copy(cache_path, copy)
        with h5py.File(copy, "r+") as file:
            file["utterances/arousal"][0] += 1
        with pytest.raises(UserError, match="damaged"):
            HiddenStateCache(copy)

    @pytest.mark.parametrize("content", [b"not hdf5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
    def test_what_is_no_cache_is_said_to_be_none(self, content, tmp_path, manifest, model, capsys):
        path = tmp_path / "states.h5"
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or is no cache"):
            HiddenStateCache(path)
        assert run(manifest, model, path) == 2
        assert str(path) in capsys.readouterr().err

    def test_absent_cache_names_the_command(self, tmp_path):
        with pytest.raises(UserError, match="probe-extract"):
            HiddenStateCache(tmp_path / "none.h5")


class TestModels:
    """Which models are taken, and what is said of the others."""

    def refusal(self, name: Path | str, **options) -> str:
        with pytest.raises(UserError) as caught:
            load_backbone(str(name), **options)
        return str(caught.value)

    def test_other_families_are_refused_by_name(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "speecht5"}))
        message = self.refusal(tmp_path)
        assert "speecht5" in message
        assert "wavlm" in message

    def test_missing_weights_are_refused(self, model, tmp_path):
        from safetensors.torch import load_file, save_file

        folder = shutil.copytree(model, tmp_path / "partial")
        weights = load_file(folder / "model.safetensors")
        weights = {k: v for k, v in weights.items() if "encoder.layers.2" not in k}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        assert "lacks" in self.refusal(folder)

    @pytest.mark.parametrize("damage", ["truncated", "random", "empty"])
    def test_damaged_weights_are_refused(self, damage, model, tmp_path):
        folder = shutil.copytree(model, tmp_path / damage)
        content = (folder / "model.safetensors").read_bytes()
        damaged = {"truncated": content[: len(content) // 2], "random": bytes(range(256)) * 40, "empty": b""}
        (folder / "model.safetensors").write_bytes(damaged[damage])
        message = self.refusal(folder)
        assert str(folder) in message
        assert "damaged" in message

    @pytest.mark.parametrize(
        "content",
        [
            '{"model_type": "hub',
            "[]",
            '{"model_type": "hubert", "hidden_size": "abc"}',
            '{"model_type": "hubert", "num_hidden_layers": 0}',
        ],
    )
    def test_damaged_config_is_refused(self, content, model, tmp_path):
        folder = shutil.copytree(model, tmp_path / "broken")
        (folder / "config.json").write_text(content)
        assert "broken" in self.refusal(folder)

    def test_unknown_normalisation_must_be_said(self, model, tmp_path):
        folder = shutil.copytree(model, tmp_path / "bare")
        (folder / "preprocessor_config.json").unlink()
        assert "--normalise" in self.refusal(folder)
        assert load_backbone(str(folder), normalise=False).normalise is False

    def test_other_sample_rates_are_refused(self, model, tmp_path):
        folder = shutil.copytree(model, tmp_path / "wideband")
        (folder / "preprocessor_config.json").write_text('{"sampling_rate": 24000, "do_normalize": true}')
        assert "24000" in self.refusal(folder)

    def test_code_that_a_checkpoint_brings_is_never_run(self, model, tmp_path):
        folder = shutil.copytree(model, tmp_path / "remote")
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        assert load_backbone(str(folder)).model.__class__.__module__.startswith("transformers.")

    def test_a_checkpoint_with_a_head_gives_its_encoder(self, tmp_path):
        import transformers

        from emoprobe.testing.checkpoints import SIZES

        torch.manual_seed(3)
        whole = transformers.HubertForCTC(transformers.HubertConfig(**SIZES)).eval()
        whole.save_pretrained(tmp_path)
        backbone = load_backbone(str(tmp_path), normalise=True)
        for name, tensor in whole.hubert.state_dict().items():
            assert torch.equal(backbone.model.state_dict()[name.replace("layer_norm._", "layer_norm.")], tensor)

    def test_random_weights_follow_the_seed_alone(self, model):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        one = load_backbone(str(model), random_init=1).provenance()
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(77)
        assert one["weights_sha256"] == load_backbone(str(model), random_init=1).provenance()["weights_sha256"]
        assert one["weights_sha256"] != load_backbone(str(model), random_init=2).provenance()["weights_sha256"]
        assert one["weights_sha256"] != load_backbone(str(model)).provenance()["weights_sha256"]
        assert one["label"] == "tiny (random 1)"

    def test_a_hub_name_without_a_network_says_how_to_bring_the_model(self, monkeypatch):
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        message = self.refusal("some-lab/no-such-model")
        assert "hf download some-lab/no-such-model" in message
        assert "hubert-nano" in message

    @pytest.mark.parametrize("name", ["/no/such/folder", "a b", "../x"])
    def test_a_path_that_is_nothing_is_refused_at_once(self, name):
        assert "no model at" in self.refusal(name)


class TestBatches:
    def test_every_utterance_is_in_one_batch_within_the_budget(self):
        samples = np.random.default_rng(0).integers(1, 5000, 300)
        samples[[3, 50]] = 0
        batches = plan_batches(samples, budget=12_000)
        assert sorted(np.concatenate(batches)) == sorted(np.nonzero(samples)[0])
        for rows in batches:
            assert len(rows) * samples[rows].max() <= 12_000
        assert len(plan_batches(samples, budget=1)) == 298

    def test_settings_that_make_no_sense_are_refused(self, manifest, model, tmp_path, capsys):
        for option, value in (
            ("--batch-seconds", "0"),
            ("--batch-seconds", "inf"),
            ("--longest", "nan"),
            ("--limit", "0"),
            ("--longest", "-1"),
            ("--workers", "0"),
        ):
            assert run(manifest, model, tmp_path / "states.h5", option, value) == 2
            assert option[2:].replace("-", "_") in capsys.readouterr().err
        assert run(manifest, model, tmp_path / "states.h5", "--device", "cuda:9") == 2
        assert run(manifest, model, tmp_path / "states.h5", "--device", "meta") == 2
        assert run(manifest, model, tmp_path / "states.h5", "--random-init", "9" * 20) == 2
        assert run(manifest, model, tmp_path / "states.h5", "--pool", "mean", "mean") == 2

    def test_a_place_that_cannot_be_is_refused(self, manifest, model, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        assert run(manifest, model, tmp_path / "file" / "states.h5") == 2
        assert run(manifest, model, tmp_path) == 2
        assert "is a folder" in capsys.readouterr().err
        assert main(["--verify", "--out", str(tmp_path)]) == 2
