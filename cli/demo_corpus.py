"""``emoprobe demo-corpus``: speak the demo corpus."""

from __future__ import annotations

import sys
from pathlib import Path

from emoprobe.demo import corpus
from emoprobe.demo.corpus import CorpusSettings, make_corpus

from .command import CommandParser, add_setting
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Speak the demo corpus; return the exit status."""
    parser = CommandParser(prog="emoprobe demo-corpus", description=corpus.__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path("demo_corpus"), help="folder (default %(default)s)")
    for name in ("utterances", "speakers", "seed"):
        add_setting(parser, CorpusSettings, name, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak (default %(default)s)")
    options = parser.parse_args(arguments)

    def body() -> int:
        from tqdm import tqdm

        with tqdm(total=options.utterances, unit="utterance", desc="speaking") as bar:
            manifest = make_corpus(
                options.root,
                utterances=options.utterances,
                speakers=options.speakers,
                seed=options.seed,
                workers=options.workers,
                progress=lambda done, _: bar.update(done - bar.n),
            )
        print(f"{options.utterances} utterances in {manifest}")
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
