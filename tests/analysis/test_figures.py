"""Figures as files, and ``probe-plot``: names, bytes, errors."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emoprobe.analysis.figures import drawing as figures_module
from emoprobe.analysis.figures.drawing import draw_figures
from emoprobe.analysis.figures.files import file_stems
from emoprobe.cli.plot import main
from emoprobe.errors import UserError
from emoprobe.probe.results import KEY, PREDICTIONS, SCORES, WEIGHTS, Results, table


def small_results(model="base", last=3, corpus="speech", *, probes=("ridge",), weights=True, emotion=False) -> Results:
    rng = np.random.default_rng(len(model))
    places = [(dimension, probe) for dimension in ("arousal", "valence") for probe in probes]
    places += [("emotion", "logistic")] if emotion else []
    same = {"model": model, "corpus": corpus, "fold": "all", "seed": 0, "split": "test", "n": 40, "speakers": 4}
    scores = []
    for dimension, probe in places:
        for layer in range(last + 1):
            value = rng.uniform(0.2, 0.8)
            measures = {"uar": value} if dimension == "emotion" else {"ccc": value, "pearson": value, "rmse": value}
            row = {"dimension": dimension, "probe": probe, "features": "mean", "layer": layer}
            scores.append({**same, **row, **measures})
    learned = [
        {
            "model": model,
            "corpus": corpus,
            "dimension": "valence",
            "layer": layer,
            "seed": seed,
            "weight": 1 / (last + 1),
        }
        | {"weight_normed": 1 / (last + 1), "probe": "weighted", "features": "mean"}
        for seed in range(2)
        for layer in range(last + 1)
    ]
    scores = table(scores, SCORES)
    protocol = scores[list(KEY)].drop_duplicates().to_dict("records")
    return Results(scores, table(learned if weights else [], WEIGHTS), protocol, table([], PREDICTIONS))


def names(paths):
    return [path.name for path in paths]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    code = "import sys; from emoprobe.cli.plot import main; sys.exit(main(sys.argv[1:]))"
    # A global style of the user must not show in the figures, so give the process an odd one.
    (folder / "matplotlibrc").write_text("font.size: 23\nlines.linewidth: 9\ntext.usetex: False\n")
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


# Which figures --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_everything_that_the_results_support_is_drawn(tmp_path):
    written = draw_figures(
        small_results(probes=("ridge", "mlp"), emotion=True), tmp_path / "new" / "figures", formats=["svg"]
    )
    assert names(written) == [
        "layers_base.svg",
        "layers_base_mlp.svg",
        "emotion_base.svg",
        "weights_base.svg",
        "heatmap.svg",
        "comparison.svg",
    ]
    beside = [f"{path.stem}{ending}" for path in written for ending in (".txt", ".tex")]
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted([*names(written), *beside])


@pytest.mark.slow
def test_two_models_have_a_figure_of_relative_depth(tmp_path):
    both = small_results("teacher", weights=False).updated(small_results("student", 2, weights=False))
    assert names(draw_figures(both, tmp_path, formats=["png"])) == [
        "layers_teacher.png",
        "layers_student.png",
        "heatmap.png",
        "depth.png",
        "comparison.png",
    ]


@pytest.mark.slow
def test_each_corpus_has_its_own_figures(tmp_path):
    both = small_results(weights=False).updated(small_results(corpus="b/c", weights=False))
    assert names(draw_figures(both, tmp_path, formats=["png"], metric="rmse")) == [
        "layers_base_speech_rmse.png",
        "layers_base_b-c_rmse.png",
        "heatmap_speech_rmse.png",
        "heatmap_b-c_rmse.png",
    ]


@pytest.mark.slow
def test_held_out_parts_are_told_apart_and_development_is_no_result(tmp_path):
    scores = small_results(weights=False).scores
    parts = [scores.assign(split=name) for name in ("development", "test2", "test1")]
    assert names(draw_figures(pd.concat(parts), tmp_path, formats=["png"])) == [
        "layers_base.png",
        "layers_base_test2.png",
        "heatmap.png",
    ]
    assert len(draw_figures(parts[0], tmp_path, formats=["png"])) == 2


def test_weights_alone_are_drawn(tmp_path):
    results = small_results()
    assert names(draw_figures(results.weights, tmp_path, formats=["svg"])) == ["weights_base.svg"]


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing to draw"):
        draw_figures(Results.empty(), tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
    with pytest.raises(UserError, match="'jpg'"):
        draw_figures(small_results(), tmp_path, formats=["jpg"])
    with pytest.raises(UserError, match="'r2'"):
        draw_figures(small_results(), tmp_path, metric="r2")


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bytes_are_the_same_each_time_and_in_another_process(tmp_path):
    results = small_results(weights=False)
    results.save(tmp_path / "results")
    first = draw_figures(results, tmp_path / "a", formats=["png", "svg", "pdf"])
    done = run(tmp_path, "results", "--figures", "b", "--format", "png", "svg", "pdf")
    assert done.returncode == 0, done.stderr
    assert len(first) == 6
    for path in first:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.slow
def test_files_are_what_their_names_say(tmp_path):
    png, svg, pdf = draw_figures(small_results().weights, tmp_path, formats=["png", "svg", "pdf"])
    with Image.open(png) as image:
        assert image.format == "PNG"
        assert image.width == round(3.35 * 300)
        assert "softmax weights" in image.info["Description"]
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert pdf.read_bytes().startswith(b"%PDF-")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["../../up", "/abs", "a<script>&\"'$x$", "--", "nul\x00\x07", "é" * 300, ".."])
def test_no_name_leaves_the_folder_or_breaks_a_file(tmp_path, model):
    folder = tmp_path / "deep" / "figures"
    written = draw_figures(small_results(model, corpus=model).weights, folder, formats=["png", "svg"])
    assert all(path.resolve().parent == folder.resolve() for path in written)
    (caption,) = [f"{path.stem}" for path in written if path.suffix == ".png"]
    assert sorted(names(folder.iterdir())) == sorted([*names(written), f"{caption}.txt", f"{caption}.tex"])
    assert names((tmp_path / "deep").iterdir()) == ["figures"]
    ElementTree.parse(written[1])


def test_names_that_would_be_alike_are_told_apart():
    stems = file_stems([("layers", "a/b"), ("layers", "a:b"), ("layers", "A-B"), ("layers", "c")])
    assert len({stem.casefold() for stem in stems}) == 4
    assert stems[3] == "layers_c"
    assert all(stem.casefold().startswith("layers_a-b-") for stem in stems[:3])
    alone = file_stems([("layers", "a/b"), ("layers", "A-B")])
    assert alone == [stems[0], stems[2]]


@given(st.lists(st.tuples(st.just("layers"), st.text(max_size=200)), max_size=6, unique=True))
@settings(max_examples=200, deadline=None)
def test_any_name_makes_a_safe_file_name(parts):
    stems = file_stems(parts)
    assert len({stem.casefold() for stem in stems}) == len(parts)
    for stem in stems:
        assert stem.isascii()
        assert len(stem) < 200
        assert Path(stem).name == stem
        assert not set(stem) & set('/\\:*?"<>| \0')
        assert ".." not in stem


@pytest.mark.slow
def test_a_figure_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    weights = small_results().weights
    (path,) = draw_figures(weights, tmp_path, formats=["png"])
    before = path.read_bytes()

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures_module.Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        draw_figures(weights.assign(weight=0.5), tmp_path, formats=["png"])
    assert path.read_bytes() == before
    assert sorted(names(tmp_path.iterdir())) == ["weights_base.png", "weights_base.tex", "weights_base.txt"]


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        draw_figures(small_results(), tmp_path / "file")


@pytest.mark.slow
def test_drawing_opens_no_window_and_leaves_no_figure_open(tmp_path):
    small_results(weights=False).save(tmp_path / "results")
    code = (
        "import sys; from emoprobe.analysis import draw_figures;"
        "draw_figures('results', 'figures', formats=['svg']); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_draws_the_results_of_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_results(weights=False).save("results")
    assert main([]) == 0
    *printed, told, following = capsys.readouterr().out.splitlines()
    assert (told, following) == ("4 files in figures.", "next: emoprobe report results")
    assert printed == [str(Path("figures") / name) for name in (
        "layers_base.png", "layers_base.svg", "heatmap.png", "heatmap.svg")]  # fmt: skip
    assert all(Path(line).is_file() for line in printed)


@pytest.mark.slow
def test_command_puts_folders_together(tmp_path, capsys):
    small_results("teacher", weights=False).save(tmp_path / "one")
    small_results("student", 2, weights=False).save(tmp_path / "two")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert main([*folders, "--figures", str(tmp_path / "f"), "--format", "png", "--metric", "pearson"]) == 0
    drawn = [line for line in capsys.readouterr().out.splitlines() if line.endswith(".png")]
    assert names(map(Path, drawn)) == [
        "layers_teacher_pearson.png",
        "layers_student_pearson.png",
        "heatmap_pearson.png",
        "depth_pearson.png",
        "comparison_pearson.png",
    ]


def test_command_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for make, arguments, told in (
        (lambda: None, [], ["results", "probe-fit"]),
        (lambda: Path("empty").mkdir(), ["empty"], ["empty", "probe-fit"]),
        (lambda: Results.empty().save("none"), ["none"], ["nothing to draw"]),
    ):
        make()
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert all(part in error for part in told)
    assert not Path("figures").exists()


@pytest.mark.parametrize("damage", [b"", b"\x00\xff\xfe", b"model,corpus\nx", b"a,b\n1,2,3\n1\n", None])
@pytest.mark.parametrize("name", ["scores", "weights"])
def test_command_names_the_damaged_table(tmp_path, capsys, name, damage):
    small_results().save(tmp_path / "results")
    (tmp_path / "results" / f"{name}.parquet").unlink()
    path = tmp_path / "results" / f"{name}.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") // 2] if damage is None else damage)
    assert main([str(tmp_path / "results"), "--figures", str(tmp_path / "figures")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"{name}.csv" in error
    assert "Traceback" not in error


def test_help_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; from emoprobe.cli.plot import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'matplotlib', 'pandas', 'numpy', 'torch', 'seaborn', 'sklearn', 'transformers'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: probe-plot")
    assert done.stderr.strip() == "[]"


def test_a_new_kind_of_figure_is_one_line(tmp_path, monkeypatch):
    from emoprobe.analysis.figures import drawing
    from emoprobe.analysis.figures.kinds import FigureKind, Wanted

    def needs(results, metric):
        yield Wanted(("all",), {"title": f"{len(results.scores)} scores of {metric}"})

    def draw(results, *, title, figure):
        figure.suptitle(title)

    monkeypatch.setattr(drawing, "FIGURES", (FigureKind("counted", needs, draw),))
    assert draw_figures(small_results(), tmp_path, formats=["svg"]) == [tmp_path / "counted_all.svg"]


def test_kinds_of_figures_have_names_of_their_own():
    from emoprobe.analysis.figures.drawing import FIGURES

    names = [kind.name for kind in FIGURES]
    assert len(set(names)) == len(names)
