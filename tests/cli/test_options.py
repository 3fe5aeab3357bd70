"""Numbers that no command could end with are refused before anything is read."""

from __future__ import annotations

import pytest

from emoprobe.analysis import relevance_centroids
from emoprobe.analysis.measures.relevance_settings import RelevanceSettings
from emoprobe.cli.command import dimensions_of
from emoprobe.cli.emoprobe import main
from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.cli.fit import parser as fit_parser
from emoprobe.demo.corpus import make_corpus
from emoprobe.demo.pretrain_settings import PretrainSettings
from emoprobe.distil.distiller import DistillSettings
from emoprobe.endtoend.settings import TrainingSettings
from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.options import MOST_REPEATS
from emoprobe.probe.results import Results, update_results
from emoprobe.probe.settings import FitSettings
from tests.cli.test_commandline import parser_of

COUNTS = [
    *((FitSettings, name, least) for name, least in (("seeds", 1), ("resamples", 0), ("permutations", 0))),
    *((RelevanceSettings, name, least) for name, least in (("seeds", 1), ("iterations", 1), ("resamples", 0))),
    *((TrainingSettings, name, 1) for name in ("epochs", "patience", "seeds")),
    *((TrainingSettings, name, 0) for name in ("folds", "resamples")),
    *((DistillSettings, name, least) for name, least in (("blocks", 1), ("steps", 1), ("warmup", 0))),
    *((PretrainSettings, name, least) for name, least in (("steps", 1), ("warmup", 0), ("recluster", 0))),
]


@pytest.mark.parametrize(("settings", "name", "least"), COUNTS)
def test_a_count_has_two_ends(settings, name, least):
    for value in (least, 7):
        assert getattr(settings(**{name: value}), name) == value
    option = f"--{name}"
    with pytest.raises(UserError, match=f"^{option} {least - 1} must be"):
        settings(**{name: least - 1})
    with pytest.raises(UserError, match=f"^{option} 1e\\+22 has no end: ask for at most {MOST_REPEATS:,}"):
        settings(**{name: 10**22})


@pytest.mark.parametrize(
    "settings", [FitSettings, RelevanceSettings, TrainingSettings, DistillSettings, PretrainSettings]
)
def test_a_seed_has_two_ends(settings):
    last = 2**32 - getattr(settings(), "seeds", 1)
    for seed in (0, last):
        assert settings(seed=seed).seed == seed
    for seed in (-1, last + 1, 10**22):
        with pytest.raises(UserError, match=rf"^--seed {seed} must be from 0 to 2\*\*32 - {2**32 - last}"):
            settings(seed=seed)


def test_the_end_of_the_seeds_is_that_of_the_last_of_them():
    assert TrainingSettings(seed=2**32 - 1).seed == 2**32 - 1
    assert TrainingSettings(seed=2**32 - 3, seeds=3).seeds == 3
    with pytest.raises(UserError, match=r"must be from 0 to 2\*\*32 - 3, so that 3 seeds can follow each other"):
        TrainingSettings(seed=2**32 - 2, seeds=3)


def test_a_function_takes_no_more_than_its_command(tmp_path):
    for wrong, told in (({"seed": -1}, "--seed -1 must be"), ({"resamples": -3}, "--resamples -3 must be 0 or more")):
        with pytest.raises(UserError, match=told):
            relevance_centroids(Results.empty(), **wrong)
    for wrong, told in (({"seed": -1}, "--seed -1 must be"), ({"workers": 0}, "--workers 0 must be at least 1")):
        with pytest.raises(UserError, match=told):
            make_corpus(tmp_path / "demo", **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("centroid", ["results", "--seed", "-1"]),
        ("demo-evaluate", ["--seeds", "0"]),
        ("demo-evaluate", ["--limit", "-1"]),
        ("demo-evaluate", ["--phones", "-1", "5"]),
        ("demo-pretrain", ["synthetic", "--seed", "-1"]),
        ("demo-pretrain", ["synthetic", "--hours", "nan"]),
        ("demo-pretrain", ["synthetic", "--workers", "0"]),
        ("demo-teach", ["--budget", "0"]),
        ("demo-teach", ["--seed", "-1"]),
        ("demo-teach", ["--carry", "speech"]),
        ("demo-corpus", ["--seed", "-1"]),
        ("demo-corpus", ["--workers", "0"]),
        ("distill", ["--threads", "-1"]),
        ("distill", ["--seed", "-1"]),
        ("distill", ["--map", "3-1"]),
        ("distill", ["--noise", "2"]),
        ("distill", ["--budget", "60"]),
    ],
)
def test_a_command_tells_it_in_one_line(command, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if command == "centroid":
        update_results(tmp_path / "results", Results.empty())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([command, *given]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert given[-2].removeprefix("--") in error or "phones" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "dimensions", "caches"),
    [
        (["--dim", "arousal", "valence"], ("arousal", "valence"), []),
        (["a.h5", "--dim", "valence"], ("valence",), ["a.h5"]),
        (["--dim", "valence", "a.h5", "b.h5"], ("valence",), ["a.h5", "b.h5"]),  # as when it took one name
        (["--dim", "valence", "arousal", "here", "--seed", "3"], ("valence", "arousal"), ["here"]),
        (["--dim", "valence", "--dim", "arousal", "valence"], ("valence", "arousal"), []),
        (["--dim", "all", "x/y"], DIMENSIONS, ["x/y"]),
        ([], (), []),
    ],
)
def test_a_place_may_stand_behind_the_dimensions(words, dimensions, caches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    given = fit_parser().parse_args(words)
    assert dimensions_of(given.dim) == dimensions
    assert list(map(str, given.caches)) == caches
    assert given.seed == (3 if "--seed" in words else 0)


def test_a_misspelt_dimension_is_none_of_the_places(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        fit_parser().parse_args(["--dim", "valence", "arousl"])
    assert "invalid choice: 'arousl'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "relevance", "report", "train"])
def test_every_command_takes_several_dimensions(command, monkeypatch):
    places = ["cache.h5"] if command == "relevance" else []
    given = parser_of(command, monkeypatch).parse_args([*places, "--dim", "arousal", "valence"])
    asked = given.dim if hasattr(given, "dim") else given.dimensions
    assert tuple(asked) == ("arousal", "valence")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["extract", "--corpus", "none.csv", "--baselines", "egemap"], "no baseline 'egemap': did you mean egemaps?"),
        (["report", "a.h5"], "a.h5 is a cache, and a report is of results: probe-fit a.h5, then probe-report results"),
        (["plot", "a.h5"], "a.h5 is a cache, and figures are of results: probe-fit a.h5 draws them as well"),
    ],
)
def test_what_is_given_in_the_wrong_place_is_told_before_anything_is_read(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"")
    assert emoprobe(words) == 2
    assert told in capsys.readouterr().err
