"""Everything that is to be known of a GPU, in one command of some minutes.

Exactness of each precision against transformers' own unbatched forward on the CPU; extraction beside the bare forward
of the same precision over ideal batches, and beside the usual loop; where the time goes; ridge probes on the device and
on the CPU, of what was extracted and of a layer of a large corpus; training. Each part is written to the JSON file when
it ends, so that a run that is cut off keeps what it has. Models have their real shapes and random weights, audio is
noise of 2.75 to 11.5 s: no network is needed, and no package beyond torch, transformers, h5py, pandas, scikit-learn,
soundfile and this one.

    python benchmarks/gpu.py                        # a GPU: three models, ten hours of audio
    python benchmarks/gpu.py --device cpu --small   # the same on a laptop, a few minutes
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers

from emoprobe.extract import extract
from emoprobe.extract.devices import numerics
from emoprobe.extract.encoders.architectures import ARCHITECTURES
from emoprobe.extract.encoders.speech import Backbone
from emoprobe.extract.limits import PRECISIONS
from emoprobe.extract.versions import versions
from emoprobe.jsontext import to_json

RATE = 16_000
CLASSES = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}

#: Largest error of a layer that a sound kernel makes, as in emoprobe.extract.precision.
ALLOWED = {"float32": 5e-4, "bfloat16": 0.2, "float16": 0.025}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    models: tuple[str, ...]
    hours: float
    usual_seconds: float
    batch_seconds: float
    probe_shape: tuple[int, int]
    training_rows: int


@dataclass(frozen=True)
class Bench:
    """Where everything runs, and on what."""

    device: torch.device
    size: Size
    manifest: Path
    folder: Path


LARGE = Size(
    models=("distilhubert", "hubert-base", "hubert-large"),
    hours=10.0,
    usual_seconds=120.0,
    batch_seconds=600.0,
    probe_shape=(40_000, 2048),
    training_rows=600,
)
SMALL = Size(
    models=("distilhubert",),
    hours=0.1,
    usual_seconds=20.0,
    batch_seconds=8.0,
    probe_shape=(2_000, 384),
    training_rows=50,
)


def random_model(name: str) -> torch.nn.Module:
    """A model of the real shape, always with the same random weights."""
    architecture = ARCHITECTURES[name]
    family = CLASSES[architecture.model_type]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**architecture.config)
    return getattr(transformers, f"{family}Model")(config).eval()


def make_corpus(folder: Path, hours: float) -> Path:
    """Noise with a changing envelope as 16-bit WAV, and a manifest with speakers and ratings."""
    rng = np.random.default_rng(0)
    sizes: list[int] = []
    while sum(sizes) < hours * 3600 * RATE:
        sizes.append(int(rng.uniform(2.75, 11.5) * RATE))
    noise = (3000 * rng.standard_normal(120 * RATE)).astype(np.int16)

    def write(row: int) -> None:
        start = (row * 7919) % (len(noise) - sizes[row])
        soundfile.write(folder / f"{row:06d}.wav", noise[start : start + sizes[row]], RATE, subtype="PCM_16")

    folder.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(len(sizes))))
    ratings = rng.normal(4, 1, (len(sizes), 3)).clip(1, 7)
    manifest = folder / "manifest.csv"
    lines = ["path,speaker,split,arousal,valence,dominance"]
    for row, (a, v, d) in enumerate(ratings):
        split = ("train", "train", "train", "dev", "test")[row % 40 // 8]
        lines.append(f"{row:06d}.wav,s{row % 40},{split},{a:.3f},{v:.3f},{d:.3f}")
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def audio_seconds(manifest: Path) -> float:
    """Length of all files."""
    return sum(soundfile.info(path).duration for path in manifest.parent.glob("*.wav"))


@contextmanager
def timed(device: torch.device, seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of a block, device work included."""
    synchronise(device)
    begin = time.perf_counter()
    yield
    synchronise(device)
    seconds[name] = time.perf_counter() - begin


