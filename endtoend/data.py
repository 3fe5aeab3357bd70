"""Utterances for training and prediction: decoded, cut, padded, tokenised."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from emoprobe.errors import UserError
from emoprobe.extract.audio import AudioHeader, AudioProblem, Kept, read_audio
from emoprobe.progress import progress_bar


class Item(TypedDict, total=False):
    """An utterance as training takes it: its text, its audio where the model hears, its labels where there are any."""

    text: str
    waveform: np.ndarray
    labels: np.ndarray


@dataclass
class Speech:
    """Audio of a corpus, decoded as it is asked for and kept as far as there is room.

    Parameters
    ----------
    paths : sequence of str
    headers : list of AudioHeader or AudioProblem
        As :func:`emoprobe.extract.scan.scan` returns them.
    room : float
        Bytes of decoded audio to keep.
    """

    paths: Sequence[str]
    headers: list[AudioHeader | AudioProblem]
    room: float = 0.0
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _files: Kept = field(default_factory=Kept, repr=False)

    def __getitem__(self, row: int) -> np.ndarray:
        """Waveform (samples,) float32 at 16 kHz; raises AudioProblem."""
        if row in self._kept:
            return self._kept[row]
        header = self.headers[row]
        if isinstance(header, AudioProblem):
            raise header
        waveform = read_audio(self.paths[row], header, self._files)
        if waveform.nbytes <= self.room:
            self.room -= waveform.nbytes
            self._kept[row] = waveform
        return waveform

    def keeps(self, row: int) -> bool:
        """Whether the audio of that row need not be read again."""
        return row in self._kept

    def check(self, *, progress: bool) -> list[AudioProblem | None]:
        """Decode every file once, so that training does not stop hours later at one that is damaged."""

        def problem(row: int) -> AudioProblem | None:
            try:
                self[row]
            except AudioProblem as reason:
                return reason
            return None

        rows = range(len(self.paths))
        with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
            problems = pool.map(problem, rows)
            return list(progress_bar(problems, total=len(rows), desc="checking audio", unit="file", show=progress))


class Utterances(Dataset):
    """Rows of a corpus as items of a map-style dataset.

    An index holds the epoch as well (``epoch * len + position``), so that the cut of a long utterance depends on seed,
    epoch and utterance alone, in whichever process it is decoded.

    Parameters
    ----------
    rows : ndarray of int
        Rows of the corpus.
    speech : Speech or None
    prepare : callable or None
        From a waveform to the model's input; None where it is the waveform as it stands.
    texts : sequence of str
        Transcripts of the whole corpus; "" where there is none.
    labels : ndarray, (utterances, dimensions)
        Of the whole corpus, NaN where missing.
    longest : int
        Samples that an item has at most; 0 for whole utterances.
    speeds : sequence of float
        One of which is drawn for an utterance in each epoch, of those at which the model can hear it.
    shortest, window : int
        Samples that the model needs at least, and takes at most (0 for any number).
    seed : int
        Of the cuts and speeds.
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        speech: Speech | None,
        prepare: Callable[[np.ndarray], np.ndarray] | None,
        texts: Sequence[str],
        labels: np.ndarray,
        longest: int = 0,
        speeds: Sequence[float] = (1.0,),
        shortest: int = 0,
        window: int = 0,
        seed: int = 0,
    ) -> None:
        self.shortest, self.window = shortest, window
        self.rows, self.speech, self.prepare = np.asarray(rows), speech, prepare
        self.texts, self.labels, self.longest, self.speeds, self.seed = texts, labels, longest, speeds, seed

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self) -> list[int]:
        """Samples of each item (characters, where there is no audio), to batch like with like."""
        if self.speech is None:
            return [len(self.texts[row]) for row in self.rows]
        samples = [math.ceil(self.speech.headers[row].samples / min(self.speeds)) for row in self.rows]
        return [min(n, self.longest) if self.longest else n for n in samples]

    def __getitem__(self, index: int) -> Item:
        epoch, position = divmod(int(index), len(self.rows))
        row = int(self.rows[position])
        item = Item(text=self.texts[row], labels=self.labels[row].astype(np.float32))
        if self.speech is not None:
            try:
                waveform = self.speech[row]
            except AudioProblem as problem:
                raise UserError(
                    f"{self.speech.paths[row]} is {problem}, and was not when training began: put the file back and "
                    "run the same command again"
                ) from problem
            waveform = at_speed(waveform, self._speed(epoch, row, len(waveform)))
            if self.longest and len(waveform) > self.longest:
                rng = np.random.default_rng([self.seed, epoch, row])
                start = int(rng.integers(len(waveform) - self.longest + 1))
                waveform = waveform[start : start + self.longest]
            item["waveform"] = waveform if self.prepare is None else self.prepare(waveform)
        return item

    def _speed(self, epoch: int, row: int, samples: int) -> float:
        """The speed of an utterance in an epoch; as it was recorded, which fits, where no other does."""
        if tuple(self.speeds) == (1.0,):
            return 1.0
        lengths = [math.ceil(samples / speed) for speed in self.speeds]
        heard = [min(n, self.longest) if self.longest else n for n in lengths]
        most = self.window or math.inf
        fitting = [speed for speed, n in zip(self.speeds, heard, strict=True) if self.shortest <= n <= most]
        if not fitting:
            return 1.0
        return float(np.random.default_rng([self.seed, epoch, row, 1]).choice(fitting))


