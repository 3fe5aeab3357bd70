"""The smaller readers, each on a fixture in its corpus's own form; every row, name and rating here is invented."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe import UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.testing.corpora import write_csv, write_wav
from tests.corpus_fixtures import make_iemocap, make_msp_podcast, mutate
from tests.extract.test_corpora_raters import as_columns, as_json, as_text

HEARD = {"A": 4.0, "N": 2.0, "S": 1.5, "H": 3.5}
IMPROV = (
    ("S01A-F01-P-FM01", "A"),
    ("S01A-M01-T-FM02", "N"),
    ("S02S-F02-R-MF01", "S"),
    ("S02H-M02-S-MF03", "H"),
    ("S03N-F03-P-FF07", "X"),
)


def make_improv(root: Path, *, file: str = "Evalution.txt", active_first: bool = False) -> Path:
    """MSP-IMPROV; with `active_first` 1 is the most active."""
    lines = []
    for name, emotion in IMPROV:
        arousal = HEARD.get(emotion, 3.0)
        score = (lambda value: 6 - value) if active_first else (lambda value: value)
        lines += [
            f"UTD-IMPROV-{name}.avi; {emotion}; A:{score(arousal):.6f}; V:2.500000; D:NaN ; N:4.000000;",
            f"w-p01_x; Neutral; Sad,Other (tired); A:{score(arousal - 1):.6f}; V:2.000000; D:NaN; N:3.000000;",
            f"w-p02; Angry; ; A:{score(arousal + 1):.6f}; V:3.000000; D:NaN; N:5.000000;",
            "",
        ]
        write_wav(root / f"session{name[7]}" / name[:4] / name[9] / f"MSP-IMPROV-{name}.wav", 0.1)
    (root / file).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("file", ["Evalution.txt", "Evaluation.txt"])
@pytest.mark.parametrize("active_first", [False, True])
def test_msp_improv(tmp_path: Path, file: str, active_first: bool) -> None:
    corpus = read_corpus(f"msp-improv:{make_improv(tmp_path, file=file, active_first=active_first)}")
    table = corpus.utterances
    assert list(table["id"]) == [f"MSP-IMPROV-{name}" for name, _ in IMPROV]
    assert all(Path(path).is_file() for path in table["path"])
    assert list(table["speaker"]) == ["F01", "M01", "F02", "M02", "F03"]
    assert list(table["gender"]) == ["female", "male", "female", "male", "female"]
    assert list(table["group"]) == ["session1", "session1", "session2", "session2", "session3"]
    assert list(table["emotion"]) == ["A", "N", "S", "H", ""]
    # High is active, however it was written; the spread is the same both ways.
    np.testing.assert_allclose(table["arousal"], [4, 2, 1.5, 3.5, 3])
    np.testing.assert_allclose(table["arousal_mean"], [4, 2, 1.5, 3.5, 3])
    np.testing.assert_allclose(table["arousal_sd"], np.sqrt(2))
    np.testing.assert_array_equal(table["arousal_n"], 2)
    np.testing.assert_array_equal(table["valence"], 2.5)
    assert table[["dominance", "dominance_mean", "dominance_n"]].isna().all(axis=None)
    assert any("was turned round: 6 minus" in note for note in corpus.notes) == active_first
    assert not any("no audio" in note or "elsewhere" in note for note in corpus.notes)


def test_msp_improv_refuses_a_line_that_is_none(tmp_path: Path) -> None:
    root = make_improv(tmp_path)
    path = root / "Evalution.txt"
    path.write_text(path.read_text().replace("A:4.000000; V:2.5", "V:2.5", 1))
    with pytest.raises(UserError, match=r"Evalution.txt, line 1: .* is no line of an utterance"):
        read_corpus(f"msp-improv:{root}")
    path.write_text(path.read_text().replace("V:2.5", "A:loud; V:2.5", 1))
    with pytest.raises(UserError, match=r"line 1: 'loud' is not a finite number"):
        read_corpus(f"msp-improv:{root}")
    with pytest.raises(UserError, match=r"no Evalution.txt"):
        read_corpus(f"msp-improv:{root / 'session1'}")


def test_msp_improv_without_anger_keeps_what_is_written(tmp_path: Path) -> None:
    root = make_improv(tmp_path, active_first=True)
    path = root / "Evalution.txt"
    path.write_text(path.read_text().replace(".avi; A;", ".avi; O;"))
    corpus = read_corpus(f"msp-improv:{root}")
    np.testing.assert_allclose(corpus.utterances["arousal"], [2, 4, 4.5, 2.5, 3])
    assert any("no anger and calm speech to compare" in note for note in corpus.notes)


def make_crema_d(root: Path) -> Path:
    for name in ("1991_DFA_ANG_XX", "1991_IEO_HAP_LO", "1992_TSI_NEU_XX"):
        write_wav(root / "AudioWAV" / f"{name}.wav", 0.1)
    (root / "AudioMP3").mkdir()
    (root / "AudioMP3" / "1991_DFA_ANG_XX.mp3").write_bytes(b"")
    write_csv(
        root / "VideoDemographics.csv",
        ("ActorID", "Age", "Sex", "Race", "Ethnicity"),
        [(1991, 30, "Female", "Unknown", "Unknown"), (1992, 40, "Male", "Unknown", "Unknown")],
    )
    write_csv(
        root / "processedResults" / "summaryTable.csv",
        ("", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"),
        [(1, "1991_DFA_ANG_XX", "D", 70, "A", 60, "A", 50), (2, "1991_IEO_HAP_LO", "H:N", "50:40", "H", 60, "H", 50)],
    )
    return root


def test_crema_d(tmp_path: Path) -> None:
    root = make_crema_d(tmp_path)
    corpus = read_corpus(f"crema-d:{root}")
    table = corpus.utterances
    assert list(table["id"]) == ["1991_DFA_ANG_XX", "1991_IEO_HAP_LO", "1992_TSI_NEU_XX"]
    assert list(table["emotion"]) == ["ANG", "HAP", "NEU"]
    assert list(table["speaker"]) == ["1991", "1991", "1992"]
    assert list(table["gender"]) == ["female", "female", "male"]
    assert list(table["transcript"]) == ["Don't forget a jacket.", "It's eleven o'clock.", "The surface is slick."]
    assert corpus.notes == ()
    heard = read_corpus(f"crema-d:{root}/processedResults/summaryTable.csv")
    assert heard.name == "crema-d-heard"
    assert list(heard.utterances["emotion"]) == ["DIS", "", ""]
    assert any("no majority in 1" in note for note in heard.notes)
    assert any("1 utterances are not in summaryTable.csv" in note for note in heard.notes)


def test_crema_d_refuses_codes_that_it_does_not_have(tmp_path: Path) -> None:
    root = make_crema_d(tmp_path)
    write_wav(root / "AudioWAV" / "1991_DFA_JOY_XX.wav", 0.1)
    with pytest.raises(UserError, match=r"1991_DFA_JOY_XX.wav: the name holds the code 'JOY'"):
        read_corpus(f"crema-d:{root}")


def make_meld(root: Path, *, tables: str = "", ending: str = ".wav") -> Path:
    header = (
        "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
        "StartTime", "EndTime",
    )  # fmt: skip
    rows = {
        "train": [(1, "Well, well.", "Ann", "joy", "positive", 0, 0), (2, "No!", "Ben", "anger", "negative", 0, 1)],
        "dev": [(1, "“None”", "Ann", "neutral", "neutral", 0, 0)],
        "test": [(1, "Is it?", "Cat", "surprise", "negative", 0, 0), (2, "It is.", "Ann", "neutral", "neutral", 1, 3)],
    }
    folders = {
        "train": "train/train_splits",
        "dev": "dev/dev_splits_complete",
        "test": "test/output_repeated_splits_test",
    }
    for split, told in rows.items():
        write_csv(
            root / tables / f"{split}_sent_emo.csv", header, ((*row, 1, 2, "0:00:01,1", "0:00:02,2") for row in told)
        )
        for row in told:
            path = root / folders[split] / f"dia{row[5]}_utt{row[6]}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            path.with_name(f"._{path.name}").write_bytes(b"")
    (root / folders["test"] / f"final_videos_testdia1_utt3{ending}").write_bytes(b"")
    return root


@pytest.mark.parametrize("ending", [".wav", ".mp4", ".flac"])
def test_meld(tmp_path: Path, ending: str) -> None:
    corpus = read_corpus(f"meld:{make_meld(tmp_path, ending=ending)}")
    table = corpus.utterances
    assert list(table["id"]) == [
        "train_dia0_utt0", "train_dia0_utt1", "dev_dia0_utt0", "test_dia0_utt0", "test_dia1_utt3"
    ]  # fmt: skip
    assert all(Path(path).is_file() and Path(path).suffix == ending for path in table["path"])
    # The same name in each split is another file.
    assert [Path(path).relative_to(tmp_path).parts[0] for path in table["path"]] == [
        "train",
        "train",
        "dev",
        "test",
        "test",
    ]
    assert list(table["split"]) == ["train", "train", "development", "test", "test"]
    assert list(table["group"]) == ["train_dia0", "train_dia0", "dev_dia0", "test_dia0", "test_dia1"]
    assert list(table["speaker"]) == ["Ann", "Ben", "Ann", "Cat", "Ann"]
    assert list(table["emotion"]) == ["joy", "anger", "neutral", "surprise", "neutral"]
    assert table["transcript"][2] == "“None”"
    assert any(note.startswith("1 files are in no table of labels") for note in corpus.notes)


def test_meld_takes_the_sound_where_there_is_a_film_too(tmp_path: Path) -> None:
    make_meld(tmp_path, ending=".mp4")
    write_wav(tmp_path / "wav" / "train" / "dia0_utt0.wav", 0.1)
    write_wav(tmp_path / "wav" / "dev" / "dev_dia0_utt0.wav", 0.1)
    (tmp_path / "test" / "output_repeated_splits_test" / "dia0_utt0.mp4").unlink()
    corpus = read_corpus(f"meld:{tmp_path}")
    paths = [Path(path).relative_to(tmp_path).as_posix() for path in corpus.utterances["path"]]
    assert paths[0] == "wav/train/dia0_utt0.wav"
    assert paths[2] == "wav/dev/dev_dia0_utt0.wav"
    assert any("1 of 5 rows have no audio file" in note and "test/dia0_utt0.wav" in note for note in corpus.notes)
    write_wav(tmp_path / "again" / "train" / "dia0_utt0.wav", 0.1)
    with pytest.raises(UserError, match=r"dia0_utt0 of train could be again/train/dia0_utt0.wav or wav/train"):
        read_corpus(f"meld:{tmp_path}")


CODED = {
    "ravdess": (
        ("Actor_04/03-01-02-01-02-01-04.wav", "04", "female", "calm", "Dogs are sitting by the door."),
        ("Actor_03/03-01-05-02-01-02-03.wav", "03", "male", "angry", "Kids are talking by the door."),
        "songs/03-02-02-01-02-01-04.wav",
    ),
    "emodb": (
        ("wav/03a01Fa.wav", "03", "male", "happiness", "Der Lappen liegt auf dem Eisschrank."),
        ("wav/08b10Wc.wav", "08", "female", "anger", "Die wird auf dem Platz sein, wo wir sie immer hinlegen."),
        "silence/room.wav",
    ),
    "emovo": (
        ("f2/gio-f2-l4.wav", "f2", "female", "joy", ""),
        ("m1/tri-m1-d2.wav", "m1", "male", "sadness", ""),
        "documents/example.wav",
    ),
}


@pytest.mark.parametrize("reader", CODED)
def test_names_that_say_everything(tmp_path: Path, reader: str) -> None:
    *rows, other = CODED[reader]
    for path in (rows[1][0], rows[0][0], other):
        write_wav(tmp_path / path, 0.1)
    corpus = read_corpus(f"{reader}:{tmp_path}")
    columns = ["path", "speaker", "gender", "emotion", "transcript"]
    assert [tuple(row) for row in corpus.utterances[columns].to_numpy()] == [
        (str(tmp_path / path), *told) for path, *told in rows
    ]
    assert any(note.startswith("1 audio files are not called as in") and other in note for note in corpus.notes)
    (tmp_path / "metadata.csv").write_text("path,valence\n")
    assert (
        f"what it says is had by --corpus {tmp_path / 'metadata.csv'}" in read_corpus(f"{reader}:{tmp_path}").notes[-1]
    )
    shutil.copy(tmp_path / rows[0][0], tmp_path / Path(rows[0][0]).name)
    with pytest.raises(UserError, match=Path(rows[0][0]).name):
        read_corpus(f"{reader}:{tmp_path}")
    with pytest.raises(UserError, match="no audio file is called as in"):
        read_corpus(f"{reader}:{tmp_path / Path(other).parent}")


@pytest.mark.parametrize("reader", ["emodb", "ravdess"])
def test_codes_mean_what_a_table_says(tmp_path: Path, shared_data: Path, reader: str) -> None:
    """Against labels, genders, speakers and words of the copies that come with a table."""
    told = read_corpus(str(shared_data / reader / "metadata.csv")).utterances
    for path in told["path"]:
        (tmp_path / Path(path).name).symlink_to(path)
    read = read_corpus(f"{reader}:{tmp_path}").utterances
    told = told.assign(stem=[Path(path).stem for path in told["path"]]).set_index("stem").loc[read["id"]]
    for column in ("emotion", "speaker"):  # by other words, but one for one
        pairs = set(zip(told[column], read[column], strict=True))
        assert len(pairs) == told[column].nunique() == read[column].nunique()
    assert list(told["gender"]) == list(read["gender"])
    letters = lambda text: "".join(letter for letter in text.casefold() if letter.isalpha())  # noqa: E731
    words = zip(read["id"], map(letters, told["transcript"]), map(letters, read["transcript"]), strict=True)
    # The table writes "Blatt" for the makers' "Stück" in one sentence.
    assert [name for name, theirs, ours in words if theirs != ours and "a05" not in name] == []


def test_a_folder_that_tells_the_speaker(tmp_path: Path) -> None:
    for path in (
        "AudioData/KL/su15.wav",
        "AudioData/DC/a01.wav",
        "AudioData/JE/a01.wav",
        "JK_n30.wav",
        "AudioData/x.wav",
    ):
        write_wav(tmp_path / path, 0.1)
    corpus = read_corpus(f"savee:{tmp_path}")
    assert corpus.utterances[["id", "speaker", "gender", "emotion"]].to_numpy().tolist() == [
        ["DC_a01", "DC", "male", "angry"],
        ["JE_a01", "JE", "male", "angry"],
        ["JK_n30", "JK", "male", "neutral"],
        ["KL_su15", "KL", "male", "surprised"],
    ]
    assert any(note.startswith("1 audio files are not called as in") and "x.wav" in note for note in corpus.notes)
    shutil.copy(tmp_path / "JK_n30.wav", tmp_path / "DC_a01.wav")
    with pytest.raises(UserError, match=r"DC_a01 could be AudioData/DC/a01\.wav or DC_a01\.wav"):
        read_corpus(f"savee:{tmp_path}")


def make_nemo(root: Path) -> Path:
    lines = [
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage",
        'SK1_anger_0.wav\tanger\tCo "to jest?\tco to jest\tSK1\tfemale\t24',
        "MB0_neutral_9.wav\tneutral\tTo jest dom.\tto jest dom\tMB0\tmale\t51",
    ]
    (root / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("SK1_anger_0", "MB0_neutral_9"):
        write_wav(root / "samples" / f"{name}.wav", 0.1)
    return root


def test_nemo(tmp_path: Path) -> None:
    lines = (make_nemo(tmp_path) / "data.tsv").read_text(encoding="utf-8").splitlines()
    corpus = read_corpus(f"nemo:{tmp_path}")
    assert list(corpus.utterances["id"]) == ["SK1_anger_0", "MB0_neutral_9"]
    assert list(corpus.utterances["transcript"]) == ['Co "to jest?', "To jest dom."]
    assert list(corpus.utterances["speaker"]) == ["SK1", "MB0"]
    assert corpus.notes == ()
    (tmp_path / "data.tsv").write_text("\n".join([lines[0], lines[1] + "\tmore"]))
    with pytest.raises(UserError, match=r"data.tsv, row 2"):
        read_corpus(f"nemo:{tmp_path}")


def write_emobox(folder: Path, corpus: str, folds: dict[int, dict[str, list[str]]], *, form: str = "jsonl") -> Path:
    for fold, parts in folds.items():
        (folder / f"fold_{fold}").mkdir(parents=True)
        for part, names in parts.items():
            entries = {
                f"{corpus}-{name}": {"wav": f"downloads/{corpus}/x/{name}.wav", "emo": "neu", "channel": 1}
                for name in names
            }
            text = json.dumps(entries, indent=4)
            if form == "jsonl":
                text = "\n".join(json.dumps({"key": key, **entry}) for key, entry in entries.items())
            (folder / f"fold_{fold}" / f"{corpus}_{part}_fold_{fold}.{form}").write_text(text)
    return folder


FIRST, SECOND = ["Ses01F_impro91_F000", "Ses01F_impro91_M000"], ["Ses02F_impro91_M000"]


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_folds_of_emobox(tmp_path: Path, form: str, capsys) -> None:
    root = make_iemocap(tmp_path / "iemocap")
    folder = write_emobox(
        tmp_path / "emobox",
        "iemocap",
        {1: {"train": SECOND, "test": FIRST}, 2: {"train": FIRST, "test": SECOND}},
        form=form,
    )
    if form == "json":  # the same in both forms is read once
        (folder / "fold_1" / "iemocap_test_fold_1.jsonl").write_text(
            "\n".join(json.dumps({"wav": f"{name}.wav"}) for name in FIRST)
        )
    corpus = read_corpus(f"iemocap:{root}", splits=folder)
    assert list(corpus.utterances["id"]) == FIRST + SECOND
    assert list(corpus.utterances["fold"]) == ["1", "1", "2"]
    assert set(corpus.utterances["split"]) == {""}
    assert "emobox: 3 of 6 utterances are not used there, and are left out" in corpus.notes
    assert "emobox: 2 folds, each utterance in the one that tests it" in corpus.notes
    assert corpus.arguments[-2:] == ("--splits", str(folder))
    plain = read_corpus(f"iemocap:{root}").utterances.set_index("id").loc[FIRST + SECOND]
    for column in ("path", "speaker", "emotion", "valence", "transcript"):
        assert list(corpus.utterances[column]) == list(plain[column]) or column == "valence"


def test_one_split_of_emobox(tmp_path: Path) -> None:
    root = make_msp_podcast(tmp_path / "msp")
    stems = [f"MSP-PODCAST_900{a}_000{b}" for a, b in ((1, 1), (1, 2), (2, 1), (2, 2))]
    folder = write_emobox(
        tmp_path / "e", "msppodcast", {1: {"train": stems[:2], "valid": stems[2:3], "test": [stems[3], "absent"]}}
    )
    corpus = read_corpus(f"msp-podcast:{root}", splits=folder)
    assert list(corpus.utterances["split"]) == ["train", "train", "development", "test"]
    assert set(corpus.utterances["fold"]) == {""}
    assert "e: 1 of its 5 utterances are not in this corpus" in corpus.notes


def test_folds_of_emo_superb(tmp_path: Path) -> None:
    root = make_iemocap(tmp_path / "iemocap")
    every = [f"Ses0{session}F_impro91_{turn}" for session in (1, 2) for turn in ("F000", "F001", "M000")]
    for fold in (1, 2):
        parts = ["Test" if name.startswith(f"Ses0{fold}") else "Train" for name in every]
        parts[every.index("Ses02F_impro91_F000")] = "Development" if fold == 1 else "Test"
        write_csv(
            tmp_path / "Secondary" / f"labels_consensus_{fold}.csv",
            ("FileName", "angry", "neutral", "EmoAct", "SpkrID", "Split_Set"),
            [(f"{name}.wav", 0.5, 0.5, 3, "01", part) for name, part in reversed(list(zip(every, parts, strict=True)))],
        )
    corpus = read_corpus(f"iemocap:{root}", splits=tmp_path / "Secondary")
    assert list(corpus.utterances["id"]) == every
    assert list(corpus.utterances["fold"]) == ["1"] * 3 + ["2"] * 3
    assert any("development parts are trained on as well" in note for note in corpus.notes)
    assert not any("trains there on" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ({1: {"test": FIRST}, 2: {"test": FIRST}}, "Ses01F_impro91_F000 is in 1 and in 2"),
        ({1: {"train": FIRST, "test": FIRST}}, "is in test and in train"),
        ({1: {"test": ["other"]}}, "none of its utterances is one of iemocap"),
        ({}, "holds no folds of EmoBox"),
    ],
)
def test_folds_that_are_none(tmp_path: Path, folds: dict, said: str) -> None:
    root = make_iemocap(tmp_path / "iemocap", audio=False)
    (tmp_path / "e").mkdir()
    with pytest.raises(UserError, match=said):
        read_corpus(f"iemocap:{root}", splits=write_emobox(tmp_path / "e", "iemocap", folds))


def test_a_fold_that_trains_on_less_is_told(tmp_path: Path) -> None:
    root = make_iemocap(tmp_path / "iemocap", audio=False)
    folds = {1: {"train": [], "test": FIRST}, 2: {"train": FIRST[:1], "test": SECOND}}
    corpus = read_corpus(f"iemocap:{root}", splits=write_emobox(tmp_path / "e", "iemocap", folds))
    assert "e: fold 2 trains there on 1 utterances, and here on all 2 others" in corpus.notes


def make_detailed(root: Path) -> Path:
    """Of the forms of single ratings the one that the folder's name asks for."""
    make_msp_podcast(root)
    form = next((form for word, form in (("JSON", as_json), ("text", as_text)) if word in root.name), as_columns)
    form(root / "Labels")
    return root


