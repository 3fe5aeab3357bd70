"""The command `probe-predict`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.defaults import FIGURES
from emoprobe.endtoend.settings import PredictionSettings
from emoprobe.endtoend.window_settings import WindowSettings
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.ownership import refuse_inputs

from .command import (
    CommandParser,
    add_decoding,
    add_device,
    add_output,
    add_reading,
    add_setting,
    conclude,
    file_name,
    quiet_transformers,
    reading,
    settings_of,
)
from .running import run_command

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.endtoend.emotion_model import EmotionModel
    from emoprobe.endtoend.exported import OnnxModel
    from emoprobe.extract.corpora.places import Place

_EPILOG = """\
examples:
  emoprobe predict trained/model a.wav b.flac
  emoprobe predict trained/model recordings/ --transcripts texts.csv --out predictions.csv
  emoprobe predict trained/model --corpus emodb:EMODB --interval 0.9
  emoprobe predict trained/model a.wav --onnx --int8
  emoprobe predict trained/model hour.wav --hop 0.5             a curve over time, as table and figure
  emoprobe predict trained/model --transcripts texts.csv        a model of text alone takes no audio

Predictions are in the units of the corpus that the model was trained on.
What is beyond the range of its training labels is flagged in the column beyond_training; the column unlike is the share
of the development part that sounds more like the training part than this does, and 0.99 or more is noted.
A transcript belongs to the audio file that its path names (relative to the CSV's folder); else to the utterance whose
id it gives: that of --corpus, or the file's name without ending. Audio that no transcript belongs to is predicted
without words, and two different transcripts for one file are refused.
With --hop a long file is cut into windows that overlap, a row each, and a curve of each file is drawn; windows are
predicted by their sound alone, for which of the words fall into one is not known.
Run the same command again after an interruption: what is finished is kept in OUT.journal, and the rest is done.

exit status: 0 all predicted; 3 some left out, each listed with its reason; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-predict",
        description="Predict arousal, valence and dominance of audio files by a model that probe-train saved.",
        epilog=_EPILOG,
    )
    p.add_argument("model", metavar="MODEL", help="use the model in this folder")
    p.add_argument(
        "audio",
        nargs="*",
        type=file_name,
        metavar="AUDIO",
        help="predict these audio files, or folders of them (subfolders included)",
    )
    what = p.add_argument_group("what")
    what.add_argument(
        "--corpus",
        metavar="CORPUS",
        help="predict a corpus, in place of AUDIO: demo, a manifest, or READER:ROOT; emoprobe corpora lists them",
    )
    what.add_argument(
        "--transcripts",
        metavar="FILE",
        help="read what was said from a CSV with the columns path or id (or both), and transcript; or a folder "
        "of <stem>.txt",
    )
    add_reading(what)
    where = p.add_argument_group("where to")
    where.add_argument(
        "--out",
        type=Path,
        default=Path("predictions.csv"),
        metavar="FILE",
        help="write predictions there (default: predictions.csv)",
    )
    add = partial(add_setting, what, WindowSettings)
    add("hop", metavar="S", help="cut files into windows that overlap, one every S seconds (default: whole files)")
    add("window", metavar="S", help="give each window S seconds, with --hop (default: %(default)s)")
    where.add_argument(
        "--figures",
        type=Path,
        default=Path(FIGURES),
        metavar="FOLDER",
        help="draw the curves there, with --hop (default: figures)",
    )
    how = p.add_argument_group("how")
    how.add_argument(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="give intervals that hold so many of a new speaker's labels, as DIMENSION_low and _high: 0.5, 0.8, 0.9 or "
        "0.95",
    )
    how.add_argument("--onnx", action="store_true", help="use the ONNX form that emoprobe export wrote (on the CPU)")
    how.add_argument("--int8", action="store_true", help="use its form of 8 bits")
    add_setting(where, PredictionSettings, "overwrite", help="start anew where there are predictions already")
    add_decoding(how, PredictionSettings)
    add_device(how)
    add_output(p)
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _predict(options), verbose=options.verbose)


def _predict(options: argparse.Namespace) -> int:
    if options.audio and options.corpus:
        raise UserError("give audio files or --corpus, not both")
    if options.int8 and not options.onnx:
        raise UserError("--int8 is a form of --onnx: give both")
    from emoprobe.endtoend.conformal import half_widths
    from emoprobe.endtoend.familiar import BEYOND, told_beyond, told_training
    from emoprobe.endtoend.prediction import model_identity, predict_files
    from emoprobe.endtoend.unlike import UNLIKE, told_unlike

    settings = settings_of(options, PredictionSettings)
    quiet_transformers(verbose=options.verbose)
    refuse_inputs([options.out], [options.model, options.transcripts, options.corpus, *options.audio])
    model = _load(options)
    widths = {} if options.interval is None else half_widths(model.config, options.interval)
    say = (lambda line: None) if options.quiet else print
    windows = settings_of(options, WindowSettings)
    if windows.hop is not None:
        _refuse_words(options, model)
    paths, texts, parts = _inputs(options, model, say)
    if windows.hop is not None:
        paths, texts, parts = _windows(paths, texts, parts, windows, model, say)
    elif texts is not None:
        told = sum(bool(text) for text in texts)
        unread = "" if model.uses_text else f"; {model.label} hears alone and does not read them"
        say(f"{len(paths)} utterances, {told} with a transcript{unread}")
    else:
        say(f"{len(paths)} utterances" + (", none with a transcript" if model.uses_text else ""))
    if not options.quiet:
        print(f"note: {told_training(model.config)}", file=sys.stderr)
    table = predict_files(
        model,
        paths,
        texts,
        options.out,
        parts=parts,
        made_by=model_identity(options.model, onnx=options.onnx, int8=options.int8),
        widths=widths,
        settings=settings,
        progress=not options.quiet,
        report=say,
    )
    left_out = table[table["status"] != "done"]
    if beyond := told_beyond(table.loc[table["status"] == "done", BEYOND]):
        print(f"note: {beyond}; see the column {BEYOND}, and do not rely on these", file=sys.stderr)
    if UNLIKE in table and (unlike := told_unlike(table[UNLIKE].to_numpy())):
        print(f"note: {unlike}; see the column {UNLIKE}, and do not rely on these", file=sys.stderr)
    if windows.hop is not None:
        _draw(table, options.figures, quiet=options.quiet)
    return conclude(left_out, table, options.out, quiet=options.quiet, elsewhere="column `reason` of")


