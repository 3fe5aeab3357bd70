"""Distil a speech model into one of two blocks: the command ``probe-distill``.

DistilHuBERT (Chang, Yang and Lee, ICASSP 2022): the student is the teacher's front end and first two blocks; a linear
head for each of the teacher's layers 4, 8 and 12 of 12 (scaled to its depth) predicts that layer from the student's
output; the loss is the L1 distance plus the negative log-sigmoid of the cosine, summed over the layers.  The heads are
left out of the checkpoint.  Utterances of like length are cut to the shortest, so nothing is padded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emoprobe.claims import alone, claim
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_count, check_counts, check_positive, check_seed

from .checkpoint import export
from .training import RUN_FILES, checked, last_checkpoint, load_weights, of_speech, trainer_for

MADE_BY = "probe-distill"


@dataclass(frozen=True)
class DistillSettings:
    """What the student is a function of, besides teacher and speech."""

    blocks: int = 2
    layers: tuple[int, ...] = ()
    """Teacher's layers to predict; empty: 4, 8 and 12 of 12, scaled to its depth."""
    cosine_weight: float = 1.0
    batch_seconds: float = 24.0
    longest: float = 6.0
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


def predicted_layers(blocks: int) -> tuple[int, ...]:
    """Layers of a teacher of so many blocks that stand where 4, 8 and 12 stand in one of twelve."""
    return tuple(sorted({max(1, round(blocks * part / 12)) for part in (4, 8, 12)}))


class Crops:
    """Batch i of the run as a map-style dataset: waveforms of one length; a function of the seed and i alone.

    Parameters
    ----------
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From an utterance's number to its waveform (float32, as it comes from the file).
    shortest : int
        Utterances shorter than this many samples are left out.
    """

    def __init__(self, lengths, read, settings: DistillSettings, *, prepare, shortest: int):
        import numpy as np

        self.lengths, self.read, self.settings, self.prepare = np.asarray(lengths), read, settings, prepare
        order = np.argsort(self.lengths, kind="stable")
        self.order = order[self.lengths[order] >= shortest]
        if not len(self.order):
            raise UserError("the corpus has no utterance long enough for the teacher")

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step):
        import numpy as np
        import torch

        s = self.settings
        rng = np.random.default_rng([s.seed, 13, step])
        first = int(rng.integers(len(self.order)))
        length = min(int(self.lengths[self.order[first]]), int(s.longest * SAMPLE_RATE))
        count = max(1, round(s.batch_seconds * SAMPLE_RATE / length))
        waves = []
        for index in self.order[first : first + count]:
            wave = self.read(int(index))[: self.lengths[index]]
            start = int(rng.integers(len(wave) - length + 1))
            waves.append(self.prepare(wave[start : start + length].astype(np.float32)))
        return {"waves": torch.from_numpy(np.stack(waves))}


def student_of(model, blocks: int):
    """A model of the teacher's class with its front end and first blocks, weights copied.

    Raises
    ------
    UserError
        If the teacher has fewer blocks.
    """
    if not 1 <= blocks <= model.config.num_hidden_layers:
        raise UserError(f"the teacher has {model.config.num_hidden_layers} blocks: --blocks must be 1 to that")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = blocks
    student = type(model)(config)
    wanted = student.state_dict()
    weights = {name: value for name, value in model.state_dict().items() if name in wanted}
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise UserError(f"the teacher lacks the weights {', '.join(missing[:3])}: its architecture is not supported")
    student.load_state_dict(weights)
    return student


def build_distiller(teacher, settings: DistillSettings):
    """Module of the student with its heads, whose forward pass gives the loss against the teacher's states."""
    import torch
    from torch import nn

    if not teacher.reads_waveform:
        raise UserError(
            f"{teacher.label} takes log-mel features; give a teacher that reads the waveform, as HuBERT does"
        )
    layers = settings.layers or predicted_layers(teacher.n_layers - 1)
    if any(not 1 <= layer < teacher.n_layers for layer in layers):
        raise UserError(f"layers {layers} are not all among 1 to {teacher.n_layers - 1} of the teacher")
    # A pre-norm model's states grow with depth: each layer is brought to unit size, or the last would drown the rest.
    scaled = bool(getattr(teacher.config, "do_stable_layer_norm", False))

    class Distiller(nn.Module):
        def __init__(self):
            super().__init__()
            self.student = student_of(teacher.model, settings.blocks)
            self.student.config.apply_spec_augment = False
            self.student.config.layerdrop = 0.0
            if hasattr(self.student, "set_attn_implementation"):
                self.student.set_attn_implementation("eager")
            width = teacher.config.hidden_size
            self.heads = nn.ModuleList(nn.Linear(width, width) for _ in layers)
            self.register_buffer("size", torch.zeros(len(layers)))
            self.seen: list = []
            self.student.encoder.layers[-1].register_forward_hook(
                lambda _, __, out: self.seen.append(out[0] if isinstance(out, tuple) else out)
            )
            # In a list, so that it is no part of this module and of its checkpoints.
            self.teacher = [teacher]
            self.tally: dict[str, list[float]] = {}

        def targets(self, waves):
            found = {}
            with torch.no_grad():
                self.teacher[0].to(waves.device)
                self.teacher[0].walk(list(waves.cpu().numpy()), lambda k, states: found.__setitem__(k, states.float()))
            stacked = [found[layer] for layer in layers]
            if scaled and not bool(self.size.any()):
                self.size.copy_(torch.stack([states.pow(2).mean().sqrt() for states in stacked]))
            return [s / self.size[i] for i, s in enumerate(stacked)] if scaled else stacked

        def forward(self, waves):
            targets = self.targets(waves)
            self.seen.clear()
            self.student(waves)
            output = self.seen.pop()
            loss = waves.new_zeros(())
            for layer, head, target in zip(layers, self.heads, targets, strict=True):
                predicted = head(output).float()
                distance = nn.functional.l1_loss(predicted, target)
                cosine = nn.functional.cosine_similarity(predicted, target, dim=-1)
                loss = loss + distance - settings.cosine_weight * nn.functional.logsigmoid(cosine).mean()
                for name, value in (("l1", distance), ("cosine", cosine.mean())):
                    sums = self.tally.setdefault(f"layer{layer}_{name}", [0.0, 0.0])
                    sums[0] += float(value.detach())
                    sums[1] += 1.0
            return {"loss": loss}

        def report(self) -> dict[str, float]:
            out = {name: round(total / count, 4) for name, (total, count) in sorted(self.tally.items())}
            self.tally.clear()
            return out

    torch.manual_seed(settings.seed)
    return Distiller()


