"""What a model costs: exact counts, held to the published architectures and to hand formulas."""

from __future__ import annotations

import struct

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from emoprobe.cli.train import main
from emoprobe.endtoend.costs import PARTS, count_model, count_parts, meta_model, report
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.errors import UserError
from emoprobe.extract.encoders.exact import steps
from emoprobe.testing.checkpoints import save_speech_model, save_text_model

PAPER = ModelSettings(audio="distilhubert", text="distilbert", freeze=("frontend", "embeddings"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A look at the hub would fail."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def by_part(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("part")


@pytest.mark.slow
def test_the_distilled_model_holds_a_fifth_of_the_large_ones_trainable_parameters():
    table = count_model(PAPER)
    ours = by_part(table[table["model"] == "this model"])
    large = by_part(table[table["model"] != "this model"])
    assert ours.loc["audio encoder", ["trainable", "total"]].tolist() == [19_291_520, 23_491_968]
    assert ours.loc["text encoder", ["trainable", "total"]].tolist() == [42_527_232, 66_362_880]
    assert ours.loc["before heads", ["trainable", "total"]].tolist() == [61_818_752, 89_854_848]
    assert large.loc["before heads", ["trainable", "total"]].tolist() == [311_228_544, 315_438_720]
    assert ours.loc["before heads", "trainable_ratio"] == 61_818_752 / 311_228_544
    assert f"{ours.loc['before heads', 'trainable_ratio']:.1%}" == "19.9%"
    assert ours.loc["before heads", "bytes"] == 4 * 89_854_848
    assert (large.filter(like="_ratio") == 1).all(axis=None)


@pytest.mark.slow
def test_an_encoder_alone_counts_as_its_paper_says():
    """HuBERT base 95 M, DistilHuBERT 23.5 M, DistilRoBERTa 82 M and MiniLM-L6 22.7 M less their pooling layers."""
    counted = {}
    for name in ("hubert-base", "hubert-large", "distilhubert"):
        counted[name] = by_part(count_parts(ModelSettings(audio=name, text=None, freeze=())))["total"]
    for name in ("distilroberta", "minilm", "distilbert"):
        counted[name] = by_part(count_parts(ModelSettings(audio=None, text=name, freeze=())))["total"]
    assert {name: int(parts["before heads"]) for name, parts in counted.items()} == {
        "hubert-base": 94_371_712,
        "hubert-large": 315_438_720,
        "distilhubert": 23_491_968,
        "distilroberta": 82_118_400 - (768 * 768 + 768),
        "minilm": 22_713_216 - (384 * 384 + 384),
        "distilbert": 66_362_880,
    }
    assert "text encoder" not in counted["hubert-base"]
    assert "audio encoder" not in counted["minilm"]


def hubert_by_hand(samples: int, *, width: int, feed: int, blocks: int) -> int:
    """Multiply-adds of HuBERT: convolutions, projection, position, and each block's matrices and attention."""
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    total, channels = 0, 1
    for depth, kernel in enumerate(kernels, start=1):
        total += steps(samples, kernels[:depth], strides[:depth]) * kernel * channels * 512
        channels = 512
    frames = steps(samples, kernels, strides)
    total += frames * 512 * width
    total += (frames + 1) * 128 * (width // 16) * width  # an even kernel: one step more, that is cut off
    return total + blocks * frames * (4 * width**2 + 2 * width * feed + 2 * frames * width)


def bert_by_hand(tokens: int, *, width: int, feed: int, blocks: int) -> int:
    return blocks * tokens * (4 * width**2 + 2 * width * feed + 2 * tokens * width)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 8.0])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("distilhubert", {"width": 768, "feed": 3072, "blocks": 2}),
        ("hubert-large", {"width": 1024, "feed": 4096, "blocks": 24}),
    ],
)
def test_multiply_adds_of_speech_encoders_are_those_of_the_hand_formula(name, sizes, seconds):
    counted = by_part(count_parts(ModelSettings(audio=name, text=None), seconds=seconds))
    expected = hubert_by_hand(int(seconds * 16_000), **sizes)
    # What is pooled and multiplied once an utterance is in the head.
    assert counted.loc["audio encoder", "macs_per_second"] == round(expected / seconds)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("distilbert", {"width": 768, "feed": 3072, "blocks": 6}),
        ("distilroberta", {"width": 768, "feed": 3072, "blocks": 6}),
        ("minilm", {"width": 384, "feed": 1536, "blocks": 6}),
    ],
)
def test_multiply_adds_of_text_encoders_follow_the_stated_tokens(name, sizes):
    settings = ModelSettings(audio="distilhubert", text=name)
    counted = by_part(count_parts(settings, seconds=4.0, tokens_per_second=5.0))
    assert counted.loc["text encoder", "macs_per_second"] == round(bert_by_hand(20, **sizes) / 4)


@pytest.mark.parametrize("change", [{}, {"pooling": "attentive"}, {"layers": "sum"}, {"text": None}, {"audio": None}])
def test_parts_add_up_and_sizes_are_those_of_the_file(tmp_path, change):
    audio, text = save_speech_model(tmp_path / "audio"), save_text_model(tmp_path / "text")
    settings = ModelSettings(**{"audio": str(audio), "text": str(text), "freeze": ("audio",), **change})
    table = by_part(count_parts(settings))
    encoders = [part for part in PARTS[:2] if part in table.index]
    for name in table.columns:
        assert table.loc[encoders, name].sum() == table.loc["before heads", name]
        assert table.loc["before heads", name] + table.loc["head", name] == table.loc["all", name]
    if settings.audio is not None:
        assert table.loc["audio encoder", "trainable"] == 0
    # The same model with weights, written: what is behind the header that the file's first eight bytes measure.
    weights = {
        name: torch.zeros(value.shape, dtype=value.dtype) for name, value in meta_model(settings).state_dict().items()
    }
    save_file(weights, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    assert table.loc["all", "bytes"] == len(data) - 8 - struct.unpack("<Q", data[:8])[0]


@pytest.mark.slow
def test_the_command_prints_and_writes_the_table_and_stops(tmp_path, capsys):
    assert main(["--audio", "distilhubert", "--text", "distilbert", "--count", "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    table = count_model(PAPER)
    assert report(table) in shown
    for part in ("61,818,752", "19.9%", "tokens a second"):
        assert part in shown
    (written,) = (tmp_path / "run").rglob("*")
    pd.testing.assert_frame_equal(pd.read_csv(written), table)


def test_what_cannot_be_counted_is_told(tmp_path):
    with pytest.raises(UserError, match="neither a folder here nor in the local cache"):
        count_parts(ModelSettings(audio="distilhubert", text="nobody/no-such-encoder"))
    with pytest.raises(UserError, match=r"no config\.json"):
        count_parts(ModelSettings(audio=str(tmp_path), text=None))
