"""Checkpoints as they lie on disk and on the hub: the same weights whatever the file; no code of a pickle is run."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from emoprobe.errors import UserError
from emoprobe.extract.encoders import checkpoint as loading
from emoprobe.extract.encoders import pickled
from emoprobe.extract.encoders.checkpoint import open_checkpoint
from emoprobe.extract.encoders.speech import load_backbone, weights_sha256
from emoprobe.extract.encoders.text import load_text_encoder
from emoprobe.testing.checkpoints import SIZES, make_model, save_speech_model, save_text_model
from emoprobe.testing.recognisers import save_ctc, save_whisper
from emoprobe.transcribe.recognisers import load_recogniser
from tests.hub import Hub, serving

WAVE = np.random.default_rng(0).normal(size=8_000).astype(np.float32)


def pickle_weights(folder: Path, weights: dict | None = None, *, shards: int = 1, **options) -> Path:
    """Turn the folder's safetensors into pickles, with other weights where given."""
    if weights is None:
        weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin", **options)
        return folder
    names = [f"pytorch_model-{k + 1:05d}-of-{shards:05d}.bin" for k in range(shards)]
    index = {key: names[k % shards] for k, key in enumerate(weights)}
    for name in names:
        torch.save({key: weights[key] for key in weights if index[key] == name}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def rewrite(path: Path, **changes) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_old_names(weights: dict) -> dict:
    """The names that torch gave the parts of a normalised weight before 2.0."""
    parts = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    return {re.sub("|".join(parts), lambda part: parts[part[0]], name): value for name, value in weights.items()}


def with_head(kind: str) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedModel]:
    """A model with a head, and its encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = transformers.Wav2Vec2Config(**SIZES, vocab_size=30, num_codevectors_per_group=4, codevector_dim=8)
        model = getattr(transformers, f"Wav2Vec2For{kind}")(config).eval()
    return model, model.wav2vec2


def on_disk(kind: str, folder: Path) -> transformers.PreTrainedModel:
    """Write a checkpoint of that kind, and return transformers' own model of the same weights."""
    model = make_model("hubert-base")
    save_speech_model(folder, normalise=False)
    weights = load_file(folder / "model.safetensors")
    if kind == "sharded safetensors":
        shutil.rmtree(folder)
        save_speech_model(folder, normalise=False)
        model.save_pretrained(folder, max_shard_size="20KB")
        (folder / "model.safetensors").unlink()
        assert len(list(folder.glob("*.safetensors"))) > 2
    elif kind == "bin":
        pickle_weights(folder)
    elif kind == "bin of before torch 1.6":
        pickle_weights(folder, _use_new_zipfile_serialization=False)
    elif kind == "sharded bin":
        pickle_weights(folder, shards=3)
    elif kind == "bin with weight_g":
        pickle_weights(folder, with_old_names(weights))
        assert any(name.endswith("weight_g") for name in with_old_names(weights))
    elif kind == "float16 bin":
        pickle_weights(folder, {name: value.half() for name, value in weights.items()})
        model = model.half().float()
    elif kind == "float32 that is called float16":
        rewrite(folder / "config.json", torch_dtype="float16", dtype="float16")
    elif kind == "module. and shared memory":
        shared = {f"module.hubert.{name}": value for name, value in weights.items()}
        shared["module.head.weight"] = shared["module.hubert.encoder.layer_norm.weight"]
        pickle_weights(folder, shared)
    elif kind.startswith("behind "):
        wrapped = {f"{kind.removeprefix('behind ')}{name}": value for name, value in weights.items()}
        pickle_weights(folder, wrapped | {"classifier.weight": torch.zeros(2, 16)})
    elif kind == "null vocabulary":
        rewrite(folder / "config.json", vocab_size=None)
    elif kind == "processor_config.json":
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").unlink()
        (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    elif kind in ("CTC", "PreTraining", "SequenceClassification"):
        whole, model = with_head(kind)
        whole.save_pretrained(folder)
        pickle_weights(folder, with_old_names(whole.state_dict()))
    else:
        assert kind == "safetensors"
    return model


KINDS = (
    "safetensors",
    "sharded safetensors",
    "bin",
    "bin of before torch 1.6",
    "sharded bin",
    "bin with weight_g",
    "float16 bin",
    "float32 that is called float16",
    "module. and shared memory",
    "behind model.",
    "behind module.encoder_model.",
    "behind encoder.",
    "behind upstream.model.hubert.",
    "null vocabulary",
    "processor_config.json",
    "CTC",
    "PreTraining",
    "SequenceClassification",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_equals_transformers_own_forward(kind, tmp_path):
    reference = on_disk(kind, tmp_path / "model")
    backbone = load_backbone(str(tmp_path / "model"))
    with torch.inference_mode():
        expected = reference(torch.from_numpy(WAVE)[None], output_hidden_states=True).hidden_states
    states, _ = backbone.hidden_states([WAVE])
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}
    assert backbone.normalise is False
    for ours, theirs in zip(states, expected, strict=True):
        assert torch.equal(ours, theirs)
    about = backbone.provenance()
    assert about["weights_format"] == ("safetensors" if list((tmp_path / "model").glob("*.safetensors")) else "pickle")
    assert about["weights_sha256"] == weights_sha256(reference)
    for name, digest in about["weights_files"].items():
        assert pickled.file_sha256(tmp_path / "model" / name) == digest


def test_a_pickle_is_read_once(tmp_path, monkeypatch):
    folder = pickle_weights(save_speech_model(tmp_path / "model"))
    first = load_backbone(str(folder)).provenance()

    def refuse(*args, **kwargs):
        raise AssertionError("the pickle was read again")

    monkeypatch.setattr(torch, "load", refuse)
    assert load_backbone(str(folder)).provenance() == first


def test_many_may_convert_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOPROBE_HOME", str(tmp_path / "cache"))
    folder = pickle_weights(save_speech_model(tmp_path / "model"))
    file = folder / "pytorch_model.bin"
    digest = pickled.file_sha256(file)
    with ThreadPoolExecutor(4) as threads:
        paths = set(threads.map(lambda _: pickled.as_safetensors([file], [digest]), range(8)))
    (path,) = paths
    assert path == tmp_path / "cache/checkpoints" / digest / "model.safetensors"
    assert [each.name for each in path.parent.iterdir()] == ["model.safetensors"]
    expected = torch.load(file, weights_only=True)
    assert {name: value.tolist() for name, value in load_file(path).items()} == {
        name: value.tolist() for name, value in expected.items()
    }


class Hostile:
    """Runs a command when it is unpickled without restriction."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "before torch 1.6", "bare pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(form, tmp_path):
    folder, ran = save_speech_model(tmp_path / "model"), tmp_path / "ran"
    weights = load_file(folder / "model.safetensors") | {"x": Hostile(ran)}
    pickle_weights(folder, weights, _use_new_zipfile_serialization=form == "zip")
    if form == "bare pickle":
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(weights["x"], protocol=2))
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*(could run code|damaged)") as refused:
        load_backbone(str(folder))
    assert "weights_only" not in str(refused.value)
    assert not ran.exists()
    if form == "zip":
        assert f"{os.mkdir.__module__}.mkdir" in str(refused.value)
        call, arguments = weights["x"].__reduce__()
        call(*arguments)
        assert ran.exists()  # so what the file asks for does leave a trace where nothing hinders it


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_of_any_protocol_is_refused_without_a_warning(protocol, tmp_path, recwarn):
    folder, ran = save_speech_model(tmp_path / "model"), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(ran), protocol=protocol))
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*(could run code|damaged)"):
        load_backbone(str(folder))
    assert not ran.exists()
    assert not [warning for warning in recwarn if "pickle" in str(warning.message)]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("fewer layers", r"smaller model.*\(encoder\.layers\.2\..*Give the config\.json that belongs"),
        ("missing", r"lacks 1 weight \(encoder\.layers\.1\.final_layer_norm\.weight\)"),
        ("strange names", r"lacks \d+ weights .*the names in pytorch_model\.bin begin with w2v\); give a checkpoint"),
        (
            "NaN",
            r"safetensors holds NaN or infinity in 1 weight \(encoder\.layers\.0\.final_layer_norm\.weight\)",
        ),
        ("another size", r"does not fit config\.json: .* \(\d.*, not \(.*Give the config\.json that belongs"),
        ("truncated bin", r"pytorch_model\.bin is damaged.*download it again"),
        ("empty bin", r"pytorch_model\.bin is damaged.*download it again"),
        ("training state", r"holds model \(dict\)"),
        ("pointer", r"git lfs pull"),
        ("no shard", r"pytorch_model-00002-of-00003\.bin, which pytorch_model\.bin\.index\.json names, is not there"),
        ("path in the index", r"index\.json.*damaged"),
        ("quantised", r"quantised"),
        ("two encoders", r"several encoders \(student\.hubert\., teacher\.hubert\.\)"),
        ("two wrappers", r"several encoders \(a\., b\.\)"),
        ("no weights", r"no weights that can be read \(model\.safetensors or pytorch_model\.bin\); copy it from"),
        (
            "model saved whole",
            r"torch\.nn\.\S+Linear, .*nothing of it was run\. It is a model saved whole .*save_pretrained",
        ),
        ("lost blob", r"model\.safetensors is a link to \.\./blobs/a1, which is gone; .*download the model again"),
        ("lost configuration", r"config\.json is a link to \.\./blobs/a1, which is gone"),
    ],
)
def test_what_is_not_whole_is_refused(kind, why, tmp_path):
    folder = save_speech_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    if kind == "fewer layers":
        rewrite(folder / "config.json", num_hidden_layers=2)
    elif kind == "missing":
        del weights["encoder.layers.1.final_layer_norm.weight"]
        pickle_weights(folder, weights)
    elif kind == "another size":
        rewrite(folder / "config.json", intermediate_size=32)
    elif kind in ("truncated bin", "empty bin"):
        pickle_weights(folder)
        content = (folder / "pytorch_model.bin").read_bytes()
        (folder / "pytorch_model.bin").write_bytes(content[: len(content) // 2 if kind == "truncated bin" else 0])
    elif kind == "training state":
        pickle_weights(folder, {"model": weights, "epoch": 3})
    elif kind == "pointer":
        (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif kind in ("no shard", "path in the index"):
        pickle_weights(folder, shards=3)
        (folder / "pytorch_model-00002-of-00003.bin").unlink()
        if kind == "path in the index":
            rewrite(folder / "pytorch_model.bin.index.json", weight_map={"x": "../../evil.bin"})
    elif kind == "quantised":
        rewrite(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    elif kind == "two encoders":
        both = {f"{who}.hubert.{name}": value for who in ("student", "teacher") for name, value in weights.items()}
        pickle_weights(folder, both)
    elif kind == "two wrappers":
        pickle_weights(folder, {f"{who}.{name}": value for who in "ab" for name, value in weights.items()})
    elif kind == "strange names":
        pickle_weights(folder, {f"w2v.layer{k}": value for k, value in enumerate(weights.values())})
    elif kind == "NaN":
        weights["encoder.layers.0.final_layer_norm.weight"][1] = torch.nan
        weights["masked_spec_embed"] = torch.full((16,), torch.nan)  # which nothing here reads
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    elif kind == "model saved whole":
        (folder / "model.safetensors").unlink()
        torch.save(torch.nn.Linear(2, 2), folder / "pytorch_model.bin")
    elif kind in ("lost blob", "lost configuration"):
        file = folder / ("model.safetensors" if kind == "lost blob" else "config.json")
        file.unlink()
        file.symlink_to("../blobs/a1")
    else:
        (folder / "model.safetensors").unlink()
        (folder / "training_args.bin").touch()  # of the training, and no weights
    with pytest.raises(UserError, match=why) as refused:
        load_backbone(str(folder))
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tf_model.h5", r"tf_model\.h5 is of TensorFlow: load it there with transformers 4"),
        ("flax_model.msgpack", r"of Flax"),
        ("adapter_model.safetensors", r"an adapter.*merge_and_unload"),
        ("weights.safetensors", r"rename it to model\.safetensors"),
        ("checkpoint_best.pt", r"such as fairseq: load it with the program that wrote it"),
        ("epoch=3.ckpt", r"such as Lightning"),
        ("weights.bin", r"rename it to pytorch_model\.bin"),
    ],
)
def test_weights_under_another_name_are_told_with_what_to_do(name, why, tmp_path):
    folder, usual = save_speech_model(tmp_path / "model"), "model.safetensors"
    if name.endswith(".bin"):
        usual = "pytorch_model.bin"
        pickle_weights(folder)
    (folder / usual).rename(folder / name)
    (folder / "optimizer.pt").touch()
    with pytest.raises(UserError, match=rf"no weights that can be read .*{why}"):
        load_backbone(str(folder))
    if "rename" in why:  # which, followed, mends it
        (folder / name).rename(folder / usual)
        load_backbone(str(folder))


UNUSUAL = {
    "sparse": lambda values: values.to_sparse(),
    "meta": lambda values: values.to("meta"),
    "quantised": lambda values: torch.quantize_per_tensor(values, 0.1, 0, torch.qint8),
    "nested": lambda values: torch.nested.as_nested_tensor([values, values]),
}


@pytest.mark.filterwarnings("ignore")  # some of these forms are on their way out of torch
@pytest.mark.parametrize("form", UNUSUAL)
def test_tensors_of_another_form_are_refused_by_name(form, tmp_path):
    name = "encoder.layers.1.attention.k_proj.weight"
    folder = save_speech_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    pickle_weights(folder, weights | {name: UNUSUAL[form](weights[name])})
    with pytest.raises(UserError, match=rf"pytorch_model\.bin: {re.escape(name)} is a {form} tensor.*save_pretrained"):
        load_backbone(str(folder))


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    folder = pickle_weights(save_speech_model(tmp_path / "model", seed=8))
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMOPROBE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/checkpoints/.* cannot be written.*EMOPROBE_HOME"):
        load_backbone(str(folder))


def test_an_old_torch_is_refused_a_pickle_by_name(tmp_path, monkeypatch):
    folder = pickle_weights(save_speech_model(tmp_path / "model", seed=9))
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(UserError, match=r"torch 2\.9\.1\+cpu .*CVE-2026-24747.*pip install 'torch>=2\.10'"):
        load_backbone(str(folder))
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    load_backbone(str(folder))


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
def test_text_encoders_in_a_pickle(family, tmp_path):
    """As published before safetensors: behind the family's name, beside a head, with the names of TensorFlow."""
    folder = save_text_model(tmp_path / "model", family)
    rewrite(folder / "tokenizer_config.json", tokenizer_class="BertTokenizerFast")
    expected = load_text_encoder(str(folder)).embed(["good morning", "no"])
    weights = load_file(folder / "model.safetensors")
    prefix = transformers.AutoModel.from_pretrained(folder).base_model_prefix
    old = {
        f"{prefix}.{re.sub('LayerNorm.weight', 'LayerNorm.gamma', re.sub('LayerNorm.bias', 'LayerNorm.beta', name))}": v
        for name, v in weights.items()
    }
    old |= {f"{prefix}.embeddings.position_ids": torch.arange(24)[None], "cls.predictions.bias": torch.zeros(20)}
    pickle_weights(folder, old)
    encoder = load_text_encoder(str(folder))
    assert np.array_equal(encoder.embed(["good morning", "no"]), expected)
    assert encoder.provenance()["weights_format"] == "pickle"


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_ctc, save_whisper])
def test_recognisers_in_a_pickle(save, tmp_path):
    folder = save(tmp_path / "model")
    expected = load_recogniser(str(folder))
    pickle_weights(folder)
    found = load_recogniser(str(folder))
    assert found.identity() == expected.identity()
    assert found.transcribe([WAVE]) == expected.transcribe([WAVE])


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hubert-bsae", "hubert-base"), ("HuBERT_Large", "hubert-large"), ("hubert-nan", "hubert-nano")],
)
def test_a_misspelt_name_is_answered_without_the_hub(name, meant, monkeypatch):
    def refuse(*args):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(loading, "find_repository", refuse)
    with pytest.raises(UserError, match=f"did you mean {meant}"):
        load_backbone(name)


