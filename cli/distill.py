"""``probe-distill``: distil a speech model into one of few blocks."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.distil.settings import DistillSettings, Running
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.options import check_counts
from emoprobe.ownership import refuse_inputs

from .command import CommandParser, add_keeping, add_output, add_reading, add_setting, reading, settings_of, tell_end
from .running import run_command

_EPILOG = """\
examples:
  emoprobe distill --corpus ratings.csv --out student
  emoprobe distill --teacher hubert-base --blocks 2 --steps 20000 --corpus ratings.csv
  emoprobe distill --teacher whisper-tiny-en --student hubert-nano --map 3:1 6:2 --budget 3600

Run the same command again after an interruption: it goes on from its last checkpoint.
"""


def main(arguments: list[str] | None = None) -> int:
    """Distil, or go on; return the exit status."""
    parser = CommandParser(
        prog="probe-distill",
        description="Distil a speech model into one of few blocks, as DistilHuBERT was made; or teach a given student, "
        "layer by layer, by any other model.",
        epilog=_EPILOG,
    )
    what = parser.add_argument_group("what")
    what.add_argument(
        "--teacher",
        default="hubert-nano",
        metavar="NAME",
        help="learn from this packaged model, folder or hub name (default: %(default)s)",
    )
    what.add_argument("--revision", metavar="REV", help="take this branch, tag or commit of a teacher on the hub")
    what.add_argument(
        "--student",
        metavar="NAME",
        help="go on from the weights of this packaged model, folder or hub name (default: the teacher's first blocks)",
    )
    what.add_argument(
        "--corpus",
        default="demo",
        metavar="CORPUS",
        help="hear this corpus, as in emoprobe extract, or a folder of packed speech (default: %(default)s)",
    )
    add_reading(what)
    add = partial(add_setting, parser.add_argument_group("what the student is"), DistillSettings)
    add("blocks", metavar="N", help="give a student that is made of the teacher N blocks (default: %(default)s)")
    add("layers", metavar="LAYER", help="predict these layers of the teacher (default: 4, 8, 12 of 12)")
    add(
        "map",
        metavar="STUDENT:TEACHER",
        help="say which layer of --student tells which of the teacher, such as 3:1 6:2 (default: four at the same "
        "depth)",
    )
    how = parser.add_argument_group("how it is taught")
    add = partial(add_setting, how, DistillSettings)
    for name, shown, meaning in (
        ("steps", "N", "teach N batches in all"),
        ("warmup", "N", "let the learning rate rise over N steps"),
        ("decay", "N", "let it fall to zero over the last N steps"),
        ("learning_rate", "RATE", "teach at this rate between the two"),
        ("batch_seconds", "S", "put at most S seconds of audio in a batch"),
        ("longest", "S", "cut longer utterances to S seconds in training"),
        ("noise", "P", "let --student hear noise in this share of the batches, which the teacher does not hear"),
        ("seed", "N", "draw heads and batches from this seed"),
    ):
        add(name, metavar=shown, help=f"{meaning} (default: %(default)s)")
    add_setting(how, Running, "budget", metavar="S", help="end the teaching of --student by itself after S seconds")
    add_setting(how, Running, "bf16", help="autocast to bfloat16, where the processor has it")
    how.add_argument("--threads", type=int, metavar="N", help="compute in N threads (default: what torch takes)")
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("student"), metavar="FOLDER", help="write the checkpoint there (%(default)s)"
    )
    where.add_argument("--run", type=Path, metavar="FOLDER", help="keep the training there (default: OUT-run)")
    where.add_argument("--half", action="store_true", help="store the weights in float16")
    add_keeping(where)
    add_output(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options), verbose=options.verbose)


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

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    lengths, read = open_speech(options.corpus, **reading(options), say=say)
    hours = float(lengths.sum()) / SAMPLE_RATE / 3600
    say(f"teacher {teacher.label}: {teacher.n_layers - 1} blocks of width {teacher.width}")
    say(f"speech: {len(lengths)} utterances, {hours:.2f} hours")
    running = settings_of(options, Running)
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
    say(f"training log: {run / 'log.jsonl'}")
    told = f"The student has {depth} blocks and {size:,} parameters, and is in {options.out}."
    tell_end(told, "extract", "--model", options.out, "--corpus", options.corpus, quiet=options.quiet)
    return 0


def _given(name: str | None) -> list[str]:
    """The option's value, where there is one."""
    return [name] if name else []


if __name__ == "__main__":
    sys.exit(main())
