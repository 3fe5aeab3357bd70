"""Baselines that take longer than a forward pass leaves time for: eGeMAPS by opensmile, and the words alone.

They are computed once for a corpus, in parts that survive a kill, and kept beside the cache (:mod:`.sidecars`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from emoprobe.errors import UserError
from emoprobe.ownership import refuse_strangers, remove

from .audio import AudioHeader, AudioProblem, Kept, read_audio, refuse_vanished
from .cache import HiddenStateCache
from .corpora.places import places
from .limits import SAMPLE_RATE
from .scan import read_headers
from .sidecars import (
    SIDECARS,
    Sidecar,
    read_about,
    read_sidecar,
    same_origin,
    sidecar_folder,
    sidecar_path,
    write_sidecar,
)
from .versions import versions

DEFAULT_TEXT_ENCODER = "minilm"
NO_TRANSCRIPT = "no transcript"

#: Of the features of each. Raise one with any change that moves them beyond rounding; kept ones are then made anew.
VERSIONS = {"egemaps": 1, "text": 1}

#: Utterances that are stored together, and lost together when a run is killed.
PER_PART = {"egemaps": 256, "text": 1024}

#: Names in the folder of unfinished parts.
_PARTS = ("[0-9][0-9][0-9][0-9][0-9][0-9].parquet",)

#: Features of some utterances (rows of the cache, in order) and, for each, why it has none.
Compute = Callable[[np.ndarray], tuple[np.ndarray, list[str]]]


@dataclass(frozen=True)
class _Baseline:
    """How one baseline is computed.

    Attributes
    ----------
    name : str
    columns : tuple of str
        Names of the features.
    settings : dict
        What the features depend on, besides the corpus.
    versions : dict
        Of the library that computes them.
    compute : callable
    """

    name: str
    columns: tuple[str, ...]
    settings: dict
    versions: dict
    compute: Compute


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
        ``"egemaps"``: the 88 functionals of eGeMAPSv02 (Eyben et al. 2016). ``"text"`` or ``"text=ENCODER"``: mean
        of the last hidden state of a text encoder over the transcript.
    root : Path, optional
        Where the audio lies, if it is no longer where the cache was made from.
    device : str
        Where the text encoder runs.
    workers : int
        Threads for eGeMAPS.
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
        If a name is unknown, the library or encoder is absent, no audio file can be read, or there is no transcript.
    """
    say = report or (lambda line: None)
    makers = {
        "egemaps": lambda choice: _egemaps(cache, root or cache.corpus_root, workers),
        "text": lambda choice: _text(cache, choice or DEFAULT_TEXT_ENCODER, device),
    }
    asked = dict(_parsed(name) for name in names)
    made = {}
    for name, choice in asked.items():
        baseline = makers[name](choice)
        about = {
            "baseline": name,
            "corpus": {part: cache.provenance["corpus"][part] for part in ("name", "sha256")},
            "settings": {**baseline.settings, "method": VERSIONS[name]},
            "versions": baseline.versions,
        }
        path = sidecar_path(cache.path, name)
        there = _there(path, about, say)
        if there is None and (other := _beside(cache, name, about)) is not None:
            there = read_sidecar(other)
            write_sidecar(path, there)
            say(f"{path}: copied from {other}, which is of the same corpus")
        made[name] = there or _computed(cache, baseline, about, path, progress, say)
    return made


def _parsed(name: str) -> tuple[str, str]:
    """``"text=minilm"`` as ("text", "minilm")."""
    base, given, choice = name.partition("=")
    if given and not choice.strip():  # an unset shell variable, not the wish for the default
        raise UserError(f"--baselines {name}: the encoder is empty; write text=ENCODER, or text alone")
    if base not in SIDECARS or (choice and base != "text"):
        raise UserError(f"no baseline {name!r}; there is egemaps, text, and text=ENCODER")
    return base, choice


def _there(path: Path, about: dict, say: Callable[[str], None]) -> Sidecar | None:
    """The sidecar, where it is already what is wanted."""
    if not path.exists():
        return None
    found = read_sidecar(path)
    if same_origin(found.about, about):
        say(f"{path} is complete; nothing to do")
        return found
    what = "corpus" if found.about["corpus"] != about["corpus"] else "encoder or version"
    say(f"{path} is of another {what} and is made anew")
    return None


