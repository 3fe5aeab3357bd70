"""MSP-IMPROV: twelve actors improvise in pairs, arousal, valence and dominance on 1 to 5.

Busso et al., "MSP-IMPROV: An acted corpus of dyadic interactions to study emotion perception", IEEE Transactions on
Affective Computing 8(1), 2017. The makers license the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import UserError

from .cells import DIMENSIONS, RATERS, MissingWords
from .folders import AudioTree, children, corpus_root, locate, nested
from .msp_ratings import blocks, rater_of
from .raters import rater_columns, summarise
from .table import Corpus
from .transcripts import read_transcripts
from .values import parse_rating

# The corpus's own spelling, and the one that people correct it to.
_EVALUATIONS = ("evalution.txt", "evaluation.txt")

# UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:2.333333; V:3.000000; D:2.500000 ; N:4.000000;
_LINE = re.compile(
    r"(?:UTD|MSP)-IMPROV-(?P<name>S\d\d[A-Z]-(?P<speaker>[FM]\d\d)-[A-Z]-[FM]{2}\d\d)\.\w+\s*;\s*(?P<emotion>\w+)\s*;"
    r"\s*A:(?P<arousal>[^;]*);\s*V:(?P<valence>[^;]*);\s*D:(?P<dominance>[^;]*);.*"
)
_SCALE = (1.0, 5.0)
_NO_AGREEMENT = "X"
_ANGRY, _CALM = "A", ("N", "S")


def read(root: Path, *, keep_words: Collection[str] = ()) -> Corpus:
    """Read MSP-IMPROV from the folder that holds ``Evalution.txt`` and ``session1`` to ``session6``.

    Parameters
    ----------
    root : Path
        Or the folder above it. Audio is found by its stem, wherever it lies below.
    keep_words : collection of str
        See :class:`.cells.MissingWords`.

    Returns
    -------
    Corpus
        Ids such as ``MSP-IMPROV-S01A-F01-P-FM01``, codes of emotion as the corpus has them, ``""`` for ``X``. The group
        is the session, whose two actors talk to each other. High arousal is active, whichever way round the file writes
        it (see Notes). With mean, spread and number of the single ratings. No splits.

    Raises
    ------
    UserError
        Naming file, line and remedy.

    Notes
    -----
    Copies of the file were scored from active (1) to calm (5) as well as from calm to active. Which of both it is, the
    file tells itself: anger is more active than sadness and neutral speech. Where that needs a turn, all ratings of
    arousal are subtracted from 6, which the notes say.
    """
    notes: list[str] = []
    root = corpus_root(Path(root), lambda folder: _evaluations(folder) is not None, notes)
    source = _evaluations(root)
    if source is None:
        raise UserError(f"{root}: no Evalution.txt; give the folder that holds it and session1 to session6")
    missing = MissingWords(keep_words)
    rows: list[dict[str, object]] = []
    places: list[str] = []
    rated: list[tuple[str, str, list[float]]] = []
    for number, line, lines in blocks(source):
        told = _LINE.fullmatch(line)
        if told is None:
            raise UserError(f"{source}, line {number}: {line[:80]!r} is no line of an utterance; correct it")
        try:
            ratings = {name: parse_rating(told[name]) for name in DIMENSIONS}
        except ValueError as problem:
            raise UserError(f"{source}, line {number}: {problem}; correct it or write NaN") from None
        name, session = f"MSP-IMPROV-{told['name']}", int(told["speaker"][1:])
        rows.append(
            {
                "id": name,
                "path": f"session{session}/{told['name'][:4]}/{told['name'][9]}/{name}.wav",
                "speaker": told["speaker"],
                "gender": "female" if told["speaker"][0] == "F" else "male",
                "group": f"session{session}",
                "emotion": "" if told["emotion"] == _NO_AGREEMENT else told["emotion"],
                **ratings,
            }
        )
        places.append(f"line {number}")
        rated += [(name, *rater_of(said, source, at)) for at, said in lines]
    if not rows:
        raise UserError(f"{source}: holds no utterances; unpack it again")
    table = pd.DataFrame(rows)
    table["path"] = locate(AudioTree(root), table["path"], notes)
    if rated:
        names, raters, single = zip(*rated, strict=True)
        table = table.assign(**rater_columns(summarise(names, raters, single, notes), table["id"], notes))
    _turn_arousal(table, notes)
    texts = nested(root, ("text", "transcripts", "transcription"))
    if texts:
        table["transcript"] = read_transcripts(texts, table["id"], notes)
    return Corpus.from_table(
        "msp-improv",
        root,
        table,
        source=source,
        notes=notes,
        where=lambda row: places[row],
        missing=missing,
        scales=dict.fromkeys(DIMENSIONS, _SCALE),
    )


def _evaluations(folder: Path) -> Path | None:
    held = children(folder)
    return next((held[name] for name in _EVALUATIONS if name in held), None)


def _turn_arousal(table: pd.DataFrame, notes: list[str]) -> None:
    """High arousal is active: turned round where anger is the calmer one."""
    angry = table.loc[table["emotion"] == _ANGRY, "arousal"].mean()
    calm = table.loc[table["emotion"].isin(_CALM), "arousal"].mean()
    if np.isnan(angry) or np.isnan(calm):
        notes.append("arousal is taken as it is written, from calm to active: no anger and calm speech to compare")
    elif angry < calm:
        for name in ("arousal", RATERS[0]):
            if name in table:
                table[name] = sum(_SCALE) - table[name]
        notes.append(
            f"arousal is written from active to calm (anger {angry:.2f}, neutral and sad {calm:.2f}), "
            f"and was turned round: {sum(_SCALE):g} minus what is written"
        )
