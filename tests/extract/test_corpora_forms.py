"""The forms that lists of utterances have besides CSV and Parquet: JSON of several kinds, and Kaldi's folders."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe import UserError
from emoprobe.extract.corpora import Corpus, read_corpus, read_manifest
from emoprobe.testing.corpora import write_wav
from tests.corpus_fixtures import mutate

ROWS = [
    {"id": "u1", "wav": "a.wav", "spk": 30, "emo": "joy", "activation": 2.5, "text": "Well, yes\nand “no”"},
    {"id": "u2", "wav": "sub/b.wav", "spk": None, "emo": "", "activation": None, "text": "none"},
    {"id": "u3", "wav": "c.wav", "emo": "sad", "start_time": 1.5, "end_time": 2},
]


def write(folder: Path, text: str, name: str = "list.json") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def check(corpus: Corpus, folder: Path) -> None:
    table = corpus.utterances
    assert list(table["id"]) == ["u1", "u2", "u3"]
    assert list(table["path"]) == [str(folder / row["wav"]) for row in ROWS]
    assert list(table["speaker"]) == ["30", "", ""]
    assert list(table["emotion"]) == ["joy", "", "sad"]
    assert list(table["transcript"]) == [ROWS[0]["text"], "none", ""]
    np.testing.assert_array_equal(table["arousal"], [2.5, math.nan, math.nan])
    np.testing.assert_array_equal(table["start"], [math.nan, math.nan, 1.5])
    np.testing.assert_array_equal(table["end"], [math.nan, math.nan, 2])
    assert corpus.notes[0].startswith("columns taken: path from wav, speaker from spk, emotion from emo, transcript")


def test_one_object_a_line(tmp_path: Path) -> None:
    text = "\ufeff\n" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n"
    check(read_manifest(write(tmp_path, text, "x.jsonl")), tmp_path)
    check(read_corpus(f"jsonl:{tmp_path / 'x.jsonl'}"), tmp_path)
    check(read_manifest(write(tmp_path, text, "x.csv")), tmp_path)  # by content, not by name


def test_one_line_is_a_list_too(tmp_path: Path) -> None:
    assert len(read_manifest(write(tmp_path, json.dumps(ROWS[0])))) == 1


def test_an_array_of_objects(tmp_path: Path) -> None:
    check(read_manifest(write(tmp_path, json.dumps(ROWS, indent=2))), tmp_path)


def test_an_object_by_id_with_a_placeholder_for_the_folder(tmp_path: Path) -> None:
    """SpeechBrain's form."""
    by_id = {row["id"]: {**row, "wav": f"{{data_root}}/{row['wav']}", "length": 3.25} for row in ROWS}
    for entry in by_id.values():
        del entry["id"]
    path = write(tmp_path, json.dumps(by_id))
    for spec in (str(path), f"speechbrain:{path}"):
        corpus = read_corpus(spec)
        check(corpus, tmp_path)
        assert f"{{data_root}} at the beginning of 3 paths stands for {tmp_path}" in corpus.notes
        assert "columns not used: length" in corpus.notes
    lines = "ID,duration,wav,emo\n" + "".join(f"{row['id']},1.5,$data_root/{row['wav']},{row['emo']}\n" for row in ROWS)
    table = read_manifest(write(tmp_path, lines, "list.csv")).utterances
    assert list(table["path"]) == [str(tmp_path / row["wav"]) for row in ROWS]
    with pytest.raises(UserError, match=r"\{one\}, \$two stand for several folders"):
        read_manifest(write(tmp_path, "path\n{one}/a.wav\n$two/b.wav\n", "list.csv"))


