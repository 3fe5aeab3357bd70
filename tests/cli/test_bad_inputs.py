"""Over 200 damaged audio files, manifests and caches: an error or a listed reason each, and nothing else is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile

from emoprobe.extract.audio import STATUSES
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import tone, write_wav
from tests.corpus_fixtures import mutate

WORKER = Path(__file__).parents[1] / "bad_inputs_worker.py"
STATISTICS = ("mean", "std", "mean_ln")
ARRAYS = (*STATISTICS, "logmel", "mfcc")
GOOD = tuple(f"good{index}" for index in range(8))
# Bad neighbours change how batches are made up, and with it the order of float32 sums.
TOLERANCE = 1e-5

AUDIO_KINDS = (
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAVEX", "PCM_24"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
)
N_AUDIO, N_CSV, N_PARQUET, N_CACHE, N_NUMBERS = 14 * len(AUDIO_KINDS), 40, 25, 60, 15
PLACES = ("pooled/mean", "pooled/std", "pooled/mean_ln", "acoustic/logmel", "acoustic/mfcc")


@dataclass(frozen=True)
class Ended:
    """How a job went: None in place of the runs if the interpreter itself died."""

    runs: list[dict] | None
    dump: str = ""

    def check(self, *named: object) -> None:
        """No crash and no traceback; what ended with an error says so in one line with a name."""
        assert self.runs is not None, "the interpreter crashed"
        for run in self.runs:
            assert not run["trace"], run["trace"]
            assert run["status"] in (0, 1, 2, 3), run
            assert "Traceback" not in run["err"] + run["out"], run["err"]
            if run["status"] == 2:
                lines = [line for line in run["err"].splitlines() if line.startswith("error: ")]
                assert len(lines) == 1, run["err"]
                assert all(str(name) in lines[0] for name in named), lines[0]
        assert not self.dump, self.dump


class Worker:
    """A process that runs jobs, and a new one after a crash."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def __call__(self, jobs: list[dict]) -> list[Ended]:
        return [self.one(job) for job in jobs]

    def one(self, job: dict) -> Ended:
        if self.process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                [sys.executable, WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
            )
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.stop()
            return Ended(None)
        return Ended(**json.loads(answer))

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)
        self.process = None


@pytest.fixture(scope="module")
def work() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    if worker.process is not None:
        worker.stop()


def job(corpus: Path | str, model: Path, out: Path, *more: str, verify: bool = False) -> dict:
    arguments = ["--corpus", str(corpus), "--model", str(model), "--out", str(out), "--device", "cpu", "--quiet"]
    arguments += ["--workers", "2", "--longest", "5", *more]
    runs = [["--verify", "--out", str(out)]] if verify else []
    return {"runs": [*runs, arguments], "cache": str(out), "dump": f"{out}.npz"}


def read(out: Path) -> dict[str, np.ndarray]:
    with np.load(f"{out}.npz") as arrays:
        return dict(arrays)


def assert_equal_rows(found: dict, reference: dict, ids: list[str]) -> None:
    """The states of these utterances are the reference's."""
    rows = [list(found["id"]).index(name) for name in ids]
    expected = [list(reference["id"]).index(name) for name in ids]
    for name in ARRAYS:
        ours, theirs = found[name][..., rows, :], reference[name][..., expected, :]
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max(initial=0), err_msg=name)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_model(tmp_path_factory.mktemp("model") / "tiny", num_hidden_layers=2)


@dataclass(frozen=True)
class Reference:
    """A good corpus, its cache, and what is in it."""

    folder: Path
    manifest: Path
    cache: Path
    arrays: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, model: Path, work: Worker) -> Reference:
    folder = tmp_path_factory.mktemp("good")
    rows = ["id,path,speaker,split,emotion,arousal,valence,dominance,transcript"]
    for index, name in enumerate(GOOD):
        write_wav(folder / "audio" / f"{name}.wav", 0.2 + 0.03 * index, seed=index)
        rows.append(f'{name},audio/{name}.wav,s{index % 3},train,anger,{index / 3},-0.5,,"words, é"')
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    cache = folder / "states.h5"
    (ended,) = work([job(manifest, model, cache)])
    ended.check()
    assert ended.runs[0]["status"] == 0, ended.runs[0]["err"]
    return Reference(folder, manifest, cache, read(cache))


