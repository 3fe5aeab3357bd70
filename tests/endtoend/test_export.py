"""The ONNX form: what torch computes, at every length, and nothing written that is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import audmetric
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from emoprobe.cli.train import main
from emoprobe.endtoend import export as module
from emoprobe.endtoend.emotion_model import EmotionModel
from emoprobe.endtoend.export import GatheredConv, GatheredFrontEnd, export_model
from emoprobe.endtoend.exported import FLOAT, INT8, OnnxModel
from emoprobe.endtoend.saved import build, load_model, save_model
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.endtoend.unlike import Familiar
from emoprobe.errors import UserError
from emoprobe.testing.checkpoints import WAVEFORM_VARIANTS, make_model, save_speech_model, save_text_model
from emoprobe.testing.corpora import tone

pytestmark = pytest.mark.slow

FIELD = 400  # samples of one frame in every HuBERT
TEXTS = ["good morning", "", "the weather was so bad that no one went out", None, "oh no", "  "]
WAVEFORMS = [tone(seconds, seed=k) for k, seconds in enumerate((0.9, 0.3, 0.6, 1.3, 2.1, 0.4))]


def trained(folder: Path, audio: str | None, text: str | None, **options) -> Path:
    """A saved model of tiny encoders whose new weights are all away from zero."""
    if audio is not None:
        audio = str(save_speech_model(folder / "audio", audio, normalise=options.pop("normalise", True)))
    if text is not None:
        text = str(save_text_model(folder / "text", text))
    model, reader = build(ModelSettings(audio=audio, text=text, freeze=(), hidden=16, **options), seed=1)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if name.startswith(("head", "no_", "audio_p", "text_p", "audio.layer_logits")):
            torch.nn.init.normal_(parameter, 0.0, 0.5)
    model.learn_labels((3.0, 4.0, 2.0), (0.5, 1.0, 0.25))
    config = {"label": "tiny", "scale": {"arousal": [1.0, 7.0]}}
    ready = EmotionModel(model, reader, config)
    # None of a model of text alone.
    heard = ready.predict_and_hear(WAVEFORMS if audio else None, TEXTS)[1]
    familiar = None if heard is None else Familiar.of(heard[:4], heard[4:])
    return save_model(folder / "model", model, reader, config, familiar)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, dict]:
    """A tiny distilled model with text, its export inside, and what was checked."""
    folder = trained(tmp_path_factory.mktemp("export"), "distilhubert", "distilbert")
    return folder, export_model(folder, WAVEFORMS, TEXTS, int8=True)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    # Float32 in another order, through two encoders: predictions of size 1 to 5.
    np.testing.assert_allclose(found, expected, atol=5e-5)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    channels=st.integers(1, 4),
    longer=st.integers(0, 20),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_gathered_convolution_is_the_convolution(kernel, stride, channels, longer, bias, seed):
    torch.manual_seed(seed)
    conv = torch.nn.Conv1d(channels, 3, kernel, stride=stride, bias=bias)
    states = torch.randn(1, channels, kernel + longer)
    with torch.no_grad():
        found = GatheredConv(conv)(states.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(found, conv(states), atol=1e-5, rtol=1e-5)  # at most 20 products a sum


def test_other_convolutions_are_not_gathered():
    with pytest.raises(ValueError, match="no plain strided convolution"):
        GatheredConv(torch.nn.Conv1d(4, 4, 3, padding=1))


@pytest.mark.parametrize("variant", WAVEFORM_VARIANTS)
def test_a_gathered_front_end_is_the_front_end(variant):
    front_end = make_model(variant).feature_extractor
    waveforms = torch.from_numpy(WAVEFORMS[0])[None]
    with torch.no_grad():
        expected = front_end(waveforms)
        found = GatheredFrontEnd(front_end)(waveforms)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)  # seven layers of short sums in float32


@pytest.mark.slow
def test_every_length_and_text_gives_what_torch_gives(exported):
    folder, checks = exported
    ready, onnx = load_model(folder), OnnxModel(folder, threads=1)
    waveforms = [*WAVEFORMS, *(tone(1.5, seed=9)[:n] for n in (FIELD, FIELD + 1, 719, 720, 1040)), tone(21.0, seed=3)]
    texts = [*TEXTS, "good", None, "oh", "no one", "", "the weather " * 11]
    expected = ready.predict(waveforms, texts)
    assert np.ptp(expected, axis=0).min() > 0.1  # they are no constants
    close(onnx.predict(waveforms, texts), expected)
    close(onnx.predict(waveforms), ready.predict(waveforms))
    expected, found = (model.predict_and_hear(waveforms, texts)[1] for model in (ready, onnx))
    close(found, expected)
    np.testing.assert_allclose(onnx.familiar.distance(found), ready.familiar.distance(expected), rtol=1e-3)
    np.testing.assert_array_equal(onnx.familiar.unlike(found), ready.familiar.unlike(expected))
    small = OnnxModel(folder, int8=True, threads=1, check=False)
    assert small.familiar is None
    assert small.predict_and_hear(waveforms[:1], texts[:1])[1] is None
    assert checks["utterances"] == len(WAVEFORMS)
    assert checks["difference"] < 1e-4
    assert (onnx.dimensions, onnx.label, onnx.receptive_field) == (ready.dimensions, ready.label, ready.receptive_field)
    assert (onnx.uses_audio, onnx.uses_text) == (True, True)
    assert onnx.config["scale"] == {"arousal": [1.0, 7.0]}


def test_a_text_too_long_is_cut_as_torch_cuts_it(exported):
    folder, _ = exported
    with pytest.warns(UserWarning, match="longer than"):
        expected = load_model(folder).predict(WAVEFORMS[:1], ["no one went " * 20])
    close(OnnxModel(folder).predict(WAVEFORMS[:1], ["no one went " * 20]), expected)


def test_the_form_of_8_bits_multiplies_in_8_bits_and_its_agreement_is_told(exported):
    import onnx

    folder, checks = exported
    kinds = [node.op_type for node in onnx.load(folder / "onnx" / INT8).graph.node]
    # Six convolutions of the front end and its projection; six matrices in each of two blocks there and two here.
    assert kinds.count("MatMulInteger") >= 7 + 24
    assert kinds.count("Conv") == 2  # of one channel, and of position
    waveforms, texts = WAVEFORMS + WAVEFORMS, TEXTS + [None] * len(TEXTS)
    whole, small = (OnnxModel(folder, int8=form).predict(waveforms, texts) for form in (False, True))
    for k, name in enumerate(("arousal", "valence", "dominance")):
        assert checks["int8_ccc"][name] == pytest.approx(audmetric.concordance_cc(whole[:, k], small[:, k]), abs=1e-5)
        assert checks["int8_mae"][name] == pytest.approx(np.abs(whole[:, k] - small[:, k]).mean(), rel=1e-4)
        assert checks["int8_ccc"][name] > 0.8  # of sums of 8 to 24 random terms, each off by some half a percent
    assert json.loads((folder / "onnx" / "config.json").read_text())["checks"] == checks


def spoil_int8(graph: Path) -> None:
    """Turn the sign of every quantised weight, as a kernel that is wrong altogether would."""
    import onnx

    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
    onnx.save(model, graph)


def test_8_bits_that_are_far_off_are_not_written(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported[0], tmp_path / "model")
    before = {path: path.read_bytes() for path in (folder / "onnx").iterdir()}
    quantise = module._quantise

    def wrong(source: Path, target: Path) -> None:
        quantise(source, target)
        spoil_int8(target)

    monkeypatch.setattr(module, "_quantise", wrong)
    # The graph is the one that is there: making it takes most of an export's time.
    monkeypatch.setattr(module, "_write_graph", lambda ready, path: path.write_bytes(before[folder / "onnx" / FLOAT]))
    with pytest.raises(
        UserError, match=r"in 8 bits arousal is predicted otherwise.*0\.12 is allowed.*leave out --int8"
    ):
        export_model(folder, WAVEFORMS, TEXTS, int8=True)
    assert {path: path.read_bytes() for path in (folder / "onnx").iterdir()} == before


def test_8_bits_are_compared_with_float32_where_they_run(exported, tmp_path):
    folder = shutil.copytree(exported[0] / "onnx", tmp_path / "onnx")
    right = OnnxModel(folder, int8=True)
    np.testing.assert_array_equal(
        right.predict(WAVEFORMS, TEXTS), OnnxModel(folder, int8=True, check=False).predict(WAVEFORMS, TEXTS)
    )
    spoil_int8(folder / INT8)
    wrong = OnnxModel(folder, int8=True)
    assert wrong.predict([]).shape == (0, 3)
    for _ in range(2):  # it does not pass at the second attempt
        with pytest.raises(UserError, match=r"in 8 bits this processor predicts arousal otherwise.*leave out --int8"):
            wrong.predict(WAVEFORMS, TEXTS)
    (folder / FLOAT).unlink()
    with pytest.warns(UserWarning, match=r"is not compared with float32.*model\.onnx is not there"):
        OnnxModel(folder, int8=True).predict(WAVEFORMS[:1])
    config = json.loads((folder / "config.json").read_text())
    del config["checks"]["int8_tolerance"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="exported by an early version"):
        OnnxModel(folder, int8=True).predict(WAVEFORMS[:1])


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        (None, "lacks the field 'checks'"),
        ([], "the field 'checks' must be a table"),
        (
            {"int8_tolerance": {"arousal": 0.1}},
            "the field 'int8_tolerance' must be a number for each of arousal, valence",
        ),
        ({"int8_tolerance": 0.1}, "the field 'int8_tolerance' must be a number for each of arousal, valence"),
    ],
)
def test_checks_that_do_not_fit_are_refused_as_the_model_is_read(exported, tmp_path, checks, why):
    folder = shutil.copytree(exported[0] / "onnx", tmp_path / "onnx")
    config = json.loads((folder / "config.json").read_text())
    del config["checks"]
    (folder / "config.json").write_text(json.dumps(config if checks is None else {**config, "checks": checks}))
    with pytest.raises(UserError, match=f"config.json.*{why}.*probe-train export"):
        OnnxModel(folder, int8=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("audio", "text", "options"),
    [
        ("hubert-large", None, {"layers": "sum", "pooling": "attentive", "normalise": False}),
        ("hubert-base", "roberta", {"pooling": "attentive"}),
        ("wavlm-base", None, {}),
        ("data2vec-audio", None, {"layers": "sum"}),
        (None, "bert", {"dimensions": ("valence",)}),
    ],
    ids=["hubert-large", "hubert-base-roberta", "wavlm", "data2vec", "bert"],
)
def test_every_kind_of_model_is_exported(tmp_path, audio, text, options):
    if options.get("dimensions"):
        folder = tmp_path / "model"
        one = build(ModelSettings(audio=None, text=str(save_text_model(tmp_path / "text", text)), **options))
        save_model(folder, *one, {"label": "tiny"})
    else:
        folder = trained(tmp_path, audio, text, **options)
    waveforms = None if audio is None else WAVEFORMS
    texts = ["good", *TEXTS[:1], "no one"] if audio is None else TEXTS if text else None
    checks = export_model(folder, waveforms, texts)
    assert checks["difference"] < 1e-4
    ready = load_model(folder)
    if audio is None:
        other = (None, ["the weather went out", "oh"])
    else:
        other = ([tone(3.0, seed=5), tone(0.5, seed=6)[: ready.receptive_field]], None)
    close(OnnxModel(folder).predict(*other), ready.predict(*other))
    with pytest.raises(UserError, match=r"export MODEL --int8"):
        OnnxModel(folder, int8=True)


@pytest.mark.slow
def test_a_graph_that_predicts_otherwise_is_not_written(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported[0], tmp_path / "model")
    before = {path: path.read_bytes() for path in (folder / "onnx").iterdir()}
    monkeypatch.setattr(module, "_all_count", lambda states: torch.arange(states.shape[1])[None] > 0)
    with pytest.raises(UserError, match=r"predicts otherwise than torch.*was not written"):
        export_model(folder, WAVEFORMS, TEXTS)
    assert {path: path.read_bytes() for path in (folder / "onnx").iterdir()} == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in exported[0].iterdir())


def test_it_runs_without_torch_and_transformers(exported, tmp_path):
    """In a folder apart from the weights, in a process of its own."""
    folder = shutil.copytree(exported[0] / "onnx", tmp_path / "alone")
    np.save(tmp_path / "waveform.npy", WAVEFORMS[0])
    script = (
        "import sys, numpy\n"
        "from emoprobe.endtoend.exported import OnnxModel\n"
        f"model = OnnxModel({str(folder)!r})\n"
        f"print(model.predict([numpy.load({str(tmp_path / 'waveform.npy')!r})], ['good morning']).tolist())\n"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    close(np.array(json.loads(done.stdout)), load_model(exported[0]).predict(WAVEFORMS[:1], ["good morning"]))


def test_what_cannot_be_predicted_is_told(exported, tmp_path):
    onnx = OnnxModel(exported[0])
    with pytest.raises(UserError, match="shorter than the 400"):
        onnx.predict([WAVEFORMS[0][:399]])
    with pytest.raises(UserError, match="give waveforms"):
        onnx.predict(None, ["good"])
    with pytest.raises(UserError, match="2 waveforms and 1 texts"):
        onnx.predict(WAVEFORMS[:2], ["good"])
    assert onnx.predict([]).shape == (0, 3)
    with pytest.raises(UserError, match=r"no model in ONNX form.*probe-train export"):
        OnnxModel(tmp_path)
    folder = shutil.copytree(exported[0] / "onnx", tmp_path / "copy")
    (folder / FLOAT).write_bytes((folder / FLOAT).read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged"):
        OnnxModel(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        OnnxModel(folder, int8=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        OnnxModel(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no model in ONNX form"):
        OnnxModel(folder)


def test_no_folder_of_anything_else_is_replaced(exported, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"letter\.txt was not written by this program.*--out"):
        export_model(exported[0], WAVEFORMS, TEXTS, out=tmp_path)
    with pytest.raises(UserError, match="no utterance to compare"):
        export_model(exported[0], [], out=tmp_path / "out")
    assert (tmp_path / "letter.txt").read_text() == "dear"


@pytest.mark.slow
def test_the_command_checks_on_a_corpus(exported, tmp_path, capsys):
    folder = shutil.copytree(exported[0], tmp_path / "model", ignore=shutil.ignore_patterns("onnx"))
    rows = ["path,speaker,split,transcript"]
    for k, waveform in enumerate(WAVEFORMS):
        soundfile.write(tmp_path / f"{k}.wav", waveform, 16_000)
        rows.append(f"{k}.wav,s{k},{'test' if k else 'train'},{TEXTS[k] or ''}")
    (tmp_path / "1.wav").write_bytes(b"no audio")
    (tmp_path / "corpus.csv").write_text("\n".join(rows) + "\n")
    corpus = ["--corpus", str(tmp_path / "corpus.csv")]
    assert main(["export", str(folder), "--int8", *corpus, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "(4 utterances of" in shown  # of the test split, the file that is none left out
    assert "int8 and float32, valence: CCC" in shown
    assert OnnxModel(tmp_path / "out", int8=True).predict(WAVEFORMS[:1]).shape == (1, 3)
    assert not (folder / "onnx").exists()
    assert main(["export", str(tmp_path), *corpus]) == 0  # the folder of a training stands for its model
    assert capsys.readouterr().out.startswith(str(folder / "onnx" / "model.onnx"))
    assert main(["export", str(tmp_path / "none"), *corpus]) == 2
    assert "error:" in capsys.readouterr().err
    assert main(["export", str(folder), *corpus, "--limit", "1"]) == 2
