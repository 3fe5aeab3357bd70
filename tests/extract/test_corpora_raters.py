"""Single ratings: mean, spread and number of each utterance, from the corpora's own forms and from a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe import HiddenStateCache, UserError
from emoprobe.extract.corpora import read_corpus
from emoprobe.extract.corpora.cells import RATERS
from emoprobe.extract.corpora.manifest import read_manifest
from emoprobe.extract.corpora.raters import summarise
from emoprobe.testing.corpora import write_csv, write_wav
from tests.corpus_fixtures import MSP_ROWS, make_iemocap, make_msp_podcast

#: File, worker, arousal, valence, dominance.
SINGLE = (
    (0, "WORKER1", 2.0, 4.0, 3.0),
    (0, "WORKER2", 3.0, 4.0, 2.0),
    (0, "WORKER3", 1.0, 5.0, None),
    (1, "WORKER1", 6.0, 6.0, 5.0),
    (1, "WORKER9", 5.0, 7.0, 4.0),
    (3, "WORKER9", 6.0, 1.0, 6.0),
)
NAMES = [row[0] for row in MSP_ROWS]


def cell(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.6f}"


def as_columns(folder: Path) -> None:
    header = ("FileName", "Workers", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")
    rows = [
        (NAMES[f], w, 'Other (I, they; "all")', "Sad,Happy", a, v, "" if d is None else d) for f, w, a, v, d in SINGLE
    ]
    write_csv(folder / "labels_detailed.csv", header, rows)


def as_one_cell(folder: Path) -> None:
    rows = [
        (NAMES[f], f"{w}; Neutral; Sad,Other-A: none; A:{cell(a)}; V:{cell(v)}; D:{cell(d)};")
        for f, w, a, v, d in SINGLE
    ]
    write_csv(folder / "labels_detailed.csv", ("FileName", "EmoDetail"), rows)


def as_json(folder: Path) -> None:
    held: dict[str, dict] = {}
    for f, w, a, v, d in SINGLE:
        held.setdefault(NAMES[f], {})[w] = {"EmoClass_Major": "Sad", "EmoAct": a, "EmoDom": d, "EmoVal": str(v)}
    (folder / "labels_detailed.json").write_text(json.dumps(held))


def as_json_of_lists(folder: Path) -> None:
    held: dict[str, dict] = {}
    for f, w, a, v, d in SINGLE:
        entry = {"Name": w, "EmoAct": a, "EmoDom": d, "EmoVal": v}
        held.setdefault(NAMES[f], {"Workers": []})["Workers"].append(entry)
    (folder / "labels_detailed.json").write_text(json.dumps(held))


def as_text(folder: Path) -> None:
    lines = []
    for file in dict.fromkeys(f for f, *_ in SINGLE):
        lines.append(f"{NAMES[file]}; N; A:2.3; V:4.0; D:2.5;")
        lines += [f"{w}; Sad; ; A:{cell(a)}; V:{cell(v)}; D:{cell(d)};" for f, w, a, v, d in SINGLE if f == file]
        lines.append("")
    (folder / "labels.txt").write_text("\n".join(lines))


def check(table: pd.DataFrame) -> None:
    """Against numpy, utterance by utterance."""
    for index in range(len(table)):
        given = np.array([values for file, _, *values in SINGLE if file == index], dtype=float).reshape(-1, 3)
        for column, name in enumerate(("arousal", "valence", "dominance")):
            values = given[:, column][~np.isnan(given[:, column])]
            expected = [
                np.mean(values) if len(values) else np.nan,
                np.std(values, ddof=1) if len(values) > 1 else np.nan,
                len(values) or np.nan,
            ]
            told = table.loc[index, [f"{name}_mean", f"{name}_sd", f"{name}_n"]].astype(float)
            np.testing.assert_allclose(told, expected, rtol=1e-12, err_msg=f"{index} {name}")


FORMS = (as_columns, as_one_cell, as_json, as_json_of_lists, as_text)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_msp_podcast(tmp_path: Path, form) -> None:
    root = make_msp_podcast(tmp_path)
    without = read_corpus(f"msp-podcast:{root}")
    form(root / "Labels")
    corpus = read_corpus(f"msp-podcast:{root}")
    check(corpus.utterances)
    assert any("single ratings of 3 of 6 utterances" in note for note in corpus.notes)
    columns = [name for name in corpus.utterances if name not in RATERS]
    pd.testing.assert_frame_equal(corpus.utterances[columns], without.utterances[columns])
    assert corpus.sha256 != without.sha256


@pytest.mark.parametrize(
    ("file", "text", "parts"),
    [
        ("labels_detailed.csv", "FileName,EmoDetail\na.wav,none\n", ["row 1", "'none'"]),
        ("labels_detailed.csv", "FileName,EmoDetail\na.wav,W1; N; A:x; V:1; D:1;\n", ["row 1", "arousal", "'x'"]),
        ("labels_detailed.csv", "FileName,Workers,EmoAct\na.wav,W1,3\n", ["no column emoval, emodom"]),
        ("labels_detailed.csv", "FileName,EmoDetail\na.wav\n", ["cannot be read as CSV"]),
        ("labels_detailed.csv", "FileName,a\rEmoDetail\na.wav,b\n", ["line 1", "cannot be read as CSV"]),
        ("labels_detailed.csv", "FileName,FileName,EmoDetail\na.wav,a.wav,b\n", ["once each"]),
        ("labels_detailed.csv", "a,b\n1,2\n", ["FileName", "columns: a, b"]),
        ("labels_detailed.json", '{"a.wav": {"W1": 3}}', ["'a.wav'"]),
        ("labels_detailed.json", '{"a.wav": {"W1": {"EmoAct": "high"}}}', ["'a.wav'", "W1", "'high'"]),
        ("labels.txt", "a.wav; N; A:1; V:1; D:1;\nW1 says nothing\n", ["line 2", "'W1 says nothing'"]),
    ],
)
def test_what_is_no_rating_is_refused(tmp_path: Path, file: str, text: str, parts: list[str]) -> None:
    root = make_msp_podcast(tmp_path, audio=False)
    (root / "Labels" / file).write_text(text)
    with pytest.raises(UserError) as caught:
        read_corpus(f"msp-podcast:{root}")
    for part in (file, *parts):
        assert part in str(caught.value)


def test_iemocap(tmp_path: Path) -> None:
    """A-E lines count, an actor's own A-F does not, and what is no rating is counted."""
    root = make_iemocap(tmp_path)
    path = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro91.txt"
    path.write_text(
        path.read_text() + "A-E1:\tval 2; act 5; dom  4;\t()\nA-E2:\tval 1; act 4;\t(quick; loud)\nA-E4:\tnone\t()\n"
    )
    corpus = read_corpus(f"iemocap:{root}")
    table = corpus.utterances.set_index("id")
    first = table.loc["Ses01F_impro91_F000"]
    assert [first[name] for name in RATERS if name.endswith("mean")] == [2, 3, 2]
    assert first["arousal_n"] == first["dominance_n"] == 1
    assert np.isnan(first["arousal_sd"])
    last = table.loc["Ses01F_impro91_M000"]
    np.testing.assert_allclose(
        last[list(RATERS)].astype(float), [4.5, np.sqrt(0.5), 2, 1.5, np.sqrt(0.5), 2, 4, np.nan, 1]
    )
    assert np.isnan(table.loc["Ses01F_impro91_F001"]["dominance_mean"])
    assert any("1 lines of raters were not understood: Ses01F_impro91.txt line 17" in note for note in corpus.notes)


