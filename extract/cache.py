"""The cache of hidden states: one HDF5 file that anyone can read with h5py, and this is the comfortable way."""

from __future__ import annotations

import html
import os
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.fields import check_fields
from emoprobe.jsontext import from_json

from .corpora.cells import OPTIONAL, OPTIONAL_NUMBERS
from .corpora.table import empty_columns
from .layout import (
    DIMENSIONS,
    DONE,
    FORMAT,
    PENDING,
    PROBLEMS,
    TEXTS,
    checksum,
    checksum_of,
    frames_folder,
    is_about_locks,
    layout_sha256,
    mean_layer_norms,
    open_hdf5,
    part_name,
)
from .provenance import PROVENANCE
from .sidecars import SIDECARS, read_about, read_sidecar, sidecar_path
from .structure import check_structure, check_values

if TYPE_CHECKING:
    import torch


#: States that are read at a time to be compared with their checksums, and the threads that do it: hashing lets the
#: others run.
_BLOCK_BYTES, _THREADS = 1 << 25, min(4, os.cpu_count() or 1)


class HiddenStateCache:
    """Pooled hidden states of a corpus, layer by layer, read from disk as they are asked for.

    Parameters
    ----------
    path : str or Path
        File that ``probe-extract`` wrote; it may still be growing.

    Attributes
    ----------
    path : Path
    provenance : dict
        What made the cache: model and hash of its weights, corpus and its hash, pooling, precision, versions.
    statistics : tuple of str
        What :meth:`states` can give: ``"mean"``, ``"std"``, ``"mean_ln"``.
    n_layers, n_utterances, width : int
        Sizes; layer 0 is the input of the first block, so there is one layer more than there are blocks.

    Raises
    ------
    UserError
        If the file is absent, is no cache, or is damaged in its structure. Damage to the numbers is what
        :meth:`verify` finds.

    Examples
    --------
    >>> with HiddenStateCache("hidden_states.h5") as cache:  # doctest: +SKIP
    ...     test = cache.select(split="test")
    ...     cache.states("mean", layers=3, rows=test).shape
    (240, 192)
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.is_dir():
            raise UserError(f"{self.path} is a folder; give the cache's file, such as {self.path / 'hidden_states.h5'}")
        if not self.path.is_file():
            raise UserError(f"there is no cache {self.path}; make one with probe-extract --out {self.path}")
        try:
            # The numbers are mapped from this, not from the path: what replaces the file later is another cache.
            self._raw = self.path.open("rb")
            self._file = open_hdf5(self.path)
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
        if os.fstat(self._raw.fileno()).st_ino != self.path.stat().st_ino:
            raise UserError(f"{self.path} was replaced while it was opened; open it again")
        try:
            self._check()
        except UserError:
            self.close()
            raise
        except Exception as error:  # HDF5 raises nearly anything on a damaged structure
            self.close()
            raise _damaged(self.path, error) from error

    def _check(self) -> None:
        if self._file.attrs.get("format") != FORMAT:
            raise UserError(f"{self.path} is an HDF5 file but no cache of hidden states; give one by probe-extract")
        check_structure(self._file, os.fstat(self._raw.fileno()).st_size, texts=TEXTS)
        if layout_sha256(self._file) != self._file.attrs["layout_sha256"]:
            raise _damaged(self.path, "its description does not match its checksum")
        self.provenance: dict = check_fields(
            from_json(self._file.attrs["provenance"]),
            self.path,
            PROVENANCE.required,
            PROVENANCE.optional,
            remedy=_REMEDY,
        )
        if not isinstance(self._file.attrs.get("corpus_root", ""), str):
            raise ValueError("its attribute corpus_root is no text")
        self._arguments: list[str] | None = None
        if "arguments" in self._file.attrs:  # not of an earlier version, or a corpus that was made in Python
            self._arguments = from_json(self._file.attrs["arguments"])
            if not isinstance(self._arguments, list) or not all(isinstance(word, str) for word in self._arguments):
                raise ValueError("its attribute arguments is no list of words")
        self.statistics = tuple(s for s in self.provenance["pooling"] if s in self._file["pooled"])
        self.n_layers, self.n_utterances, self.width = self._file["pooled"][self.statistics[0]].shape
        check_values(self._file)
        _ = self._description, self._status()
        self._finished: np.ndarray | None = None
        self._verified = False

    def __enter__(self) -> HiddenStateCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were taken from it stay valid."""
        self._file.close()
        self._raw.close()

    # What it holds -----------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """Short name of the model, for tables and legends."""
        return self.provenance["model"]["label"]

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return self.provenance["corpus"]["name"]

    @property
    def corpus_root(self) -> Path:
        """Folder that the paths of the utterances are relative to, as it was when the cache was started."""
        if "corpus_root" not in self._file.attrs:  # caches of early versions do not say
            raise UserError(f"{self.path} does not say where its audio lies; name the corpus with --corpus")
        return Path(self._file.attrs["corpus_root"])

    @property
    def repair_command(self) -> str:
        """What extracts damaged utterances again, to be typed as it is, from the folder that :attr:`path` starts in."""
        if not self.arguments:
            return (
                f"probe-extract --repair --out {shlex.quote(str(self.path))} with the arguments that it was made with"
            )
        return shlex.join(["probe-extract", "--repair", "--out", str(self.path), *self.arguments])

    @property
    def arguments(self) -> tuple[str, ...]:
        """What ``probe-extract`` was given, beside ``--out``; nothing where an early version or Python made it."""
        return self._arguments or ()

    @property
    def complete(self) -> bool:
        """Whether every utterance is either done or listed with a reason, and the layers' norms are there."""
        status = self._status()
        if PENDING in set(status):
            return False
        return not (status == DONE).any() or bool(np.isfinite(self._file["layers/norm"][:]).all())

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer: `index`, `name`, and `norm`, the mean Euclidean norm of its frames (NaN until complete)."""
        group = self._file["layers"]
        return pd.DataFrame({"index": group["index"][:], "name": group["name"].asstr()[:], "norm": group["norm"][:]})

    @property
    def utterances(self) -> pd.DataFrame:
        """One row an utterance, in the order of the corpus.

        The columns of the corpus, `seconds`, `frames`, `status` (``"done"``, ``"pending"``, or what was wrong) and
        `reason` (the same at length).
        """
        table = self._description.copy()
        table["status"] = self._status()
        table["reason"] = _text(self._file["utterances/reason"][:])
        return table

    @cached_property
    def _description(self) -> pd.DataFrame:
        group = self._file["utterances"]
        columns = {name: group[name].asstr()[:] for name in TEXTS}
        columns |= {name: group[name][:] for name in (*DIMENSIONS, "seconds", "frames")}
        columns |= empty_columns(self.n_utterances)
        for name in (name for name in OPTIONAL if name in group):
            columns[name] = group[name][:] if name in OPTIONAL_NUMBERS else group[name].asstr()[:]
        return pd.DataFrame(columns)

    def _status(self) -> np.ndarray:
        status = self._marks()
        # A mark that nobody wrote is damage: such an utterance is computed again, not lost.
        status[~np.isin(status, (DONE, *PROBLEMS))] = PENDING
        return status

    def _marks(self) -> np.ndarray:
        return _text(self._file["utterances/status"][:])

    @property
    def samples(self) -> np.ndarray:
        """Length of each waveform at 16 kHz, (utterances,); 0 where the file had a problem from the start."""
        return self._file["utterances/samples"][:]

    def _readable(self) -> np.ndarray:
        """The same as :attr:`done`, read once when nothing is to come any more."""
        if self._finished is None:
            done = self.done
            if not self.complete:
                return done
            self._finished = done
        return self._finished

    @property
    def done(self) -> np.ndarray:
        """Boolean (utterances,): whose states are in the cache."""
        return self._status() == DONE

    def select(self, **wanted: str | Sequence[str]) -> np.ndarray:
        """Rows that are done and match.

        Parameters
        ----------
        **wanted : str or sequence of str
            Value or values by column, such as ``split="test"`` or ``speaker=["01", "02"]``.

        Returns
        -------
        ndarray of bool, (utterances,)

        Raises
        ------
        UserError
            If there is no such column.
        """
        rows = self.done
        for column, values in wanted.items():
            if column not in self._description:
                known = ", ".join(self._description.columns)
                raise UserError(f"{self.path} has no column {column!r}; it has {known}")
            chosen = [values] if isinstance(values, str) else list(values)
            rows &= self._description[column].isin(chosen).to_numpy()
        return rows

    # Hidden states -----------------------------------------------------------------------------------------------

    def states(
        self,
        statistic: str = "mean",
        *,
        layers: int | Sequence[int] | slice | None = None,
        rows: np.ndarray | slice | None = None,
        dtype: np.dtype | str | None = None,
    ) -> np.ndarray:
        """Pooled hidden states.

        Parameters
        ----------
        statistic : str
            One of :attr:`statistics`.
        layers : int, sequence of int or slice, optional
            All by default. With an int the first axis is dropped.
        rows : ndarray of bool or int, or slice, optional
            Which utterances; all by default.
        dtype : dtype, optional
            float32 by default.

        Returns
        -------
        ndarray, (layers, utterances, width)
            NaN for an utterance that is not done.
        """
        if statistic not in self.statistics:
            raise UserError(
                f"{self.path} holds {', '.join(self.statistics)} and no {statistic!r}; extract it with "
                f"probe-extract --pool {' '.join((*self.statistics, statistic))}"
            )
        rows = slice(None) if rows is None else rows
        block = self._view(f"pooled/{statistic}")[_index(layers)]
        taken = np.array(block[..., rows, :], dtype=dtype or np.float32)
        taken[..., ~self._readable()[rows], :] = np.nan
        return taken

    @property
    def checksums(self) -> np.ndarray:
        """Checksum of each utterance's states as it was stored, (utterances,) bytes."""
        return self._file["utterances/checksum"][:]

    @property
    def frame_norms(self) -> np.ndarray:
        """Mean Euclidean norm of each utterance's frames, (layers, utterances) float32; NaN as above."""
        norms = np.array(self._view("frame_norm"))
        norms[:, ~self.done] = np.nan
        return norms

    @property
    def acoustics(self) -> dict[str, np.ndarray]:
        """Acoustic baselines by name, each (utterances, width): mean and standard deviation over time; NaN as above."""
        found = {}
        for name in self._file["acoustic"]:
            values = np.array(self._view(f"acoustic/{name}"))
            values[~self.done] = np.nan
            found[name] = values
        return found

    @property
    def baselines(self) -> dict[str, dict]:
        """What is known of each utterance without the model: names for :meth:`baseline`.

        For those that are kept beside the cache (``"egemaps"``, ``"text"``: made by ``probe-extract --baselines``) the
        value says what made them, with the hash of their table.

        Raises
        ------
        UserError
            If one of them is of another corpus, or damaged.
        """
        found: dict[str, dict] = {"duration": {}} | {name: {} for name in self._file["acoustic"]}
        for name in SIDECARS:
            path = sidecar_path(self.path, name)
            if path.exists():
                about = read_about(path)
                self._refuse_other_corpus(path, about)
                found[name] = {"settings": about["settings"], "sha256": about["sha256"]}
        return found

    def baseline(self, name: str) -> np.ndarray:
        """Features of one baseline.

        Parameters
        ----------
        name : str
            One of :attr:`baselines`: ``"duration"`` (seconds and their logarithm), ``"logmel"``, ``"mfcc"``,
            ``"egemaps"``, ``"text"``.

        Returns
        -------
        ndarray, (utterances, width), float32
            NaN for an utterance that is not done, or lacks what the baseline is computed from.

        Raises
        ------
        UserError
            If the cache has no such baseline, or its file is of another corpus, or damaged.
        """
        if name == "duration":
            seconds = np.where(self.done, self._description["seconds"].to_numpy(), np.nan)
            return np.stack([seconds, np.log(seconds)], axis=1).astype(np.float32)
        if name in self._file["acoustic"]:
            return self.acoustics[name]
        path = sidecar_path(self.path, name)
        if name not in SIDECARS or not path.exists():
            raise UserError(
                f"{self.path} has no baseline {name!r} (it has {', '.join(self.baselines)}); egemaps and text are made "
                "with probe-extract --baselines"
            )
        sidecar = read_sidecar(path)
        self._refuse_other_corpus(path, sidecar.about)
        if len(sidecar.ids) != self.n_utterances:
            raise UserError(
                f"{path} has {len(sidecar.ids)} rows, and the cache beside it {self.n_utterances}; make it anew with "
                f"probe-extract --out {self.path} --baselines {path.stem}, or remove it"
            )
        return np.where(self.done[:, None], sidecar.features, np.float32(np.nan))

    def _refuse_other_corpus(self, path: Path, about: dict) -> None:
        if about["corpus"]["sha256"] != self.provenance["corpus"]["sha256"]:
            raise UserError(
                f"{path} is of another corpus ({about['corpus']['name']}, {about['corpus']['sha256'][:12]}…) than the "
                f"cache beside it; make it anew with probe-extract --out {self.path} --baselines {path.stem}, or "
                "remove it"
            )

    def frames(self, utterance: str, *, layers: int | Sequence[int] | slice | None = None) -> np.ndarray:
        """Every frame of one utterance, where the cache was made with ``--frames``.

        Parameters
        ----------
        utterance : str
            Its `id`.
        layers : int, sequence of int or slice, optional
            All by default.

        Returns
        -------
        ndarray, (layers, frames, width), float16
        """
        if "frames" not in self._file:
            raise UserError(f"{self.path} holds no single frames; extract them with probe-extract --frames")
        import hdf5plugin  # noqa: F401  registers the filter that the frames are compressed with

        (found,) = np.nonzero((self._description["id"] == utterance).to_numpy() & self.done)
        if not len(found):
            raise UserError(f"{self.path} holds no utterance {utterance!r} that is done")
        group = self._file["utterances"]
        start, count = int(group["frame_start"][found[0]]), int(group["frames"][found[0]])
        sizes = self._file["frames/part_frames"][:]
        index = int(np.searchsorted(np.cumsum(sizes), start, side="right"))
        start -= int(sizes[:index].sum())
        part = frames_folder(self.path) / part_name(index)
        try:
            # Not through the virtual dataset, which names the folder as it was called at first and hides a loss.
            with open_hdf5(part) as file:
                return file["states"][_index(layers), start : start + count]
        except (OSError, KeyError) as error:
            raise UserError(
                f"{part}: the single frames of {utterance!r} cannot be read ({error}); bring the folder back from a "
                f"copy, or extract them again: {self.repair_command}"
            ) from error

    def to_torch(self, statistic: str = "mean", **selection) -> torch.Tensor:
        """:meth:`states` as a tensor."""
        import torch

        return torch.from_numpy(self.states(statistic, **selection))

    def to_frame(self, statistic: str = "mean", *, layer: int, rows: np.ndarray | None = None) -> pd.DataFrame:
        """One layer as a table: a row an utterance (by `id`), a column a dimension of the hidden state."""
        rows = self.done if rows is None else rows
        names = [f"{statistic}_{i}" for i in range(self.width)]
        values = self.states(statistic, layers=layer, rows=rows)
        return pd.DataFrame(values, index=pd.Index(self._description["id"][rows], name="id"), columns=names)

    # Trust -------------------------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """Compare everything that was written with its checksum.

        Returns
        -------
        list of str
            What has changed since it was written, for a person; empty when all is well.
        """
        return [what for what, _ in self._damage()]

    def verified_checksums(self) -> np.ndarray:
        """:attr:`checksums`, once everything that a fit reads was compared with them; single frames are not.

        Raises
        ------
        UserError
            If something has changed since it was written: how many utterances, the first of them, and the remedy.
        """
        if not self._verified:
            wrong = list(self._damage(frames=False))
            if wrong:
                count = len({row for _, row in wrong if isinstance(row, int)})
                what = f"{count} of {self.n_utterances} utterances" if count else "the norms of its layers"
                raise UserError(
                    f"{self.path} is damaged in {what}, and nothing is computed from it ({wrong[0][0]}); bring "
                    f"it back from a copy, or extract them again: {self.repair_command}"
                )
            self._verified = True
        return self.checksums

    def damaged(self) -> np.ndarray:
        """Boolean (utterances,): what :meth:`verify` complains of, and ``--repair`` extracts again."""
        wrong = np.zeros(self.n_utterances, dtype=bool)
        for _, rows in self._damage():
            wrong[rows] = True
        return wrong

    def intact(self, rows: np.ndarray) -> np.ndarray:
        """Boolean (rows,): whether what is stored of these utterances, all of them done, is what was written."""
        stored = self._file["utterances/checksum"][:]
        there = dict(self._checksums_of(rows))
        return np.array([there[row] == stored[row] for row in rows], dtype=bool)

    def _damage(self, *, frames: bool = True) -> Iterator[tuple[str, np.ndarray | int | slice]]:
        """Each finding, and the rows that it concerns; with the single frames, if there are any, or without."""
        names = self._description["id"]
        marks, reasons = self._marks(), self._file["utterances/reason"][:]
        stored = self._file["utterances/checksum"][:]
        there = dict(self._checksums_of(np.nonzero(marks == DONE)[0]))
        for row, mark in enumerate(marks):
            if mark == DONE:
                if there[row] != stored[row] or reasons[row]:
                    yield f"the states of {names[row]} have changed since they were written", row
            elif mark in PROBLEMS:
                if stored[row] != checksum_of(mark.encode(), reasons[row]):
                    yield f"the reason why {names[row]} was left out has changed since it was written", row
            elif mark != PENDING:
                yield f"the status of {names[row]} is damaged", row
        done = self.done
        norm = self._file["layers/norm"][:]
        if self.complete and done.any():  # norms that are not there yet are no damage: the next run writes them
            wanted = mean_layer_norms(self._view("frame_norm")[:, done], self._description["frames"].to_numpy()[done])
            for layer in np.nonzero(norm != wanted)[0]:
                yield f"the mean norm of layer {layer} has changed since it was written", slice(0, 0)
        if frames and "frames" in self._file:
            yield from self._damaged_parts()

    def _checksums_of(self, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
        """Each row with the checksum of what is there now, computed in blocks of rows by a few threads."""
        pooled = [self._view(f"pooled/{s}") for s in self.statistics]
        norms = self._view("frame_norm")
        acoustics = [self._view(f"acoustic/{name}") for name in sorted(self._file["acoustic"])]

        def of_block(block: np.ndarray) -> list[tuple[int, bytes]]:
            first, end = int(block[0]), int(block[-1]) + 1
            # Rows that follow each other are read in one piece a layer; what is left out between them comes along.
            states = np.empty((end - first, len(pooled), self.n_layers, self.width), "<f4")
            for s, values in enumerate(pooled):
                states[:, s] = values[:, first:end].transpose(1, 0, 2)
            lengths = np.ascontiguousarray(norms[:, first:end].T)
            return [
                (int(row), checksum(states[row - first], lengths[row - first], [values[row] for values in acoustics]))
                for row in block
            ]

        size = max(1, _BLOCK_BYTES // (4 * len(pooled) * self.n_layers * self.width))
        # By number and not by count: rows far from each other are no block.
        blocks = np.split(rows, np.flatnonzero(np.diff(rows // size)) + 1) if len(rows) else []
        with ThreadPoolExecutor(_THREADS) as threads:
            for block in threads.map(of_block, blocks):
                yield from block

    def _damaged_parts(self) -> Iterator[tuple[str, np.ndarray]]:
        starts = self._file["utterances/frame_start"][:]
        ends = np.cumsum(self._file["frames/part_frames"][:])
        part_of = np.searchsorted(ends, starts, side="right")
        frames = self._description["frames"].to_numpy()
        for index, stored in enumerate(self._file["frames/part_checksum"][:]):
            rows = np.nonzero((part_of == index) & self.done & (frames > 0))[0]
            part = frames_folder(self.path) / part_name(index)
            if len(rows) and not part.is_file():
                yield f"the single frames in {part} are missing", rows
            elif len(rows) and checksum_of(part.read_bytes()) != stored:
                yield f"the single frames in {part} have changed since they were written", rows

    def _view(self, name: str) -> np.memmap:
        dataset = self._file[name]
        return np.memmap(self._raw, dtype=dataset.dtype, mode="r", offset=dataset.id.get_offset(), shape=dataset.shape)

    def __repr__(self) -> str:
        return (
            f"HiddenStateCache({str(self.path)!r}: {self.label} on {self.corpus}, {self.n_layers} layers, "
            f"{int(self.done.sum())} of {self.n_utterances} utterances, width {self.width}, "
            f"{', '.join(self.statistics)})"
        )

    def _repr_html_(self) -> str:
        status = pd.Series(self._status()).value_counts()
        hours = float(self._description["seconds"].sum()) / 3600
        rows = {
            "file": self.path,
            "model": self.label,
            "corpus": self.corpus,
            "layers": f"0 to {self.n_layers - 1}",
            "width": self.width,
            "pooled": ", ".join(self.statistics),
            "utterances": f"{self.n_utterances} ({hours:.2f} h)",
            "status": ", ".join(f"{count} {name}" for name, count in status.items()),
        }
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th>"
            f"<td style='text-align:left'>{html.escape(str(v))}</td></tr>"
            for k, v in rows.items()
        )
        return f"<table><caption>Cache of hidden states</caption>{body}</table>"


def _index(layers: int | Sequence[int] | slice | None) -> int | slice | list[int]:
    if layers is None:
        return slice(None)
    return layers if isinstance(layers, int | slice) else list(layers)


def _text(values: np.ndarray) -> np.ndarray:
    return np.array([v.decode("utf-8", errors="replace") for v in values], dtype=object)


_REMEDY = "bring it back from a copy, or move it away and run probe-extract again"


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged or is no cache of hidden states ({str(why)[:160]}); {_REMEDY}")
