"""How a corpus is transcribed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emoprobe.extract.limits import LONGEST_SECONDS
from emoprobe.extract.options import check_device, check_positive


@dataclass(frozen=True, kw_only=True)
class TranscriptionSettings:
    """How a corpus is transcribed.

    Attributes
    ----------
    only_missing : bool
        Keep the transcripts that the corpus has.
    overwrite : bool
        Start anew where there is a manifest already.
    batch_seconds : float or None
        Most seconds of audio in a batch, padding included; chosen for the model and the device if None. A run that is
        gone on with keeps its own.
    longest : float
        Seconds; longer files are left out, with that reason.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    workers : int
        Threads that decode ahead.
    keep_words, columns
        As :func:`.extract.corpora.read_corpus` takes them, where the corpus is given by its name.
    """

    only_missing: bool = False
    overwrite: bool = False
    batch_seconds: float | None = None
    longest: float = LONGEST_SECONDS
    device: str = "auto"
    workers: int = 4
    keep_words: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_device(self.device)
        check_positive(self, "batch_seconds", "longest", "workers")
