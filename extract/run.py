"""One extraction: of which corpus, by which model, with which settings, where to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from . import acoustics, pooling
from .audio import AudioHeader, AudioProblem, gathered
from .batching import plan_batches
from .corpora import Corpus
from .corpora.places import places
from .encoders.speech import Backbone
from .engines.base import Site
from .limits import SAMPLE_RATE
from .settings import ExtractionSettings
from .sharding import Shard
from .versions import versions


@dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same through an extraction.

    Attributes
    ----------
    out : Path
        The cache.
    corpus : Corpus
        What is extracted: `whole`, or a shard of it.
    whole : Corpus
    backbone : Backbone
    settings : ExtractionSettings
    site : Site
        Where batches are computed.
    table : pandas.DataFrame
    headers : list of AudioHeader or AudioProblem
        Both as :func:`.scan.scan` gives them.
    say : callable
        Told what happens, a line at a time.
    """

    out: Path
    corpus: Corpus
    whole: Corpus
    backbone: Backbone
    settings: ExtractionSettings
    site: Site
    table: pd.DataFrame
    headers: list[AudioHeader | AudioProblem]
    say: Callable[[str], None]

    def batches(self, samples: np.ndarray, batch_seconds: float) -> list[np.ndarray]:
        """The rows of each batch: the same at each run, whichever files are there.

        Parameters
        ----------
        samples : ndarray of int, (utterances,)
            That the cache was laid out for.
        batch_seconds : float
            Most seconds of a batch, padding included.
        """
        groups = gathered(self.table["path"].tolist(), places(self.table))
        return plan_batches(self.backbone.sizes(samples), budget=int(batch_seconds * SAMPLE_RATE), groups=groups)

    def provenance(self) -> dict:
        """What a cache is to say of its making, as JSON."""
        settings, site = self.settings, self.site
        record = {
            "model": self.backbone.provenance(),
            "corpus": _identity(self.corpus),
            "pooling": list(settings.statistics),
            "frames": settings.frames,
            "precision": settings.precision,
            "longest_seconds": settings.longest,
            "batch_seconds": settings.batch_seconds or site.batch_seconds,
            "device": site.name,
            "methods": {"pooling": pooling.VERSION, "acoustics": acoustics.VERSION},
            "acoustics": "mean and population standard deviation over time of log-mel and MFCC",
            "versions": versions(),
        }
        if settings.shard is not None:
            shard = Shard.parsed(settings.shard)
            record["shard"] = {
                "number": shard.number,
                "count": shard.count,
                "corpus": _identity(self.whole),
                # Of one sample: its own size, or a window that each utterance fills.
                "padded_to": int(self.backbone.sizes(np.array([1]))[0]),
            }
        return record

    def arguments(self) -> tuple[str, ...]:
        """What ``probe-extract`` is given to make the cache, from any folder; nothing for a corpus made in Python."""
        if not self.corpus.arguments:
            return ()
        model, settings, usual = self.backbone.provenance(), self.settings, ExtractionSettings()
        name = model["name"]
        given = [*self.corpus.arguments, "--model", os.path.abspath(name) if Path(name).is_dir() else name]  # noqa: PTH100
        for option in ("revision", "random_init", "label"):
            if model[option] is not None:
                given += [f"--{option.replace('_', '-')}", str(model[option])]
        given += ["--normalise", "yes" if model["normalise"] else "no"]
        if settings.statistics != usual.statistics:
            given += ["--pool", *settings.statistics]
        if settings.frames:
            given.append("--frames")
        for name in ("precision", "longest", "limit", "shard"):
            if getattr(settings, name) != getattr(usual, name):
                given += [f"--{name}", str(getattr(settings, name))]
        return tuple(given)


def _identity(corpus: Corpus) -> dict:
    """What provenance says of a corpus."""
    return {
        "name": corpus.name,
        "sha256": corpus.sha256,
        "utterances": len(corpus.utterances),
        "notes": [note[:300] for note in corpus.notes[:20]],
    }
