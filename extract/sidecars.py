"""Baselines beside a cache: one Parquet file each, since the bytes of the cache itself are sealed.

A file has one row an utterance, in the order of the cache: `id`, `reason` (why there are no features; empty where
there are), and one column a feature. What made it is JSON in the file's metadata, under the key `emoprobe`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.fields import check_fields, refuse_beyond_memory
from emoprobe.jsontext import dict_from_json, to_json
from emoprobe.storage import replacing

from .provenance import BASELINE

FORMAT = "emoprobe baseline 1"

_KEY = b"emoprobe"
_PLAIN = ("id", "reason")


@dataclass(frozen=True)
class Sidecar:
    """Features of a baseline for every utterance of a corpus.

    Attributes
    ----------
    about : dict
        `baseline`, `corpus` (name and hash), `settings` (what else the features depend on), `versions`.
    ids : ndarray of str, (utterances,)
    reasons : ndarray of str, (utterances,)
        Why an utterance has no features.
    columns : tuple of str
        Names of the features.
    features : ndarray, (utterances, columns) float32
        NaN where there are none.
    """

    about: dict
    ids: np.ndarray
    reasons: np.ndarray
    columns: tuple[str, ...]
    features: np.ndarray

    @property
    def sha256(self) -> str:
        """Hash of the table."""
        texts = to_json([list(self.ids), list(self.reasons), list(self.columns)], ensure_ascii=True)
        return hashlib.sha256(texts.encode() + np.ascontiguousarray(self.features, "<f4").tobytes()).hexdigest()


def same_origin(one: dict, other: dict) -> bool:
    """Whether both are of the same corpus with the same settings, whatever the library versions."""
    one, other = ({**about, "settings": {"method": 1, **about["settings"]}} for about in (one, other))  # 0.1 says none
    return all(one[part] == other[part] for part in ("baseline", "corpus", "settings"))


def sidecar_path(cache: Path, name: str) -> Path:
    """Where the baseline `name` of a cache is."""
    return sidecar_folder(cache) / f"{name}.parquet"


def sidecar_folder(cache: Path) -> Path:
    """Folder of a cache's baselines, beside it."""
    return cache.with_name(f"{cache.name}.baselines")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write beside `path`, then take its place: a reader never sees half a file."""
    import pyarrow as pa
    import pyarrow.parquet

    about = {"format": FORMAT, **sidecar.about, "sha256": sidecar.sha256}
    arrays = [pa.array(sidecar.ids, pa.string()), pa.array(sidecar.reasons, pa.string())]
    arrays += [pa.array(column) for column in np.ascontiguousarray(sidecar.features.T, "<f4")]
    table = pa.Table.from_arrays(arrays, names=[*_PLAIN, *sidecar.columns])
    table = table.replace_schema_metadata({_KEY: to_json(about)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pa.parquet.write_table(table, temporary)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); free disk space or change the folder's permissions"
        ) from error


def read_about(path: Path) -> dict:
    """What made a sidecar, and the hash of its table, without reading the features.

    Raises
    ------
    UserError
        If the file is damaged or is no sidecar.
    """
    import pyarrow.parquet as pq

    try:
        stored = pq.read_metadata(path)  # a few bytes can stand for any number of rows
        about = dict_from_json((stored.metadata or {})[_KEY])
        if about["format"] != FORMAT:
            raise ValueError(f"of the format {about['format']!r}")
        check_fields(about, path, BASELINE.required, remedy=_remedy(path))
        refuse_beyond_memory(4.0 * stored.num_rows * stored.num_columns, path, remedy=_remedy(path))
        return {part: about[part] for part in BASELINE.required}
    except UserError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise _damaged(path, error) from error


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar, and compare it with its hash.

    Raises
    ------
    UserError
        If the file is damaged or is no sidecar.
    """
    about = read_about(path)
    stored = about.pop("sha256")
    try:
        table = pd.read_parquet(path)
        columns = tuple(table.columns[len(_PLAIN) :])
        ids, reasons = (table[name].to_numpy(object) for name in _PLAIN)
        sidecar = Sidecar(about, ids, reasons, columns, table[list(columns)].to_numpy(np.float32))
    except Exception as error:  # as above
        raise _damaged(path, error) from error
    if sidecar.sha256 != stored:
        raise _damaged(path, "its table does not match its checksum")
    return sidecar


def _damaged(path: Path, error: object) -> UserError:
    return UserError(f"{path} is damaged or is no baseline of this program ({str(error)[:160]}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return f"move it away, and make it anew with probe-extract --baselines {path.stem}"
