"""Go on with a cache that is there: only of the same model, audio and settings; labels may be taken over."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.fields import check_fields

from .acoustics import acoustic_statistics
from .audio import AudioHeader, AudioProblem, Kept, read_audio
from .cache import HiddenStateCache
from .corpora.values import below_root, printable
from .provenance import CORPUS_DIFFERS, OF_A_RUN, compared, short
from .refreshing import changed_labels, lost_targets, refresh_labels
from .run import Run
from .sharding import Shard
from .writer import CacheWriter

_REMEDY = "give another place with --out, or --overwrite to start anew"

#: Utterances that are heard again, to tell other audio of the same names and lengths; and by how much, in natural
#: logarithms, the means and deviations of its log-mel bands differ. Another version of a decoder differs by far less,
#: another minute of the same noise by more.
HEARD, OTHER_AUDIO = 32, 0.01


def go_on(run: Run, provenance: dict) -> tuple[list[np.ndarray], np.ndarray]:
    """Make sure that the cache on disk is of the same thing; return its batches and the lengths it was laid out for.

    Where nothing but labels differs, and the settings say so, the cache takes them over first. That the audio is the
    same is heard on a few utterances, drawn by lot.

    Parameters
    ----------
    run : Run
    provenance : dict
        What it would say of its making (:meth:`.run.Run.provenance`).

    Raises
    ------
    UserError
        If the cache is of something else, or of other labels that are not to be taken over.
    """
    out, table = run.out, run.table
    _refresh(run, provenance)
    with HiddenStateCache(out) as cache:
        there = check_fields(cache.provenance, out, OF_A_RUN.required, remedy=_REMEDY)
        differ = [
            f"{what} (there {short(was)}, now {short(now)})"
            for what, was, now in _compared(there, provenance)
            if was != now
        ]
        if differ:
            raise UserError(
                f"{out} is a cache of something else: {'; '.join(differ)}. Give another place with --out, or "
                "--overwrite to start anew"
            )
        samples, now = cache.samples, table["samples"].to_numpy()
        # A file that is gone, or has come, since the first run costs its own utterance alone.
        changed = np.nonzero((samples != now) & (samples > 0) & (now > 0))[0]
        if len(changed):
            path = table["path"][changed[0]]
            raise UserError(
                f"{path} (and {len(changed) - 1} more) is of another length than when {out} was started; put the "
                "audio back, or start anew with --overwrite"
            )
        _refuse_other_audio(cache, run)
        n = int((~cache.done).sum())
        if there["versions"] != provenance["versions"] or there["device"] != provenance["device"]:
            run.say(
                "note: the cache was started with other library versions or on another device; its record keeps those"
            )
    if n:
        run.say(f"going on with {out}: {cache.n_utterances - n} of {cache.n_utterances} utterances are there")
    return run.batches(samples, there["batch_seconds"]), samples


def _refresh(run: Run, provenance: dict) -> None:
    """Take over labels that have changed, where nothing else has; without the word for it, refuse and tell it."""
    out, corpus, table = run.out, run.corpus, run.table
    with HiddenStateCache(out) as cache:
        there = check_fields(cache.provenance, out, OF_A_RUN.required, remedy=_REMEDY)
        differ = [what for what, was, now in _compared(there, provenance) if was != now]
        if differ != [CORPUS_DIFFERS]:
            return
        labelled = table.assign(path=[below_root(path, corpus.root) for path in table["path"]])
        samples, now = cache.samples, table["samples"].to_numpy()
        changed = changed_labels(cache, labelled)
        # Without audio from the start, or now: that is no other audio.
        if changed is None or ((samples != now) & (samples > 0) & (now > 0)).any():
            return
        _refuse_other_audio(cache, run)
        lost, made_by = lost_targets(cache, labelled), shlex.join(cache.arguments)
    told = ", ".join(f"{name} of {count:,} utterances" for name, count in changed.items())
    told = told or ("its name" if "shard" not in provenance else "those of other shards")
    if lost:
        raise UserError(
            f"{out} holds labels of {', '.join(lost)}, and {corpus.name} has none as it is read now: name the columns "
            f"with --columns {lost[0]}=NAME"
            + (f" (it was made with {made_by})" if made_by else "")
            + f"; if they are to go, {_REMEDY}"
        )
    if not run.settings.refresh_labels:
        raise UserError(
            f"{out} is of the same audio and model, with other labels ({told}): --refresh-labels takes them over "
            "without extracting again; --overwrite starts anew, and --out gives another place"
        )
    refresh_labels(
        out,
        labelled,
        changed={part: provenance[part] for part in ("corpus", "shard") if part in provenance},
        root=printable(str(corpus.root)),
        arguments=run.arguments(),
        say=run.say,
    )
    run.say(
        f"labels taken over: {told}; results of the others stay what they are, and the new ones want another folder"
    )


def _refuse_other_audio(cache: HiddenStateCache, run: Run) -> None:
    """Hear a few finished utterances again, and compare them with what the cache holds of their sound."""
    done = np.flatnonzero(cache.done).tolist()
    finished = {row: header for row in done if isinstance(header := run.headers[row], AudioHeader)}
    rows = np.sort(np.random.default_rng(0).permutation(np.array(list(finished), dtype=np.int64))[:HEARD])
    rows = rows[cache.intact(rows)]
    there, kept, paths = cache.baseline("logmel")[rows], Kept(), run.table["path"]
    for row, stored in zip(rows.tolist(), there, strict=True):
        try:
            heard = acoustic_statistics(read_audio(paths[row], finished[row], kept))["logmel"]
        except AudioProblem:  # gone since its header was read; what is finished does not need it
            continue
        apart = float(np.sqrt(np.mean((heard.astype(np.float64) - stored) ** 2)))
        if not apart < OTHER_AUDIO:
            raise UserError(
                f"{paths[row]} is other audio than {cache.path} was made of, of the same length (its log-mel bands are "
                f"{apart:.2g} apart): {_REMEDY}"
            )


def _compared(there: dict, provenance: dict) -> list[tuple[str, object, object]]:
    """What a cache and a run that goes on must have in common: its name, as it is there, and as it is now."""
    was, now = (Shard.of(record) or "the whole corpus" for record in (there, provenance))
    return [*compared(there, provenance), ("the shard", was, now)]


def forget_damaged(out: Path, writer: CacheWriter, say: Callable[[str], None]) -> None:
    """Compare the states in a cache with their checksums, and mark what differs as still to come."""
    with HiddenStateCache(out) as cache:
        rows = np.nonzero(cache.damaged())[0]
    writer.reset(rows)
    say(f"{len(rows)} utterances of {out} are damaged" + (" and are extracted again" if len(rows) else ""))
