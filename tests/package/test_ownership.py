"""No command removes or replaces what it did not write: the tree is compared before and after, for every command."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoprobe.analysis.figures.files import is_own_figure
from emoprobe.claims import claim
from emoprobe.demo import evaluate
from emoprobe.endtoend.exported import own_export_files
from emoprobe.errors import UserError
from emoprobe.ownership import mark, marked, refuse_inputs, refuse_stranger, remove, strangers
from emoprobe.probe.strangers import refuse_other_results
from emoprobe.testing.checkpoints import WORDS, save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus
from emoprobe.testing.recognisers import save_ctc

MINE = b"mine, and I have no copy of it\n"


@dataclass(frozen=True)
class Command:
    """A command as a user would give it, in a folder of its own.

    Attributes
    ----------
    run : callable
        Takes arguments, returns the exit status.
    arguments : tuple of str
        ``{}`` is where the inputs are.
    in_the_way : tuple of str
        Places that it writes to or clears: a stranger there must be refused.
    beside : tuple of str
        Places next to those: a stranger there is in nobody's way, or may be refused.
    inputs : dict of str to str
        What `option` must not name: any of these.
    overwrites : bool
        Whether it has ``--overwrite``.
    """

    run: object
    arguments: tuple[str, ...]
    in_the_way: tuple[str, ...]
    beside: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    option: str = "--out"
    overwrites: bool = False
    done: tuple[int, ...] = field(default=(0, 3))


def _main(command: str):
    def run(arguments):
        from importlib import import_module

        return import_module(f"emoprobe.cli.{command}").main(arguments)

    return run


_TABLES = tuple(f"results/{name}" for name in ("scores.csv", "weights.parquet", "predictions.parquet", "protocol.json"))
_FIT = ("--permutations", "0", "--no-mdl", "--resamples", "0", "--folds", "3", "--quiet")
_CORPUS, _SPEECH, _TEXT = "{}/corpus/manifest.csv", "{}/speech", "{}/text"
_TRAIN = ("--corpus", _CORPUS, "--audio", _SPEECH, "--text", _TEXT, "--epochs", "1", "--resamples", "0", "--quiet")
_DISTIL = ("--steps", "2", "--warmup", "1", "--decay", "1", "--batch-seconds", "2", "--longest", "1", "--threads", "1")

COMMANDS = {
    "probe-extract": Command(
        _main("extract"),
        ("--corpus", _CORPUS, "--model", _SPEECH, "--frames", "--out", "c.h5", "--baselines", f"text={_TEXT}",
         "--quiet"),
        ("c.h5", "c.h5.frames/000000.h5", "c.h5.frames/notes.txt", "c.h5.lock", "c.h5.baselines/text.parquet",
         "c.h5.baselines/text.parts/notes.txt"),
        ("c.h5.baselines/notes.txt", "notes.txt"),
        (_CORPUS, "{}/corpus/u001.wav", _SPEECH),
        overwrites=True,
    ),
    "probe-extract join": Command(
        _main("join"),
        ("{}/1.h5", "{}/2.h5", "--out", "j.h5", "--quiet"),
        ("j.h5", "j.h5.frames/000000.h5", "j.h5.lock"),
        ("j.h5.baselines/notes.txt", "notes.txt"),
        ("{}/1.h5", "{}/2.h5"),
        overwrites=True,
    ),
    "probe-fit": Command(
        _main("fit"),
        ("{}/c.h5", "--dim", "arousal", *_FIT, "--out", "results", "--figures", "figures"),
        (*_TABLES, "results/.lock", "figures/heatmap.png"),
        ("results/notes.txt", "figures/notes.png"),
        ("{}/c.h5",),
        overwrites=True,
    ),
    "probe-train": Command(
        _main("train"),
        (*_TRAIN, "--out", "t", "--results", "results", "--figures", "figures"),
        ("t/run.json", "t/model/config.json", "t/runs/seed0-fold-all/log.jsonl", "t/.model.new/a", "t/.lock",
         "t/notes.txt", "results/scores.csv"),
        ("t/cost.csv", "results/notes.txt"),
        (_CORPUS, _SPEECH, _TEXT),
        overwrites=True,
    ),
    "probe-train --count": Command(
        _main("train"),
        ("--count", "--audio", "distilhubert", "--text", "none", "--out", "t"),
        ("t/cost.csv",),
        ("t/notes.txt", "t/model/config.json"),
    ),
    "probe-train export": Command(
        _main("export"),
        ("{}/t/model", "--corpus", _CORPUS, "--limit", "2", "--out", "onnx", "--quiet"),
        ("onnx/model.onnx", "onnx/config.json", ".onnx.new/a", ".onnx.old/a"),
        ("notes.txt",),
        ("{}/t/model",),
    ),
    "probe-predict": Command(
        _main("predict"),
        ("{}/t/model", "{}/corpus", "--transcripts", _CORPUS, "--device", "cpu", "--out", "p.csv", "--quiet"),
        ("p.csv", "p.csv.journal", "p.csv.lock"),
        ("notes.txt",),
        (_CORPUS, "{}/corpus/u001.wav", "{}/t/model"),
        overwrites=True,
    ),
    "probe-transcribe": Command(
        _main("transcribe"),
        ("--corpus", _CORPUS, "--model", "{}/ctc", "--device", "cpu", "--out", "w.csv", "--quiet"),
        ("w.csv", "w.csv.journal", "w.csv.lock"),
        ("notes.txt",),
        (_CORPUS, "{}/corpus/u001.wav", "{}/ctc"),
        overwrites=True,
    ),
    "probe-distill": Command(
        _main("distill"),
        ("--teacher", _SPEECH, "--corpus", _CORPUS, *_DISTIL, "--out", "student"),
        ("student/config.json", "student/model.safetensors", "student-run/settings.json", "student-run/notes.txt",
         "student-run/checkpoints/checkpoint-1/model.safetensors"),
        ("student/notes.txt",),
        (_SPEECH,),
    ),
    "probe-report": Command(
        _main("report"),
        ("{}/results", "--quick", "--quiet", "--out", "report"),
        ("report/report.html", "report/report.md"),
        ("report/notes.txt", "report/figures/notes.png"),
    ),
    "emoprobe demo-evaluate": Command(
        _main("demo_evaluate"),
        ("--model", _SPEECH, "--corpus", "{}/corpus", "--out", "e.csv", "--figure", "e.png"),
        ("e.csv", "e.png"),
        ("notes.txt",),
    ),
    "probe-plot": Command(
        _main("plot"),
        ("{}/results", "--figures", "figures", "--format", "svg"),
        ("figures/heatmap.svg",),
        ("figures/notes.png",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A corpus, checkpoints, a cache, results and a trained model, each made by its command."""
    folder = tmp_path_factory.mktemp("inputs")
    manifest = make_corpus(folder / "corpus", utterances=12, speakers=6, longest=0.5)
    table = pd.read_csv(manifest)
    rng = np.random.default_rng(0)
    table["transcript"] = [" ".join(rng.choice(WORDS, 4)) for _ in range(len(table))]
    table["split"] = table["speaker"].map(
        {f"s{k}": part for k, part in enumerate(["train"] * 4 + ["development", "test"])}
    )
    table["valence"] = rng.normal(size=len(table))
    table.to_csv(manifest, index=False)
    save_speech_model(folder / "speech", "distilhubert")
    save_text_model(folder / "text")
    save_ctc(folder / "ctc")
    here = folder / "made"
    here.mkdir()
    for name in ("probe-extract", "probe-fit", "probe-train"):
        given = [argument for argument in told(COMMANDS[name], folder) if argument != "--frames"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            assert COMMANDS[name].run(given) in (0, 3)
        for entry in list(here.iterdir()):
            if entry.suffix != ".lock":
                entry.replace(folder / entry.name) if not (folder / entry.name).exists() else None
    corpus = ("--corpus", str(manifest), "--model", str(folder / "speech"))
    for number in (1, 2):
        given = [*corpus, "--shard", f"{number}/2", "--out", str(folder / f"{number}.h5"), "--quiet"]
        assert _main("extract")(given) == 0
    return folder


def told(command: Command, inputs: Path) -> list[str]:
    return [argument.replace("{}", str(inputs)) for argument in command.arguments]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def plant(folder: Path, places) -> None:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(MINE)


def missing(folder: Path, places) -> list[str]:
    return [place for place in places if not (folder / place).is_file() or (folder / place).read_bytes() != MINE]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_in_the_way_is_refused_and_stays(inputs, tmp_path, monkeypatch, capsys, name):
    command, before = COMMANDS[name], tree(inputs)
    for number, place in enumerate(command.in_the_way):
        # Alone, and (where there is such an option) with the permission to overwrite what is ours.
        for overwrite in (False, True) if command.overwrites else (False,):
            here = tmp_path / f"{number}-{overwrite}"
            here.mkdir()
            plant(here, [place, *command.beside])
            monkeypatch.chdir(here)
            capsys.readouterr()
            status = command.run([*told(command, inputs), *(["--overwrite"] if overwrite else [])])
            error = capsys.readouterr().err
            assert status == 2, (place, overwrite, error)
            assert error.splitlines()[-1].startswith("error: ")
            assert "--overwrite" not in error, (place, error)  # which would not help
            assert missing(here, [place, *command.beside]) == []
    assert tree(inputs) == before


# probe-train made the inputs, and what an export takes so long for is tested where exports are; an evaluation below.
_ELSEWHERE = ("probe-train", "probe-train export", "emoprobe demo-evaluate")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in _ELSEWHERE])
def test_what_is_beside_stays_and_our_own_is_made_again(inputs, tmp_path, monkeypatch, name):
    command, before = COMMANDS[name], tree(inputs)
    plant(tmp_path, command.beside)
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--overwrite"] if command.overwrites else []):
        assert command.run([*told(command, inputs), *more]) in command.done
        assert missing(tmp_path, command.beside) == []
    assert tree(inputs) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].inputs])
