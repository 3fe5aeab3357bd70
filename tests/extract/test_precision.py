"""A wrong kernel is caught where it runs: injected here, so that every processor has one."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from emoprobe.cli.distill import main as distill_main
from emoprobe.cli.extract import main
from emoprobe.cli.train import main as train_main
from emoprobe.distil.training import checked
from emoprobe.endtoend.saved import load_model
from emoprobe.errors import UserError
from emoprobe.extract import HiddenStateCache, extraction, precision
from emoprobe.extract.encoders.speech import Backbone, load_backbone
from emoprobe.extract.engines import local
from emoprobe.extract.precision import TOLERANCES, check_backbone, check_precision, run_in_float32
from emoprobe.extract.writer import CacheWriter
from emoprobe.testing.checkpoints import SIZES, TEXT_SIZES, make_model, save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus, tone
from tests.wrong_kernels import mend_grouped_convolutions, spoil_grouped_convolutions, spoil_linear

pytestmark = [pytest.mark.usefixtures("undrawn"), pytest.mark.slow]

CPU = torch.device("cpu")
POSITION = "encoder.pos_conv_embed.conv"
WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((1.5, 1.1, 0.7))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def command(manifest: Path, model: Path, out: Path, *more: str) -> int:
    options = ["--corpus", str(manifest), "--model", str(model), "--out", str(out), "--device", "cpu"]
    return main([*options, "--batch-seconds", "3", "--dtype", "bfloat16", *more])


def means(path: Path) -> np.ndarray:
    with HiddenStateCache(path) as cache:
        return cache.states("mean")


def check_in(path: Path) -> dict:
    with HiddenStateCache(path) as cache:
        return cache.provenance["precision_check"]


def tiny() -> Backbone:
    return Backbone(make_model("hubert-base"), name="tiny", normalise=True)


def spoil_feed_forward(patch: pytest.MonkeyPatch) -> None:
    """Wrong from the first block's output on."""
    spoil_linear(patch, inputs=SIZES["intermediate_size"], outputs=SIZES["hidden_size"])


