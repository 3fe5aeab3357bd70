"""The cache of hidden states: one HDF5 file that anyone can read with h5py, and this is the comfortable way."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.misspelt import meant

from .cache_file import CacheFile, text_of
from .cached_baselines import acoustics_of, baselines_of, read_baseline
from .choosing import layer_index, rows_with
from .finished import extracting
from .frame_parts import FrameParts
from .layout import frames_folder
from .limits import STATISTICS
from .sharding import Shard
from .verifying import checksums_of, damage_of

if TYPE_CHECKING:
    import torch


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
    arguments : tuple of str
        What ``probe-extract`` was given, beside ``--out``; nothing where an early version or Python made it.

    Raises
    ------
    UserError
        If the file is absent, is no cache, or is damaged in its structure. Damage to the numbers is what
        :meth:`verify` finds.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.testing import write_cache
    >>> with TemporaryDirectory() as folder:
    ...     planted = write_cache(Path(folder) / "states.h5", n=40, width=16, split="test")
    ...     with HiddenStateCache(Path(folder) / "states.h5") as cache:
    ...         test = cache.select(split="test")
    ...         print(cache.states("mean", layers=3, rows=test).shape)
    (40, 16)
    """

    def __init__(self, path: str | Path) -> None:
        self._file = CacheFile(path)
        self.path, self.provenance = self._file.path, self._file.provenance
        self.statistics, self.width = self._file.statistics, self._file.width
        self.n_layers, self.n_utterances = self._file.n_layers, self._file.n_utterances
        self.arguments = self._file.arguments
        self._finished: np.ndarray | None = None
        self._verified = False
        self._parts = FrameParts(self._file)

    def __reduce__(self) -> tuple[type[HiddenStateCache], tuple[Path]]:
        """As it is sent to another process: opened there anew."""
        return HiddenStateCache, (self.path.resolve(),)

    def __enter__(self) -> HiddenStateCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were taken from it stay valid."""
        self._file.close()

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
    def shard(self) -> str | None:
        """Which part of the corpus it holds (``probe-extract --shard``), such as ``"2/8"``; None where it holds all."""
        shard = Shard.of(self.provenance)
        return None if shard is None else str(shard)

    @property
    def corpus_root(self) -> Path:
        """Folder that the paths of the utterances are relative to, as it was when the cache was started."""
        if "corpus_root" not in self._file.hdf5.attrs:  # caches of early versions do not say
            raise UserError(f"{self.path} does not say where its audio lies; name the corpus with --corpus")
        return Path(self._file.hdf5.attrs["corpus_root"])

    @property
    def repair_command(self) -> str:
        """What extracts damaged utterances again, to be typed as it is, from the folder that :attr:`path` starts in."""
        return extracting(self.path, self.arguments, "--repair")

    @property
    def complete(self) -> bool:
        """Whether every utterance is either done or listed with a reason, and the layers' norms are there."""
        return self._file.complete

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer: `index`, `name`, and `norm`, the mean Euclidean norm of its frames (NaN until complete)."""
        group = self._file.hdf5["layers"]
        return pd.DataFrame({"index": group["index"][:], "name": group["name"].asstr()[:], "norm": group["norm"][:]})

    @property
    def utterances(self) -> pd.DataFrame:
        """One row an utterance, in the order of the corpus.

        The columns of the corpus, `seconds`, `frames`, `status` (``"done"``, ``"pending"``, or what was wrong) and
        `reason` (the same at length).
        """
        table = self._file.description.copy()
        table["status"] = self._file.status()
        table["reason"] = text_of(self._file.hdf5["utterances/reason"][:])
        return table

    @property
    def samples(self) -> np.ndarray:
        """Length of each waveform at 16 kHz, (utterances,); 0 where the file had a problem from the start."""
        return self._file.hdf5["utterances/samples"][:]

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
        return self._file.done

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
            If there is no such column, or no utterance has the value.
        """
        return self.done & rows_with(self._file.description, wanted, path=self.path)

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

        Raises
        ------
        UserError
            If the cache holds no such statistic or layer.
        """
        if statistic not in STATISTICS:
            raise UserError(f"there is no statistic {statistic!r}: {meant(statistic, STATISTICS)}")
        if statistic not in self.statistics:
            raise UserError(
                f"{self.path} holds {', '.join(self.statistics)} and no {statistic!r}; extract it with "
                f"probe-extract --pool {' '.join((*self.statistics, statistic))}"
            )
        rows = slice(None) if rows is None else rows
        block = self._file.view(f"pooled/{statistic}")[layer_index(layers, n_layers=self.n_layers, path=self.path)]
        taken = np.array(block[..., rows, :], dtype=dtype or np.float32)
        taken[..., ~self._readable()[rows], :] = np.nan
        return taken

    @property
    def checksums(self) -> np.ndarray:
        """Checksum of each utterance's states as it was stored, (utterances,) bytes."""
        return self._file.hdf5["utterances/checksum"][:]

    @property
    def frame_norms(self) -> np.ndarray:
        """Mean Euclidean norm of each utterance's frames, (layers, utterances) float32; NaN as above."""
        norms = np.array(self._file.view("frame_norm"))
        norms[:, ~self.done] = np.nan
        return norms

    @property
    def acoustics(self) -> dict[str, np.ndarray]:
        """Acoustic baselines by name, each (utterances, width): mean and standard deviation over time; NaN as above."""
        return acoustics_of(self._file)

    @property
    def baselines(self) -> dict[str, dict]:
        """What is known of each utterance without the model: names for :meth:`baseline`.

        For those that are kept beside the cache (made by ``probe-extract --baselines``) the value says what made them,
        with the hash of their table.

        Raises
        ------
        UserError
            If one of them is of another corpus, or damaged.
        """
        return baselines_of(self._file)

    def baseline(self, name: str) -> np.ndarray:
        """Features of one baseline.

        Parameters
        ----------
        name : str
            One of :attr:`baselines`, such as ``"duration"`` (seconds and their logarithm).

        Returns
        -------
        ndarray, (utterances, width), float32
            NaN for an utterance that is not done, or lacks what the baseline is computed from.

        Raises
        ------
        UserError
            If the cache has no such baseline, or its file is of another corpus, or damaged.
        """
        return read_baseline(self._file, name)

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
        if "frames" not in self._file.hdf5:
            raise UserError(f"{self.path} holds no single frames; extract them with probe-extract --frames")
        rows = np.flatnonzero((self._file.description["id"] == utterance).to_numpy() & self.done)
        if not len(rows):
            raise UserError(f"{self.path} holds no utterance {utterance!r} that is done")
        index = layer_index(layers, n_layers=self.n_layers, path=self.path)
        try:
            return self._parts.read(int(rows[0]), index)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"the single frames of {utterance!r} cannot be read ({error}); bring {frames_folder(self.path)} back "
                f"from a copy, or extract them again: {self.repair_command}"
            ) from error

    def to_torch(self, statistic: str = "mean", **selection: Any) -> torch.Tensor:
        """:meth:`states` as a tensor."""
        import torch

        return torch.from_numpy(self.states(statistic, **selection))

    def to_frame(self, statistic: str = "mean", *, layer: int, rows: np.ndarray | None = None) -> pd.DataFrame:
        """One layer as a table: a row an utterance (by `id`), a column a dimension of the hidden state."""
        rows = self.done if rows is None else rows
        names = [f"{statistic}_{i}" for i in range(self.width)]
        values = self.states(statistic, layers=layer, rows=rows)
        return pd.DataFrame(values, index=pd.Index(self._file.description["id"][rows], name="id"), columns=names)

    # Trust -------------------------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """Compare everything that was written with its checksum.

        Returns
        -------
        list of str
            What has changed since it was written, for a person; empty when all is well.
        """
        return [damage.what for damage in damage_of(self._file)]

    def verified_checksums(self) -> np.ndarray:
        """:attr:`checksums`, once everything that a fit reads was compared with them; single frames are not.

        Raises
        ------
        UserError
            If something has changed since it was written: how many utterances, the first of them, and the remedy.
        """
        if not self._verified:
            wrong = list(damage_of(self._file, frames=False))
            if wrong:
                count = len(np.unique(np.concatenate([damage.rows for damage in wrong])))
                what = f"{count} of {self.n_utterances} utterances" if count else "the norms of its layers"
                raise UserError(
                    f"{self.path} is damaged in {what}, and nothing is computed from it ({wrong[0].what}); bring "
                    f"it back from a copy, or extract them again: {self.repair_command}"
                )
            self._verified = True
        return self.checksums

    def damaged(self) -> np.ndarray:
        """Boolean (utterances,): what :meth:`verify` complains of, and ``--repair`` extracts again."""
        wrong = np.zeros(self.n_utterances, dtype=bool)
        for damage in damage_of(self._file):
            wrong[damage.rows] = True
        return wrong

    def intact(self, rows: np.ndarray) -> np.ndarray:
        """Boolean (rows,): whether what is stored of these utterances, all of them done, is what was written."""
        stored = self._file.hdf5["utterances/checksum"][:]
        there = dict(checksums_of(self._file, rows))
        return np.array([there[row] == stored[row] for row in rows], dtype=bool)

    def __repr__(self) -> str:
        return (
            f"HiddenStateCache({str(self.path)!r}: {self.label} on {self.corpus}, "
            f"{f'shard {self.shard}, ' if self.shard else ''}{self.n_layers} layers, "
            f"{int(self.done.sum())} of {self.n_utterances} utterances, width {self.width}, "
            f"{', '.join(self.statistics)})"
        )

    def _repr_html_(self) -> str:
        status = pd.Series(self._file.status()).value_counts()
        hours = float(self._file.description["seconds"].sum()) / 3600
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
