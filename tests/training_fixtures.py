"""What trainings end to end begin with: tiny encoders, and a corpus of three parts with words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.testing.checkpoints import WORDS, save_speech_model, save_text_model
from emoprobe.testing.corpora import make_corpus

#: Which part each speaker is of.
PARTS = {"s0": "train", "s1": "train", "s2": "train", "s3": "development", "s4": "test", "s5": "test"}


def make_encoders_and_corpus(root: Path) -> pd.DataFrame:
    """Write ``audio``, ``text`` and ``corpus``, 24 utterances by 6 speakers; returns their table, with drawn words."""
    save_speech_model(root / "audio", "distilhubert")
    save_text_model(root / "text", "distilbert")
    table = pd.read_csv(make_corpus(root / "corpus", utterances=24, speakers=6))
    rng = np.random.default_rng(0)
    table["transcript"] = [" ".join(rng.choice(WORDS, 5)) for _ in range(len(table))]
    table["split"] = table["speaker"].map(PARTS)
    return table
