"""An utterance that is a part of a file is what the same samples are as a file of their own, wherever it is read."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.cli.extract import main as extract_command
from emoprobe.errors import UserError
from emoprobe.extract import extract
from emoprobe.extract.audio import AudioProblem, Kept, cut, gathered, read_audio, read_header
from emoprobe.extract.batching import plan_batches
from emoprobe.extract.cache import HiddenStateCache
from emoprobe.extract.corpora import read_corpus, read_manifest
from emoprobe.extract.corpora.places import overlaps, places
from emoprobe.extract.scan import scan
from emoprobe.extract.writer import CacheWriter
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import tone, write_csv
from tests.segment_fixtures import count_decoded, make_conversation


def written(path: Path, rate: int, kind: str, subtype: str, *, seconds: float = 12.0) -> Path:
    """A stereo file whose channels differ."""
    sound = np.stack([tone(seconds, seed=seed, rate=rate) for seed in (1, 2)], axis=1)
    with soundfile.SoundFile(path, "w", rate, 2, subtype, format=kind) as file:
        for start in range(0, len(sound), rate):  # some encoders fail on long blocks
            file.write(sound[start : start + rate])
    return path


def resampled(signal: np.ndarray, rate: int) -> np.ndarray:
    """The whole file at 16 kHz, by torchaudio in double precision."""
    return torchaudio.functional.resample(torch.from_numpy(signal).double(), rate, 16_000).numpy()


# What a part is -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "kind", "subtype"),
    [
        (16_000, "WAV", "PCM_16"),
        (44_100, "WAV", "PCM_16"),
        (8_000, "WAV", "FLOAT"),
        (22_050, "AIFF", "PCM_16"),
        (48_000, "FLAC", "PCM_16"),
        (11_025, "WAV", "ULAW"),
        (44_100, "OGG", "VORBIS"),
        (48_000, "OGG", "OPUS"),
        (44_100, "MP3", "MPEG_LAYER_III"),
        (16_000, "WAV", "IMA_ADPCM"),
    ],
)
def test_a_part_is_that_span_of_the_resampled_file(rate, kind, subtype, tmp_path):
    path = written(tmp_path / "a", rate, kind, subtype)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    header, kept, rng = read_header(path), Kept(), np.random.default_rng(0)
    signals = {None: whole.mean(axis=1, dtype=np.float64).astype(np.float32), 0: whole[:, 0], 1: whole[:, 1]}
    expected = {channel: resampled(signal, rate) for channel, signal in signals.items()}
    times = [(None, None), (None, 0.25), (11.5, None), (0.0, 12.0), *np.sort(rng.uniform(0, 12, (6, 2))).tolist()]
    for start, end in times:
        first, last = round((start or 0.0) * rate), len(whole) if end is None else round(end * rate)
        into, until = (math.ceil(Fraction(16_000 * sample, rate)) for sample in (first, last))
        for channel, signal in expected.items():
            part = cut(header, (start, end, channel))
            found = read_audio(path, part, kept)
            assert len(found) == part.samples == until - into
            # Float32 at the size of the signal, and a kernel rounded to float32.
            np.testing.assert_allclose(found, signal[into:until], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    lengths=st.lists(st.integers(40, 2_000), min_size=2, max_size=6),
)
def test_parts_that_follow_one_another_are_the_file(rate, lengths, tmp_path_factory):
    path = tmp_path_factory.mktemp("joined") / "a.wav"
    soundfile.write(path, tone(sum(lengths) / rate, seed=3, rate=rate), rate, subtype="FLOAT")
    header = read_header(path)
    times = [None, *(np.cumsum(lengths)[:-1] / rate).tolist(), None]
    pieces = [read_audio(path, cut(header, (*between, None))) for between in pairwise(times)]
    np.testing.assert_allclose(np.concatenate(pieces), read_audio(path, header), atol=1e-6)


def test_where_a_part_was_resampled_alone_its_edges_differ_and_nothing_else_does(tmp_path):
    rate, begin, end = 44_100, 441 * 100, 441 * 300  # a phase of the filter begins with every 441st sample
    path = written(tmp_path / "a.wav", rate, "WAV", "FLOAT")
    soundfile.write(tmp_path / "cut.wav", soundfile.read(path)[0][begin:end], rate, subtype="FLOAT")
    found = read_audio(path, cut(read_header(path), (begin / rate, end / rate, None)))
    alone = read_audio(tmp_path / "cut.wav", read_header(tmp_path / "cut.wav"))
    assert len(found) == len(alone) == 32_000
    reach = 8  # samples at 16 kHz: the filter has 6 zeros to each side, at 0.99 of half the rate
    np.testing.assert_allclose(found[reach:-reach], alone[reach:-reach], atol=1e-6)
    edges = np.abs(found - alone)
    assert max(edges[:reach].max(), edges[-reach:].max()) > 1e-3  # zeros in place of what is said before and after


@pytest.mark.parametrize(
    ("place", "status", "told"),
    [
        ((11.0, 12.5, None), "outside", r"11 s to 12.5 s is wanted, and the file has 12 s"),
        ((12.0, None, None), "outside", r"12 s to its end is wanted"),
        ((40.0, 41.0, None), "outside", r"40 s to 41 s is wanted"),
        ((1.0, 2.0, 2), "outside", r"channel 2 is wanted, and the file has 2 channels \(0 to 1\)"),
        ((1.0, 1.00001, None), "empty", r"no sample lies between 1 s and 1.00001 s at 8000 Hz"),
    ],
)
def test_a_part_that_a_file_does_not_have_is_listed_with_the_reason(place, status, told, tmp_path):
    path = written(tmp_path / "a.wav", 8_000, "WAV", "PCM_16")
    with pytest.raises(AudioProblem, match=told) as problem:
        cut(read_header(path), place)
    assert problem.value.status == status


def test_an_end_rounded_to_a_hundredth_of_a_second_is_the_files_end(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.23456), 16_000)
    header = read_header(path)
    assert cut(header, (1.0, 1.24, None)).samples == header.samples - 16_000
    with pytest.raises(AudioProblem, match="outside"):
        cut(header, (1.0, 1.25, None))


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "FLOAT"), ("CAF", "FLOAT")])
def test_only_the_parts_that_are_damaged_or_silent_are_lost(kind, subtype, tmp_path):
    path, sound = tmp_path / "a", tone(4.0)
    sound[16_000] = np.nan
    sound[32_000:48_000] = 0.25
    soundfile.write(path, sound, 16_000, subtype=subtype, format=kind)
    header = read_header(path)
    for second, status in enumerate([None, "non-finite", "silent", None]):
        part = cut(header, (float(second), second + 1.0, None))
        if status is None:
            np.testing.assert_array_equal(read_audio(path, part), sound[16_000 * second :][:16_000])
        else:
            with pytest.raises(AudioProblem, match=status):
                read_audio(path, part)


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_what_a_cut_off_file_lacks_is_told_of_the_parts_that_need_it(kind, subtype, tmp_path):
    path = written(tmp_path / "a", 16_000, kind, subtype)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(read_audio(path, cut(header, (1.0, 3.0, 1)))) == 32_000
    with pytest.raises(AudioProblem, match=r"truncated.*the part ends with sample 176000 of 192000"):
        read_audio(path, cut(header, (10.0, 11.0, 1)))


# What a table says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"start": "2", "end": "1"}, "line 3, column 'end': the utterance begins at 2 s and ends at 1 s"),
        ({"start": "1", "end": "1"}, "line 3, column 'end': the utterance begins at 1 s and ends at 1 s"),
        ({"end": "0"}, "line 3, column 'end': the utterance begins at 0 s and ends at 0 s"),
        ({"start": "-0.5"}, "line 3, column 'start': the time -0.5 s lies before the file"),
        ({"start": "48000000"}, "line 3, column 'start': the time 4.8e.07 s is no place in a file; write seconds"),
        ({"start": "soon"}, "line 3, column 'start': 'soon' is not a finite number"),
        ({"channel": "1.5"}, "line 3, column 'channel': 1.5 is no channel; channels count from 0"),
        ({"channel": "-1"}, "line 3, column 'channel': -1 is no channel"),
        ({"channel": "left"}, "line 3, column 'channel': 'left' is not a finite number"),
    ],
)
def test_what_can_select_no_audio_is_refused_with_its_row(cells, told, tmp_path):
    names = ("start", "end", "channel")
    rows = [["a", "a.wav", "0", "1", "0"], ["b", "a.wav", *(cells.get(name, "") for name in names)]]
    manifest = write_csv(tmp_path / "m.csv", ["id", "path", *names], rows)
    with pytest.raises(UserError, match=told):
        read_manifest(manifest)


def test_parts_have_names_and_what_they_share_is_told(tmp_path):
    rows = [["a.wav", "0", "1.5", ""], ["a.wav", "1.25", "2", ""], ["a.wav", "2", "", "1"], ["b.wav", "", "", ""]]
    corpus = read_manifest(write_csv(tmp_path / "m.csv", ["path", "start", "end", "channel"], rows))
    assert list(corpus.utterances["id"]) == ["a_0-1.5", "a_1.25-2", "a_2-end_ch1", "b"]
    assert places(corpus.utterances) == [(0.0, 1.5, None), (1.25, 2.0, None), (2.0, None, 1), ()]
    assert any("2 utterances share audio with another one" in note for note in corpus.notes)
    assert not any("named by more than one row" in note for note in corpus.notes)
    twice = read_manifest(
        write_csv(tmp_path / "m.csv", ["id", "path", "start"], [["x", "a.wav", "1"], ["y", "a.wav", "1"]])
    )
    assert any("1 parts of files are named by more than one row" in note for note in twice.notes)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.integers(1, 4), st.sampled_from(["", "0", "1"])),
        min_size=1,
    )
)
def test_overlaps_are_counted_as_pair_by_pair(tmp_path_factory, rows):
    table = [[f"u{k}", f"{name}.wav", at, at + long, channel] for k, (name, at, long, channel) in enumerate(rows)]
    path = write_csv(tmp_path_factory.mktemp("t") / "m.csv", ["id", "path", "start", "end", "channel"], table)
    corpus = read_manifest(path).utterances
    expected = sum(
        any(
            one != other
            and table[one][1] == table[other][1]
            and table[one][2] < table[other][3]
            and table[other][2] < table[one][3]
            and (table[one][4] == table[other][4] or "" in (table[one][4], table[other][4]))
            for other in range(len(table))
        )
        for one in range(len(table))
    )
    assert overlaps(corpus) == expected


def test_the_hash_of_a_corpus_covers_the_cut(tmp_path):
    def sha(**cells: str) -> str:
        return read_manifest(write_csv(tmp_path / "m.csv", ["path", *cells], [["a.wav", *cells.values()]])).sha256

    hashes = [
        sha(id="u"),
        *(sha(id="u", **{name: "1"}) for name in ("start", "end", "channel")),
        sha(id="u", start="2"),
    ]
    assert len(set(hashes)) == len(hashes)
    assert sha(id="u", start="", end="", channel="") == sha(id="u")


# What is decoded ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subtype", "channel"),
    [("WAV", "PCM_16", None), ("FLAC", "PCM_16", 1), ("OGG", "VORBIS", 1), ("MP3", "MPEG_LAYER_III", None)],
)
def test_a_file_is_decoded_once_for_all_its_parts_however_many_threads_read_it(
    kind, subtype, channel, tmp_path, monkeypatch
):
    path = written(tmp_path / "a", 16_000, kind, subtype)
    header, kept = read_header(path), Kept()
    # Neighbours by turns of the two channels, in no order.
    parts = [cut(header, (k / 10, (k + 1) / 10, channel and k % 2)) for k in np.random.default_rng(0).permutation(120)]
    counts = count_decoded(monkeypatch)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda part: read_audio(path, part, kept), parts))
    assert sum(counts) == header.frames == 12 * 16_000


def test_what_is_kept_is_made_once_and_bounded():
    kept, made, together = Kept(room=100), [], Barrier(4)

    def make(key: int) -> str:
        made.append(key)
        return str(key)

    def ask(key: int) -> str:
        together.wait()
        return kept.get(key, lambda: make(key), lambda value: 40)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, [7, 7, 7, 7])) == ["7"] * 4
    assert made == [7]
    for key in (1, 7, 2, 7, 1):  # of three values of 40 there is room for two; 1 was not used for longest
        kept.get(key, lambda key=key: make(key), lambda value: 40)
    assert made == [7, 1, 2, 1]
    kept.get(3, lambda: make(3), lambda value: 1_000)  # too large, and kept until the next one
    kept.get(3, lambda: make(3), lambda value: 1_000)
    assert made == [7, 1, 2, 1, 3]


def test_parts_of_a_file_that_must_be_decoded_whole_share_batches(tmp_path):
    paths = ["a.mp3", "b.OGG", "c.wav", "a.mp3", "a.mp3", "d.mp3", "s.parquet/audio/3", "s.parquet/audio/4", "b.OGG"]
    parts = [(0.0, 1.0, None)] * 5 + [()] * 3 + [(2.0, 3.0, None)]
    groups = gathered(paths, parts)
    assert list(groups) == [1, 2, 0, 1, 1, 0, 3, 3, 2]
    sizes = np.array([3, 9, 5, 4, 2, 6, 1, 2, 8])
    batches = plan_batches(sizes, budget=12, groups=groups)
    assert [list(batch) for batch in batches] == [[5, 2], [1], [8], [3, 0, 4], [7, 6]]
    assert [list(batch) for batch in plan_batches(sizes, budget=12, groups=np.zeros(9, dtype=int))] == [
        list(batch) for batch in plan_batches(sizes, budget=12)
    ]


# A conversation in one file -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_speech_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_states_equal_those_of_the_segments_saved_as_files(kind, subtype, model, tmp_path, monkeypatch):
    talk = make_conversation(tmp_path / "talk", turns=40, seconds=40, kind=kind, subtype=subtype)
    options = {"device": "cpu", "batch_seconds": 4, "frames": True, "progress": False}
    with extract(str(talk.turns), model, tmp_path / "files.h5", **options) as files:
        counts = count_decoded(monkeypatch)
        with extract(str(talk.whole), model, tmp_path / "parts.h5", **options) as parts:
            assert sum(counts) == talk.seconds * 16_000
            assert list(parts.utterances["id"]) == list(files.utterances["id"])
            assert places(parts.utterances)[0] == places(read_manifest(talk.whole).utterances)[0]
            # The same batches, so the same bits.
            for name in parts.utterances["id"]:
                np.testing.assert_array_equal(parts.frames(name), files.frames(name))
            for name in parts.statistics:
                np.testing.assert_array_equal(parts.states(name), files.states(name))
            for name, features in parts.acoustics.items():
                np.testing.assert_array_equal(features, files.acoustics[name])


@pytest.mark.slow
def test_an_extraction_of_parts_that_was_stopped_goes_on_to_the_same_bytes(model, tmp_path, monkeypatch):
    talk = make_conversation(tmp_path / "talk", turns=30, seconds=20, kind="OGG", subtype="VORBIS")
    options = {"device": "cpu", "batch_seconds": 3, "workers": 3, "progress": False}
    counts = count_decoded(monkeypatch)
    extract(str(talk.whole), model, tmp_path / "whole.h5", **options).close()
    assert sum(counts) == talk.seconds * 16_000  # once, although its turns are not in its order
    write, done = CacheWriter.write, []

    def stopped(self, *arguments):
        if len(done) == 3:
            raise UserError("stopped")
        done.append(write(self, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "write", stopped)
        with pytest.raises(UserError, match="stopped"):
            extract(str(talk.whole), model, tmp_path / "stopped.h5", **options)
    extract(str(talk.whole), model, tmp_path / "stopped.h5", **options).close()
    assert (tmp_path / "stopped.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_cache_of_other_times_is_not_gone_on_with(model, tmp_path):
    path = tmp_path / "m.csv"
    soundfile.write(tmp_path / "a.wav", tone(3.0), 16_000)
    for number, start in enumerate(("0.5", "0.75")):
        write_csv(path, ["id", "path", "start", "end"], [["u", "a.wav", start, str(float(start) + 1)]])
        if number == 0:
            extract(str(path), model, tmp_path / "s.h5", device="cpu", progress=False).close()
    with pytest.raises(UserError, match="cache of something else: the corpus"):
        extract(str(path), model, tmp_path / "s.h5", device="cpu", progress=False)


def test_the_command_lists_the_parts_that_are_not_there(model, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone(3.0), 16_000)
    rows = [["a.wav", 0, 1, 0], ["a.wav", 2, 5, 0], ["a.wav", 1, 2, 1]]
    manifest = write_csv(tmp_path / "m.csv", ["path", "start", "end", "channel"], rows)
    out = tmp_path / "s.h5"
    assert extract_command(["--corpus", str(manifest), "--model", model, "--out", str(out), "--device", "cpu"]) == 3
    told = capsys.readouterr()
    assert "2 s to 5 s is wanted, and the file has 3 s" in told.out + told.err
    assert "channel 1 is wanted, and the file has 1 channel (0)" in told.out + told.err


def test_clips_with_the_times_of_their_source_are_not_cut_again(model, tmp_path, capsys):
    rows = []
    for turn in range(8):
        soundfile.write(tmp_path / f"{turn}.wav", tone(0.5, seed=turn), 16_000)
        rows.append([f"{turn}.wav", 0.2 * turn, 0.2 * turn + 0.4])
    manifest = write_csv(tmp_path / "m.csv", ["path", "start_time", "end_time"], rows)
    given = ["--corpus", str(manifest), "--model", model, "--out", str(tmp_path / "s.h5"), "--device", "cpu"]
    assert extract_command(given) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "7 of 8 parts lie behind the ends of their files" in told
    assert "--columns start= end=" in told
    assert not (tmp_path / "s.h5").exists()
    assert extract_command([*given, "--columns", "start=", "end="]) == 0
    with HiddenStateCache(tmp_path / "s.h5") as cache:
        np.testing.assert_allclose(cache.utterances["seconds"], 0.5)


def test_a_part_behind_the_end_of_a_file_of_its_own_is_listed_with_the_remedy(tmp_path):
    for name in ("long", "short", "twice"):
        soundfile.write(tmp_path / f"{name}.wav", tone(0.5), 16_000)
    rows = [["long.wav", 0, 0.4], ["short.wav", 0.4, 0.9], ["twice.wav", 0, 0.4], ["twice.wav", 0.4, 0.9]]
    corpus = read_corpus(str(write_csv(tmp_path / "m.csv", ["path", "start", "end"], rows)))
    table, _ = scan(corpus, shortest=400, longest=60, progress=False)
    assert list(table["status"]) == ["pending", "outside", "pending", "outside"]
    assert ["--columns start= end=" in reason for reason in table["reason"]] == [False, True, False, False]


def test_headers_of_a_file_are_read_once(tmp_path, monkeypatch):
    talk = make_conversation(tmp_path / "talk", turns=50, seconds=20)
    opened, open_file = [], soundfile.SoundFile.__init__
    monkeypatch.setattr(
        soundfile.SoundFile, "__init__", lambda self, *a, **o: (opened.append(1), open_file(self, *a, **o))[1]
    )
    table, _ = scan(read_corpus(str(talk.whole)), shortest=400, longest=60, progress=False)
    assert len(table) == 50
    assert len(opened) == 1
    assert table["seconds"].sum() == pytest.approx(20)
