"""Any manifest: what is read, what is refused, and in which words."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe import UserError
from emoprobe.extract.corpora import COLUMNS, DIMENSIONS, Corpus, read_corpus, read_manifest
from emoprobe.extract.corpora.cells import NOBODY
from emoprobe.extract.corpora.manifest import transcript_sources
from emoprobe.extract.corpora.text import read_bytes
from emoprobe.extract.corpora.values import LARGEST_RATING, normalise_split, parse_rating, path_under
from emoprobe.testing.corpora import write_csv


def manifest(folder: Path, text: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_only_path_is_required(tmp_path: Path) -> None:
    corpus = read_manifest(manifest(tmp_path, "path\nsub/one.wav\ntwo.flac\n"))
    table = corpus.utterances
    assert tuple(table.columns) == COLUMNS
    assert list(table.index) == [0, 1]
    assert list(table["id"]) == ["one", "two"]
    assert list(table["path"]) == [str(tmp_path / "sub" / "one.wav"), str(tmp_path / "two.flac")]
    for column in ("speaker", "gender", "split", "emotion", "transcript"):
        assert list(table[column]) == ["", ""]
    for dimension in DIMENSIONS:
        assert table[dimension].dtype == np.float64
        assert table[dimension].isna().all()
    assert (corpus.name, corpus.root, corpus.notes) == ("mine", tmp_path, ())
    assert len(corpus) == 2


def test_spreadsheet_oddities(tmp_path: Path) -> None:
    """Byte-order mark, CRLF, capitals and blanks in the header, quoted commas, quotes and line ends, blank lines."""
    text = (
        "\ufeff Path ,ID,Valence,TRANSCRIPT,Split,gender,colour\r\n"
        'a.wav,1,2.5,"Well, ""yes""\r\nand no",Train,F,red\r\n'
        "\r\n"
        " b.wav , 2 ,,,,m,\r\n"
        ",,,,,,\r\n"
    )
    corpus = read_manifest(manifest(tmp_path, text))
    table = corpus.utterances
    assert list(table["id"]) == ["1", "2"]
    assert list(table["path"]) == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert list(table["transcript"]) == ['Well, "yes"\r\nand no', ""]
    assert list(table["gender"]) == ["female", "male"]
    assert list(table["split"]) == ["train", ""]
    assert table["valence"][0] == 2.5
    assert math.isnan(table["valence"][1])
    assert any("columns not used: colour" in note for note in corpus.notes)
    assert any("1 of 2 utterances belong to no split" in note for note in corpus.notes)


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "NA", "n/a", "null", "None", "  "])
def test_missing_ratings(tmp_path: Path, cell: str) -> None:
    corpus = read_manifest(manifest(tmp_path, f"path,arousal\na.wav,{cell}\nb.wav,-1e0\n"))
    assert math.isnan(corpus.utterances["arousal"][0])
    assert corpus.utterances["arousal"][1] == -1.0


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("high", "'high' is not a finite number"),
        ("inf", "infinite"),
        ("-Infinity", "infinite"),
        ("1e999", "infinite"),
        ('"3,5"', "write a decimal point"),
        ("1_000", "'1_000' is not a finite number"),
        ("0x10", "'0x10' is not a finite number"),
        ("True", "'True' is not a finite number"),
    ],
)
def test_a_rating_that_is_no_number_is_named(tmp_path: Path, cell: str, said: str) -> None:
    path = manifest(tmp_path, f"path,valence\na.wav,1\n\nb.wav,{cell}\n")
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    for part in (str(path), "line 4", "column 'valence'", said):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["is empty"]),
        (" \n\n", ["is empty"]),
        ("path\n", ["no utterances"]),
        ("id,sound\n1,a.wav\n", ["no column 'path'", "id, sound", "--columns path=NAME"]),
        ("id;path\n1;a.wav\n2;b;c\n", ["line 3", "3 cells", "quote a cell that holds a semicolon"]),
        ("path,path\na.wav,b.wav\n", ["'path' occurs more than once"]),
        ("path,id\na.wav\n", ["line 2", "1 cells", "header has 2"]),
        ("path,id\na.wav,1,2\n", ["line 2", "3 cells", "quote"]),
        ('path,id\n"a.wav,1\nb.wav,2\n', ["line 2", "close every quote"]),
        ("path,id\n,1\n", ["line 2", "column 'path'", "the path is empty"]),
        ("path,id\na.wav,x\nb.wav,y\nc.wav,x\n", ["'x'", "line 2", "line 4", "make the ids unique"]),
        ("path\na/one.wav\nb/one.wav\n", ["'one'", "line 2", "line 3", "add a column 'id'"]),
        (
            "path,split\na.wav,fold7\nb.wav,train\nc.wav,other\n",
            ["'fold7' (1 rows)", "'other' (1 rows)", "development"],
        ),
        (b"path,id\na.wav,\xe9t\xe9\n", ["line 2, byte 7", "0xe9", "iconv"]),
        (b"path\na.wav\nb\xff.wav\n", ["line 3, byte 2", "0xff"]),
        ("path\na.wav\n".encode("utf-16"), ["UTF-16", "iconv"]),
        ("path\na\0.wav\n", ["line 2", "NUL"]),
        ('path\n"a\nb.wav"\n', ["control characters"]),
    ],
)
def test_refused_with_place_and_remedy(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = manifest(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


@pytest.mark.parametrize("given", ["../a.wav", "sub/../../a.wav", "..", ".", "./", "sub/.."])
def test_a_relative_path_stays_below_the_manifest(tmp_path: Path, given: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(UserError, match=r"leads out of .* give an absolute path"):
        read_manifest(manifest(inside, f"path,id\n{given},x\n"))


@pytest.mark.slow
def test_an_absolute_path_is_the_users_choice(tmp_path: Path) -> None:
    corpus = read_manifest(manifest(tmp_path, "path\n/somewhere/else/a.wav\nb.wav\n"))
    assert corpus.utterances["path"][0] == "/somewhere/else/a.wav"
    assert any("1 of 2 paths are absolute" in note for note in corpus.notes)


@given(st.text(st.sampled_from("ab./\\"), min_size=1, max_size=12))
def test_no_relative_path_escapes(given: str) -> None:
    root = Path("/data/corpus")
    try:
        joined = path_under(root, given)
    except ValueError:
        return
    resolved = os.path.normpath(joined)
    assert resolved == joined
    assert given.startswith("/") or resolved.startswith("/data/corpus/")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Train", "train"),
        ("training", "train"),
        ("DEV", "development"),
        ("Validation", "development"),
        ("val", "development"),
        ("Development", "development"),
        ("test", "test"),
        ("Test1", "test1"),
        ("test 2", "test2"),
        ("TEST_03", "test3"),
        ("", ""),
        ("  ", ""),
        ("fold1", None),
        ("train1", None),
        ("latest", None),
    ],
)
def test_split_names(given: str, name: str | None) -> None:
    assert normalise_split(given) == name


@given(st.floats(-LARGEST_RATING, LARGEST_RATING))
def test_a_rating_keeps_every_digit(value: float) -> None:
    assert parse_rating(repr(value)) == value
    assert parse_rating(value) == value


@pytest.mark.parametrize("value", ["1e300", -1e300, 1.1e15])
def test_a_number_that_cannot_be_computed_with_is_no_rating(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no rating"):
        parse_rating(value)


cells = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from(',"\n;\t'), max_size=12
).map(str.strip)
ratings = st.none() | st.floats(-1e6, 1e6)
row = st.tuples(cells, cells, cells, ratings, ratings)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=8), parquet=st.booleans())
def test_what_is_written_is_read(rows: list, parquet: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CSV by the standard writer, Parquet by pandas: every text and number returns."""
    folder = tmp_path_factory.mktemp("manifest")
    columns = ("speaker", "emotion", "transcript", "valence", "arousal")
    if parquet:
        frame = pd.DataFrame(rows, columns=columns)
        frame[["valence", "arousal"]] = frame[["valence", "arousal"]].astype(float)
        frame["path"] = [f"{index}.wav" for index in range(len(rows))]
        path = folder / "mine.parquet"
        frame.to_parquet(path)
    else:
        path = write_csv(
            folder / "mine.csv", ("path", *columns), ((f"{index}.wav", *cells) for index, cells in enumerate(rows))
        )
    table = read_manifest(path, keep_words=columns[:3]).utterances
    shutil.rmtree(folder)
    for column, expected in zip(columns[:3], zip(*rows, strict=True), strict=False):
        if column != "transcript":  # names are brought to one form of Unicode, what was said is not
            expected = tuple(unicodedata.normalize("NFC", name) for name in expected)
        if column == "speaker":  # words such as nan name nobody, even if they are kept
            expected = tuple("" if name.casefold() in NOBODY else name for name in expected)
        assert tuple(table[column]) == expected
    for index, column in ((3, "valence"), (4, "arousal")):
        expected = [math.nan if cells[index] is None else cells[index] for cells in rows]
        np.testing.assert_array_equal(table[column], expected)


