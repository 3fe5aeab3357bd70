"""Columns by their common names, by --columns, and what is refused because it cannot be told."""

from __future__ import annotations

import importlib
import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe import UserError
from emoprobe.cli.command import CommandParser, add_reading, reading
from emoprobe.cli.extract import main as extract_main
from emoprobe.cli.extract import parser as extract_parser
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora import COLUMNS, Corpus, read_corpus, read_manifest
from emoprobe.extract.corpora.cells import RATERS
from emoprobe.extract.corpora.naming import COMMON_NAMES, name_columns, parse_columns
from emoprobe.extract.corpora.values import parse_seconds
from emoprobe.testing.corpora import write_csv, write_wav

#: One value a column that it can hold.
VALUES = {
    "id": "u1", "path": "one.wav", "speaker": "anna", "gender": "female", "split": "test1", "emotion": "joy",
    "transcript": "Well, yes", "group": "evening", "fold": "f3", "arousal": "2.5", "valence": "4", "dominance": "3.25",
    "start": "1.5", "end": "2.75", "channel": "0",
}  # fmt: skip


def read(folder: Path, header: str, *rows: str, **options) -> Corpus:
    path = folder / "mine.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return read_manifest(path, **options)


def taken(corpus: Corpus) -> str:
    """The note on what was taken for what."""
    (note,) = [note for note in corpus.notes if note.startswith("columns taken")]
    return note


def changes(name: str) -> tuple[str, ...]:
    """The same name as people write it."""
    return name, name.upper(), name.replace("_", ""), name.replace("_", " "), f" {name.title().replace('_', '')} "


@pytest.mark.parametrize("ours", COMMON_NAMES)
def test_every_common_name_is_read_in_every_spelling(ours: str, tmp_path: Path) -> None:
    for name in (spelling for common in COMMON_NAMES[ours] for spelling in changes(common)):
        cells = {"path": VALUES["path"], ours: VALUES[ours]}
        header = [name if column == ours else column for column in cells]
        corpus = read_manifest(write_csv(tmp_path / "mine.csv", header, [cells.values()]))
        value = corpus.utterances[ours][0]
        expected = VALUES[ours] if isinstance(value, str) else float(VALUES[ours])
        assert value == (str(tmp_path / expected) if ours == "path" else expected)
        assert f"{ours} from {name}" in taken(corpus)


def test_the_page_has_every_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text("utf-8")
    listed = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].strip("`") in COMMON_NAMES:
            listed[cells[0].strip("`")] = tuple(cells[1].partition(";")[0].replace("`", "").split())
    assert listed == COMMON_NAMES


def test_no_common_name_is_two_of_ours() -> None:
    plain = ["".join(filter(str.isalnum, name)) for ours, names in COMMON_NAMES.items() for name in (ours, *names)]
    assert len(plain) == len(set(plain))
    assert set(COMMON_NAMES) == set(COLUMNS) - set(RATERS)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set", (2.0, 3.0, 4.0)),
        ("wav,emo,act,val,dom,spk_id,sex,partition", (2.0, 3.0, 4.0)),
        ("file,label,A,V,D,speaker_id,sex,set", (2.0, 3.0, 4.0)),
        ("audio_path,label,activation,valence,dominance,speaker,gender,subset", (2.0, 3.0, 4.0)),
    ],
)
def test_whole_headers(tmp_path: Path, header: str, expected: tuple) -> None:
    table = read(tmp_path, header, "a.wav,H,2,3,4,7,F,Train").utterances
    assert tuple(table.loc[0, ["arousal", "valence", "dominance"]]) == expected
    assert list(table.loc[0, ["emotion", "speaker", "gender", "split"]]) == ["H", "7", "female", "train"]


