"""transformers' Trainer for one model: two learning rates, batches of like length, CCC on the development part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model as load_model_weights
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments
from transformers.trainer_callback import TrainerState

from emoprobe.allocation import keeping_memory
from emoprobe.checkpoints import last_whole_checkpoint, problem_of_weights
from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.precision import States, train_checked, valid_rows
from emoprobe.jsontext import from_json
from emoprobe.probe.metrics import ccc

from .averaging import AveragingTrainer, take_average
from .callbacks import CheckpointPause, EpochSampler, GradientWatch, LogLines, StepBar, tracker_callbacks
from .data import Collator, LengthGrouped, Utterances
from .model import AudioTextModel
from .rates import parameter_groups
from .settings import TrainingSettings, refuse_float16
from .step import Part, Watch, joint_gradients, predict, refuse_steps_in_vain, restore_random_state, steps_in_vain
from .workers import fitting_workers, free_shared_memory, local_processes, told_of_dead_workers

if TYPE_CHECKING:
    from torch.utils.data import Dataset
    from transformers import EvalPrediction

# Utterances and seconds of each on which reduced precision is compared with float32 before training.
_CHECKED_UTTERANCES, _CHECKED_SECONDS = 4, 2.0


@dataclass(frozen=True)
class Trained:
    """How a training ended.

    Attributes
    ----------
    score : float
        Best development CCC, the mean over dimensions; the weights are of that epoch.
    best_step, steps, epochs : int
        The step of the best score, and where training ended.
    precision_check : dict or None
        How far reduced precision was from float32 (:class:`emoprobe.extract.precision.PrecisionCheck`).
    """

    score: float
    best_step: int
    steps: int
    epochs: int
    precision_check: dict | None = None


class EmotionTrainer(AveragingTrainer):
    """Trainer whose heads learn faster than its encoders, and whose order of batches is a function of seed and epoch.

    The loss of a step is a CCC over all utterances of the step that this process has, in however many batches.

    Parameters
    ----------
    training : TrainingSettings
    sampler : LengthGrouped
        Of the training items.
    watch : Watch
        Told the losses of every step.
    **kwargs
        Of `transformers.Trainer`.
    """

    model: AudioTextModel

    def __init__(self, *, training: TrainingSettings, sampler: LengthGrouped, watch: Watch, **kwargs: Any) -> None:
        self.training, self.sampler, self.watch = training, sampler, watch
        self._batches: list[dict[str, torch.Tensor]] = []
        self._parts: list[Part] = []
        self._losses = torch.empty(0)
        super().__init__(decay=training.average, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list, torch.Tensor | int | None]:
        """Fetch the batches of a step, and keep them for its loss."""
        self._batches, count = super().get_batch_samples(*args, **kwargs)
        self._parts = []
        return self._batches, count

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002 - as Trainer has it
    ) -> torch.Tensor:
        """Add up what one batch has in the gradient of its step; return its share of the step's loss."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        if len(self._batches) == 1:
            losses = self.model.losses(predict(model, inputs), inputs["labels"])
            loss, self._losses = losses.sum(), losses.detach()
            self._watch_losses()
        else:
            if not self._parts:
                batches = [self._prepare_inputs(batch) for batch in self._batches]
                self._losses, self._parts = joint_gradients(model, batches, self.model)
                self._watch_losses()
            part = self._parts.pop(0)
            restore_random_state(part.random, part.gradient.device)
            loss = (predict(model, inputs) * part.gradient).sum()
        self.accelerator.backward(loss)
        return self._losses.sum() / len(self._batches)

    def _watch_losses(self) -> None:
        self.watch.losses(self._losses.tolist(), self.state.global_step + 1)

    def create_optimizer(
        self,
        model: torch.nn.Module | None = None,  # noqa: ARG002 - as Trainer has it
    ) -> torch.optim.Optimizer:
        """AdamW, on the groups of :func:`.rates.parameter_groups`."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(parameter_groups(self.model, self.training))
        return self.optimizer

    def _get_train_sampler(
        self,
        train_dataset: Dataset | None = None,  # noqa: ARG002 - as Trainer has it
    ) -> LengthGrouped:
        return self.sampler


def train_one(
    model: AudioTextModel,
    *,
    train: Utterances,
    development: Utterances,
    collate: Collator,
    training: TrainingSettings,
    seed: int,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    trackers: Sequence[str] = (),
) -> Trained:
    """Train one model, or go on where it was stopped; its best epoch's weights are in `model` afterwards.

    Parameters
    ----------
    model : AudioTextModel
        With the weights it starts from.
    train, development : Utterances
    collate : Collator
    training : TrainingSettings
    seed : int
        Of order, cuts and dropout.
    folder : Path
        Holds `checkpoints/` and `log.jsonl`.
    say : callable
        Told the development score of each epoch.
    progress : bool
        Show bars.
    trackers : sequence of str
        Where to report each epoch, too (:data:`.settings.TRACKERS`).

    Returns
    -------
    Trained
        What became of it.

    Raises
    ------
    UserError
        If the steps hold too little to learn from, the loss is not a number, the gradient stays zero, a process that
        decodes has died, no epoch has a score, or the precision asked for does not compute what float32 on the CPU
        computes (:mod:`emoprobe.extract.precision`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = model.settings.dimensions
    arguments = _arguments(training, seed=seed, folder=folder)
    processes = arguments.world_size
    sampler = LengthGrouped(
        train.lengths(), training.batch * training.accumulate * processes, seed=seed, fewest=2 * processes
    )
    in_vain, in_epoch = steps_in_vain(
        train.labels[train.rows[[index % len(train) for index in sampler]], : len(labels)],
        batch=training.batch,
        accumulate=training.accumulate,
        processes=processes,
    )
    for note in refuse_steps_in_vain(in_vain, in_epoch, labels):
        say(f"note: {note}")
    batches = math.ceil(len(sampler) / (training.batch * processes))
    steps = math.ceil(batches / training.accumulate)
    arguments.warmup_steps = math.ceil(training.warmup * steps * training.epochs)
    longest = max(train.lengths() + development.lengths()) if model.audio is not None else 0
    _limit_workers(arguments, training, longest, say)
    if training.checkpointing:
        model.checkpoint_blocks()
    watch = Watch(labels, training, steps=steps, place=str(folder))
    trainer = EmotionTrainer(
        training=training,
        sampler=sampler,
        watch=watch,
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=development,
        data_collator=collate,
        compute_metrics=lambda outcome: _development_scores(model, outcome, labels),
        callbacks=[
            EpochSampler(sampler),
            GradientWatch(watch),
            LogLines(folder / "log.jsonl", say),
            CheckpointPause(training.save_steps),
            EarlyStoppingCallback(early_stopping_patience=training.patience),
        ],
    )
    # What is logged goes to the file and, in one line an epoch, to `say`.
    trainer.remove_callback(PrinterCallback)
    for callback in [*([StepBar()] if progress else []), *tracker_callbacks(trackers, folder)]:
        trainer.add_callback(callback)
    record = folder / "precision.json"
    checkpoint = last_whole_checkpoint(folder / "checkpoints", clean=arguments.should_save, say=say)
    if checkpoint is not None and _is_over(checkpoint, training):
        trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    else:
        if checkpoint is not None:
            say(f"  going on from step {checkpoint.name.rsplit('-', 1)[1]}")
        batch = _short_batch(train, sampler, collate)
        instead = "--device cpu" if training.precision == "float32" else "--precision float32"
        with (
            train_checked(
                model,
                lambda: _states(model, batch),
                record=record,
                device=arguments.device,
                precision=training.precision,
                remedy=f"Use {instead} with --overwrite",
                say=lambda line: say(f"  {line}"),
                write=arguments.should_save,
            ),
            told_of_dead_workers(),
            keeping_memory(arguments.device.type),
        ):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            # Trainer leaves its autocast around the model, and what is predicted from here on is in float32.
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    state = trainer.state
    if state.best_metric is None or state.best_global_step is None or not math.isfinite(state.best_metric):
        raise UserError(
            f"{folder}: training has no development score: the development part has no label, or only one value, of "
            "every dimension, or the predictions became infinite (lower the learning rates)"
        )
    best = folder / "checkpoints" / Path(state.best_model_checkpoint or "").name / "model.safetensors"
    if problem := problem_of_weights(best):  # transformers goes on with the last weights where they are missing
        raise UserError(f"{best} {problem}: remove {folder}, and the same command trains this seed and fold again")
    load_model_weights(model, str(best))
    if training.average:
        take_average(model, best.parent)
    trainer.accelerator.wait_for_everyone()
    epochs = round(state.epoch or 0)
    check: Any = from_json(record.read_text(encoding="utf-8")) if record.exists() else None
    return Trained(float(state.best_metric), int(state.best_global_step), int(state.global_step), epochs, check)


def _short_batch(train: Utterances, sampler: LengthGrouped, collate: Collator) -> dict[str, torch.Tensor]:
    """The first utterances of the training, cut short: each to another length, so that padding takes part."""
    items = [train[index] for index in islice(sampler, _CHECKED_UTTERANCES)]
    for place, item in enumerate(items):
        if "waveform" in item:
            seconds = _CHECKED_SECONDS * (1 - place / (2 * _CHECKED_UTTERANCES))
            item["waveform"] = item["waveform"][: int(seconds * SAMPLE_RATE)]
        item.pop("labels")
    return collate(items)


def _states(model: AudioTextModel, batch: dict[str, torch.Tensor]) -> States:
    """Every layer of the encoders, and what goes into the head."""
    device = model.label_mean.device
    batch = {name: values.to(device) for name, values in batch.items()}
    states: States = {}
    if model.audio is not None:
        backbone, samples = model.audio.backbone, batch["samples"].tolist()
        frames = [backbone.frames(n) for n in samples]

        def see(layer: int, seen: torch.Tensor) -> None:
            states[f"layer {layer} ({backbone.layer_names[layer]})"] = valid_rows(seen.clone(), frames)

        backbone.forward(batch["waveforms"], samples, see)
    if model.text is not None:
        mask = batch["attention_mask"]
        layers = model.text(input_ids=batch["input_ids"], attention_mask=mask, output_hidden_states=True).hidden_states
        lengths = mask.sum(1).tolist()
        states |= {f"layer {k} of the text encoder": valid_rows(layer, lengths) for k, layer in enumerate(layers)}

    def see_head(_head: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        # A model that hears and reads calls its head twice: with what was said, and without.
        name = "the input of the head"
        name = f"{name} without words" if name in states else name
        states[name] = inputs[0].reshape(-1, 1)  # too few rows for an error of each dimension

    hook = model.head.register_forward_pre_hook(see_head)
    try:
        model(**batch)
    finally:
        hook.remove()
    return states


def _limit_workers(
    arguments: TrainingArguments, training: TrainingSettings, longest: int, say: Callable[[str], None]
) -> None:
    """Take as many processes that decode as the shared memory has room for; `longest` is in samples."""
    workers, note = fitting_workers(
        arguments.dataloader_num_workers,
        batch_bytes=training.batch * longest * torch.float32.itemsize,
        accumulate=training.accumulate,
        free=free_shared_memory() / local_processes(),
    )
    arguments.dataloader_num_workers = workers
    if note:
        say(f"note: {note}")


def _is_over(checkpoint: Path, training: TrainingSettings) -> bool:
    """Whether the run had ended when this was written, and only what follows was cut short."""
    state: Any = from_json(
        (checkpoint / "trainer_state.json").read_text()
    )  # of a whole checkpoint: its fields are there
    stopping = state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]
    waited = stopping["early_stopping_patience_counter"] >= training.patience
    return waited or state["epoch"] >= training.epochs


def _arguments(training: TrainingSettings, *, seed: int, folder: Path) -> TrainingArguments:
    from emoprobe.extract.devices import choose_device

    device = choose_device(training.device)
    refuse_float16(training, device.type)
    workers = training.workers if training.workers is not None else (4 if device.type == "cuda" else 0)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch,
        per_device_eval_batch_size=training.batch,
        gradient_accumulation_steps=training.accumulate,
        learning_rate=training.head_rate,
        lr_scheduler_type="linear",
        weight_decay=training.decay,
        max_grad_norm=1.0,
        bf16=training.precision == "bfloat16",
        fp16=training.precision == "float16",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        logging_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="ccc",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        seed=seed,
        use_cpu=device.type == "cpu",
        dataloader_num_workers=workers,
        # Each epoch begins with a draw for its workers. Persistent ones are drawn for once, and after a resumption the
        # dropout would be another than that of a run that was never stopped.
        dataloader_persistent_workers=False,
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        # A side that every utterance of a batch lacks, or that modality dropout hid, has no gradient in it.
        ddp_find_unused_parameters=True,
        report_to=[],  # what reports is added with the other callbacks
        run_name=f"{folder.parents[1].name} {folder.name}",
        disable_tqdm=True,  # bars are drawn in one place
    )
    if arguments.n_gpu > 1:
        # One process with several GPUs would copy the model by threads, which its hooks on layers do not survive;
        # several processes, by `accelerate launch`, are faster as well.
        arguments._n_gpu = 1  # noqa: SLF001 - TrainingArguments offers no other way
    return arguments


def _development_scores(
    model: AudioTextModel, outcome: EvalPrediction, dimensions: tuple[str, ...]
) -> dict[str, float]:
    """CCC of each dimension that has one, and their mean."""
    logits = outcome.predictions[0] if isinstance(outcome.predictions, tuple) else outcome.predictions
    mean, spread = model.label_mean.cpu().numpy(), model.label_spread.cpu().numpy()
    scores = ccc(np.asarray(outcome.label_ids).T, (mean + spread * np.asarray(logits, np.float64)).T)
    named = {name: float(score) for name, score in zip(dimensions, scores, strict=True) if math.isfinite(score)}
    overall = sum(named.values()) / len(named) if named else -math.inf
    return {"ccc": overall, **{f"ccc_{name}": score for name, score in named.items()}}