def test_an_input_is_never_an_output(inputs, tmp_path, monkeypatch, capsys, name):
    command, before = COMMANDS[name], tree(inputs)
    monkeypatch.chdir(tmp_path)
    for place in command.inputs:
        place = place.replace("{}", str(inputs))
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        for out in (place, str(link)):
            given = told(command, inputs)
            given[given.index(command.option) + 1] = out
            for more in ([], ["--overwrite"]) if command.overwrites else ([],):
                capsys.readouterr()
                assert command.run([*given, *more]) == 2
                error = capsys.readouterr().err
                assert "is what this command reads" in error or place.endswith("c.h5")  # results are a folder
                assert "--out" in error
                assert "--overwrite" not in error, error
                assert tree(inputs) == before


def test_an_evaluation_is_made_again_in_place_of_an_own_one(tmp_path, monkeypatch, capsys):
    scores = pd.DataFrame(
        [["m", "demo", "arousal", "ccc", "mean", k, k / 2, 0, 0.1 * k] for k in range(3)],
        columns=list(evaluate.COLUMNS),
    )
    monkeypatch.setattr(evaluate, "load_models", lambda *_, **__: ({}, 320, 400))
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: scores)
    monkeypatch.chdir(tmp_path)
    plant(tmp_path, ["corpus/manifest.csv"])
    given = ["--model", "m", "--corpus", "corpus", "--out", "e.csv"]
    for _ in range(2):
        assert COMMANDS["emoprobe demo-evaluate"].run([*given, "--figure", "e.png"]) == 0
        pd.testing.assert_frame_equal(pd.read_csv("e.csv"), scores)
        assert is_own_figure(Path("e.png"))
    assert COMMANDS["emoprobe demo-evaluate"].run([*given, "--figure", "e.bmp"]) == 2
    assert "--figure e.bmp: its name must end in .png, .svg, .pdf" in capsys.readouterr().err


