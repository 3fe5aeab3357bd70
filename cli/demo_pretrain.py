"""``emoprobe demo-pretrain``: pretrain a small HuBERT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.pretrain_settings import PretrainSettings
from emoprobe.errors import UserError
from emoprobe.extract.options import check_counts, check_positive

from .command import CommandParser
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
    parser.add_argument("--save-steps", type=int, default=200)
    parser.add_argument("--log-steps", type=int, default=50)
    defaults = PretrainSettings()
    for name in (
        "steps",
        "warmup",
        "spectrum_from",
        "decay",
        "recluster",
        "seed",
        "word_units",
        "discovered_units",
        "unit_block",
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    for name in ("learning_rate", "batch_seconds", "recorded_share", "mask_share", "word_weight"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name))
    parser.add_argument("--frontend-only", action="store_true", help="the control whose front end alone is fitted")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from emoprobe.demo import shards
    from emoprobe.demo.pretrain import MADE_BY, pretrain
    from emoprobe.distil.checkpoint import export
    from emoprobe.distil.store import open_store

    names = set(PretrainSettings.__dataclass_fields__)
    check_positive(options, "hours")
    check_counts(options, "workers", least=1)
    settings = PretrainSettings(**{k: v for k, v in vars(options).items() if k in names})
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