def test_emobox(tmp_path: Path) -> None:
    """Its paths start where `downloads` lies, its channels count from 1."""
    root = tmp_path / "EmoBox"
    write_wav(root / "downloads" / "acted" / "one.wav")
    (root / "data" / "acted" / "fold_1").mkdir(parents=True)
    row = {
        "dataset": "acted", "type": "raw", "sample_rate": 16000, "num_frame": 8000.0, "task": "category",
        "length": 0.5, "emo": "ang", "channel": 1,
    }  # fmt: skip
    rows = [
        {"key": "acted-1", "wav": "downloads/acted/one.wav", **row},
        {"key": "acted-2", "wav": "downloads/acted/two.wav", **row, "channel": 2, "start_time": 1.0, "end_time": 1.5},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path = write(root / "data" / "acted" / "fold_1", lines, "acted_train_fold_1.jsonl")
    corpus = read_corpus(f"emobox:{path}")
    table = corpus.utterances
    assert list(table["path"]) == [str(root / row["wav"]) for row in rows]
    assert list(table["id"]) == ["acted-1", "acted-2"]
    assert list(table["channel"]) == [0, 1]
    assert list(table["start"])[1:] == [1.0]
    assert corpus.root == root
    assert f"paths start from {root}, as in EmoBox" in corpus.notes
    assert corpus.sha256 == read_corpus(str(path)).sha256
    for change, said in (({"type": "feature"}, "'feature', not audio"), ({"channel": 0}, "0 is none")):
        with pytest.raises(UserError, match=rf"line 1.*{said}"):
            read_manifest(write(tmp_path, json.dumps({**rows[0], **change}), "x.jsonl"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"path": "a.wav"}\n{"path": "b.wav"\n', ["line 2", "is no JSON"]),
        ('{"path": "a.wav"}\n[1]\n', ["line 2", "no object"]),
        ('[{"path": "a.wav"}, 3]', ["entry 2", "no object"]),
        ('{"u1": {"path": "a.wav"}, "u1": {"path": "b.wav"}}', ["'u1' occurs more than once"]),
        ('{"path": "a.wav", "path": "b.wav"}\n{"path": "c.wav"}', ["line 1", "'path' occurs more than once"]),
        (
            '{"path": "a.wav"}\n{"path": "b.wav", "arousal": "x"}\n',
            ["line 2", "column 'arousal'", "'x' is not a finite"],
        ),
        ('{"path": {"file": "a.wav", "start": 0}}\n{"path": "b"}', ["line 1", "type dict"]),
        ('{"path": "a\\ud800.wav"}\n{"path": "b.wav"}', ["line 1", "half of a character"]),
        ('{"path": "a.wav", "arousal": 1' + "0" * 400 + "}", ["line 1", "'arousal'", "infinite"]),
        ("[" * 100_000, ["nested too deeply"]),
        ("[]", ["no column 'path'"]),
        ("{}", ["no column 'path'"]),
        ('{"u1": {"sound": "a.wav"}}', ["no column 'path'", "sound, id"]),
    ],
)
def test_json_refused_with_place(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_list_is_read_or_refused(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    rng = np.random.default_rng(seed)
    texts = ("\n".join(map(json.dumps, ROWS)), json.dumps(ROWS), json.dumps({row["id"]: row for row in ROWS}))
    path = folder / "damaged.json"
    path.write_bytes(mutate(texts[seed % 3].encode(), rng))
    try:
        read_manifest(path).summary().encode()
    except UserError as problem:
        str(problem).encode()


def refusals_of_damage(folder: Path, times: int) -> int:
    """How often a folder is refused by its name, one of its files damaged at a time; otherwise it is read."""
    intact = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    rng = np.random.default_rng(3)
    refused = 0
    for number in range(times):
        damaged = list(intact)[number % len(intact)]
        for path, data in intact.items():
            path.write_bytes(mutate(data, rng) if path == damaged else data)
        try:
            read_corpus(str(folder)).summary().encode()
        except UserError as problem:
            refused += str(folder) in str(problem)
    return refused


# ------------------------------------------------------------------------------------------------------------- Kaldi


def kaldi(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


WAVS = "u1 audio/one.wav\nu2\taudio/two words.wav\nu3 /far/three.flac\n"


def test_a_kaldi_folder(tmp_path: Path) -> None:
    folder = kaldi(
        tmp_path / "train", wav__scp=WAVS, utt2spk="u1 anna\nu2 ben\nu3 anna\n", spk2utt="anna u1 u3\nben u2\n",
        text="u1 well,  yes\nu2\nu9 gone\n", utt2emo="u1 joy\nu2 sad\nu3 joy\n", utt2arousal="u1 1.5\nu2 2.5\n",
        spk2gender="anna f\nben m\n", utt2dur="u1 1.0\n", cmvn__scp="u1 x\n",
    )  # fmt: skip
    for spec in (str(folder), f"kaldi:{folder}", str(folder / "wav.scp")):
        corpus = read_corpus(spec)
        table = corpus.utterances
        assert corpus.name == "train"
        assert list(table["id"]) == ["u1", "u2", "u3"]
        assert list(table["path"]) == [
            str(folder / "audio/one.wav"),
            str(folder / "audio/two words.wav"),
            "/far/three.flac",
        ]
        assert list(table["speaker"]) == ["anna", "ben", "anna"]
        assert list(table["gender"]) == ["female", "male", "female"]
        assert list(table["emotion"]) == ["joy", "sad", "joy"]
        assert list(table["transcript"]) == ["well,  yes", "", ""]
        np.testing.assert_array_equal(table["arousal"], [1.5, 2.5, math.nan])
        assert "utt2arousal: 1 utterances are not in it" in corpus.notes
        assert "text: 1 of its utterances are in no audio, and are left out" in corpus.notes
        assert "files not used: cmvn.scp" in corpus.notes
        assert "emotion from utt2emo" in corpus.notes[0]
        assert corpus.arguments[1].startswith("kaldi:/")
        assert read_corpus(*corpus.arguments[1:]).sha256 == corpus.sha256


def test_kaldi_segments_and_channels(tmp_path: Path) -> None:
    segments = "u1 call-A 1.5 3.25\nu2 call-B 1.5 3.25\nu3 call-A 4 -1\n"
    folder = kaldi(tmp_path / "calls", wav__scp="call-A call.wav\ncall-B call.wav\n", segments=segments)
    channels = "call-A call A\ncall-B call B\n"
    table = read_corpus(str(kaldi(folder, reco2file_and_channel=channels))).utterances
    assert list(table["path"]) == [str(folder / "call.wav")] * 3
    assert list(table["start"]) == [1.5, 1.5, 4]
    np.testing.assert_array_equal(table["end"], [3.25, 3.25, math.nan])
    assert list(table["channel"]) == [0, 1, 0]
    kaldi(folder, wav__scp="call-A a.wav\ncall-B b.wav\n")
    corpus = read_corpus(str(folder))
    assert corpus.utterances["channel"].isna().all()
    assert any("reco2file_and_channel is not used" in note for note in corpus.notes)


def test_kaldi_speakers_that_nobody_knows(tmp_path: Path) -> None:
    corpus = read_corpus(str(kaldi(tmp_path, wav__scp=WAVS, utt2spk="u1 u1\nu2 u2\nu3 u3\n")))
    assert list(corpus.utterances["speaker"]) == ["", "", ""]
    assert any("unknown here" in note for note in corpus.notes)


def test_kaldi_files_by_name(tmp_path: Path) -> None:
    folder = kaldi(tmp_path, wav__scp=WAVS, utt2class="u1 a\nu2 b\nu3 a\n", mood="u1 1\nu2 2\nu3 3\n")
    table = read_corpus(str(folder), columns={"emotion": "utt2class", "valence": "mood"}).utterances
    assert list(table["emotion"]) == ["a", "b", "a"]
    assert list(table["valence"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"wav__scp": "u1 touch ran |\n"}, ["line 1", "a command", "are not run"]),
        ({"wav__scp": "u1 a.wav\nu2 sox {} -t wav - |  \n"}, ["line 2", "a command"]),
        ({"wav__scp": "u1 raw.ark:13\n"}, ["line 1", "no audio file"]),
        ({"wav__scp": "u1 a.wav\nu1 b.wav\n"}, ["'u1' stands in line 1 and line 2"]),
        ({"wav__scp": "u1\n"}, ["utterance 'u1'", "the path is empty"]),
        ({"wav__scp": "u1 ../../a.wav\n"}, ["utterance 'u1'", "leads out of"]),
        ({"wav__scp": "\n"}, ["no utterances"]),
        ({"wav__scp": "r a.wav\n", "segments": "u1 r 1\n"}, ["segments, line 1", "3 parts"]),
        ({"wav__scp": "r a.wav\n", "segments": "u1 q 1 2\n"}, ["segments, line 1", "'q' is not in"]),
        ({"wav__scp": "r a.wav\n", "segments": "u1 r x 2\n"}, ["segments line 1", "'start'", "'x'"]),
        ({"wav__scp": "u1 a.wav\n", "utt2emo": "u1 a\n", "utt2label": "u1 b\n"}, ["may each be 'emotion'"]),
        ({"wav__scp": "u1 a.wav\n", "utt2path": "u1 b.wav\n"}, ["utt2path", "already"]),
    ],
)
def test_kaldi_refused(tmp_path: Path, files: dict[str, str], parts: list[str]) -> None:
    folder = kaldi(tmp_path / "data", **files)
    with pytest.raises(UserError) as caught:
        read_corpus(str(folder))
    for part in (str(folder), *parts):
        assert part in str(caught.value)
    assert {path.name for path in folder.iterdir()} == {name.replace("__", ".") for name in files}  # nothing was run


@pytest.mark.slow
def test_a_damaged_kaldi_folder_is_read_or_refused(tmp_path: Path) -> None:
    kaldi(
        tmp_path,
        wav__scp="r1 a.wav\nr2 b.wav\n",
        segments="u1 r1 0 1\nu2 r2 1 2\n",
        utt2spk="u1 a\nu2 b\n",
        utt2arousal="u1 1\n",
    )
    assert refusals_of_damage(tmp_path, 80) > 20


# --------------------------------------------------------------------------------------------------------- audformat

audformat = pytest.importorskip("audformat")


@pytest.fixture
def database() -> object:
    """Two tables of labels in parts of files, one of speakers by file."""
    db = audformat.Database("mini", source="invented", usage="unrestricted")
    db.schemes["emotion"] = audformat.Scheme("str", labels=["anger", "joy"])
    db.schemes["arousal"] = audformat.Scheme("float", minimum=1, maximum=7)
    people = {3: {"gender": "male", "age": 31}, 8: {"gender": "female", "age": 40}}
    db.schemes["speaker"] = audformat.Scheme("int", labels=people)
    db.schemes["sentence"] = audformat.Scheme("str", labels={"a01": "Der Lappen.", "a02": "Das Brett."})
    files = ["wav/a.wav", "wav/b.wav", "wav/c.wav"]
    db["files"] = audformat.Table(audformat.filewise_index(files))
    add(db, "files", "speaker", "speaker", [3, 8, 3])
    add(db, "files", "transcription", "sentence", ["a01", "a02", "a01"])
    parts = audformat.segmented_index(
        [*files, "wav/a.wav"], ["0s", "0.5s", "1s", "2.25s"], [pd.NaT, "1.5s", "2s", "3s"]
    )
    db["emotion"] = audformat.Table(parts)
    add(db, "emotion", "emotion", "emotion", ["anger", "joy", None, "joy"])
    add(db, "emotion", "activation", "arousal", [1, 2.5, None, 7])
    return db


def add(db, table: str, column: str, scheme: str | None, values: list) -> None:
    db[table][column] = audformat.Column(scheme_id=scheme)
    db[table][column].set(values)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_an_audformat_database(tmp_path: Path, database, storage: str) -> None:
    database.save(str(tmp_path), storage_format=storage)
    for spec in (str(tmp_path), f"audformat:{tmp_path}", str(tmp_path / f"db.emotion.{storage}")):
        corpus = read_corpus(spec)
        table = corpus.utterances
        assert corpus.name == "mini"
        assert list(table["id"]) == ["a", "b_0.5-1.5", "c_1-2", "a_2.25-3"]
        assert list(table["path"]) == [str(tmp_path / f"wav/{name}.wav") for name in "abca"]
        np.testing.assert_array_equal(table["start"], [math.nan, 0.5, 1, 2.25])
        np.testing.assert_array_equal(table["end"], [math.nan, 1.5, 2, 3])
        assert list(table["emotion"]) == ["anger", "joy", "", "joy"]
        np.testing.assert_array_equal(table["arousal"], [1, 2.5, math.nan, 7])
        assert list(table["speaker"]) == ["3", "8", "3", "3"]
        assert list(table["gender"]) == ["male", "female", "male", "male"]
        assert list(table["transcript"]) == ["Der Lappen.", "Das Brett.", "Der Lappen.", "Der Lappen."]
        assert any("arousal from activation, speaker from table files" in note for note in corpus.notes)
        assert read_corpus(corpus.arguments[1]).sha256 == corpus.sha256


def test_audformat_splits_and_the_choice_of_a_table(tmp_path: Path, database) -> None:
    index = database["emotion"].index
    for split, rows in (("train", index[:2]), ("test", index[2:])):
        database.splits[split] = audformat.Split(split)
        database[f"emotion.{split}"] = audformat.Table(rows, split_id=split)
        add(database, f"emotion.{split}", "emotion", "emotion", ["joy"] * 2)
    database.save(str(tmp_path), storage_format="csv")
    with pytest.raises(UserError) as caught:
        read_corpus(str(tmp_path))
    for part in ("3 tables hold labels: emotion (", "; emotion.train (emotion)", "--corpus ", "db.emotion.csv"):
        assert part in str(caught.value)
    whole = read_corpus(str(caught.value).rpartition("--corpus ")[2])  # the remedy, as it is written
    assert list(whole.utterances["split"]) == ["train", "train", "test", "test"]
    assert list(whole.utterances["emotion"]) == ["anger", "joy", "", "joy"]
    part = read_corpus(str(tmp_path / "db.emotion.test.csv"))
    assert list(part.utterances["split"]) == ["test", "test"]
    with pytest.raises(UserError, match=r"no table 'x'; its tables are "):
        read_corpus(f"audformat:{tmp_path}/db.x.csv")


def test_audformat_labels_that_a_scheme_does_not_list(tmp_path: Path, database) -> None:
    """The library drops them without a word."""
    database.save(str(tmp_path), storage_format="csv")
    path = tmp_path / "db.emotion.csv"
    path.write_text(path.read_text().replace("joy,2.5", "rage,2.5"))
    with pytest.raises(UserError, match=r"db.emotion.csv, column 'emotion': 1 labels are none of those"):
        read_corpus(str(tmp_path))
    path.write_text(path.read_text().replace("rage,2.5", "joy,70"))
    with pytest.raises(UserError, match=r"db.emotion.csv, row 2, column 'arousal': 70 is beyond .*1 to 7"):
        read_corpus(str(tmp_path))


def test_audformat_columns_in_another_order(tmp_path: Path, database) -> None:
    """The library takes them by their place."""
    database.schemes["word"] = audformat.Scheme("str")
    add(database, "files", "town", "word", ["x", "y", "z"])
    add(database, "files", "session", "word", ["1", "2", "3"])
    database.save(str(tmp_path), storage_format="csv")
    path = tmp_path / "db.files.csv"
    path.write_text(path.read_text().replace("town,session", "session,town"))
    with pytest.raises(UserError, match=r"transcription, session, town, and db.yaml tells .*, town, session"):
        read_corpus(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_a_damaged_database_is_read_or_refused(tmp_path: Path, database, storage: str) -> None:
    database.save(str(tmp_path), storage_format=storage)
    assert refusals_of_damage(tmp_path, 60) > 20


def test_audformat_runs_nothing_of_the_folder(tmp_path: Path, database) -> None:
    """Neither a tag of the header nor a pickle, for both of which the library has a place."""
    database.save(str(tmp_path), storage_format="pkl")
    with pytest.raises(UserError, match=r"db\.\w+\.pkl: is pickled, and to read it would run"):
        read_corpus(str(tmp_path))
    database.save(str(tmp_path), storage_format="csv")
    (tmp_path / "db.emotion.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    assert len(read_corpus(str(tmp_path))) == 4
    header = tmp_path / "db.yaml"
    header.write_text(f"name: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n" + header.read_text())
    with pytest.raises(UserError, match=r"db\.yaml: is no header of audformat"):
        read_corpus(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_audformat_tables_that_contradict_each_other(tmp_path: Path, database) -> None:
    database["more"] = audformat.Table(audformat.filewise_index(["wav/a.wav"]))
    add(database, "more", "speaker", "speaker", [8])
    database.save(str(tmp_path), storage_format="csv")
    with pytest.raises(UserError, match=r"of wav/a.wav the table 'files' tells the speaker 3, the table 'more' 8"):
        read_corpus(str(tmp_path))
    assert set(read_corpus(str(tmp_path), columns={"speaker": ""}).utterances["speaker"]) == {""}


@pytest.mark.parametrize("header", ["", "[1, 2]", "name: x", "name: x\nsource: y\nusage: z\ntables: 3", ": :\n-"])
def test_audformat_headers_that_are_none(tmp_path: Path, header: str) -> None:
    (tmp_path / "db.yaml").write_text(header)
    with pytest.raises(UserError, match=r"db\.yaml: is no header"):
        read_corpus(str(tmp_path))


def test_audformat_speakers_in_a_table_of_their_own(tmp_path: Path, database) -> None:
    """A scheme whose labels are a table."""
    people = audformat.MiscTable(pd.Index([3, 8], dtype="Int64", name="person"))
    database["people"] = people
    add(database, "people", "sex", None, ["m", "f"])
    database.schemes["who"] = audformat.Scheme("int", labels="people")
    add(database, "emotion", "speaker", "who", [8, 8, 3, 3])
    database.save(str(tmp_path), storage_format="csv")
    table = read_corpus(str(tmp_path)).utterances
    assert list(table["speaker"]) == ["8", "8", "3", "3"]
    assert list(table["gender"]) == ["female", "female", "male", "male"]


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("told", [False, True])
def test_a_separator_may_be_told_in_the_first_line(separator: str, told: bool, tmp_path: Path) -> None:
    lines = ["path#speaker#arousal", "a.wav#anna#2.5", "b.wav#ben#3"]
    text = "\r\n".join(([f"sep={separator}"] if told else []) + [line.replace("#", separator) for line in lines])
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    corpus = read_manifest(tmp_path / "m.csv")
    assert list(corpus.utterances["speaker"]) == ["anna", "ben"]
    (tmp_path / "m.csv").write_bytes(text.encode() + separator.encode() + b"more\r\n")
    with pytest.raises(UserError, match=f"line {4 if told else 3}: 4 cells where the header has 3"):
        read_manifest(tmp_path / "m.csv")