def test_parquet_by_content_and_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "Path": ["a.wav", "b.wav"],
            "speaker": [30.0, np.nan],  # what pandas makes of whole numbers with a gap
            "valence": pd.array([3, None], dtype="Int64"),
            "arousal": ["1.5", None],
            "history": [[1, 2], [3]],
        }
    )
    path = tmp_path / "table.csv"  # the wrong ending
    frame.to_parquet(path)
    corpus = read_manifest(path)
    assert corpus.name == tmp_path.name
    assert list(corpus.utterances["speaker"]) == ["30", ""]
    np.testing.assert_array_equal(corpus.utterances["valence"], [3.0, np.nan])
    np.testing.assert_array_equal(corpus.utterances["arousal"], [1.5, np.nan])
    assert any("history" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        (pd.DataFrame({"path": ["a.wav"], "valence": [np.inf]}), ["row 1", "'valence'", "infinite"]),
        (pd.DataFrame({"path": ["a.wav", "b.wav"], "valence": [True, False]}), ["row 1", "'valence'", "not a number"]),
        (pd.DataFrame({"path": ["a.wav", None]}), ["row 2", "'path'", "empty"]),
        (pd.DataFrame({"path": [["a.wav"]]}), ["row 1", "'path'", "store it as text"]),
        (pd.DataFrame({"path": ["a.wav"], "speaker": ["a\0b"]}), ["row 1", "'speaker'", "NUL"]),
        (pd.DataFrame({"path": []}), ["no utterances"]),
    ],
)
def test_parquet_refused(tmp_path: Path, frame: pd.DataFrame, parts: list[str]) -> None:
    path = tmp_path / "mine.parquet"
    frame.to_parquet(path)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"path": ["a.wav"] * 3}).to_parquet(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="Parquet file is damaged"):
        read_manifest(path)