def at_speed(waveform: np.ndarray, speed: float) -> np.ndarray:
    """Play a waveform (samples,) float32 faster, and so higher: it has 1 / `speed` of the samples, rounded up.

    Parameters
    ----------
    waveform : ndarray, (samples,) float32
    speed : float
        In hundredths.
    """
    if speed == 1:
        return waveform
    from torchaudio.functional import resample

    # As if it had been recorded at a rate of so many hundredths, to be brought to 100.
    return resample(torch.from_numpy(waveform), round(100 * speed), 100).numpy()


class LengthGrouped(Sampler):
    """Every item once an epoch, items of like length together, in an order drawn from seed and epoch.

    Parameters
    ----------
    lengths : sequence of int
    batch : int
        Items of a step.
    seed : int
    fewest : int
        Items of the last step of an epoch at least: a loss over fewer teaches nothing. Items of like length that the
        epoch had before come again to fill it.
    """

    def __init__(self, lengths: Sequence[int], batch: int, *, seed: int, fewest: int = 1) -> None:
        self.lengths, self.batch, self.seed, self.epoch = list(lengths), batch, seed, 0
        left = len(self.lengths) % batch
        self._repeated = min(fewest - left, len(self.lengths) - left) if 0 < left < fewest else 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is of."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self._repeated

    def __iter__(self) -> Iterator[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = get_length_grouped_indices(self.lengths, self.batch, generator=generator)
        # Grouped by length from long to short: a loss within a batch needs its batches in no such order.
        batches = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        last = [batches.pop()] if len(batches[-1]) < self.batch else []
        if self._repeated:
            start = len(order) - len(last[0])
            last[0] = [*last[0], *order[start - self._repeated : start]]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        for batch in [batches[k] for k in shuffled] + last:
            yield from (self.epoch * len(self.lengths) + index for index in batch)


class Collator:
    """Items to a batch of tensors.

    Parameters
    ----------
    tokenise : callable or None
        From texts to `input_ids` and `attention_mask`, such as
        :meth:`emoprobe.extract.encoders.text.TextEncoder.tokenise`; None where the model reads no text.
    """

    def __init__(self, tokenise: Callable[[Sequence[str]], dict[str, torch.Tensor]] | None) -> None:
        self.tokenise = tokenise

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Arguments of :meth:`emoprobe.endtoend.model.AudioTextModel.forward`."""
        batch: dict[str, torch.Tensor] = {}
        if "waveform" in items[0]:
            batch |= pad([item["waveform"] for item in items])
        if self.tokenise is not None:
            batch |= self.tokenise([item["text"] for item in items])
            batch["has_text"] = torch.tensor([bool(item["text"].strip()) for item in items])
        if "labels" in items[0]:
            batch["labels"] = torch.from_numpy(np.stack([item["labels"] for item in items]))
        if get_worker_info() is not None:
            # Shared here, where a full memory is an error that reaches the training. In the thread that sends the
            # batch away it would be lost with the batch, and the training would wait for ever.
            for values in batch.values():
                values.share_memory_()
        return batch


def pad(waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """`waveforms` (batch, samples) float32 with zeros past each end, and their `samples` (batch,)."""
    samples = [len(waveform) for waveform in waveforms]
    padded = torch.zeros(len(samples), max(samples))
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
    return {"waveforms": padded, "samples": torch.tensor(samples)}
