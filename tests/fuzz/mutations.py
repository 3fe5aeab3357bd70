"""What may have happened to a file: each function says in words what it did, and leaves the rest to the seed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from emoprobe.extract.sealing import MAGIC, USER_BLOCK
from tests.corpus_fixtures import mutate

#: In place of a value in JSON, an attribute or a cell of Parquet.
VALUES: tuple[object, ...] = (
    None, True, False, "", "x", "nan", "é\u2028\u202e", "a\0b", "../foreign/foreign.txt", "<script>alert(1)</script>",
    "=1+1", 0, 1, -1, 2, 2.5, 40_000_000, 10**12, 10**30, -(10**12), 1e308, -1e308, 1e-320, float("nan"), float("inf"),
    [], {}, [1, 2], ["a"], {"a": 1}, [[]], "x" * 100_000,
)  # fmt: skip

#: In place of a cell of CSV.
CELLS = (
    "", " ", "nan", "NaN", "None", "inf", "-inf", "1e308", "-1e308", "1e400", "1e-320", "0", "-1", "0.5", "40000000",
    "1000000000000", "1" * 400, "true", "[]", "{}", "=1+1", "é", "e\u0301", "a\0b", "\u2028", "\u202e", "x" * 200_000,
    "../foreign/foreign.txt", "/dev/null", ".", "..", "~", "*", "corpus", "odd/pipe", "odd/loop", "'", '"', ",", ";",
    "\t", "train", "test", "all", "arousal", "a\nb", "-",
)  # fmt: skip


def pick(rng: np.random.Generator, choices):
    """One of them, as it is."""
    return choices[int(rng.integers(len(choices)))]


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:30]}… ({len(text)} characters)"


def mutate_bytes(path: Path, rng: np.random.Generator) -> str:
    """Flips, gaps, noise and ends, as :func:`tests.corpus_fixtures.mutate` knows them; or the file as such."""
    data = path.read_bytes()
    match rng.integers(12):
        case 0:
            path.write_bytes(b"")
            return "emptied"
        case 1:
            path.unlink()
            return "removed"
        case 2:
            path.unlink()
            path.mkdir()
            return "a folder in its place"
        case 3:
            path.write_bytes(data + data)
            return "twice, one behind the other"
        case 4:
            path.unlink()
            path.symlink_to(pick(rng, ["absent", path.name, "/dev/null", "."]))
            return f"a link to {path.readlink()}"
    path.write_bytes(mutate(data, rng) if data else rng.bytes(50))
    return "bytes changed"


# JSON ----------------------------------------------------------------------------------------------------------------


def mutate_json(path: Path, rng: np.random.Generator) -> str:
    """Values, keys and the nesting of a JSON file."""
    text, what = mutated_json(path.read_text(encoding="utf-8"), rng)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return what


def mutated_json(text: str, rng: np.random.Generator) -> tuple[str, str]:
    try:
        content = json.loads(text)
    except ValueError:
        return text[: int(rng.integers(len(text) + 1))], "cut"
    match rng.integers(14):
        case 0:
            return text[: int(rng.integers(len(text) + 1))], "cut"
        case 1:
            value = pick(rng, VALUES)
            return json.dumps(value), f"all of it {short(value)}"
        case 2:
            return "[" * 100_000, "100,000 brackets"
        case 3:
            return text + text, "twice"
    done = []
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(content))
        if not places:
            break
        holder, key, name = places[int(rng.integers(len(places)))]
        match rng.integers(5):
            case 0:
                del holder[key]
                done.append(f"{name} removed")
            case 1 if isinstance(holder, dict):
                holder[f"{key}_"] = holder.pop(key)
                done.append(f"{name} renamed")
            case 2 if isinstance(holder[key], int | float):
                holder[key] = pick(rng, [-holder[key], holder[key] * 1e9, float(holder[key]), str(holder[key]), 0])
                done.append(f"{name} = {short(holder[key])}")
            case _:
                holder[key] = pick(rng, VALUES)
                done.append(f"{name} = {short(holder[key])}")
    return json.dumps(content), ", ".join(done) or "unchanged"


def _places(content: object, name: str = "", depth: int = 0):
    """Holder, key and name of every value in parsed JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield content, key, f"{name}/{str(key)[:60]}"
        if depth < 6:
            yield from _places(value, f"{name}/{str(key)[:60]}", depth + 1)