def test_a_slip_of_the_pen_is_told_with_what_mends_it(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,arousal,valance,colour", "a.wav,3,4,red")
    assert corpus.targets == ("arousal",)
    (told,) = [note for note in corpus.notes if "valance is not used" in note]
    assert told.endswith("there is no valence: if it is meant, give --columns valence=valance")
    assert not any("is meant" in note for note in read(tmp_path, "path,valence,valance", "a.wav,3,4").notes)


def test_letters_are_dimensions_together_alone(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,v,d", "a.wav,x,y")
    assert "columns not used: v, d" in corpus.notes
    assert not corpus.targets


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("path,train,val,test", "a.wav,1,0,0"),
        ("path,act", "a.wav,3"),
        ("path,act,aro", "a.wav,3,4"),
        ("path,dom", "a,1"),
    ],
)
def test_short_names_are_no_dimensions_alone(tmp_path: Path, header: str, row: str) -> None:
    corpus = read(tmp_path, header, row)
    assert not corpus.targets
    assert "columns not used: " + header.removeprefix("path,").replace(",", ", ") in corpus.notes


def test_short_names_are_dimensions_together(tmp_path: Path) -> None:
    table = read(tmp_path, "path,Val,Aro", "a.wav,3.5,2.25").utterances
    assert list(table.loc[0, ["valence", "arousal"]]) == [3.5, 2.25]


@pytest.mark.parametrize("name", ["label", "emo"])
def test_ratings_are_no_categories(tmp_path: Path, name: str) -> None:
    rows = (f"path,{name}", "a.wav,", "b.wav,3", "c.wav,2.25")
    with pytest.raises(UserError, match=rf"line 4, column '{name}': 2.25 is a rating.*emotion= arousal={name}"):
        read(tmp_path, *rows)
    rated = read(tmp_path, *rows, columns={"emotion": "", "arousal": name})
    assert rated.targets == ("arousal",)
    assert list(rated.utterances["arousal"][1:]) == [3, 2.25]
    named = read(tmp_path, *rows, columns={"emotion": name})
    assert list(named.utterances["emotion"]) == ["", "3", "2.25"]
    whole = read(tmp_path, f"path,{name}", "a.wav,3", "b.wav,nan", "c.wav,joy")
    assert list(whole.utterances["emotion"]) == ["3", "", "joy"]


def test_our_own_name_goes_first(tmp_path: Path) -> None:
    corpus = read(tmp_path, "file,path,session,group", "a.wav,b.wav,s1,g1")
    assert corpus.utterances["path"][0] == str(tmp_path / "b.wav")
    assert corpus.utterances["group"][0] == "g1"
    assert corpus.notes == ("columns not used: file, session",)


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("file,wav", ["'file' and 'wav' may each be 'path'", "--columns 'path=file'"]),
        ("path,text,Sentence", ["'text' and 'Sentence' may each be 'transcript'", "--columns"]),
        ("path,session,dialogue", ["'session' and 'dialogue' may each be 'group'"]),
        ("path,EmoVal,v,a", ["'EmoVal' and 'v' may each be 'valence'"]),
        ("path,start_sample,end_sample", ["'start_sample'", "by samples", "--columns start= end="]),
        ("path,EndFrame", ["'EndFrame'", "by samples"]),
        ("path,offset", ["'offset'", "begins or where it ends", "--columns start=offset"]),
        ("path,start,dur,length", ["'dur' and 'length' may each be 'duration'", "keep one"]),
        ("path,Arousal,arousal", ["'arousal' occurs more than once"]),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, header: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, header, ",".join("1" for _ in header.split(",")))
    for part in (str(tmp_path / "mine.csv"), *parts):
        assert part in str(caught.value)


BOUNDS = [
    "seg_start,seg_end", "segment_start,segment_end", "t_start,t_end", "time_start,time_end", "xmin,xmax", "tmin,tmax",
    "from,to", "clip_start,clip_end", "turn_start,turn_end", "utt_start,utt_end", "start_ts,end_ts", "t_min,t_max",
    "start_pos,end_pos", "t0,t1", "SegStart,SegStop", "first_sample,last_sample", "sample_start,sample_end",
    "frame_start,frame_end", "clipOnset,clipOffset", "segstart,segend", "begin_of_turn,end_of_turn",
]  # fmt: skip


