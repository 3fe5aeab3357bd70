"""However a command is ended, it says so in one line, keeps what it has, and leaves what was there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import transformers

from emoprobe import UserError
from emoprobe.cli.running import run_command
from emoprobe.demo.processes import processes
from emoprobe.distil.checkpoint import export
from emoprobe.extract import baselines, extract, pipeline
from emoprobe.extract import scan as scan_module
from emoprobe.extract.audio import AudioProblem, read_audio, read_header
from emoprobe.extract.corpora import read_corpus
from emoprobe.ownership import MARK, mark, refuse_strangers
from emoprobe.storage import beside
from emoprobe.testing.checkpoints import make_model, save_speech_model
from emoprobe.testing.corpora import make_corpus, tone

# Signals and closed pipes ---------------------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """A shell that starts these tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_ends_a_command_with_one_line(number, status, word, capsys, interruptible):
    unwound = []

    def command() -> int:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            unwound.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(command) == status
    assert unwound
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert said.startswith(f"{word}: what was finished is kept")
    assert said.count("\n") == 1


def test_no_handler_of_errors_holds_up_a_termination(capsys):
    def command() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except Exception:
            return 0

    assert run_command(command) == 143
    assert "terminated" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_is_no_traceback(lines):
    """Both when it is met in the middle and when Python would meet it at its end."""
    code = (
        f"from emoprobe.cli.running import run_command; raise SystemExit(run_command(lambda: print('x\\n' * {lines})))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr.startswith("stopped, since nobody reads the output any more")
    assert ended.stderr.count("\n") == 1


# A full disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), "no space left on the disk for a.csv"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the disk"),
        (OSError(errno.EFBIG, "File too large"), "no space left on the disk"),
        # As safetensors and torch say it.
        (ValueError("I/O error: No space left on device (os error 28)"), "no space left on the disk"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "as on a full disk"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "as on a full disk"),
    ],
)
def test_a_full_disk_is_told_with_its_remedy(error, words, capsys):
    def command() -> int:
        raise error

    assert run_command(command) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "free some" in said
    assert said.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback():
    def command() -> int:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run_command(command)


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    one, other = (make_model("hubert-base", seed=seed) for seed in (0, 1))
    export(one, tmp_path / "student", made_by="probe-distill")
    before = {path.name: path.read_bytes() for path in (tmp_path / "student").iterdir()}
    with monkeypatch.context() as patch:

        def full(self, folder):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(transformers.Wav2Vec2FeatureExtractor, "save_pretrained", full)
        with pytest.raises(OSError, match="No space"):
            export(other, tmp_path / "student", made_by="probe-distill")
    after = {path.name: path.read_bytes() for path in (tmp_path / "student").iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {MARK}
    export(other, tmp_path / "student", made_by="probe-distill")
    assert (tmp_path / "student/model.safetensors").read_bytes() != before["model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "student").iterdir()) == sorted(before)


def test_a_mark_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    mark(tmp_path, "us")
    before = (tmp_path / MARK).read_bytes()

    def cut(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", cut)
        with pytest.raises(KeyboardInterrupt):
            mark(tmp_path, "us")
    assert (tmp_path / MARK).read_bytes() == before
    for left in (beside(tmp_path / MARK).name, f".{MARK}.new"):  # as a kill leaves it, and did in earlier versions
        (tmp_path / left).write_bytes(before[:10])
    refuse_strangers(tmp_path, ["file", MARK], "a folder", option="--out")  # what was cut off is no stranger


# A disk that vanishes -------------------------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_a_problem_of_its_own_and_a_folder_is_not(tmp_path):
    make_corpus(tmp_path / "disk", utterances=2)
    first, second = tmp_path / "disk/u000.wav", tmp_path / "disk/u001.wav"
    header = read_header(second)
    second.unlink()
    with pytest.raises(AudioProblem, match="missing"):
        read_audio(second, header)
    first.unlink()
    (tmp_path / "disk/manifest.csv").unlink()
    with pytest.raises(UserError, match=r"disk is gone .*it is empty.*mounted"):
        read_audio(second, header)
    (tmp_path / "disk").rmdir()
    with pytest.raises(UserError, match=r"disk is gone .*No such file"):
        read_audio(second, header)


@pytest.mark.slow
def test_a_disk_that_vanishes_stops_an_extraction_which_then_goes_on(tmp_path, monkeypatch):
    manifest = make_corpus(tmp_path / "disk", utterances=12)
    model = str(save_speech_model(tmp_path / "model"))
    corpus = read_corpus(str(manifest))

    def run(name: str) -> bytes:
        extract(corpus, model, tmp_path / name, device="cpu", batch_seconds=2, workers=1, progress=False).close()
        return (tmp_path / name).read_bytes()

    wanted = run("whole.h5")
    read, count = read_audio, 0

    def vanishing(path, header, kept):
        nonlocal count
        count += 1
        if count == 8:
            (tmp_path / "disk").rename(tmp_path / "elsewhere")
        return read(path, header)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "read_audio", vanishing)
        with pytest.raises(UserError, match=r"disk is gone while its audio is read.*finished is kept"):
            run("states.h5")
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    assert run("states.h5") == wanted


def test_a_disk_that_vanishes_while_headers_are_read_leaves_no_cache(tmp_path, monkeypatch):
    corpus = read_corpus(str(make_corpus(tmp_path / "disk", utterances=12)))
    read = scan_module.read_header

    def vanishing(path, kept):
        if Path(path).name == "u006.wav":
            (tmp_path / "disk").rename(tmp_path / "elsewhere")
        return read(path, kept)

    monkeypatch.setattr(scan_module, "read_header", vanishing)
    monkeypatch.setattr(scan_module.os, "cpu_count", lambda: None)
    with pytest.raises(UserError, match="disk is gone"):
        scan_module.scan(corpus, shortest=400, longest=60, progress=False)


@pytest.mark.slow
def test_a_baseline_of_vanished_audio_is_not_taken_for_finished(tmp_path):
    pytest.importorskip("opensmile")
    manifest = make_corpus(tmp_path / "disk", utterances=4)
    model = str(save_speech_model(tmp_path / "model"))
    with extract(str(manifest), model, tmp_path / "s.h5", device="cpu", progress=False) as cache:
        (tmp_path / "disk").rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="disk is gone"):
            baselines.add_baselines(cache, ["egemaps"], root=tmp_path / "disk", progress=False)
    assert not (tmp_path / "s.h5.baselines/egemaps.parquet").exists()


# A process that dies --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_a_process_that_is_killed_is_told_and_not_waited_for():
    with pytest.raises(UserError, match=r"has died, perhaps for want of memory"), processes(1) as pool:
        pool.submit(os._exit, 9).result()


# Recordings joined end to end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "subtype"),
    [(name, "PCM_16") for name in ("AVR", "IRCAM", "MAT4", "MAT5", "NIST", "PAF", "PVF", "SDS", "VOC", "AIFF", "AU")]
    + [("XI", "DPCM_16"), ("WVE", "ALAW"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("W64", "PCM_16")],
)
def test_two_recordings_in_one_file_are_refused_and_can_be_parted(container, subtype, tmp_path):
    for name, seconds, seed in (("one", 0.5, 1), ("two", 0.7, 2)):
        soundfile.write(tmp_path / name, tone(seconds, seed=seed), 16000, format=container, subtype=subtype)
        alone = read_header(tmp_path / name)
        assert len(read_audio(tmp_path / name, alone)) == alone.samples  # no file alone is refused
    parts = [(tmp_path / name).read_bytes() for name in ("one", "two")]
    (tmp_path / "OLD").write_bytes(b"".join(parts))
    with pytest.raises(AudioProblem, match="a second file follows the first") as refused:
        read_audio(tmp_path / "OLD", read_header(tmp_path / "OLD"))
    subprocess.run(
        refused.value.reason.partition("part them: ")[2].replace(",", ";"), shell=True, cwd=tmp_path, check=True
    )
    assert [(tmp_path / name).read_bytes() for name in ("ONE", "TWO")] == parts
