"""Baselines that take longer than a forward pass leaves time for.

They are computed once for a corpus, in parts that survive a kill, and kept beside the cache (:mod:`..sidecars`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emoprobe.errors import UserError
from emoprobe.misspelt import nearest
from emoprobe.ownership import refuse_strangers, remove
from emoprobe.progress import progress_bar

from ..cache import HiddenStateCache
from ..finished import refuse_shard
from ..sidecars import (
    Sidecar,
    read_about,
    read_sidecar,
    same_origin,
    sidecar_folder,
    sidecar_path,
    write_sidecar,
)
from .base import Baseline, Features, Resources
from .registry import BASELINES, kept_beside

#: Names in the folder of unfinished parts.
_PARTS = ("[0-9][0-9][0-9][0-9][0-9][0-9].parquet",)


def add_baselines(
    cache: HiddenStateCache,
    names: Sequence[str],
    *,
    root: Path | None = None,
    device: str = "cpu",
    workers: int = 4,
    progress: bool = True,
    report: Callable[[str], None] | None = None,
) -> dict[str, Sidecar]:
    """Compute baselines and keep them beside a cache; go on where an earlier run stopped.

    Of a cache of the same corpus in the same folder, such as the student's beside the teacher's, they are copied.

    Parameters
    ----------
    cache : HiddenStateCache
    names : sequence of str
        Of :func:`.registry.kept_beside`, such as ``"egemaps"``; ``"text=ENCODER"`` chooses what ``"text"`` reads with.
    root : Path, optional
        Where the audio lies, if it is no longer where the cache was made from.
    device : str
        Where the text encoder runs.
    workers : int
        Threads.
    progress : bool
        Show a bar on standard error.
    report : callable, optional
        Told what is done, a line at a time.

    Returns
    -------
    dict of str to Sidecar
        By the name without encoder.

    Raises
    ------
    UserError
        If a name is unknown, the library or encoder is absent, no audio file can be read, there is no transcript, or
        the cache is a shard, beside which nothing is joined.
    """
    refuse_shard(cache)
    say = report or (lambda line: None)
    sidecars = {}
    for name, choice in dict(parsed_baseline(name) for name in names).items():
        baseline = BASELINES[name]
        if baseline.compute is None:
            raise ValueError(f"every cache holds {name}")
        resources = Resources(root or cache.corpus_root, device, workers, choice or baseline.default)
        features = baseline.compute(cache, resources)
        about = {
            "baseline": name,
            "corpus": {part: cache.provenance["corpus"][part] for part in ("name", "sha256")},
            "settings": {**features.settings, "method": baseline.features_version},
            "versions": features.versions,
        }
        path = sidecar_path(cache.path, name)
        there = _there(path, about, say)
        if there is None and (other := _beside(cache, name, about)) is not None:
            there = read_sidecar(other)
            write_sidecar(path, there)
            say(f"{path}: copied from {other}, which is of the same corpus")
        sidecars[name] = there or _computed(cache, baseline, features, about, path, progress, say)
    return sidecars


def parsed_baseline(name: str) -> tuple[str, str]:
    """``"text=minilm"`` as ("text", "minilm").

    Raises
    ------
    UserError
        If there is no such baseline, or it takes no choice.
    """
    base, given, choice = name.partition("=")
    there = {known: BASELINES[known].choice for known in kept_beside()}
    if base not in there or (given and not there[base]):
        choices = [f"{known}={what}" for known, what in there.items() if what]
        near = nearest(base, BASELINES, cutoff=0.6)
        if near is not None and near not in there:
            raise UserError(f"--baselines {name}: every cache holds {near} already; leave it out")
        if near is not None and base not in there:
            raise UserError(f"no baseline {name!r}: did you mean {near}?")
        raise UserError(f"no baseline {name!r}; there is {', '.join(there)}, and {', '.join(choices)}")
    if given and not choice.strip():  # an unset shell variable, not the wish for the default
        what = there[base]
        raise UserError(f"--baselines {name}: the {what.lower()} is empty; write {base}={what}, or {base} alone")
    return base, choice


def _there(path: Path, about: dict, say: Callable[[str], None]) -> Sidecar | None:
    """The sidecar, where it is already what is wanted."""
    if not path.exists():
        return None
    kept = read_sidecar(path)
    if same_origin(kept.about, about):
        say(f"{path} is complete; nothing to do")
        return kept
    what = "corpus" if kept.about["corpus"] != about["corpus"] else "encoder or version"
    say(f"{path} is of another {what} and is made anew")
    return None


def _beside(cache: HiddenStateCache, name: str, about: dict) -> Path | None:
    """The same baseline of the same corpus, at another cache in the same folder."""
    for path in sorted(cache.path.parent.glob(f"*.baselines/{name}.parquet")):
        try:
            other = read_about(path)
        except UserError:  # somebody else's damaged file is no reason to stop here
            continue
        if path.parent != sidecar_folder(cache.path) and same_origin(other, about):
            return path
    return None


def _computed(
    cache: HiddenStateCache,
    baseline: Baseline,
    features: Features,
    about: dict,
    path: Path,
    progress: bool,
    say: Callable[[str], None],
) -> Sidecar:
    """Compute part by part, each on disk before the next; put the parts together at the end."""
    ids = cache.utterances["id"].to_numpy(object)
    size = baseline.part
    parts = path.with_suffix(".parts")
    refuse_strangers(parts, _PARTS, "the unfinished parts of a baseline", option="--out")
    finished = []
    with progress_bar(total=len(ids), show=progress, unit="utterance", desc=baseline.name) as bar:
        for number, start in enumerate(range(0, len(ids), size)):
            rows = np.arange(start, min(start + size, len(ids)))
            part = _part(parts / f"{number:06d}.parquet", about, ids[rows])
            if part is None:
                values, reasons = features.compute(rows)
                part = Sidecar(about, ids[rows], np.array(reasons, dtype=object), features.columns, values)
                write_sidecar(parts / f"{number:06d}.parquet", part)
            finished.append(part)
            bar.update(len(rows))
    whole = Sidecar(
        about,
        ids,
        np.concatenate([part.reasons for part in finished]),
        features.columns,
        np.concatenate([part.features for part in finished]),
    )
    if np.isnan(whole.features).all():
        remove(parts, _PARTS)
        raise UserError(f"{cache.path}: no utterance has the baseline {baseline.name}; the first: {whole.reasons[0]}")
    write_sidecar(path, whole)
    remove(parts, _PARTS)
    lacking = int((whole.reasons != "").sum())
    say(f"{path}: {len(ids) - lacking} utterances" + (f"; {lacking} have none" if lacking else ""))
    return whole


def _part(path: Path, about: dict, ids: np.ndarray) -> Sidecar | None:
    """A part that an earlier run has left, if it is whole and of the same thing."""
    if not path.exists():
        return None
    try:
        part = read_sidecar(path)
    except UserError:  # it is computed again
        return None
    return part if part.about == about and np.array_equal(part.ids, ids) else None
