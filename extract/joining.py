"""One cache of all shards of a corpus, equal to that of an extraction without shards.

The numbers are copied, each utterance's compared with its checksum on its way. A virtual data set over the shards would
cost nothing, and read zeros for a shard that is gone; what is copied does not need them any more. The new cache is
written beside its place and takes it at the end, so that a kill leaves what was there before.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.defaults import CACHE
from emoprobe.errors import UserError
from emoprobe.fields import check_fields
from emoprobe.ownership import refuse_inputs, refuse_stranger
from emoprobe.progress import progress_bar
from emoprobe.storage import remove_abandoned

from .audio import gathered
from .batching import frame_starts, plan_batches
from .cache import HiddenStateCache
from .cache_file import CacheFile, text_of
from .corpora.places import places
from .corpora.table import COLUMNS, Corpus
from .finished import extracting
from .interleaving import Source, interleave
from .layout import Plan, frames_folder, is_cache, lay_out, offsets_of, told_size
from .limits import SAMPLE_RATE
from .provenance import OF_A_RUN, PROVENANCE, compared, short
from .room import check_room
from .sharding import Shard
from .sidecars import sidecar_folder
from .verifying import wrong_mark
from .writer import CacheWriter, lock_cache

_REMEDY = "give the caches that probe-extract --shard K/N has written"


def join(
    shards: Sequence[str | Path],
    out: str | Path = CACHE,
    *,
    overwrite: bool = False,
    progress: bool = True,
    report: Callable[[str], None] | None = None,
) -> HiddenStateCache:
    """Make one cache of all shards of a corpus, as if it had been extracted at once; the shards stay what they are.

    Parameters
    ----------
    shards : sequence of str or Path
        All caches that ``probe-extract --shard`` made of one corpus, in any order.
    out : str or Path
        The new cache. Where it stands already, made of the same shards, nothing is done.
    overwrite : bool
        Replace another cache at `out`.
    progress : bool
        Show a bar on standard error.
    report : callable, optional
        Given each line of the summary; ``print`` shows it.

    Returns
    -------
    HiddenStateCache
        Open for reading. An extraction with the arguments of the shards, without ``--shard``, goes on with it.

    Raises
    ------
    UserError
        If a shard is missing, is given twice, is not complete, is damaged, or is of another corpus, model, setting or
        library version than the others; if something else stands at `out`; or if the disk has no room.
    """
    say = report or (lambda line: None)
    out, paths = Path(out), [Path(path) for path in shards]
    refuse_inputs([out], paths)
    refuse_stranger(out, is_cache, "cache of hidden states", option="--out")
    with lock_cache(out), ExitStack() as opened:
        parts = [_opened(path, opened) for path in paths]
        parts = _in_order(parts)
        _refuse_different(parts)
        plan = _plan(parts)
        for note in _notes(parts):
            say(f"note: {note}")
        if not overwrite and out.exists() and out.stat().st_size > 0:
            _refuse_other(out, plan, parts)
            say(f"{out} is complete, and of these shards; nothing to do")
            return HiddenStateCache(out)
        if any(frames_folder(out).glob("*")):
            raise UserError(
                f"{frames_folder(out)} holds the single frames of another cache, and shards have none: give another "
                "place with --out, or move it away"
            )
        told = (
            f"cache: {len(parts)} shards of {parts[0].provenance['corpus']['name']}, {plan.n_layers} layers of "
            f"{parts[0].provenance['model']['label']} x {len(plan.utterances)} utterances x width {plan.width}, "
            f"{told_size(plan.nbytes())}"
        )
        remove_abandoned(out)  # as large as the new one, of a join that was killed
        check_room(out, plan.nbytes(), told, say=say)
        bar = progress_bar(total=len(plan.utterances), desc="joining", unit="utterance", show=progress)

        def fill(temporary: Path) -> None:
            interleave(
                [part.source for part in parts],
                temporary,
                statistics=plan.statistics,
                n_layers=plan.n_layers,
                width=plan.width,
                acoustics=plan.acoustics,
                advance=bar.update,
            )
            with CacheWriter(temporary) as writer:
                writer.finish()

        with bar:
            lay_out(out, plan, fill=fill)
    return HiddenStateCache(out)


@dataclass(frozen=True)
class _Part:
    """A shard, and all that is written once of the new cache."""

    source: Source
    shard: Shard
    provenance: dict
    root: str
    arguments: tuple[str, ...]
    statistics: tuple[str, ...]
    layer_names: tuple[str, ...]
    width: int
    acoustics: dict[str, int]
    table: pd.DataFrame

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def in_float32(self) -> list[str] | None:
        """Modules that reduced precision spares; None of a shard without sound, on which nothing was checked."""
        check = self.provenance.get("precision_check")
        return None if check is None else check.get("in_float32", [])


def _opened(path: Path, stack: ExitStack) -> _Part:
    """A shard, once its structure is right and nothing of it is still to come; its file stays open."""
    with closing(CacheFile(path)) as file:
        provenance = file.provenance
        shard = Shard.of(provenance)
        if shard is None:
            raise UserError(f"{path} is no shard, but the cache of a whole corpus; {_REMEDY}")
        check_fields(provenance, path, OF_A_RUN.required, PROVENANCE.optional, remedy=_REMEDY)
        if not file.complete:
            waiting = int((file.status() == "pending").sum())
            told = f"{waiting} of {file.n_utterances} utterances" if waiting else "the norms of its layers"
            raise UserError(
                f"{path} is not complete ({told} are still to come): finish it with "
                f"{extracting(path, file.arguments)}, then join again"
            )
        whole = provenance["shard"]["corpus"]["utterances"]
        if file.n_utterances != len(shard.rows(whole)):
            raise UserError(
                f"{path} holds {file.n_utterances} utterances, and shard {shard} of {whole} has "
                f"{len(shard.rows(whole))}: extract it again, with --overwrite"
            )
        columns, names = file.hdf5["utterances"], file.description["id"].tolist()
        reasons, repair = columns["reason"][:], extracting(path, file.arguments, "--repair")
        for name, *mark in zip(names, file.marks(), reasons, columns["checksum"][:], strict=True):
            if wrong := wrong_mark(*mark):
                raise UserError(
                    f"{path}: {wrong.format(name)}, and nothing is joined; bring the shard back from a copy, or "
                    f"extract again what is damaged: {repair}"
                )
        fd = os.dup(file.raw.fileno())
        stack.callback(os.close, fd)
        source = Source(
            path=path,
            fd=fd,
            offsets=offsets_of(file.hdf5),
            utterances=file.n_utterances,
            done=file.done,
            checksums=columns["checksum"][:],
            names=names,
            repair=repair,
        )
        sizes = {name: columns[name][:] for name in ("samples", "frames", "seconds")}
        return _Part(
            source=source,
            shard=shard,
            provenance=provenance,
            root=str(file.hdf5.attrs.get("corpus_root", "")),
            arguments=file.arguments,
            statistics=file.statistics,
            layer_names=tuple(file.hdf5["layers/name"].asstr()[:]),
            width=file.width,
            acoustics={name: array.shape[1] for name, array in file.hdf5["acoustic"].items()},
            table=file.description[list(COLUMNS)].assign(**sizes, status=file.status(), reason=text_of(reasons)),
        )


def _in_order(parts: Sequence[_Part]) -> list[_Part]:
    """The shards by their numbers, once each is there and none twice."""
    if not parts:
        raise UserError(f"there is no shard to join; {_REMEDY}")
    first = parts[0]
    given: dict[int, _Part] = {}
    for part in parts:
        if part.shard.count != first.shard.count:
            raise UserError(
                f"{first.path} is shard {first.shard} and {part.path} shard {part.shard}: join shards of one division"
            )
        if part.shard.number in given:
            raise UserError(
                f"{given[part.shard.number].path} and {part.path} are both shard {part.shard}: give each shard once"
            )
        given[part.shard.number] = part
    missing = [number for number in range(1, first.shard.count + 1) if number not in given]
    if missing:
        told = ", ".join(f"{number}/{first.shard.count}" for number in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise UserError(
            f"shards are missing: {told}{more}; give them too, or make them with probe-extract --shard and what "
            f"{first.path} was made with"
        )
    return [given[number] for number in sorted(given)]


def _refuse_different(parts: Sequence[_Part]) -> None:
    """Refuse shards whose states are not those of one extraction."""
    first = parts[0]
    for part in parts[1:]:
        differ = [
            f"{what} ({short(one)} there, {short(other)} here)"
            for what, one, other in _compared(first, part)
            if one != other
        ]
        if differ:
            raise UserError(
                f"{part.path} does not belong to {first.path}: {'; '.join(differ)}. {_made(first, part)}Extract one of "
                "them again, as the others were made (with --refresh-labels, where labels or transcripts differ alone)"
            )


def _made(one: _Part, other: _Part) -> str:
    """What they were made with, where that is not the same words."""
    words = [shlex.join(_unsharded(part.arguments)) for part in (one, other)]
    return "" if words[0] == words[1] or not all(words) else f"They were made with `{words[0]}` and `{words[1]}`. "


def _compared(one: _Part, other: _Part) -> Iterator[tuple[str, object, object]]:
    yield from compared(one.provenance, other.provenance)
    versions, others = one.provenance["versions"], other.provenance["versions"]
    for library in sorted(set(versions) | set(others)):
        yield f"the version of {library}", versions.get(library, "none"), others.get(library, "none")
    yield "the layers", one.layer_names, other.layer_names
    yield "the width", one.width, other.width
    yield "the acoustic baselines", one.acoustics, other.acoustics


def _plan(parts: Sequence[_Part]) -> Plan:
    """What an extraction without shards would lay out."""
    first, n = parts[0], sum(len(part.table) for part in parts)
    order = np.concatenate([np.asarray(part.shard.rows(n)) for part in parts])
    table = pd.concat([part.table for part in parts], ignore_index=True).iloc[np.argsort(order)]
    table = table.reset_index(drop=True)
    provenance = _provenance(parts)
    corpus = Corpus(provenance["corpus"]["name"], Path(first.root), table[list(COLUMNS)])
    if corpus.sha256 != provenance["corpus"]["sha256"]:
        raise UserError(
            f"the rows of {first.path} and the other shards are not those of the corpus whose hash they tell: extract "
            "them again, with --overwrite"
        )
    if not (table["status"] == "done").any():
        raise UserError(f"no utterance of {corpus.name} could be extracted, and there is nothing to join")
    paths = [str(Path(first.root) / path) for path in table["path"]]
    samples = table["samples"].to_numpy()
    sizes = np.where(samples > 0, np.maximum(samples, first.provenance["shard"]["padded_to"]), 0)
    budget = int(provenance["batch_seconds"] * SAMPLE_RATE)
    batches = plan_batches(sizes, budget=budget, groups=gathered(paths, places(table)))
    table["frame_start"] = frame_starts(batches, table["frames"].to_numpy())
    return Plan(
        table,
        first.statistics,
        first.layer_names,
        first.width,
        first.acoustics,
        provenance,
        first.root,
        _unsharded(first.arguments),
    )


def _provenance(parts: Sequence[_Part]) -> dict:
    """What an extraction without shards would say of itself; of what may differ, what holds for all."""
    told = [part.provenance for part in parts]
    record = {name: value for name, value in told[0].items() if name != "shard"}
    record["corpus"] = told[0]["shard"]["corpus"]
    record["batch_seconds"] = min(one["batch_seconds"] for one in told)  # which the memory of each device can hold
    record["device"] = " and ".join(dict.fromkeys(one["device"] for one in told))
    checks = [one["precision_check"] for one in told if one.get("precision_check")]
    worst = max(checks, key=_largest_error, default=None)
    # What goes on with it computes in float32 whatever one of them had to.
    spared = sorted({name for check in checks for name in check.get("in_float32", [])})
    record["precision_check"] = {**worst, "in_float32": spared} if worst and spared else worst
    return record


def _largest_error(check: dict) -> float:
    return max(check.get("errors", {}).values(), default=0.0)


def _unsharded(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """What ``probe-extract`` is given, without the shard: the last option (:meth:`.run.Run.arguments`)."""
    return arguments[:-2] if arguments[-2:-1] == ("--shard",) else arguments


def _notes(parts: Sequence[_Part]) -> Iterator[str]:
    """What differs among shards that belong together all the same, and what is not joined."""
    for name, what in (("device", "devices"), ("batch_seconds", "sizes of a batch")):
        values = list(dict.fromkeys(str(part.provenance[name]) for part in parts))
        if len(values) > 1:
            yield f"several {what} made the shards ({', '.join(values)}), and last bits of a state depend on that"
    spared = list(dict.fromkeys(", ".join(one) or "none" for part in parts if (one := part.in_float32) is not None))
    if len(spared) > 1:
        yield f"the shards had other modules in float32 ({'; '.join(spared)}): each passed its own check of precision"
    beside = [folder for part in parts if (folder := sidecar_folder(part.path)).is_dir()]
    if beside:
        yield f"what is in {beside[0]} is not joined: probe-extract --baselines makes it beside the new cache"


def _refuse_other(out: Path, plan: Plan, parts: Sequence[_Part]) -> None:
    """Refuse a cache at `out` that is not what would be written there."""
    with HiddenStateCache(out) as cache:
        if wrong := cache.verify():
            raise UserError(f"{out} is damaged ({wrong[0]}): join again with --overwrite, the shards are whole")
        there, table = cache.utterances, plan.utterances
        same = cache.complete and cache.provenance == plan.provenance and len(there) == len(table)
        same = same and bool((there[["id", "status"]] == table[["id", "status"]]).all(axis=None))
        for part in parts if same else ():
            same = same and bool((cache.checksums[part.shard.number - 1 :: len(parts)] == part.source.checksums).all())
    if not same:
        raise UserError(
            f"{out} is another cache than these shards make, or has changed since: give another place with --out, or "
            "--overwrite to replace it"
        )
