"""The command `probe-train export`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.ownership import refuse_inputs

from .command import CommandParser, add_output, add_reading, quiet_transformers, reading, tell_end
from .running import run_command

if TYPE_CHECKING:
    import numpy as np

    from emoprobe.endtoend.emotion_model import EmotionModel

_EPILOG = """\
examples:
  emoprobe export trained/model
  emoprobe export trained/model --int8 --corpus ratings.csv

emoprobe predict MODEL AUDIO --onnx, or emoprobe.endtoend.OnnxModel in Python, uses what is written.
The ONNX form is compared with torch on the corpus's test split (on all of it where it has none). Where the float32
predictions differ, or those of 8 bits are far from them, nothing is written; the agreement of 8 bits is told.

exit status: 0 written; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-train export",
        description="Write a trained model in ONNX form, for ONNX Runtime without torch.",
        epilog=_EPILOG,
    )
    p.add_argument("model", metavar="MODEL", type=Path, help="take the model in this folder")
    where = p.add_argument_group("what is written")
    where.add_argument("--out", type=Path, metavar="FOLDER", help="write there (default: onnx in MODEL)")
    where.add_argument("--int8", action="store_true", help="write the form of 8 bits (dynamic quantisation) as well")
    check = p.add_argument_group("what it is checked on")
    check.add_argument(
        "--corpus",
        default="demo",
        metavar="CORPUS",
        help="check on held-out speech of demo, a manifest, or READER:ROOT (default: demo)",
    )
    add_reading(check)
    check.add_argument("--limit", type=int, default=32, metavar="N", help="check on N utterances (default: 32)")
    add_output(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _export(options), verbose=options.verbose)


def _export(options: argparse.Namespace) -> int:
    quiet_transformers(verbose=options.verbose)
    from emoprobe.endtoend.export import export_model, refuse_features
    from emoprobe.endtoend.exported import FLOAT, INSIDE, INT8, saved_in
    from emoprobe.endtoend.saved import load_model

    if options.limit < 2:
        raise UserError(f"--limit {options.limit}: an agreement needs at least 2 utterances")
    options.model = saved_in(options.model)
    # The default lies in the model, where only its own files may be replaced.
    refuse_inputs([] if options.out is None else [options.out], [options.model, options.corpus])
    model = load_model(options.model)
    refuse_features(model)
    waveforms, texts = _held_out(options, model)
    checks = export_model(options.model, waveforms, texts, out=options.out, int8=options.int8)
    if options.quiet:
        return 0
    out = options.out or options.model / INSIDE
    for name in [FLOAT, INT8] if options.int8 else [FLOAT]:
        print(f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB")
    print(
        f"float32 and torch differ by at most {checks['difference']:.1e} of the labels' spread "
        f"({checks['utterances']} utterances of {options.corpus})"
    )
    for name, agreement in checks.get("int8_ccc", {}).items():
        print(f"int8 and float32, {name}: CCC {agreement:.4f}, mean absolute difference {checks['int8_mae'][name]:.2g}")
    tell_end(f"The ONNX form is in {out}.", "predict", options.out or options.model, "FILES", "--onnx")
    return 0


def _held_out(options: argparse.Namespace, model: EmotionModel) -> tuple[list[np.ndarray] | None, list[str]]:
    """Waveforms (None for a model of text alone) and texts of utterances drawn by lot, from the test split if any."""
    import numpy as np

    from emoprobe.extract.audio import AudioProblem, Kept, read_audio
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.limits import LONGEST_SECONDS
    from emoprobe.extract.scan import scan

    corpus = read_corpus(options.corpus, **reading(options))
    if not options.quiet:
        for note in corpus.notes:
            print(f"note: {note}")
    rows = np.flatnonzero(corpus.utterances["split"].astype(str).str.startswith("test"))
    if not len(rows):
        rows = np.arange(len(corpus.utterances))
    order = np.random.default_rng(0).permutation(rows)
    texts = corpus.utterances["transcript"].astype(str).tolist()
    if not model.uses_audio:
        chosen = [texts[row] for row in order if texts[row].strip()][: options.limit]
        _refuse_few(len(chosen), options, model)
        return None, chosen
    table, headers = scan(
        corpus, shortest=model.receptive_field, longest=LONGEST_SECONDS, window=model.longest, progress=False
    )
    waveforms: list[np.ndarray] = []
    said: list[str] = []
    kept = Kept()
    for row in order:
        if len(waveforms) == options.limit:
            break
        if isinstance(headers[row], AudioProblem):
            continue
        try:
            waveform = read_audio(table["path"][row], headers[row], kept)
        except AudioProblem:  # what probe-train and probe-predict list; here another utterance does as well
            continue
        waveforms.append(waveform)
        said.append(texts[row])
    _refuse_few(len(waveforms), options, model)
    return waveforms, said


def _refuse_few(count: int, options: argparse.Namespace, model: EmotionModel) -> None:
    if count < 2:
        raise UserError(f"--corpus {options.corpus} has too few utterances that {model.label} can be checked on")


if __name__ == "__main__":
    sys.exit(main())
