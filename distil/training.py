"""A training that a kill cannot lose: transformers' Trainer over ready batches, in a run folder that is its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from emoprobe.checkpoints import cut_log, last_whole_checkpoint
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.jsontext import null_for_nan, to_json

#: What the training of a run writes.
RUN_FILES = ("log.jsonl", "precision.json", "precision_teacher.json", "checkpoints/checkpoint-*/**")


def of_speech(samples, read) -> dict:
    """What tells one set of utterances from another in the record of a run.

    Parameters
    ----------
    samples : sequence of int
        Length of each utterance.
    read : callable
        From number to waveform.

    Returns
    -------
    dict
        How many there are, and hashes of their lengths and of the sound of sixteen, spread over all.
    """
    import numpy as np

    lengths = np.ascontiguousarray(samples, "<i8")
    sound = hashlib.sha256()
    for index in np.unique(np.linspace(0, len(lengths) - 1, 16).astype(int)):
        sound.update(np.ascontiguousarray(read(int(index))).tobytes())
    return {
        "utterances": len(lengths),
        "lengths_sha256": hashlib.sha256(lengths.tobytes()).hexdigest(),
        "sound_sha256": sound.hexdigest(),
    }


def last_checkpoint(run: Path, *, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest finished checkpoint of a run; one that a kill or a full disk tore is removed, and `say` is told."""
    return last_whole_checkpoint(run / "checkpoints", stops_early=False, say=say)


def trainer_for(
    model,
    dataset,
    run: Path,
    settings,
    *,
    stop: int,
    save_steps: int,
    log_steps: int,
    bf16: bool,
    say: Callable[[str], None] = lambda line: None,
):
    """transformers' Trainer over ready batches in their order, with a log in JSON lines, told to `say` too."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainerCallback, TrainingArguments

    log = run / "log.jsonl"
    began = {"time": time.time()}

    class Log(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            cut_log(log, step=state.global_step)
            began["time"] = time.time()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                line = {"step": state.global_step, "loss": round(logs["loss"], 4)}
                line["learning_rate"] = logs.get("learning_rate")
                line |= model.report() | {"seconds": round(time.time() - began["time"], 1)}
                with log.open("a") as file:
                    file.write(to_json(null_for_nan(line)) + "\n")
                say(to_json(null_for_nan(line)))
                began["time"] = time.time()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step >= stop:
                control.should_save = control.should_training_stop = True
            return control

    class InOrder(Trainer):
        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

    arguments = TrainingArguments(
        output_dir=str(run / "checkpoints"),
        max_steps=settings.steps,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": min(settings.decay, settings.steps - 1), "decay_type": "linear"},
        warmup_steps=min(settings.warmup, max(1, settings.steps // 5)),
        weight_decay=settings.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        save_steps=save_steps,
        save_total_limit=2,
        logging_steps=log_steps,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
    )
    return InOrder(
        model=model, args=arguments, train_dataset=dataset, data_collator=lambda rows: rows[0], callbacks=[Log()]
    )


def checked(encoder, batches, record: Path, *, device, bf16: bool, say: Callable[[str], None] = lambda line: None):
    """Context of a training under autocast to bfloat16, before which the encoder is compared with float32 on the CPU.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
    batches : Dataset
        Of the training; a short part of the first is computed both ways.
    record : Path
        Where the outcome is kept (:func:`emoprobe.extract.precision.train_checked`).
    device : torch.device
        Of the training.
    bf16 : bool
        Without it there is nothing to compare.
    say : callable
        Told of the outcome.

    Raises
    ------
    UserError
        If a layer is far off.
    """
    from emoprobe.extract.precision import train_checked

    def states():
        short = batches[0]["waves"][:4, : 2 * SAMPLE_RATE]
        layers = encoder(short.to(encoder.device), output_hidden_states=True).hidden_states
        return {f"layer {k}": layer.flatten(0, 1) for k, layer in enumerate(layers)}

    return train_checked(
        encoder,
        states,
        record=record,
        device=device,
        precision="bfloat16" if bf16 else "float32",
        remedy=("Leave out --bf16" if bf16 else "Set CUDA_VISIBLE_DEVICES=-1 to train on the CPU")
        + ", and name another folder for the run",
        say=say,
    )


def load_weights(model, checkpoint: Path) -> None:
    """Read a checkpoint's weights into a model of the same settings; every weight, and no other."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
