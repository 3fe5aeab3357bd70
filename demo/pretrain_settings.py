"""Everything that the weights of the packaged model depend on, besides the audio."""

import math
from dataclasses import dataclass

from emoprobe.extract.options import check_counts, check_positive, check_seed


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that the weights depend on, besides the audio."""

    width: int = 192
    blocks: int = 12
    heads: int = 4
    intermediate: int = 768
    conv_dim: tuple[int, ...] = (32, 64, 128, 128, 128, 192, 192)
    conv_kernel: tuple[int, ...] = (10, 8, 4, 4, 4, 2, 2)
    conv_stride: tuple[int, ...] = (5, 4, 2, 2, 2, 2, 2)
    position_kernel: int = 32
    position_groups: int = 16
    unit_block: int = 6
    """Block whose output predicts phones and discovered units."""
    word_units: int = 700
    """The most frequent words; frames of others have no word to predict."""
    discovered_units: int = 100
    word_weight: float = 1.0
    spectrum_from: int = 0
    """Step from which the input of the first block must also tell the frame's log spectrum, so that what the units do
    not need (pitch, voice) is still heard there."""
    spectrum_weight: float = 1.0
    recluster: int = 0
    """Step from which recorded speech has units of the model's own middle block; 0: never."""
    recorded_share: float = 0.2
    """Of the batches."""
    batch_seconds: float = 32.0
    longest: float = 6.0
    mask_share: float = 0.4
    mask_frames: int = 5
    mask_longest: int = 15
    """Spans of a batch are between these two long: a phone, or a word, must be told from what is around it."""
    noise: float = 0.3
    """Share of batches to which white noise is added, 10 to 40 dB below the speech."""
    steps: int = 6000
    warmup: int = 300
    decay: int = 1500
    """Last steps, over which the learning rate falls to zero."""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    seed: int = 0
    frontend_only: bool = False
    """Fit the convolutions and their projection to log-mel, and leave every block as it was drawn (a control)."""

    def __post_init__(self) -> None:
        check_counts(self, "steps", "blocks", "word_units", "discovered_units", least=1)
        check_counts(self, "warmup", "decay", "spectrum_from", "recluster")
        check_positive(self, "learning_rate", "batch_seconds", "longest")
        check_seed(self.seed)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return math.prod(self.conv_stride)

    @property
    def field(self) -> int:
        """Receptive field of the front end, in samples."""
        field, step = 1, 1
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            field, step = field + (kernel - 1) * step, step * stride
        return field

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return (samples - self.field) // self.hop + 1
