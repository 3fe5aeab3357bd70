"""Fill in what was said: a corpus without transcripts to a manifest with them."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.audio import Kept, gathered, read_audio
from emoprobe.extract.batchwise import Problem, Utterances, run_batches, stamp
from emoprobe.extract.corpora import COLUMNS, DIMENSIONS, Corpus, read_corpus, read_manifest
from emoprobe.extract.corpora.cells import OPTIONAL_NUMBERS, TEXT_COLUMNS
from emoprobe.extract.corpora.manifest import SOURCE, transcript_sources
from emoprobe.extract.corpora.places import places
from emoprobe.extract.corpora.table import held_columns
from emoprobe.extract.devices import choose_device
from emoprobe.extract.journal import open_journal, write_beside
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.scan import scan
from emoprobe.fields import check_fields, number_from

from .recognisers import Recogniser, load_recogniser
from .settings import TranscriptionSettings


def transcribe(
    corpus: Corpus | str | Path,
    model: Recogniser | str,
    out: str | Path = "transcripts.csv",
    *,
    settings: TranscriptionSettings | None = None,
    progress: bool = True,
    report: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Write a manifest of the corpus with its transcripts filled in; go on where an earlier run stopped.

    Parameters
    ----------
    corpus : Corpus, str or Path
        A corpus, or what ``--corpus`` takes.
    model : Recogniser or str
        A loaded recogniser, or a name for :func:`.recognisers.load_recogniser`.
    out : str or Path
        The manifest (CSV), which every command then takes as ``--corpus``. It has the corpus's columns and
        ``transcript_source``: ``corpus``, the recogniser's name and revision, or nothing where there is no transcript.
    settings : TranscriptionSettings, optional
        The defaults if left out.
    progress : bool
        Show a bar on standard error.
    report : callable, optional
        Given each line of the summary; ``print`` shows it.

    Returns
    -------
    DataFrame
        The corpus's columns, ``transcript_source``, ``status`` (``done``, ``kept``, or why the file was left out) and
        ``reason``.

    Raises
    ------
    UserError
        If the corpus or the model cannot be had, `out` is of something else, or it cannot be written.
    """
    settings = settings or TranscriptionSettings()
    say = report or (lambda line: None)
    out = Path(out)
    corpus, sources = _read(corpus, out, settings)
    recogniser = load_recogniser(model) if isinstance(model, str) else model
    for note in corpus.notes:
        say(f"note: {note}")
    device = choose_device(settings.device)
    recogniser.to(device)

    table, headers = scan(corpus, shortest=recogniser.shortest, longest=settings.longest, progress=progress)
    kept = table["transcript"].ne("").to_numpy() if settings.only_missing else np.zeros(len(table), dtype=bool)
    sizes = np.where(kept, 0, recogniser.sizes(table["samples"].to_numpy()))
    paths, parts, audio = table["path"].tolist(), places(table), Kept()
    say(
        f"{corpus.name}: {int((sizes > 0).sum())} of {len(table)} utterances, "
        f"{table['seconds'].to_numpy()[sizes > 0].sum() / 3600:.2f} h, to be transcribed by {recogniser.label}"
    )
    made_by = {"the corpus": corpus.name, **recogniser.identity()}
    batch_seconds = settings.batch_seconds or recogniser.default_batch_seconds(device)
    with open_journal(
        out, made_by=made_by, settings={"batch_seconds": batch_seconds}, overwrite=settings.overwrite, inputs=paths
    ) as journal:
        if len(journal):
            say(f"going on with {out}: {len(journal)} utterances are there")
        remedy = f"give another place than {out} with --out, or --overwrite to start anew"
        kept_settings = {"batch_seconds": number_from(1e-3, 1e9)}
        check_fields(journal.settings, journal.path, kept_settings, remedy=remedy)
        stamps = [stamp(path, part) if size else [] for path, part, size in zip(paths, parts, sizes, strict=True)]
        results = run_batches(
            Utterances(table["id"].tolist(), stamps, sizes, gathered(paths, parts)),
            journal=journal,
            load=lambda row: read_audio(paths[row], headers[row], audio),
            compute=lambda rows, waveforms: recogniser.transcribe(waveforms),
            budget=int(journal.settings["batch_seconds"] * SAMPLE_RATE),
            workers=settings.workers,
            is_result=lambda text: isinstance(text, str),
            doing="transcribing",
            progress=progress,
        )
        table = _filled(table, kept, results, sources, recogniser.label)
        _write(table, out)
    return table