def odd_audio(folder: Path) -> dict[str, str]:
    """Files with a known fault, by name, and the status that each must get."""

    def put(name: str, signal: np.ndarray, rate: int = SAMPLE_RATE, coding: str = "FLOAT") -> str:
        soundfile.write(folder / name, signal, rate, subtype=coding, format="WAV")
        return name

    spoilt = tone(0.3)
    spoilt[2_000] = np.nan
    endless = tone(0.3)
    endless[10] = np.inf
    sound = tone(0.3)
    whole = (folder / put("whole.wav", sound, coding="PCM_16")).read_bytes()
    expected = {
        put("nan.wav", spoilt): "non-finite",
        put("inf.wav", endless): "non-finite",
        put("huge.wav", (1e30 * sound.astype(np.float64)), coding="DOUBLE"): "non-finite",
        put("beyond.wav", (1e200 * sound.astype(np.float64)), coding="DOUBLE"): "non-finite",
        put("silent.wav", np.zeros(4_800, np.float32)): "silent",
        put("constant.wav", np.full(4_800, 0.25, np.float32)): "silent",
        put("opposed.wav", np.stack([sound, -sound], axis=1)): "silent",
        put("short.wav", sound[:399]): "too short",
        put("sample.wav", sound[:1]): "too short",
        put("long.wav", tone(5.1, rate=8_000), 8_000): "too long",
        put("none.wav", sound[:0]): "empty",
    }
    for name, data, status in (
        ("bytes0.wav", b"", "empty"),
        ("bytes1.flac", b"f", "unreadable"),
        ("header.wav", whole[:44], "truncated"),
        ("half.wav", whole[:4_000], "truncated"),
        ("text.wav", b"This is no sound.\n" * 50, "unreadable"),
        ("picture.mp3", b"\x89PNG\r\n\x1a\n" + bytes(500), "unreadable"),
        ("noise.flac", np.random.default_rng(1).bytes(5_000), "unreadable"),
        ("noise.ogg", b"OggS" + np.random.default_rng(2).bytes(5_000), "truncated"),
    ):
        (folder / name).write_bytes(data)
        expected[name] = status
    (folder / "folder.wav").mkdir()
    (folder / "dangling.wav").symlink_to("nothing.wav")
    os.mkfifo(folder / "pipe.wav")
    return expected | {
        "folder.wav": "unreadable",
        "dangling.wav": "missing",
        "pipe.wav": "unreadable",
        "absent.wav": "missing",
        "x" * 300 + ".wav": "unreadable",
    }


@pytest.mark.slow
def test_audio(tmp_path: Path, model: Path, reference: Reference, work: Worker) -> None:
    """All in one corpus, between the good ones: each gets its reason, and the good ones their states."""
    rng = np.random.default_rng(2305)
    folder = tmp_path / "audio"
    folder.mkdir()
    expected: dict[str, str | None] = dict(odd_audio(folder))
    for index in range(N_AUDIO):
        ending, container, coding = AUDIO_KINDS[index % len(AUDIO_KINDS)]
        path = folder / f"mutated{index}.{ending}"
        soundfile.write(path, tone(0.25, seed=index), SAMPLE_RATE, format=container, subtype=coding)
        path.write_bytes(mutate(path.read_bytes(), rng))
        expected[path.name] = None
    good = [(name, str(reference.folder / "audio" / f"{name}.wav")) for name in GOOD]
    rows = good + [(f"bad{index}", f"audio/{name}") for index, name in enumerate(expected)]
    rng.shuffle(rows)
    manifest = tmp_path / "mixed.csv"
    manifest.write_text("id,path\n" + "".join(f"{name},{path}\n" for name, path in rows))
    out = tmp_path / "states.h5"
    (ended,) = work([job(manifest, model, out)])
    ended.check()
    assert ended.runs[0]["status"] == 3
    found = read(out)
    assert list(found["id"]) == [name for name, _ in rows]
    assert_equal_rows(found, reference.arrays, list(GOOD))
    status = dict(zip(found["id"], zip(found["status"], found["reason"], strict=True), strict=True))
    left_out = 0
    for index, (name, wanted) in enumerate(expected.items()):
        was, reason = status[f"bad{index}"]
        if was == "done":  # a flipped bit in the samples is not to be told from the sound
            assert wanted is None, f"{name}: done"
            row = list(found["id"]).index(f"bad{index}")
            assert all(np.isfinite(found[array][..., row, :]).all() for array in ARRAYS)
        else:
            left_out += 1
            assert was in STATUSES, f"{name}: {was}"
            assert reason, name
            assert wanted in (None, was), f"{name}: {was} ({reason}), expected {wanted}"
    assert left_out > 60
    assert "left out: " in ended.runs[0]["err"]


