"""Labels beyond their scale, and two scales in one column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emoprobe import UserError
from emoprobe.extract.corpora import read_corpus, read_manifest
from emoprobe.extract.corpora.scales import refuse_outside, two_scales
from emoprobe.testing.corpora import write_csv
from tests.corpus_fixtures import make_iemocap

RNG = np.random.default_rng(5)


def of(low: float, high: float, n: int, *, step: float = 0.0) -> np.ndarray:
    values = RNG.uniform(low, high, n)
    return np.round(values / step) * step if step else values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.concatenate([of(1, 5, 90), of(10, 100, 10)]), "90 ratings lie within 1 to 5 and 10 beyond"),
        (np.concatenate([of(1, 7, 999), [70.0]]), "and 1 beyond, at 70"),
        (np.concatenate([of(1, 5, 500), of(0, 100, 500)]), "beyond"),
        (np.concatenate([of(1, 5, 400), of(0, 100, 600)]), "beyond"),
        (np.concatenate([of(0, 1, 80), of(40, 100, 20)]), "80 ratings lie within 0 to 1 and 20 beyond"),
    ],
)
def test_two_scales_are_said_with_their_counts(values: np.ndarray, said: str) -> None:
    assert said in two_scales(RNG.permutation(np.append(values, np.nan)))


@pytest.mark.parametrize(
    "values",
    [
        of(1, 5, 300),
        of(1, 7, 300, step=0.2),
        of(0, 100, 300),
        of(0, 100, 300, step=1),
        of(-1, 1, 300),
        RNG.standard_normal(3000),
        RNG.standard_t(5, 3000),
        RNG.beta(1, 4, 3000) * 100,
        RNG.choice([0.0, 1.0, 2, 3, 4], 300),
        RNG.choice([0.0, 100.0], 3000, p=[0.3, 0.7]) * RNG.uniform(0, 1, 3000),
        RNG.choice(np.arange(1, 10.0), 300),
        np.full(20, np.nan),
        np.array([]),
        np.array([3.0]),
    ],
)
def test_one_scale_is_one(values: np.ndarray) -> None:
    assert two_scales(values) == ""


def test_the_first_row_beyond_a_scale_is_named_and_a_missing_label_is_not() -> None:
    place = {"source": Path("labels.csv"), "column": "act", "where": str}
    refuse_outside(np.array([1, 7, np.nan]), (1, 7), **place)
    with pytest.raises(UserError, match=r"^labels.csv, 3, column 'act': 0.99 is beyond .* 1 to 7 \(and 1 more\)"):
        refuse_outside(np.array([1, 7, np.nan, 0.99, 7.01]), (1, 7), **place)


def test_a_manifest_is_warned_of(tmp_path: Path) -> None:
    rows = [(f"{number}.wav", 1 + number % 5) for number in range(20)] + [("x.wav", 45), ("y.wav", 80)]
    corpus = read_manifest(write_csv(tmp_path / "mine.csv", ("path", "EmoAct"), rows))
    (note,) = [note for note in corpus.notes if "two scales" in note]
    assert note.startswith("column 'EmoAct': 20 ratings lie within 1 to 5 and 2 beyond, from 45 to 80")
    assert corpus.summary().count("two scales") == 1


def test_a_corpus_of_a_known_scale_refuses_the_row(tmp_path: Path) -> None:
    """MSP-Podcast is in tests/extract/test_corpora_licensed.py."""
    root = make_iemocap(tmp_path / "iemocap")
    assert len(read_corpus(f"iemocap:{root}")) > 0
    file = sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))[0]
    lines = file.read_text().splitlines()
    (number, line) = next((k, line) for k, line in enumerate(lines) if line.startswith("["))
    lines[number] = line.rpartition("\t")[0] + "\t[50.0000, 2.5000, 2.5000]"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"{file.name} line {number + 1}, column 'valence': 50 is beyond .*0.5 to 5.5"):
        read_corpus(f"iemocap:{root}")

    header = ("id", "split", "V", "A", "D", "text")
    write_csv(
        tmp_path / "emobank.csv", header, [("1", "train", "3", "3", "3", "Yes."), ("2", "test", "1", "52", "3", "No.")]
    )
    with pytest.raises(UserError, match=r"emobank.csv, line 3, column 'A': 52 is beyond .*1 to 5"):
        read_corpus(f"emobank:{tmp_path}")
