"""Audio inside Parquet, Arrow and tar is what it is as files, and nothing of it is written out."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from emoprobe.errors import UserError
from emoprobe.extract import extract
from emoprobe.extract.audio import AudioProblem, Kept, cut, holder_of, read_audio, read_header, shards
from emoprobe.extract.audio.shards import open_bytes
from emoprobe.extract.batchwise import stamp
from emoprobe.extract.corpora import read_corpus, read_manifest
from emoprobe.extract.scan import scan
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import tone, write_csv
from emoprobe.testing.recognisers import save_ctc
from emoprobe.transcribe.transcription import TranscriptionSettings, transcribe
from tests.corpus_fixtures import mutate
from tests.shard_fixtures import (
    EMOTIONS,
    SCHEMA,
    as_members,
    encoded,
    heard,
    make_rows,
    write_parquet,
    write_saved,
    write_tar,
)

ROWS = make_rows(11)


def parquet(folder: Path) -> Path:
    write_parquet(folder / "data/train-00000-of-00002.parquet", ROWS[:6])
    write_parquet(folder / "data/train-00001-of-00002.parquet", ROWS[6:])
    return folder


def saved(folder: Path) -> Path:
    return write_saved(folder, ROWS)


def tar(folder: Path) -> Path:
    write_tar(folder / "shard-000000.tar", dict(as_members(ROWS[:6])))
    write_tar(folder / "more/shard-000001.tar", dict(as_members(ROWS[6:])))
    return folder


FORMS = pytest.mark.parametrize("form", [parquet, saved, tar])


# Readers --------------------------------------------------------------------------------------------------------------


@FORMS
def test_a_data_set_is_told_by_its_content_and_read_as_its_rows_are(form, tmp_path):
    folder = form(tmp_path / "set")
    corpus = read_corpus(str(folder))
    assert corpus.name == "set"
    table = corpus.utterances.set_index("id")
    assert sorted(table.index) == [Path(row["audio"]["path"]).stem for row in ROWS]
    for row in ROWS:
        found = table.loc[Path(row["audio"]["path"]).stem]
        assert (found["emotion"], found["arousal"], found["speaker"]) == (
            EMOTIONS[row["emotion"]], row["arousal"], row["speaker"],
        )  # fmt: skip
        np.testing.assert_array_equal(
            read_audio(found["path"], read_header(found["path"])), heard(row["audio"]["bytes"])
        )
    assert set(table["split"]) == ({"train"} if form is parquet else {""})
    named = read_corpus(corpus.arguments[1])  # as a repair command would name it
    assert named.sha256 == corpus.sha256


@FORMS
def test_the_hash_of_a_data_set_moves_with_it(form, tmp_path):
    before = read_corpus(str(form(tmp_path / "set"))).sha256
    shutil.move(tmp_path / "set", tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(tmp_path / "set2")
    assert read_corpus(str(tmp_path / "set2")).sha256 == before


@pytest.mark.slow
@FORMS
def test_extraction_of_a_data_set_equals_that_of_its_files_and_writes_none(form, tmp_path):
    folder, model = form(tmp_path / "set"), str(save_speech_model(tmp_path / "model"))
    cells = []
    for row in ROWS:
        name = Path(row["audio"]["path"]).stem
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).write_bytes(row["audio"]["bytes"])
        cells.append([name, name])
    order = list(read_corpus(str(folder)).utterances["id"])
    cells.sort(key=lambda cell: order.index(cell[0]))
    manifest = write_csv(tmp_path / "files" / "m.csv", ["id", "path"], cells)
    there = {path for path in tmp_path.rglob("*") if path.is_file()}
    options = {"device": "cpu", "batch_seconds": 100, "progress": False}
    with extract(str(folder), model, tmp_path / "s.h5", **options) as shards_cache:
        assert {path for path in tmp_path.rglob("*") if path.is_file()} - there == {tmp_path / "s.h5"}
        with extract(str(manifest), model, tmp_path / "f.h5", **options) as files:
            assert shards_cache.done.all()
            for name in files.statistics:
                # Of Parquet each shard makes batches of its own, so sums go in another order.
                np.testing.assert_allclose(shards_cache.states(name), files.states(name), rtol=1e-4, atol=1e-5)


def test_a_dict_of_data_sets_has_their_splits(tmp_path):
    for split, rows in (("train", ROWS[:7]), ("validation", ROWS[7:9]), ("test", ROWS[9:])):
        write_saved(tmp_path / "set" / split, rows, shards=1)
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    splits = read_corpus(str(tmp_path / "set")).utterances["split"]
    assert list(splits) == ["train"] * 7 + ["development"] * 2 + ["test"] * 2


def test_the_library_writes_what_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    plain = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features(
        audio=plain,
        emotion=datasets.ClassLabel(names=list(EMOTIONS)),
        arousal=datasets.Value("float64"),
        speaker=datasets.Value("string"),
    )
    made = datasets.Dataset.from_list(ROWS, features=features).cast_column("audio", datasets.Audio(decode=False))
    made.save_to_disk(tmp_path / "saved", num_shards=2)
    made.to_parquet(tmp_path / "whole.parquet")
    datasets.DatasetDict(train=made, test=made.select([0])).save_to_disk(tmp_path / "dict")
    for place, count in (("saved", 11), ("whole.parquet", 11), ("dict", 12)):
        corpus = read_corpus(str(tmp_path / place))
        assert len(corpus) == count
        for row in range(count):
            path = corpus.utterances["path"][row]
            np.testing.assert_array_equal(
                read_audio(path, read_header(path)), heard(ROWS[row % len(ROWS)]["audio"]["bytes"])
            )


def test_names_that_tell_no_rows_apart_give_way_to_shard_and_row(tmp_path):
    rows = [{**row, "audio": {**row["audio"], "path": None}} for row in ROWS[:3]]
    write_parquet(tmp_path / "a.parquet", rows)
    write_parquet(tmp_path / "b.parquet", rows)
    assert list(read_corpus(str(tmp_path)).utterances["id"]) == ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"]


def test_columns_go_by_their_common_names_and_by_those_that_are_given(tmp_path):
    feature = {"names": ["calm", "cross"], "_type": "ClassLabel"}
    schema = pa.schema(
        {"audio": SCHEMA.field("audio").type, "file": pa.string(), "label": pa.int64(), "speaker_id": pa.string()}
        | {"excitement": pa.float64(), "vector": pa.list_(pa.float64())},
        metadata={"huggingface": json.dumps({"info": {"features": {"label": feature}}})},
    )
    more = {"file": "elsewhere.wav", "speaker_id": "anna", "excitement": 4.5, "vector": [1.0]}
    rows = [{"audio": row["audio"], "label": number, **more} for number, row in enumerate(ROWS[:2])]
    shard = write_parquet(tmp_path / "dev-00000.parquet", rows, schema=schema)
    corpus = read_corpus(str(tmp_path), columns={"arousal": "excitement"})
    table = corpus.utterances
    assert list(table["path"]) == [f"{shard}/audio/{row}" for row in range(2)]
    assert list(table["emotion"]) == ["calm", "cross"]
    assert list(table["speaker"]) == ["anna"] * 2
    assert list(table["arousal"]) == [4.5] * 2
    assert list(table["split"]) == ["development"] * 2
    assert any("emotion from label" in note for note in corpus.notes)
    assert any("columns not used" in note and "vector" in note for note in corpus.notes)
    tar = write_tar(tmp_path / "t.tar", {"a.wav": ROWS[0]["audio"]["bytes"], "a.json": b'{"EmoVal": 2, "x": 3}'})
    table = read_corpus(str(tar), columns={"arousal": "x"}).utterances
    assert (table["valence"][0], table["arousal"][0]) == (2.0, 3.0)


def test_rows_without_bytes_name_files_or_are_listed(tmp_path):
    soundfile.write(tmp_path / "real.wav", tone(0.5), 16_000)
    rows = [dict(row) for row in ROWS[:3]]
    rows[1]["audio"] = {"bytes": None, "path": str(tmp_path / "real.wav")}
    rows[2]["audio"] = {"bytes": None, "path": None}
    corpus = read_corpus(str(write_parquet(tmp_path / "a.parquet", rows)))
    assert corpus.utterances["path"][1] == str(tmp_path / "real.wav")
    table, _ = scan(corpus, shortest=400, longest=60, progress=False)
    assert list(table["status"]) == ["pending", "pending", "missing"]
    assert "row 2 of" in table["reason"][2]


def test_tar_takes_words_and_classes_and_tells_what_it_does_not_use(tmp_path):
    members = {
        "./a/one.wav": ROWS[0]["audio"]["bytes"],
        "./a/one.txt": b"good \n morning\n",
        "./a/one.cls": b"2",
        "./a/two.WAV": ROWS[2]["audio"]["bytes"],
        "./a/two.npy": b"x",
        "./a/._two.wav": b"of a Mac",
        "./a/three.json": b'{"emotion": "sad"}',
    }
    corpus = read_corpus(str(write_tar(tmp_path / "a.tar", members)))
    assert list(corpus.utterances["transcript"]) == ["good morning", ""]
    assert list(corpus.utterances["emotion"]) == ["2", ""]
    assert "files not used: .npy (1)" in corpus.notes
    assert "1 keys have no audio and are left out" in corpus.notes
    path = corpus.utterances["path"][1]
    assert path == str(tmp_path / "a.tar/a/two.WAV")
    np.testing.assert_array_equal(read_audio(path, read_header(path)), heard(ROWS[2]["audio"]["bytes"]))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda place: write_parquet(place / "a.parquet", [], schema=SCHEMA), "no utterances"),
        (
            lambda place: write_parquet(
                place / "a.parquet",
                [{"audio": None, "other": None}],
                schema=pa.schema({"audio": SCHEMA.field("audio").type, "other": SCHEMA.field("audio").type}),
            ),
            r"2 columns of audio \(audio, other\); keep one",
        ),
        (lambda place: (place / "a.parquet").write_bytes(b"PAR1" + bytes(50) + b"PAR1"), "damaged or of an unknown"),
        (lambda place: (write_saved(place / "s", ROWS[:2]) / "data-00001-of-00002.arrow").unlink(), "is not there"),
        (lambda place: (place / "state.json").write_text("[]"), "is no JSON object"),
        (
            lambda place: (place / "state.json").write_text('{"_indices_files": [{"filename": "i.arrow"}]}'),
            r"flatten_indices\(\).save_to_disk",
        ),
        *(
            (
                lambda place, name=name: (place / "state.json").write_text(
                    json.dumps({"_data_files": [{"filename": name}]})
                ),
                "state.json: .* is not the name of something in its folder",
            )
            for name in ("/etc/hostname", "../data.arrow", "..", "", "a/data.arrow")
        ),
        *(
            (
                lambda place, splits=splits: (place / "dataset_dict.json").write_text(json.dumps({"splits": splits})),
                "dataset_dict.json: " + told,
            )
            for splits, told in (
                (["../train"], "'../train' is not the name"),
                (["/etc"], "'/etc' is not the name"),
                (5, "does not tell the data set's splits"),
            )
        ),
        (lambda place: write_tar(place / "a.tar", {"a.wav": b"", "a.flac": b""}), "a has 2 files of audio"),
        (lambda place: write_tar(place / "a.tar", {"a.txt": b"hm"}), "no audio in it"),
        (lambda place: write_tar(place / "a.tar", {"../evil.wav": b""}), r"holds '\.\./evil\.wav', which leads out"),
        (lambda place: write_tar(place / "a.tar", {"b/../../evil.json": b"{}"}), "leads out of the archive"),
        (lambda place: write_tar(place / "a.tar", {"/etc/abs.wav": b""}), "holds '/etc/abs.wav', which leads out"),
        (lambda place: write_tar(place / "a.tar", {"a.wav": b"", "a.json": b"[1]"}), "holds no JSON object"),
        (lambda place: write_tar(place / "a.tar", {"a.wav": b"", "a.json": b"{"}), "is no JSON"),
        (lambda place: write_tar(place / "a.tar.gz", {"a.wav": b""}, mode="w:gz"), "is compressed.*gunzip"),
        (
            lambda place: (place / "a.tar").write_bytes(
                write_tar(place / "b.tar", {"a.wav": bytes(9_000)}).read_bytes()[:5_000]
            ),
            "a.tar: is damaged, cut off",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(make, told, tmp_path):
    make(tmp_path)
    place = tmp_path / "s" if (tmp_path / "s").exists() else tmp_path
    with pytest.raises(UserError, match=told):
        read_corpus(str(place))


def test_a_table_without_audio_is_a_manifest_still(tmp_path):
    schema = pa.schema({"path": pa.string(), "arousal": pa.float64()})
    pq.write_table(pa.Table.from_pylist([{"path": "a.wav", "arousal": 1.0}], schema=schema), tmp_path / "m.parquet")
    assert read_corpus(str(tmp_path / "m.parquet")).arguments == ("--corpus", str(tmp_path / "m.parquet"))
    with pytest.raises(UserError, match="has no column of audio"):
        read_corpus(f"datasets:{tmp_path / 'm.parquet'}")


@pytest.mark.slow
@FORMS
def test_a_damaged_shard_is_refused_or_its_rows_are_listed(form, tmp_path):
    form(tmp_path / "set")
    shard = next(
        path for path in sorted((tmp_path / "set").rglob("*")) if path.suffix in (".parquet", ".arrow", ".tar")
    )
    good, rng = shard.read_bytes(), np.random.default_rng(0)
    refused = listed = 0
    reader = "tar" if form is tar else "datasets"
    for _ in range(30):
        shard.write_bytes(mutate(good, rng))
        try:
            corpus = read_corpus(f"{reader}:{tmp_path / 'set'}")
        except UserError:
            refused += 1
            continue
        table, headers = scan(corpus, shortest=400, longest=60, progress=False)
        for path, header in zip(table["path"], headers, strict=True):
            try:
                waveform = None if isinstance(header, AudioProblem) else read_audio(path, header)
            except AudioProblem:
                waveform = None
            listed += waveform is None
            assert waveform is None or np.isfinite(waveform).all()
    assert refused > 0
    assert listed > 0


# Paths that go on below a file ----------------------------------------------------------------------------------------


def test_a_path_below_a_file_is_no_other_files(tmp_path):
    shard = write_parquet(tmp_path / "a.parquet", ROWS[:2])
    assert holder_of(f"{shard}/audio/1") == str(shard)
    assert holder_of(shard) == str(shard)
    assert holder_of(tmp_path / "gone.wav") == str(tmp_path / "gone.wav")
    with pytest.raises(NotADirectoryError):
        Path(f"{shard}/audio/1").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Path(f"{shard}/audio").mkdir()


@pytest.mark.parametrize(
    ("inside", "status", "told"),
    [
        ("audio/11", "missing", "has 11 rows and no audio at 'audio/11'"),
        ("audio/-1", "missing", "no audio at"),
        ("speech/1", "missing", "no audio at"),
        ("1", "missing", "no audio at"),
        ("speaker/1", "missing", "no audio at"),
    ],
)
@pytest.mark.parametrize("form", [parquet, saved])
def test_rows_that_a_table_does_not_have_are_missing(form, inside, status, told, tmp_path):
    form(tmp_path / "set")
    shard = next(path for path in (tmp_path / "set").rglob("*") if path.suffix in (".parquet", ".arrow"))
    with pytest.raises(AudioProblem, match=told.replace("11 rows", r"\d+ rows")) as problem:
        read_header(f"{shard}/{inside}")
    assert problem.value.status == status


def test_members_that_are_not_there_and_files_that_hold_none_are_missing(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"one.wav": ROWS[0]["audio"]["bytes"], "empty.wav": b""})
    (tmp_path / "a.txt").write_text("words")
    for path, status, told in (
        (shard / "two.wav", "missing", "has no member 'two.wav'"),
        (tmp_path / "a.txt/two.wav", "missing", "is itself a file, and no tar, Parquet or Arrow"),
        (tmp_path / "gone.tar/two.wav", "missing", "no such file"),
        (shard / "empty.wav", "empty", "no bytes"),
    ):
        with pytest.raises(AudioProblem, match=told) as problem:
            read_header(path)
        assert problem.value.status == status


def test_audio_in_a_shard_is_judged_as_it_is_in_a_file(tmp_path):
    good = ROWS[0]["audio"]["bytes"]
    flac = encoded(tone(2.0), "FLAC")
    odd = {
        "cut.wav": good[:-2_000],
        "twice.wav": good + good,
        "twice.flac": flac + flac,
        "cut.flac": flac[: len(flac) // 2],
        "text.wav": b"no sound at all, and more of it",
        "film.mp4": b"\0\0\0\x20ftypmp42" + bytes(2_000),
        "silent.wav": encoded(np.zeros(9_000)),
        "mp3.wav": encoded(tone(2.0), "MP3"),
        "ogg.wav": encoded(tone(2.0), "OGG"),
        "rate.wav": encoded(np.stack([tone(0.5, rate=44_100)] * 2, axis=1), rate=44_100),
    }
    write_tar(tmp_path / "a.tar", odd)

    def judged(path: Path) -> tuple[str, str] | np.ndarray:
        try:
            return read_audio(path, read_header(path))
        except AudioProblem as problem:
            return problem.status, problem.reason

    statuses = set()
    for name, data in odd.items():
        (tmp_path / name).write_bytes(data)
        inside, alone = judged(tmp_path / "a.tar" / name), judged(tmp_path / name)
        if name == "film.mp4":
            assert inside[0] == alone[0]
        else:
            np.testing.assert_equal(inside, alone)
        statuses.add(inside[0] if isinstance(inside, tuple) else "good")
    assert statuses == {"truncated", "unreadable", "silent", "good"}
    assert "extract the audio with ffmpeg: ffmpeg -i film.mp4 -vn film.wav" in judged(tmp_path / "film.mp4")[1]
    # In a shard there is no file that ffmpeg could read.
    row = {"audio": {"bytes": odd["film.mp4"], "path": "film.mp4"}, "emotion": 0, "arousal": 1.0, "speaker": "s"}
    table = write_parquet(tmp_path / "t.parquet", [ROWS[0], row])
    for path, told in (
        (tmp_path / "a.tar" / "film.mp4", f"it is member film.mp4 of {tmp_path / 'a.tar'}"),
        (table / "audio" / "1", f"it is row 1 (from 0) of the column audio of {table}"),
    ):
        _, reason = judged(path)
        assert f"{told}: write the data set again with WAV or FLAC" in reason
        assert "ffmpeg" not in reason


def test_parts_of_audio_in_a_shard(tmp_path):
    sound = tone(2.0)
    path = write_tar(tmp_path / "a.tar", {"x.wav": encoded(sound, subtype="FLOAT"), "y.ogg": encoded(sound, "OGG")})
    np.testing.assert_array_equal(
        read_audio(path / "x.wav", cut(read_header(path / "x.wav"), (0.5, 1.25, None))), sound[8_000:20_000]
    )
    header = read_header(path / "y.ogg")
    np.testing.assert_array_equal(
        read_audio(path / "y.ogg", cut(header, (0.5, 1.25, 0))), read_audio(path / "y.ogg", header)[8_000:20_000]
    )


def test_a_result_knows_its_shard_and_a_manifest_holds_its_path(tmp_path):
    write_tar(tmp_path / "set/a.tar", dict(as_members(ROWS[:4])))
    path = f"{tmp_path}/set/a.tar/rec_0_000.wav"
    before = stamp(path)
    assert before[1] == (tmp_path / "set/a.tar").stat().st_size
    os.utime(tmp_path / "set/a.tar", ns=(1, 1))
    assert stamp(path) != before
    recogniser = str(save_ctc(tmp_path / "recogniser", "hubert-base"))
    out = tmp_path / "heard.csv"
    table = transcribe(
        str(tmp_path / "set"), recogniser, out, settings=TranscriptionSettings(device="cpu"), progress=False
    )
    assert set(table["status"]) == {"done"}
    again = read_manifest(out).utterances
    assert list(again["path"]) == list(table["path"])
    assert read_header(again["path"][3]).samples == len(heard(ROWS[3]["audio"]["bytes"]))


# What is read ---------------------------------------------------------------------------------------------------------


def test_each_group_of_rows_is_decoded_once_however_many_threads_read(tmp_path, monkeypatch):
    shard = write_parquet(tmp_path / "a.parquet", ROWS, group=4)
    read, groups = pq.ParquetFile.read_row_group, []

    def counting(self, group, *arguments, **options):
        groups.append(group)
        return read(self, group, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    kept = Kept()
    order = np.random.default_rng(0).permutation(len(ROWS)).tolist() * 2

    def content(row: int) -> bytes:
        with open_bytes(f"{shard}/audio/{row}", kept) as file:
            return file.read()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(content, order)) == [ROWS[row]["audio"]["bytes"] for row in order]
    assert sorted(groups) == [0, 1, 2]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell open files")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_few_shards_are_open_at_a_time(form, tmp_path):
    row = [{"audio": {"bytes": b"x", "path": None}, "emotion": 0, "arousal": 0.0, "speaker": ""}]
    for number in range(100):
        if form == "parquet":
            write_parquet(tmp_path / f"{number}.parquet", row)
        else:
            saved = write_saved(tmp_path / f"{number}", row, shards=1)
            (saved / "data-00000-of-00001.arrow").rename(tmp_path / f"{number}.arrow")
    kept = Kept()
    for number in range(100):
        with open_bytes(f"{tmp_path}/{number}.{form}/audio/0", kept) as file:
            assert file.read() == b"x"
    opened = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert sum(str(tmp_path) in path for path in opened) <= 64


@FORMS
def test_the_table_is_read_without_the_audio(form, tmp_path, monkeypatch):
    """No more bytes are read than the labels take: the audio is replaced by noise, and the corpus is the same."""
    before = read_corpus(str(form(tmp_path / "set")))
    if form is parquet:
        read = pq.ParquetFile.read
        asked: list[str] = []

        def recording(self, *arguments, columns, **options):
            asked.extend(columns)
            return read(self, *arguments, columns=columns, **options)

        monkeypatch.setattr(pq.ParquetFile, "read", recording)
        monkeypatch.setattr(pq.ParquetFile, "read_row_group", None)
        read_corpus(str(tmp_path / "set"))
        assert "audio.path" in asked
        assert not {"audio", "audio.bytes"} & set(asked)
        return
    for path in (tmp_path / "set").rglob("*"):
        if path.suffix in (".tar", ".arrow"):
            data = path.read_bytes()
            for row in ROWS:
                audio = row["audio"]["bytes"]
                data = data.replace(audio[8:], b"\xaa" * (len(audio) - 8))
            assert data != path.read_bytes()
            path.write_bytes(data)
    assert read_corpus(str(tmp_path / "set")).sha256 == before.sha256


def test_a_stretch_of_a_file_behaves_as_a_file(tmp_path):
    data = bytes(range(256)) * 4
    write_tar(tmp_path / "a.tar", {"x": data, "y": b"behind"})
    with open_bytes(f"{tmp_path}/a.tar/x", Kept()) as inside:
        alone = io.BytesIO(data)
        for seek in ((10,), (-5, os.SEEK_END), (3, os.SEEK_CUR), (2_000,), (0,)):
            assert inside.seek(*seek) == alone.seek(*seek)
            assert inside.tell() == alone.tell()
            assert inside.read(100) == alone.read(100)
        with pytest.raises(io.UnsupportedOperation):
            inside.fileno()


def test_what_a_shard_is_is_told_by_its_content(tmp_path):
    write_tar(tmp_path / "a", {"x.wav": ROWS[0]["audio"]["bytes"]})
    assert shards.is_tar(shards.head_of(tmp_path / "a"))
    assert tarfile.is_tarfile(tmp_path / "a")
    (tmp_path / "b.tar").write_bytes(gzip.compress(b"x" * 600))
    assert not shards.is_tar(shards.head_of(tmp_path / "b.tar"))
