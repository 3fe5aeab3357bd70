"""What small trainings on speech begin with: a store of synthetic and one of "recorded" speech, and one thread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emoprobe.demo import shards
from emoprobe.distil.store import open_store, write_store


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Torch on one thread for the tests of a module that imports this."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_stores(root: Path) -> tuple:
    """Write synthetic speech, and every second utterance of it, cut short, as if it were recorded."""
    synthetic = open_store(shards.make_synthetic(root / "synthetic", hours=0.02, seed=5, part=8))
    recorded = write_store(root / "recorded", [synthetic.wave(i)[:24_000] for i in range(0, len(synthetic), 2)])
    return synthetic, open_store(recorded)
