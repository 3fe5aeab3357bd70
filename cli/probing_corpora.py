"""``emoprobe probing-corpora``: speak what asks a probe whether it hears words or voice."""

from __future__ import annotations

import sys
from pathlib import Path

from emoprobe.demo import probing
from emoprobe.demo.probing import ProbingSettings, make_probing_corpora
from emoprobe.progress import progress_bar

from .command import CommandParser, add_output, add_setting, settings_of, tell_end
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Speak both corpora; return the exit status."""
    parser = CommandParser(
        prog="emoprobe probing-corpora",
        description=probing.__doc__.split("\n")[0],
        epilog="examples:\n  emoprobe probing-corpora\n  emoprobe probing-corpora probing --texts-from ratings.csv\n\n"
        "Then, with the model of your cache: probe-extract --corpus FOLDER/probing-words.csv --out words.h5, "
        "the same of probing-voice.csv, and emoprobe ask words_or_voice CACHE words.h5 voice.h5.",
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path("probing_corpora"), metavar="FOLDER",
                        help="write there (default: %(default)s)")  # fmt: skip
    what = parser.add_argument_group("what is spoken")
    what.add_argument(
        "--texts-from",
        type=Path,
        metavar="FILE",
        help="take the texts of a CSV file with transcript and valence, such as a manifest (default: of the demo)",
    )
    for name, shown, help in (
        ("texts", "N", "speak N sentences of the demo"),
        ("voices", "N", "speak in N voices, half of them female"),
        ("manners", "N", "speak each neutral text in N manners in each voice"),
        ("seed", "N", "draw sentences and manners from this seed"),
        ("language", "CODE", "speak this language of eSpeak NG"),
    ):
        add_setting(what, ProbingSettings, name, metavar=shown, help=f"{help} (default: %(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument("--workers", type=int, default=1, metavar="N", help="speak in N processes (default: %(default)s)")
    add_output(parser)
    options = parser.parse_args(arguments)

    def body() -> int:
        with progress_bar(unit="utterance", desc="speaking", show=not options.quiet) as bar:

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
        for path in () if options.quiet else made:
            print(path)
        tell_end("Both corpora are spoken.", "extract", "--corpus", made[0], "--out", "words.h5", quiet=options.quiet)
        return 0

    return run_command(body, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
