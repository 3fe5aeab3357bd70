"""What is trained, and how: frozen, and written beside every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.limits import LONGEST_SECONDS, PRECISIONS
from emoprobe.extract.options import check_counts, check_device, check_positive, check_seed
from emoprobe.misspelt import meant
from emoprobe.settings_as_options import called

#: What can be kept as it was pretrained: the convolutions of the speech encoder, the embeddings of the text encoder,
#: or a whole encoder.
FREEZABLE = ("frontend", "embeddings", "audio", "text")
POOLINGS = ("mean", "attentive")
LAYERS = ("last", "sum")


@dataclass(frozen=True)
class ModelSettings:
    """Architecture of an audio-textual model.

    Parameters
    ----------
    audio, text : str or None
        Encoders by name: what :func:`emoprobe.extract.encoders.speech.load_backbone` and
        :func:`emoprobe.extract.encoders.text.load_text_encoder` take. None leaves that side out.
    audio_revision, text_revision : str, optional
        Of checkpoints on the hub.
    audio_random, text_random : int, optional
        Seed of random weights in place of the checkpoint's, as a control.
    freeze : tuple of str
        Of "frontend", "embeddings", "audio" and "text": what training leaves as it is. A whole frozen encoder runs
        without dropout. The front end of Whisper is its two convolutions; that of w2v-BERT has no weights.
    pooling : str
        "mean" over valid frames (tokens), or "attentive": a learned weight for each frame (token).
    keep_layers : int, optional
        Blocks of the speech encoder that are kept, from the first on; all by default. The others are not in the model.
    audio_window : float, optional
        Seconds of the window that the speech encoder puts every utterance into, where it has one (Whisper), rounded up
        to a frame; its own (30 s) by default. Less is faster, and longer utterances are then left out.
    layers : str
        "last" hidden state of the speech encoder, or "sum": a learned softmax-weighted sum of all its layers, as it is
        used with deep encoders.
    hidden : int
        Width that each side's pooled state is brought to before the sides are concatenated.
    dropout : float
        Of the head.
    text_dropout, audio_dropout : float
        Modality dropout: share of training utterances of which one side is hidden, never both. What stands in its
        place is learned, and is what an utterance without text gets.
    dimensions : tuple of str
        Of "arousal", "valence", "dominance": one head for all of them.
    """

    audio: str | None = "distilhubert-nano"
    text: str | None = "minilm"
    audio_revision: str | None = None
    text_revision: str | None = None
    audio_random: int | None = None
    text_random: int | None = None
    freeze: tuple[str, ...] = field(default=("frontend", "embeddings"), metadata=called("freeze", nothing="none"))
    pooling: str = "mean"
    keep_layers: int | None = None
    audio_window: float | None = None
    layers: str = "last"
    hidden: int = 256
    dropout: float = 0.1
    text_dropout: float = 0.1
    audio_dropout: float = 0.1
    dimensions: tuple[str, ...] = DIMENSIONS

    def __post_init__(self) -> None:
        if self.audio is None and self.text is None:
            raise UserError("a model needs an encoder: give --audio, --text or both")
        one_of("--freeze", self.freeze, FREEZABLE)
        one_of("--pooling", (self.pooling,), POOLINGS)
        one_of("--layers", (self.layers,), LAYERS)
        one_of("--dim", self.dimensions, DIMENSIONS)
        if self.keep_layers is not None and self.audio is None:
            raise UserError("--keep-layers is of the speech encoder, and --audio is none: leave one of them out")
        if self.audio_window is not None and self.audio is None:
            raise UserError("--audio-window is of the speech encoder, and --audio is none: leave one of them out")
        check_counts(self, "keep_layers", least=1)
        if self.audio_window is not None and not self.audio_window > 0:
            raise UserError(f"--audio-window {self.audio_window:g} must be a number of seconds above 0")
        if not self.dimensions:
            raise UserError(f"name at least one dimension: {', '.join(DIMENSIONS)}")
        _check_shares(self, "dropout", "text_dropout", "audio_dropout")
        if self.text_dropout + self.audio_dropout > 1:
            raise UserError("--text-dropout and --audio-dropout hide one side each, so together they are at most 1")
        if self.hidden < 1:
            raise UserError(f"--hidden {self.hidden} must be at least 1")

    @property
    def modality(self) -> str:
        """Which sides the model has, "audio", "text" or "audio+text": the column `features` of the results."""
        return "+".join(name for name in ("audio", "text") if getattr(self, name) is not None)

    @property
    def has_both(self) -> bool:
        """Whether the model has both sides."""
        return self.audio is not None and self.text is not None


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Parameters
    ----------
    epochs, patience : int
        At most so many epochs; over when the development CCC has not risen for `patience` of them.
    batch, accumulate : int
        Utterances in a batch on each device, and batches in a step. The loss is a CCC over all utterances of a step on
        a device, however many batches they come in (each is then computed twice, once for the loss). Several devices
        average the gradients of their own losses. A CCC over few utterances is noisy, and over one it is constant.
    audio_rate, text_rate, head_rate : float
        Highest learning rate of each encoder, and of the heads (pooling, fusion, and all that starts from nothing).
    decay : float
        Weight decay (AdamW), of matrices alone.
    warmup : float
        Share of the steps in which the rates rise; they fall along a line after that.
    layer_decay : float
        Rate of a block of an encoder as a share of that of the block behind it; 1 for one rate.
    weights : tuple of float
        Weight of each dimension's loss.
    mse_share : float
        Share of the mean squared error in the loss, in units of the labels' variance; 1 − CCC has the rest.
    teacher : str, optional
        Folder of a trained model whose predictions of the training part are learned beside the labels.
    teacher_share : float
        Share of the loss towards the teacher.
    reliability : bool
        Weigh each label by its reliability, from the spread and the number of its ratings
        (:func:`.raters.reliabilities`).
    mask_time, mask_features : float
        Share of the frames, and of the channels, of what the first block of the speech encoder is given that are hidden
        in training (:class:`.masking.Masking`).
    speeds : tuple of float
        Speeds at which an utterance is played in training, one of them drawn anew in each epoch; its pitch changes with
        it (Ko et al., "Audio augmentation for speech recognition", Interspeech 2015, with 0.9, 1 and 1.1).
    average : float
        What stays, at each step, of a running average of the weights, which is then what is scored and kept
        (:class:`.averaging.RunningAverage`); 0 for the weights themselves.
    lora : int, optional
        Rank of the updates that are trained in place of the encoders' weights (:class:`.adapters.Adapters`).
    longest : float
        Seconds of an utterance that training sees; of a longer one a cut is drawn anew in each epoch. Scores and
        predictions are of whole utterances.
    seed, seeds : int
        First seed and their number. A seed sets the new weights, the order and the dropout; folds follow `seed` alone.
    folds : int
        Folds that keep speakers and groups whole, where the corpus has no split or folds of its own.
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    resamples : int
        Bootstrap resamples of the speakers.
    precision : str
        "float32", "bfloat16" or "float16" (mixed precision: the weights stay in float32).
    checkpointing : bool
        Compute the blocks' activations again in the backward pass, for less memory.
    save_steps : int
        Steps between checkpoints, besides those at the end of each epoch.
    device : str
        "auto", "cpu", "cuda", "mps".
    workers : int, optional
        Processes that decode audio; by default 4 beside a GPU, and none on a CPU.
    memory : float
        GiB of decoded audio that is kept where no process decodes.
    """

    epochs: int = 30
    patience: int = 6
    batch: int = 32
    accumulate: int = 1
    audio_rate: float = 5e-5
    text_rate: float = 5e-5
    head_rate: float = 1e-3
    decay: float = 0.01
    layer_decay: float = 1.0
    warmup: float = 0.1
    weights: tuple[float, ...] = ()
    mse_share: float = 0.0
    teacher: str | None = None
    teacher_share: float = 0.5
    reliability: bool = False
    mask_time: float = 0.0
    mask_features: float = 0.0
    speeds: tuple[float, ...] = (1.0,)
    average: float = 0.0
    lora: int | None = None
    longest: float = field(default=12.0, metadata=called("cut", former="longest"))
    seed: int = 0
    seeds: int = 1
    folds: int = 5
    ungrouped: bool = False
    resamples: int = 2000
    precision: str = "float32"
    checkpointing: bool = False
    save_steps: int = 500
    device: str = "auto"
    workers: int | None = None
    memory: float = 2.0

    def __post_init__(self) -> None:
        one_of("--precision", (self.precision,), PRECISIONS)
        check_device(self.device)
        check_counts(self, "epochs", "patience", "batch", "accumulate", "seeds", "save_steps", least=1)
        if not 0 < self.longest < float("inf"):
            raise UserError(f"--cut {self.longest:g} must be a number of seconds above 0")
        for name in ("audio_rate", "text_rate", "head_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name):g} must be a number above 0")
        check_counts(self, "folds", "resamples", "workers", "decay")
        if self.batch * self.accumulate < 2:
            raise UserError(
                "--batch 1 with --accumulate 1: the loss is a CCC over the utterances of a step, which over one is "
                "constant and teaches nothing; give --batch 32, or --accumulate 32 where memory holds no more than one"
            )
        check_seed(self.seed, seeds=self.seeds)
        check_counts(self, "lora", least=1)
        _check_shares(self, "warmup", "mask_time", "mask_features", "average")
        _check_shares(self, "mse_share", "teacher_share", whole=True)
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"--layer-decay {self.layer_decay:g} must be above 0, and at most 1")
        _check_speeds(self.speeds)
        object.__setattr__(self, "speeds", (1.0,) if set(self.speeds) == {1.0} else tuple(self.speeds))
        if self.teacher is None and self.teacher_share != 0.5:
            raise UserError(f"--teacher-share {self.teacher_share:g} is of a teacher: name one with --teacher")
        if any(not weight >= 0 for weight in self.weights) or (self.weights and not sum(self.weights) > 0):
            raise UserError(f"--weights {self.weights} must be 0 or more, and not all 0")


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """How files are predicted.

    Attributes
    ----------
    overwrite : bool
        Start anew where there are predictions already.
    batch_seconds : float or None
        Most seconds of audio in a batch, padding included; chosen for the device if None.
    longest : float
        Seconds; longer files are left out, with that reason.
    workers : int
        Threads that decode ahead.
    """

    overwrite: bool = False
    batch_seconds: float | None = None
    longest: float = LONGEST_SECONDS
    workers: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "batch_seconds", "longest", "workers")