def test_a_misspelt_name_is_answered_before_anything_heavy_is_imported(tmp_path):
    code = (
        "import sys\n"
        "from emoprobe.cli import extract, train, transcribe\n"
        "assert extract.main(['--model', 'hubret-base']) == 2\n"
        "assert train.main(['--audio', 'distilhubret']) == 2\n"
        "assert train.main(['--text', 'minilmm']) == 2\n"
        "assert transcribe.main(['--corpus', 'demo', '--model', 'whisper-tiny-em']) == 2\n"
        "assert not {'torch', 'transformers', 'pandas', 'h5py'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    meant = re.findall(r"did you mean ([\w.-]+)\?", done.stderr)
    assert meant == ["hubert-base", "distilhubert", "minilm", "whisper-tiny-en"]
    assert not list(tmp_path.iterdir())


def test_a_misspelt_folder_is_told_with_its_neighbour(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    save_speech_model(tmp_path / "models/hubert")
    (tmp_path / "models/notes").mkdir()
    for wrong in (tmp_path / "models/hubret", "models/hubret", "modles/hubert", "./modles/hubert"):
        with pytest.raises(UserError, match=r"Did you mean .*models/hubert\?"):
            load_backbone(str(wrong))
    with pytest.raises(UserError, match=r"config\.json is a file; give the folder that holds"):
        load_backbone("models/hubert/config.json")
    with pytest.raises(UserError) as told:
        load_backbone("elsewhere/quite")
    assert "Did you mean" not in str(told.value)


def test_the_folder_of_a_cached_repository_is_told_where_its_files_are(tmp_path):
    inside = save_speech_model(tmp_path / "models--lab--x/snapshots/abc")
    with pytest.raises(UserError, match=re.escape(f"no config.json; give {inside}, which does")):
        load_backbone(str(tmp_path / "models--lab--x"))


def test_a_revision_of_what_is_not_on_the_hub_is_refused(tmp_path):
    for name in (str(save_speech_model(tmp_path / "model")), "hubert-nano"):
        with pytest.raises(UserError, match="--revision is for checkpoints on the hub"):
            open_checkpoint(name, revision="main")


@pytest.mark.slow
class TestHub:
    """Real processes against a hub on this machine, with the environment that a user would set."""

    @pytest.fixture(scope="class")
    @classmethod
    def results(cls, tmp_path_factory) -> dict:
        root = tmp_path_factory.mktemp("hub")
        with serving() as hub:
            _fill(hub, root)
            environment = _environment(root, hub.url)
            online = _run(ONLINE, environment)
            commits = {name: repo.commit("main") for name, repo in hub.repos.items()}
        offline = _run(OFFLINE, environment | {"HF_HUB_OFFLINE": "1"})
        return {"online": online, "offline": offline, "commits": commits}

    def test_nothing_goes_to_another_machine(self, results):
        for part in ("online", "offline"):
            assert all(not each["elsewhere"] for each in results[part].values())

    def test_no_request_asks_for_a_conversion(self, results):
        asked = [path for _, path in results["online"]["asked when cold"]["requests"]]
        assert len(asked) > len(_SAME)
        assert not [path for path in asked if "discussions" in path or "spaces" in path or "pulls" in path]

    @pytest.mark.parametrize("kind", ["safetensors", "bin", "bin-pr", "sharded"])
    def test_the_same_weights_cold_warm_and_offline(self, kind, results):
        expected = weights_sha256(make_model("hubert-base"))
        loads = [results["online"][f"cold {kind}"], results["online"][f"warm {kind}"], results["offline"][kind]]
        for load in loads:
            about = load["provenance"]
            assert about["weights_sha256"] == expected
            assert about["revision"] == results["commits"][f"lab/{kind}"]
            assert about["weights_format"] == ("safetensors" if kind == "safetensors" else "pickle")
            assert about == loads[0]["provenance"]
        assert not loads[0]["said"]
        assert not loads[1]["said"]

    def test_a_warm_cache_asks_the_hub_once(self, results):
        assert results["online"]["asked when warm"]["requests"] == [
            ["GET", f"/api/models/lab/{kind}/revision/main"] for kind in ("safetensors", "bin", "bin-pr", "sharded")
        ]

    def test_a_pull_request_is_taken_where_it_is_asked_for(self, results):
        asked_for = results["online"]["refs/pr/1"]["provenance"]
        assert asked_for["weights_sha256"] == weights_sha256(make_model("hubert-base", seed=1))
        assert results["offline"]["refs/pr/1"]["provenance"] == asked_for

    @pytest.mark.parametrize("kind", ["text", "ctc"])
    def test_words_come_the_same_way(self, kind, results):
        cold = results["online"][kind]["provenance"]
        assert cold == results["offline"][kind]["provenance"]
        commit = results["commits"][f"lab/{kind}"]
        assert cold["label"] == f"{kind}@{commit[:12]}" if kind == "ctc" else cold["revision"] == commit

    @pytest.mark.parametrize(
        ("load", "why"),
        [
            ("gated", r"gated.*hf auth login"),
            ("missing", r"knows no model lab/missing \(.*\)\. Look at the spelling"),
            ("similar", r"Did you mean facebook/hubert-base-ls960\?"),
            ("no revision", r"lab/bin has no revision v9"),
            ("error", r"an error of its own \(500: the hub is on fire\)\. Try again later"),
            ("hang", r"did not answer within 1 s.*hf download lab/hang --local-dir FOLDER"),
            ("files hang", r"did not answer within 1 s.*hf download lab/files-hang --local-dir FOLDER"),
            (
                "weights stall",
                r"safetensors of lab/moved cannot be fetched: .* stopped sending: no byte for 3 s.*again",
            ),
            ("misspelt cached", r"Did you mean lab/safetensors\?"),
            ("weights hang", r"model\.safetensors of lab/safe-again cannot be fetched.*did not answer within 1 s"),
        ],
    )
    def test_what_fails_is_told_apart(self, load, why, results):
        assert re.search(why, results["online"][load]["error"])

    @pytest.mark.parametrize(("load", "requests"), [("hang", 1), ("files hang", 2), ("error", 1), ("missing", 1)])
    def test_one_failure_is_enough(self, load, requests, results):
        assert len(results["online"][f"asked for {load}"]["requests"]) == requests
        assert results["online"][load]["seconds"] < 60  # minutes, where each failure is tried again

    @pytest.mark.parametrize("mode", ["hang", "error"])
    def test_a_failing_hub_leaves_the_cache(self, mode, results):
        load = results["online"][f"warm {mode}"]
        assert load["provenance"] == results["online"]["cold bin"]["provenance"]
        (said,) = load["said"]
        assert "lab/bin is taken from the local cache" in said
        assert len(results["online"][f"asked for warm {mode}"]["requests"]) == 1

    def test_a_hub_that_refuses_leaves_the_cache(self, results):
        assert results["online"]["warm refused"]["provenance"] == results["online"]["cold bin"]["provenance"]
        assert "cannot be reached" in results["online"]["warm refused"]["said"][0]
        assert "cannot be reached" in results["online"]["cold refused"]["error"]

    def test_a_commit_of_which_little_came_does_not_replace_one_that_is_whole(self, results):
        before, offline = results["online"]["whole"]["provenance"], results["offline"]["moved"]["provenance"]
        assert offline == before
        assert results["online"]["weights stall"]["seconds"] < 60
        asked = results["online"]["asked for weights stall"]["requests"]
        assert len([path for method, path in asked if method == "GET" and "safetensors" in path]) == 1

    def test_offline_says_what_the_cache_has(self, results):
        assert re.search(r"HF_HUB_OFFLINE is set.*hf download lab/missing", results["offline"]["missing"]["error"])
        assert "which has revision main" in results["offline"]["no revision"]["error"]
        assert re.search(r"only a part of commit.*hf download lab/safe-again", results["offline"]["part"]["error"])


def _speech(kind: str, revision: str | None = None) -> list:
    return ["load", "speech", f"lab/{kind}", revision]


_SAME = ("safetensors", "bin", "bin-pr", "sharded")

ONLINE = {
    **{f"cold {kind}": _speech(kind) for kind in _SAME},
    "refs/pr/1": _speech("bin-pr", "refs/pr/1"),
    "text": ["load", "text", "lab/text", None],
    "ctc": ["load", "recogniser", "lab/ctc", None],
    "asked when cold": ["ask", "requests"],
    **{f"warm {kind}": _speech(kind) for kind in _SAME},
    "asked when warm": ["ask", "requests"],
    "gated": _speech("gated"),
    "no revision": _speech("bin", "v9"),
    "similar": ["load", "speech", "facebook/hubert-base-ls690", None],
    "asked": ["ask", "requests"],
    "missing": _speech("missing"),
    "asked for missing": ["ask", "requests"],
    "error": _speech("error"),
    "asked for error": ["ask", "requests"],
    "hang": _speech("hang"),
    "asked for hang": ["ask", "requests"],
    "files hang": _speech("files-hang"),
    "asked for files hang": ["ask", "mode/hang/lab/bin"],
    "warm hang": _speech("bin"),
    "asked for warm hang": ["ask", "mode/error/lab/bin"],
    "warm error": _speech("bin"),
    "asked for warm error": ["ask", "requests"],
    "weights hang": _speech("safe-again"),
    "asked for weights hang": ["ask", "requests"],
    "whole": _speech("moved"),
    "moves": ["ask", "move/lab/moved"],
    "stalls": ["ask", "mode/weights stall/lab/moved"],
    "weights stall": _speech("moved"),
    "asked for weights stall": ["ask", "requests"],
    "misspelt cached": _speech("safetensor"),
    "asked at last": ["ask", "close"],
    "warm refused": _speech("bin"),
    "cold refused": _speech("missing"),
}
OFFLINE = {
    **{kind: _speech(kind) for kind in _SAME},
    "refs/pr/1": _speech("bin-pr", "refs/pr/1"),
    "text": ["load", "text", "lab/text", None],
    "ctc": ["load", "recogniser", "lab/ctc", None],
    "missing": _speech("missing"),
    "no revision": _speech("bin", "v9"),
    "part": _speech("safe-again"),
    "moved": _speech("moved"),
}


def _fill(hub: Hub, root: Path) -> None:
    """Repositories of the layouts that are met, all of the same weights."""
    safe = save_speech_model(root / "safetensors", normalise=False)
    binary = pickle_weights(save_speech_model(root / "bin", normalise=False))
    other = save_speech_model(root / "pr", normalise=False, seed=1)
    sharded = pickle_weights(save_speech_model(root / "sharded", normalise=False), shards=2)
    hub.add("lab/safetensors", main=safe)
    hub.add("lab/bin", main=binary)
    hub.add("lab/bin-pr", main=binary, pr=other)
    hub.add("lab/sharded", main=sharded)
    hub.add("lab/text", main=pickle_weights(save_text_model(root / "text", "bert")))
    hub.add("lab/ctc", main=pickle_weights(save_ctc(root / "ctc")))
    for mode in ("gated", "error", "hang", "files hang"):
        hub.add(f"lab/{mode.replace(' ', '-')}", mode, main=safe)
    hub.add("lab/safe-again", "weights hang", main=safe)
    hub.add("lab/moved", main=safe, next=save_speech_model(root / "next", normalise=False, seed=2))


def _environment(root: Path, url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    return kept | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(root / "home"),
        "HF_HUB_ETAG_TIMEOUT": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "3",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "EMOPROBE_HOME": str(root / "cache"),
        "NO_PROXY": "127.0.0.1",
    }


def _run(tasks: dict[str, list], environment: dict[str, str]) -> dict[str, dict]:
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "hub_worker.py"],
        input=json.dumps(list(tasks.values())),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(tasks, map(json.loads, done.stdout.splitlines()), strict=True))