@pytest.mark.slow
def test_audio_strictly(tmp_path: Path, model: Path, reference: Reference, work: Worker) -> None:
    """With --strict the first of them stops the run, by name."""
    names = list(odd_audio(tmp_path))
    jobs = []
    for index, name in enumerate(names[:6] + names[-6:]):
        manifest = tmp_path / f"strict{index}.csv"
        good = reference.folder / "audio" / "good0.wav"
        manifest.write_text(f"path\n{good}\n{name}\n")
        jobs.append(job(manifest, model, tmp_path / f"strict{index}.h5", "--strict"))
    for ended, name in zip(work(jobs), names[:6] + names[-6:], strict=True):
        ended.check(name)
        assert ended.runs[0]["status"] == 2


def manifests(reference: Reference, rng: np.random.Generator) -> list[bytes]:
    """Damaged manifests, and good ones in strange encodings."""
    text = reference.manifest.read_text(encoding="utf-8")
    data = text.encode()
    odd = [
        b"",
        b"\n",
        b"\xef\xbb\xbf",
        b"path",
        b"\0" * 100,
        text.encode("utf-16"),
        text.encode("utf-32"),
        text.encode("latin-1"),
        text.encode("cp500"),
        text.replace(",", ";").encode(),
        text.replace("\n", "\r").encode(),
        text.replace("\n", "\r\n").encode("utf-8-sig"),
        text.replace("audio/", "../audio/").encode(),
        text.replace("audio/good3.wav", "").encode(),
        text.replace("good3", "good2").encode(),
        text.replace("-0.5", "inf").encode(),
        text.replace("-0.5", "low").encode(),
        text.replace("train", "fold").encode(),
        text.replace("good3", "good\u2028\U0001f600").encode(),
        text.replace('"words, é"', '"' + "long " * 50_000 + '"').encode(),
        ("path\n" + "audio/good0.wav\n" * 3).encode(),
        ("path,speaker\n" + f"audio/good0.wav,{'x' * 100_000}\n").encode(),
    ]
    return odd + [mutate(data, rng) for _ in range(N_CSV - len(odd))]


