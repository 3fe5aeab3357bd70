"""What an extraction keeps, and how it computes."""

from __future__ import annotations

from dataclasses import dataclass, field

from emoprobe.errors import UserError
from emoprobe.misspelt import meant
from emoprobe.settings_as_options import called

from .limits import LONGEST_SECONDS, PRECISIONS, STATISTICS
from .options import check_device, check_positive
from .sharding import Shard


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """What to keep of each utterance, and how to compute it.

    Attributes
    ----------
    statistics : tuple of str
        Over the frames: "mean", "std" and "mean_ln", the mean of layer-normed frames.
    frames : bool
        Keep every frame too, in half precision, compressed, in a folder beside the cache.
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"`` (autocast); what is stored is float32.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    batch_seconds : float or None
        Most seconds of audio in a batch, padding included; chosen for the device if None. A started cache keeps its
        own, since the last bits of a state depend on the batch.
    longest : float
        Seconds; longer files are left out, with that reason.
    limit : int or None
        Extract only that many utterances, drawn by lot, always the same.
    shard : str or None
        Extract only one shard of these: ``"2/8"`` is the second of eight, and holds the utterances 2, 10, 18 and so on.
        :func:`.joining.join` makes one cache of all.
    strict : bool
        Stop at the first file with a problem.
    overwrite : bool
        Start anew where there is a cache already.
    repair : bool
        Compare a cache that is there with its checksums first, and extract again what has changed.
    refresh_labels : bool
        Take over labels, splits, speakers and transcripts that have changed since the cache was made of the same audio
        by the same model; without it a cache of other labels is refused.
    workers : int
        Threads that decode ahead.
    """

    statistics: tuple[str, ...] = field(default=STATISTICS, metadata=called("pool"))
    frames: bool = False
    precision: str = field(default="float32", metadata=called("precision", former="dtype"))
    device: str = "auto"
    batch_seconds: float | None = None
    longest: float = LONGEST_SECONDS
    limit: int | None = None
    shard: str | None = None
    strict: bool = False
    overwrite: bool = False
    repair: bool = False
    refresh_labels: bool = False
    workers: int = 4

    def __post_init__(self) -> None:
        for statistic in self.statistics:
            if statistic not in STATISTICS:
                raise UserError(f"no pooling {statistic!r}; {meant(statistic, STATISTICS)}")
        if not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise UserError("name each pooling once, and at least one")
        if self.precision not in PRECISIONS:
            raise UserError(f"no precision {self.precision!r}; {meant(self.precision, PRECISIONS)}")
        check_device(self.device)
        check_positive(self, "batch_seconds", "longest", "limit", "workers")
        if self.shard is not None:
            shard = Shard.parsed(self.shard)
            object.__setattr__(self, "shard", str(shard))  # as it is told, whatever spaces it was given with
            if self.frames:
                raise UserError(
                    "--shard and --frames do not go together: single frames lie in files beside a cache, one a batch, "
                    "and are not joined; leave one of them out"
                )
        if self.frames:
            try:
                import hdf5plugin  # noqa: F401
            except ImportError:
                raise UserError("keeping every frame needs hdf5plugin: pip install 'emoprobe[frames]'") from None
