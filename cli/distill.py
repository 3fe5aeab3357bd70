"""``probe-distill``: distil a speech model into one of few blocks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.distil.settings import DistillSettings
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_counts
from emoprobe.ownership import refuse_inputs

from .command import CommandParser, add_keeping, add_reading, add_setting, reading, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Distil, or go on; return the exit status."""
    parser = CommandParser(
        prog="probe-distill", description="Distil a speech model into one of few blocks, as DistilHuBERT was made."
    )
    parser.add_argument("--teacher", default="hubert-nano", help="packaged model, folder or hub name (%(default)s)")
    parser.add_argument("--revision", help="of a teacher on the hub")
    parser.add_argument(
        "--corpus", default="demo", help="as in probe-extract, or a folder of packed speech; default %(default)s"
    )
    add_reading(parser)
    parser.add_argument("--out", type=Path, default=Path("student"), help="folder of the checkpoint (%(default)s)")
    parser.add_argument("--run", type=Path, help="folder of the training (default: OUT-run)")
    for name, meaning in (
        ("blocks", "of the student"),
        ("steps", "batches in all"),
        ("warmup", "steps over which the learning rate rises"),
        ("decay", "last steps, over which it falls to zero"),
        ("seed", "of heads and batches"),
        ("learning_rate", "between the two"),
        ("batch_seconds", "audio in a batch"),
        ("longest", "seconds of an utterance in training"),
    ):
        add_setting(parser, DistillSettings, name, help=f"{meaning} (default %(default)s)")
    add_setting(parser, DistillSettings, "layers", help="of the teacher, to predict (default: 4, 8, 12 of 12)")
    parser.add_argument("--half", action="store_true", help="store the weights in float16")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16, where the processor has it")
    parser.add_argument("--threads", type=int, help="of the processor")
    add_keeping(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    import torch

    from emoprobe.distil.checkpoint import check_export
    from emoprobe.distil.distiller import MADE_BY, distill, open_speech, save_student
    from emoprobe.extract.encoders.speech import load_backbone

    settings = settings_of(options, DistillSettings)
    check_counts(options, "threads", least=1)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    run = options.run or options.out.with_name(options.out.name + "-run")
    refuse_inputs([options.out], [options.teacher, options.corpus])
    refuse_inputs([run], [options.teacher, options.corpus, options.out], option="--run")
    check_export(options.out, option="--out", made_by=MADE_BY)  # before hours of training
    teacher = load_backbone(options.teacher, revision=options.revision)
    lengths, read = open_speech(options.corpus, **reading(options), say=print)
    print(f"teacher {teacher.label}: {teacher.n_layers - 1} blocks of width {teacher.width}")
    print(f"speech: {len(lengths)} utterances, {lengths.sum() / SAMPLE_RATE / 3600:.2f} hours")
    student = distill(
        teacher,
        lengths,
        read,
        run,
        settings,
        save_steps=options.save_steps,
        log_steps=options.log_steps,
        bf16=options.bf16,
        say=lambda line: print(line, flush=True),
    )
    save_student(student, options.out, normalise=teacher.normalise, half=options.half)
    size = sum(p.numel() for p in student.parameters())
    print(f"student: {settings.blocks} blocks, {size:,} parameters, in {options.out}; training log {run / 'log.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