def _read(corpus: Corpus | str | Path, out: Path, settings: TranscriptionSettings) -> tuple[Corpus, list[str]]:
    """The corpus, and where each of its transcripts comes from."""
    if isinstance(corpus, Corpus):
        return corpus, [corpus.text_source] * len(corpus)
    manifest = Path(corpus) if Path(corpus).is_file() else None
    if manifest is not None and out.exists() and out.samefile(manifest):
        raise UserError(f"--out {out} is the corpus's own manifest, which is read; give another place with --out")
    corpus = read_corpus(str(corpus), keep_words=settings.keep_words, columns=settings.columns)
    # A file may stand for a folder of another form, which tells no sources.
    sources: list[str] = []
    if manifest is not None and corpus.arguments[1] == os.path.abspath(manifest):  # noqa: PTH100
        sources = transcript_sources(manifest, columns=settings.columns)
    return corpus, sources or [corpus.text_source] * len(corpus)


def _filled(table: pd.DataFrame, kept: np.ndarray, results: list, sources: list[str], label: str) -> pd.DataFrame:
    """The corpus's table with the transcripts, where each comes from, and what became of each utterance."""
    texts, whence, statuses, reasons = [], [], [], []
    for row, result in enumerate(results):
        text, source, status, reason = "", "", table["status"][row], table["reason"][row]
        if kept[row]:
            text, source, status, reason = table["transcript"][row], sources[row] or "corpus", "kept", ""
        elif isinstance(result, Problem):
            status, reason = result.status, result.reason
        elif result is not None:
            text, source, status = result, label, "done"
        texts.append(text)
        whence.append(source)
        statuses.append(status)
        reasons.append(reason)
    table = table[list(COLUMNS)].copy()
    table["transcript"] = pd.Series(texts, dtype=object)
    return table.assign(
        **{
            name: pd.Series(cells, dtype=object)
            for name, cells in ((SOURCE, whence), ("status", statuses), ("reason", reasons))
        }
    )


def _write(table: pd.DataFrame, out: Path) -> None:
    """Write the manifest, and make sure that it reads back as the same files."""
    folder = out.absolute().parent
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [*held_columns(table), SOURCE]
    writer.writerow(columns)
    for cells in table[columns].to_dict("records"):
        path = Path(os.path.abspath(cells["path"]))  # noqa: PTH100 - as the manifest's reader does it
        if path.is_relative_to(folder):
            cells["path"] = path.relative_to(folder).as_posix()
        for number in (name for name in (*DIMENSIONS, *OPTIONAL_NUMBERS) if name in cells):
            cells[number] = "" if math.isnan(cells[number]) else repr(float(cells[number]))
        writer.writerow(cells.values())
    # File names that are not valid UTF-8 reach Python as lone surrogates, and the manifest's reader wants UTF-8.
    try:
        data = text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{out}: the corpus holds a name that is not UTF-8 ({error.object[error.start : error.end]!a}), "
            "which no manifest can hold; rename that file"
        ) from error
    write_beside(out, data)
    # As it stands there: a file may be called "nan", and a word that was heard may be one of those for no value.
    read_back = read_manifest(out, keep_words=TEXT_COLUMNS).utterances["path"]
    for path, read in zip(table["path"], read_back, strict=True):
        if path != read:
            raise UserError(f"{out}: the path {path!r} cannot be held by a manifest, which reads {read!r}; rename it")