# Tables --------------------------------------------------------------------------------------------------------------


def mutate_csv(path: Path, rng: np.random.Generator) -> str:
    """Cells, columns, rows, delimiters and encodings of a CSV file."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    what, encoding, delimiter, ending = [], "utf-8", ",", "\n"
    for _ in range(int(rng.integers(1, 3))):
        column = int(rng.integers(len(rows[0]))) if rows and rows[0] else 0
        match rng.integers(14):
            case 0 | 1 | 2 | 3 if len(rows) > 1:
                row, cell = int(rng.integers(1, len(rows))), pick(rng, CELLS)
                rows[row][column : column + 1] = [cell]
                what.append(f"line {row + 1}, column {column + 1} = {short(cell)}")
            case 4 | 5 if len(rows) > 1:
                cell = pick(rng, CELLS)
                for row in rows[1:]:
                    row[column : column + 1] = [cell]
                what.append(f"{rows[0][column : column + 1]} all {short(cell)}")
            case 6:
                for row in rows:
                    del row[column : column + 1]
                what.append(f"column {column + 1} removed")
            case 7 if rows:
                name = pick(rng, [*rows[0], "", "nan", "x" * 1_000, "a\0b", "Path", " id "])
                rows[0][column : column + 1] = [name]
                what.append(f"column {column + 1} called {short(name)}")
            case 8:
                rows = rows[:1]
                what.append("no rows")
            case 9:
                rows += rows[1:] * int(rng.integers(1, 4))
                what.append("rows repeated")
            case 10:
                delimiter = pick(rng, [";", "\t", "|", " "])
                what.append(f"delimiter {delimiter!r}")
            case 11:
                encoding = pick(rng, ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp500"])
                what.append(encoding)
            case 12:
                ending = pick(rng, ["\r", "\r\n", "\n\n", "\0\n"])
                what.append(f"lines end with {ending!r}")
            case _:
                for row in rows[1:]:
                    row.append("more")
                what.append("a cell more in each line")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerows(rows)
    data = text.getvalue().encode(encoding, "replace")
    if rng.random() < 0.1:
        data, what = mutate(data, rng) if data else b"\0", [*what, "bytes changed"]
    path.write_bytes(data)
    return ", ".join(what)


def mutate_parquet(path: Path, rng: np.random.Generator) -> str:
    """Cells, columns and types of a Parquet file, or its bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(path, rng)
    table = pd.read_parquet(path)
    what = edit_table(table, rng)
    try:
        table.to_parquet(path)
    except Exception:  # what Arrow cannot hold, nobody is given
        return mutate_bytes(path, rng)
    return what


def edit_table(table: pd.DataFrame, rng: np.random.Generator) -> str:
    """One change, in place."""
    column = pick(rng, list(table.columns))
    value = pick(rng, VALUES)
    match rng.integers(6):
        case 0:
            del table[column]
            return f"{column} removed"
        case 1:
            table.rename(columns={column: f"{column}_"}, inplace=True)
            return f"{column} renamed"
        case 2:
            table.drop(table.index, inplace=True)
            return "no rows"
        case 3:
            table[column] = table[column].astype(str)
            return f"{column} as text"
        case 4:
            table[column] = [value] * len(table)
            return f"{column} all {short(value)}"
    cells = table[column].astype(object).tolist()
    if cells:
        cells[int(rng.integers(len(cells)))] = value
    table[column] = cells
    return f"one of {column} = {short(value)}"


# HDF5 ----------------------------------------------------------------------------------------------------------------