def synchronise(device: torch.device) -> None:
    """Wait for what the device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# Parts ---------------------------------------------------------------------------------------------------------------


def exactness(bench: Bench) -> dict:
    """Largest error of any layer of a padded batch, against each utterance alone in float32 on the CPU."""
    device, size = bench.device, bench.size
    rng = np.random.default_rng(1)
    waveforms = [rng.standard_normal(n).astype(np.float32) for n in (2 * RATE, 30_001, 17_777)]
    rows = {}
    for name in size.models:
        model = random_model(name)
        with torch.inference_mode():
            alone = [
                [states[0] for states in model(torch.from_numpy(w)[None], output_hidden_states=True).hidden_states]
                for w in waveforms
            ]
        pre_norm = model.config.do_stable_layer_norm  # the last of transformers' states is then after a final norm
        backbone = Backbone(model, name=name, normalise=False).to(device)
        for precision in PRECISIONS if device.type == "cuda" else ("float32", "bfloat16"):
            with numerics(device, precision):
                states, frames = backbone.hidden_states(waveforms)
            errors = [
                float(torch.linalg.vector_norm(states[k, i, : frames[i]].float().cpu() - alone[i][k])
                      / torch.linalg.vector_norm(alone[i][k]))
                for i in range(len(waveforms))
                for k in range(states.shape[0] - pre_norm)
            ]  # fmt: skip
            rows[f"{name} {precision}"] = {"error": max(errors), "allowed": ALLOWED[precision]}
    return rows


def bare(model: torch.nn.Module, device: torch.device, precision: str, seconds: float, batch_seconds: float) -> float:
    """Times real time of the forward alone, weights in the precision, over batches of 7 s that are on the device."""
    kind = getattr(torch, precision)
    cast = model.to(device=device, dtype=kind)
    length = 7 * RATE
    rows = max(1, int(batch_seconds * RATE / length))
    batch = torch.randn(rows, length, device=device, dtype=kind)
    passes = max(2, round(seconds * RATE / (rows * length)))
    spent: dict[str, float] = {}
    with numerics(device, "float32"):
        cast(batch)
        with timed(device, spent, "forward"):
            for _ in range(passes):
                cast(batch)
    model.to(device="cpu", dtype=torch.float32)
    return passes * rows * length / RATE / spent["forward"]


def usual_loop(model: torch.nn.Module, device: torch.device, manifest: Path, seconds: float, out: Path) -> float:
    """Times real time of most scripts: read, feature extractor, all states, mean, one file a layer."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    model = model.to(device)
    done, begin = 0.0, time.perf_counter()
    with torch.inference_mode():
        for path in sorted(manifest.parent.glob("*.wav")):
            waveform, _ = soundfile.read(path, dtype="float32")
            values = extractor(waveform, sampling_rate=RATE, return_tensors="pt").input_values.to(device)
            for layer, states in enumerate(model(values, output_hidden_states=True).hidden_states):
                np.save(out / f"{path.stem}_{layer}.npy", states[0].mean(0).cpu().numpy())
            done += len(waveform) / RATE
            if done >= seconds:
                break
    model.to("cpu")
    return done / (time.perf_counter() - begin)


