"""Invented data sets whose audio lies inside other files, in the forms of Hugging Face's and WebDataset's."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from emoprobe.testing.corpora import tone

EMOTIONS = ("happy", "sad", "neutral")
FEATURES = {
    "audio": {"sampling_rate": 16_000, "_type": "Audio"},
    "emotion": {"names": list(EMOTIONS), "_type": "ClassLabel"},
    "arousal": {"dtype": "float64", "_type": "Value"},
    "speaker": {"dtype": "string", "_type": "Value"},
}
_AUDIO = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SCHEMA = pa.schema(
    {"audio": _AUDIO, "emotion": pa.int64(), "arousal": pa.float64(), "speaker": pa.string()},
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def encoded(signal: np.ndarray, kind: str = "WAV", subtype: str | None = None, *, rate: int = 16_000) -> bytes:
    """A file of audio in memory."""
    file = io.BytesIO()
    soundfile.write(file, signal, rate, subtype=subtype, format=kind)
    return file.getvalue()


def heard(data: bytes) -> np.ndarray:
    """What soundfile reads of it, the channels' mean, at 16 kHz already."""
    signal, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert rate == 16_000
    return signal.mean(axis=1)


def make_rows(count: int, *, seed: int = 0) -> list[dict]:
    """Rows of a data set: half WAV, half FLAC."""
    return [
        {
            "audio": {
                "bytes": encoded(tone(0.3 + 0.02 * (row % 7), seed=[seed, row]), ("WAV", "FLAC")[row % 2]),
                "path": f"rec_{seed}_{row:03d}.wav",
            },
            "emotion": row % len(EMOTIONS),
            "arousal": row / 4,
            "speaker": f"s{row % 3}",
        }
        for row in range(count)
    ]


def write_parquet(path: Path, rows: Sequence[Mapping], *, group: int = 4, schema: pa.Schema = SCHEMA) -> Path:
    """A Parquet shard in groups of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=group)
    return path


def write_saved(folder: Path, rows: Sequence[Mapping], *, shards: int = 2) -> Path:
    """What ``Dataset.save_to_disk`` writes: Arrow streams and a file that names them."""
    folder.mkdir(parents=True)
    names = []
    for number, part in enumerate(np.array_split(np.arange(len(rows)), shards)):
        name = f"data-{number:05d}-of-{shards:05d}.arrow"
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            for batch in pa.Table.from_pylist([rows[row] for row in part], schema=SCHEMA).to_batches(max_chunksize=3):
                writer.write_batch(batch)
        names.append({"filename": name})
    state = {"_data_files": names, "_fingerprint": "0", "_format_columns": None, "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder


def write_tar(path: Path, members: Mapping[str, bytes], *, mode: str = "w") -> Path:
    """An archive of those members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def as_members(rows: Sequence[Mapping]) -> Iterator[tuple[str, bytes]]:
    """The same rows as WebDataset has them: audio and a JSON of labels, by one key."""
    for row in rows:
        key = Path(row["audio"]["path"]).stem
        ending = "flac" if row["audio"]["bytes"][:4] == b"fLaC" else "wav"
        labels = {"emotion": EMOTIONS[row["emotion"]], "arousal": row["arousal"], "speaker": row["speaker"]}
        yield f"{key}.{ending}", row["audio"]["bytes"]
        yield f"{key}.json", json.dumps(labels).encode()
