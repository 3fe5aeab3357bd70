"""A process that has imported everything runs one command after another, each in a fork that leads its own group.

Each line of standard input is a job in JSON: ``{"command": [module, function], "arguments": [...], "folder": path,
"output": path}``, and ``"file_bytes"`` where no file may pass a size. The answer is two lines: the number of the
process as soon as it runs, and how it ended (its exit status, or minus the signal). ``killed_commands.py`` is the other
side.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import traceback

# What a command imports when it is run, so that a fork of this process does not have to.
WARM = (
    "emoprobe.analysis.figures",
    "emoprobe.analysis.report.writing",
    "emoprobe.distil.distiller",
    "emoprobe.demo.pretrain",
    "emoprobe.cli.train",
    "emoprobe.endtoend.export",
    "emoprobe.cli.export",
    "emoprobe.cli.predict",
    "emoprobe.endtoend.prediction",
    "emoprobe.endtoend.training",
    "emoprobe.cli.transcribe",
    "emoprobe.transcribe.transcription",
    "emoprobe.extract.baselines",
    "emoprobe.cli.extract",
    "emoprobe.extract.extraction",
    "emoprobe.probe.fit",
    "hdf5plugin",
    "himalaya.ridge",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "onnxruntime.quantization",
    "onnxscript",
    "opensmile",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "torch.onnx",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.hubert.modeling_hubert",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.trainer",
)


def run(job: dict) -> None:
    """Run a job in this process and end it."""
    status = 70
    try:
        os.setpgid(0, 0)
        os.chdir(job["folder"])
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        if "file_bytes" in job:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
        module, function = job["command"]
        status = getattr(importlib.import_module(module), function)(job["arguments"])
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Serve until standard input ends."""
    import torch

    torch.set_num_threads(1)
    for module in WARM:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if process == 0:
            run(job)
        # Here as well, since whoever reads the number may kill the group at once; unless it has done so, or has ended.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(process, process)
        print(process, file=answers, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
