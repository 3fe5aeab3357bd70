"""The files of a repository on the hub: found at one commit, each fetched once.

Where the hub does not answer, they are read from the local cache.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import inspect
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from emoprobe.errors import Note, UserError, reason

from .weight_files import is_whole, refuse_dangling

DEFAULT_REVISION = "main"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit.

    Attributes
    ----------
    name : str
        On the hub.
    revision : str
        Branch, tag or commit that was asked for.
    commit : str
        What it stands for.
    files : frozenset of str
        Names of the files that can be had, without those in folders.
    cached : str or None
        Why the local cache alone is read; None where the hub answers.
    """

    name: str
    revision: str
    commit: str
    files: frozenset[str]
    cached: str | None = None

    @property
    def folder(self) -> Path:
        """Where the files that were fetched lie."""
        return _cache_folder(self.name) / "snapshots" / self.commit

    def path(self, file: str) -> Path | None:
        """The file on this machine, fetched when it is not there yet; None where the repository has none.

        Raises
        ------
        UserError
            If it cannot be fetched.
        """
        there = self.folder / file
        if there.is_file():
            return there
        if self.cached is not None:
            refuse_dangling(there, f"{self.cached}. {_bring(self.name)}")
        if file not in self.files:
            return None
        try:
            return _fetch(self.name, file, self.commit)
        except Exception as error:  # each library that huggingface_hub sends requests with has errors of its own
            cause, remedy = _explained(error, self.name, self.revision)
            raise UserError(f"{file} of {self.name} cannot be fetched: {cause}. {remedy}") from error

    def names(self) -> list[str]:
        """Names of all files that can be had."""
        return sorted(self.files)

    def keep(self) -> None:
        """Let the revision stand for this commit where there is no network, now that its files are here."""
        if self.cached is None:
            _keep(self.name, self.revision, self.commit)

    def lacking(self) -> str:
        """What to say, and do, about a file that is not there."""
        if self.cached is None:
            return f"the repository {self.name} (commit {self.commit[:12]}) has none; take another revision or model"
        return (
            f"{self.cached}, and the local cache holds only a part of commit {self.commit[:12]} "
            f"({', '.join(sorted(self.files))}){_others(self.name, self.revision, self.commit)}. {_bring(self.name)}"
        )


def find_repository(name: str, revision: str | None = None) -> Repository:
    """Ask the hub, once, what a revision stands for and which files it has; where it does not answer, the local cache.

    Parameters
    ----------
    name : str
        Such as ``"facebook/hubert-base-ls960"``.
    revision : str, optional
        Branch, tag or commit; the main branch by default.

    Returns
    -------
    Repository

    Warns
    -----
    Note
        If the hub does not give the repository and the local cache stands in for it.

    Raises
    ------
    UserError
        If neither has it: the message tells a missing repository, a missing revision, a gated one, no network and a
        failing hub apart.
    """
    from huggingface_hub import HfApi, constants

    revision = revision or DEFAULT_REVISION
    if constants.HF_HUB_OFFLINE:
        return _cached(name, revision, "HF_HUB_OFFLINE is set, so the hub is not asked", _bring(name))
    seconds = _seconds()
    try:
        about = _within(seconds, lambda: HfApi().model_info(name, revision=revision, timeout=seconds))
        commit = about.sha
        if commit is None:
            raise ValueError(f"it tells no commit of {name}")
        files = frozenset(file.rfilename for file in about.siblings or () if "/" not in file.rfilename)
        if "config.json" in files:
            _fetch(name, "config.json", commit)
    except Exception as error:  # as above
        repository = _cached(name, revision, *_explained(error, name, revision), error)
        warnings.warn(
            f"{repository.cached}: {name} is taken from the local cache (commit {repository.commit[:12]})",
            Note,
            stacklevel=3,
        )
        return repository
    _keep(name, revision, commit)
    return Repository(name, revision, commit, files)


def _fetch(name: str, file: str, commit: str) -> Path:
    """A file in the local cache, where it may be already."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    there = _cache_folder(name) / "snapshots" / commit / file
    if there.is_file():
        return there
    seconds, url = _seconds(), hf_hub_url(name, file, revision=commit)
    # Asked once and briefly, since hf_hub_download would go on asking for minutes.
    _within(seconds, lambda: get_hf_file_metadata(url, timeout=seconds))
    return _while_it_comes(
        lambda **watch: Path(hf_hub_download(name, file, revision=commit, etag_timeout=seconds, **watch)),
        _cache_folder(name) / "blobs",
    )


class _Stalled(TimeoutError):
    """A download of which no more comes."""


def _while_it_comes(fetch: Callable[..., Path], folder: Path) -> Path:
    """What `fetch` returns; a :class:`_Stalled` once no byte has come for HF_HUB_DOWNLOAD_TIMEOUT, 10 s by default.

    huggingface_hub tries six times before it gives up. What counts is what it tells its progress bar, or what grows
    in the cache's `folder`: another process may be fetching the same file, and is waited for.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import tqdm

    came = 0.0

    class Watched(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            nonlocal came
            came += n or 0
            return super().update(n)

    def progress() -> tuple[float, int]:
        return came, sum(part.stat().st_size for part in folder.glob("*.incomplete"))

    # A release that does not take a bar keeps to its own patience.
    watch = {"tqdm_class": Watched} if "tqdm_class" in inspect.signature(hf_hub_download).parameters else {}
    answer = _started(lambda: fetch(**watch))
    seen, at = (0.0, 0), time.monotonic()
    while True:
        with contextlib.suppress(concurrent.futures.TimeoutError):
            return answer.result(timeout=0.2)
        if answer.done():  # with a timeout of its own
            return answer.result()
        with contextlib.suppress(FileNotFoundError):  # a part took its place just now
            if (now := progress()) != seen:
                seen, at = now, time.monotonic()
        if watch and time.monotonic() - at > constants.HF_HUB_DOWNLOAD_TIMEOUT:
            raise _Stalled(f"no byte for {constants.HF_HUB_DOWNLOAD_TIMEOUT:g} s")


def _keep(name: str, revision: str, commit: str) -> None:
    """Write down what a revision stands for, where huggingface_hub looks for it when there is no network.

    A commit of which everything is here is not given up for one whose weights have yet to come.
    """
    folder = _cache_folder(name)
    ref = folder / "refs" / revision
    there = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else None
    if commit in (revision, there):
        return
    if there is not None and is_whole(folder / "snapshots" / there) and not is_whole(folder / "snapshots" / commit):
        return
    with contextlib.suppress(OSError):  # a cache that others share and that cannot be written to is read all the same
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)


