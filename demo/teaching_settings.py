"""Everything that the weights of ``hubert-nano`` depend on, besides the speech and the models it began from."""

from dataclasses import dataclass

from emoprobe.errors import UserError
from emoprobe.extract.options import check_positive

from .pretrain_settings import PretrainSettings


@dataclass(frozen=True)
class TeachingSettings(PretrainSettings):
    """As for pretraining, with a teacher's layers to tell."""

    pairs: tuple[tuple[int, int], ...] = ((3, 1), (6, 2), (9, 3), (12, 4))
    """Student's layer, and the teacher's layer that it tells."""
    cosine_weight: float = 1.0
    recorded_share: float = 0.7
    batch_seconds: float = 20.0
    longest: float = 8.0
    learning_rate: float = 1e-3
    steps: int = 12_000
    warmup: int = 200
    decay: int = 4800
    word_weight: float = 0.5
    spectrum_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "cosine_weight")
        if any(not 1 <= layer <= self.blocks for layer, _ in self.pairs):
            raise UserError(f"pairs {self.pairs}: the student has layers 1 to {self.blocks}")