@pytest.mark.slow
def test_a_downloaded_encoder_beside_a_training_survives(inputs, tmp_path, monkeypatch, capsys):
    """As it was lost: `--audio model --out .`, where probe-train writes `model/`."""
    shutil.copytree(inputs / "speech", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    given = ["--corpus", str(inputs / "corpus/manifest.csv"), "--audio", "model", "--text", "none", "--out", "."]
    for more in ([], ["--overwrite"]):
        assert COMMANDS["probe-train"].run([*given, "--quiet", *more]) == 2
        assert "was not written by this program" in capsys.readouterr().err
        assert {name: data for name, data in tree(tmp_path).items() if name != ".lock"} == before


@pytest.mark.slow
def test_what_one_command_made_no_other_replaces(inputs, tmp_path, monkeypatch, capsys):
    """Each folder is marked as ours, by another command than the one that is to write there."""
    for name in ("model", "export"):
        shutil.copytree(inputs / "t/model", tmp_path / name)
    mark(tmp_path / "export", "probe-train export")
    (tmp_path / "student").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(inputs / "t/model" / name, tmp_path / "student")
    mark(tmp_path / "student", "probe-train")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    for name, out in (("probe-train export", "model"), ("probe-train export", "export"), ("probe-distill", "student")):
        given = told(COMMANDS[name], inputs)
        given[given.index("--out") + 1] = out
        assert COMMANDS[name].run(given) == 2
        assert out in capsys.readouterr().err
        assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("config", "ours"),
    [
        ('{"format": "emoprobe audio-text model, ONNX 1"}', True),
        (None, True),
        ('{"for', True),
        ("{}", False),
        ("[]", False),
    ],
)
def test_a_marked_folder_is_ours_unless_its_model_is_another(tmp_path, config, ours):
    """A kill leaves no `config.json` or a torn one; one that is whole must be of the format."""
    plant(tmp_path, ["model.onnx"])
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    mark(tmp_path, "probe-train export")
    assert ("model.onnx" in own_export_files(tmp_path)) == ours


