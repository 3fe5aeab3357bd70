"""The intact material: a corpus, checkpoints, and what every command makes of them, small and in one folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

#: Every command on the intact material, in the order in which each finds what it needs.
CLEAN: dict[str, tuple[str, tuple[str, ...]]] = {
    "extract": (
        "extract",
        ("--corpus", "corpus/manifest.csv", "--model", "speech", "--out", "c.h5", "--device", "cpu", "--workers", "1",
         "--quiet"),
    ),
    "fit": (
        "fit",
        ("c.h5", "--dim", "arousal", "--permutations", "3", "--no-mdl", "--resamples", "8", "--folds", "2",
         "--penalties", "1", "100", "--out", "results", "--figures", "figures", "--quiet"),
    ),
    "train": (
        "train",
        ("--corpus", "corpus/manifest.csv", "--audio", "speech", "--text", "text", "--epochs", "1", "--batch", "4",
         "--resamples", "8", "--hidden", "8", "--out", "trained", "--results", "results", "--figures", "figures",
         "--device", "cpu", "--quiet"),
    ),
    "predict": (
        "predict",
        ("trained/model", "corpus", "--transcripts", "corpus/manifest.csv", "--out", "p.csv", "--device", "cpu",
         "--workers", "1", "--quiet"),
    ),
    "transcribe": (
        "transcribe",
        ("--corpus", "corpus/manifest.csv", "--model", "ctc", "--out", "w.csv", "--device", "cpu", "--workers", "1",
         "--quiet"),
    ),
    "plot": ("plot", ("results", "--figures", "figures", "--format", "png")),
    # By itself: a forked process leaves without the handlers that end joblib's processes.
    "report": ("report", ("results", "--quick", "--workers", "1", "--quiet", "--out", "quick")),
    "stored": ("report", ("results", "--caches", "c.h5", "--quiet", "--out", "report")),
    "centroid": ("centroid", ("results",)),
    "distill": (
        "distill",
        ("--teacher", "speech", "--corpus", "corpus/manifest.csv", "--steps", "2", "--warmup", "1", "--decay", "1",
         "--batch-seconds", "1", "--longest", "1", "--threads", "1", "--out", "student"),
    ),
}  # fmt: skip

#: Files of somebody else, where our commands write: they must outlive whatever happens.
FOREIGN = ("foreign.txt", "foreign/foreign.txt", "results/foreign.txt", "figures/foreign.png", "c.h5.foreign.txt")


def make_inputs(tree: Path) -> None:
    """The corpus and the checkpoints."""
    import transformers

    from emoprobe.testing.checkpoints import WORDS, save_speech_model, save_text_model
    from emoprobe.testing.corpora import make_corpus
    from emoprobe.testing.recognisers import save_ctc
    from tests.corpus_fixtures import make_iemocap, make_msp_podcast

    transformers.utils.logging.disable_progress_bar()
    tree.mkdir(parents=True)
    manifest = make_corpus(tree / "corpus", utterances=10, speakers=5, longest=0.4)
    table = pd.read_csv(manifest)
    rng = np.random.default_rng(0)
    table.insert(0, "id", [f"u{i:03d}" for i in range(len(table))])
    table["transcript"] = [" ".join(rng.choice(WORDS, 3)) for _ in range(len(table))]
    parts = dict(zip(sorted(set(table["speaker"])), ["train"] * 3 + ["development", "test"], strict=True))
    table["split"] = table["speaker"].map(parts)
    table["valence"] = rng.normal(size=len(table))
    table.to_csv(manifest, index=False)
    save_speech_model(tree / "speech", num_hidden_layers=2)
    save_text_model(tree / "text")
    save_ctc(tree / "ctc")
    make_msp_podcast(tree / "msp", transcripts={"MSP-PODCAST_9001_0001": "so good"}, partitions="Train; a.wav\n")
    make_iemocap(tree / "iemocap")
    (tree / "emobank").mkdir()
    (tree / "emobank" / "emobank.csv").write_text(
        "id,split,V,A,D,text\n" + "".join(f"e{i},train,{i}.5,3,2,one good {i}\n" for i in range(1, 5))
    )
    (tree / "words").mkdir()
    for name, words in zip(table["id"], table["transcript"], strict=True):
        (tree / "words" / f"{name}.txt").write_text(words)
    for name in FOREIGN:
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("not yours\n")
    make_oddities(tree / "odd")


def make_oddities(folder: Path) -> None:
    """Places that are no ordinary file or folder, for options that want one."""
    folder.mkdir()
    (folder / "empty").touch()
    (folder / "nothing").mkdir()
    (folder / "dangling").symlink_to("absent")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    for name, minor in (("null", 3), ("full", 7), ("zero", 5)):  # ours, so that no device of the system is at risk
        try:
            os.mknod(folder / name, 0o20666, os.makedev(1, minor))
        except PermissionError:
            (folder / name).symlink_to("pipe")


def make_material(tree: Path, run: Callable[[str, tuple[str, ...]], None]) -> None:
    """All of it; `run` runs a command in the folder and raises where that fails."""
    for command, arguments in CLEAN.values():
        run(command, arguments)