def _seconds() -> float:
    """How long the hub may take to answer: HF_HUB_ETAG_TIMEOUT, 10 s by default."""
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT


def _within(seconds: float, ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` returns, or a TimeoutError.

    A request's own timeout counts for each address that a name stands for, and not for finding the name: where a
    firewall drops packets the sum is minutes.
    """
    try:
        return _started(ask).result(timeout=seconds + 1)
    except concurrent.futures.TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def _started(ask: Callable[[], _Answer]) -> concurrent.futures.Future[_Answer]:
    """`ask` on its way, in a thread that no exit of the program waits for."""
    answer: concurrent.futures.Future = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # handed to whoever waits
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def cached_names() -> list[str]:
    """Names of the repositories of models in the local cache."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)


def _cache_folder(name: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")


def _cached(name: str, revision: str, cause: str, remedy: str, error: Exception | None = None) -> Repository:
    """The repository as the local cache has it."""
    folder = _cache_folder(name)
    ref = folder / "refs" / revision
    commit = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else revision
    snapshot = folder / "snapshots" / commit
    if not (snapshot / "config.json").is_file():
        refuse_dangling(snapshot / "config.json", f"{cause}. {remedy}")
        at = "" if revision == DEFAULT_REVISION else f" at revision {revision}"
        raise UserError(
            f"{name}{at} is neither a folder here nor in the local cache ({folder.parent})"
            f"{_others(name, revision, commit)} and {cause}. {remedy}"
        ) from error
    files = frozenset(file.name for file in snapshot.iterdir() if file.is_file())
    return Repository(name, revision, commit, files, cause)


def _others(name: str, revision: str, commit: str) -> str:
    """The revisions and whole commits that the local cache has beside these, for a message."""
    folder = _cache_folder(name)
    refs = folder / "refs"
    commits = {str(ref.relative_to(refs)): ref.read_text().strip() for ref in refs.rglob("*") if ref.is_file()}
    revisions = sorted(commits.keys() - {revision})
    told = {commit, *(commits[other] for other in revisions)}
    whole = sorted(path.name for path in folder.glob("snapshots/*") if path.name not in told and is_whole(path))
    parts = [f"revision {', '.join(revisions)}"] if revisions else []
    parts += [f"all of commit {', '.join(whole)}"] if whole else []
    return f", which has {' and '.join(parts)} (give it with --revision)," if parts else ""


def _bring(name: str) -> str:
    return (
        f"Without a network: on a machine that has one run `hf download {name} --local-dir FOLDER`, bring the folder "
        "here, and give FOLDER"
    )


def _explained(error: Exception, name: str, revision: str) -> tuple[str, str]:
    """Why the hub did not give something, and what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = f"{status}: {getattr(error, 'server_message', None) or reason(error)}"
    causes = (
        (
            isinstance(error, HFValidationError),
            f"{name} cannot be the name of a repository ({reason(error)})",
            "Look at the spelling",
        ),
        (
            isinstance(error, GatedRepoError) or status == 403,
            f"{name} is gated ({said})",
            f"Accept its conditions at {hub}/{name}, log in with `hf auth login` (or set HF_TOKEN) and run this again",
        ),
        (
            isinstance(error, RevisionNotFoundError),
            f"{name} has no revision {revision} ({said})",
            f"Its revisions are at {hub}/{name}/tree/main",
        ),
        (
            isinstance(error, RepositoryNotFoundError) or status in (401, 404),
            f"{hub} knows no model {name} ({said})",
            "Look at the spelling; if it is private, log in with `hf auth login`",
        ),
        (
            isinstance(error, HfHubHTTPError) or status is not None,
            f"{hub} answered with an error of its own ({said})",
            f"Try again later. {_bring(name)}",
        ),
        (
            isinstance(error, _Stalled),
            f"{hub} stopped sending: {error} (HF_HUB_DOWNLOAD_TIMEOUT)",
            f"Run this again. {_bring(name)}",
        ),
        (
            isinstance(error, TimeoutError) or "Timeout" in type(error).__name__,
            f"{hub} did not answer within {_seconds():g} s (HF_HUB_ETAG_TIMEOUT)",
            _bring(name),
        ),
        (
            isinstance(error, OSError) and error.filename is not None,
            f"the local cache cannot be written ({reason(error)})",
            "Make room there, or set HF_HUB_CACHE",
        ),
        (True, f"{hub} cannot be reached ({reason(error)})", _bring(name)),
    )
    return next((cause, remedy) for holds, cause, remedy in causes if holds)
