"""``emoprobe demo-teach``: teach the packaged model by a recogniser's encoder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.teaching_settings import TeachingSettings
from emoprobe.distil.settings import Running
from emoprobe.extract.options import check_counts, check_positive

from .command import CommandParser, add_keeping, add_output, add_setting, settings_of, tell_end
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Teach, or go on; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-teach",
        description="Teach a small HuBERT by a recogniser's encoder, on recorded and synthetic speech.",
        epilog="examples:\n  emoprobe demo-teach --budget 3600 --export hubert-mine\n  emoprobe demo-teach --recorded "
        "speech --device cuda --bf16\n\nRun the same command again after an interruption: it goes on.",
    )
    what = parser.add_argument_group("what is heard")
    what.add_argument(
        "--packages", type=Path, metavar="FOLDER", help="hear the recorded speech of unpacked Debian packages"
    )
    what.add_argument(
        "--recorded", type=Path, metavar="FOLDER", help="hear recorded speech that is packed already, or carried"
    )
    what.add_argument(
        "--carry",
        type=Path,
        metavar="FOLDER",
        help="write the recorded speech there as Opus, to --recorded on a machine without a network, and stop",
    )
    what.add_argument(
        "--hours", type=float, default=2.5, metavar="H", help="speak H hours of synthetic speech (default: %(default)s)"
    )
    what.add_argument("--workers", type=int, default=1, metavar="N", help="speak in N processes (default: %(default)s)")
    how = parser.add_argument_group("how it is taught")
    how.add_argument(
        "--start",
        default="hubert-nano",
        metavar="NAME",
        help="go on from these weights (default: %(default)s, which began with what demo-pretrain exports)",
    )
    how.add_argument(
        "--teacher",
        default="whisper-tiny-en",
        metavar="NAME",
        help="learn from this packaged model, folder or hub name (default: %(default)s)",
    )
    add_setting(how, Running, "budget", metavar="S", help="end by itself after S seconds of training")
    how.add_argument("--device", choices=("cpu", "cuda"), help="train there (default: cuda where there is one)")
    add_setting(how, Running, "bf16", help="autocast to bfloat16, where the processor has it")
    how.add_argument("--threads", type=int, metavar="N", help="compute in N threads (default: what torch takes)")
    for name, shown, meaning in (
        ("steps", "N", "teach N batches in all"),
        ("warmup", "N", "let the learning rate rise over N steps"),
        ("decay", "N", "let it fall to zero over the last N steps (with --budget over their share of the time)"),
        ("learning_rate", "RATE", "teach at this rate between the two"),
        ("seed", "N", "draw all from this seed"),
        ("batch_seconds", "S", "put at most S seconds of audio in a batch"),
        ("recorded_share", "P", "take this share of the batches from recorded speech"),
        ("cosine_weight", "W", "weigh the cosine in the teacher's loss so"),
        ("word_weight", "W", "weigh the loss of the words so"),
        ("spectrum_weight", "W", "weigh the loss of the spectrum so"),
    ):
        add_setting(how, TeachingSettings, name, metavar=shown, help=f"{meaning} (default: %(default)s)")
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--out",
        type=Path,
        default=Path("hubert-nano-taught"),
        metavar="FOLDER",
        help="keep the run there (%(default)s)",
    )
    where.add_argument("--export", type=Path, metavar="FOLDER", help="write the finished checkpoint there")
    add_keeping(where)
    add_output(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options), verbose=options.verbose)


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
        if not options.quiet:
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
        told = f"The checkpoint is in {options.export}."
        tell_end(told, "extract", "--model", options.export, quiet=options.quiet)
    else:
        tell_end(f"The run is in {options.out}; --export FOLDER writes its checkpoint.", quiet=options.quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
