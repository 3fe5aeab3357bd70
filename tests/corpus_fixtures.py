"""Corpora on disk in the forms that the licensed ones have; every row, name and rating here is invented."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from emoprobe.testing.corpora import write_csv, write_wav


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the things that happen to files."""
    damaged = bytearray(data)
    # Half of the places in the first bytes, where the structure is.
    end = len(data) if rng.random() < 0.5 else min(len(data), 256)
    place, length = int(rng.integers(end)), int(rng.integers(1, 1 + max(1, len(data) // 4)))
    match rng.integers(8):
        case 0:
            del damaged[int(rng.integers(len(data))) :]
        case 1:
            for where in rng.integers(0, end, rng.integers(1, 20)):
                damaged[where] ^= 1 << int(rng.integers(8))
        case 2:
            for where in rng.integers(0, end, rng.integers(1, 20)):
                damaged[where] = int(rng.integers(256))
        case 3:
            damaged[place : place + length] = bytes(len(damaged[place : place + length]))
        case 4:
            damaged[place : place + length] = b"\xff" * len(damaged[place : place + length])
        case 5:
            damaged[place:place] = rng.bytes(min(length, 512))
        case 6:
            del damaged[place : place + length]
        case 7:
            damaged = bytearray(rng.bytes(len(data)))
    return bytes(damaged)


MSP_HEADER = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
MSP_ROWS = (
    ("MSP-PODCAST_9001_0001.wav", "N", "2.2", "4.0", "2.6", "30", "Male", "Test1"),
    ("MSP-PODCAST_9001_0002.wav", "H", "5.4", "6.1", "4.8", "31", "Female", "Train"),
    ("MSP-PODCAST_9002_0001.wav", "X", "3.0", "3.5", "3.75", "Unknown", "Male", "Train"),
    ("MSP-PODCAST_9002_0002.wav", "A", "6.2", "1.4", "6.0", "32", "Female", "Development"),
    ("MSP-PODCAST_9003_0007.wav", "S", "1.8", "2.0", "2.2", "33", "Male", "Test2"),
    ("MSP-PODCAST_9004_0001.wav", "", "", "", "", "34", "Female", "Test3"),
)
MSP_WORDS = {"MSP-PODCAST_9001_0001": "Well, that is how it went.", "MSP-PODCAST_9001_0002": " So  good\nto see you! "}


def make_msp_podcast(
    root: Path,
    *,
    labels: str = "labels_consensus.csv",
    labels_folder: str = "Labels",
    audio_folder: str = "Audios",
    rows: Iterable[tuple[str, ...]] = MSP_ROWS,
    order: Iterable[str] = MSP_HEADER,
    transcripts: Mapping[str, str] | None = None,
    partitions: str | None = None,
    speaker_ids: str | None = None,
    audio: bool = True,
) -> Path:
    """A root folder of MSP-Podcast; `order` gives the columns that the label file has, in their order."""
    named = [dict(zip(MSP_HEADER, row, strict=True)) for row in rows]
    order = list(order)
    path = root / labels_folder / labels
    if path.suffix == ".json":
        path.parent.mkdir(parents=True)
        entries = {
            row["FileName"]: {
                field: float(row[field])
                if field.startswith("Emo") and field != "EmoClass" and row[field]
                else row[field]
                for field in order
                if field != "FileName"
            }
            for row in named
        }
        path.write_text(json.dumps(entries))
    else:
        write_csv(path, order, ([row[field] for field in order] for row in named))
    (root / audio_folder).mkdir()
    if audio:
        for seed, row in enumerate(named):
            write_wav(root / audio_folder / row["FileName"], seed=seed)
    if transcripts is not None:
        (root / "Transcripts").mkdir()
        for stem, words in transcripts.items():
            (root / "Transcripts" / f"{stem}.txt").write_text(words)
    if partitions is not None:
        (root / "Partitions.txt").write_text(partitions)
    if speaker_ids is not None:
        (root / "Speaker_ids.txt").write_text(speaker_ids)
    return root


IEMOCAP_EVALUATION = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro91_F000\tneu\t[2.5000, 2.0000, 3.5000]
C-E2:\tNeutral;\t()
C-F1:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro91_F001\txxx\t[2.5000, 3.0000, ]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  ;\t()

[14.8872 - 18.0175]\tSes01F_impro91_M000\tang\t[1.5000, 4.0000]
C-E2:\tAnger;\t()
"""
IEMOCAP_TRANSCRIPT = """\
Ses01F_impro91_F000 [006.2901-008.2357]: Nobody told me, did they?
Ses01F_impro91_M000 [014.8872-018.0175]: [LAUGHTER] You: never asked.
M: [BREATHING]
"""


def make_iemocap(root: Path, *, audio: bool = True) -> Path:
    """A root folder of IEMOCAP with two sessions and the odd files that archives leave."""
    for number in (1, 2):
        session = root / f"Session{number}"
        name = f"Ses0{number}F_impro91"
        swap = lambda text, number=number: text.replace("Ses01", f"Ses0{number}")  # noqa: E731
        evaluation = session / "dialog" / "EmoEvaluation"
        (evaluation / "Categorical").mkdir(parents=True)
        (evaluation / f"{name}.txt").write_text(swap(IEMOCAP_EVALUATION))
        (evaluation / f"._{name}.txt").write_bytes(b"\x00\x05\x16\x07\xff\xfe[6.0 - 7.0]\t")
        transcriptions = session / "dialog" / "transcriptions"
        transcriptions.mkdir()
        (transcriptions / f"{name}.txt").write_text(swap(IEMOCAP_TRANSCRIPT))
        (transcriptions / f"._{name}.txt").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
        if audio:
            for seed, turn in enumerate(("F000", "F001", "M000")):
                write_wav(session / "sentences" / "wav" / name / f"{name}_{turn}.wav", seed=seed)
    return root


def make_iemocap_sessions(root: Path, *, sessions: int = 5, turns: int = 6) -> Path:
    """A root folder of IEMOCAP with noise for speech: sessions of two actors, who take turns in two dialogues."""
    rng = np.random.default_rng(0)
    codes = ("ang", "hap", "exc", "neu", "sad", "fru")
    for number in range(1, sessions + 1):
        session = root / f"Session{number}"
        (session / "dialog" / "EmoEvaluation").mkdir(parents=True)
        for dialogue in (f"Ses0{number}F_impro91", f"Ses0{number}M_impro92"):
            lines = []
            for turn in range(turns):
                name = f"{dialogue}_{'FM'[turn % 2]}{turn // 2:03d}"
                valence, activation, dominance = rng.integers(2, 11, 3) / 2
                code = codes[(turn + number) % len(codes)]
                ratings = f"[{valence:.4f}, {activation:.4f}, {dominance:.4f}]"
                lines.append(f"[{2 * turn}.0000 - {2 * turn + 1}.0000]\t{name}\t{code}\t{ratings}\n")
                write_wav(
                    session / "sentences" / "wav" / dialogue / f"{name}.wav", seed=100 * number + turn, seconds=0.5
                )
            (session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt").write_text("\n".join(lines))
    return root
