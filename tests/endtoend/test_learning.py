"""The learning curves of a run: as a table, as a figure, and to trackers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from emoprobe.analysis.figures.learning import draw_learning_curves, plot_learning
from emoprobe.cli.train import main
from emoprobe.endtoend.learning import COLUMNS, FILE, learning_curves, write_learning_curves
from emoprobe.errors import UserError


def logged(epoch: int, seed: int) -> list[dict]:
    """What the Trainer logs of an epoch: a line of the training, a line of the development part."""
    step, at = 7 * epoch, float(epoch)
    return [
        {"step": step, "loss": 2.0 / epoch + seed, "grad_norm": 1.0, "learning_rate": 1e-3, "epoch": at},
        {"step": step, "eval_ccc": 0.1 * epoch, "eval_ccc_valence": 0.05 * epoch, "eval_runtime": 3.0, "epoch": at},
    ]


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run with two trainings of three epochs; of the second the last epoch has no score yet."""
    for seed in range(2):
        lines = [line for epoch in (1, 2, 3) for line in logged(epoch, seed)]
        lines = [*lines[: 5 if seed else 6], {"step": 21, "train_runtime": 9.0, "epoch": 3.0}]
        folder = tmp_path / "trained" / "runs" / f"seed{seed}-fold-all"
        folder.mkdir(parents=True)
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "trained"


def test_a_row_is_an_epoch_of_a_training(run):
    table = learning_curves(run)
    assert list(table.columns) == [*COLUMNS, "ccc_valence"]
    assert list(table["training"]) == ["seed0-fold-all"] * 3 + ["seed1-fold-all"] * 3
    np.testing.assert_allclose(table["loss"], [2, 1, 2 / 3, 3, 2, 1 + 2 / 3])
    np.testing.assert_allclose(table["ccc_valence"], [0.05, 0.1, 0.15, 0.05, 0.1, np.nan])
    pd.testing.assert_frame_equal(pd.read_csv(write_learning_curves(run)), table)


def test_what_is_no_log_or_no_table_of_ours_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="holds no training"):
        learning_curves(tmp_path)
    (run / FILE).write_text("mine\n")
    with pytest.raises(UserError, match=r"learning\.csv"):
        write_learning_curves(run)
    with (run / "runs" / "seed1-fold-all" / "log.jsonl").open("a") as file:
        file.write('{"loss": 1}\n')
    with pytest.raises(UserError, match=r"seed1-fold-all/log\.jsonl, line 7"):
        learning_curves(run)


def test_the_figure_shows_the_numbers_of_the_table(run):
    table = learning_curves(run)
    loss, score = plot_learning(table, figure=Figure())
    for axes, column in ((loss, "loss"), (score, "ccc_valence")):
        drawn = [line for line in axes.get_lines() if line.get_gid() == f"learning-{column}"]
        assert len(drawn) == 2
        for line, (_, training) in zip(drawn, table.groupby("training"), strict=True):
            there = training[training[column].notna()]
            np.testing.assert_array_equal(line.get_xydata(), there[["epoch", column]].to_numpy())
    with pytest.raises(UserError, match="nothing to draw"):
        plot_learning(table[:0])


def test_a_run_is_drawn_by_its_name_and_a_run_without_a_table_is_not(run, tmp_path):
    assert draw_learning_curves(run, tmp_path / "figures") == []
    write_learning_curves(run)
    drawn = draw_learning_curves(run, tmp_path / "figures", formats=["svg"])
    assert drawn == [tmp_path / "figures" / "learning_trained.svg"]
    assert b"2 trainings" in drawn[0].read_bytes()


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(tracker, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emoprobe.endtoend.settings.find_spec", lambda name: None)
    assert main(["--report-to", tracker]) == 2
    assert f"pip install {tracker}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--report-to", "tensorbord"])
    assert "did you mean tensorboard?" in capsys.readouterr().err
