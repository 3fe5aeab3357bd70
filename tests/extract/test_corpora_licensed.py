"""MSP-Podcast and IEMOCAP in every form that their releases have, on invented rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe import UserError
from emoprobe.extract.corpora import read_corpus
from tests.corpus_fixtures import MSP_ROWS, MSP_WORDS, make_iemocap, make_msp_podcast, mutate

PARTITIONS = "".join(f"{row[7]}; {row[0]}\n" for row in MSP_ROWS)
SPEAKER_IDS = (
    "".join(f"{row[0]};{row[5]}\n" for row in MSP_ROWS)
    + "\n"
    + "".join(f" Speaker_{row[5]} ; {row[6]}\n" for row in MSP_ROWS if row[5] != "Unknown")
)


def msp(root: Path, **how):
    return read_corpus(f"msp-podcast:{make_msp_podcast(root, **how)}")


def check_msp(corpus, *, audio_folder: str = "Audios") -> None:
    table = corpus.utterances
    assert corpus.name == "msp-podcast"
    assert list(table["id"]) == [row[0].removesuffix(".wav") for row in MSP_ROWS]
    assert list(table["path"]) == [str(corpus.root / audio_folder / row[0]) for row in MSP_ROWS]
    assert list(table["emotion"]) == ["N", "H", "", "A", "S", ""]
    for column, index in (("arousal", 2), ("valence", 3), ("dominance", 4)):
        np.testing.assert_array_equal(table[column], [float(row[index] or "nan") for row in MSP_ROWS])
    assert list(table["speaker"]) == ["30", "31", "", "32", "33", "34"]
    assert list(table["split"]) == ["test1", "train", "train", "development", "test2", "test3"]


@pytest.mark.parametrize("labels", ["labels_consensus.csv", "labels_concensus.csv", "labels_consensus.json"])
@pytest.mark.parametrize(("labels_folder", "audio_folder"), [("Labels", "Audios"), ("labels", "Audio")])
def test_msp_spellings(tmp_path: Path, labels: str, labels_folder: str, audio_folder: str) -> None:
    corpus = msp(tmp_path, labels=labels, labels_folder=labels_folder, audio_folder=audio_folder)
    check_msp(corpus, audio_folder=audio_folder)
    assert list(corpus.utterances["gender"]) == ["male", "female", "male", "female", "male", "female"]
    assert all(Path(path).is_file() for path in corpus.utterances["path"])
    assert corpus.notes == ()


def test_msp_columns_by_name(tmp_path: Path) -> None:
    """Activation and valence change places between releases."""
    order = ("SpkrID", "FileName", "EmoVal", "Split_Set", "EmoDom", "EmoAct", "Gender", "EmoClass")
    check_msp(msp(tmp_path, order=order))


def test_msp_1_8(tmp_path: Path) -> None:
    rows = [(*row[:7], row[7].replace("Development", "Validation")) for row in MSP_ROWS]
    check_msp(msp(tmp_path, labels="labels_concensus.csv", rows=rows))


@pytest.mark.parametrize("labels", ["labels_concensus.csv", "labels_concensus.json"])
def test_msp_with_partitions_and_speakers_apart(tmp_path: Path, labels: str) -> None:
    order = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom")
    corpus = msp(tmp_path, labels=labels, order=order, partitions=PARTITIONS, speaker_ids=SPEAKER_IDS)
    check_msp(corpus)
    # The speaker `Unknown` has no line of a gender.
    assert list(corpus.utterances["gender"]) == ["male", "female", "", "female", "male", "female"]


def test_msp_test3_known_from_its_partition_alone(tmp_path: Path) -> None:
    corpus = msp(tmp_path, rows=MSP_ROWS[:-1], partitions=PARTITIONS, speaker_ids=SPEAKER_IDS, audio=False)
    check_msp(corpus)
    assert any("1 files are in Partitions.txt without labels (Test3 1)" in note for note in corpus.notes)


def test_msp_unknown_speakers_are_nobody(tmp_path: Path) -> None:
    rows = [(*row[:5], "unknown" if index % 2 else "Unknown", *row[6:]) for index, row in enumerate(MSP_ROWS)]
    corpus = msp(tmp_path, rows=rows)
    assert set(corpus.utterances["speaker"]) == {""}
    assert "speakers        0 (unknown for 6 utterances)" in corpus.summary()


def test_msp_transcripts(tmp_path: Path) -> None:
    root = make_msp_podcast(tmp_path, transcripts=MSP_WORDS)
    (root / "Transcripts" / "MSP-PODCAST_9002_0001.txt").write_bytes(b"\xef\xbb\xbfCaf\xe9.\r\n")
    corpus = read_corpus(f"msp-podcast:{root}")
    words = list(corpus.utterances["transcript"])
    assert words == ["Well, that is how it went.", "So good to see you!", "Caf�.", "", "", ""]
    assert any("1 transcripts are not UTF-8" in note for note in corpus.notes)
    assert any("3 utterances have no transcript" in note for note in corpus.notes)


def test_msp_audio_that_nothing_names_is_noted(tmp_path: Path) -> None:
    root = make_msp_podcast(tmp_path)
    (root / "Audios" / "MSP-PODCAST_9999_0001.wav").write_bytes(b"")
    (root / "Audios" / "._MSP-PODCAST_9001_0001.wav").write_bytes(b"")
    assert read_corpus(f"msp-podcast:{root}").notes == (
        "1 audio files are in no table of labels, and are left out: Audios/MSP-PODCAST_9999_0001.wav",
    )


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"rows": [("../../etc/x.wav", *MSP_ROWS[0][1:])], "audio": False}, ["line 2", "'../../etc/x.wav'"]),
        ({"rows": [MSP_ROWS[1], ("", *MSP_ROWS[0][1:])], "audio": False}, ["line 3", "''"]),
        (
            {"rows": [MSP_ROWS[0], (MSP_ROWS[0][0], "H", *MSP_ROWS[0][2:])]},
            ["line 2", "line 3", "MSP-PODCAST_9001_0001"],
        ),
        ({"rows": [(*MSP_ROWS[0][:2], "loud", *MSP_ROWS[0][3:])]}, ["line 2", "'EmoAct'", "'loud'"]),
        ({"rows": [(*MSP_ROWS[0][:3], "70", *MSP_ROWS[0][4:])]}, ["line 2", "'EmoVal'", "70", "scale of 1 to 7"]),
        ({"rows": [(*MSP_ROWS[0][:7], "Held")]}, ["'Held'", "development"]),
        ({"rows": []}, ["holds no labels"]),
        ({"order": ("FileName", "EmoClass", "EmoAct", "EmoDom")}, ["no column EmoVal"]),
        ({"partitions": "Train MSP-PODCAST_9001_0001.wav\n"}, ["Partitions.txt, line 1", "no semicolon"]),
        ({"partitions": PARTITIONS + f"Train; {MSP_ROWS[0][0]}\n"}, ["Partitions.txt, line 7", "Test1"]),
        ({"labels": "labels.csv"}, ["none of labels_consensus.csv"]),
        ({"audio_folder": "Sounds", "audio": False}, ["no folder 'Audios'"]),
    ],
)
def test_msp_refused(tmp_path: Path, change: dict, parts: list[str]) -> None:
    root = make_msp_podcast(tmp_path, **change)
    with pytest.raises(UserError) as caught:
        read_corpus(f"msp-podcast:{root}")
    for part in (str(root), *parts):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", '{"a.wav": 3}', "{", "[" * 100_000, '{"a.wav": {}}', "{}"])
def test_msp_json_of_another_shape(tmp_path: Path, text: str) -> None:
    root = make_msp_podcast(tmp_path, labels="labels_consensus.json")
    (root / "Labels" / "labels_consensus.json").write_text(text)
    with pytest.raises(UserError, match=r"labels_consensus\.json"):
        read_corpus(f"msp-podcast:{root}")


def test_iemocap(tmp_path: Path) -> None:
    corpus = read_corpus(f"iemocap:{make_iemocap(tmp_path)}")
    table = corpus.utterances
    assert corpus.name == "iemocap"
    assert list(table["id"]) == [
        f"Ses0{session}F_impro91_{turn}" for session in (1, 2) for turn in ("F000", "F001", "M000")
    ]
    assert all(Path(path).is_file() for path in table["path"])
    assert list(table["speaker"]) == ["Ses01F", "Ses01F", "Ses01M", "Ses02F", "Ses02F", "Ses02M"]
    assert list(table["gender"]) == ["female", "female", "male"] * 2
    # The two of a session talk to each other: one session is left out at a time.
    assert list(table["group"]) == list(table["fold"]) == ["Session1"] * 3 + ["Session2"] * 3
    assert list(table["emotion"]) == ["neu", "", "ang"] * 2
    # The file says valence, activation, dominance, in this order.
    np.testing.assert_array_equal(table["valence"], [2.5, 2.5, 1.5] * 2)
    np.testing.assert_array_equal(table["arousal"], [2.0, 3.0, 4.0] * 2)
    np.testing.assert_array_equal(table["dominance"], [3.5, math.nan, math.nan] * 2)
    assert list(table["transcript"]) == ["Nobody told me, did they?", "", "[LAUGHTER] You: never asked."] * 2
    assert set(table["split"]) == {""}


def test_iemocap_without_transcriptions_and_later_sessions(tmp_path: Path) -> None:
    root = make_iemocap(tmp_path, audio=False)
    for folder in root.glob("Session*/dialog/transcriptions"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    corpus = read_corpus(f"iemocap:{root}")
    assert any("6 utterances have no transcript" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("[6.2901 - 8.2357]\tSes01F_impro91_F007\tneu\t[2.5, bad, 2.5]", ["line 16", "'bad'"]),
        ("[6.2901 - 8.2357]\tSes01F_impro91_F007\tneu\t[inf, 1, 2.5]", ["line 16", "infinite"]),
        ("[6.2901 - 8.2357]\tSes01F_impro91_F007\tneu\t[2.5]", ["line 16", "1 ratings"]),
        ("[6.2901 - 8.2357]\tSes01F_impro91_F007", ["line 16", "no line of an utterance"]),
        ("[6.2901 - 8.2357]\t../../x_F007\tneu\t[1, 1, 1]", ["line 16", "no line of an utterance"]),
        ("[6.2901 - 8.2357]\tSes01F_impro91_F000\tneu\t[1, 1, 1]", ["Ses01F_impro91_F000", "line 3", "line 16"]),
    ],
)
def test_iemocap_refused(tmp_path: Path, line: str, parts: list[str]) -> None:
    root = make_iemocap(tmp_path, audio=False)
    path = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro91.txt"
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(UserError) as caught:
        read_corpus(f"iemocap:{root}")
    for part in (str(root), *parts):
        assert part in str(caught.value)


def test_iemocap_refuses_another_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder Session1"):
        read_corpus(f"iemocap:{tmp_path}")
    (tmp_path / "Session1").mkdir()
    with pytest.raises(UserError, match="no evaluation files"):
        read_corpus(f"iemocap:{tmp_path}")


LABEL_FILES = (
    "msp/Labels/labels_consensus.csv",
    "msp/Partitions.txt",
    "msp/Speaker_ids.txt",
    "msp-json/Labels/labels_consensus.json",
    "iemocap/Session1/dialog/EmoEvaluation/Ses01F_impro91.txt",
    "iemocap/Session2/dialog/transcriptions/Ses02F_impro91.txt",
)


@pytest.fixture(scope="module")
def three_corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    for name in ("msp", "msp-json", "iemocap"):
        (folder / name).mkdir()
    make_msp_podcast(folder / "msp", partitions=PARTITIONS, speaker_ids=SPEAKER_IDS, audio=False)
    make_msp_podcast(folder / "msp-json", labels="labels_consensus.json", audio=False)
    make_iemocap(folder / "iemocap", audio=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("file", LABEL_FILES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_label_files(file: str, seed: int, three_corpora: Path) -> None:
    """A corpus or an error that names the file or its folder, and never anything else."""
    path = three_corpora / file
    reader = file.split("/", maxsplit=1)[0]
    spec = f"{'iemocap' if reader == 'iemocap' else 'msp-podcast'}:{three_corpora / reader}"
    whole = path.read_bytes()
    said = str(three_corpora / reader)
    try:
        path.write_bytes(mutate(whole, np.random.default_rng(seed)))
        said = read_corpus(spec).summary()
    except UserError as problem:
        said = str(problem)
    finally:
        path.write_bytes(whole)
    assert str(three_corpora / reader) in said
