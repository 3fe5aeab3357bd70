"""Cells that hold no value, and names that are one: the same rules in every column of every reader."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe import UserError
from emoprobe.cli.extract import parser as extract_parser
from emoprobe.endtoend.inputs import read_texts
from emoprobe.extract.corpora import read_corpus, read_manifest
from emoprobe.extract.corpora import registry as readers
from emoprobe.extract.corpora.cells import MISSING, MissingWords, look_alikes
from emoprobe.probe.units import speaker_groups
from emoprobe.testing.corpora import write_csv
from tests.corpus_fixtures import MSP_ROWS, make_iemocap, make_msp_podcast

#: What programs and people write for no value.
WORDS = ("nan", "NaN", "NA", "N/A", "n/a", "None", "NULL", "<NA>", "-", "")
COLUMNS = ("speaker", "gender", "split", "emotion", "transcript", "arousal", "valence", "dominance")


def note(corpus) -> str:
    """The one note on words that were taken for a missing value."""
    (found,) = [line for line in corpus.notes if "taken for a missing value" in line]
    return found


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_no_value_is_no_value_in_any_column(tmp_path: Path, word: str, kind: str) -> None:
    rows = [("a.wav", *[word] * len(COLUMNS)), ("b.wav", "s", "f", "test", "sad", "well", "1", "2", "3")]
    path = tmp_path / f"mine.{kind}"
    if kind == "csv":
        write_csv(path, ("path", *COLUMNS), rows)
    else:
        pd.DataFrame(rows, columns=("path", *COLUMNS)).to_parquet(path)
    corpus = read_manifest(path)
    for column in COLUMNS[:5]:
        assert corpus.utterances[column][0] == ""
    for column in COLUMNS[5:]:
        assert np.isnan(corpus.utterances[column][0])
    assert list(corpus.utterances.loc[1, list(COLUMNS)]) == ["s", "female", "test", "sad", "well", 1.0, 2.0, 3.0]
    if word:
        for column in COLUMNS:
            assert f"{column} 1 ({word!r} 1)" in note(corpus)
        assert "--keep-words speaker gender split emotion transcript" in note(corpus)
    else:
        assert not any("missing value" in line for line in corpus.notes)


def test_an_id_that_is_no_value_is_the_files_stem(tmp_path: Path) -> None:
    corpus = read_manifest(write_csv(tmp_path / "mine.csv", ("path", "id"), [("one.wav", "nan"), ("two.wav", "NaN")]))
    assert list(corpus.utterances["id"]) == ["one", "two"]


def test_a_path_that_is_no_value_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mine.csv", ("path", "id"), [("one.wav", "1"), ("nan", "2")])
    with pytest.raises(UserError, match=r"line 3.*'nan' stands for no value.*--keep-words path"):
        read_manifest(path)
    assert list(read_manifest(path, keep_words=["path"]).utterances["path"]) == [
        str(tmp_path / "one.wav"),
        str(tmp_path / "nan"),
    ]


@pytest.mark.parametrize("said", ["none", "None.", "na", "Na", "Nan", "null", "Null", "unknown", "Unknown", "no"])
def test_words_that_people_say_are_transcripts(tmp_path: Path, said: str) -> None:
    corpus = read_manifest(write_csv(tmp_path / "mine.csv", ("path", "transcript"), [("a.wav", said)]))
    assert list(corpus.utterances["transcript"]) == [said]
    assert corpus.notes == ()


def test_words_that_are_meant_are_kept_where_it_is_said(tmp_path: Path) -> None:
    rows = [("a.wav", "None", "none", "None"), ("b.wav", "NA", "sad", "yes"), ("c.wav", "Unknown", "-", "")]
    path = write_csv(tmp_path / "mine.csv", ("path", "speaker", "emotion", "transcript"), rows)
    kept = read_manifest(path, keep_words=["speaker", "emotion"])
    # A speaker of whom a corpus says that he is unknown is nobody, whatever is kept: the folds need that.
    assert list(kept.utterances["speaker"]) == ["None", "NA", ""]
    assert list(kept.utterances["emotion"]) == ["none", "sad", "-"]
    assert list(kept.utterances["transcript"]) == ["", "yes", ""]
    assert "emotion" not in note(kept)
    plain = read_manifest(path)
    assert list(plain.utterances["speaker"]) == ["", "", ""]
    assert kept.sha256 != plain.sha256
    assert read_corpus(f"manifest:{path}", keep_words=["speaker", "emotion"]).sha256 == kept.sha256
    with pytest.raises(UserError, match=r"--keep-words arousal.*id, path, speaker"):
        MissingWords(["arousal"])


def test_every_reader_has_the_rule(tmp_path: Path) -> None:
    rows = [(row[0], "None", "nan", *row[3:5], "NA", "n/a", row[7]) for row in MSP_ROWS[:1]] + list(MSP_ROWS[1:])
    spec = f"msp-podcast:{make_msp_podcast(tmp_path / 'msp', rows=rows)}"
    msp = read_corpus(spec)
    assert list(msp.utterances.loc[0, ["emotion", "speaker", "gender"]]) == ["", "", ""]
    assert np.isnan(msp.utterances["arousal"][0])
    for column in ("emotion", "arousal", "speaker", "gender"):
        assert f"{column} 1" in note(msp)
    assert read_corpus(spec, keep_words=["emotion"]).utterances["emotion"][0] == "None"

    root = make_iemocap(tmp_path / "iemocap")
    file = sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))[0]
    before = read_corpus(f"iemocap:{root}").utterances
    lines = file.read_text().splitlines()
    (number, line) = next((k, line) for k, line in enumerate(lines) if line.startswith("["))
    cells = line.split("\t")
    lines[number] = "\t".join([*cells[:2], "None", *cells[3:]])
    file.write_text("\n".join(lines) + "\n")
    after = read_corpus(f"iemocap:{root}")
    row = list(before["id"]).index(cells[1])
    assert after.utterances["emotion"][row] == ""
    assert "emotion 1 ('None' 1)" in note(after)
    assert read_corpus(f"iemocap:{root}", keep_words=["emotion"]).utterances["emotion"][row] == "None"

    write_csv(
        tmp_path / "emobank.csv",
        ("id", "split", "V", "A", "D", "text"),
        [("1", "train", "NA", "3", "3", "None"), ("2", "test", "1", "2", "3", "Well.")],
    )
    emobank = read_corpus(f"emobank:{tmp_path}")
    assert list(emobank.utterances["transcript"]) == ["None", "Well."]  # a corpus of texts: it is a sentence
    assert "valence 1" in note(emobank)


def test_a_reader_of_another_package_without_the_option_says_so(tmp_path: Path) -> None:
    entry = readers.corpus_readers()["demo"]
    with pytest.raises(UserError, match="takes no --keep-words"):
        readers._read(entry, tmp_path, {"keep_words": ["speaker"]})


def test_texts_given_to_a_model_have_the_rule(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "words.csv", ("id", "transcript"), [("a", "nan"), ("b", "none"), ("c", "None")])
    texts = read_texts(path)
    assert texts.texts == ["", "none", ""]
    assert "transcript 2" in texts.notes[0]
    assert read_texts(path, keep_words=["transcript"]).texts == ["nan", "none", "None"]


def test_texts_given_to_a_model_are_known_by_common_names(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "words.csv", ("utt_id", "Text", "label"), [("a", "Yes, well", "x"), ("b", "", "y")])
    texts = read_texts(path)
    assert (texts.names, texts.texts) == (["a", "b"], ["Yes, well", ""])
    assert texts.notes == [f"{path}: columns taken: id from utt_id, transcript from Text"]
    path = write_csv(tmp_path / "words.csv", ("id", "heard", "text"), [("a", "one", "two")])
    assert read_texts(path, columns={"transcript": "heard"}).texts == ["one"]


def test_one_list_for_numbers_and_words() -> None:
    """Whatever a rating may say for no value, a text may, too."""
    taken = MissingWords()
    assert all(taken.text("emotion", word) == taken.text("valence", word) == "" for word in MISSING)


# ------------------------------------------------------------------------------------------------- names that are one


def test_one_name_in_two_forms_of_unicode_is_one_name(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    assert composed != decomposed
    rows = [("a.wav", composed, "1", composed), (f"{decomposed}.wav", decomposed, "", decomposed)]
    path = write_csv(tmp_path / "mine.csv", ("path", "speaker", "id", "emotion"), rows)
    table = read_manifest(path).utterances
    assert list(table["speaker"]) == list(table["emotion"]) == [composed] * 2
    assert table["id"][1] == composed
    assert table["path"][1] == str(tmp_path / f"{decomposed}.wav")  # as it is on disk


def test_folds_keep_a_name_together_in_whatever_form_an_old_cache_has_it() -> None:
    groups = speaker_groups([unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë"), "Zoe"])
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna", "anna"),
        ("Anna", "\u0410nna"),  # a Cyrillic capital
        ("HE", "H\u0395"),  # a Greek capital epsilon
        ("A1", "\uff21\uff11"),  # full width
        ("of\ufb01ce", "office"),
        ("Anna B", "Anna  B"),
        ("Anna", "An\u200bna"),  # a space of no width
        ("7", "007"),
        ("emodb_03", "EMODB_03"),
    ],
)
def test_look_alikes_are_told_and_kept_apart(tmp_path: Path, one: str, other: str) -> None:
    rows = [("a.wav", one), ("b.wav", other), ("c.wav", other), ("d.wav", "Boris")]
    corpus = read_manifest(write_csv(tmp_path / "mine.csv", ("path", "speaker"), rows))
    assert list(corpus.utterances["speaker"]) == [one, other, other, "Boris"]
    (told,) = [line for line in corpus.notes if "look alike" in line]
    assert f"{one!a} (1 rows) and {other!a} (2 rows)" in told
    assert "Boris" not in told
    assert f"note: {told}" in corpus.summary()


@pytest.mark.parametrize("column", ["speaker", "emotion", "gender", "group", "fold"])
def test_look_alikes_are_told_in_every_column_of_names(tmp_path: Path, column: str) -> None:
    path = write_csv(tmp_path / "mine.csv", ("path", column), [("a.wav", "one_03"), ("b.wav", "\uff2fNE_03")])
    assert any(note.startswith(f"column '{column}': names that look alike") for note in read_manifest(path).notes)


def test_names_that_the_eye_tells_apart_are_not_told() -> None:
    assert look_alikes(["José", "Jose", "F1", "F2", "F10", "10", "100", "", "", "Ses01F", "Ses01M"]) == []


def test_the_option_reaches_the_command() -> None:
    given = extract_parser().parse_args(["--keep-words", "speaker", "emotion"])
    assert given.keep_words == ["speaker", "emotion"]
