"""A run folder is of one run: what differs is named, nothing is mixed, and a kill while it is cleared is mended."""

from __future__ import annotations

import json

import pytest

from emoprobe.checkpoints import cut_log
from emoprobe.claims import alone, claim
from emoprobe.errors import UserError

SETTINGS = {"steps": 3, "layers": (4, 8), "teacher": {"name": "a", "sha256": "0" * 80}, "versions": {"torch": "1"}}
OWN = ("log.jsonl", "checkpoints/checkpoint-*/**")


def taken(folder, settings=SETTINGS, **more):
    return claim(folder, settings, record="settings.json", own=OWN, option="--run", **more)


def fill(folder):
    (folder / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    for name in ("log.jsonl", "checkpoints/checkpoint-3/model.safetensors"):
        (folder / name).write_text("old")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_same_run_goes_on_and_keeps_what_it_was_started_with(tmp_path):
    first = taken(tmp_path / "run")
    fill(tmp_path / "run")
    again = taken(tmp_path / "run", SETTINGS | {"versions": {"torch": "2"}})
    assert again == first == json.loads(json.dumps(SETTINGS))
    assert names(tmp_path / "run") == ["checkpoints/checkpoint-3/model.safetensors", "log.jsonl", "settings.json"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": 5}, r"steps \(there 3, now 5\)"),
        ({"layers": (4,)}, r"layers \(there \[4, 8\], now \[4\]\)"),
        ({"teacher": {"name": "b", "sha256": "0" * 80}}, r"teacher\.name \(there a, now b\)"),
        ({"teacher": None}, r"teacher \(there .*…, now null\)"),
        ({"speech": 1}, r"speech \(there nothing, now 1\)"),
    ],
)
def test_each_setting_that_differs_is_named_and_nothing_is_touched(tmp_path, change, told):
    taken(tmp_path / "run")
    fill(tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names(tmp_path / "run")}
    with pytest.raises(UserError, match=rf"another run: {told}\. Give another folder with --run, or remove that"):
        taken(tmp_path / "run", SETTINGS | change)
    with pytest.raises(UserError, match="or --overwrite to start anew, which removes its 2 files"):
        taken(tmp_path / "run", SETTINGS | change, overwrite=False)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names(tmp_path / "run")} == before


def test_overwrite_removes_our_own_and_says_so(tmp_path):
    taken(tmp_path / "run")
    fill(tmp_path / "run")
    said = []
    assert taken(tmp_path / "run", SETTINGS | {"steps": 5}, overwrite=True, say=said.append)["steps"] == 5
    assert names(tmp_path / "run") == ["settings.json"]
    assert "removing the 2 files" in said[0]


def test_killed_while_it_is_cleared_the_folder_is_cleared_by_the_next(tmp_path, monkeypatch):
    """The record already says the new settings, what is there is still of the old run: it must not be gone on with."""
    from emoprobe import claims

    taken(tmp_path / "run")
    fill(tmp_path / "run")

    def killed(folder, own):
        raise KeyboardInterrupt

    new = SETTINGS | {"steps": 5}
    with monkeypatch.context() as patch:
        patch.setattr(claims, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            taken(tmp_path / "run", new, overwrite=True)
    assert "log.jsonl" in names(tmp_path / "run")
    with pytest.raises(UserError, match="another run"):
        taken(tmp_path / "run", SETTINGS)
    taken(tmp_path / "run", new)
    assert names(tmp_path / "run") == ["settings.json"]


@pytest.mark.parametrize("overwrite", [None, False, True])
@pytest.mark.parametrize("stranger", ["notes.txt", "log.jsonl", "checkpoints/checkpoint-3/model.safetensors"])
def test_without_a_record_nothing_is_ours_whatever_its_name(tmp_path, overwrite, stranger):
    path = tmp_path / "run" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=r"was not written by this program.*--run"):
        taken(tmp_path / "run", overwrite=overwrite)
    assert names(tmp_path / "run") == [stranger]


@pytest.mark.parametrize("record", ["", "{", "[]", '{"steps": 3}', '{"format": "emoprobe run 1"}'])
def test_a_record_that_is_not_ours_is_left_alone(tmp_path, record):
    (tmp_path / "settings.json").write_text(record)
    with pytest.raises(UserError, match="no record of a run"):
        taken(tmp_path, overwrite=True)
    assert (tmp_path / "settings.json").read_text() == record


def test_strangers_in_our_own_folder_keep_it_from_being_cleared(tmp_path):
    taken(tmp_path / "run")
    fill(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt was not written by this program"):
        taken(tmp_path / "run", SETTINGS | {"steps": 5}, overwrite=True)
    assert len(names(tmp_path / "run")) == 4


def test_a_record_of_release_0_1_is_read_as_the_command_says(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"steps": 3, "teacher": {}}))
    old = {"before": lambda record: {"speech": 1, **record}}
    assert taken(tmp_path, {"steps": 3, "teacher": {}, "speech": 1}, **old)["steps"] == 3
    with pytest.raises(UserError, match=r"steps \(there 3, now 4\)"):
        taken(tmp_path, {"steps": 4, "teacher": {}, "speech": 1}, **old)


def test_a_second_command_is_kept_out_of_a_folder(tmp_path):
    folder = tmp_path / "run"
    with alone(folder, option="--run"):
        in_use = pytest.raises(UserError, match=r"run is in use by .*: wait for it, or give another --run")
        with in_use, alone(folder, option="--run"):
            pass
        taken(folder)  # the lock is no stranger to the run
    with alone(folder, option="--run"):
        pass
    assert names(folder) == ["settings.json"]
    (folder / ".lock").write_text("theirs")
    with pytest.raises(UserError, match=r"\.lock is no lock by this program"), alone(folder, option="--run"):
        pass
    assert (folder / ".lock").read_text() == "theirs"


def test_a_log_is_cut_at_the_checkpoint_and_loses_what_was_cut_short(tmp_path):
    log = tmp_path / "log.jsonl"
    cut_log(log, step=3)
    assert not log.exists()
    lines = [f'{{"step": {step}, "loss": 1.5}}' for step in (1, 3, 4)]
    for torn in ('{"step": 2, "lo', "", "[1]", '"step"', '{"loss": 1}', "\ufffd"):
        log.write_text("\n".join([*lines, torn]), encoding="utf-8")
        cut_log(log, step=3)
        assert log.read_text() == "\n".join(lines[:2]) + "\n"