class TestExtraction:
    def test_a_wrong_positional_convolution_runs_in_float32_and_all_is_well(
        self, manifest, model, tmp_path, monkeypatch, capsys
    ):
        assert command(manifest, model, tmp_path / "exact.h5", "--dtype", "float32") == 0
        assert check_in(tmp_path / "exact.h5") is None
        capsys.readouterr()
        with monkeypatch.context() as patch:
            spoil_grouped_convolutions(patch)
            assert command(manifest, model, tmp_path / "half.h5") == 0
        assert f"{POSITION} in float32, since the bfloat16 kernel" in capsys.readouterr().out
        check = check_in(tmp_path / "half.h5")
        assert check["in_float32"] == [POSITION]
        assert len(check["errors"]) == 4
        assert max(check["errors"].values()) <= check["tolerance"] == TOLERANCES["bfloat16"]
        exact = means(tmp_path / "exact.h5")
        off = np.linalg.norm(means(tmp_path / "half.h5") - exact)
        # A mean over frames averages the roundings, which the tolerance bounds frame by frame.
        assert off <= 0.1 * np.linalg.norm(exact)
        # Without the check it is garbage that would have been stored.
        monkeypatch.setattr(local, "check_backbone", lambda *_, **__: precision.PrecisionCheck(
            precision="bfloat16", device="cpu", errors={"layer 0": 0.0}, tolerance=1.0, frames=1, in_float32=()
        ))  # fmt: skip
        spoil_grouped_convolutions(monkeypatch)
        assert command(manifest, model, tmp_path / "garbage.h5") == 0
        assert np.linalg.norm(means(tmp_path / "garbage.h5") - exact) > 4 * off

    def test_another_wrong_kernel_is_refused_by_the_name_of_its_layer(
        self, manifest, model, tmp_path, monkeypatch, capsys
    ):
        out = tmp_path / "states.h5"
        assert command(manifest, model, out, "--dtype", "float32") == 0
        before = out.read_bytes()
        spoil_feed_forward(monkeypatch)
        assert command(manifest, model, out, "--overwrite") == 2
        error = capsys.readouterr().err
        assert "bfloat16 on this CPU does not compute what float32 on the CPU computes" in error
        assert "layer 1 (block 1) is off by" in error
        assert re.search(r"and 0\.\d+ is allowed", error)
        assert "Use --precision float32; the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16" in error
        assert out.read_bytes() == before
        assert command(manifest, model, tmp_path / "other.h5") == 2
        assert not (tmp_path / "other.h5").exists()

    @pytest.mark.parametrize("begun_with_a_wrong_kernel", [True, False])
    def test_a_run_goes_on_as_it_was_begun(
        self, begun_with_a_wrong_kernel, manifest, model, tmp_path, monkeypatch, capsys
    ):
        def spoil(patch, wanted):
            spoil_grouped_convolutions(patch) if wanted else mend_grouped_convolutions(patch)

        with monkeypatch.context() as patch:
            spoil(patch, begun_with_a_wrong_kernel)
            assert command(manifest, model, tmp_path / "whole.h5") == 0
            _stop_after(patch, batches=1)
            assert command(manifest, model, tmp_path / "states.h5") == 2
        half_done = (tmp_path / "states.h5").read_bytes()
        whole = (tmp_path / "whole.h5").read_bytes()
        assert half_done != whole
        capsys.readouterr()
        with monkeypatch.context() as patch:  # on a processor of the other kind
            spoil(patch, not begun_with_a_wrong_kernel)
            if begun_with_a_wrong_kernel:  # which can do what was done
                assert command(manifest, model, tmp_path / "states.h5") == 0
            else:  # which cannot
                assert command(manifest, model, tmp_path / "states.h5") == 2
                error = capsys.readouterr().err
                assert "layer 0 (input of block 1) is off by" in error
                assert "was begun wholly in bfloat16: finish it on the machine that it was begun on" in error
                assert (tmp_path / "states.h5").read_bytes() == half_done
        with monkeypatch.context() as patch:
            spoil(patch, begun_with_a_wrong_kernel)
            assert command(manifest, model, tmp_path / "states.h5") == 0
        assert (tmp_path / "states.h5").read_bytes() == whole

    def test_a_finished_cache_is_not_checked_again(self, manifest, model, tmp_path, monkeypatch):
        assert command(manifest, model, tmp_path / "states.h5") == 0
        before = (tmp_path / "states.h5").read_bytes()
        spoil_feed_forward(monkeypatch)
        assert command(manifest, model, tmp_path / "states.h5") == 0
        assert (tmp_path / "states.h5").read_bytes() == before

    def test_another_device_is_checked_in_float32_as_well(self, manifest, model, tmp_path, monkeypatch, capsys):
        walk, calls = Backbone.walk, []

        def off_by_a_thousandth(self, waveforms, visit):
            calls.append(len(waveforms))
            factor = 1 if len(calls) == 1 else 1 + 1e-3
            return walk(self, waveforms, lambda layer, states: visit(layer, states * factor if layer == 2 else states))

        monkeypatch.setattr(extraction, "is_exact", lambda device, precision: False)  # as on any device but the CPU
        assert command(manifest, model, tmp_path / "states.h5", "--dtype", "float32") == 0
        assert max(check_in(tmp_path / "states.h5")["errors"].values()) == 0
        monkeypatch.setattr(Backbone, "walk", off_by_a_thousandth)
        assert command(manifest, model, tmp_path / "off.h5", "--dtype", "float32") == 2
        error = capsys.readouterr().err
        assert "layer 2 (block 2) is off by 0.001, and 0.00013 is allowed. Use --device cpu" in error

    def test_files_that_cannot_be_used_are_not_what_is_checked(self, model, tmp_path):
        manifest = make_corpus(tmp_path / "corpus", utterances=3)
        soundfile.write(tmp_path / "corpus" / "u000.wav", np.zeros(32000), 16000)  # silent, and of the length sought
        assert command(manifest, model, tmp_path / "states.h5") == 3
        assert check_in(tmp_path / "states.h5")["frames"] > 0
        for path in (tmp_path / "corpus").glob("*.wav"):
            soundfile.write(path, np.zeros(16000), 16000)
        assert command(manifest, model, tmp_path / "none.h5") == 3
        assert check_in(tmp_path / "none.h5") is None

    def test_the_batch_is_short_real_and_padded(self):
        backbone = tiny()
        samples = np.array([0, 160_000, 8_000, 30_000, 33_000, 35_000])
        paths = np.array([f"{n}.wav" for n in samples])
        seen = []

        def read(path, header, kept):
            seen.append(path)
            return tone(int(path[:-4]) / 16000, seed=len(seen))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(extraction, "read_audio", read)
            headers = [extraction.AudioProblem("missing", "gone"), *[None] * 5]
            batch = extraction._short_batch(backbone, paths, headers, samples)
        assert seen == ["33000.wav", "30000.wav", "35000.wav", "8000.wav"]
        assert [len(waveform) for waveform in batch] == [32_000, 28_000, 24_000, 8_000]
        assert all(abs(float(waveform.var()) - 1) < 1e-3 for waveform in batch)  # prepared