def speed(bench: Bench) -> dict:
    """Extraction beside the bare forward and the usual loop, times real time."""
    device, size, manifest, folder = bench.device, bench.size, bench.manifest, bench.folder
    audio = audio_seconds(manifest)
    rows = {}
    for name in size.models:
        model = random_model(name)
        loop = usual_loop(model, device, manifest, size.usual_seconds, folder)
        for precision in ("float32", "bfloat16"):
            ideal = bare(model, device, precision, min(audio, 3600.0), min(size.batch_seconds, 120.0))
            for workers in sorted({4, os.cpu_count() or 4}):
                out = folder / "states.h5"
                backbone = Backbone(random_model(name), name=name, normalise=True)
                spent: dict[str, float] = {}
                with timed(device, spent, "extract"):
                    extract(
                        str(manifest), backbone, out, progress=False, device=str(device), precision=precision,
                        workers=workers, overwrite=True,
                    ).close()  # fmt: skip
                rate = audio / spent["extract"]
                rows[f"{name} {precision} {workers} workers"] = {
                    "bare forward": ideal, "emoprobe": rate, "of bare": rate / ideal, "usual loop": loop,
                    "host GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                }  # fmt: skip
                print(f"  {name} {precision} {workers} workers: {rate:,.0f} x real time, {rate / ideal:.2f} of bare")
    return rows


def profile(bench: Bench) -> dict:
    """Seconds of each part of an extraction (threads add up), and the operations that take most of the device."""
    from emoprobe.extract import pipeline, writer

    device, size, manifest, folder = bench.device, bench.size, bench.manifest, bench.folder
    spent: dict[str, float] = defaultdict(float)
    lock = threading.Lock()

    def counted(name: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                with lock:
                    spent[name] += time.perf_counter() - begin

        return call

    pipeline.read_audio = counted("decode", pipeline.read_audio)
    pipeline.batch_statistics = counted("acoustics (as given to the device)", pipeline.batch_statistics)
    pipeline.Pooling.pool = counted("pool (as given to the device)", pipeline.Pooling.pool)
    Backbone.prepare = counted("normalise", Backbone.prepare)
    Backbone.walk = counted("forward and pool (as given to the device)", Backbone.walk)
    Backbone.provenance = counted("hash of the weights", Backbone.provenance)
    writer.CacheWriter.write = counted("write", writer.CacheWriter.write)
    name = size.models[-1]
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    settings = {"device": str(device), "precision": "bfloat16", "workers": os.cpu_count() or 4, "overwrite": True}
    backbone = Backbone(random_model(name), name=name, normalise=True)
    begin = time.perf_counter()
    with extract(str(manifest), backbone, folder / "states.h5", progress=False, **settings):
        seconds = {**spent, "the whole": time.perf_counter() - begin}
    # Operations on a part alone: the profiler keeps each one in memory.
    backbone = Backbone(random_model(name), name=name, normalise=True)
    with torch.profiler.profile(activities=activities) as seen:
        extract(str(manifest), backbone, folder / "part.h5", progress=False, limit=60, **settings).close()
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    operations = sorted(seen.key_averages(), key=lambda event: -getattr(event, key))[:15]
    return {
        "model": name,
        "seconds": dict(sorted(seconds.items(), key=lambda item: -item[1])),
        "operations, ms": {event.key: getattr(event, key) / 1000 for event in operations},
    }


def probes(bench: Bench) -> dict:
    """By how much ridge probes on the device differ from the CPU's, and what sums and a whole fit take on both."""
    from emoprobe.extract import HiddenStateCache
    from emoprobe.probe.device_check import differences
    from emoprobe.probe.fit import fit_layers
    from emoprobe.probe.on_device import brought, working
    from emoprobe.probe.ridge_equations import accumulate
    from emoprobe.probe.splits import Fold

    device, (rows, width) = bench.device, bench.size.probe_shape
    rng = np.random.default_rng(0)
    states = rng.standard_normal((rows, width), dtype=np.float32)
    labels = rng.standard_normal((rows, 3))
    train, test = np.flatnonzero(np.arange(rows) % 5 > 0), np.flatnonzero(np.arange(rows) % 5 == 0)
    halves = (train[::2], train[1::2])
    folds = (Fold("all", train, (halves, halves[::-1]), {"test": test}),)
    spent: dict[str, float] = {f"{what} differ by": by for what, by in differences(device).items()}
    layer = f"one layer of {rows} x {width}, s"
    with timed(device, spent, f"Gram sums of {layer}"):
        accumulate(states.__getitem__, labels, folds)
    with working(device):
        with timed(device, spent, f"{device} brought {layer}"):
            read = brought(states.__getitem__, folds, device)
        with timed(device, spent, f"{device} Gram sums of {layer}"):
            accumulate(read, labels, folds)
    out = bench.folder / "states.h5"
    if not out.exists():  # speed has left none
        name = bench.size.models[-1]
        backbone = Backbone(random_model(name), name=name, normalise=True)
        extract(str(bench.manifest), backbone, out, progress=False, device=str(device)).close()
    with HiddenStateCache(out) as cache:
        about = f"probe-fit of {cache.n_utterances} utterances x {cache.n_layers} layers x {cache.width}, s"
    for where in dict.fromkeys(["cpu", str(device)]):
        with timed(device, spent, f"{where} {about}"):
            fit_layers(out, dimensions="arousal", device=where)
    return spent


def training(bench: Bench) -> dict:
    """probe-train of the first model for an epoch, utterances a second; decoding, scoring and saving included."""
    from emoprobe.cli.train import main as train

    folder, rows = bench.folder, bench.size.training_rows
    model, few = folder / "model", bench.manifest.with_name("few.csv")
    random_model(bench.size.models[0]).save_pretrained(model)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(model)
    few.write_text("\n".join(bench.manifest.read_text().splitlines()[: rows + 1]) + "\n")
    places = [f"--{name}={folder / name}" for name in ("out", "results", "figures")]
    spent: dict[str, float] = {}
    with timed(bench.device, spent, "seconds"):
        status = train(
            ["--corpus", str(few), "--audio", str(model), "--text", "none", "--epochs", "1", "--quiet", *places,
             "--device", str(bench.device)]
        )  # fmt: skip
    return {"exit status": status, "utterances a second": rows / spent["seconds"], **spent}


PARTS: dict[str, Callable[[Bench], dict]] = {
    part.__name__: part for part in (exactness, speed, profile, probes, training)
}


def main() -> None:
    """Run each part, print it, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a few minutes on a CPU")
    parser.add_argument("--hours", type=float, help="of audio, in place of the size's own")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="kept after each part (default: gpu.json)")
    options = parser.parse_args()
    device, size = torch.device(options.device), SMALL if options.small else LARGE
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    kept: dict = {"device": name, "cores": os.cpu_count(), "versions": versions()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bench = Bench(device, size, make_corpus(folder / "corpus", options.hours or size.hours), folder)
        kept["audio, hours"] = audio_seconds(bench.manifest) / 3600
        for part in options.parts:
            print(f"{part} on {name}", flush=True)
            begin = time.perf_counter()
            rows = PARTS[part](bench)
            kept[part] = rows
            kept[f"{part}, seconds"] = time.perf_counter() - begin
            options.json.write_text(to_json(kept, indent=1) + "\n")
            for what, value in rows.items():
                print(f"  {what}: {value}", flush=True)


if __name__ == "__main__":
    main()
