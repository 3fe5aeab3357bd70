"""Whether a cache holds all of its corpus, so that numbers may be computed from it; and what finishes another one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError

if TYPE_CHECKING:
    from .cache import HiddenStateCache


def extracting(path: Path, arguments: Sequence[str], *options: str) -> str:
    """What extracts into a cache, to be typed as it is, from the folder that its path starts in.

    Parameters
    ----------
    path : Path
    arguments : sequence of str
        Those of the cache (:attr:`.cache.HiddenStateCache.arguments`).
    *options : str
        Of ``probe-extract``, beside them.
    """
    command = shlex.join(["probe-extract", *options, "--out", str(path), *arguments])
    return command if arguments else f"{command} with the arguments that it was made with"


def refuse_unfinished(cache: HiddenStateCache) -> None:
    """Refuse to compute from a cache that lacks utterances of its corpus: still to come, or in other shards.

    Raises
    ------
    UserError
        Naming the remedy.
    """
    if not cache.complete:
        raise UserError(f"{cache.path} is not complete: run the same probe-extract again, it goes on where it stopped")
    refuse_shard(cache)


def refuse_shard(cache: HiddenStateCache) -> None:
    """Refuse a cache that holds a shard of a corpus, for what is said of the corpus.

    Raises
    ------
    UserError
        Naming the remedy.
    """
    if cache.shard is not None:
        raise UserError(
            f"{cache.path} is shard {cache.shard} of {cache.corpus}, and a part is not the corpus: make "
            "one cache of all shards with probe-extract join SHARDS --out FILE, and take that"
        )
