"""``emoprobe compare``: two folders of results, paired."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing

from .command import CommandParser, add_dimensions, dimensions_of
from .running import run_command

_KNOWN = (*DIMENSIONS, EMOTION)


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe compare``."""
    command = CommandParser(
        prog="emoprobe compare",
        description="Compare two folders of results, B minus A, run by run, on the utterances that both score: CCC (or "
        "UAR, of categories) of the best layers, 95 % intervals over speakers, p values with Holm's correction.",
        epilog="Both must be of the same corpus, with the same probes and features.",
    )
    command.add_argument("one", type=Path, metavar="A", help="folder that probe-fit or probe-train wrote")
    command.add_argument("other", type=Path, metavar="B", help="another one")
    command.add_argument("--models", nargs=2, default=[], metavar="NAME", help="of A and of B, where they differ")
    add_dimensions(command, known=_KNOWN, help=f"of {', '.join(_KNOWN)}, or all (default: all that both have)")
    command.add_argument("--split", help="such as test or development (default: the one that is reported)")
    command.add_argument("--resamples", type=int, default=2000, metavar="N", help="default: %(default)s")
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the whole table, as CSV")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    for folder in (options.one, options.other):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results: make one with probe-fit --out {folder}")
    from emoprobe.analysis.measures.folders import folders_compared, told_differences
    from emoprobe.extract.options import check_counts, check_seed

    check_counts(options, "resamples")
    check_seed(options.seed)
    table = folders_compared(
        options.one,
        options.other,
        models=options.models,
        dimensions=dimensions_of(options.dim, known=_KNOWN),
        split=options.split,
        resamples=options.resamples,
        seed=options.seed,
    )
    print(f"A is {options.one}, B is {options.other}")
    print(f"{'':<40} {'A':>7} {'B':>7} {'B - A':>7} {'95 % interval':^17} {'p':>6} {'corr.':>6}")
    for (corpus, split, a, b), rows in table.groupby(["corpus", "split", "model_a", "model_b"], sort=False):
        models = a if a == b else f"{a} and {b}"
        print(f"{models} on {corpus}, {split}, n = {rows['n'].iloc[0]}")
        for row in rows.to_dict("records"):
            what = f"{row['dimension']}, {row['probe']} ({row['features']}), {row['metric'].upper()}"
            print(
                f"  {what:<38} {row['score_other']:7.3f} {row['score_one']:7.3f} {row['difference']:+7.3f} "
                f"[{row['low']:6.3f}, {row['high']:6.3f}]  {row['p']:6.3f} {row['p_holm']:6.3f}"
            )
    if options.out is not None:
        refuse_stranger(options.out, begins_with_columns(list(table.columns)), "table of differences", option="--out")
        with replacing(options.out) as temporary:
            table.to_csv(temporary, index=False)
        print(f"written: {options.out}")
    print(told_differences(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
