"""MSP-Podcast and IEMOCAP as people unpack them: folders, names and copies that are not as the makers have them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emoprobe import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.corpora.cells import MISSING, MISSING_TRANSCRIPTS, MissingWords
from emoprobe.extract.corpora.folders import AudioTree, audio_name
from emoprobe.extract.corpora.values import is_plain, path_under
from emoprobe.testing.corpora import write_csv
from tests.corpus_fixtures import MSP_ROWS, MSP_WORDS, make_iemocap, make_msp_podcast
from tests.extract.test_corpora_licensed import PARTITIONS, SPEAKER_IDS, check_msp


def move(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    # By another name first: a folder can be moved into itself.
    (root / source).rename(root / "moving")
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / "moving").rename(root / target)


def rename_all(root: Path, change: Callable[[str], str]) -> None:
    for path in list(root.rglob("*.wav")):
        path.rename(path.with_name(change(path.name)))


def by_split(root: Path) -> None:
    for row in MSP_ROWS:
        (root / "Audios" / row[7]).mkdir(exist_ok=True)
        (root / "Audios" / row[0]).rename(root / "Audios" / row[7] / row[0])


#: What was done to the folder, and whether audio is then elsewhere than usual.
VARIANTS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "labels": (lambda root: move(root, "Labels", "labels"), False),
    "label": (lambda root: move(root, "Labels", "label"), False),
    "Labels/Labels": (lambda root: move(root, "Labels", "Labels/Labels"), False),
    "labels beside the audio": (
        lambda root: (root / "Labels" / "labels_consensus.csv").rename(root / "labels_consensus.csv"),
        False,
    ),
    "labels of one fold": (
        lambda root: (root / "Labels" / "labels_consensus.csv").rename(root / "Labels" / "labels_consensus_2.csv"),
        False,
    ),
    "Audios/Audios": (lambda root: move(root, "Audios", "Audios/Audios"), True),
    "Transcripts/Transcripts": (lambda root: move(root, "Transcripts", "Transcripts/Transcripts"), False),
    "WAV": (lambda root: rename_all(root, lambda name: name.replace(".wav", ".WAV")), True),
    "FLAC": (lambda root: rename_all(root, lambda name: name.replace(".wav", ".flac")), True),
    "by split": (by_split, True),
    "another folder": (lambda root: move(root, "Audios", "sounds"), True),
    "Partition.txt": (lambda root: (root / "Partitions.txt").rename(root / "Partition.txt"), False),
    "all in Labels": (
        lambda root: [(root / name).rename(root / "Labels" / name) for name in ("Partitions.txt", "Speaker_ids.txt")],
        False,
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_msp_podcast_however_it_was_unpacked(tmp_path: Path, variant: str) -> None:
    change, elsewhere = VARIANTS[variant]
    order = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom")
    make_msp_podcast(tmp_path, order=order, partitions=PARTITIONS, speaker_ids=SPEAKER_IDS, transcripts=MSP_WORDS)
    change(tmp_path)
    corpus = read_corpus(f"msp-podcast:{tmp_path}")
    table = corpus.utterances
    assert list(table["id"]) == [row[0].removesuffix(".wav") for row in MSP_ROWS]
    assert all(
        Path(path).is_file() and Path(path).stem == name for path, name in zip(table["path"], table["id"], strict=True)
    )
    assert list(table["split"]) == ["test1", "train", "train", "development", "test2", "test3"]
    assert list(table["speaker"]) == ["30", "31", "", "32", "33", "34"]
    assert table["transcript"][0] == "Well, that is how it went."
    said = [note for note in corpus.notes if "lie elsewhere" in note]
    assert bool(said) == elsewhere
    assert not any("no audio file" in note or "in no table" in note for note in corpus.notes)


def test_names_without_an_ending(tmp_path: Path) -> None:
    rows = [(row[0].removesuffix(".wav"), *row[1:]) for row in MSP_ROWS]
    make_msp_podcast(tmp_path, audio=False)
    plain = make_msp_podcast(tmp_path / "plain", rows=rows, audio=False, partitions=PARTITIONS.replace(".wav", ""))
    whole = make_msp_podcast(tmp_path / "whole", rows=MSP_ROWS, audio=False)
    for root in (plain, whole):
        shutil.copytree(tmp_path / "Audios", root / "Audios", dirs_exist_ok=True)
        for row in MSP_ROWS:
            (root / "Audios" / row[0]).write_bytes(b"")
    check_msp(read_corpus(f"msp-podcast:{plain}"))
    assert read_corpus(f"msp-podcast:{plain}").sha256 == read_corpus(f"msp-podcast:{whole}").sha256
    assert audio_name("MSP_1.5") == "MSP_1.5.wav"
    assert [audio_name(name) for name in ("a.WAV", "a.mp4", "")] == ["a.WAV", "a.mp4", ""]


def test_two_files_of_one_stem_are_refused_by_both_names(tmp_path: Path) -> None:
    make_msp_podcast(tmp_path)
    name = MSP_ROWS[0][0]
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "Audios" / name, tmp_path / folder / name)
    # Where it should be, it is.
    corpus = read_corpus(f"msp-podcast:{tmp_path}")
    assert corpus.utterances["path"][0] == str(tmp_path / "Audios" / name)
    assert any("2 audio files are in no table of labels" in note for note in corpus.notes)
    (tmp_path / "Audios" / name).unlink()
    with pytest.raises(UserError, match=rf"new/{name} or old/{name}"):
        read_corpus(f"msp-podcast:{tmp_path}")


def test_rows_without_audio_are_told(tmp_path: Path) -> None:
    make_msp_podcast(tmp_path)
    (tmp_path / "Audios" / MSP_ROWS[1][0]).unlink()
    corpus = read_corpus(f"msp-podcast:{tmp_path}")
    assert len(corpus) == 6
    assert any(
        note.startswith("1 of 6 rows have no audio file below") and MSP_ROWS[1][0] in note for note in corpus.notes
    )


@pytest.mark.parametrize("reader", ["msp-podcast", "iemocap"])
def test_the_folder_above(tmp_path: Path, reader: str) -> None:
    make = {"msp-podcast": make_msp_podcast, "iemocap": make_iemocap}[reader]
    (tmp_path / "release").mkdir()
    make(tmp_path / "release")
    (tmp_path / "other").mkdir()
    corpus = read_corpus(f"{reader}:{tmp_path}")
    assert corpus.root == tmp_path / "release"
    assert any("in its folder release" in note for note in corpus.notes)
    assert corpus.sha256 == read_corpus(f"{reader}:{tmp_path / 'release'}").sha256
    shutil.copytree(tmp_path / "release", tmp_path / "release-2")
    with pytest.raises(UserError, match=r"more than one.*/release, .*/release-2"):
        read_corpus(f"{reader}:{tmp_path}")


def test_one_label_file_of_several(tmp_path: Path) -> None:
    """As EMO-SUPERB ships them: a file a fold, each with the splits of the fold."""
    make_msp_podcast(tmp_path, labels="labels_consensus_1.csv")
    rows = [(*row[:7], "Train") for row in MSP_ROWS]
    write_csv(
        tmp_path / "Labels" / "labels_consensus_2.csv",
        ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set"),
        rows,
    )
    with pytest.raises(UserError) as caught:
        read_corpus(f"msp-podcast:{tmp_path}")
    assert f"msp-podcast:{tmp_path}/Labels/labels_consensus_1.csv" in str(caught.value)
    assert "labels_consensus_2.csv" in str(caught.value)
    second = read_corpus(f"msp-podcast:{tmp_path}/Labels/labels_consensus_2.csv")
    assert second.root == tmp_path
    assert set(second.utterances["split"]) == {"train"}
    check_msp(read_corpus(f"msp-podcast:{tmp_path}/Labels/labels_consensus_1.csv"))


def test_copies_of_rows_are_left_out(tmp_path: Path) -> None:
    rows = [MSP_ROWS[0], *MSP_ROWS, MSP_ROWS[0], MSP_ROWS[3]]
    corpus = read_corpus(f"msp-podcast:{make_msp_podcast(tmp_path, rows=rows)}")
    check_msp(corpus)
    assert "3 rows repeat an earlier one, and are left out" in corpus.notes


def test_copies_of_lines_of_iemocap_are_left_out(tmp_path: Path) -> None:
    make_iemocap(tmp_path)
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro91.txt"
    path.write_text(path.read_text() + "\n[14.8872 - 18.0175]\tSes01F_impro91_M000\tang\t[1.5000, 4.0000]\n")
    corpus = read_corpus(f"iemocap:{tmp_path}")
    assert len(corpus) == 6
    assert "1 rows repeat an earlier one, and are left out" in corpus.notes


@pytest.mark.parametrize("word", ["None", "Unlabeled", "unlabelled"])
@pytest.mark.parametrize("keep", [(), ("split",)])
def test_rows_of_no_split(tmp_path: Path, word: str, keep: tuple[str, ...]) -> None:
    rows = [(*row[:7], word) if index in (1, 4) else row for index, row in enumerate(MSP_ROWS)]
    corpus = read_corpus(f"msp-podcast:{make_msp_podcast(tmp_path, rows=rows)}", keep_words=keep)
    assert list(corpus.utterances["split"]) == ["test1", "train", "development", "test3"]
    assert f"2 rows belong to no split by the corpus's own word ({word} 2), and are left out" in corpus.notes
    # Their audio is in the table, and told of with its row.
    assert not any("in no table of labels" in note for note in corpus.notes)


def test_rows_of_no_split_in_the_partition(tmp_path: Path) -> None:
    order = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom")
    partitions = PARTITIONS.replace("Test2", "None") + "Unlabeled; MSP-PODCAST_9009_0001.wav\n"
    corpus = read_corpus(f"msp-podcast:{make_msp_podcast(tmp_path, order=order, partitions=partitions)}")
    assert list(corpus.utterances["split"]) == ["test1", "train", "train", "development", "test3"]
    assert any("(None 1, Unlabeled 1)" in note for note in corpus.notes)


def test_iemocap_with_its_audio_elsewhere(tmp_path: Path) -> None:
    make_iemocap(tmp_path)
    (tmp_path / "wavs").mkdir()
    for path in list(tmp_path.glob("Session*/sentences/wav/*/*.wav")):
        path.rename(tmp_path / "wavs" / path.with_suffix(".WAV").name)
    # The recording of a whole dialogue has no label, and is not told of.
    dialogue = tmp_path / "Session1" / "dialog" / "wav"
    dialogue.mkdir()
    (dialogue / "Ses01F_impro91.wav").write_bytes(b"")
    corpus = read_corpus(f"iemocap:{tmp_path}")
    assert all(Path(path).parent == tmp_path / "wavs" for path in corpus.utterances["path"])
    assert any("6 audio files lie elsewhere" in note for note in corpus.notes)
    assert not any("in no table" in note for note in corpus.notes)


def test_a_link_that_leads_back_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.wav").write_bytes(b"")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a")
    assert len(AudioTree(tmp_path)) == 1


@given(st.text("ab.\\/ é\n\0\udce9", max_size=8), st.sampled_from(["/", "/data", "/data/a b"]))
@example("a/../b", "/data")
@example("..a/.b/c..", "/data")
@example("/a", "/data")
def test_a_plain_path_is_what_the_long_way_says(name: str, root: str) -> None:
    if is_plain(name):
        assert path_under(Path(root), name) == f"{root.rstrip('/')}/{name}"


def test_most_names_are_plain() -> None:
    assert all(map(is_plain, ("a.wav", "Audios/a b/é.wav", "..a/.b/c..", "a\\b")))
    assert not any(map(is_plain, ("", "/a", "a//b", "./a", "a/..", "a/../b", "a\n", "a/")))


@given(st.one_of(st.sampled_from(sorted(MISSING | MISSING_TRANSCRIPTS)), st.text(max_size=10)))
@example("UNKNOWN")
@example("ﬁnally known")
def test_long_words_are_never_missing(word: str) -> None:
    """The short cut by length finds what the lists say."""
    for column, expected in (
        ("speaker", word.strip().casefold() in MISSING),
        ("transcript", word.strip() in MISSING_TRANSCRIPTS),
    ):
        assert (MissingWords().text(column, word) == "") == (expected or not word.strip())
