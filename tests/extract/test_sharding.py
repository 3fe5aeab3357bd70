"""A corpus that is extracted in shards and joined is what one extraction makes of it."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoprobe import storage
from emoprobe.analysis import fairness_table, relevance_opinions, similarity_table
from emoprobe.cli.extract import main
from emoprobe.cli.fit import main as fit_main
from emoprobe.errors import UserError
from emoprobe.extract import ExtractionSettings, HiddenStateCache, extract, interleaving, join, load_backbone, writer
from emoprobe.extract import room as room_module
from emoprobe.extract import scan as scanning
from emoprobe.extract.baselines.adding import add_baselines
from emoprobe.extract.sharding import MOST_SHARDS, Shard
from emoprobe.probe.results import Results
from emoprobe.testing import write_cache
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus, write_csv
from tests.shard_fixtures import make_rows, write_parquet
from tests.sharded_caches import change, write_sharded

COUNT = 3


def wait_for_no_disk(patch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: on a busy one that is nearly all the time that small caches take."""
    patch.setattr(storage, "flush", lambda path: None)
    patch.setattr(writer, "_sync", lambda fd: None)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_no_disk(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A corpus with a missing and a silent file, extracted at once and in shards."""
    folder = tmp_path_factory.mktemp("sharded")
    manifest = make_corpus(folder / "corpus", utterances=10)
    (manifest.parent / "u003.wav").unlink()
    soundfile.write(manifest.parent / "u006.wav", np.zeros(8000), 16000)
    model = save_speech_model(folder / "tiny")
    backbone = load_backbone(str(model))
    given = {"device": "cpu", "batch_seconds": 2.0, "progress": False}
    shards = [folder / f"{number}.h5" for number in range(1, COUNT + 1)]
    with pytest.MonkeyPatch.context() as patch:
        wait_for_no_disk(patch)
        extract(str(manifest), backbone, folder / "whole.h5", **given).close()
        for number, shard in enumerate(shards, 1):
            extract(str(manifest), backbone, shard, shard=f"{number}/{COUNT}", **given).close()
        join(shards, folder / "joined.h5", progress=False).close()
    return SimpleNamespace(
        folder=folder,
        manifest=manifest,
        model=model,
        backbone=backbone,
        given=given,
        whole=folder / "whole.h5",
        shards=shards,
        joined=folder / "joined.h5",
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("invented")
    with pytest.MonkeyPatch.context() as patch:
        wait_for_no_disk(patch)
        write_sharded(folder, n=11, count=3)
    return folder


@pytest.fixture
def invented(originals: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    """Of states that no model computed: a whole cache and its three shards."""
    for path in originals.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "whole.h5", [tmp_path / f"shard-{number}.h5" for number in (1, 2, 3)]


def run(made: SimpleNamespace, out: Path, *more: str) -> int:
    given = ["--corpus", str(made.manifest), "--model", str(made.model), "--device", "cpu", "--batch-seconds", "2"]
    return main([*given, "--out", str(out), *more])


# Which utterances -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(1, MOST_SHARDS))
def test_any_number_of_shards_is_a_partition(n, count):
    rows = [row for number in range(1, count + 1) for row in Shard(number, count).rows(n)]
    assert sorted(rows) == list(range(n))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "give K/N"),
        ("2", "give K/N"),
        ("2/", "give K/N"),
        ("2/8/1", "give K/N"),
        ("-1/8", "give K/N"),
        ("1.5/8", "give K/N"),
        ("0/8", "counted from 1; give 1/8 to 8/8"),
        ("9/8", "counted from 1; give 1/8 to 8/8"),
        ("1/0", "1 to 500 shards, and not 0"),
        ("1/501", "1 to 500 shards, and not 501"),
    ],
)
def test_what_is_no_shard_is_refused(text, told):
    with pytest.raises(UserError, match=f"--shard {text}.*{told}"):
        ExtractionSettings(shard=text)


def test_what_does_not_go_with_a_shard_is_refused(made, tmp_path, capsys):
    with pytest.raises(UserError, match="--shard and --frames do not go together: single frames lie in files beside"):
        ExtractionSettings(shard="1/2", frames=True)
    with pytest.raises(UserError, match="--shard 1/11: corpus has 10 utterances here; make at most so many shards"):
        extract(str(made.manifest), made.backbone, tmp_path / "s.h5", shard="1/11", **made.given)
    assert not (tmp_path / "s.h5").exists()
    assert run(made, tmp_path / "s.h5", "--shard", "1/2", "--baselines", "egemaps") == 2
    assert "--shard and --baselines do not go together" in capsys.readouterr().err


@pytest.mark.slow
def test_a_limit_is_drawn_first_and_only_headers_of_the_shard_are_read(made, tmp_path, monkeypatch):
    read_header, read = scanning.read_header, []

    def note(path: str, kept):
        read.append(Path(path).name)
        return read_header(path, kept)

    monkeypatch.setattr(scanning, "read_header", note)
    ids = []
    for number in (1, 2):
        read.clear()
        out = tmp_path / f"{number}.h5"
        with extract(str(made.manifest), made.backbone, out, limit=5, shard=f"{number}/2", **made.given) as cache:
            assert set(read) == set(cache.utterances["path"])
            ids.append(cache.utterances["id"].tolist())
            assert cache.provenance["shard"]["corpus"]["utterances"] == 5
            assert cache.arguments[-4:] == ("--limit", "5", "--shard", f"{number}/2")
    assert list(map(len, ids)) == [3, 2]
    with extract(str(made.manifest), made.backbone, tmp_path / "all.h5", limit=5, **made.given) as cache:
        assert cache.utterances["id"].tolist() == [ids[k % 2][k // 2] for k in range(5)]


def test_a_shard_says_what_it_is_and_what_comes_next(made, tmp_path, capsys):
    assert run(made, tmp_path / "s.h5", "--shard", "2/3") == 0
    said = capsys.readouterr().out
    assert said.startswith("shard 2 of 3: 3 of the 10 utterances of corpus\n")
    assert said.splitlines()[-2:] == [
        "This is shard 2/3 of corpus; once all are there, they are joined.",
        f"next: emoprobe extract join {tmp_path / 's.h5'} OTHERS --out FILE",
    ]
    with HiddenStateCache(tmp_path / "s.h5") as cache, HiddenStateCache(made.whole) as whole:
        told = cache.provenance["shard"]
        assert (told["number"], told["count"], told["corpus"]) == (2, 3, whole.provenance["corpus"])
        assert "shard" not in whole.provenance
        assert cache.utterances["id"].tolist() == whole.utterances["id"][1::3].tolist()


def test_a_shard_goes_on_is_verified_and_repaired_as_any_cache(made, tmp_path, capsys):
    out = tmp_path / "s.h5"
    shutil.copy(made.shards[1], out)
    assert run(made, out, "--shard", "2/3", "--quiet") == 0
    assert out.read_bytes() == made.shards[1].read_bytes()
    with h5py.File(out, "r+") as file:
        file["pooled/mean"][0, 1] += 1
    capsys.readouterr()
    assert main(["--verify", "--out", str(out)]) == 1
    command = shlex.split(capsys.readouterr().err.strip().splitlines()[-1].partition("again: ")[2])
    assert command[-2:] == ["--shard", "2/3"]
    assert main([*command[1:], "--device", "cpu", "--batch-seconds", "2", "--quiet"]) == 0
    assert out.read_bytes() == made.shards[1].read_bytes()


@pytest.mark.parametrize(("more", "now"), [((), "the whole corpus"), (("--shard", "3/3"), "3/3")])
def test_a_shard_is_not_gone_on_with_as_something_else(made, tmp_path, capsys, more, now):
    out = tmp_path / "s.h5"
    shutil.copy(made.shards[1], out)
    assert run(made, out, *more) == 2
    assert f"the shard (there 2/3, now {now})" in capsys.readouterr().err
    assert out.read_bytes() == made.shards[1].read_bytes()


def test_labels_of_other_shards_are_taken_over_too(made, tmp_path, capsys):
    """A shard names the corpus whose rows the others hold, and a join compares it."""
    out = tmp_path / "s.h5"
    shutil.copy(made.shards[1], out)
    text = made.manifest.read_text().splitlines()
    changed = made.manifest.with_name("changed.csv")  # the labels of the first utterance, which is in the first shard
    changed.write_text("\n".join([text[0], text[1].replace("calm", "bored"), *text[2:]]) + "\n")
    given = {**made.given, "shard": "2/3"}
    with pytest.raises(UserError, match=r"other labels \(those of other shards\): --refresh-labels"):
        extract(str(changed), made.backbone, out, **given)
    with extract(str(changed), made.backbone, out, refresh_labels=True, **given) as cache:
        assert cache.provenance["shard"]["corpus"]["name"] == "changed"
        assert cache.verify() == []
    with pytest.raises(UserError, match=r"s\.h5 does not belong to .*1\.h5: the corpus"):
        join([made.shards[0], out, made.shards[2]], tmp_path / "joined.h5", progress=False)


@pytest.mark.slow
def test_a_shard_without_sound_is_joined_all_the_same(made, tmp_path):
    """With as many shards as utterances, that of the bad file has nothing else."""
    four = made.manifest.with_name("four.csv")
    lines = made.manifest.read_text().splitlines()[:5]
    four.write_text("\n".join([*lines[:4], lines[4].replace("u003.wav", "bad.wav")]) + "\n")
    four.with_name("bad.wav").write_bytes(b"no sound")
    shards = []
    for number in range(1, 5):
        shards.append(tmp_path / f"{number}.h5")
        extract(str(four), made.backbone, shards[-1], shard=f"{number}/4", **made.given).close()
    with HiddenStateCache(shards[3]) as cache:
        assert cache.complete
        assert cache.utterances["status"].tolist() == ["unreadable"]
    extract(str(four), made.backbone, tmp_path / "whole.h5", **made.given).close()
    join(shards, tmp_path / "joined.h5", progress=False).close()
    assert_same(tmp_path / "joined.h5", tmp_path / "whole.h5")


def test_a_shard_of_which_every_file_is_missing_is_refused(made, tmp_path):
    """A machine that does not see the audio must not make a shard that a join takes for a corpus with gaps."""
    away = tmp_path / "away.csv"
    away.write_text(made.manifest.read_text())  # beside no audio
    with pytest.raises(UserError, match=r"shard 2/3 of away .* does this machine see the folder of the audio\?"):
        extract(str(away), made.backbone, tmp_path / "s.h5", shard="2/3", **made.given)
    assert not (tmp_path / "s.h5").exists()


def test_times_behind_the_ends_are_judged_by_the_whole_corpus(made, tmp_path):
    """Each file has two parts, one in each shard: no shard is taken for files that are cut already."""
    cells, sound = [], np.random.default_rng(0).normal(size=16_000) / 9
    for number in range(8):
        soundfile.write(tmp_path / f"f{number}.wav", sound, 16_000)
        cells += [[f"f{number}.wav", 0.0, 0.4], [f"f{number}.wav", *((1.5, 1.9) if number < 3 else (0.5, 0.9))]]
    write_csv(tmp_path / "parts.csv", ["path", "start", "end"], cells)
    out, shards = tmp_path / "whole.h5", [tmp_path / "1.h5", tmp_path / "2.h5"]
    extract(str(tmp_path / "parts.csv"), made.backbone, out, **made.given).close()
    for number, shard in enumerate(shards, start=1):
        extract(str(tmp_path / "parts.csv"), made.backbone, shard, shard=f"{number}/2", **made.given).close()
    join(shards, tmp_path / "joined.h5", progress=False).close()
    assert_same(tmp_path / "joined.h5", out)


def test_no_baseline_is_made_beside_a_shard(made):
    with HiddenStateCache(made.shards[0]) as cache, pytest.raises(UserError, match="is shard 1/3 of"):
        add_baselines(cache, ["egemaps"])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parts", "parquet", "whisper"])
def test_the_batches_of_any_corpus_and_model_are_those_of_one_extraction(form, made, tmp_path):
    """Parts of files, audio in groups of rows, and a model that fills a window."""
    manifest, backbone = tmp_path / "corpus" / "manifest.csv", made.backbone
    if form == "parquet":
        rows = make_rows(9)
        write_parquet(tmp_path / "corpus/a.parquet", rows[:5])
        write_parquet(tmp_path / "corpus/b.parquet", rows[5:])
        manifest = tmp_path / "corpus"
    else:
        make_corpus(manifest.parent, utterances=6)
    if form == "parts":
        soundfile.write(manifest.parent / "long.flac", np.random.default_rng(0).normal(size=48_000) / 9, 16_000)
        cells = [["long.flac", 0.5 * k, 0.5 * k + 0.3 + 0.03 * k] for k in range(5)] + [["u001.wav", "", ""]]
        write_csv(manifest, ["path", "start", "end"], cells)
    if form == "whisper":
        backbone = load_backbone(str(save_speech_model(tmp_path / "whisper", "whisper")))
    shards = [tmp_path / f"{number}.h5" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        extract(str(manifest), backbone, shard, shard=f"{number}/2", **made.given).close()
    extract(str(manifest), backbone, tmp_path / "whole.h5", **made.given).close()
    join(shards, tmp_path / "joined.h5", progress=False).close()
    assert_same(tmp_path / "joined.h5", tmp_path / "whole.h5")


# Nothing is computed from a shard -------------------------------------------------------------------------------------


def test_no_results_come_of_a_shard(made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shard = made.shards[0]
    told = r"1.h5 is shard 1/3 of corpus.*probe-extract join SHARDS --out FILE"
    assert fit_main([str(shard), "--dim", "arousal"]) == 2
    assert "is shard 1/3 of corpus" in capsys.readouterr().err
    for compute in (relevance_opinions, similarity_table):
        with pytest.raises(UserError, match=told):
            compute(shard)
    with pytest.raises(UserError, match=told):
        fairness_table(Results.empty(), shard)
    with HiddenStateCache(shard) as cache:  # open to whoever wants to look into it
        assert cache.states("mean").shape[1] == 4
        assert cache.shard == "1/3"
        assert "tiny on corpus, shard 1/3, 4 layers" in repr(cache)


# Joined, it is the cache of one extraction ----------------------------------------------------------------------------


def assert_same(joined: Path, whole: Path) -> None:
    """Two caches of one corpus: equal in all but the last bits of a state.

    An utterance shares a batch with others in a shard than in the whole, and sums of another length are rounded
    elsewhere: by 1e-5 of a layer's largest value at most, as any batch size (test_exactness).
    """
    with h5py.File(joined) as one, h5py.File(whole) as other:
        assert dict(one.attrs) == dict(other.attrs)
        names: list[str] = []
        other.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        there: list[str] = []
        one.visititems(lambda name, node: there.append(name) if isinstance(node, h5py.Dataset) else None)
        assert names == there
        for name in names:
            assert (one[name].shape, one[name].dtype) == (other[name].shape, other[name].dtype)
            assert one[name].id.get_offset() == other[name].id.get_offset()
            if name.startswith(("pooled", "frame_norm", "layers/norm")):
                values = other[name][:]
                np.testing.assert_allclose(one[name][:], values, atol=1e-5 * np.abs(values).max(), rtol=0, err_msg=name)
            elif name != "utterances/checksum":
                np.testing.assert_array_equal(one[name][:], other[name][:], err_msg=name)
    assert joined.stat().st_size == whole.stat().st_size
    with HiddenStateCache(joined) as cache:
        assert cache.verify() == []
        assert cache.complete


def test_what_is_joined_is_what_one_extraction_makes(made):
    assert_same(made.joined, made.whole)
    with HiddenStateCache(made.joined) as cache:
        left_out = {3: "missing", 6: "silent"}
        assert cache.utterances["status"].tolist() == [left_out.get(row, "done") for row in range(10)]
        assert cache.arguments[:4] == ("--corpus", str(made.manifest), "--model", str(made.model))
        assert "--shard" not in cache.arguments


def test_the_ordinary_command_goes_on_with_what_was_joined(made, tmp_path, capsys):
    out = tmp_path / "joined.h5"
    shutil.copy(made.joined, out)
    assert run(made, out) == 3
    assert f"{out} is complete; nothing to do" in capsys.readouterr().out
    assert out.read_bytes() == made.joined.read_bytes()


def test_what_was_joined_is_repaired_without_its_shards(made, tmp_path):
    out = tmp_path / "joined.h5"
    shutil.copy(made.joined, out)
    with h5py.File(out, "r+") as file:
        file["pooled/std"][2, 4] = 0
    assert run(made, out, "--repair", "--quiet") == 3
    assert_same(out, made.whole)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.slow
def test_shards_of_any_number_give_back_the_whole_byte_for_byte(tmp_path_factory, data):
    """The same states in shards: whatever the blocks, nothing is lost, moved or added."""
    n = data.draw(st.integers(1, 14))
    count, rows = data.draw(st.integers(1, n)), data.draw(st.integers(1, 5))
    seed = data.draw(st.integers(0, 99))
    with pytest.MonkeyPatch.context() as patch:
        whole, shards = write_sharded(tmp_path_factory.mktemp("any"), n=n, count=count, seed=seed)
        patch.setattr(interleaving, "_BLOCK_BYTES", rows * 4 * 3 * (2 * 4 + 1))
        patch.setattr(interleaving, "_ROWS_A_SHARD", 0)
        join(data.draw(st.permutations(shards)), whole.with_name("joined.h5"), progress=False).close()
    assert whole.with_name("joined.h5").read_bytes() == whole.read_bytes()


def test_shards_give_back_the_whole_byte_for_byte(invented, monkeypatch):
    whole, shards = invented
    monkeypatch.setattr(interleaving, "_BLOCK_BYTES", 1)  # an utterance a block
    monkeypatch.setattr(interleaving, "_ROWS_A_SHARD", 0)
    told: list[str] = []
    join(shards[::-1], whole.with_name("joined.h5"), progress=False, report=told.append).close()
    assert whole.with_name("joined.h5").read_bytes() == whole.read_bytes()
    assert told[0].startswith("cache: 3 shards of invented, 3 layers of m x 11 utterances x width 4, ")


def test_the_command_joins_and_tells_what_comes_next(invented, capsys):
    whole, shards = invented
    out, given = whole.with_name("joined.h5"), ["join", *map(str, shards)]
    assert main([*given, "--out", str(out)]) == 3
    said = capsys.readouterr()
    assert said.err.count("left out: ") == 1
    assert said.out.splitlines()[-2:] == [
        "Joined: 3 shards, which nothing needs any more.",
        f"next: emoprobe fit {out}",
    ]
    before = out.stat().st_mtime_ns
    assert main([*given, "--out", str(out)]) == 3
    assert f"{out} is complete, and of these shards; nothing to do" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before
    assert all(shard.is_file() for shard in shards)


def test_several_devices_are_told_and_named(invented):
    whole, shards = invented
    change(shards[1], lambda record: record.update(device="NVIDIA H100", batch_seconds=2.0))
    told: list[str] = []
    with join(shards, whole.with_name("joined.h5"), progress=False, report=told.append) as cache:
        assert cache.provenance["device"] == "cpu and NVIDIA H100"
        assert cache.provenance["batch_seconds"] == 2.0
    assert told[0].startswith("note: several devices made the shards (cpu, NVIDIA H100)")
    assert told[1].startswith("note: several sizes of a batch made the shards (4.0, 2.0)")


def test_of_several_checks_of_precision_the_worst_is_kept(invented):
    whole, shards = invented
    for shard, error in zip(shards[:2], (0.1, 0.2), strict=True):
        check = {"in_float32": ["a"], "errors": {"layer 0": error}}
        change(shard, lambda record, check=check: record.update(precision_check=check))
    with join(shards, whole.with_name("joined.h5"), progress=False) as cache:
        assert cache.provenance["precision_check"]["errors"] == {"layer 0": 0.2}


def test_a_joined_cache_that_was_damaged_is_not_called_complete(invented):
    whole, shards = invented
    out = whole.with_name("joined.h5")
    with join(shards, out, progress=False) as cache:
        place = cache._file.hdf5["pooled/mean"].id.get_offset()
    right = out.read_bytes()
    with out.open("r+b") as file:
        file.seek(place)
        file.write(bytes([right[place] ^ 1]))
    assert refused(shards, out).endswith("join again with --overwrite, the shards are whole")
    join(shards, out, overwrite=True, progress=False).close()
    assert out.read_bytes() == right


def test_a_repair_of_which_nothing_else_is_said_takes_what_made_the_cache(made, tmp_path, monkeypatch):
    out = tmp_path / "s.h5"
    assert run(made, out, "--shard", "2/3") in (0, 3)
    right = out.read_bytes()
    with HiddenStateCache(out) as cache:
        place = cache._file.hdf5["pooled/mean"].id.get_offset()
    with out.open("r+b") as file:
        file.seek(place)
        file.write(bytes([right[place] ^ 1]))
    monkeypatch.chdir(tmp_path)  # where the demo corpus would be made
    assert main(["--repair", "--out", str(out), "--device", "cpu", "--quiet"]) in (0, 3)
    assert out.read_bytes() == right
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


def test_what_lies_beside_a_shard_is_told_to_stay_there(invented):
    whole, shards = invented
    shards[2].with_name(f"{shards[2].name}.baselines").mkdir()
    told: list[str] = []
    join(shards, whole.with_name("joined.h5"), progress=False, report=told.append).close()
    assert "shard-3.h5.baselines is not joined: probe-extract --baselines makes it beside the new cache" in told[0]


# What is refused ------------------------------------------------------------------------------------------------------


def refused(shards: list[Path], out: Path, **options) -> str:
    """Why a join is refused, once it has left nothing and changed nothing."""
    before = {path: path.read_bytes() for path in out.parent.iterdir()}
    with pytest.raises(UserError) as caught:
        join(shards, out, progress=False, **options)
    assert {path: path.read_bytes() for path in out.parent.iterdir()} == before
    return str(caught.value)


def test_shards_that_are_missing_or_given_twice_are_refused(invented):
    whole, shards = invented
    out = whole.with_name("joined.h5")
    assert "there is no shard to join" in refused([], out)
    assert "shards are missing: 1/3, 3/3; give them too, or make them with probe-extract --shard" in refused(
        [shards[1]], out
    )
    shutil.copy(shards[1], whole.with_name("again.h5"))
    both = [*shards, whole.with_name("again.h5")]
    assert f"{shards[1]} and {both[-1]} are both shard 2/3: give each shard once" in refused(both, out)
    assert f"there is no cache {whole.with_name('none.h5')}" in refused([*shards, whole.with_name("none.h5")], out)
    assert f"{whole} is no shard, but the cache of a whole corpus" in refused([*shards[:2], whole], out)
    change(shards[2], lambda record: record["shard"].update(count=4))
    assert "join shards of one division" in refused(shards, out)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda record: record["model"].update(label="other"), "the model (m there, other here)"),
        (lambda record: record["model"].update(weights_sha256="1" * 64), "weights (000000000000… there, 1111111111"),
        (lambda record: record["model"].update(normalise=False), "the model's input (True there, False here)"),
        (lambda record: record["shard"]["corpus"].update(sha256="2" * 64), "the corpus ("),
        (lambda record: record.update(precision="bfloat16"), "the precision (float32 there, bfloat16 here)"),
        (lambda record: record.update(longest_seconds=9.0), "the longest file (60.0 there, 9.0 here)"),
        (lambda record: record.update(methods={"pooling": 2}), "the versions of the methods ("),
        (lambda record: record["versions"].update(torch="3"), "the version of torch (2 there, 3 here)"),
        (lambda record: record["versions"].update(numpy="2"), "the version of numpy (none there, 2 here)"),
    ],
)
def test_what_differs_between_shards_is_named(invented, edit, told):
    whole, shards = invented
    change(shards[1], edit)
    said = refused(shards, whole.with_name("joined.h5"))
    assert said.startswith(f"{shards[1]} does not belong to {shards[0]}: ")
    assert told in said


def test_other_modules_in_float32_are_told_and_all_kept(invented):
    """Each machine finds out by itself what its kernels compute wrongly, and no option says so to another."""
    whole, shards = invented
    for shard, names in zip(shards[:2], ([], ["conv"]), strict=True):
        change(shard, lambda record, names=names: record.update(precision_check={"in_float32": names}))
    told: list[str] = []
    with join(shards, whole.with_name("joined.h5"), progress=False, report=told.append) as cache:
        assert cache.provenance["precision_check"]["in_float32"] == ["conv"]
    assert told[0].startswith("note: the shards had other modules in float32 (none; conv)")


def test_rows_that_are_not_the_corpus_are_refused(invented):
    """All shards agree on the hash of a corpus, and their rows have another one."""
    whole, shards = invented
    for shard in shards:
        change(shard, lambda record: record["shard"]["corpus"].update(sha256="2" * 64))
    assert "are not those of the corpus whose hash they tell" in refused(shards, whole.with_name("joined.h5"))
    for shard in shards:
        change(shard, lambda record: record["shard"]["corpus"].update(utterances=20))
    assert "shard-1.h5 holds 4 utterances, and shard 1/3 of 20 has 7" in refused(shards, whole.with_name("joined.h5"))


@pytest.mark.parametrize("name", ["utterances/status", "layers/norm"])
def test_a_shard_that_is_not_finished_is_refused_with_what_finishes_it(invented, name):
    whole, shards = invented
    with h5py.File(shards[1], "r+") as file:
        file[name][0] = "pending" if name.endswith("status") else np.nan
    said = refused(shards, whole.with_name("joined.h5"))
    what = "1 of 4 utterances" if name.endswith("status") else "the norms of its layers"
    assert said.startswith(
        f"{shards[1]} is not complete ({what} are still to come): finish it with probe-extract --out "
    )
    assert said.endswith("--corpus /invented/m.csv --model /models/m --shard 2/3, then join again")


@pytest.mark.parametrize("name", ["pooled/std", "frame_norm", "acoustic/mfcc", "utterances/checksum"])
def test_a_damaged_shard_is_refused_with_its_remedy(invented, name):
    whole, shards = invented
    with h5py.File(shards[2], "r+") as file:
        done = int(np.flatnonzero(file["utterances/status"][:] == b"done")[-1])
        values = file[name][:]
        where = (slice(None), done) if name.startswith(("pooled", "frame")) else done
        values[where] = b"0" * 16 if name.endswith("checksum") else values[where] + 1
        file[name][...] = values
        damaged = file["utterances/id"].asstr()[done]
    said = refused(shards, whole.with_name("joined.h5"))
    assert said.startswith(f"{shards[2]}: the states of {damaged} have changed since they were written")
    assert f"probe-extract --repair --out {shards[2]} --corpus" in said


def test_a_damaged_reason_or_description_is_refused(invented):
    whole, shards = invented
    out = whole.with_name("joined.h5")
    for shard in shards:
        with h5py.File(shard, "r+") as file:
            bad = np.flatnonzero(file["utterances/status"][:] == b"missing")
            if len(bad):
                file["utterances/reason"][bad[0]] = "another"
                break
    assert f"{shard}: the reason why id" in refused(shards, out)
    with h5py.File(shards[0], "r+") as file:
        file["utterances/arousal"][0] += 1
    assert f"{shards[0]} is damaged or is no cache" in refused(shards, out)


def test_what_stands_at_the_place_is_not_replaced(invented, tmp_path, monkeypatch):
    whole, shards = invented
    out = tmp_path / "joined.h5"
    assert f"--out {shards[1]} is what this command reads" in refused(shards, shards[1])
    out.write_bytes(b"mine")
    for overwrite in (False, True):
        assert f"{out} is no cache of hidden states" in refused(shards, out, overwrite=overwrite)
    out.unlink()
    write_cache(out, n=5)
    assert "is another cache than these shards make" in refused(shards, out)
    join(shards, out, overwrite=True, progress=False).close()
    assert out.read_bytes() == whole.read_bytes()
    (tmp_path / "new.h5.frames").mkdir()
    (tmp_path / "new.h5.frames" / "000000.h5").write_bytes(b"")
    with pytest.raises(UserError, match=r"new\.h5\.frames holds the single frames of another cache"):
        join(shards, tmp_path / "new.h5", progress=False)


def test_a_full_disk_is_told_before_anything_is_copied(invented, monkeypatch):
    whole, shards = invented
    monkeypatch.setattr(room_module.shutil, "disk_usage", lambda place: SimpleNamespace(free=100))
    said = refused(shards, whole.with_name("joined.h5"))
    assert "the disk has 0.1 kB: free " in said
    assert "or give another place with --out" in said


# Killed ---------------------------------------------------------------------------------------------------------------


def _join_and_die(shards: list[Path], out: Path, die_at: int, overwrite: bool) -> None:
    write, count = os.pwrite, 0

    def write_and_die(fd: int, data: memoryview, place: int) -> int:
        nonlocal count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, data, place)

    os.pwrite = write_and_die
    interleaving._BLOCK_BYTES, interleaving._ROWS_A_SHARD = 1, 0
    join(shards, out, overwrite=overwrite, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_a_join_that_is_killed_leaves_what_was_there_and_ends_the_same_when_run_again(invented, tmp_path, there):
    whole, shards = invented
    out = tmp_path / "joined.h5"
    if there:
        write_cache(out, n=5)
    before = out.read_bytes() if there else None
    for die_at in (1, 40, 90):
        process = multiprocessing.get_context("fork").Process(target=_join_and_die, args=(shards, out, die_at, there))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert (out.read_bytes() if there else out.exists()) == (before if there else False)
        left = [path for path in tmp_path.iterdir() if path.name.endswith(".new")]
        assert len(left) == 1  # that of an earlier one is gone
    join(shards, out, overwrite=there, progress=False).close()
    assert out.read_bytes() == whole.read_bytes()
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".new")] == []


def test_a_join_that_is_interrupted_leaves_nothing(invented, monkeypatch):
    whole, shards = invented

    def stop(self, start: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(interleaving._Copy, "block", stop)
    there = set(whole.parent.iterdir())
    with pytest.raises(KeyboardInterrupt):
        join(shards, whole.with_name("joined.h5"), progress=False)
    assert set(whole.parent.iterdir()) == there