def parquets(reference: Reference, rng: np.random.Generator, folder: Path) -> list[bytes]:
    table = pd.read_csv(reference.manifest)
    path = folder / "good.parquet"
    table.to_parquet(path)
    data = path.read_bytes()
    odd = [data[:4], data[:-4], data[:-8] + b"\xff\xff\xff\x7fPAR1", b"PAR1" + bytes(100) + b"PAR1"]
    for change in (
        {"path": [1] * 8},
        {"path": [None] * 8},
        {"valence": [np.inf] * 8},
        {"arousal": ["high"] * 8},
        {"speaker": [{"a": 1}] * 8},
    ):
        table.assign(**change).to_parquet(path)
        odd.append(path.read_bytes())
    return odd + [mutate(data, rng) for _ in range(N_PARQUET - len(odd))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifests(tmp_path: Path, model: Path, reference: Reference, work: Worker, kind: str) -> None:
    rng = np.random.default_rng(19184)
    made = manifests(reference, rng) if kind == "csv" else parquets(reference, rng, tmp_path)
    paths = []
    for index, data in enumerate(made):
        folder = tmp_path / f"{index}"
        folder.mkdir()
        (folder / "audio").symlink_to(reference.folder / "audio")
        paths.append(folder / f"manifest{index}.{kind}")
        paths[-1].write_bytes(data)
    jobs = [job(path, model, path.with_suffix(".h5")) for path in paths]
    refused = 0
    for path, ended in zip(paths, work(jobs), strict=True):
        try:
            ended.check()
            if ended.runs[0]["status"] == 2:
                refused += 1
                assert str(path) in ended.runs[0]["err"] or "no utterance of" in ended.runs[0]["err"]
                assert not path.with_suffix(".h5").exists()
                continue
            found = read(path.with_suffix(".h5"))
            by_file = {Path(file).stem: name for name, file in zip(found["id"], found["path"], strict=True)}
            done = set(found["id"][found["status"] == "done"])
            for stem in set(by_file) & set(GOOD):
                assert by_file[stem] in done, stem
            found["id"] = np.array([Path(file).stem for file in found["path"]])
            assert_equal_rows(found, reference.arrays, sorted(set(found["id"]) & set(GOOD)))
        except AssertionError as problem:
            raise AssertionError(f"{path}: {problem}") from problem
    assert refused > len(made) // 3


@pytest.mark.slow
def test_caches(tmp_path: Path, model: Path, reference: Reference, work: Worker) -> None:
    """`--verify` and the next run on damaged caches: what is not intact is told, what is intact keeps its numbers."""
    rng = np.random.default_rng(42)
    data = reference.cache.read_bytes()
    made = [b"", data[:8], data[:-1], data[: len(data) // 2], b"\x89HDF\r\n\x1a\n", rng.bytes(len(data))]
    # A few bits in the numbers, in the structure, and whatever else happens to files.
    for count in (1, 1, 1, 4, 64):
        for end in (len(data), 2_048, 16_384):
            damaged = bytearray(data)
            for place in rng.integers(0, min(end, len(data)), count):
                damaged[place] ^= 1 << int(rng.integers(8))
            made.append(bytes(damaged))
    made += [mutate(data, rng) for _ in range(N_CACHE - len(made))]
    paths = []
    for index, damaged in enumerate(made):
        paths.append(tmp_path / f"damaged{index}.h5")
        paths[-1].write_bytes(damaged)
    told = 0
    for path, damaged, ended in zip(
        paths, made, work([job(reference.manifest, model, path, verify=True) for path in paths]), strict=True
    ):
        try:
            ended.check(path)
            verified, resumed = ended.runs
            told += verified["status"] != 0
            if resumed["status"] == 2:
                assert path.read_bytes() == damaged, "an error must leave the file as it is"
                continue
            found = read(path)
            assert list(found["id"]) == list(reference.arrays["id"])
            lost = [name for name, status in zip(found["id"], found["status"], strict=True) if status != "done"]
            assert not lost, f"{lost} are lost: {found['status']}"
            wrong = [name for name in GOOD if name not in verified["err"]]
            assert_equal_rows(found, reference.arrays, wrong)
        except AssertionError as problem:
            raise AssertionError(f"{path}: {problem}") from problem
    assert told > len(made) // 2


@pytest.mark.slow
def test_numbers_in_caches(tmp_path: Path, model: Path, reference: Reference, work: Worker) -> None:
    """One bit of one number: `--verify` names the utterance and no other, and the others keep their numbers."""
    rng = np.random.default_rng(7)
    data = reference.cache.read_bytes()
    with h5py.File(reference.cache) as file:
        places = {name: (file[name].id.get_offset(), file[name].shape[-1]) for name in PLACES}
        layers = len(file["layers/index"])
    jobs, hit = [], []
    for index in range(N_NUMBERS):
        name = PLACES[index % len(PLACES)]
        offset, width = places[name]
        row, layer = int(rng.integers(len(GOOD))), int(rng.integers(layers)) if name.startswith("pooled") else 0
        number = (layer * len(GOOD) + row) * width + int(rng.integers(width))
        damaged = bytearray(data)
        damaged[offset + 4 * number + int(rng.integers(4))] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"number{index}.h5"
        path.write_bytes(damaged)
        jobs.append(job(reference.manifest, model, path, verify=True))
        hit.append(row)
    for item, row, ended in zip(jobs, hit, work(jobs), strict=True):
        ended.check()
        verified, resumed = ended.runs
        assert (verified["status"], resumed["status"]) == (1, 0)
        assert [name for name in GOOD if f"the states of {name} " in verified["err"]] == [GOOD[row]]
        assert item["cache"] in verified["err"]
        assert_equal_rows(read(Path(item["cache"])), reference.arrays, [name for name in GOOD if name != GOOD[row]])


@pytest.mark.slow
def test_there_are_at_least_200() -> None:
    assert N_AUDIO + N_CSV + N_PARQUET + N_CACHE + N_NUMBERS >= 200
