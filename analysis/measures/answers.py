"""The answers to questions on disk: a table with its protocol, in the folder of the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pandas as pd

from emoprobe import locks
from emoprobe.errors import UserError, reason
from emoprobe.fields import LONGEST_NAME, LONGEST_TEXT, MOST_LAYERS, check_columns, read_json, refuse_cut_short
from emoprobe.jsontext import from_json, to_json
from emoprobe.ownership import begins_with_columns, refuse_file, refuse_foreign_lock, refuse_stranger
from emoprobe.probe.schema import table
from emoprobe.storage import replacing, write_file

from .inquiries import INQUIRIES
from .inquiry import SUBJECT, TEXT, Inquiry

_REMEDY = "bring it back, or move it away and ask again"
_SUBJECT = list(SUBJECT)


def inquiry_of(name: str) -> Inquiry:
    """The question of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in INQUIRIES:
        raise UserError(f"there is no question '{name}': ask one of {', '.join(INQUIRIES)}")
    return INQUIRIES[name]


def load_answer(folder: str | Path, name: str) -> pd.DataFrame | None:
    """The answer that a folder of results keeps; None where the question was not asked.

    Raises
    ------
    UserError
        If there is no such inquiry, or what stands there is damaged or not of this program.
    """
    inquiry, folder = inquiry_of(name), Path(folder)
    path = next((path for path in _tables(folder, inquiry) if path.is_file()), None)
    if path is None:
        return None
    try:
        if path.suffix == ".parquet":
            read = pd.read_parquet(path)
        else:
            refuse_cut_short(path)
            texts = {column: "str" for column, kind in inquiry.columns.items() if kind == TEXT}
            read = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
        if missing := [column for column in inquiry.columns if column not in read]:
            raise ValueError(f"it lacks the columns {', '.join(missing)}")
        answer = table(read, dict(inquiry.columns))
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"{path} is damaged or not of this program ({reason(error)[:160]}): {_REMEDY}") from error
    names = [column for column, kind in inquiry.columns.items() if kind == TEXT]
    longest = {column: LONGEST_TEXT if column == "reason" else LONGEST_NAME for column in names}
    return check_columns(answer, path, {"layer": (-1, MOST_LAYERS)}, longest, remedy=_REMEDY)


def load_answers(folders: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Every answer that folders of results keep, by the name of the question; of one subject the last counts."""
    answers: dict[str, pd.DataFrame] = {}
    for folder in folders:
        for name in INQUIRIES:
            answer = load_answer(folder, name)
            if answer is not None:
                answers[name] = _replaced(answers.get(name), answer, _subjects(answer))
    return answers


def _tables(folder: Path, inquiry: Inquiry) -> tuple[Path, Path]:
    return folder / f"{inquiry.name}.parquet", folder / f"{inquiry.name}.csv"


def _protocol(folder: Path, inquiry: Inquiry) -> Path:
    return folder / f"{inquiry.name}.json"


def _read_protocol(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    entries = read_json(path, remedy=_REMEDY)
    if not _is_protocol(entries):
        raise UserError(f"{path} is no protocol of this program: {_REMEDY}")
    return cast("list[dict]", entries)


def _is_protocol(entries: object) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and {"inquiry", "subjects", "hash"} <= set(entry) for entry in entries
    )


def kept_answer(folder: Path, inquiry: Inquiry, entry: dict) -> pd.DataFrame | None:
    """The rows that stand in a folder of results with the same hash; None where there are none."""
    there = _read_protocol(_protocol(folder, inquiry))
    if not any(one["hash"] == entry["hash"] and one["subjects"] == entry["subjects"] for one in there):
        return None
    answer = load_answer(folder, inquiry.name)
    if answer is None:
        return None
    rows = answer[_among(answer, {tuple(subject) for subject in entry["subjects"]})]
    return rows.reset_index(drop=True) if len(rows) else None


def _subjects(answer: pd.DataFrame) -> set[tuple[str, str]]:
    return set(answer[_SUBJECT].itertuples(index=False, name=None))


def _among(answer: pd.DataFrame, subjects: set[tuple[str, str]]) -> list[bool]:
    return [subject in subjects for subject in answer[_SUBJECT].itertuples(index=False, name=None)]


def _replaced(old: pd.DataFrame | None, new: pd.DataFrame, subjects: set[tuple[str, str]]) -> pd.DataFrame:
    """The old rows without those of some subjects, then the new ones."""
    others = None if old is None else old[[not among for among in _among(old, subjects)]]
    return new if others is None or not len(others) else pd.concat([others, new], ignore_index=True)


def keep_answer(folder: Path, inquiry: Inquiry, new: pd.DataFrame, entry: dict) -> None:
    """Put an answer in place of what stands there of the same subjects; the protocol, which says it is there, last.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    inquiry : Inquiry
    new : DataFrame
    entry : dict
        Of the protocol: `inquiry`, `subjects`, `hash`, and what else is to be cited.

    Raises
    ------
    UserError
        If a file there is not of this program, or the folder cannot be written.
    """
    subjects = _subjects(new) | {tuple(subject) for subject in entry["subjects"]}
    parquet, csv = _tables(folder, inquiry)
    path = _protocol(folder, inquiry)
    with _writing(folder):
        refuse_stranger(csv, begins_with_columns(_SUBJECT), f"table of {inquiry.name}", option="--results")
        refuse_stranger(path, _is_protocol_file, f"protocol of {inquiry.name}", option="--results")
        others = [one for one in _read_protocol(path) if not subjects & {tuple(each) for each in one["subjects"]}]
        answer = _replaced(load_answer(folder, inquiry.name), new, subjects)
        if path.is_file():  # killed between the files, what is replaced is asked again
            write_file(path, to_json(others, indent=1, ensure_ascii=False) + "\n")
        with replacing(parquet) as temporary:
            answer.to_parquet(temporary, index=False)
        with replacing(csv) as temporary:
            answer.to_csv(temporary, index=False)
        write_file(path, to_json([*others, entry], indent=1, ensure_ascii=False) + "\n")


def _is_protocol_file(path: Path) -> bool:
    try:
        return _is_protocol(from_json(path.read_bytes()))
    except ValueError:
        return False


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One process at a time in a folder of results, the same lock as that of the fits."""
    try:
        refuse_file(folder, option="--results")
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign_lock(folder / ".lock", option="--results")
        with locks.hold_lock(folder / ".lock", wait=locks.PATIENCE):
            yield
    except locks.LockHeld as holder:
        raise UserError(
            f"{folder} has been in use for {locks.PATIENCE:.0f} seconds by {holder}: wait for it, or name another "
            "folder with --results"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror or error}): name another folder with --results"
        ) from error