def test_who_rates_twice_counts_once() -> None:
    notes: list[str] = []
    ratings = np.array([[1.0, 2, 3], [3.0, 2, np.nan], [5.0, 5, 5], [4.0, 4, 4], [4.0, 4, 4]])
    summary = summarise(["a", "a", "a", "b", "b"], ["x", "x", "y", "", ""], ratings, notes)
    np.testing.assert_allclose(summary.loc["a"], [3.5, np.sqrt(4.5), 2, 3.5, np.sqrt(4.5), 2, 4, np.sqrt(2), 2])
    # Two people whom nobody named are two.
    np.testing.assert_allclose(summary.loc["b"], [4, 0, 2, 4, 0, 2, 4, 0, 2])
    assert notes == ["2 ratings are by somebody who rated the utterance more than once: counted as 1, with their means"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        write_wav(tmp_path / f"{name}.wav", seed=seed)
    return write_csv(tmp_path / "m.csv", ("path", "arousal"), [("a.wav", 3), ("b.wav", 4)])


@pytest.mark.slow
def test_a_table_beside_any_corpus(tmp_path: Path, manifest: Path, capsys) -> None:
    """From the command line into the cache."""
    from emoprobe.cli.extract import main

    rows = [("a", "r1", 2, ""), ("a", "r2", 4, 1), ("c", "r1", 5, 5)]
    ratings = write_csv(tmp_path / "ratings.csv", ("id", "rater", "Arousal", "valence"), rows)
    out = tmp_path / "states.h5"
    assert main(["--corpus", str(manifest), "--ratings", str(ratings), "--out", str(out), "--pool", "mean"]) == 0
    said = capsys.readouterr().out
    assert "ratings.csv: single ratings of 1 of 2 utterances" in said
    assert "1 rated utterances are not among them: c" in said
    with HiddenStateCache(out) as cache:
        table = cache.utterances
        assert f"--ratings {ratings}" in cache.repair_command
    np.testing.assert_allclose(
        table.loc[0, list(RATERS)].astype(float), [3, np.sqrt(2), 2, 1, np.nan, 1] + [np.nan] * 3
    )
    assert table.loc[1, list(RATERS)].isna().all()
    # The same again is the same corpus, and no other than it was.
    assert main(["--corpus", str(manifest), "--ratings", str(ratings), "--out", str(out), "--pool", "mean"]) == 0
    assert "is complete" in capsys.readouterr().out


def test_a_cache_without_ratings_has_no_such_columns(tmp_path: Path, manifest: Path) -> None:
    import h5py

    from emoprobe.extract.extraction import extract

    extract(read_corpus(str(manifest)), out=tmp_path / "states.h5", statistics=("mean",), progress=False).close()
    with h5py.File(tmp_path / "states.h5") as file:
        assert not set(RATERS) & set(file["utterances"])
    with HiddenStateCache(tmp_path / "states.h5") as cache:
        assert cache.utterances[list(RATERS)].isna().all(axis=None)


@pytest.mark.parametrize(
    ("header", "rows", "parts"),
    [
        (("id", "rater"), [("a", "r")], ["columns id, rater"]),
        (("rater", "arousal"), [("r", 1)], ["columns id, rater"]),
        (("id", "arousal"), [("a", "high")], ["line 2", "'arousal'", "'high'"]),
        (("id", "arousal"), [("z", 1)], ["none of its ids", "z", "a, b"]),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, manifest: Path, header, rows, parts: list[str]) -> None:
    ratings = write_csv(tmp_path / "ratings.csv", header, rows)
    with pytest.raises(UserError) as caught:
        read_corpus(str(manifest), ratings=ratings)
    for part in (str(ratings), *parts):
        assert part in str(caught.value)


def test_a_manifest_may_have_the_columns_itself(tmp_path: Path) -> None:
    """As `probe-transcribe` writes them."""
    numbers = [0.1 + 0.2, 1 / 3, 7]
    write_csv(tmp_path / "m.csv", ("path", *RATERS), [("a.wav", *numbers, *numbers, "", "", "")])
    corpus = read_corpus(str(tmp_path / "m.csv"))
    np.testing.assert_array_equal(corpus.utterances[list(RATERS)].to_numpy()[0], [*numbers, *numbers, *[np.nan] * 3])
    assert not any("not used" in note for note in corpus.notes)


def test_means_without_labels_are_told_with_the_way_to_take_them(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("file,arousal_mean,valence_mean,valence\na.wav,2,3,3\nb.wav,4,5,5\n")
    told = [note for note in read_manifest(path).notes if "--columns arousal=arousal_mean" in note]
    assert len(told) == 1
    assert "valence" not in told[0]
    taken = read_manifest(path, columns={"arousal": "arousal_mean"})
    assert list(taken.utterances["arousal"]) == [2, 4]
    assert not any("means of single ratings" in note for note in taken.notes)