def make_folds(root: Path) -> Path:
    make_iemocap(root)
    form = "json" if "JSON" in root.name else "jsonl"
    folds = {1: {"train": SECOND, "test": FIRST}, 2: {"train": FIRST, "test": SECOND}}
    write_emobox(root / "folds", "iemocap", folds, form=form)
    return root


#: Reader, the file that is damaged, and what makes the corpus.
DAMAGED = {
    "msp-improv": ("Evalution.txt", make_improv),
    "meld": ("dev_sent_emo.csv", make_meld),
    "crema-d": ("VideoDemographics.csv", make_crema_d),
    "nemo": ("data.tsv", make_nemo),
    "msp-podcast": ("Labels/labels_detailed.csv", make_detailed),
    "msp-podcast in JSON": ("Labels/labels_detailed.json", make_detailed),
    "msp-podcast in text": ("Labels/labels.txt", make_detailed),
    "iemocap": ("folds/fold_1/iemocap_test_fold_1.jsonl", make_folds),
    "iemocap in JSON": ("folds/fold_2/iemocap_test_fold_2.json", make_folds),
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    for name, (_, make) in DAMAGED.items():
        (folder / name).mkdir()
        make(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_files(name: str, seed: int, corpora: Path) -> None:
    """A corpus or an error that names the file or its folder, and never anything else."""
    file, make = DAMAGED[name]
    root = corpora / name
    whole = (root / file).read_bytes()
    try:
        (root / file).write_bytes(mutate(whole, np.random.default_rng(seed)))
        splits = root / "folds" if make is make_folds else None
        said = read_corpus(f"{name.partition(' ')[0]}:{root}", splits=splits).summary()
    except UserError as problem:
        said = str(problem)
    finally:
        (root / file).write_bytes(whole)
    assert str(root) in said
