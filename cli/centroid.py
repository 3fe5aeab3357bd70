"""``emoprobe centroid``: how deep each dimension of emotion lies."""

from __future__ import annotations

import sys
from pathlib import Path

from emoprobe.defaults import RESULTS

from .command import CommandParser
from .running import run_command


def main(argv: list[str] | None = None) -> int:
    """Print the centroids of results on disk; return the exit status."""
    parser = CommandParser(
        prog="emoprobe centroid",
        description="Relevance centroid of each dimension (0 = input of the first block, 1 = last block) and slope of "
        "its curve over the layers, over its mean, by CCC, explained variance and its odds; differences of dimensions "
        "and of models, with 95 % intervals over speakers; and what may be said of arousal and valence.",
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path(RESULTS), help="folder that probe-fit wrote")
    parser.add_argument("--probe", choices=("ridge", "mlp"), default="ridge")
    parser.add_argument("--split", help="such as test or development (default: the first test split)")
    parser.add_argument(
        "--resamples",
        type=int,
        default=2000,
        metavar="N",
        help="at first; more, where their error leaves open what may be said (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    def body() -> int:
        from emoprobe.analysis import settled_depths
        from emoprobe.probe import load_results

        table, statements = settled_depths(
            load_results(options.results),
            probe=options.probe,
            split=options.split,
            resamples=options.resamples,
            seed=options.seed,
        )
        print(table.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
        for row in statements.itertuples():
            claim = f"{row.model}, {row.corpus}, {row.split}: {row.statement} ({row.verdict}"
            print(f"{claim}; p = {row.p:.3f}, corrected {row.p_holm:.3f})")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