@pytest.mark.slow
def test_notes_in_a_trained_folder_survive_overwrite(inputs, tmp_path, monkeypatch, capsys):
    for name in ("t", "results"):
        shutil.copytree(inputs / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    notes = ["t/model/notes.txt", "t/model/text/notes.txt", "t/runs/seed0-fold-all/notes.txt"]
    plant(tmp_path, notes)
    before = tree(tmp_path)
    given = [*told(COMMANDS["probe-train"], inputs), "--overwrite"]
    assert COMMANDS["probe-train"].run(given) == 2
    assert "t/model/notes.txt (and 2 more) was not written by this program" in capsys.readouterr().err
    assert tree(tmp_path) == before
    for note in notes:
        (tmp_path / note).unlink()
    given.remove("--quiet")
    assert COMMANDS["probe-train"].run(given) == 0
    assert "t: removing the" in capsys.readouterr().out


@pytest.mark.slow
def test_a_figure_says_whose_it_is(inputs, tmp_path):
    from matplotlib.figure import Figure

    from emoprobe.analysis.figures.drawing import draw_figures
    from emoprobe.analysis.figures.files import is_own_figure

    for kind in ("png", "svg", "pdf"):
        for path in draw_figures(inputs / "results", tmp_path / "ours", formats=[kind]):
            assert is_own_figure(path)
        foreign = tmp_path / f"theirs.{kind}"
        Figure().savefig(foreign, metadata={"Title": "What emoprobe found"})
        assert b"emoprobe" in foreign.read_bytes()
        assert not is_own_figure(foreign)
    for path in (Path(__file__).parents[2] / "figures").glob("*.png"):  # drawn by release 0.1
        assert is_own_figure(path)


# The functions that hold it ------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b.txt", "000001.h5", "checkpoint-3", "log.jsonl"])
_TREES = st.sets(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), max_size=8)
_OWN = ("log.jsonl", "a/*.h5", "checkpoint-*/**", "a/b.txt/log.jsonl")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TREES)
def test_only_our_own_is_removed(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("tree")
    planted = {name for name in files if not any(other.startswith(f"{name}/") for other in files)}
    plant(folder, planted)
    (folder / "checkpoint-9/empty").mkdir(parents=True)

    def is_own(name):
        return (
            name in ("log.jsonl", "a/b.txt/log.jsonl")
            or (name.count("/") == 1 and fnmatchcase(name, "a/*.h5"))
            or (name.count("/") > 0 and name.startswith("checkpoint-"))
        )

    theirs = {name for name in planted if not is_own(name)}
    assert {path.relative_to(folder).as_posix() for path in strangers(folder, _OWN)} == theirs
    assert remove(folder, _OWN) == len(planted) - len(theirs)
    assert set(tree(folder)) == theirs
    # The folders of our files went with them, and one that was empty before did not.
    assert {path.name for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())} == {"empty"}