@pytest.mark.parametrize("names", BOUNDS)
def test_columns_that_may_select_audio_are_refused_with_remedies_that_work(tmp_path: Path, names: str) -> None:
    start, end = names.split(",")
    table = (f"path,id,{names}", "long.wav,a,1,2.5", "long.wav,b,2.5,4")
    with pytest.raises(UserError) as caught:
        read(tmp_path, *table)
    as_bounds, as_none = (f"--columns 'start={a}' 'end={b}'" for a, b in ((start, end), ("", "")))
    assert f"column {start!r}" in str(caught.value)
    assert as_bounds in str(caught.value)
    assert as_none in str(caught.value)
    cut = read(tmp_path, *table, columns={"start": start, "end": end}).utterances
    assert cut[["start", "end"]].to_numpy().tolist() == [[1, 2.5], [2.5, 4]]
    whole = read(tmp_path, *table, columns={"start": "", "end": ""}).utterances
    assert whole[["start", "end"]].isna().all(axis=None)


def test_one_bound_beside_one_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--columns 'start=begin' 'end=turn_end'; if not: --columns 'start=begin' 'end='"
    ):
        read(tmp_path, "path,begin,turn_end", "a.wav,1,2.5")
    kept = read(tmp_path, "path,begin,turn_end", "a.wav,1,2.5", columns={"start": "begin", "end": ""}).utterances
    assert kept["start"][0] == 1
    assert math.isnan(kept["end"][0])
    known = read(tmp_path, "path,start,end,turn_end", "a.wav,1,2.5,9")
    assert list(known.utterances.loc[0, ["start", "end"]]) == [1, 2.5]
    assert "columns not used: turn_end" in known.notes


def test_words_that_only_hold_such_a_word_are_no_bounds(tmp_path: Path) -> None:
    header = "path,gender,weekend,send,trend,legend,restart,friend,start_date,from,first_name,last_name,minimum,extend"
    corpus = read(tmp_path, header, "a.wav,f" + ",x" * (header.count(",") - 1))
    assert any(note.startswith("columns not used: weekend, send") for note in corpus.notes)


def test_the_remedies_work(tmp_path: Path) -> None:
    chosen = read(tmp_path, "file,wav", "a.wav,b.wav", columns={"path": "wav"})
    assert chosen.utterances["path"][0] == str(tmp_path / "b.wav")
    assert taken(chosen) == "columns taken: path from wav"
    assert "columns not used: file" in chosen.notes
    whole = read(tmp_path, "path,start_sample", "a.wav,16000", columns={"start": "", "end": ""})
    assert whole.utterances[["start", "end"]].isna().all(axis=None)
    rated = read(tmp_path, "path,length_ms", "a.wav,1500", columns={"arousal": "length_ms"})
    assert rated.utterances["arousal"][0] == 1500  # no time
    cut = read(tmp_path, "path,begin_ms,mark_s", "a.wav,1500,2", columns={"start": "begin_ms", "end": "mark_s"})
    assert cut.utterances["start"][0] == 1.5
    cut = read(tmp_path, "path,offset", "a.wav,1.5", columns={"start": "offset"})
    assert cut.utterances["start"][0] == 1.5


@pytest.mark.parametrize(
    ("header", "row", "start", "end"),
    [
        ("path,start,end", "a.wav,1,2.5", 1.0, 2.5),
        ("path,StartTime,EndTime", "a.wav,00:00:01.5,0 days 00:01:02.25", 1.5, 62.25),
        ("path,start_ms,end_ms", "a.wav,1500,2750", 1.5, 2.75),
        ("path,onset_s,offset_s", "a.wav,1,2.5", 1.0, 2.5),
        ("path,offset,duration", "a.wav,1,2.5", 1.0, 3.5),  # NeMo
        ("path,begin,length", "a.wav,1.25,0.5", 1.25, 1.75),
        ("path,begin,duration_ms", "a.wav,,500", math.nan, 0.5),
        ("path,start,end,duration", "a.wav,1,2.5,9", 1.0, 2.5),
        ("path,duration", "a.wav,2.5", math.nan, math.nan),
        ("path,start,end", "a.wav,0.25,NaT", 0.25, math.nan),
    ],
)
def test_parts_of_files(tmp_path: Path, header: str, row: str, start: float, end: float) -> None:
    table = read(tmp_path, header, row).utterances
    np.testing.assert_allclose(table.loc[0, ["start", "end"]].astype(float), [start, end], rtol=1e-15)


