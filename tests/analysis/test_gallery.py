"""The gallery that the README shows is what `make demo` draws, from the results that stand beside it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from emoprobe.analysis.figures.drawing import draw_figures
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.probe.results import load_results

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "figures"
#: Baselines that every cache has, whatever is asked for.
ALWAYS = ("mean", "duration", "mfcc", "logmel")


def commands(capsys) -> list[tuple[str, list[str]]]:
    """What `make demo` runs, from the Makefile or from the study that it runs: each command with its words."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    if "study demo" in recipe:
        from emoprobe.cli.study import main

        main(["demo", "--print"])
        recipe = capsys.readouterr().out
    found = [re.search(r"\b(?:probe-|emoprobe )(extract|fit)\b(.*)", line) for line in recipe.splitlines()]
    return [(one.group(1), shlex.split(one.group(2))) for one in found if one]


def values(words: list[str], option: str) -> list[str]:
    """What follows an option, up to the next."""
    if option not in words:
        return []
    rest = words[words.index(option) + 1 :]
    return rest[: next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))]


def test_the_results_of_the_gallery_are_those_of_make_demo(capsys):
    labels, baselines, expected = {}, {}, set()
    for command, words in commands(capsys):
        if command == "extract":
            (cache,) = values(words, "--out") or ["hidden_states.h5"]
            (model,) = values(words, "--model") or ["hubert-nano"]
            seed = values(words, "--random-init")
            labels.setdefault(cache, f"{model} (random {seed[0]})" if seed else model)
            baselines.setdefault(cache, set(ALWAYS)).update(
                name.partition("=")[0] for name in values(words, "--baselines")
            )
            continue
        caches = words[: next(place for place, word in enumerate(words) if word.startswith("--"))]
        (probe,) = values(words, "--probe") or ["ridge"]
        asked = values(words, "--dim")
        dimensions = list(DIMENSIONS) if asked == ["all"] else asked
        if "--target" in words:
            probe, dimensions = "logistic", ["emotion"]
        for cache in caches or ["hidden_states.h5"]:
            expected |= {(labels[cache], name, one) for one in dimensions for name in (probe, *baselines[cache])}
    assert expected
    there = {(run["model"], run["probe"], run["dimension"]) for run in load_results(GALLERY / "results").protocol}
    assert there == expected


@pytest.mark.slow
def test_the_gallery_is_drawn_from_its_results(tmp_path):
    from PIL import Image, ImageChops

    drawn = {path.name: path for path in draw_figures(GALLERY / "results", tmp_path, formats=["png"])}
    assert set(drawn) == {path.name for path in GALLERY.glob("*.png")}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in GALLERY.iterdir() if path.is_file()}
    for name, path in drawn.items():
        caption = path.with_suffix(".txt").read_text()
        assert (GALLERY / name).with_suffix(".txt").read_text() == caption, name
        with Image.open(path) as new, Image.open(GALLERY / name) as shown:
            assert shown.text["Description"] in caption
            # Another version of matplotlib sets letters elsewhere.
            if shown.text["Software"] == new.text["Software"]:
                assert ImageChops.difference(new.convert("RGB"), shown.convert("RGB")).getbbox() is None, name
