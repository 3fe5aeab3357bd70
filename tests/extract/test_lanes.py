"""Batches side by side give the cache that they give one after the other, byte for byte, and errors in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from emoprobe.cli.extract import main
from emoprobe.extract.encoders.speech import Backbone
from emoprobe.extract.lanes import MOST, lanes
from emoprobe.testing.checkpoints import make_backbone, save_speech_model
from emoprobe.testing.corpora import make_corpus

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def extract(folder, out, *more) -> int:
    options = ["--corpus", str(folder / "manifest.csv"), "--model", str(folder / "model"), "--out", str(out)]
    return main([*options, "--device", "cpu", "--batch-seconds", "3", "--quiet", *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder)
    save_speech_model(folder / "model")
    return folder


@pytest.mark.parametrize("more", [(), ("--frames",)], ids=["pooled", "frames"])
def test_the_bytes_are_those_of_one_batch_at_a_time(folder, tmp_path, more, monkeypatch):
    seen = set()
    walk = Backbone.walk
    monkeypatch.setattr(Backbone, "walk", lambda *given: seen.add(threading.current_thread().name) or walk(*given))
    torch.set_num_threads(1)
    assert extract(folder, tmp_path / "one" / "states.h5", *more) == 0
    assert seen == {"MainThread"}
    torch.set_num_threads(3)
    assert extract(folder, tmp_path / "several" / "states.h5", *more) == 0
    assert torch.get_num_threads() == 3
    assert len(seen) > 2
    assert (tmp_path / "several" / "states.h5").read_bytes() == (tmp_path / "one" / "states.h5").read_bytes()


def test_a_batch_that_fits_no_memory_is_halved_in_its_lane(folder, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    assert extract(folder, tmp_path / "whole.h5") == 0
    walk = Backbone.walk

    def little_memory(self, waveforms, visit):
        if len(waveforms) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return walk(self, waveforms, visit)

    monkeypatch.setattr(Backbone, "walk", little_memory)
    torch.set_num_threads(2)
    assert extract(folder, tmp_path / "halved.h5") == 0


def test_answers_come_in_order_and_an_error_where_its_answer_would():
    def compute(backbone, number):
        if number == 5:
            raise ValueError("the fifth")
        return number, backbone

    torch.set_num_threads(2)
    with lanes(make_backbone("distilhubert"), CPU, in_float32=()) as several:
        answers = []
        with pytest.raises(ValueError, match="the fifth"):
            answers.extend(several.in_order(range(8), compute))
        again = list(several.in_order(range(5), compute))
    assert [number for number, _ in again] == list(range(5))
    assert len({backbone for _, backbone in again}) <= 2


@pytest.mark.parametrize(("threads", "count", "each"), [(1, 1, 1), (2, 2, 1), (7, MOST, 1), (16, MOST, 4)])
def test_threads_are_shared_out_among_the_lanes(threads, count, each):
    torch.set_num_threads(threads)
    with lanes(make_backbone("distilhubert"), CPU, in_float32=()) as several:
        gate = threading.Barrier(count, timeout=60)  # breaks where fewer are at work at a time

        def compute(_, __):
            gate.wait()
            return torch.get_num_threads()

        assert list(several.in_order(range(count), compute)) == [each] * count
    assert torch.get_num_threads() == threads