def _beside(cache: HiddenStateCache, name: str, about: dict) -> Path | None:
    """The same baseline of the same corpus, at another cache in the same folder."""
    for path in sorted(cache.path.parent.glob(f"*.baselines/{name}.parquet")):
        try:
            found = read_about(path)
        except UserError:  # somebody else's damaged file is no reason to stop here
            continue
        if path.parent != sidecar_folder(cache.path) and same_origin(found, about):
            return path
    return None


def _computed(
    cache: HiddenStateCache, baseline: _Baseline, about: dict, path: Path, progress: bool, say: Callable[[str], None]
) -> Sidecar:
    """Compute part by part, each on disk before the next; put the parts together at the end."""
    ids = cache.utterances["id"].to_numpy(object)
    size = PER_PART[baseline.name]
    parts = path.with_suffix(".parts")
    refuse_strangers(parts, _PARTS, "the unfinished parts of a baseline", option="--out")
    found = []
    with tqdm(total=len(ids), disable=not progress, unit="utterance", mininterval=0.5, desc=baseline.name) as bar:
        for number, start in enumerate(range(0, len(ids), size)):
            rows = np.arange(start, min(start + size, len(ids)))
            part = _part(parts / f"{number:06d}.parquet", about, ids[rows])
            if part is None:
                features, reasons = baseline.compute(rows)
                part = Sidecar(about, ids[rows], np.array(reasons, dtype=object), baseline.columns, features)
                write_sidecar(parts / f"{number:06d}.parquet", part)
            found.append(part)
            bar.update(len(rows))
    whole = Sidecar(
        about,
        ids,
        np.concatenate([part.reasons for part in found]),
        baseline.columns,
        np.concatenate([part.features for part in found]),
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


def _egemaps(cache: HiddenStateCache, root: Path, workers: int) -> _Baseline:
    """The extended Geneva minimalistic acoustic parameter set: 88 functionals."""
    try:
        import opensmile
    except (ImportError, OSError) as error:  # OSError: its compiled library does not load on this system
        raise UserError(f"eGeMAPS needs opensmile ({error}): pip install 'emoprobe[egemaps]'") from None
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
    paths = [root / path for path in cache.utterances["path"]]
    parts = places(cache.utterances)
    samples, kept = cache.samples, Kept()
    columns = tuple(smile.feature_names)

    def one(row: int, header: AudioHeader | AudioProblem) -> tuple[np.ndarray, str]:
        nothing = np.full(len(columns), np.nan, np.float32)
        try:
            if isinstance(header, AudioProblem):
                raise header
            waveform = read_audio(paths[row], header, kept)
        except AudioProblem as problem:
            if samples[row]:  # it was there when the cache was made
                refuse_vanished(paths[row].parent)
            return nothing, f"{paths[row]}: {problem}"
        if samples[row] and len(waveform) != samples[row]:
            return nothing, f"{paths[row]}: of another length than when the cache was made"
        features = smile(waveform, SAMPLE_RATE).reshape(-1)
        if not np.isfinite(features).all():
            return nothing, f"{paths[row]}: too short for eGeMAPS ({len(waveform) / SAMPLE_RATE:.3f} s)"
        return features, ""

    def compute(rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        with warnings.catch_warnings(), ThreadPoolExecutor(workers) as threads:
            warnings.simplefilter("ignore", UserWarning)  # of a signal too short, which `one` tells itself
            headers = read_headers([str(paths[row]) for row in rows], [parts[row] for row in rows])
            found = list(threads.map(one, rows, headers))
        return np.stack([features for features, _ in found]), [reason for _, reason in found]

    settings = {
        "feature_set": "eGeMAPSv02",
        "level": "functionals",
        "sample_rate": SAMPLE_RATE,
        "opensmile": opensmile.__version__,
    }
    return _Baseline("egemaps", columns, settings, versions(), compute)


def _text(cache: HiddenStateCache, name: str, device: str) -> _Baseline:
    """Sentence embedding of the transcript."""
    from .devices import choose_device
    from .encoders.text import load_text_encoder

    transcripts = cache.utterances["transcript"].fillna("").astype(str).str.strip().to_numpy(object)
    if not (transcripts != "").any():
        raise UserError(
            f"{cache.path}: no utterance of '{cache.corpus}' has a transcript; give the corpus a transcript column and "
            "extract it again, or leave text out of --baselines"
        )
    encoder = load_text_encoder(name).to(choose_device(device))

    def compute(rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        texts = list(transcripts[rows])
        return encoder.embed(texts), ["" if text else NO_TRANSCRIPT for text in texts]

    columns = tuple(f"text_{k}" for k in range(encoder.width))
    return _Baseline("text", columns, encoder.provenance(), versions(), compute)
