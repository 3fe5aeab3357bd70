"""Sessions, given folds and unknown speakers from the command line: what is computed, printed and reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emoprobe.cli import extract, fit, report
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.probe.results import load_results
from emoprobe.testing.caches import write_cache
from tests.corpus_fixtures import make_iemocap_sessions

QUICK = ["--permutations", "0", "--no-mdl", "--resamples", "100", "--penalties", "1", "100", "--quiet"]
SESSIONS = [f"Session{number}" for number in range(1, 6)]


@pytest.mark.slow
def test_iemocap_leaves_one_session_out(tmp_path: Path, capsys) -> None:
    root = make_iemocap_sessions(tmp_path / "iemocap")
    cache, results = str(tmp_path / "c.h5"), tmp_path / "results"
    assert extract.main(["--corpus", f"iemocap:{root}", "--model", "hubert-nano", "--out", cache, "--quiet"]) == 0
    with HiddenStateCache(cache) as opened:
        table = opened.utterances
    assert list(table["group"]) == list(table["fold"]) == [f"Session{name[3:5].lstrip('0')}" for name in table["id"]]
    arguments = [cache, "--dim", "valence", "--out", str(results), "--figures", str(tmp_path / "figures"), *QUICK]
    capsys.readouterr()
    assert fit.main(arguments) == 0
    said = capsys.readouterr().err
    assert "the corpus names 5 folds, which are used as they are (Session1, Session2, Session3, Session4, Ses" in said
    assert "no speaker and no group is in two folds" in said
    assert "one group is left out at a time" in said
    assert "intervals resample groups" in said
    found = load_results(results)
    scores = found.select(probe="ridge", layer=3)
    assert list(scores["fold"]) == ["all", *SESSIONS]
    assert list(scores["speakers"]) == [10, *[2] * 5]
    assert set(scores["unit"]) == {"group"}
    assert list(scores["units"]) == [5, *[1] * 5]
    predictions = found.predictions[found.predictions["probe"] == "ridge"]
    assert (predictions["fold"] == "Session" + predictions["id"].str[4:5]).all()
    assert (predictions["group"] == predictions["fold"]).all()


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> Path:
    """Results of a corpus whose folds share speakers, some of them unknown, and sessions."""
    folder = tmp_path_factory.mktemp("leaky")
    rows = np.arange(160)
    speakers = np.array([f"s{row % 16:02d}" for row in rows], dtype=object)
    speakers[rows % 16 == 3] = ""
    write_cache(
        folder / "c.h5",
        n=160,
        speaker=speakers,
        gender=["male" if row % 16 == 3 else "female" for row in rows],
        group=[f"dialogue {row % 8}" for row in rows],
        fold=[str(row % 5) for row in rows],
    )
    arguments = [str(folder / "c.h5"), "--dim", "all", "--out", str(folder / "results")]
    assert fit.main([*arguments, "--figures", str(folder / "figures"), *QUICK]) == 0
    return folder


@pytest.mark.slow
def test_the_report_tells_what_folds_share_and_what_is_resampled(leaky: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert report.main([str(leaky / "results"), "--out", str(out), "--quick", "--quiet"]) == 0
    (page,) = out.glob("*.md")
    text = " ".join(page.read_text().split())
    assert "Leakage: fold 0 and the other folds share 15 speakers (s00" in text
    assert "Leakage: fold 0 and the other folds share 8 groups (dialogue 0" in text
    assert "shares speakers and groups between its parts" in text
    assert "95 % jackknife over groups" in text
    assert "95 % bootstrap over groups" in text  # of the baseline without features
    assert "15 speakers in 8 groups" in text
    assert "Intervals resample groups, the same ones for both genders" in text
    # Ten utterances of nobody are not one speaker.
    assert "male 10 utterances of unknown speakers" in text
    assert "female 150 utterances of 15 speakers" in text
    assert "10 of 160 utterances have no speaker" in text
    assert "rest on 25 speakers in 8 groups, which are resampled" in text