def test_a_folder_of_our_own_goes_with_its_files_and_its_mark_last(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    plant(folder, ["config.json", "text/vocab.txt", "weights"])
    mark(folder, "test")
    gone = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (gone.append(path.name), unlink(path)))
    assert remove(folder, marked(folder, "test")) == 4
    assert gone[-1] == ".emoprobe.json"
    assert not folder.exists()


def test_links_are_removed_and_not_followed(tmp_path):
    plant(tmp_path, ["elsewhere/log.jsonl"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint-3").symlink_to(tmp_path / "elsewhere")
    assert strangers(tmp_path / "run", _OWN) == [tmp_path / "run" / "checkpoint-3"]  # a folder is ours, a link is not
    assert remove(tmp_path / "run", _OWN) == 0
    (tmp_path / "run" / "log.jsonl").symlink_to(tmp_path / "elsewhere" / "log.jsonl")
    assert remove(tmp_path / "run", _OWN) == 1
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert remove(tmp_path / "link", _OWN) == 0
    assert missing(tmp_path, ["elsewhere/log.jsonl"]) == []


def test_a_mark_lists_what_is_there_and_no_more(tmp_path):
    plant(tmp_path, ["a", "b/c"])
    mark(tmp_path, "test", also=["later"])
    plant(tmp_path, ["later", "theirs"])
    assert strangers(tmp_path, marked(tmp_path, "test")) == [tmp_path / "theirs"]
    assert marked(tmp_path, "another command") == ()
    for damaged in ("", "[]", '{"format": "other", "made_by": "test", "files": ["**"]}', '{"files": ["**"]}'):
        (tmp_path / ".emoprobe.json").write_text(damaged)
        assert marked(tmp_path, "test") == ()


def test_what_is_empty_or_absent_has_nothing_to_lose(tmp_path):
    refuse_stranger(tmp_path / "absent", lambda path: False, "cache", option="--out")
    (tmp_path / "empty").touch()
    refuse_stranger(tmp_path / "empty", lambda path: False, "cache", option="--out")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("dangling", "."):
        with pytest.raises(UserError, match="--out"):
            refuse_stranger(tmp_path / name, lambda path: True, "cache", option="--out")


def test_inputs_behind_a_reader_and_by_another_name(tmp_path, monkeypatch):
    plant(tmp_path, ["corpus/labels.csv", "a.csv"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "a.csv")
    for outputs, read in ((["corpus"], ["iemocap:corpus"]), (["hard.csv"], [None, "a.csv"]), (["./a.csv"], ["a.csv"])):
        with pytest.raises(UserError, match="is what this command reads"):
            refuse_inputs(outputs, read)
    refuse_inputs(["corpus/c.h5", "b.csv"], ["iemocap:corpus", "a.csv", None, "facebook/hubert-base-ls960"])


def test_a_file_where_a_folder_is_to_be_and_the_other_way_round(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    why = r"file is a file, and --out is to name a folder: give another name"
    with pytest.raises(UserError, match=why):
        refuse_other_results(tmp_path / "file")
    with pytest.raises(UserError, match=why):
        claim(tmp_path / "file", {}, record="run.json", own=[], option="--out")
    with pytest.raises(UserError, match=r"is a folder, and --out is to name a file \(the cache"):
        refuse_stranger(tmp_path / "folder", lambda path: True, "cache of hidden states", option="--out")
