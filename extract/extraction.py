"""From a corpus and a model to a complete cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from emoprobe.defaults import CACHE
from emoprobe.errors import UserError
from emoprobe.ownership import files_below, refuse_stranger, refuse_strangers, remove
from emoprobe.storage import finished_name

from .acoustics import ACOUSTIC_WIDTHS
from .audio import AudioHeader, AudioProblem, Kept, read_audio
from .batching import frame_starts
from .cache import HiddenStateCache
from .cluster import EngineSettings
from .corpora import Corpus, read_corpus
from .corpora.values import below_root, printable
from .encoders.speech import Backbone, load_backbone
from .engines.base import Engine
from .engines.opening import opened_engine
from .layout import PART_NAMES, Plan, frames_folder, is_cache, is_part, lay_out, part_name, told_size
from .limits import SAMPLE_RATE
from .pipeline import Files, stop_at_problem
from .precision import is_exact
from .resuming import forget_damaged, go_on
from .room import check_room
from .run import Run
from .scan import scan
from .settings import ExtractionSettings
from .sharding import Shard
from .storing import Progress, store
from .writer import CacheWriter, lock_cache

# Real audio on which reduced precision is compared with float32: some utterances near this length, cut to different
# ones so that padding takes part.
_CHECKED_UTTERANCES, _CHECKED_SECONDS = 4, 2.0


def extract(
    corpus: Corpus | str | Path,
    model: Backbone | str = "hubert-nano",
    out: str | Path = CACHE,
    *,
    settings: ExtractionSettings | None = None,
    engine: EngineSettings = EngineSettings(),
    progress: bool = True,
    report: Callable[[str], None] | None = None,
    **changes: Any,
) -> HiddenStateCache:
    """Cache the pooled hidden states of every layer for every utterance; go on where an earlier run stopped.

    Parameters
    ----------
    corpus : Corpus, str or Path
        A corpus, or what ``--corpus`` takes: ``"demo"``, a manifest, ``"msp-podcast:ROOT"``, ``"iemocap:ROOT"``.
    model : Backbone or str
        A loaded model, or a name for :func:`.encoders.speech.load_backbone`.
    out : str or Path
        The cache.
    settings : ExtractionSettings, optional
        The defaults if left out.
    engine : EngineSettings
        Where to compute: in this process, or on a Ray cluster.
    progress : bool
        Show a bar on standard error.
    report : callable, optional
        Given each line of the summary; ``print`` shows it.
    **changes
        Single settings, such as ``device="cpu"``.

    Returns
    -------
    HiddenStateCache
        Open for reading. Its `utterances` say in `status` which files were left out and why.

    Raises
    ------
    UserError
        If the corpus or the model cannot be had, the cache at `out` is of something else, another process writes it,
        the disk is full, (`strict`) a file has a problem, or the device does not compute what float32 on the CPU
        computes (:mod:`.precision`).
    """
    settings = replace(settings or ExtractionSettings(), **changes)
    say = report or (lambda line: None)
    out = Path(out)
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(str(corpus))
    whole = _limit(corpus, settings.limit)
    corpus = _sharded(whole, settings.shard, say)
    # What was taken for what is told before anything is computed.
    for line in corpus.summary().splitlines():
        say(line)
    backbone = load_backbone(model) if isinstance(model, str) else model
    refuse_stranger(out, is_cache, "cache of hidden states", option="--out", inputs=corpus.utterances["path"])
    with lock_cache(out), opened_engine(backbone, settings, engine, say) as place:
        table, headers = scan(
            corpus,
            whole=whole,
            shortest=backbone.receptive_field,
            longest=settings.longest,
            window=backbone.longest,
            progress=progress,
        )
        say(f"audio: {table['seconds'].sum() / 3600:.2f} h")
        if settings.strict:
            stop_at_problem(zip(table["path"], table["status"], table["reason"], strict=True))
        if not (table["samples"] > 0).any():
            _refuse_silence(corpus.name, table, settings)
        run = Run(
            out=out,
            corpus=corpus,
            whole=whole,
            backbone=backbone,
            settings=settings,
            site=place.site,
            table=table,
            headers=headers,
            say=say,
        )
        provenance = run.provenance()
        anew = settings.overwrite or not out.exists() or out.stat().st_size == 0
        if anew:
            samples = table["samples"].to_numpy()
            provenance["precision_check"] = _check(run, place, samples)
            batches = _start(run, provenance)
        else:
            batches, samples = go_on(run, provenance)
            with HiddenStateCache(out) as cache:
                provenance = cache.provenance
        # What a cache was begun with, it is gone on with; caches of early versions were not checked.
        in_float32 = (provenance.get("precision_check") or {}).get("in_float32", [])
        with CacheWriter(out) as writer:
            if settings.repair:
                forget_damaged(out, writer, say)
            problems = {
                row: (table["status"][row], table["reason"][row])
                for row in np.flatnonzero(table["samples"] == 0).tolist()
            }
            writer.list_problems({row: problem for row, problem in problems.items() if samples[row] == 0})
            todo = [(i, rows) for i, rows in enumerate(batches) if writer.pending(rows)]
            if todo:
                if not anew:
                    _check(run, place, samples, in_float32)
                bar = Progress(samples / SAMPLE_RATE, todo, show=progress)
                files = Files(table["path"].to_numpy(), headers, writer.frames)
                with bar, closing(place.extract(todo, files, in_float32)) as extracted:
                    store(extracted, writer, bar)
            else:
                say(f"{out} is complete; nothing to do (what was left out is tried again with --overwrite alone)")
            writer.finish()
    return HiddenStateCache(out)


def _refuse_silence(corpus: str, table: pd.DataFrame, settings: ExtractionSettings) -> None:
    """Refuse a corpus without sound, or a shard without a file; one of nothing else than bad files is joined too."""
    vanished = bool((table["status"] == "missing").all())
    if settings.shard is None or vanished:
        first = table.iloc[0]
        whose = corpus if settings.shard is None else f"shard {settings.shard} of {corpus}"
        mounted = "" if settings.shard is None else "; does this machine see the folder of the audio?"
        raise UserError(
            f"no utterance of {whose} can be extracted; the first, {first['path']}, is {first['status']}: "
            f"{first['reason']}{mounted}"
        )


def _limit(corpus: Corpus, limit: int | None) -> Corpus:
    """That many utterances, drawn by lot and always the same.

    The first would be the first speaker's in a sorted corpus, and every k-th the same few speakers' in a corpus
    that takes its speakers in turn, as RAVDESS does.
    """
    n = len(corpus.utterances)
    if limit is None or limit >= n:
        return corpus
    rows = np.sort(np.random.default_rng(0).permutation(n)[:limit])
    return replace(corpus, utterances=corpus.utterances.iloc[rows].reset_index(drop=True))


def _sharded(corpus: Corpus, shard: str | None, say: Callable[[str], None]) -> Corpus:
    """The utterances of a shard, or all of them."""
    if shard is None:
        return corpus
    n, chosen = len(corpus.utterances), Shard.parsed(shard)
    if chosen.count > n:
        raise UserError(f"--shard {shard}: {corpus.name} has {n} utterances here; make at most so many shards of it")
    rows = np.asarray(chosen.rows(n))
    say(f"shard {chosen.number} of {chosen.count}: {len(rows):,} of the {n:,} utterances of {corpus.name}")
    return replace(corpus, utterances=corpus.utterances.iloc[rows].reset_index(drop=True))


def _check(run: Run, place: Engine, samples: np.ndarray, in_float32: list[str] | None = None) -> dict | None:
    """How far a short batch is from float32 on the CPU, as JSON; None where nothing else is to be computed."""
    if is_exact(torch.device(run.site.kind), run.settings.precision):
        return None
    waveforms = _short_batch(run.backbone, run.table["path"].to_numpy(), run.headers, samples)
    if not waveforms:  # every file turns out to be damaged when it is decoded, and will be listed
        return None
    check = place.check(waveforms, in_float32)
    run.say(str(check))
    return check.provenance()


def _short_batch(
    backbone: Backbone, paths: np.ndarray, headers: list[AudioHeader | AudioProblem], samples: np.ndarray
) -> list[np.ndarray]:
    """A few short utterances, ready for the model and the longest first; always the same of the same files."""
    waveforms: list[np.ndarray] = []
    kept = Kept()
    for row in np.argsort(np.abs(samples - _CHECKED_SECONDS * SAMPLE_RATE), kind="stable"):
        if len(waveforms) == _CHECKED_UTTERANCES:
            break
        header = headers[row]
        if isinstance(header, AudioProblem):
            continue
        try:
            waveform = read_audio(paths[row], header, kept)
        except AudioProblem:  # listed when its batch comes
            continue
        most = int(_CHECKED_SECONDS * (1 - len(waveforms) / (2 * _CHECKED_UTTERANCES)) * SAMPLE_RATE)
        start = max(0, len(waveform) - most) // 2  # recordings begin and end with silence
        waveforms.append(backbone.prepare(waveform[start : start + most]))
    return sorted(waveforms, key=len, reverse=True)


def _start(run: Run, provenance: dict) -> list[np.ndarray]:
    """Lay the cache out anew; return its batches."""
    out, backbone, settings = run.out, run.backbone, run.settings
    table = run.table.copy()
    samples = table["samples"].to_numpy()
    batches = run.batches(samples, provenance["batch_seconds"])
    table["frames"] = [backbone.frames(n) if n else 0 for n in samples]
    frames = table["frames"].to_numpy()
    table["frame_start"] = frame_starts(batches, frames)
    table["path"] = [below_root(path, run.corpus.root) for path in table["path"]]
    plan = Plan(
        table,
        settings.statistics,
        backbone.layer_names,
        backbone.width,
        ACOUSTIC_WIDTHS,
        provenance,
        printable(str(run.corpus.root)),
        run.arguments(),
    )
    sources = [(part_name(i), int(frames[rows].sum())) for i, rows in enumerate(batches)] if settings.frames else []
    old = _parts(frames_folder(out))
    if old and not settings.overwrite:  # there is no cache, or it would be gone on with: it was renamed, or lost
        raise UserError(
            f"{frames_folder(out)} holds {len(old)} files with the single frames of a cache that is not at {out}: move "
            "them to that cache, give another place with --out, or --overwrite to remove them"
        )
    _check_room(run, plan, frames)
    if settings.frames:
        refuse_strangers(frames_folder(out), old, "the single frames of a cache", option="--out")
    lay_out(out, plan, frame_sources=sources)
    # Only now, when the new cache stands: a part that outlives a kill here is replaced when its batch is written.
    if old:
        run.say(f"{frames_folder(out)}: removing the {len(old)} files of the cache that was there")
    remove(frames_folder(out), old)
    return batches


def _parts(folder: Path) -> list[str]:
    """Names of the parts of single frames in a folder, each proven to be one by name and content."""
    there = {path.name: path for path in files_below(folder) if path.parent == folder}
    names = {name for name in there if fnmatchcase(finished_name(name), PART_NAMES)}
    return [name for name in names if name != finished_name(name) or is_part(there[name])]


def _check_room(run: Run, plan: Plan, frames: np.ndarray) -> None:
    size = plan.nbytes()
    single = int(frames.sum()) * plan.n_layers * plan.width * 2 if run.settings.frames else 0
    extra = f", and at most {told_size(single)} of single frames" if single else ""
    told = (
        f"cache: {plan.n_layers} layers of {run.backbone.label} x {len(frames)} utterances x width {plan.width}, "
        f"{told_size(size)}{extra}"
    )
    check_room(run.out, size, told, say=run.say, or_else=", or keep fewer statistics with --pool")
