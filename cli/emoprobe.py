"""The command `emoprobe`: every command under one name."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from emoprobe.misspelt import nearest

from .command import CommandParser
from .completion import is_asked, subcommand_in_line

#: Subcommand to what it does; the module has its name, with `_` for `-`. Those marked * are also called `probe-NAME`.
SUBCOMMANDS = {
    "study": "run every stage on one corpus, from one file of settings",
    "models": "list the models that have a short name, and which of them are here",
    "corpora": "list the corpora that have a reader, and what each expects",
    "extract": "cache the hidden states of every layer of a speech model *",
    "join": "make one cache of the shards that extract --shard has made",
    "fit": "ask each layer of a cache what it knows about emotion *",
    "plot": "draw the figures anew from results *",
    "report": "write one page with everything that results can show *",
    "relevance": "ask six second opinions on which layers matter",
    "similarity": "compare layers with each other, with another model's and with features",
    "centroid": "tell how deep each dimension of emotion lies, with intervals",
    "ask": "ask a question by its name: noise ceiling and others",
    "transcribe": "fill in the transcripts of a corpus *",
    "train": "train a speech encoder and a text encoder end to end *",
    "export": "write a trained model in ONNX form",
    "predict": "predict arousal, valence and dominance of audio files *",
    "distill": "distil a speech model into one of few blocks *",
    "probing-corpora": "speak what asks a probe whether it hears words or voice",
    "compare": "compare two folders of results, on the same speakers",
    "clean": "remove what killed commands have left",
    "demo-corpus": "speak the demo corpus",
    "demo-pretrain": "pretrain the packaged model anew",
    "demo-teach": "teach the packaged model by a recogniser's encoder",
    "demo-evaluate": "measure the packaged models against their controls",
}


def parser() -> argparse.ArgumentParser:
    """The command's arguments: the name of another command, and the arguments of that one."""
    command = CommandParser(
        prog="emoprobe",
        usage="emoprobe [-h] [--version] SUBCOMMAND ...",
        description="Which layers of a speech self-supervised model carry emotion.",
        epilog="subcommands:\n"
        + "\n".join(f"  {name:<14} {does}" for name, does in SUBCOMMANDS.items())
        + "\n\n* also a command of its own: probe-NAME. emoprobe SUBCOMMAND --help tells its options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "subcommand", metavar="SUBCOMMAND", type=_subcommand, choices=SUBCOMMANDS, help="one of the list below"
    )
    return command


def _subcommand(given: str) -> str:
    """The name of a subcommand, also with the ``probe-`` of the command of its own."""
    name = given.removeprefix("probe-")
    if name not in SUBCOMMANDS:
        near = nearest(name, SUBCOMMANDS, cutoff=0.6)
        hint = f"did you mean {near}?" if near else "emoprobe --help lists the subcommands"
        raise argparse.ArgumentTypeError(f"there is no {given!r}: {hint}")
    return name


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    asked = subcommand_in_line(SUBCOMMANDS) if is_asked() else ""
    chosen = asked or parser().parse_args(argv[:1]).subcommand
    return import_module(f".{chosen.replace('-', '_')}", __package__).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main())