def _stop_after(patch: pytest.MonkeyPatch, *, batches: int) -> None:
    write, done = CacheWriter.write, []

    def stopped(self, *arguments):
        if len(done) == batches:
            raise UserError("stopped")
        done.append(write(self, *arguments))

    patch.setattr(CacheWriter, "write", stopped)


class TestCheck:
    """What is compared, and what is refused."""

    def compare(self, exact: torch.Tensor, found: torch.Tensor, **options) -> precision.PrecisionCheck:
        answers = iter([exact, found, found])
        settings = {"device": CPU, "precision": "bfloat16", "remedy": "Mend it"} | options
        return check_precision(torch.nn.Linear(1, 1), lambda: {"a": next(answers)}, **settings)

    def test_the_error_is_that_of_each_dimension(self):
        exact = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
        off = torch.linspace(0.0, 0.19, 20)
        check = self.compare(exact, exact * (1 + off))
        # Twenty dimensions off by 0, 0.01, … 0.19: nine in ten are at most the 18th, or the one above it.
        assert check.errors == {"a": pytest.approx(0.18)}
        assert check.frames == 50

    def test_a_huge_dimension_does_not_hide_the_others(self):
        exact = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
        exact[:, 0] *= 1e4
        wrong = exact.flip(1)
        wrong[:, 0], wrong[:, -1] = exact[:, 0], exact[:, -1]
        assert (wrong - exact).norm() < 1e-3 * exact.norm()  # altogether it looks right
        with pytest.raises(UserError, match=r"a is off by 1\.\d, and 0\.2 is allowed.*Mend it"):
            self.compare(exact, wrong)

    def test_dimensions_that_are_nothing_do_not_stop_it(self):
        exact = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
        exact[:, 0], exact[:, 1] = 0, 1e-9
        found = exact.clone()
        found[:, 1] = 2e-9
        assert self.compare(exact, found).errors == {"a": 0.0}

    @pytest.mark.parametrize("value", [torch.inf, torch.nan])
    def test_what_is_not_finite_is_refused(self, value):
        exact = torch.ones(50, 20)
        found = exact.clone()
        found[3, 4] = value
        with pytest.raises(UserError, match="a is not finite"):
            self.compare(exact, found, precision="float16")

    def test_a_layer_far_from_those_before_it_is_refused(self):
        def check(*errors: float) -> precision.PrecisionCheck:
            named = {f"layer {k}": error for k, error in enumerate(errors)}
            return precision.PrecisionCheck(
                precision="bfloat16", device="cpu", errors=named, tolerance=0.2, frames=1, in_float32=()
            )

        assert check(0.19).passed  # nothing is before it
        assert check(*[0.01 * 1.05**k for k in range(60)]).passed  # a deep model: 0.18 in the end
        assert check(0.0, 0.05).passed  # the embeddings of a text are looked up
        assert not check(0.01, 0.012, 0.06).passed
        assert not check(0.1, 0.21).passed
        assert not check(0.01, float("nan")).passed
        assert check(0.06, 0.01, 0.14).allowed == {"layer 0": 0.2, "layer 1": 0.2, "layer 2": 0.2}
        assert check(0.02, 0.01, 0.01).allowed == {"layer 0": 0.2, "layer 1": 0.08, "layer 2": 0.08}

    def test_one_wrong_head_of_the_last_block_is_refused(self):
        backbone = load_backbone("hubert-nano")
        last = backbone.model.get_submodule("encoder.layers.11.attention")

        def without_a_head(module, inputs):
            (values,) = inputs
            if torch.is_autocast_enabled(values.device.type):
                values = values.clone()
                values[..., : last.head_dim] = 0
            return (values,)

        last.out_proj.register_forward_pre_hook(without_a_head)
        with pytest.raises(UserError, match=r"layer 12 \(.*\) is off by 0\.\d+, and 0\.\d+ is allowed"):
            check_backbone(backbone, WAVEFORMS, device=CPU, precision="bfloat16")

    @pytest.mark.parametrize("variant", ["hubert-large", "wavlm-base", "data2vec-audio", "hubert-batch-norm-position"])
    def test_every_family_keeps_its_grouped_convolutions_from_harm(self, variant, monkeypatch):
        backbone = Backbone(make_model(variant), name=variant, normalise=True)
        spoil_grouped_convolutions(monkeypatch)
        check = check_backbone(backbone, WAVEFORMS, device=CPU, precision="bfloat16")
        assert len(check.in_float32) == (5 if variant == "data2vec-audio" else 1)
        assert check.passed

    def test_a_batch_that_does_not_fit_is_halved(self, monkeypatch):
        walk, sizes = Backbone.walk, []

        def little_memory(self, waveforms, visit):
            sizes.append(len(waveforms))
            if len(waveforms) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return walk(self, waveforms, visit)

        monkeypatch.setattr(Backbone, "walk", little_memory)
        assert check_backbone(tiny(), WAVEFORMS, device=CPU, precision="bfloat16").passed
        assert sizes[0] == 3
        assert set(sizes[1:]) == {1}  # twice, or once more where the convolution has to be in float32
        assert len(sizes) in (3, 4)

    def test_the_packaged_model_needs_nothing_but_bfloat16_or_its_positional_convolution(self):
        """On whatever processor this runs: the second is what oneDNN with AMX needs."""
        check = check_backbone(load_backbone("hubert-nano"), WAVEFORMS, device=CPU, precision="bfloat16")
        assert check.in_float32 in ((), (POSITION,))
        # On a sound kernel, and in float32, the last of its 12 layers is off by about ten roundings to 8 bits, 0.02.
        assert max(check.errors.values()) < TOLERANCES["bfloat16"] / 2