def test_a_part_of_a_file_has_an_id_of_its_own(tmp_path: Path) -> None:
    corpus = read(tmp_path, "file,start,end,channel", "a.wav,1,2.5,0", "a.wav,1,2.5,1", "a.wav,2.5,,", "a.wav,,,")
    assert list(corpus.utterances["id"]) == ["a_1-2.5_ch0", "a_1-2.5_ch1", "a_2.5-end", "a"]
    assert not any("more than one row" in note for note in corpus.notes)
    again = read(tmp_path, "file,start,end,id", "a.wav,1,2.5,x", "a.wav,1,2.5,y")
    assert any("1 parts of files are named by more than one row" in note for note in again.notes)


def test_a_column_of_other_channels_is_refused_with_what_leaves_it_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"column 'ch': 'L' is not a finite number; channels are numbers from 0; .*channel="
    ):
        read(tmp_path, "path,ch", "a.wav,L")
    (tmp_path / "mine.csv").write_text("path,ch\na.wav,L\n")
    assert read_manifest(tmp_path / "mine.csv", columns={"channel": ""}).utterances["channel"].isna().all()


def test_channels_from_one_are_said(tmp_path: Path) -> None:
    said = "channels count from 0"
    assert any(said in note for note in read(tmp_path, "path,channel", "a.wav,1", "b.wav,2").notes)
    assert not any(said in note for note in read(tmp_path, "path,channel", "a.wav,1", "b.wav,0").notes)


@pytest.mark.parametrize("time", ["soon", "1:xx", "1,5", "1 day"])
def test_a_time_that_is_none_is_refused_with_its_row(tmp_path: Path, time: str) -> None:
    with pytest.raises(UserError, match=r"line 2, column 'onset'"):
        read_manifest(write_csv(tmp_path / "mine.csv", ("path", "onset"), [("a.wav", time)]))


def test_seconds_of_every_type() -> None:
    for value in ("0 days 00:01:01.500000", "00:01:01,5", "1:01.5", "61.5", 61.5, timedelta(seconds=61.5)):
        assert parse_seconds(value) == 61.5
    assert parse_seconds(pd.Timedelta("61.5s")) == parse_seconds(np.timedelta64(61_500, "ms")) == 61.5
    for value in (None, pd.NaT, np.timedelta64("NaT"), "NaT", "", "nan", math.nan):
        assert math.isnan(parse_seconds(value))


def test_timedeltas_in_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["a.wav"], "start": pd.to_timedelta(["1.5s"]), "end": pd.to_timedelta([None])})
    frame.to_parquet(tmp_path / "mine.parquet")
    table = read_manifest(tmp_path / "mine.parquet").utterances
    assert table["start"][0] == 1.5
    assert math.isnan(table["end"][0])


