"""``emoprobe compare``: two folders of results, paired."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS, EMOTION
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing

from .command import CommandParser, add_dimensions, add_output, dimensions_of
from .running import run_command
from .screen import table_lines, told_run, wrapped

if TYPE_CHECKING:
    import pandas as pd

_KNOWN = (*DIMENSIONS, EMOTION)


_EPILOG = """\
examples:
  emoprobe compare results_base results_large --dim valence
  emoprobe compare results results --models hubert-nano distilhubert-nano --out difference.csv

Both must be of the same corpus, with the same probes and features.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``emoprobe compare``."""
    command = CommandParser(
        prog="emoprobe compare",
        description="Compare two folders of results, B minus A, run by run, on the utterances that both score: CCC (or "
        "UAR, of categories) of the best layers, 95 % intervals over speakers, p values with Holm's correction.",
        epilog=_EPILOG,
    )
    command.add_argument("one", type=Path, metavar="A", help="read this folder of probe-fit or probe-train")
    command.add_argument("other", type=Path, metavar="B", help="and this one")
    what = command.add_argument_group("what is compared")
    what.add_argument(
        "--models",
        nargs=2,
        default=[],
        metavar="NAME",
        help="compare this model of A with this one of B",
    )
    add_dimensions(what, known=_KNOWN, help=f"compare {', '.join(_KNOWN)}, or all (default: all that both have)")
    what.add_argument("--split", metavar="PART", help="compare this part (default: the one that is reported)")
    how = command.add_argument_group("how")
    how.add_argument(
        "--resamples",
        type=int,
        default=2000,
        metavar="N",
        help="resample speakers N times (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="draw from this seed (default: %(default)s)")
    where = command.add_argument_group("where to")
    where.add_argument("--out", type=Path, metavar="FILE", help="write the whole table there, as CSV")
    add_output(command, quiet="print the last sentence alone, and no table")
    return command


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(argv)
    return run_command(lambda: _compare(options), verbose=options.verbose)


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
    if not options.quiet:
        print(f"A is {options.one}, B is {options.other}; differences are B − A, with 95 % intervals")
        print("\n".join(_lines(table)))
    if options.out is not None:
        refuse_stranger(options.out, begins_with_columns(list(table.columns)), "table of differences", option="--out")
        with replacing(options.out) as temporary:
            table.to_csv(temporary, index=False)
        if not options.quiet:
            print(f"written: {options.out}")
    print(wrapped(told_differences(table)))
    return 0


def _lines(table: pd.DataFrame) -> Iterator[str]:
    """A table for each pair of models, corpus and part."""
    for (corpus, split, a, b), rows in table.groupby(["corpus", "split", "model_a", "model_b"], sort=False):
        models = a if a == b else f"{a} and {b}"
        yield f"{models} on {corpus}, {split}, n = {rows['n'].iloc[0]}"
        cells = [
            [
                f"{row['dimension']}, {told_run(row['probe'], row['features'])}",
                row["metric"].upper(),
                f"{row['score_other']:z.3f}",
                f"{row['score_one']:z.3f}",
                f"{row['difference']:+z.3f} [{row['low']:z.3f}, {row['high']:z.3f}]",
                f"{row['p']:.3f}",
                f"{row['p_holm']:.3f}",
            ]
            for row in rows.to_dict("records")
        ]
        yield from table_lines(["", "score", "A", "B", "B − A", "p", "corrected"], cells)


if __name__ == "__main__":
    sys.exit(main())
