"""``emoprobe demo-corpus``: speak the demo corpus."""

from __future__ import annotations

import sys
from pathlib import Path

from emoprobe.demo import corpus
from emoprobe.demo.corpus import CorpusSettings, make_corpus
from emoprobe.parallel import processors
from emoprobe.progress import progress_bar

from .command import CommandParser, add_output, add_setting, tell_end
from .running import run_command

#: Utterances that another process is started for.
_ENOUGH = 100


def main(arguments: list[str] | None = None) -> int:
    """Speak the demo corpus; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-corpus",
        description=corpus.__doc__.split("\n")[0],
        epilog="examples:\n  emoprobe demo-corpus\n  emoprobe demo-corpus small --utterances 100 --speakers 10",
    )
    parser.add_argument(
        "root",
        nargs="?",
        type=Path,
        default=Path("demo_corpus"),
        metavar="FOLDER",
        help="write there (default: %(default)s)",
    )
    what = parser.add_argument_group("what is spoken")
    for name, meaning in (
        ("utterances", "speak N utterances"),
        ("speakers", "speak as N speakers"),
        ("seed", "draw all from this seed"),
    ):
        add_setting(what, CorpusSettings, name, metavar="N", help=f"{meaning} (default: %(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help=f"speak in N processes (default: one for each processor, and each {_ENOUGH} utterances)",
    )
    add_output(parser)
    options = parser.parse_args(arguments)

    def body() -> int:
        total, show = options.utterances, not options.quiet
        with progress_bar(total=total, unit="utterance", desc="speaking", show=show) as bar:
            manifest = make_corpus(
                options.root,
                utterances=options.utterances,
                speakers=options.speakers,
                seed=options.seed,
                workers=min(processors(), 1 + total // _ENOUGH) if options.workers is None else options.workers,
                progress=lambda done, _: bar.update(done - bar.n),
            )
        told = f"{options.utterances} utterances in {manifest}."
        tell_end(told, "extract", "--corpus", manifest, quiet=options.quiet)
        return 0

    return run_command(body, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
