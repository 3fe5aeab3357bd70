"""Every reader of a file answers damage with the file, the field and a remedy: each kind of file by each damage."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from emoprobe import HiddenStateCache, UserError, load_results
from emoprobe.analysis.measures.relevance import COLUMNS as RELEVANCE
from emoprobe.analysis.measures.stored import load_table
from emoprobe.demo.corpus import read as read_demo
from emoprobe.extract.batchwise import Utterances, run_batches
from emoprobe.extract.encoders.speech import load_backbone, load_config
from emoprobe.extract.journal import open_journal
from emoprobe.extract.layout import layout_sha256
from emoprobe.extract.sealing import USER_BLOCK
from emoprobe.extract.sidecars import Sidecar, read_sidecar, write_sidecar
from emoprobe.fields import TEXT, ListOf, Part, check_fields, refuse_beyond_memory, refuse_cut_short
from emoprobe.probe.fit import fit_layers
from emoprobe.testing.caches import write_cache
from emoprobe.testing.checkpoints import make_model


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it lies in the folder of all of them, and what reads it."""

    file: str
    read: Callable[[Path], object]
    #: Columns or fields without which it cannot be read, and values that they cannot have.
    wrong: dict[str, list] | None = None


_NO_NAME = [None, 3, [], {}, "", "x" * 1_000_000]
_NO_COUNT = [-1, 1.5, "many", None, 10**30, 1e308]
_NO_TABLE = [None, 3, "x", []]
_NO_TEXTS = [None, 3, "x", {}, [3]]
_MODEL, _CORPUS = "cache.provenance.model", "cache.provenance.corpus"
_PROTOCOL = {
    **dict.fromkeys(("model", "corpus", "dimension", "probe", f"{_MODEL}.label", f"{_CORPUS}.name"), _NO_NAME),
    **dict.fromkeys(("cache", "split", "settings", "cache.provenance", _MODEL, _CORPUS, "split.counts"), _NO_TABLE),
    **dict.fromkeys(("cache.utterances", "cache.speakers", "split.folds", "settings.resamples"), _NO_COUNT),
    **dict.fromkeys(("split.notes", "notes", "cache.left_out", "cache.provenance.pooling"), _NO_TEXTS),
    "settings.penalties": [None, 3, "x", [], ["1"], {}],
    "split.leakage": [None, 3, {}, [3], [{"parts": ["a"]}]],
    "versions": [None, 3, {"torch": None}],
}
_SIZE = [0, -1, 1.5, "four", [], 10**12, 1e308]
_CONFIG = {
    "hidden_size": _SIZE,
    "num_hidden_layers": [*_SIZE, 40_000_000],
    "num_attention_heads": [*_SIZE, 3],  # three heads do not divide a width of sixteen
    "conv_kernel": [[], 3, [0] * 7, ["x"] * 7, [10**9] * 7],
    "conv_stride": [[0] * 7, [-1] * 7, {}],
    "num_conv_pos_embeddings": [0, "x", 10**12],
    "layer_norm_eps": ["small", 10**400],
    "model_type": [3, "no such model", {}],
}
_SCORE = ["high", 1e308, -1e308, float("inf"), 2]
_SCORES = {
    "layer": [40_000_000, -7, 1.5, "two", 10**30],
    "seed": [-1, 1e308],
    "n": [-3, "all"],
    **dict.fromkeys(("ccc", "ccc_low", "pearson", "null_high", "p"), _SCORE),
    "rmse": ["low", 1e308, -1],
    "depth": [1e308, -1],
    "model": ["x" * 1_000_000],
}
_RELEVANCE = {"layer": [40_000_000, -7, 1.5, "x"], "relevance": [1e308, float("inf"), "x"], "n": [-1], "depth": [7]}

