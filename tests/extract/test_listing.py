"""What there is of models and readers is listed without loading any of it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from emoprobe.cli.emoprobe import main as emoprobe
from emoprobe.extract.corpora import listing
from emoprobe.extract.corpora.registry import corpus_readers
from emoprobe.extract.encoders import hub
from emoprobe.extract.encoders.architectures import ARCHITECTURES, TEXT_ARCHITECTURES
from emoprobe.extract.encoders.listing import listed_models
from emoprobe.extract.encoders.packaged import packaged_models, packaged_names


def test_every_short_name_is_listed_once():
    names = [model.name for model in listed_models()]
    assert sorted(names) == sorted([*packaged_names(), *ARCHITECTURES, *TEXT_ARCHITECTURES])
    here = {model.name for model in listed_models() if model.is_here}
    assert set(packaged_models()) <= here


def test_a_model_in_the_local_cache_of_the_hub_is_here(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    before = {model.name: model.is_here for model in listed_models()}
    assert not before["wavlm-base"]
    (tmp_path / "models--microsoft--wavlm-base").mkdir()
    assert hub.cached_names() == ["microsoft/wavlm-base"]
    after = {model.name: model.is_here for model in listed_models()}
    assert {name for name in after if after[name] != before[name]} == {"wavlm-base"}


def test_every_reader_is_listed_with_what_it_expects():
    readers = listing.listed_readers()
    assert sorted(name for reader in readers for name in reader.names) == sorted(corpus_readers())
    by_name = {name: reader for reader in readers for name in reader.names}
    assert "Actor_01" in by_name["ravdess"].expects
    assert "seven emotions" in by_name["emodb"].about
    assert by_name["manifest"] is by_name["jsonl"]
    assert all(reader.about for reader in readers)
    assert not any(mark in reader.about + reader.expects for reader in readers for mark in ("``", ":func:"))


def test_a_broken_reader_is_listed_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "broken_reader.py").write_text("def (")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = {
        "broken": EntryPoint("broken", "broken_reader:read", "emoprobe.corpora"),
        "gone": EntryPoint("gone", "no_such_package.reader:read", "emoprobe.corpora"),
    }
    monkeypatch.setattr(listing, "corpus_readers", lambda: entries)
    told = {reader.names: reader.about for reader in listing.listed_readers()}
    assert told["broken",].startswith("cannot be read: ")
    assert told["gone",].startswith("cannot be read: ")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["models", "corpora"])
def test_a_list_needs_no_torch(command):
    code = (
        f"import sys\nfrom emoprobe.cli.emoprobe import main\nassert main(['{command}']) == 0\n"
        "print('HEAVY', *sorted(set(sys.modules) & {'torch', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "HEAVY"


def test_a_part_of_the_names_is_asked_for(capsys):
    assert emoprobe(["corpora", "emo", "ravdess"]) == 0
    names = [line for line in capsys.readouterr().out.splitlines()[:-1] if not line.startswith(" ")]
    assert {"emodb", "emovo", "ravdess", "nemo"} <= set(names)
    assert "iemocap" in names  # which holds "emo" too
    assert "tar" not in names
    assert emoprobe(["models", "wavlm"]) == 0
    names = re.findall(r"^([\w.-]*wavlm[\w.-]*) ", capsys.readouterr().out, re.M)
    assert names == ["wavlm-base", "wavlm-base-plus", "wavlm-large"]


def test_only_what_is_here_can_be_asked_for(capsys):
    assert emoprobe(["models", "--here"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("hubert-nano ") for line in lines)
    assert all(line.endswith(" yes") for line in lines[1:] if Path(line.split()[0]).name in ARCHITECTURES)