#: Settings that came after version 0.1: a record does not name them where they are at their default, so that a run or a
#: model from before is what it was.
LATER = (
    "keep_layers", "audio_window", "layer_decay", "mse_share", "teacher_share", "reliability", "mask_time",
    "mask_features", "speeds", "average", "lora",
)  # fmt: skip


def stated(settings: ModelSettings | TrainingSettings, *, without: Sequence[str] = ()) -> dict:
    """Settings as a record has them.

    Parameters
    ----------
    settings : ModelSettings or TrainingSettings
    without : sequence of str
        Fields that it does not name.
    """
    defaults = {field.name: field.default for field in fields(settings)}
    return {
        name: value
        for name, value in asdict(settings).items()
        if name not in without and not (name in LATER and value == defaults[name])
    }


#: What can show a training while it runs, and the package that it needs.
TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}


def refuse_absent_trackers(trackers: Sequence[str]) -> None:
    """Refuse a tracker that is not known or not installed, before anything is trained.

    Raises
    ------
    UserError
    """
    one_of("--report-to", trackers, tuple(TRACKERS))
    for tracker in trackers:
        if find_spec(TRACKERS[tracker]) is None:
            raise UserError(f"--report-to {tracker} needs a package: pip install {TRACKERS[tracker]}")


def _check_shares(settings: ModelSettings | TrainingSettings, *names: str, whole: bool = False) -> None:
    """Refuse a share that is none: from 0 to below 1, or to 1 where it may be the `whole`."""
    for name in names:
        share = getattr(settings, name)
        if not (0 <= share < 1 or (whole and share == 1)):
            most = "1" if whole else "below 1"
            raise UserError(f"--{name.replace('_', '-')} {share:g} must be from 0 to {most}")


