"""``probe-distill``: distil a speech model into one of few blocks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.distil.settings import DistillSettings, Running
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_counts
from emoprobe.ownership import refuse_inputs

from .command import CommandParser, add_keeping, add_reading, add_setting, reading, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Distil, or go on; return the exit status."""
    parser = CommandParser(
        prog="probe-distill",
        description="Distil a speech model into one of few blocks, as DistilHuBERT was made; or teach a given student, "
        "layer by layer, by any other model.",
    )
    parser.add_argument("--teacher", default="hubert-nano", help="packaged model, folder or hub name (%(default)s)")
    parser.add_argument("--revision", help="of a teacher on the hub")
    parser.add_argument(
        "--student",
        help="whose weights to go on from: packaged model, folder or hub name (default: the teacher's first blocks)",
    )
    parser.add_argument(
        "--corpus", default="demo", help="as in probe-extract, or a folder of packed speech; default %(default)s"
    )
    add_reading(parser)
    parser.add_argument("--out", type=Path, default=Path("student"), help="folder of the checkpoint (%(default)s)")
    parser.add_argument("--run", type=Path, help="folder of the training (default: OUT-run)")
    for name, meaning in (
        ("blocks", "of a student that is made of the teacher"),
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
    add_setting(
        parser,
        DistillSettings,
        "map",
        metavar="STUDENT:TEACHER",
        help="which layer of --student tells which of the teacher, such as 3:1 6:2 (default: four at the same depth)",
    )
    add_setting(
        parser,
        DistillSettings,
        "noise",
        help="share of batches in which --student hears noise that the teacher does not (default %(default)s)",
    )
    add_setting(
        parser, Running, "budget", metavar="SECONDS", help="of teaching --student, after which it ends by itself"
    )
    parser.add_argument("--half", action="store_true", help="store the weights in float16")
    add_setting(parser, Running, "bf16", help="autocast to bfloat16, where the processor has it")
    parser.add_argument("--threads", type=int, help="of the processor")
    add_keeping(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    import torch

    from emoprobe.distil.card import card
    from emoprobe.distil.checkpoint import CARD, EXPORTED, check_export
    from emoprobe.distil.distiller import MADE_BY, distill, open_speech, save_student
    from emoprobe.distil.following import follow, pairs_of
    from emoprobe.errors import UserError
    from emoprobe.extract.encoders.speech import load_backbone

    settings = settings_of(options, DistillSettings)
    check_counts(options, "threads", least=1)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    run = options.run or options.out.with_name(options.out.name + "-run")
    refuse_inputs([options.out], [options.teacher, *_given(options.student), options.corpus])
    refuse_inputs([run], [options.teacher, *_given(options.student), options.corpus, options.out], option="--run")
    # Before hours of training.
    check_export(options.out, option="--out", made_by=MADE_BY, names=(*EXPORTED, CARD))
    teacher = load_backbone(options.teacher, revision=options.revision)
    student = load_backbone(options.student) if options.student else None
    if student is None and not teacher.reads_waveform:
        raise UserError(
            f"{teacher.label} takes log-mel features, and a student made of it would too: give the student that it is "
            "to teach, --student hubert-nano for one"
        )
    if student is None and (settings.map or settings.noise or options.budget is not None):
        raise UserError("--map, --noise and --budget are for a student that is given: add --student NAME")
    lengths, read = open_speech(options.corpus, **reading(options), say=print)
    hours = float(lengths.sum()) / SAMPLE_RATE / 3600
    print(f"teacher {teacher.label}: {teacher.n_layers - 1} blocks of width {teacher.width}")
    print(f"speech: {len(lengths)} utterances, {hours:.2f} hours")
    running = settings_of(options, Running)

    def say(line: str) -> None:
        print(line, flush=True)

    if student is None:
        pairs: tuple[tuple[int, int], ...] = ()
        taught = distill(
            teacher,
            lengths,
            read,
            run,
            settings,
            save_steps=options.save_steps,
            log_steps=options.log_steps,
            bf16=options.bf16,
            say=say,
        )
    else:
        pairs = pairs_of(settings, student, teacher)
        taught = follow(teacher, student, lengths, read, run, settings, running=running, say=say)
    told = card(
        teacher, settings, student=student, pairs=pairs, corpus=options.corpus, utterances=len(lengths), hours=hours
    )
    save_student(taught, options.out, normalise=(student or teacher).normalise, half=options.half, card=told)
    size = sum(p.numel() for p in taught.parameters())
    depth = taught.config.num_hidden_layers
    print(f"student: {depth} blocks, {size:,} parameters, in {options.out}; training log {run / 'log.jsonl'}")
    return 0


def _given(name: str | None) -> list[str]:
    """The option's value, where there is one."""
    return [name] if name else []


if __name__ == "__main__":
    sys.exit(main())