def test_hash_moves_with_the_corpus_and_sees_every_cell(tmp_path: Path) -> None:
    text = "path,speaker,valence\nsub/a.wav,1,0.1\nb.wav,2,\n"
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir()
        manifest(folder, text)
    original = read_manifest(first / "mine.csv")
    assert read_manifest(second / "mine.csv").sha256 == original.sha256
    seen = {original.sha256}
    for old, new in (
        ("sub/a", "sub/c"),
        (",1,", ",3,"),
        ("0.1", "0.10000000000000002"),
        (",2,", ",2,0"),
        ("b.w", "d.w"),
    ):
        manifest(second, text.replace(old, new))
        seen.add(read_manifest(second / "mine.csv").sha256)
    manifest(second, "path,speaker,valence\nb.wav,2,\nsub/a.wav,1,0.1\n")
    seen.add(read_manifest(second / "mine.csv").sha256)
    assert len(seen) == 7


def test_summary_counts(tmp_path: Path) -> None:
    text = "path,speaker,split,emotion,valence\na.wav,s,train,sad,1\nb.wav,s,train,sad,\nc.wav,,test,joy,2\n"
    summary = read_manifest(manifest(tmp_path, text)).summary()
    assert "utterances      3" in summary
    assert "speakers        1 (unknown for 1 utterances)" in summary
    assert "test 1, train 2" in summary
    assert "sad 2, joy 1" in summary
    assert "arousal 3, valence 1, dominance 3" in summary


