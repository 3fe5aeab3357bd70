"""Labels that count by their reliability: a closed form, a planted answer, and a loss that is one of repeated rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emoprobe.cli.train import main
from emoprobe.endtoend.objective import Objective
from emoprobe.endtoend.raters import reliabilities
from emoprobe.errors import UserError
from tests.training_fixtures import make_encoders_and_corpus

NAN = float("nan")


def rated(mean: list[float], sd: list[float], n: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"valence_sd": sd, "valence_n": n, "valence_mean": mean})


def test_it_is_what_it_says_it_is():
    labels = np.array([[1.0], [7.0], [4.0], [9.0]])
    table = rated(labels[:, 0].tolist(), [1.0, 0.5, NAN, 2.0], [5, 3, 1, 2])
    found = reliabilities(table, labels, ["valence"], np.array([0, 1, 2, 3]))[:, 0]
    normalised = reliabilities(table, 100 * labels - 3, ["valence"], np.array([0, 1, 2, 3]))[:, 0]
    np.testing.assert_array_equal(normalised, found)  # labels may be on a scale of their own
    common = (4 * 1.0 + 2 * 0.25 + 1 * 4.0) / 7
    noise = np.array(
        [(4 * 1 + 4 * common) / 8 / 5, (2 * 0.25 + 4 * common) / 6 / 3, common / 1, (4.0 + 4 * common) / 5 / 2]
    )
    own = labels.var() - noise.mean()
    np.testing.assert_allclose(found, own / (own + noise))


def test_planted_reliabilities_are_found():
    rng = np.random.default_rng(0)
    count = 4000
    truth, sigma, n = rng.normal(0, 1.5, count), rng.choice([0.5, 2.0], count), rng.integers(15, 30, count)
    ratings = [truth[k] + sigma[k] * rng.normal(size=n[k]) for k in range(count)]
    labels = np.array([[one.mean()] for one in ratings])
    table = rated(labels[:, 0].tolist(), [one.std(ddof=1) for one in ratings], n.tolist())
    found = reliabilities(table, labels, ["valence"], np.arange(count))[:, 0]
    planted = 1.5**2 / (1.5**2 + sigma**2 / n)
    # The spread of one utterance is known from 15 to 29 ratings, and so to about a fifth: seen over many, to little.
    for kind in (0.5, 2.0):
        assert found[sigma == kind].mean() == pytest.approx(planted[sigma == kind].mean(), abs=0.02)


def test_where_all_agree_it_is_said_that_nothing_is_weighed():
    said: list[str] = []
    table = rated([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], [3, 3, 3])
    found = reliabilities(table, np.array([[1.0], [2.0], [4.0]]), ["valence"], np.arange(3), say=said.append)
    assert (found == 1).all()
    assert said == ["reliability of valence: 1.00 to 1.00: all alike, so that weighing changes nothing"]


def test_who_has_no_rating_has_the_mean_and_who_has_no_label_none():
    said: list[str] = []
    table = rated([0.0, 9.0, NAN, 4.0, NAN], [1.0, 1.5, NAN, 1.0, NAN], [3, 3, NAN, 3, 0])
    labels = np.array([[0.0], [9.0], [3.0], [NAN], [4.0]])
    found = reliabilities(table, labels, ["valence"], np.array([0, 1, 2, 4]), say=said.append)[:, 0]
    assert found[[2, 4]] == pytest.approx(found[:2].mean())
    assert np.isnan(found[3])
    assert said[0].startswith("reliability of valence: 0.9")
    assert said[1] == "note: 2 labels of valence come with no rating: they have the mean reliability"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"id": [1, 2, 3]}), "--reliability needs single ratings of valence: name their table"),
        (rated([NAN] * 3, [NAN] * 3, [0, 0, NAN]), "--reliability needs single ratings of valence"),
        (
            rated([1.0, 2.0, 4.0], [NAN, NAN, NAN], [1, 1, 1]),
            "no utterance that is trained on has two ratings of valence",
        ),
        (rated([1.0, 2.0, 4.0], [9.0, 9.0, 9.0], [2, 2, 2]), "vary as much as their means"),
        (rated([3.0, 3.0, 3.0], [0.5, 0.9, 0.5], [2, 2, 2]), "do not vary; leave out --reliability, and --ratings"),
    ],
)
def test_what_tells_nothing_is_refused(table, message):
    with pytest.raises(UserError, match=message):
        reliabilities(table, np.array([[1.0], [2.0], [4.0]]), ["valence"], np.arange(3))


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_label_that_counts_twice_is_one_that_is_there_twice(share):
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 2), torch.randn(5, 2)
    labels[1, 0] = NAN
    trust = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    loss = Objective(mse_share=share, weighed=True)(logits, labels, trust)
    for column in range(2):
        rows = torch.repeat_interleave(torch.arange(5), trust[:, column].long())
        repeated = Objective(mse_share=share)(logits[rows, column : column + 1], labels[rows, column : column + 1])
        torch.testing.assert_close(loss[column : column + 1], repeated)


def test_all_alike_is_as_without():
    logits, labels = torch.randn(6, 2), torch.randn(6, 2)
    trust = torch.full((6, 2), 0.3)
    torch.testing.assert_close(
        Objective(mse_share=0.5)(logits, labels, trust), Objective(mse_share=0.5)(logits, labels)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_from_the_command_line(tmp_path, capsys):
    table = make_encoders_and_corpus(tmp_path)
    table.to_csv(tmp_path / "corpus/manifest.csv", index=False)
    rng = np.random.default_rng(0)
    ratings = [
        {"id": Path(row.path).stem, "rater": f"r{k}", "arousal": row.arousal + rng.normal(0, 0.2 + k / 5)}
        for row in table.itertuples()
        for k in range(3)
    ]
    pd.DataFrame(ratings).to_csv(tmp_path / "ratings.csv", index=False)
    words = ["--corpus", str(tmp_path / "corpus/manifest.csv"), "--audio", str(tmp_path / "audio"), "--text", "none"]
    words += ["--dim", "arousal", "--epochs", "1", "--batch", "4", "--resamples", "10", "--reliability"]
    words += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results"), "--quiet"]
    assert main(words) == 2
    assert "--reliability needs single ratings of arousal" in capsys.readouterr().err
    one = pd.DataFrame(ratings).query("rater == 'r0'")
    one.to_csv(tmp_path / "one.csv", index=False)
    assert main([*words, "--ratings", str(tmp_path / "one.csv")]) == 2
    assert "no utterance that is trained on has two ratings of arousal" in capsys.readouterr().err
    (tmp_path / "none.csv").write_text("id,rater,arousal\n")
    assert main([*words, "--ratings", str(tmp_path / "none.csv")]) == 2
    assert "none.csv holds no rating" in capsys.readouterr().err
    assert not (tmp_path / "out/run.json").exists()
    words.remove("--reliability")
    assert main([*words, "--ratings", str(tmp_path / "ratings.csv")]) == 2
    assert "--ratings are for --reliability" in capsys.readouterr().err
    words.append("--reliability")
    assert main([*words, "--ratings", str(tmp_path / "ratings.csv")]) == 0
    run = json.loads((tmp_path / "out/model/config.json").read_text())["run"]
    assert run["training"]["reliability"] is True