def mutate_hdf5(path: Path, rng: np.random.Generator) -> str:
    """Datasets, groups, attributes and provenance of an HDF5 file, or its bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(path, rng)
    what = _restructured(path, rng)
    if rng.random() < 0.5:
        # As of version 0.1, or as whoever changed it on purpose: HDF5 then reads what was changed.
        content = path.read_bytes()
        path.write_bytes(content[USER_BLOCK:] if content.startswith(MAGIC) else content)
        return f"{what}, without its seal"
    return what


def _restructured(path: Path, rng: np.random.Generator) -> str:
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = pick(rng, names)
        match rng.integers(9):
            case 0:
                del file[name]
                return f"{name} removed"
            case 1:
                file.move(name, f"{name}_")
                return f"{name} renamed"
            case 2 | 3:
                owner = file if rng.random() < 0.5 else file[name]
                if "provenance" in file.attrs and owner is file:
                    text, what = mutated_json(str(file.attrs["provenance"]), rng)
                    if len(text) < 60_000:
                        file.attrs["provenance"] = text.replace("\0", "")
                        return f"provenance: {what}"
                keys = list(owner.attrs)
                key = pick(rng, keys) if keys else "new"
                value = pick(rng, [None, "x", -1, 10**12, float("nan"), np.zeros(3), b"\xff"])
                if value is None and keys:
                    del owner.attrs[key]
                else:
                    owner.attrs[key] = value if value is not None else 0
                return f"attribute {key} of {owner.name} = {short(value)}"
            case 4:
                del file[name]
                file[name] = (
                    h5py.SoftLink(pick(rng, ["/absent", f"/{name}"]))
                    if rng.random() < 0.5
                    else (h5py.ExternalLink(pick(rng, ["absent.h5", "foreign.txt", path.name]), "/x"))
                )
                return f"{name} is a link"
        return _retyped(file, name, rng)


def _retyped(file: h5py.File, name: str, rng: np.random.Generator) -> str:
    """A dataset of another type, shape or content in the place of one; a number in the place of a group."""
    before = file[name]
    values = before[...] if isinstance(before, h5py.Dataset) else np.zeros(3)
    filled = np.array(values)
    match rng.integers(9):
        case 0:
            new, what = np.array([b"x"] * max(1, values.shape[0] if values.ndim else 1)), "texts"
        case 1:
            new, what = values.reshape(-1), "flat"
        case 2:
            new, what = values[:-1] if values.ndim and len(values) else np.zeros(0), "shorter"
        case 3:
            new, what = np.zeros(()), "one number"
        case 4:
            del file[name]
            file.create_dataset(name, shape=(10**12,), dtype="f4", chunks=(1024,))
            return f"{name} claims 10^12 values"
        case 5 if values.dtype.kind == "f":
            new, what = np.full_like(values, pick(rng, [np.nan, np.inf, 1e30, 0.0])), "constant"
        case 6 if values.dtype.kind in "iu":
            new, what = np.full_like(values, pick(rng, [0, np.iinfo(values.dtype).max])), "constant"
        case 7 if values.dtype.kind == "O" and filled.size:
            filled.reshape(-1)[int(rng.integers(filled.size))] = pick(rng, [b"", b"\xff\xfe", b"nan", b"x" * 70_000])
            new, what = filled, "another text"
        case _:
            new, what = values.astype("f8") if values.dtype.kind in "fiu" else np.arange(values.size), "other numbers"
    del file[name]
    file[name] = new
    return f"{name}: {what}"


def mutate_file(path: Path, rng: np.random.Generator) -> str:
    """By its format, or by its bytes."""
    by_ending = {".json": mutate_json, ".csv": mutate_csv, ".parquet": mutate_parquet, ".h5": mutate_hdf5}
    way = by_ending.get(path.suffix, mutate_bytes) if rng.random() < 0.85 else mutate_bytes
    return f"{path.name}: {way(path, rng)}"
