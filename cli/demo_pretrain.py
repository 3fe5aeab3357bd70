"""``emoprobe demo-pretrain``: pretrain a small HuBERT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.pretrain_settings import PretrainSettings
from emoprobe.errors import UserError
from emoprobe.extract.options import check_counts, check_positive

from .command import CommandParser, add_keeping, add_output, add_setting, settings_of, tell_end
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Pretrain, or go on; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-pretrain",
        description="Pretrain a small HuBERT by masked prediction of units.",
        epilog="examples:\n  emoprobe demo-pretrain synthetic --hours 1 --steps 2000\n  emoprobe demo-pretrain "
        "synthetic recordings --export hubert-mine\n\nRun the same command again after an interruption: it goes on.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="hear 'synthetic', a folder of audio, or both")
    what = parser.add_argument_group("what is heard")
    what.add_argument(
        "--hours",
        type=float,
        default=14.0,
        metavar="H",
        help="speak H hours of synthetic speech (default: %(default)s)",
    )
    what.add_argument("--workers", type=int, default=1, metavar="N", help="speak in N processes (default: %(default)s)")
    how = parser.add_argument_group("how it is trained")
    how.add_argument("--bf16", action="store_true", help="autocast to bfloat16, where the processor has it")
    for name, shown, meaning in (
        ("steps", "N", "train N batches in all"),
        ("warmup", "N", "let the learning rate rise over N steps"),
        ("decay", "N", "let it fall to zero over the last N steps"),
        ("learning_rate", "RATE", "train at this rate between the two"),
        ("seed", "N", "draw all from this seed"),
        ("batch_seconds", "S", "put at most S seconds of audio in a batch"),
        ("recorded_share", "P", "take this share of the batches from recorded speech"),
        ("mask_share", "P", "mask this share of the frames"),
        ("spectrum_from", "N", "let the log spectrum be told, too, from step N on"),
        ("recluster", "N", "give recorded speech units of the model's own from step N on; 0: never"),
        ("word_units", "N", "predict the N most frequent words"),
        ("word_weight", "W", "weigh their loss so"),
        ("discovered_units", "N", "find N units in recorded speech"),
        ("unit_block", "N", "predict phones and discovered units from the output of block N"),
    ):
        add_setting(how, PretrainSettings, name, metavar=shown, help=f"{meaning} (default: %(default)s)")
    add_setting(how, PretrainSettings, "frontend_only", help="train the control whose front end alone is fitted")
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("hubert-nano-run"), metavar="FOLDER", help="keep the run there (%(default)s)"
    )
    where.add_argument("--export", type=Path, metavar="FOLDER", help="write the finished checkpoint there")
    add_keeping(where)
    add_output(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options), verbose=options.verbose)


def _run(options: argparse.Namespace) -> int:
    from emoprobe.demo import shards
    from emoprobe.demo.pretrain import MADE_BY, pretrain
    from emoprobe.distil.checkpoint import export
    from emoprobe.distil.store import open_store

    check_positive(options, "hours")
    check_counts(options, "workers", least=1)
    settings = settings_of(options, PretrainSettings)

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    synthetic = recorded = None
    folders = [Path(source) for source in options.sources if source != "synthetic"]
    if "synthetic" in options.sources:
        target = options.out / "synthetic"
        synthetic = open_store(
            shards.make_synthetic(target, hours=options.hours, seed=settings.seed + 1, workers=options.workers)
        )
        say(f"synthetic speech: {synthetic.hours:.1f} hours, {len(synthetic)} utterances")
    if len(folders) > 1:
        raise UserError("one folder of audio at most: put the others inside it")
    for folder in folders:
        recorded = open_store(shards.make_recorded(options.out / "recorded", folder, say=say))
        say(f"recorded speech: {recorded.hours:.1f} hours, {len(recorded)} utterances")
    model = pretrain(
        options.out,
        settings,
        synthetic=synthetic,
        recorded=recorded,
        save_steps=options.save_steps,
        log_steps=options.log_steps,
        bf16=options.bf16,
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