def test_exact_copies_of_rows_are_left_out_with_their_count(tmp_path: Path) -> None:
    text = "path,arousal,transcript,transcript_source\na.wav,1,hm,asr\na.wav,1,hm,asr\nb.wav,,yes,\na.wav,1,hm,asr\n"
    corpus = read_manifest(manifest(tmp_path, text + "c.wav,2,no,other\n"))
    once = "path,arousal,transcript\na.wav,1,hm\nb.wav,,yes\nc.wav,2,no\n"
    pd.testing.assert_frame_equal(corpus.utterances, read_manifest(manifest(tmp_path, once, "once.csv")).utterances)
    assert "2 rows repeat an earlier one, and are left out" in corpus.notes
    assert transcript_sources(tmp_path / "mine.csv") == ["asr", "", "other"]
    # What is wrong behind them is told at its own line.
    with pytest.raises(UserError, match="line 6, column 'arousal'"):
        read_manifest(manifest(tmp_path, text + "c.wav,x,no,other\n"))


def test_rows_of_one_file_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'a' occurs at line 2 and line 4; add a column 'id'"):
        read_manifest(manifest(tmp_path, "path,arousal\na.wav,1\na.wav,1\na.wav,2\n"))


def test_one_recording_in_two_rows_is_noted(tmp_path: Path) -> None:
    corpus = read_manifest(manifest(tmp_path, "path,id,split\na.wav,1,train\n./a.wav,2,test\n"))
    assert any("1 audio files are named by more than one row" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nowhere.csv", "no such file"),
        ("msp-podcast", "write msp-podcast:ROOT"),
        ("iemocap:", "the folder is missing"),
        ("unheard-of:/data", "no reader 'unheard-of'"),
        ("msp-podcast:/nowhere/at/all", "no such folder"),
        ("iemocap:/nowhere/at/all", "no such folder"),
    ],
)
def test_what_the_user_may_mistype(spec: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_corpus(spec)


def test_a_folder_for_a_manifest(tmp_path: Path) -> None:
    manifest(tmp_path, "path\na.wav\n", "metadata.csv")
    with pytest.raises(UserError, match=r"did you mean .*metadata\.csv"):
        read_corpus(str(tmp_path))


def test_a_pipe_is_read_to_its_end() -> None:
    """As ``<(command)`` gives one, with more than it holds at a time."""
    with subprocess.Popen(["seq", "30000"], stdout=subprocess.PIPE) as writer:
        data = read_bytes(Path(f"/dev/fd/{writer.stdout.fileno()}"))
        writer.stdout.close()
    assert data.split() == [b"%d" % number for number in range(1, 30_001)]


def test_what_would_be_read_without_an_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="a pipe that nobody writes to"):
        read_manifest(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a device"):
        read_manifest(Path("/dev/zero"))


def test_by_reader_and_by_path(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path\na.wav\n", "metadata.csv")
    corpus = read_corpus(f"manifest:{path}")
    assert isinstance(corpus, Corpus)
    assert corpus.name == tmp_path.name
    assert corpus.sha256 == read_corpus(str(path)).sha256


def test_real_manifests(shared_data: Path) -> None:
    """Against the standard CSV reader, which shares the parsing but none of the rules."""
    for name, speakers in (("emodb", 10), ("ravdess", 24)):
        path = shared_data / name / "metadata.csv"
        corpus = read_corpus(str(path))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
        assert corpus.name == name
        assert list(corpus.utterances["id"]) == [row["id"] for row in rows]
        assert corpus.utterances["speaker"].nunique() == speakers
        assert all(Path(path).is_file() for path in corpus.utterances["path"])
        expected = [float(row["valence"]) if row["valence"] else math.nan for row in rows]
        np.testing.assert_array_equal(corpus.utterances["valence"], expected)


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError as problem:
        pytest.skip(f"this file system refuses the name: {problem}")
    corpus = read_manifest(manifest(folder, "path,speaker\na.wav,1\n", "metadata.csv"))
    assert corpus.utterances["path"][0] == str(folder / "a.wav")
    moved = manifest(tmp_path, "path,speaker\na.wav,1\n")
    assert corpus.sha256 == read_manifest(moved).sha256
    assert corpus.name == r"caf\xe9"
    assert rf"caf\xe9 ({tmp_path}/caf\xe9)" in corpus.summary()
    corpus.summary().encode()  # can be printed