def open_speech(
    spec: str,
    *,
    keep_words: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
):
    """Speech to distil on: lengths in samples, and a function from number to waveform.

    Parameters
    ----------
    spec : str
        Anything that ``probe-extract --corpus`` takes (its test rows are left out), or a store of packed speech.
    keep_words, columns
        As :func:`.extract.corpora.read_corpus` takes them.
    say : callable
        Told of notes on the corpus, and of how many files are left out.
    """
    import numpy as np

    if (Path(spec) / "index.npz").is_file():
        from .store import open_store

        store = open_store(Path(spec))
        return np.diff(store.offsets), lambda i: store.wave(i).astype(np.float32) / 32768
    from emoprobe.extract.audio import AudioHeader, AudioProblem, Kept, read_audio
    from emoprobe.extract.clips import told_of_clips
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.corpora.places import places
    from emoprobe.extract.scan import read_headers

    corpus = read_corpus(spec, keep_words=keep_words, columns=columns)
    for note in corpus.notes:
        say(f"note: {note}")
    table = corpus.utterances
    table = table[~table["split"].str.startswith("test")]
    utterances = list(dict.fromkeys(zip(table["path"], places(table), strict=True)))
    paths, parts = [path for path, _ in utterances], [part for _, part in utterances]
    headers = told_of_clips(paths, parts, read_headers(paths, parts))
    speech = [
        (path, header) for (path, _), header in zip(utterances, headers, strict=True) if isinstance(header, AudioHeader)
    ]
    if len(speech) < len(utterances):
        say(f"{len(utterances) - len(speech)} of {len(table)} files cannot be read and are left out")
    if not speech:
        raise UserError(f"{spec}: no file of the corpus (its test split aside) can be read")
    kept = Kept()

    def read(index: int) -> np.ndarray:
        path, header = speech[index]
        try:
            return read_audio(path, header, kept)
        except AudioProblem as problem:
            raise UserError(f"{path}: {problem}; take it out of the corpus") from problem

    return np.array([header.samples for _, header in speech]), read


def distill(
    teacher,
    lengths,
    read,
    run: Path,
    settings: DistillSettings = DistillSettings(),
    *,
    save_steps: int = 200,
    log_steps: int = 50,
    bf16: bool = False,
    say: Callable[[str], None] = lambda line: None,
):
    """Train a student, or go on training it, in a run folder that is its own.

    Parameters
    ----------
    teacher : emoprobe.extract.encoders.speech.Backbone
    lengths : sequence of int
        Samples of each utterance.
    read : callable
        From number to waveform.
    run : Path
        Holds checkpoints, ``log.jsonl`` and ``settings.json``. A run goes on with the same settings, teacher and
        speech alone.

    Returns
    -------
    transformers.PreTrainedModel
        The student without heads.

    Raises
    ------
    UserError
        If the folder is of another run or in use, or the settings do not fit the teacher.
    """
    run = Path(run)
    check_count("save-steps", save_steps, least=1)
    check_count("log-steps", log_steps, least=1)
    with alone(run, option="--run"):
        return _distill(
            teacher, lengths, read, run, settings, save_steps=save_steps, log_steps=log_steps, bf16=bf16, say=say
        )


def _distill(teacher, lengths, read, run: Path, settings: DistillSettings, *, save_steps, log_steps, bf16, say):
    """:func:`distill`, once the folder is its own."""
    model = build_distiller(teacher, settings)
    claim(
        run,
        asdict(settings) | {"teacher": teacher.provenance(), "speech": of_speech(lengths, read), "bf16": bf16},
        record="settings.json",
        own=RUN_FILES,
        option="--run",
        before=lambda record: record if {"blocks", "teacher"} <= set(record) else None,
    )
    batches = Crops(lengths, read, settings, prepare=teacher.prepare, shortest=teacher.receptive_field)
    found = last_checkpoint(run, say=say)
    if found and int(found.name.rsplit("-", 1)[1]) >= settings.steps:
        load_weights(model, found)
    else:
        trainer = trainer_for(
            model,
            batches,
            run,
            settings,
            stop=settings.steps,
            save_steps=save_steps,
            log_steps=log_steps,
            bf16=bf16,
            say=say,
        )
        how = {"device": trainer.args.device, "bf16": bf16, "say": say}
        with (
            checked(model.student, batches, run / "precision.json", **how),
            checked(teacher.model, batches, run / "precision_teacher.json", **how),
        ):
            trainer.train(resume_from_checkpoint=str(found) if found else None)
    return model.student.cpu().eval()


def save_student(student, folder: Path, *, normalise: bool, half: bool) -> Path:
    """Write the student as a checkpoint that transformers loads, with its preprocessor."""
    return export(student, folder, normalise=normalise, half=half, made_by=MADE_BY)
