"""The distilled model beside its teacher: latency, times real time, peak memory and size on disk, in one run.

Real architectures with random weights, saved as `probe-train` saves them and exported as `probe-train export` does.
Every form predicts in a process of its own, in turn, several times; one utterance a time, as an application would. The
ratios are to the teacher's encoder as transformers computes it, without a head: what its user would have without this
package. Those of int8 are to the float form of the same model. All are within each round. Seconds of the processor are
shown beside those of the clock: other work on the machine does not add to them.

    python benchmarks/distilled.py                       # HuBERT large and DistilHuBERT, some minutes
    python benchmarks/distilled.py --teacher hubert-base --rounds 2
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from emoprobe.jsontext import from_json, to_json

RATE = 16_000
TEXT = "i did not think that we would ever see the end of it but here we are again"  # 19 tokens with the special ones


def make_models(folder: Path, teacher: str, student: str, text: str) -> None:
    """Save the three models and export the students."""
    from emoprobe.endtoend.export import export_model
    from emoprobe.endtoend.saved import build, save_model
    from emoprobe.endtoend.settings import ModelSettings

    settings = {
        "teacher": ModelSettings(audio=teacher, text=None, audio_random=0, layers="sum", freeze=("frontend",)),
        "student": ModelSettings(audio=student, text=None, audio_random=0),
        "student and text": ModelSettings(audio=student, text=text, audio_random=0, text_random=0),
    }
    for name, model_settings in settings.items():
        model, reader = build(model_settings)
        save_model(folder / name, model, reader, {"label": name})
        if name != "teacher":
            checks = export_model(folder / name, [speech(seconds) for seconds in (1.0, 2.5)], [TEXT, None], int8=True)
            print(f"{name}: float ONNX is within {checks['difference']:.1e} of torch", file=sys.stderr)


def speech(seconds: float) -> np.ndarray:
    """Noise with a changing envelope, (samples,) float32."""
    rng = np.random.default_rng(0)
    steps = np.arange(int(seconds * RATE))
    return (0.05 * rng.normal(size=len(steps)) * (0.2 + np.sin(steps / 2000) ** 2)).astype(np.float32)


PLAIN = "teacher, transformers alone"

#: Form by name: the saved model, and the file that it computes with.
FORMS = {
    PLAIN: ("teacher", "model.safetensors"),
    "teacher, torch": ("teacher", "model.safetensors"),
    "student, torch": ("student", "model.safetensors"),
    "student, ONNX float32": ("student", "onnx/model.onnx"),
    "student, ONNX int8": ("student", "onnx/model-int8.onnx"),
    "student and text, torch": ("student and text", "model.safetensors"),
    "student and text, ONNX float32": ("student and text", "onnx/model.onnx"),
    "student and text, ONNX int8": ("student and text", "onnx/model-int8.onnx"),
}


class PlainEncoder:
    """The encoder by transformers alone, with random weights, as anyone would call it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoModel

        self._model = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()

    def predict(self, waveforms: list[np.ndarray], texts: list[str]) -> None:  # noqa: ARG002 - as the others
        """Its states, which nobody reads here."""
        import torch

        with torch.inference_mode():
            self._model(torch.from_numpy(waveforms[0])[None])


def _load(folder: Path):
    from emoprobe.endtoend.saved import load_model

    return load_model(folder)


def predict(form: str, folder: Path, seconds: float, repeats: int, threads: int) -> dict[str, float]:
    """Load a form, warm it up, and time it."""
    name, file = FORMS[form]
    if file.endswith(".onnx"):  # torch is not even imported, as it would not be in an application
        from emoprobe.endtoend.exported import OnnxModel

        model = OnnxModel(folder / name, int8="int8" in file, threads=threads, check=False)
    else:
        import torch

        torch.set_num_threads(threads)
        model = PlainEncoder(folder / name / "audio") if form == PLAIN else _load(folder / name)
    waveform = speech(seconds)
    model.predict([waveform], [TEXT])
    wall, processor = [], []
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        model.predict([waveform], [TEXT])
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall": statistics.median(wall), "processor": statistics.median(processor), "peak": peak}


def measure(form: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One form in a process of its own."""
    command = [sys.executable, __file__, "--form", form, "--folder", str(folder), "--seconds", str(options.seconds)]
    command += ["--repeats", str(options.repeats), "--threads", str(options.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return from_json(done.stdout)


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Make the models in a process of its own: what this one holds would count into the peak of those it starts."""
    command = [sys.executable, __file__, "--folder", str(folder), "--teacher", options.teacher]
    subprocess.run([*command, "--student", options.student, "--text", options.text], check=True)


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def show(runs: dict[str, list[dict[str, float]]], folder: Path, seconds: float) -> None:
    """Print the table."""
    print(
        f"{'form':32}{'latency s':>22}{'processor s':>22}{'x real time':>12}{'peak GB':>9}{'disk MB':>9}"
        f"{'x plain (clock)':>22}{'x plain (processor)':>24}{'x float (processor)':>22}"
    )
    for form, rounds in runs.items():
        name, file = FORMS[form]
        size = (folder / name / file).stat().st_size / 1e6
        wall, processor = [r["wall"] for r in rounds], [r["processor"] for r in rounds]
        faster = {
            kind: spread([t[kind] / r[kind] for t, r in zip(runs[PLAIN], rounds, strict=True)])
            for kind in ("wall", "processor")
        }
        over_float = ""
        if file.endswith("int8.onnx"):
            whole = runs[form.replace("int8", "float32")]
            over_float = spread([w["processor"] / r["processor"] for w, r in zip(whole, rounds, strict=True)])
        print(
            f"{form:32}{spread(wall):>22}{spread(processor):>22}{seconds / statistics.median(wall):12.1f}"
            f"{statistics.median(r['peak'] for r in rounds) / 1e9:9.2f}{size:9.1f}"
            f"{faster['wall']:>22}{faster['processor']:>24}{over_float:>22}"
        )


def main() -> None:
    """Measure every form in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="hubert-large")
    parser.add_argument("--student", default="distilhubert")
    parser.add_argument("--text", default="distilbert")
    parser.add_argument("--seconds", type=float, default=5.5, help="of the utterance")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="utterances in each process")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        print(to_json(predict(options.form, options.folder, options.seconds, options.repeats, options.threads)))
        return
    if options.folder:
        make_models(options.folder, options.teacher, options.student, options.text)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(options, folder)
        runs: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
        for _ in range(options.rounds):
            for form, rounds in runs.items():
                rounds.append(measure(form, options, folder))
        print(
            f"{options.teacher}, {options.student}, {options.text}; an utterance of {options.seconds:g} s, "
            f"{options.threads} thread(s), {options.rounds} rounds: medians (ranges)"
        )
        show(runs, folder, options.seconds)


if __name__ == "__main__":
    main()