KINDS = {
    "protocol": Kind("results/protocol.json", lambda path: load_results(path.parent), _PROTOCOL),
    "scores": Kind("results/scores.csv", lambda path: load_results(path.parent), _SCORES),
    "weights": Kind(
        "results/weights.csv", lambda path: load_results(path.parent), {"weight": _SCORE, "layer": _SCORES["layer"]}
    ),
    "predictions": Kind("results/predictions.parquet", lambda path: load_results(path.parent)),
    "cache": Kind("states.h5", lambda path: HiddenStateCache(path).close()),
    "baseline": Kind("states.h5.baselines/text.parquet", read_sidecar),
    "configuration": Kind("model/config.json", lambda path: load_backbone(str(path.parent), random_init=0), _CONFIG),
    "preprocessor": Kind(
        "model/preprocessor_config.json",
        lambda path: load_backbone(str(path.parent), random_init=0),
        {"sampling_rate": [0, "fast", None], "do_normalize": ["yes", 3, []]},
    ),
    "relevance": Kind("relevance.csv", lambda path: load_table(path, RELEVANCE), _RELEVANCE),
    "demo corpus": Kind(
        "demo/settings.json",
        lambda path: read_demo(path.parent),
        {"utterances": [-1, None, "x"], "speakers": [1e308, [], None], "seed": [-1, "x", None]},
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one sound file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    write_cache(folder / "states.h5", n=40, layers=3, width=4, speakers=8)
    fit_layers(
        folder / "states.h5", dimensions="valence", probe=("ridge", "weighted"), seeds=1, resamples=10,
        permutations=19, mdl=False, out=folder / "results",
    )  # fmt: skip
    for name in ("scores", "weights"):  # of a table in both forms the one that a person can edit is left
        (folder / "results" / f"{name}.parquet").unlink()
    about = {"baseline": "text", "corpus": {"name": "c", "sha256": "0"}, "settings": {}, "versions": {}}
    empty = np.array([""] * 2, dtype=object)
    write_sidecar(
        folder / "states.h5.baselines" / "text.parquet",
        Sidecar(about, np.array(["a", "b"], dtype=object), empty, ("x",), np.ones((2, 1), np.float32)),
    )
    make_model("hubert-base").save_pretrained(folder / "model")
    (folder / "model" / "preprocessor_config.json").write_text('{"sampling_rate": 16000, "do_normalize": true}')
    row = dict.fromkeys(RELEVANCE, "x") | dict.fromkeys(("layer", "n", "trained"), 1)
    pd.DataFrame([row | dict.fromkeys(("depth", "relevance", "low", "high", "score"), 0.5)]).to_csv(
        folder / "relevance.csv", index=False
    )
    (folder / "demo").mkdir()
    (folder / "demo" / "settings.json").write_text('{"utterances": 4, "speakers": 2, "seed": 0}')
    return folder


def damaged(kind: Kind, whole: Path, folder: Path) -> Path:
    """A copy of a file with what lies beside it, to be damaged."""
    top = Path(kind.file).parts[0]
    (shutil.copytree if (whole / top).is_dir() else shutil.copy)(whole / top, folder / top)
    return folder / kind.file


def refused(kind: Kind, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        kind.read(path)
    said = str(caught.value)
    assert path.name in said or f"{path.parent} is a " in said  # a model is named by its folder
    assert "\n" not in said
    assert len(said) < 1_500  # the value is told of, and not repeated
    said.encode()
    return said


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    # In the middle of a line, where there are lines.
    "cut short": lambda data: (data[: len(data) // 3].rpartition(b"\n")[0] or data[: len(data) // 3])[:-5],
    "another text": lambda data: b"\xff\xfe hello, world\n" * 20,
    "nested": lambda data: b"[" * 100_000 + b"]" * 100_000,
    "nothing but zeros": lambda data: bytes(len(data)),
    "a list": lambda data: b"[1, 2, 3]",
    "null": lambda data: b"null",
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_something_else(name: str, damage: str, whole: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = damaged(kind, whole, tmp_path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    refused(kind, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.file.endswith(".json")])
def test_a_field_of_a_json_file(name: str, whole: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = damaged(kind, whole, tmp_path)
    sound = path.read_text()
    for field, values in kind.wrong.items():
        *outer, last = field.split(".")
        for value in values:
            content = json.loads(sound)
            # Of the protocol the run that has most to say.
            part = next(run for run in content if run["probe"] == "ridge") if isinstance(content, list) else content
            for step in outer:
                part = part[step]
            part[last] = value
            path.write_text(json.dumps(content))
            said = refused(kind, path)
            # What no single field is to blame for is told of the file.
            assert any(words in said for words in (last, "describes no model", "asks for", "is a ")), (field, said)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.file.endswith(".csv")])
def test_a_column_of_a_table(name: str, whole: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = damaged(kind, whole, tmp_path)
    sound = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, values in kind.wrong.items():
        for value in values:
            table = sound.astype(object)
            table.loc[0, column] = value
            table.to_csv(path, index=False)
            assert f"the column '{column}'" in refused(kind, path)
    required = sound.columns[0]
    sound.drop(columns=required).to_csv(path, index=False)
    assert f"lacks the columns {required}" in refused(kind, path)


def drop(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def put(name: str, **content) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **content)

    return change


def say(field: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        provenance = json.loads(file.attrs["provenance"])
        *outer, last = field.split(".")
        part = provenance
        for step in outer:
            part = part[step]
        part[last] = value
        file.attrs["provenance"] = json.dumps(provenance)

    return change


_HUGE = {"shape": (10**12,), "dtype": "f4", "chunks": (1024,)}
_ELSEWHERE = h5py.ExternalLink("other.h5", "/pooled/mean")

#: Changes that the cache's own hash would seal if who made them wrote it anew, and what is said of them.
CACHES: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "no states": (drop("pooled"), "lacks the group pooled"),
    "no frame norms": (drop("frame_norm"), "lacks the array frame_norm"),
    "no ids": (drop("utterances/id"), "lacks the array utterances/id"),
    "no names of layers": (drop("layers/name"), "lacks the array layers/name"),
    "a group for an array": (
        lambda file: (file.__delitem__("frame_norm"), file.create_group("frame_norm")),
        "frame_norm",
    ),
    "states of another file": (
        lambda file: (file.__delitem__("pooled/mean"), file.__setitem__("pooled/mean", _ELSEWHERE)),
        "lacks the array pooled/mean",
    ),
    "endless states": (put("pooled/mean", **_HUGE), "pooled/mean is 1000000000000"),
    "endless labels": (put("utterances/arousal", **_HUGE), "utterances/arousal is 1000000000000"),
    "an endless column of a later version": (
        lambda file: file.create_dataset("utterances/later", **_HUGE),
        "utterances/later is 1000000000000",
    ),
    "states in pieces": (
        put("pooled/mean", data=np.ones((3, 40, 4), "f4"), chunks=(1, 40, 4)),
        "pooled/mean does not lie in one piece",
    ),
    "words for numbers": (put("utterances/seconds", data=["x"] * 40), "utterances/seconds holds object"),
    "numbers for words": (put("utterances/id", data=np.arange(40)), "utterances/id holds int64"),
    "fewer labels": (put("utterances/valence", data=np.ones(3)), "utterances/valence is 3, and must be 40"),
    "absurd labels": (lambda file: file["utterances/valence"].__setitem__(3, 1e308), "utterances/valence of row 4"),
    "negative frames": (lambda file: file["utterances/frames"].__setitem__(0, -1), "utterances/frames of row 1"),
    "a length that is no number": (
        lambda file: file["utterances/seconds"].__setitem__(0, np.nan),
        "utterances/seconds",
    ),
    "no model": (say("model", None), "the field 'model'"),
    "a name that is none": (say("model.label", 3), "the field 'model.label'"),
    "no corpus": (say("corpus", []), "the field 'corpus'"),
    "a sum that is none": (say("corpus.sha256", None), "the field 'corpus.sha256'"),
    "notes that are none": (say("corpus.notes", [3]), "the field 'corpus.notes"),
    "statistics that are none": (say("pooling", "mean"), "the field 'pooling'"),
    "a nested provenance": (lambda file: file.attrs.__setitem__("provenance", "[" * 60_000), "nested|damaged"),
    "words that are none": (lambda file: file.attrs.__setitem__("arguments", "[3]"), "arguments is no list of words"),
    "a root that is none": (lambda file: file.attrs.__setitem__("corpus_root", 3), "corpus_root is no text"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CACHES)
def test_a_part_of_a_cache(name: str, whole: Path, tmp_path: Path) -> None:
    path = damaged(KINDS["cache"], whole, tmp_path)
    change, expected = CACHES[name]
    with h5py.File(path, "r+") as file:
        change(file)
        if "endless" not in name and name not in ("no states", "no ids", "no names of layers"):
            file.attrs["layout_sha256"] = hashed(file)
    assert "bytes have changed that are written once" in refused(KINDS["cache"], path)
    path.write_bytes(path.read_bytes()[USER_BLOCK:])  # as of version 0.1, without a seal
    said = refused(KINDS["cache"], path)
    assert any(part in said for part in expected.split("|")), said
    assert "bring it back from a copy" in said


def hashed(file: h5py.File) -> str:
    """The hash that whoever changed the cache could have written; "" where none can be taken."""
    try:
        return layout_sha256(file)
    except (KeyError, TypeError, AttributeError):
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("value", [40_000_000, 10**9])
def test_one_absurd_layer_keeps_no_figure_busy(value: int, whole: Path, tmp_path: Path, capsys) -> None:
    from emoprobe.cli.plot import main

    path = damaged(KINDS["scores"], whole, tmp_path)
    table = pd.read_csv(path, dtype={"fold": str})
    table.loc[5, "layer"] = value  # an axis of as many ticks was drawn until somebody stopped it
    table.to_csv(path, index=False)
    assert main([str(path.parent), "--figures", str(tmp_path / "figures")]) == 2
    said = capsys.readouterr().err
    assert "scores.csv, row 6: the column 'layer' must be a number from -1 to 1000, and is " in said
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_a_cell_without_an_end(whole: Path, tmp_path: Path) -> None:
    path = damaged(KINDS["scores"], whole, tmp_path)
    table = pd.read_csv(path, dtype=object)
    table.loc[0, "reason"] = "x" * 10_000_000
    table.to_csv(path, index=False)
    assert "row 1: the column 'reason' must be a text of at most 100,000" in refused(KINDS["scores"], path)


@pytest.mark.slow
def test_a_report_names_the_field_that_it_lacks(whole: Path, tmp_path: Path, capsys) -> None:
    from emoprobe.cli.report import main

    path = damaged(KINDS["protocol"], whole, tmp_path)
    sound = path.read_text()
    for field in ("split", "settings"):
        protocol = json.loads(sound)
        for run in protocol:
            del run[field]
        path.write_text(json.dumps(protocol))
        assert main([str(path.parent), "--quick", "--quiet", "--out", str(tmp_path / "report")]) == 2
        said = capsys.readouterr().err
        assert f"lacks the field '{field}" in said
        assert "again" in said


@pytest.mark.slow
def test_what_no_memory_holds_is_refused_before_it_is_taken(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.parquet asks for 1,000,000 GB of memory, .*; mend it"):
        refuse_beyond_memory(1e15, "x.parquet", remedy="mend it")
    refuse_beyond_memory(1e3, "x.parquet", remedy="mend it")
    path = damaged(KINDS["configuration"], whole, tmp_path)
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"hidden_size": 2**22, "num_attention_heads": 4}))
    for random_init in (0, None):
        with pytest.raises(UserError, match=r"config\.json asks for [\d,]+ GB of memory"):
            load_backbone(str(path.parent), random_init=random_init)


@pytest.mark.slow
def test_sound_files_are_read(whole: Path, tmp_path: Path) -> None:
    for name, kind in KINDS.items():
        if name != "demo corpus":  # which would be spoken
            kind.read(whole / kind.file)
    config, _ = load_config(str(whole / "model"))
    assert config.hidden_size == 16


@pytest.mark.parametrize(
    "header",
    [{"made_by": 3, "settings": {}}, {"settings": {}}, {"made_by": {}, "settings": [1]}, {"made_by": {}}],
    ids=str,
)
def test_a_journal_whose_first_line_is_none(header: dict, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with open_journal(out, made_by={}, settings={}, overwrite=False) as journal:
        content = json.dumps({"format": "emoprobe journal 1", **header}).encode()
    journal.path.write_bytes(b"%08x %s\n" % (zlib.crc32(content), content))
    with pytest.raises(UserError, match=r"journal.*'(made_by|settings)'.*--overwrite to start anew"):  # noqa: SIM117
        with open_journal(out, made_by={}, settings={}, overwrite=False):
            pass


def test_what_cannot_be_a_result_in_a_journal_is_computed_again(tmp_path: Path) -> None:
    out, computed = tmp_path / "out.csv", []
    lines = [{"a": [[1], {"result": "x"}]}, {"b": [[1], {"result": 3}]}, {"c": [[1], 3]}, {"d": 3}, {"e": [[1], {}]}]
    with open_journal(out, made_by={}, settings={}, overwrite=False) as journal:
        for content in (b"[1]", b"{", b"[" * 100_000, *(json.dumps(line).encode() for line in lines)):
            with journal.path.open("ab") as file:
                file.write(b"%08x %s\n" % (zlib.crc32(content), content))

    def compute(rows: list[int], loaded: list) -> list[str]:
        computed.extend(rows)
        return ["new"] * len(rows)

    with open_journal(out, made_by={}, settings={}, overwrite=False) as journal:
        utterances = Utterances(list("abcde"), [[1]] * 5, np.ones(5, int))
        found = run_batches(
            utterances, journal=journal, load=lambda row: row, compute=compute, budget=9,
            is_result=lambda value: isinstance(value, str), progress=False,
        )  # fmt: skip
    assert found == ["x", "new", "new", "new", "new"]
    assert sorted(computed) == [1, 2, 3, 4]


def test_fields_are_named_where_they_lie() -> None:
    wanted = {"runs": ListOf(Part({"name": TEXT}, {"of": Part({"n": TEXT}, or_none=True)}))}
    sound = {"runs": [{"name": "a", "of": None}, {"name": "b", "of": {"n": "x"}, "more": 3}]}
    assert check_fields(sound, "f.json", wanted, remedy="mend it") is sound
    for wrong, said in (
        ({"runs": 3}, "f.json: the field 'runs' must be a list, and is 3; mend it"),
        ({"runs": [{"name": "a"}, {}]}, "f.json lacks the field 'runs[1].name'; mend it"),
        (
            {"runs": [{"name": "a", "of": {"n": [0] * 99}}]},
            "f.json: the field 'runs[0].of.n' must be a text, and is a list of 99 values; mend it",
        ),
        ({"runs": [{"name": "\udcff"}]}, "f.json: the field 'runs[0].name' must be a text, and is '\\udcff'; mend it"),
    ):
        with pytest.raises(UserError) as caught:
            check_fields(wrong, "f.json", wanted, remedy="mend it")
        assert str(caught.value) == said


@pytest.mark.slow
def test_a_table_that_names_one_row_twice_is_refused(whole, tmp_path):
    table = pd.read_csv(whole / "relevance.csv", dtype=str)
    again = table.assign(relevance="0.25")
    pd.concat([table, again]).to_csv(tmp_path / "relevance.csv", index=False)
    with pytest.raises(UserError, match=r"relevance\.csv is damaged.*rows are there twice: 1, the first in line 3"):
        load_table(tmp_path / "relevance.csv", RELEVANCE)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["ccc", "n", "pearson", "uar_low"])
def test_a_table_of_scores_without_a_column_of_the_first_version_is_refused(column, whole, tmp_path):
    shutil.copytree(whole / "results", tmp_path / "results")
    path = tmp_path / "results/scores.csv"
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(UserError, match=rf"scores\.csv is damaged.*it lacks the columns {column}"):
        load_results(tmp_path / "results")


@pytest.mark.slow
def test_a_number_that_is_no_whole_one_is_refused_once(whole, tmp_path, recwarn):
    table = pd.read_csv(whole / "relevance.csv", dtype=str).assign(trained="-1e308")
    table.to_csv(tmp_path / "relevance.csv", index=False)
    with pytest.raises(UserError, match="trained"):
        load_table(tmp_path / "relevance.csv", RELEVANCE)
    assert not recwarn.list


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_table_ends_with_the_end_of_a_line(tmp_path, line_end):
    for text, whole in (
        ('a,b{}1,"x, y"{}', True),
        ('a,b{}1,"x ""y"", z"{}', True),
        ("a,b{}", True),
        ('a,b{}1,"x, y"', False),  # which may go on: "x, y""z"
        ("a,b{}1", False),
        ('a,b{}1,"x, y', False),
        ('a,b{}1,"x{}', False),
        ("a,b", False),
        ("", False),
    ):
        (tmp_path / "t.csv").write_bytes(text.replace("{}", line_end).encode())
        with nullcontext() if whole else pytest.raises(ValueError, match="its last line is cut short"):
            refuse_cut_short(tmp_path / "t.csv")


def test_no_cut_within_a_row_is_taken_for_the_table(tmp_path):
    """Of a table with commas, quotes and line ends in its cells, cut at every byte of its last row."""
    content = pd.DataFrame({"n": [1, 2], "reason": ["", 'a, "b",\nc'], "last": ["x", "y, z"]}).to_csv(index=False)
    start = content.index("2,")
    for end in range(start + 1, len(content)):
        (tmp_path / "t.csv").write_text(content[:end])
        with pytest.raises(ValueError, match="cut short"):
            refuse_cut_short(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(content)
    refuse_cut_short(tmp_path / "t.csv")
