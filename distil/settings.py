"""What a student is a function of."""

from __future__ import annotations

from dataclasses import dataclass, field

from emoprobe.errors import UserError
from emoprobe.extract.options import check_counts, check_positive, check_seed
from emoprobe.settings_as_options import called


@dataclass(frozen=True)
class Keeping:
    """What of a training is kept on the way; the student does not depend on it.

    Parameters
    ----------
    save_steps, log_steps : int
        How often a checkpoint and a line of the log are written.
    """

    save_steps: int = 200
    log_steps: int = 50


@dataclass(frozen=True)
class Running(Keeping):
    """How a training is run; its numbers depend on it no more than on the machine.

    Parameters
    ----------
    bf16 : bool
        Autocast to bfloat16, where its layers are near those of float32.
    budget : float or None
        Seconds of training, all starts of the run together, after which it ends by itself: the learning rate falls by
        the clock where that is ahead of the steps. None: as long as the steps take.
    use_cpu : bool
        Even where there is a GPU.
    """

    bf16: bool = False
    budget: float | None = None
    use_cpu: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "save_steps", "log_steps", least=1)
        if self.budget is not None:
            check_positive(self, "budget")


@dataclass(frozen=True)
class DistillSettings:
    """What the student is a function of, besides teacher and speech."""

    blocks: int = 2
    layers: tuple[int, ...] = ()
    """Teacher's layers to predict; empty: 4, 8 and 12 of 12, scaled to its depth."""
    map: tuple[str, ...] = ()
    """Which layer of a given student tells which of the teacher, as STUDENT:TEACHER; empty: at the same depth."""
    noise: float = 0.0
    """Share of batches in which a given student hears white noise, 10 to 40 dB below the speech; the teacher never."""
    cosine_weight: float = 1.0
    batch_seconds: float = 24.0
    longest: float = field(default=6.0, metadata=called("cut", former="longest"))
    steps: int = 2000
    warmup: int = 140
    decay: int = 1860
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "blocks", "steps", least=1)
        check_counts(self, "warmup", "decay")
        check_positive(self, "batch_seconds", "longest", "learning_rate")
        check_seed(self.seed)
        if not 0 <= self.noise <= 1:
            raise UserError(f"--noise {self.noise}: give a share of the batches, 0 to 1")
        self.pairs()

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The map: (student's layer, teacher's layer) of each pair.

        Raises
        ------
        UserError
            If a pair is not written as STUDENT:TEACHER.
        """
        pairs = []
        for written in self.map:
            asked, _, told = written.partition(":")
            if not (asked.isdecimal() and told.isdecimal()):
                raise UserError(f"--map {written}: write STUDENT:TEACHER, such as 3:1 (layer 3 tells the teacher's 1)")
            pairs.append((int(asked), int(told)))
        return tuple(pairs)
