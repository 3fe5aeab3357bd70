"""Questions asked by name: what is kept, what is asked anew, what is drawn and told of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis import INQUIRIES, CeilingSettings, ask, draw_figures, load_answer, load_answers
from emoprobe.analysis.figures.answers import ANSWERS
from emoprobe.analysis.measures.inquiry import SUBJECT
from emoprobe.analysis.report import write_report
from emoprobe.analysis.report.bibliography import REFERENCES
from emoprobe.analysis.report.sections.order import SECTIONS
from emoprobe.cli.ask import main, parser_of
from emoprobe.cli.command import settings_of
from emoprobe.cli.plot import main as plot_main
from emoprobe.errors import UserError
from emoprobe.probe import fit_layers
from emoprobe.testing import write_cache

DIMENSIONS = ("arousal", "valence", "dominance")


def rated_cache(path: Path, *, noise: float = 0.4, raters: int = 5, seed: int = 0, **more) -> pd.DataFrame:
    """A cache whose labels are means of so many ratings, each with an error of variance 1; their table."""
    truth = write_cache(path, noise=noise, seed=seed, **more)
    rng = np.random.default_rng(100 + seed)
    columns, single = {}, []
    for name in DIMENSIONS:
        ratings = truth[name].to_numpy()[:, None] + rng.standard_normal((len(truth), raters))
        columns |= {name: ratings.mean(1), f"{name}_mean": ratings.mean(1)}
        columns |= {f"{name}_sd": ratings.std(1, ddof=1), f"{name}_n": raters}
        single.append(ratings)
    write_cache(path, noise=noise, seed=seed, **more, **columns)
    stacked = np.stack(single)  # (dimensions, utterances, raters)
    return pd.DataFrame(
        {
            "id": np.repeat(truth["id"], raters),
            "rater": np.tile([f"r{k}" for k in range(raters)], len(truth)),
            **{name: stacked[k].ravel() for k, name in enumerate(DIMENSIONS)},
        }
    )


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Path:
    """A cache with ratings, its results, and the answer to the question of the ceiling."""
    folder = tmp_path_factory.mktemp("asked")
    rated_cache(folder / "planted.h5", n=120, layers=3)
    fit_layers(folder / "planted.h5", out=folder / "results", permutations=0, mdl=False)
    ask("ceiling", [folder / "planted.h5"], results=folder / "results")
    return folder


@pytest.mark.parametrize("name", INQUIRIES)
def test_every_inquiry_has_its_settings_figure_section_and_sources(name):
    inquiry = INQUIRIES[name]
    assert inquiry.name == name
    assert list(inquiry.columns)[: len(SUBJECT)] == list(SUBJECT)
    assert is_dataclass(inquiry.settings)
    assert set(inquiry.options) == {field.name for field in fields(inquiry.settings)}
    assert settings_of(parser_of(inquiry).parse_args([]), inquiry.settings) == inquiry.settings()
    assert name in ANSWERS
    assert name in {kind.name for kind in SECTIONS}
    assert set(inquiry.cites) <= set(REFERENCES)
    assert inquiry.question.endswith("?")
    assert "``" not in parser_of(inquiry).format_help()


def test_an_answer_stands_beside_the_results_with_its_protocol(asked):
    answer = load_answer(asked / "results", "ceiling")
    assert list(answer.columns) == list(INQUIRIES["ceiling"].columns)
    read = pd.read_csv(asked / "results" / "ceiling.csv")
    assert np.allclose(read["ceiling"], answer["ceiling"])
    (entry,) = json.loads((asked / "results" / "ceiling.json").read_text())
    assert entry["subjects"] == [["planted", "handmade"]]
    assert entry["settings"]["resamples"] == 2000
    assert entry["caches"][0]["provenance"]["corpus"]["name"] == "handmade"
    shutil.copytree(asked / "results", asked / "csv_alone")
    (asked / "csv_alone" / "ceiling.parquet").unlink()
    pd.testing.assert_frame_equal(load_answer(asked / "csv_alone", "ceiling"), answer)


@pytest.mark.slow
def test_what_stands_is_not_asked_again_and_what_changed_is(asked, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(asked / "results", folder)
    said: list[str] = []

    def again(settings=None, **more) -> list[str]:
        said.clear()
        ask("ceiling", [asked / "planted.h5"], settings, results=folder, say=said.append, **more)
        return [line for line in said if "stands in" in line]

    assert again()
    assert not again(overwrite=True)
    assert not again(CeilingSettings(resamples=300))
    assert again(CeilingSettings(resamples=300))
    fit_layers(asked / "planted.h5", out=folder, permutations=0, mdl=False, penalties=(1.0, 10.0))
    assert not again(CeilingSettings(resamples=300))  # of other scores
    rated_cache(tmp_path / "other.h5", n=120, layers=3, label="other")
    ask("ceiling", [tmp_path / "other.h5"], results=folder)
    assert set(load_answer(folder, "ceiling")["model"]) == {"planted", "other"}
    assert again(CeilingSettings(resamples=300))


def test_files_that_are_not_ours_are_left_as_they_are(asked, tmp_path):
    for name in ("ceiling.csv", "ceiling.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("[1, 2]\n")
        with pytest.raises(UserError, match=r"ceiling\.(csv|json)"):
            ask("ceiling", [asked / "planted.h5"], results=folder)
        assert (folder / name).read_text() == "[1, 2]\n"
        assert sorted(path.name for path in folder.iterdir()) == [name]
    folder = tmp_path / "cut"
    shutil.copytree(asked / "results", folder)
    (folder / "ceiling.parquet").unlink()
    (folder / "ceiling.csv").write_bytes((folder / "ceiling.csv").read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged or not of this program"):
        load_answers([folder])


def test_a_question_cannot_be_asked_of_the_same_twice_or_of_none(asked):
    with pytest.raises(UserError, match="both of planted on handmade"):
        ask("ceiling", [asked / "planted.h5"] * 2, results=asked / "results")
    with pytest.raises(UserError, match="no cache"):
        ask("ceiling", [], results=asked / "results")
    with pytest.raises(UserError, match="no question 'floor'"):
        ask("floor", [asked / "planted.h5"])


@pytest.mark.slow
def test_what_cannot_be_answered_is_left_out_and_told(asked, tmp_path, capsys):
    write_cache(tmp_path / "unrated.h5", n=40, layers=2, label="unrated")
    where = ["--results", str(tmp_path / "results"), "--figures", str(tmp_path / "figures"), "--quiet"]
    assert main(["ceiling", str(tmp_path / "unrated.h5"), str(asked / "planted.h5"), *where]) == 3
    said = capsys.readouterr()
    assert "left out: unrated on handmade: " in said.err
    assert "planted, arousal" in said.out
    assert set(load_answer(tmp_path / "results", "ceiling")["model"]) == {"planted"}
    assert main(["ceiling", str(tmp_path / "unrated.h5"), *where]) == 2
    assert "--ratings FILE" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_answers_draws_and_says(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    results = asked / "results"
    assert main(["ceiling", "--results", str(results), "--figures", "drawn", "--quiet", "--dim", "valence"]) == 0
    said = " ".join(capsys.readouterr().out.split())  # a sentence is wrapped at the width of the screen
    assert "valence" in said
    assert "the highest CCC that is to be expected of any model is" in said
    assert (tmp_path / "drawn" / "ceiling_planted.png").is_file()
    assert main(["ceiling", "--results", str(tmp_path / "none")]) == 2
    assert "there is no cache hidden_states.h5" in capsys.readouterr().err
    ask("ceiling", [asked / "planted.h5"], results=results)  # of all dimensions, as before
    assert plot_main([str(results), "--figures", "again", "--format", "svg"]) == 0
    assert (tmp_path / "again" / "ceiling_planted.svg").is_file()


@pytest.mark.slow
def test_the_report_shows_what_was_asked_and_nothing_else(asked, tmp_path):
    write_report(asked / "results", out=tmp_path / "with", quick=True)
    page = (tmp_path / "with" / "report.md").read_text()
    assert "Noise ceiling" in page
    assert "Spearman, 1910" in page
    shutil.copytree(asked / "results", tmp_path / "results")
    for path in (tmp_path / "results").glob("ceiling.*"):
        path.unlink()
    write_report(tmp_path / "results", out=tmp_path / "without", quick=True)
    assert "Noise ceiling" not in (tmp_path / "without" / "report.md").read_text()
    stems = {path.stem for path in draw_figures(asked / "results", tmp_path / "drawn", formats=["svg"])}
    assert "ceiling_planted" in stems
