"""``emoprobe demo-pretrain``: pretrain a small HuBERT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.pretrain_settings import PretrainSettings
from emoprobe.errors import UserError
from emoprobe.extract.options import check_counts, check_positive

from .command import CommandParser, add_keeping, add_setting, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Pretrain, or go on; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-pretrain", description="Pretrain a small HuBERT by masked prediction of units."
    )
    parser.add_argument("sources", nargs="+", help="'synthetic', folders of audio, or both")
    parser.add_argument("--out", type=Path, default=Path("hubert-nano-run"), help="run folder (default %(default)s)")
    parser.add_argument("--export", type=Path, help="folder for the finished checkpoint")
    parser.add_argument("--hours", type=float, default=14.0, help="of synthetic speech (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak (default %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16, where the processor has it")
    add_keeping(parser)
    for name, meaning in (
        ("steps", "batches in all"),
        ("warmup", "steps over which the learning rate rises"),
        ("decay", "last steps, over which it falls to zero"),
        ("learning_rate", "between the two"),
        ("seed", "of all that is drawn"),
        ("batch_seconds", "audio in a batch"),
        ("recorded_share", "of the batches"),
        ("mask_share", "of the frames"),
        ("spectrum_from", "step from which the log spectrum is told too"),
        ("recluster", "step from which recorded speech has units of the model's own; 0: never"),
        ("word_units", "the most frequent words"),
        ("word_weight", "of their loss"),
        ("discovered_units", "of recorded speech"),
        ("unit_block", "whose output predicts phones and discovered units"),
    ):
        add_setting(parser, PretrainSettings, name, help=f"{meaning} (default %(default)s)")
    add_setting(parser, PretrainSettings, "frontend_only", help="the control whose front end alone is fitted")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from emoprobe.demo import shards
    from emoprobe.demo.pretrain import MADE_BY, pretrain
    from emoprobe.distil.checkpoint import export
    from emoprobe.distil.store import open_store

    check_positive(options, "hours")
    check_counts(options, "workers", least=1)
    settings = settings_of(options, PretrainSettings)
    synthetic = recorded = None
    folders = [Path(source) for source in options.sources if source != "synthetic"]
    if "synthetic" in options.sources:
        target = options.out / "synthetic"
        synthetic = open_store(
            shards.make_synthetic(target, hours=options.hours, seed=settings.seed + 1, workers=options.workers)
        )
        print(f"synthetic speech: {synthetic.hours:.1f} hours, {len(synthetic)} utterances")
    if len(folders) > 1:
        raise UserError("one folder of audio at most: put the others inside it")
    for folder in folders:
        recorded = open_store(shards.make_recorded(options.out / "recorded", folder, say=print))
        print(f"recorded speech: {recorded.hours:.1f} hours, {len(recorded)} utterances")
    model = pretrain(
        options.out,
        settings,
        synthetic=synthetic,
        recorded=recorded,
        save_steps=options.save_steps,
        log_steps=options.log_steps,
        bf16=options.bf16,
        say=lambda line: print(line, flush=True),
    )
    if options.export:
        export(model.hubert, options.export, made_by=MADE_BY)
        print(f"checkpoint in {options.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