def _check_speeds(speeds: tuple[float, ...]) -> None:
    for speed in speeds:
        if not (0.5 <= speed <= 2 and math.isclose(100 * speed, round(100 * speed))):
            raise UserError(f"--speeds {speed:g}: give speeds from 0.5 to 2, in hundredths, such as 0.9 1 1.1")
    if not speeds:
        raise UserError("--speeds: give a speed or more; 1 alone plays as it was recorded")


def refuse_in_vain(model: ModelSettings, training: TrainingSettings) -> None:
    """Refuse what would change nothing of this model's training, and what needs a package that is not installed.

    Raises
    ------
    UserError
    """
    heard = {"--mask-time": training.mask_time, "--mask-features": training.mask_features}
    asked = [option for option, share in heard.items() if share]
    if asked and "audio" in model.freeze:
        raise UserError(f"{asked[0]} hides input from an encoder that learns, and --freeze audio keeps it as it is")
    asked += ["--speeds"] if training.speeds != (1.0,) else []
    if asked and model.audio is None:
        raise UserError(f"{asked[0]} is of speech, and --audio is none: leave one of them out")
    learns = [side for side in ("audio", "text") if getattr(model, side) is not None and side not in model.freeze]
    if training.lora is not None and not learns:
        raise UserError("--lora is of encoders that are trained, and --freeze keeps all of them: leave one out")
    if training.lora is not None and find_spec("peft") is None:
        raise UserError(f"--lora {training.lora} needs peft: pip install 'emoprobe[lora]'")


def refuse_float16(training: TrainingSettings, kind: str) -> None:
    """Refuse half precision on a device of a kind ("cpu", "cuda", "mps") that does not train in it.

    Raises
    ------
    UserError
    """
    if training.precision == "float16" and kind == "cpu":
        raise UserError("--precision float16 is for a GPU: take bfloat16 or float32 here")


def one_of(flag: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that is not known.

    Raises
    ------
    UserError
    """
    for name in given:
        if name not in known:
            raise UserError(f"{flag} {name}: {meant(name, known)}")
