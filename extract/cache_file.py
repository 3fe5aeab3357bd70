"""The file of a cache, opened and checked: its structure through HDF5, its numbers mapped from the same open file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.fields import check_fields
from emoprobe.jsontext import from_json

from .corpora.cells import OPTIONAL, OPTIONAL_NUMBERS
from .corpora.table import empty_columns
from .layout import DIMENSIONS, DONE, FORMAT, PENDING, PROBLEMS, TEXTS, is_about_locks, layout_sha256, open_hdf5
from .provenance import PROVENANCE
from .sealing import check_seal
from .structure import check_structure, check_values


class CacheFile:
    """A cache on disk; nothing in it is trusted before it was compared with its seal, its structure and its hash.

    Parameters
    ----------
    path : str or Path

    Attributes
    ----------
    path : Path
    hdf5 : h5py.File
    provenance : dict
    arguments : tuple of str
        See :class:`.cache.HiddenStateCache`.
    statistics : tuple of str
    n_layers, n_utterances, width : int

    Raises
    ------
    UserError
        If the file is absent, is no cache, or is damaged in its structure.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise UserError(f"{self.path} is a folder; give the cache's file, such as {self.path / 'hidden_states.h5'}")
        if not self.path.is_file():
            raise UserError(f"there is no cache {self.path}; make one with probe-extract --out {self.path}")
        with ExitStack() as opened:
            self._open(opened)
            self._check_all()
            opened.pop_all()  # all is well: they stay open until `close`

    def _open(self, opened: ExitStack) -> None:
        try:
            # The numbers are mapped from this, not from the path: what replaces the file later is another cache.
            self.raw = opened.enter_context(self.path.open("rb"))
            check_seal(self.raw)
            self.hdf5 = opened.enter_context(open_hdf5(self.path))
            replaced = os.fstat(self.raw.fileno()).st_ino != self.path.stat().st_ino
        except PermissionError as error:
            raise UserError(f"{self.path} may not be read; change its permissions") from error
        except OSError as error:
            if is_about_locks(error):
                raise UserError(
                    f"{self.path}: the system gives no lock on it ({str(error)[:160]}); it needs none: set "
                    "HDF5_USE_FILE_LOCKING=FALSE and run the same command again"
                ) from error
            if error.errno is not None:  # the system speaks; HDF5 has no number for a file that it cannot make out
                raise UserError(
                    f"{self.path} cannot be read ({os.strerror(error.errno)}); that says nothing about what it holds: "
                    "mend the disk or the connection, and run the same command again"
                ) from error
            raise _damaged(self.path, error) from error
        except ValueError as error:
            raise _damaged(self.path, error) from error
        if replaced:
            raise UserError(f"{self.path} was replaced while it was opened; open it again")

    def _check_all(self) -> None:
        try:
            self._check()
        except UserError:
            raise
        except Exception as error:  # HDF5 raises nearly anything on a damaged structure
            raise _damaged(self.path, error) from error

    def _check(self) -> None:
        if self.hdf5.attrs.get("format") != FORMAT:
            raise UserError(f"{self.path} is an HDF5 file but no cache of hidden states; give one by probe-extract")
        check_structure(self.hdf5, os.fstat(self.raw.fileno()).st_size, texts=TEXTS)
        if layout_sha256(self.hdf5) != self.hdf5.attrs["layout_sha256"]:
            raise _damaged(self.path, "its description does not match its checksum")
        self.provenance: dict[str, Any] = check_fields(
            from_json(self.hdf5.attrs["provenance"]),
            self.path,
            PROVENANCE.required,
            PROVENANCE.optional,
            remedy=_REMEDY,
        )
        if not isinstance(self.hdf5.attrs.get("corpus_root", ""), str):
            raise ValueError("its attribute corpus_root is no text")
        self.arguments: tuple[str, ...] = ()
        if "arguments" in self.hdf5.attrs:  # not of an earlier version, or a corpus that was made in Python
            words = from_json(self.hdf5.attrs["arguments"])
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError("its attribute arguments is no list of words")
            self.arguments = tuple(words)
        self.statistics = tuple(s for s in self.provenance["pooling"] if s in self.hdf5["pooled"])
        self.n_layers, self.n_utterances, self.width = self.hdf5["pooled"][self.statistics[0]].shape
        check_values(self.hdf5)
        _ = self.description, self.status()

    def close(self) -> None:
        """Close the file; arrays that were taken from it stay valid."""
        self.hdf5.close()
        self.raw.close()

    @cached_property
    def description(self) -> pd.DataFrame:
        """The columns of the corpus, `seconds` and `frames`; one row an utterance."""
        group = self.hdf5["utterances"]
        columns = {name: group[name].asstr()[:] for name in TEXTS}
        columns |= {name: group[name][:] for name in (*DIMENSIONS, "seconds", "frames")}
        columns |= empty_columns(self.n_utterances)
        for name in (name for name in OPTIONAL if name in group):
            columns[name] = group[name][:] if name in OPTIONAL_NUMBERS else group[name].asstr()[:]
        return pd.DataFrame(columns)

    def status(self) -> np.ndarray:
        """Status of each utterance, (utterances,) str."""
        status = self.marks()
        # A mark that nobody wrote is damage: such an utterance is computed again, not lost.
        status[~np.isin(status, (DONE, *PROBLEMS))] = PENDING
        return status

    def marks(self) -> np.ndarray:
        """What stands in the place of each status, damaged or not, (utterances,) str."""
        return text_of(self.hdf5["utterances/status"][:])

    @property
    def done(self) -> np.ndarray:
        """Boolean (utterances,): whose states are in the cache."""
        return self.status() == DONE

    @property
    def complete(self) -> bool:
        """Whether every utterance is either done or listed with a reason, and the layers' norms are there."""
        status = self.status()
        if PENDING in set(status):
            return False
        return not (status == DONE).any() or bool(np.isfinite(self.hdf5["layers/norm"][:]).all())

    def view(self, name: str) -> np.memmap:
        """An array that an extraction fills in, mapped from the file that was opened."""
        dataset = self.hdf5[name]
        return np.memmap(self.raw, dtype=dataset.dtype, mode="r", offset=dataset.id.get_offset(), shape=dataset.shape)


def text_of(values: np.ndarray) -> np.ndarray:
    """Bytes as text, whatever became of them."""
    return np.array([v.decode("utf-8", errors="replace") for v in values], dtype=object)


_REMEDY = "bring it back from a copy, or move it away and run probe-extract again"


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged or is no cache of hidden states ({str(why)[:160]}); {_REMEDY}")
