"""What docs/demo_corpus.md says of the demo is what the committed results hold."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from emoprobe.demo.corpus import CorpusSettings

ROOT = Path(__file__).parents[2]
PAGE, SCORES = ROOT / "docs" / "demo_corpus.md", ROOT / "figures" / "results" / "scores.csv"
DIMENSIONS = ("arousal", "valence", "dominance")
CELL = re.compile(r"(−?\d\.\d{3}) \[(−?\d\.\d{3}), (−?\d\.\d{3})\](?: \(layer (\d+)\))?")


@pytest.fixture(scope="module")
def scores():
    """Of the test part: (model, dimension, features, layer) to CCC and its interval."""
    with SCORES.open(encoding="utf-8", newline="") as file:
        return {
            (row["model"], row["dimension"], row["features"], int(row["layer"])): tuple(
                round(float(row[name]), 3) for name in ("ccc", "ccc_low", "ccc_high")
            )
            for row in csv.DictReader(file)
            if row["split"] == "test" and row["fold"] == "all" and row["probe"] != "weighted"
        }


def row_of(label: str) -> list[str]:
    """Cells of the first row of the page that begins so."""
    (line, *_) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def numbers(cell: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d\.\d{3}", cell)]


@pytest.mark.parametrize(
    ("label", "model", "features"),
    [
        ("`hubert-nano`", "hubert-nano", "mean+std"),
        ("`distilhubert-nano`", "distilhubert-nano", "mean+std"),
        ("eGeMAPS", "hubert-nano", "egemaps"),
        ("MFCC", "hubert-nano", "mfcc"),
        ("the words alone (MiniLM)", "hubert-nano", "text"),
    ],
)
def test_scores_and_intervals(scores, label, model, features):
    for dimension, cell in zip(DIMENSIONS, row_of(label), strict=True):
        layer = CELL.fullmatch(cell)[4]
        assert scores[model, dimension, features, -1 if layer is None else int(layer)] == tuple(numbers(cell))


@pytest.mark.parametrize(
    ("label", "model", "layers"),
    [
        ("its layers 0, 6, 12", "hubert-nano", (0, 6, 12)),
        ("its layers 0, 1, 2", "distilhubert-nano", (0, 1, 2)),
        ("random twin, layers 0, 6, 12", "hubert-nano (random 0)", (0, 6, 12)),
    ],
)
def test_curves(scores, label, model, layers):
    for dimension, cell in zip(DIMENSIONS, row_of(label), strict=True):
        assert [scores[model, dimension, "mean+std", layer][0] for layer in layers] == numbers(cell)


def test_the_seed_that_was_drawn_is_the_one_that_the_page_names():
    assert f"hash, {CorpusSettings.test_seed:08x}," in PAGE.read_text(encoding="utf-8")
