"""``emoprobe demo-teach``: teach the packaged model by a recogniser's encoder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.teaching_settings import TeachingSettings
from emoprobe.distil.settings import Running
from emoprobe.extract.options import check_counts, check_positive

from .command import CommandParser, add_keeping, add_setting, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Teach, or go on; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-teach",
        description="Teach a small HuBERT by a recogniser's encoder, on recorded and synthetic speech.",
    )
    parser.add_argument("--packages", type=Path, help="folder of Debian packages with recorded speech, each unpacked")
    parser.add_argument("--recorded", type=Path, help="folder of recorded speech that is packed already, or carried")
    parser.add_argument(
        "--carry",
        type=Path,
        metavar="FOLDER",
        help="write the recorded speech there as Opus, to --recorded on a machine without a network, and stop",
    )
    parser.add_argument(
        "--start",
        default="hubert-nano",
        help="the student's weights to go on from (%(default)s, which itself began with what demo-pretrain exports)",
    )
    parser.add_argument("--teacher", default="whisper-tiny-en", help="packaged model, folder or hub name (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("hubert-nano-taught"), help="run folder (default %(default)s)")
    parser.add_argument("--export", type=Path, help="folder for the finished checkpoint")
    parser.add_argument("--hours", type=float, default=2.5, help="of synthetic speech (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak (default %(default)s)")
    add_setting(parser, Running, "budget", metavar="SECONDS", help="of training, after which it ends by itself")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add_setting(parser, Running, "bf16", help="autocast to bfloat16, where the processor has it")
    parser.add_argument("--threads", type=int, help="of the processor")
    add_keeping(parser)
    for name, meaning in (
        ("steps", "batches in all"),
        ("warmup", "steps over which the learning rate rises"),
        ("decay", "last steps (with --budget their share of the time), over which it falls to zero"),
        ("learning_rate", "between the two"),
        ("seed", "of all that is drawn"),
        ("batch_seconds", "audio in a batch"),
        ("recorded_share", "of the batches"),
        ("cosine_weight", "of the teacher's loss"),
        ("word_weight", "of their loss"),
        ("spectrum_weight", "of its loss"),
    ):
        add_setting(parser, TeachingSettings, name, help=f"{meaning} (default %(default)s)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    import torch

    from emoprobe.demo import recordings, shards
    from emoprobe.demo.carrying import carry, unpack
    from emoprobe.demo.teaching import MADE_BY, teach
    from emoprobe.distil.checkpoint import check_export, export
    from emoprobe.distil.store import open_store
    from emoprobe.errors import UserError
    from emoprobe.extract.encoders.speech import load_backbone

    check_positive(options, "hours")
    check_counts(options, "workers", "threads", least=1)
    running = settings_of(options, Running, use_cpu=options.device == "cpu")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds none here; leave it out, or install torch for your driver")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = settings_of(options, TeachingSettings)
    if options.export:
        check_export(options.export, option="--export", made_by=MADE_BY)  # before hours of training

    def say(line: str) -> None:
        print(line, flush=True)

    recorded = None
    if options.packages is not None and options.recorded is not None:
        raise UserError("--packages and --recorded both say where the recorded speech is: leave one out")
    if options.packages is not None:
        recorded = open_store(recordings.make_recordings(options.out / "recorded", options.packages, say=say))
    elif options.recorded is not None:
        packed = (options.recorded / "index.npz").is_file()
        recorded = open_store(options.recorded if packed else unpack(options.recorded, options.out / "recorded"))
    if recorded is not None:
        say(f"recorded speech: {recorded.hours:.1f} hours, {len(recorded)} utterances")
    if options.carry is not None:
        if recorded is None:
            raise UserError("--carry writes the recorded speech: say where it is, with --packages or --recorded")
        say(f"{carry(recorded, options.carry) / 1e6:.1f} MB in {options.carry}")
        return 0
    start, teacher = load_backbone(options.start), load_backbone(options.teacher)
    synthetic = open_store(
        shards.make_synthetic(
            options.out / "synthetic", hours=options.hours, seed=settings.seed + 2, workers=options.workers
        )
    )
    say(f"synthetic speech: {synthetic.hours:.1f} hours, {len(synthetic)} utterances")
    model = teach(
        options.out,
        settings,
        start=start,
        teacher=teacher,
        synthetic=synthetic,
        recorded=recorded,
        running=running,
        say=say,
    )
    if options.export:
        export(model.hubert, options.export, made_by=MADE_BY)
        print(f"checkpoint in {options.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
