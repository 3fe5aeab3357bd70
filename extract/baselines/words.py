"""The words alone: a sentence embedding of the transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoprobe.errors import UserError

from .base import Baseline, Features, Resources

if TYPE_CHECKING:
    import numpy as np

    from ..cache import HiddenStateCache

#: Why an utterance has no embedding.
NO_TRANSCRIPT = "no transcript"


def compute(cache: HiddenStateCache, resources: Resources) -> Features:
    """Mean of the last hidden state of a text encoder over each transcript.

    Raises
    ------
    UserError
        If no utterance has a transcript, or the encoder is absent.
    """
    from ..devices import choose_device
    from ..encoders.text import load_text_encoder
    from ..versions import versions

    transcripts = cache.utterances["transcript"].fillna("").astype(str).str.strip().to_numpy(object)
    if not (transcripts != "").any():
        raise UserError(
            f"{cache.path}: no utterance of '{cache.corpus}' has a transcript; give the corpus a transcript column and "
            "extract it again, or leave text out of --baselines"
        )
    encoder = load_text_encoder(resources.choice).to(choose_device(resources.device))

    def of_rows(rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        texts = list(transcripts[rows])
        return encoder.embed(texts), ["" if text else NO_TRANSCRIPT for text in texts]

    columns = tuple(f"text_{k}" for k in range(encoder.width))
    return Features(columns, encoder.provenance(), versions(), of_rows)


WORDS = Baseline(
    "text",
    "words",
    "a sentence embedding of the transcript",
    acoustic=False,
    compute=compute,
    part=1024,
    choice="ENCODER",
    default="minilm",
    cites=("reimers2019sentence",),
)
