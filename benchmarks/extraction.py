"""Extraction beside the loops that most people write, over the same audio, in one run.

Everything is measured in processes of their own, several times in turn, and reported as ratios to the bare forward pass
over ideal batches of equal length, which is the least that any extraction must do. The audio is synthetic speech-like
noise with lengths as in conversational corpora (gamma, mean about 4 s).

    python benchmarks/extraction.py                          # a small model, under a minute
    python benchmarks/extraction.py --model hubert-base --seconds 240 --repeats 3
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from emoprobe.jsontext import from_json, to_json

RATE = 16_000
SMALL = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "conv_dim": (128,) * 7,
}


def make_corpus(folder: Path, *, seconds: float, seed: int = 0) -> Path:
    """WAV files of random lengths that add up to `seconds`, and their manifest."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, total = [], 0.0
    while total < seconds:
        length = float(np.clip(rng.gamma(4.0, 1.0), 0.6, 15.0))
        noise = rng.normal(size=int(length * RATE))
        sound = np.convolve(noise, np.hanning(9), mode="same") * (0.2 + np.sin(np.arange(len(noise)) / 2000) ** 2)
        name = f"{len(names):05d}.wav"
        soundfile.write(folder / name, (0.05 * sound).astype(np.float32), RATE)
        names.append(name)
        total += length
    manifest = folder / "manifest.csv"
    lines = [f"{name},{'speaker' + str(i % 10)}" for i, name in enumerate(names)]
    manifest.write_text("path,speaker\n" + "\n".join(lines) + "\n")
    return manifest


def load(model: str):
    """The same random weights for every way, as transformers gives them."""
    import torch
    import transformers

    torch.manual_seed(0)
    if model == "small":
        return transformers.HubertModel(transformers.HubertConfig(**SMALL)).eval()
    from emoprobe.extract.encoders.architectures import ARCHITECTURES

    known = ARCHITECTURES[model]
    family = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM", "data2vec-audio": "Data2VecAudio"}
    name = family[known.model_type]
    config = getattr(transformers, f"{name}Config")(**known.config)
    return getattr(transformers, f"{name}Model")(config).eval()


def bare_forward(model, manifest: Path, out: Path) -> float:  # noqa: ARG001 - as the other ways, which write there
    """Only the forward pass, over the same number of samples cut into batches of equal length: no padding, no disk."""
    import torch

    files = sorted(manifest.parent.glob("*.wav"))
    audio = np.concatenate([soundfile.read(f, dtype="float32")[0] for f in files])
    length = len(audio) // len(files)
    rows = torch.from_numpy(audio[: length * len(files)]).view(len(files), length)
    size = max(1, int(8 * RATE / length))  # the fastest of 4 to 48 seconds on the CPU measured
    begin = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(rows), size):
            model(rows[start : start + size])
    return time.perf_counter() - begin


def one_at_a_time(model, manifest: Path, out: Path) -> float:
    """The loop of most scripts: read, feature extractor, forward with all states, mean, one array a layer on disk."""
    import torch
    import transformers

    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    begin = time.perf_counter()
    with torch.inference_mode():
        for file in sorted(manifest.parent.glob("*.wav")):
            waveform, rate = soundfile.read(file, dtype="float32")
            values = extractor(waveform, sampling_rate=rate, return_tensors="pt").input_values
            for layer, states in enumerate(model(values, output_hidden_states=True).hidden_states):
                np.save(out / f"{file.stem}_{layer}.npy", states[0].mean(0).numpy())
    return time.perf_counter() - begin


def naive_batches(model, manifest: Path, out: Path, size: int = 8) -> float:
    """Batches in the corpus's order, padded to the longest, with the attention mask; the states come out wrong."""
    import torch
    import transformers

    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    files = sorted(manifest.parent.glob("*.wav"))
    begin = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(files), size):
            chosen = files[start : start + size]
            waveforms = [soundfile.read(f, dtype="float32")[0] for f in chosen]
            values = extractor(waveforms, sampling_rate=RATE, return_tensors="pt", padding=True)
            states = model(**values, output_hidden_states=True).hidden_states
            # transformers has no public name for it.
            frames = model._get_feat_extract_output_lengths(values.attention_mask.sum(-1))  # noqa: SLF001
            for row, file in enumerate(chosen):
                for layer, layer_states in enumerate(states):
                    np.save(out / f"{file.stem}_{layer}.npy", layer_states[row, : frames[row]].mean(0).numpy())
    return time.perf_counter() - begin


def ours(model, manifest: Path, out: Path) -> float:
    """`emoprobe.extract.extract`: three statistics, norms, two acoustic baselines, checksums, safe against a kill."""
    from emoprobe.extract import extract
    from emoprobe.extract.encoders.speech import Backbone

    backbone = Backbone(model, name="benchmark", normalise=True)
    begin = time.perf_counter()
    extract(str(manifest), backbone, out / "states.h5", progress=False, device="cpu").close()
    return time.perf_counter() - begin


WAYS = {"bare forward": bare_forward, "emoprobe": ours, "one at a time": one_at_a_time, "naive batches": naive_batches}


def measure(way: str, model: str, manifest: Path) -> dict[str, float]:
    """One way in a process of its own: seconds without start-up and loading, and peak memory."""
    command = [sys.executable, __file__, "--way", way, "--model", model, "--manifest", str(manifest)]
    return from_json(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure every way in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small", help="small, or a short name such as hubert-base, distilhubert")
    parser.add_argument("--seconds", type=float, default=240, help="audio in the corpus")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        model = load(options.model)
        with tempfile.TemporaryDirectory() as out:
            seconds = WAYS[options.way](model, options.manifest, Path(out))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(to_json({"seconds": seconds, "peak": peak}))
        return
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_corpus(Path(folder) / "corpus", seconds=options.seconds)
        audio = sum(soundfile.info(f).duration for f in manifest.parent.glob("*.wav"))
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way, rounds in runs.items():
                rounds.append(measure(way, options.model, manifest))
    print(f"{options.model}, {audio:.0f} s of audio, {options.repeats} rounds, medians; ratio within each round")
    print(f"{'way':15} {'x real time':>12} {'time / bare forward':>28} {'peak memory':>12}")
    for way, rounds in runs.items():
        ratios = sorted(f["seconds"] / b["seconds"] for f, b in zip(rounds, runs["bare forward"], strict=True))
        speed = audio / statistics.median(f["seconds"] for f in rounds)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        peak = statistics.median(f["peak"] for f in rounds) / 1e9
        print(f"{way:15} {speed:12.1f} {spread:>28} {peak:9.2f} GB")


if __name__ == "__main__":
    main()
