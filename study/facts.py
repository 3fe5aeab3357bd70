"""What of a corpus decides on the steps of a study."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION

from .settings import Programme

if TYPE_CHECKING:
    from emoprobe.extract.corpora import Corpus

#: The name of the packaged corpus, which is spoken into the folder of the study.
DEMO = "demo"


@dataclass(frozen=True)
class Facts:
    """What a corpus holds.

    Attributes
    ----------
    name : str
        As the results call it.
    utterances, transcripts : int
        How many there are, and how many of them have a transcript.
    targets : tuple of str
        Of the dimensions and "emotion", those with labels.
    """

    name: str
    utterances: int
    transcripts: int
    targets: tuple[str, ...]


def facts_of(programme: Programme) -> Facts:
    """Read the labels of the programme's corpus; those of the packaged one are known before it is spoken.

    Raises
    ------
    UserError
        As :func:`emoprobe.extract.corpora.read_corpus` tells it.
    """
    if programme.settings.corpus == DEMO:
        from emoprobe.demo.corpus import CorpusSettings

        count = CorpusSettings().utterances
        return Facts(DEMO, count, count, (*DIMENSIONS, EMOTION))
    corpus = corpus_of(programme)
    transcripts = int((corpus.utterances["transcript"].str.strip() != "").sum())
    return Facts(corpus.name, len(corpus), transcripts, corpus.targets)


def corpus_of(programme: Programme) -> Corpus:
    """The programme's corpus, read as its steps read it."""
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.corpora.naming import parse_columns

    how = programme.table("reading")
    beside = {name: how[name] for name in ("ratings", "splits") if how.get(name)}
    columns = parse_columns(list(how.get("columns", ())))
    return read_corpus(programme.settings.corpus, keep_words=how.get("keep_words", ()), columns=columns, **beside)


def place_of(corpus: str) -> str:
    """The corpus with an absolute path, so that it is the same one from every folder."""
    if corpus != DEMO and Path(corpus).exists():
        return os.path.abspath(corpus)  # noqa: PTH100 - links are the user's own
    reader, colon, root = corpus.partition(":")
    return f"{reader}:{os.path.abspath(root)}" if colon and Path(root).exists() else corpus  # noqa: PTH100
