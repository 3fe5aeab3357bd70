"""A trained model that predicts: batches of like lengths, on the CPU what it is on any other device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from emoprobe.allocation import keeping_memory
from emoprobe.extract.batching import plan_batches
from emoprobe.extract.devices import default_batch_seconds, numerics
from emoprobe.extract.encoders.text import TextEncoder
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.precision import check_precision, is_exact

from .arguments import checked_arguments
from .data import Collator, Item
from .model import AudioTextModel
from .unlike import Familiar

_LONGEST_BATCH = 64

# Utterances that are predicted on the CPU as well where a model is on another device, and samples of each.
_CHECKED_UTTERANCES, _CHECKED_SAMPLES = 4, 2 * SAMPLE_RATE


class EmotionModel:
    """A trained model, ready to predict.

    Parameters
    ----------
    model : AudioTextModel
    text : TextEncoder or None
        Whose tokeniser the model reads with.
    config : dict
        As `config.json` of a saved model.
    familiar : Familiar, optional
        What it learned from, as far as it hears.

    Attributes
    ----------
    dimensions : tuple of str
        Columns of what :meth:`predict` returns.
    label : str
        Short name of its encoders.
    """

    def __init__(
        self, model: AudioTextModel, text: TextEncoder | None, config: dict, familiar: Familiar | None = None
    ) -> None:
        self.model = model.eval()
        self.familiar = familiar
        self.text = text
        self.config = config
        self.dimensions: tuple[str, ...] = model.settings.dimensions
        self.label: str = config["label"]
        self._checked_on: torch.device | None = None

    @property
    def uses_audio(self) -> bool:
        """Whether it hears."""
        return self.model.audio is not None

    @property
    def uses_text(self) -> bool:
        """Whether it reads."""
        return self.model.text is not None

    @property
    def receptive_field(self) -> int:
        """Samples at 16 kHz that an utterance needs; 0 for a model of text alone."""
        return 0 if self.model.audio is None else self.model.audio.backbone.receptive_field

    @property
    def longest(self) -> int | None:
        """Samples at 16 kHz that an utterance has at most; None without limit."""
        return None if self.model.audio is None else self.model.audio.backbone.longest

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.label_mean.device

    def predict(
        self,
        waveforms: Sequence[np.ndarray] | None,
        texts: Sequence[str | None] | None = None,
        *,
        batch_seconds: float | None = None,
    ) -> np.ndarray:
        """Dimensions of utterances, in the units of the corpus that the model was trained on.

        Parameters
        ----------
        waveforms : sequence of ndarray, (samples,) float32, or None
            At 16 kHz, each at least `receptive_field` and at most `longest` long; None for a model of text alone.
        texts : sequence of str or None
            What was said; "" or None where that is not known. Left out, nothing is known of any.
        batch_seconds : float, optional
            Audio in a batch, padding included; by default what suits the device. No prediction depends on it.

        Returns
        -------
        ndarray, (utterances, dimensions) float32

        Raises
        ------
        UserError
            If an argument is missing, a waveform is too short or too long, or another device than the CPU predicts
            something else than the CPU does: the first utterances there are predicted on both.
        """
        return self.predict_and_hear(waveforms, texts, batch_seconds=batch_seconds)[0]

    def predict_and_hear(
        self,
        waveforms: Sequence[np.ndarray] | None,
        texts: Sequence[str | None] | None = None,
        *,
        batch_seconds: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """:meth:`predict`, and the pooled states that the head reads of the speech, (utterances, width) float32.

        None in their place for a model of text alone.
        """
        heard, said = checked_arguments(self, waveforms, texts)
        if said and not is_exact(self.device, "float32") and self._checked_on != self.device:
            self._check(heard, said)
        if self.model.audio is None:
            return self._predict(heard, said, batch_seconds), None
        pooled = np.empty((len(said), self.model.audio.width), np.float32)
        return self._predict(heard, said, batch_seconds, pooled), pooled

    def _check(self, waveforms: Sequence[np.ndarray], said: Sequence[str]) -> None:
        """Compare a few utterances, cut short, with the CPU."""
        device, few = self.device, slice(_CHECKED_UTTERANCES)
        samples = max(_CHECKED_SAMPLES, self.receptive_field)
        cut = [waveform[:samples] for waveform in waveforms[few]]
        # All of a dimension's predictions are too few for an error of each dimension.
        check_precision(
            self.model,
            lambda: {"the prediction": torch.from_numpy(self._predict(cut, said[few])).reshape(-1, 1)},
            device=device,
            precision="float32",
            remedy="Use --device cpu",
        )
        self._checked_on = device

    def _predict(
        self,
        waveforms: Sequence[np.ndarray],
        said: Sequence[str],
        batch_seconds: float | None = None,
        pooled: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predictions; where there is room for what the head reads of the speech, that too."""
        predictions = np.empty((len(said), len(self.dimensions)), np.float32)
        collate = Collator(None if self.text is None else self.text.tokenise)
        for rows in self._batches(waveforms, said, batch_seconds):
            items = [Item(text=said[row]) for row in rows]
            if self.model.audio is not None:
                prepare = self.model.audio.backbone.prepare
                for item, row in zip(items, rows, strict=True):
                    item["waveform"] = prepare(np.asarray(waveforms[row], np.float32))
            batch = {name: values.to(self.device) for name, values in collate(items).items()}
            with keeping_memory(self.device.type), numerics(self.device, "float32"), _seen(self.model, pooled, rows):
                predictions[rows] = self.model.in_units(self.model(**batch)["logits"]).cpu().numpy()
        return predictions

    def _batches(
        self, waveforms: Sequence[np.ndarray], texts: Sequence[str], batch_seconds: float | None
    ) -> list[np.ndarray]:
        """Rows that go through the model together: of like length, within a budget."""
        if self.model.audio is None:
            order = np.argsort([len(text) for text in texts], kind="stable")
            return [order[start : start + _LONGEST_BATCH] for start in range(0, len(order), _LONGEST_BATCH)]
        backbone = self.model.audio.backbone
        seconds = batch_seconds or default_batch_seconds(self.device, backbone.channels)
        samples = np.array([len(waveform) for waveform in waveforms], dtype=np.int64)
        return plan_batches(backbone.sizes(samples), budget=int(seconds * SAMPLE_RATE))


@contextmanager
def _seen(model: AudioTextModel, pooled: np.ndarray | None, rows: np.ndarray) -> Iterator[None]:
    """Keep what the head reads of the speech of one batch."""
    if pooled is None:
        yield
        return

    def keep(_module: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        pooled[rows] = output.float().cpu().numpy()

    hook = model.audio_pooling.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()