def _refuse_words(options: argparse.Namespace, model: EmotionModel | OnnxModel) -> None:
    if not model.uses_audio:
        raise UserError(f"--hop cuts audio into windows, and {model.label} reads text alone: leave it out")
    if options.transcripts is not None:
        raise UserError(
            "--hop predicts windows by their sound alone, for which of the words fall into one is not known: leave "
            "--transcripts out, or predict the utterances that it names without --hop"
        )


def _windows(
    paths: list[str],
    texts: Sequence[str | None] | None,
    parts: list[Place] | None,
    windows: WindowSettings,
    model: EmotionModel | OnnxModel,
    say: Callable[[str], object],
) -> tuple[list[str], None, list[Place]]:
    """Every window of every file, in place of the files."""
    from emoprobe.endtoend.windows import windows_of

    if parts is not None and any(parts):
        raise UserError("--hop is for whole files, and the corpus names parts of them: leave --hop out, or --corpus")
    if model.longest is not None and windows.window * SAMPLE_RATE > model.longest:
        raise UserError(
            f"--window {windows.window:g}: {model.label} takes at most {model.longest / SAMPLE_RATE:g} s; give a "
            "shorter one"
        )
    files = len(paths)
    paths, parts = windows_of(paths, windows)
    say(f"{files} files, {len(paths):,} windows of {windows.window:g} s, one every {windows.hop:g} s")
    told = sum(bool(text) for text in texts or ())
    if model.uses_text:
        say("note: windows are predicted by their sound alone" + (f"; {told} transcripts are not used" if told else ""))
    return paths, None, parts


def _draw(table: pd.DataFrame, figures: Path, *, quiet: bool) -> None:
    """A curve of each file."""
    from emoprobe.analysis.figures.timeline import draw_timelines

    drawn, left_out = draw_timelines(table, figures)
    for path in left_out:
        print(f"note: no curve of {path}: no window of it has a prediction", file=sys.stderr)
    for figure in () if quiet else drawn:
        print(figure)


def _load(options: argparse.Namespace) -> EmotionModel | OnnxModel:
    if not options.onnx:
        from emoprobe.endtoend.saved import load_model

        return load_model(options.model, device=options.device)
    from emoprobe.endtoend.exported import OnnxModel

    return OnnxModel(options.model, int8=options.int8)


def _inputs(
    options: argparse.Namespace, model: EmotionModel | OnnxModel, say: Callable[[str], object]
) -> tuple[list[str], Sequence[str | None] | None, list[Place] | None]:
    """Audio files (or the names of texts, for a model of text alone), what was said in each, and parts of the files."""
    from emoprobe.endtoend.inputs import find_audio, read_texts
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.corpora.places import places

    # With a corpus, the names are those of its columns.
    how = {**reading(options), **({"columns": {}} if options.corpus else {})}
    texts = None if options.transcripts is None else read_texts(options.transcripts, **how)
    for note in () if texts is None else texts.notes:
        say(f"note: {note}")
    if options.corpus:
        corpus = read_corpus(options.corpus, **reading(options))
        for note in corpus.notes:
            say(f"note: {note}")
        table = corpus.utterances
        paths, ids, parts = table["path"].tolist(), table["id"].tolist(), places(table)
        if len({*zip(paths, parts, strict=True)}) < len(paths):
            raise UserError(
                f"--corpus {options.corpus}: some audio files, or parts of them, are named by more than one row; name "
                "each once"
            )
        said = table["transcript"].tolist() if texts is None else texts.for_files(paths, ids)
        return paths, said, parts
    if not model.uses_audio:
        if options.audio:
            raise UserError(f"{model.label} reads text alone: give --transcripts, and no audio")
        if texts is None:
            raise UserError(f"{model.label} reads text alone: give --transcripts")
        return texts.names, texts.texts, None
    if not options.audio:
        raise UserError(f"{model.label} hears speech: give audio files, folders of them, or --corpus")
    paths = find_audio(options.audio)
    return paths, None if texts is None else texts.for_files(paths), None


if __name__ == "__main__":
    sys.exit(main())
