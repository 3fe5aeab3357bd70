"""A file of settings becomes a programme, and what is wrong with it is told with its line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.errors import UserError
from emoprobe.study.presets import PRESETS
from emoprobe.study.reading import read_programme
from emoprobe.study.settings import PROBES, Programme, StudySettings
from emoprobe.study.systems import SYSTEMS
from emoprobe.study.tables import TABLES
from emoprobe.study.template import meanings, written

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and text.strip() not in ("", "none")
)
SOME = {
    "dimensions": st.sets(st.sampled_from(["arousal", "valence", "dominance"]), min_size=1).map(sorted).map(tuple),
    "probes": st.sets(st.sampled_from(PROBES), min_size=1).map(sorted).map(tuple),
    "ask": st.sets(st.sampled_from(sorted(INQUIRIES))).map(sorted).map(tuple),
    "systems": st.sets(st.sampled_from(sorted(SYSTEMS))).map(sorted).map(tuple),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_as_it_was_written(name, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(written(PRESETS[name].programme, head="A study."), encoding="utf-8")
    assert read_programme(path) == PRESETS[name].programme


@pytest.mark.slow
@given(
    st.builds(
        StudySettings,
        corpus=TEXT, teacher=TEXT, student=TEXT, text=TEXT, twins=st.integers(0, 9), seeds=st.integers(1, 9),
        teacher_revision=st.none() | TEXT, text_revision=st.none() | TEXT, language=st.none() | TEXT,
        categories=st.booleans(), write_report=st.booleans(), **SOME,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "extract": st.fixed_dictionaries({}, optional={"precision": st.sampled_from(["bfloat16", "float16"]),
                                                           "limit": st.integers(1, 99), "strict": st.just(True)}),
            "fit": st.fixed_dictionaries(
                {},
                optional={"penalties": st.lists(st.floats(0.1, 1e4), min_size=1).map(tuple), "mdl": st.just(False),
                          "permute_within_speakers": st.booleans()},
            ),
            "train": st.fixed_dictionaries({}, optional={"freeze": st.just(()), "audio_rate": st.floats(1e-6, 1e-2)}),
        },
    ),
)  # fmt: skip
def test_any_programme_comes_back_as_it_was_written(tmp_path_factory, settings, tables):
    path = tmp_path_factory.mktemp("any") / "study.toml"
    programme = Programme(settings, {name: table for name, table in tables.items() if table})
    path.write_bytes(written(programme).encode("utf-8"))
    assert read_programme(path) == programme


def test_a_number_of_gpus_may_be_a_number_or_a_text(tmp_path):
    path = tmp_path / "study.toml"
    for written_as, gpus in (("2", 2), ('"all"', "all"), ('"2"', "2")):
        path.write_text(f"[extract]\ngpus = {written_as}\n")
        programme = read_programme(path)
        assert programme.table("extract")["gpus"] == gpus
        assert TABLES["extract"].words(programme.table("extract")) == ["--gpus", str(gpus)]


def test_every_setting_is_in_the_file_with_its_meaning():
    text = written(Programme())
    for name in StudySettings.__dataclass_fields__:
        assert f"\n{name} = " in f"\n{text}"
        assert meanings(StudySettings)[name]
    for name, table in TABLES.items():
        assert f"[{name}]" in text
        for key, (settings, field) in table.fields().items():
            assert f"\n#{key} = " in text
            assert meanings(settings)[field.name], f"{settings.__name__}.{field.name} is not documented"


WRONG = [
    ('corpus = "a"\n\ntwinz = 2', 3, "there is no setting 'twinz': did you mean 'twins'?"),
    ('twins = "two"', 1, "'twins' must be a whole number, and is 'two'"),
    ("twins = true", 1, "'twins' must be a whole number, and is True"),
    ("seeds = 2.5", 1, "'seeds' must be a whole number"),
    ("# none\nseeds = 0", 2, "--seeds 0 must be at least 1"),
    ('dim = ["valence"]', 1, "there is no setting 'dim': did you mean 'dimensions'?"),
    ('dimensions = ["valenz"]', 1, "dimensions: there is no 'valenz': did you mean valence?"),
    ('ask = ["ceilin"]', 1, "ask: there is no 'ceilin': did you mean ceiling?"),
    ('systems = ["student+words"]', 1, "systems: there is no 'student+words'"),
    ("permutations = 3", 1, "there is no setting 'permutations'; it stands in the table [fit]"),
    ('corpus = "a\\u0000b"', 1, "'corpus' must be a text in quotes, on one line and without characters that"),
    ("\n[fit]\npermutation = 3", 3, "[fit] has no option 'permutation': did you mean 'permutations'?"),
    ("\n[fit]\nfolds = 5\nseeds = -1", 4, "--seeds -1 must be at least 1"),
    ("[fit]\npenalties = [1, 'two']", 2, "'penalties' must be a list of which each is a number"),
    ('[fit]\ndimensions = ["valence"]', 2, "[fit] has no option 'dimensions'; the study sets that itself"),
    ("[fit]\nmdl = 0", 2, "'mdl' must be true or false, and is 0"),
    ('[extract]\ndtype = "float8"', 2, "no precision 'float8'; did you mean float32? There are float32"),
    ("[extract]\nworkers = inf", 2, "'workers' must be a whole number"),
    ("[train]\ntext_dropout = 0.6\naudio_dropout = 0.7", 1, "together they are at most 1"),
    ('baselines = ["egemap"]', 1, "baselines: there is no 'egemap': did you mean egemaps?"),
    ('[fit]\ndevice = "gpu"', 2, "--device gpu: "),
    ("fit = 3", 1, "fit is a table: write [fit], and its options below it"),
    ('corpus = "a', 0, "is no TOML"),
    ('corpus = "a"\ncorpus = "b"\nseeds = 3', 2, "each key stands once"),
    ('dimensions = []\ncategories = false', 0, "there would be nothing to ask for"),
    ('teacher = "none"', 1, "a study is of a corpus and a teacher"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "told"), WRONG)
def test_a_mistake_is_told_with_its_line(text, line, told, tmp_path):
    path = tmp_path / "my study.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read_programme(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert told in message
    assert f"line {line}" in message if line else ", line" not in message


def test_what_is_no_file_of_settings_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read .*--init writes one"):
        read_programme(tmp_path / "study.toml")
    path = tmp_path / "study.toml"
    path.write_bytes(b'corpus = "caf\xe9"')
    with pytest.raises(UserError, match="line 1: is not written in UTF-8"):
        read_programme(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError, match="is no file of settings"):
        read_programme(path)
    (tmp_path / "corpus.toml").mkdir()
    with pytest.raises(UserError, match=r"corpus\.toml is a folder, .*: give a corpus as .*corpus\.toml/\."):
        read_programme(tmp_path / "corpus.toml")
    path.write_bytes(b"a = " + b"[" * 100_000)
    with pytest.raises(UserError, match="is no TOML"):
        read_programme(path)


def test_init_writes_a_file_and_never_over_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert emoprobe(["study", "--init", "quick"]) == 0
    assert read_programme("study.toml") == PRESETS["quick"].programme
    assert "emoprobe study study.toml --dry-run" in capsys.readouterr().out
    before = (tmp_path / "study.toml").read_bytes()
    assert emoprobe(["study", "--init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "study.toml").read_bytes() == before
    assert emoprobe(["study", "other.toml", "--init"]) == 0
    assert read_programme("other.toml") == PRESETS["paper"].programme


def test_an_empty_value_takes_back_what_the_file_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfcorpus = "demo"\n[extract]\nlimit = 300\n')  # as Windows writes it
    assert emoprobe(["study", "a.toml", "--print"]) == 0
    assert "--limit 300" in capsys.readouterr().out
    assert emoprobe(["study", "a.toml", "--print", "--set", "extract.limit="]) == 0
    assert "--limit" not in capsys.readouterr().out


def test_the_command_line_stands_above_the_file(tmp_path, monkeypatch, capsys):
    """Also where it gives what is the default: `--teacher hubert-nano` is not the file's teacher."""
    monkeypatch.chdir(tmp_path)
    settings = replace(PRESETS["paper"].programme.settings, corpus="demo", twins=3)
    (tmp_path / "study.toml").write_text(written(Programme(settings, {"fit": {"folds": 7}})))
    words = ["--teacher", "hubert-nano", "--dim", "valence", "--systems", "none", "--set", "fit.seeds=2", "--print"]
    assert emoprobe(["study", "study.toml", *words]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert "--model hubert-nano " in lines[1]
    assert "--model ntu-spml/distilhubert " in lines[2]
    assert sum("--random-init" in line for line in lines) == 3
    (ridge,) = (line for line in lines if "--probe ridge" in line)
    assert "--dim valence --probe ridge --seeds 2 --folds 7 " in ridge
    assert not any(line.startswith("emoprobe train") for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["demo", "--set", "fit.foldz=3"], "--set fit.foldz: [fit] has no option 'foldz': did you mean 'folds'?"),
        (["demo", "--set", "folds=3"], "--set folds=3: write TABLE.OPTION=VALUE"),
        (["demo", "--set", "fit.folds=three"], "--set fit.folds: 'folds' must be a whole number, and is 'three'"),
        (["demo", "--seeds", "0"], "the command line: --seeds 0 must be at least 1"),
        (["demo", "--teacher", "hubert-lage"], "teacher: no model is called hubert-lage: did you mean hubert-large?"),
        (["demo", "--text", "distilbrt"], "text: no model is called distilbrt: did you mean distilbert?"),
        (
            ["demo", "--recogniser", "whisper-tny-en"],
            "recogniser: no model is called whisper-tny-en: did you mean whisper-tiny-en?",
        ),
        (["demo", "--again", "1", "--print"], "--again 1: steps that can be made anew are 2, "),
        (["demo", "--preset", "paper"], "demo is a preset too"),
        (["none.csv", "--print"], "none.csv: no such file"),
        (["a.toml", "--preset", "paper"], "--preset goes with a corpus"),
        (["table.csv", "--init"], "whose name ends in .toml"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_in_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert emoprobe(["study", *words]) == 2
    assert told in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
