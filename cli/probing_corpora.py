"""``emoprobe probing-corpora``: speak what asks a probe whether it hears words or voice."""

from __future__ import annotations

import sys
from pathlib import Path

from emoprobe.demo import probing
from emoprobe.demo.probing import ProbingSettings, make_probing_corpora

from .command import CommandParser, add_setting, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Speak both corpora; return the exit status."""
    parser = CommandParser(
        prog="emoprobe probing-corpora",
        description=probing.__doc__.split("\n")[0],
        epilog="Then, with the model of your cache: probe-extract --corpus FOLDER/probing-words.csv --out words.h5, "
        "the same of probing-voice.csv, and emoprobe ask words_or_voice CACHE words.h5 voice.h5.",
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path("probing_corpora"), metavar="FOLDER",
                        help="default %(default)s")  # fmt: skip
    parser.add_argument(
        "--texts-from",
        type=Path,
        metavar="FILE",
        help="CSV file with transcript and valence, such as a manifest (default: sentences of the demo)",
    )
    for name, help in (
        ("texts", "sentences of the demo"),
        ("voices", "half of them female"),
        ("manners", "of each neutral text in each voice"),
        ("seed", "of sentences and manners"),
        ("language", "of eSpeak NG"),
    ):
        add_setting(parser, ProbingSettings, name, help=f"{help} (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak (default %(default)s)")
    options = parser.parse_args(arguments)

    def body() -> int:
        from tqdm import tqdm

        with tqdm(unit="utterance", desc="speaking") as bar:

            def told(done: int, wanted: int) -> None:
                bar.total = wanted
                bar.update(done - bar.n)

            made = make_probing_corpora(
                options.root,
                settings_of(options, ProbingSettings),
                texts=options.texts_from,
                workers=options.workers,
                progress=told,
            )
        for path in made:
            print(path)
        return 0

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