# ------------------------------------------------------------------------------------------------------- by the user


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["path=file,arousal=EmoAct"], {"path": "file", "arousal": "EmoAct"}),
        (["path=file", "arousal=Emo Act"], {"path": "file", "arousal": "Emo Act"}),
        (["arousal=act, mean,path=x=y"], {"arousal": "act, mean", "path": "x=y"}),
        (["emotion="], {"emotion": ""}),
        ([], {}),
    ],
)
def test_the_option_is_read(words: list[str], chosen: dict) -> None:
    assert parse_columns(words) == chosen


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("file", "write OURS=THEIRS"),
        ("colour=file", "there is no column 'colour'; there are id, path"),
        ("path=a,path=b", "path is to be 'a' and 'b'"),
    ],
)
def test_the_option_refused(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_columns([word])


def test_a_chosen_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'EmoArousal' for --columns arousal=EmoArousal \(columns: path\)"):
        read(tmp_path, "path", "a.wav", columns={"arousal": "EmoArousal"})


def test_what_the_user_chose_is_repeated_by_the_corpus(tmp_path: Path) -> None:
    """Through the command's own parser, as a resumed or a repairing run gives it."""
    path = write_csv(tmp_path / "mine.csv", ("one, two", "b", "emotion"), [("a.wav", "2", "None")])
    chosen = {"path": "one, two", "arousal": "b"}
    corpus = read_corpus(str(path), columns=chosen, keep_words=["emotion"])
    parser = CommandParser()
    parser.add_argument("--corpus")
    add_reading(parser)
    options = parser.parse_args(list(corpus.arguments))
    assert reading(options) == {"keep_words": ["emotion"], "columns": chosen}
    assert read_corpus(options.corpus, **reading(options)).sha256 == corpus.sha256


@pytest.mark.parametrize("command", ["extract", "train", "predict", "transcribe", "distill", "export"])
def test_every_command_that_reads_a_corpus_takes_the_names(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"emoprobe.cli.{command}").main(["--help"])
    assert ended.value.code == 0
    assert "--columns OURS=THEIRS" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_says_what_it_took_before_it_computes_and_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", seed=number)
    path = write_csv(tmp_path / "mine.csv", ("sound", "mood", "spk"), [(f"{n}.wav", n, "s") for n in range(3)])
    out = tmp_path / "states.h5"
    given = ["--corpus", str(path), "--out", str(out), "--device", "cpu"]
    assert extract_main([*given, "--columns", "path=sound,arousal=mood"]) == 0
    told = capsys.readouterr().out
    assert 0 < told.index("columns taken: path from sound, speaker from spk, arousal from mood") < told.index("audio: ")
    assert "no target" not in told
    with HiddenStateCache(out) as cache:
        assert list(cache.utterances["arousal"]) == [0, 1, 2]
        options = extract_parser().parse_args(list(cache.arguments))
    assert reading(options)["columns"] == {"path": "sound", "arousal": "mood"}
    assert "--columns path=sound arousal=mood" in cache.repair_command
    # Without the labels it says so before it extracts, and goes on.
    other = [*given[:2], "--out", str(tmp_path / "other.h5"), "--device", "cpu"]
    assert extract_main([*other, "--columns", "path=sound"]) == 0
    told = capsys.readouterr().out
    assert 0 < told.index("warning: no utterance has a label, so there is no target") < told.index("audio: ")
    assert "columns not used: mood" in told


def test_a_reader_of_one_corpus_takes_no_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'iemocap'.*takes no --columns; leave it out"):
        read_corpus(f"iemocap:{tmp_path}", columns={"path": "x"})


def test_a_set_that_is_no_split_can_be_left_out(tmp_path: Path) -> None:
    rows = ("path,set", "a.wav,A", "b.wav,B")
    with pytest.raises(UserError, match=r"column 'set': unknown 'A' \(1 rows\).*--columns split= leaves it out"):
        read(tmp_path, *rows)
    assert list(read(tmp_path, *rows, columns={"split": ""}).utterances["split"]) == ["", ""]


def test_errors_name_the_column_as_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2, column 'EmoAct': 'loud'"):
        read(tmp_path, "wav,EmoAct", "a.wav,loud")
    with pytest.raises(UserError, match=r"column 'Partition': unknown 'held'"):
        read(tmp_path, "wav,Partition", "a.wav,held")


# -------------------------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators(tmp_path: Path, separator: str, start: str, end: str) -> None:
    said = "Well, yes; no\tor so, and so, on"
    lines = [("File", "text", "EmoAct"), ("a.wav", f'"{said}"', "2.5"), ("b.wav", "", "")]
    (tmp_path / "mine.txt").write_bytes((start + "".join(separator.join(line) + end for line in lines)).encode())
    table = read_manifest(tmp_path / "mine.txt").utterances
    assert list(table["transcript"]) == [said, ""]
    assert table["arousal"][0] == 2.5
    assert list(table["path"]) == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


def test_commas_that_are_not_quoted_belong_to_the_transcript(tmp_path: Path) -> None:
    table = read(tmp_path, "path;text, spoken;valence", "a.wav;Well, yes, no;1.5").utterances
    assert table["valence"][0] == 1.5
    table = read(tmp_path, "path\ttranscript", "a.wav\tWell, yes; no").utterances
    assert table["transcript"][0] == "Well, yes; no"


def test_names_are_told_without_a_file() -> None:
    naming = name_columns(["wav", "x", "EmoAct"], source=Path("table"))
    assert naming.places == {"path": 0, "arousal": 2}
    assert naming.notes() == ["columns taken: path from wav, arousal from EmoAct", "columns not used: x"]