class TestRunInFloat32:
    def test_it_computes_as_without_autocast_and_is_undone(self):
        conv = torch.nn.Conv1d(8, 8, 5, groups=2)
        model = torch.nn.Sequential(conv)
        values = torch.randn(2, 8, 50)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            wanted = torch.nn.functional.conv1d(values, conv.weight, groups=2)
            assert wanted.dtype is torch.bfloat16
            with run_in_float32(model, ["0"]):
                found = model(values)
                twin = copy.deepcopy(model)  # computes with its own weights
                twin[0].weight.zero_()
                assert torch.equal(model(values), found)
            assert found.dtype is torch.float32
            assert model(values).dtype is torch.bfloat16
        with torch.no_grad():
            torch.testing.assert_close(found, model(values), rtol=0, atol=0)

    def test_it_is_undone_after_an_error(self):
        model = torch.nn.Sequential(torch.nn.Linear(2, 2))
        with pytest.raises(KeyError), run_in_float32(model, ["0"]):
            raise KeyError
        assert "forward" not in vars(model[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with a split, and encoders to train on it."""
    folder = tmp_path_factory.mktemp("training")
    manifest = make_corpus(folder, utterances=12, speakers=4, longest=0.8)
    table = pd.read_csv(manifest)
    table["split"] = table["speaker"].map({"s0": "train", "s1": "train", "s2": "development", "s3": "test"})
    table.to_csv(manifest, index=False)
    save_speech_model(folder / "audio", "distilhubert")
    save_text_model(folder / "text", "bert")
    return folder


class TestTraining:
    """`probe-train --precision bfloat16`."""

    def train(self, folder: Path, out: Path, *more: str) -> int:
        encoders = ["--audio", str(folder / "audio"), "--text", str(folder / "text"), "--hidden", "8"]
        where = ["--corpus", str(folder / "manifest.csv"), "--out", str(out), "--results", str(out) + "-results"]
        where += ["--figures", str(out) + "-figures"]
        how = ["--epochs", "2", "--batch", "4", "--precision", "bfloat16", "--device", "cpu", "--resamples", "10"]
        return train_main([*encoders, *where, *how, "--quiet", *more])

    def test_a_wrong_positional_convolution_is_trained_in_float32(self, folder, tmp_path, monkeypatch):
        spoil_grouped_convolutions(monkeypatch)
        assert self.train(folder, tmp_path / "out") == 0
        record = json.loads((tmp_path / "out/runs/seed0-fold-all/precision.json").read_text())
        assert record["in_float32"] == [f"audio.model.{POSITION}"]
        assert "layer 2 (block 2)" in record["errors"]
        assert "layer 2 of the text encoder" in record["errors"]
        assert {"the input of the head", "the input of the head without words"} <= set(record["errors"])
        result = json.loads((tmp_path / "out/runs/seed0-fold-all/result.json").read_text())
        assert result["precision_check"] == record
        weights = load_file(tmp_path / "out/model/model.safetensors")
        scored = np.load(tmp_path / "out/runs/seed0-fold-all/predictions.npy")
        monkeypatch.undo()  # gone on with on a sound processor, where the record says what runs in float32
        self.leave_unfinished(tmp_path / "out")
        assert self.train(folder, tmp_path / "out") == 0
        for name, value in load_file(tmp_path / "out/model/model.safetensors").items():
            torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
        # Scores are of what its user gets: the kept model, in float32.
        table = pd.read_csv(folder / "manifest.csv").query("split != 'train'").sort_values("split", kind="stable")
        waveforms = [soundfile.read(folder / path, dtype="float32")[0] for path in table["path"]]
        again = load_model(tmp_path / "out/model").predict(waveforms, list(table["transcript"]))
        np.testing.assert_allclose(scored, again, rtol=1e-5, atol=1e-5)

    def test_another_wrong_kernel_is_refused(self, folder, tmp_path, monkeypatch, capsys):
        spoil_linear(monkeypatch, inputs=TEXT_SIZES["intermediate_size"], outputs=TEXT_SIZES["hidden_size"])
        assert self.train(folder, tmp_path / "text", "--audio", "none") == 2
        assert "layer 1 of the text encoder is off by" in capsys.readouterr().err
        assert self.train(folder, tmp_path / "audio", "--text", "none") == 2
        error = capsys.readouterr().err
        assert "layer 1 (block 1) is off by" in error
        assert "Use --precision float32 with --overwrite" in error
        assert not (tmp_path / "audio/model").exists()
        what_it_says = ("--text", "none", "--precision", "float32", "--overwrite")
        assert self.train(folder, tmp_path / "audio", *what_it_says) == 0

    def test_a_wrong_kernel_between_the_words_and_the_head_is_refused(self, folder, tmp_path, monkeypatch, capsys):
        text = save_text_model(tmp_path / "text", "bert", hidden_size=20)  # another width than that of speech
        spoil_linear(monkeypatch, inputs=20, outputs=8)  # the projection to --hidden
        assert self.train(folder, tmp_path / "out", "--text", str(text)) == 2
        assert re.search(r"the input of the head (is off by|is not)", capsys.readouterr().err)

    def test_float32_is_not_checked(self, folder, tmp_path):
        assert self.train(folder, tmp_path / "out", "--precision", "float32") == 0
        assert not list((tmp_path / "out/runs").glob("*/precision.json"))

    def test_a_damaged_record_is_refused(self, folder, tmp_path, capsys):
        assert self.train(folder, tmp_path / "out") == 0
        self.leave_unfinished(tmp_path / "out")
        (tmp_path / "out/runs/seed0-fold-all/precision.json").write_text('{"in_float32"')
        assert self.train(folder, tmp_path / "out") == 2
        assert "precision.json is damaged" in capsys.readouterr().err
        assert self.train(folder, tmp_path / "out", "--overwrite") == 0  # what the message says

    def leave_unfinished(self, out: Path) -> None:
        """A run as it is when it was begun, and nothing more."""
        shutil.rmtree(out / "model")
        for name in ("result.json", "predictions.npy"):
            (out / f"runs/seed0-fold-all/{name}").unlink()


class TestAnotherDevice:
    """Float32 on a GPU, as far as it can be seen on a CPU: as if what runs here were not what others are checked by."""

    @contextmanager
    def training(self, monkeypatch, record: Path, found: float) -> Iterator[list[str]]:
        monkeypatch.setattr(precision, "is_exact", lambda device, precision: False)
        answers, said = iter([1.0, found]), []
        with precision.train_checked(
            torch.nn.Linear(1, 1),
            lambda: {"layer 0": torch.full((9, 1), next(answers))},
            record=record,
            device=CPU,
            precision="float32",
            remedy="Use --device cpu",
            say=said.append,
        ):
            yield said

    def test_float32_is_checked_and_the_check_is_kept(self, tmp_path, monkeypatch):
        with self.training(monkeypatch, tmp_path / "precision.json", 1 + 1e-5) as said:
            assert "float32 on the CPU checked against float32 on the CPU" in said[0]
        record = json.loads((tmp_path / "precision.json").read_text())
        assert record["precision"] == "float32"
        assert record["errors"] == {"layer 0": pytest.approx(1e-5, rel=0.1)}

    @pytest.mark.parametrize("begun", [False, True])
    def test_a_check_draws_no_random_numbers_of_the_training(self, begun, tmp_path, monkeypatch):
        monkeypatch.setattr(precision, "is_exact", lambda device, precision: False)
        record = tmp_path / "precision.json"
        if begun:
            with self.training(monkeypatch, record, 1.0):
                pass

        def states() -> dict[str, torch.Tensor]:
            torch.rand([])  # as the layers that a training drops at random do in evaluation, too
            return {"layer 0": torch.ones(9, 1)}

        model = torch.nn.Linear(1, 1)
        torch.manual_seed(0)
        with precision.train_checked(model, states, record=record, device=CPU, precision="float32", remedy=""):
            drawn = torch.rand(3)
        assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(0)))

    def test_what_is_off_as_by_tf32_is_refused(self, tmp_path, monkeypatch):
        with (
            pytest.raises(UserError, match=r"layer 0 is off by 0\.001, and 0\.0005 is allowed\. Use --device cpu"),
            self.training(monkeypatch, tmp_path / "precision.json", 1 + 1e-3),
        ):
            pytest.fail("the training was begun")
        assert not (tmp_path / "precision.json").exists()

    @pytest.mark.parametrize("exact", [True, False])
    def test_training_has_whole_float32_whatever_the_process_has_set(self, exact, tmp_path, monkeypatch):
        monkeypatch.setattr(precision, "is_exact", lambda device, precision: exact)
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with precision.train_checked(
                torch.nn.Linear(1, 1),
                lambda: {"layer 0": torch.ones(9, 1)},
                record=tmp_path / "precision.json",
                device=CPU,
                precision="float32",
                remedy="",
            ):
                assert torch.backends.cuda.matmul.fp32_precision == "ieee"
                assert torch.backends.cudnn.conv.fp32_precision == "ieee"
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)

    def test_the_autocast_of_a_training_follows_its_weights(self, tmp_path, monkeypatch):
        with self.training(monkeypatch, tmp_path / "precision.json", 1.0):
            layer, seen = torch.nn.Linear(1, 1, bias=False), []
            for value in (1.0, 2.0):  # as a step of the optimiser changes them
                layer.weight.data.fill_(value)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    seen.append(layer(torch.ones(1, 1)).item())
        assert seen == [1.0, 2.0]


class TestDistilling:
    """`probe-distill --bf16`, and the pretraining, which checks its encoder in the same way."""

    def distil(self, folder: Path, out: Path, *more: str) -> int:
        teacher = save_speech_model(folder / "teacher") if not (folder / "teacher").exists() else folder / "teacher"
        where = ["--teacher", str(teacher), "--corpus", str(folder / "manifest.csv"), "--out", str(out)]
        return distill_main([*where, "--steps", "2", "--warmup", "1", "--decay", "1", "--batch-seconds", "1", *more])

    def test_the_convolutions_of_student_and_teacher_run_in_float32(self, folder, tmp_path, monkeypatch, capsys):
        spoil_grouped_convolutions(monkeypatch)
        assert self.distil(folder, tmp_path / "out", "--bf16") == 0
        for name, layers in (("precision", 3), ("precision_teacher", 4)):
            record = json.loads((tmp_path / f"out-run/{name}.json").read_text())
            assert record["in_float32"] == [POSITION]
            assert len(record["errors"]) == layers
        assert capsys.readouterr().out.count(f"{POSITION} in float32") == 2
        monkeypatch.undo()
        shutil.rmtree(tmp_path / "out-run/checkpoints")  # as if it had been stopped before the first
        assert self.distil(folder, tmp_path / "out", "--bf16") == 0
        assert capsys.readouterr().out.count(f"{POSITION} in float32") == 2  # as it was begun

    def test_another_wrong_kernel_is_refused(self, folder, tmp_path, monkeypatch, capsys):
        spoil_feed_forward(monkeypatch)
        assert self.distil(folder, tmp_path / "out", "--bf16") == 2
        assert "layer 1 is off by" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert self.distil(folder, tmp_path / "out", "--run", str(tmp_path / "other")) == 0  # what the message says
        assert not list((tmp_path / "other").glob("precision*"))

    def test_pretraining_checks_its_encoder(self, tmp_path, monkeypatch):
        encoder = make_model("hubert-group-norm-pre-norm")
        batches = [{"waves": torch.from_numpy(np.stack([waveform[:11_000] for waveform in WAVEFORMS]))}]
        spoil_grouped_convolutions(monkeypatch)
        with checked(encoder, batches, tmp_path / "precision.json", device=CPU, bf16=True):
            assert "forward" in vars(encoder.get_submodule(POSITION))
        assert "forward" not in vars(encoder.get_submodule(POSITION))
        monkeypatch.undo()
        spoil_feed_forward(monkeypatch)
        with (
            pytest.raises(UserError, match=r"layer 1 is off by.*Leave out --bf16"),
            checked(encoder, batches, tmp_path / "other.json", device=CPU, bf16=True),
        ):
            pytest.fail("the training was begun")
