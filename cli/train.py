"""The command `probe-train`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.defaults import FIGURES, RESULTS
from emoprobe.endtoend.settings import FREEZABLE, LAYERS, POOLINGS, ModelSettings, TrainingSettings
from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.limits import PRECISIONS
from emoprobe.ownership import begins_with_columns, refuse_inputs, refuse_stranger
from emoprobe.storage import replacing

from .command import (
    LEFT_OUT,
    CommandParser,
    add_beside,
    add_reading,
    add_setting,
    draw,
    in_lines,
    quiet_transformers,
    reading,
    settings_of,
    tell_left_out,
    tell_next,
)
from .running import run_command

_EPILOG = """\
With no argument: the offline demonstration corpus, distilhubert-nano with minilm, trained/ and results/ in this folder.
Run the same command again after an interruption: finished trainings are kept, the one under way goes on.
Several GPUs: accelerate launch --num_processes N -m emoprobe.cli.train (the same options).

  probe-train --text none                    the speech encoder alone
  probe-train --audio none                   the text encoder alone
  probe-train --audio hubert-large --text none --layers sum --freeze frontend    the teacher
  probe-train --audio distilhubert --text distilbert --count                     what it would cost
  probe-train export trained/model --int8    ONNX, float32 and dynamic int8

exit status: 0 all utterances used; 3 some left out, each listed with its reason; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-train",
        description="Train an audio-textual model end to end, and score it in the same table as the probes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what")
    what.add_argument(
        "--corpus",
        default="demo",
        help="demo, a manifest (CSV, Parquet or JSON), msp-podcast:ROOT, iemocap:ROOT or emobank:ROOT (default: demo)",
    )
    add_reading(what)
    add_beside(what, ratings=False)
    add = partial(add_setting, what, ModelSettings)
    add(
        "audio",
        metavar="NAME|none",
        help="speech encoder, as --model of probe-extract (default: %(default)s)",
    )
    add(
        "text",
        metavar="NAME|none",
        help="text encoder: folder, hub name, or distilbert, distilroberta, minilm (default: %(default)s)",
    )
    add("audio_revision", metavar="REV", help="of a speech encoder on the hub")
    add("text_revision", metavar="REV", help="of a text encoder on the hub")
    add("audio_random", metavar="SEED", help="random weights for the speech encoder")
    add("text_random", metavar="SEED", help="random weights for the text encoder")
    add(
        "dimensions",
        option="dim",
        metavar="DIM",
        help="arousal, valence, dominance, or all: one head for them together (default: %(default)s)",
    )
    what.add_argument("--label", help="name of the model in tables and legends (default: the speech encoder's)")
    _add_model(p.add_argument_group("model"))
    _add_training(p.add_argument_group("training"))
    where = p.add_argument_group("where")
    where.add_argument("--out", type=Path, default=Path("trained"), help="folder of the run (default: trained)")
    where.add_argument("--results", type=Path, default=Path(RESULTS), help="table of scores (default: results)")
    where.add_argument("--figures", type=Path, default=Path(FIGURES), help="default: figures")
    where.add_argument("--overwrite", action="store_true", help="start anew where --out holds another run")
    where.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    p.add_argument(
        "--count",
        action="store_true",
        help="print parameters, multiply-adds and size beside HuBERT large, write them to cost.csv in --out, and stop",
    )
    return p


def _add_model(group: argparse._ArgumentGroup) -> None:
    add = partial(add_setting, group, ModelSettings)
    add(
        "freeze",
        choices=(*FREEZABLE, "none"),
        help="parts that keep their pretrained weights (default: %(default)s)",
    )
    add("pooling", choices=POOLINGS, help="default: %(default)s")
    add(
        "layers",
        choices=LAYERS,
        help="what is pooled: the last layer, or a learned sum of all layers, for deep encoders (default: %(default)s)",
    )
    add("hidden", metavar="N", help="width of the head (default: %(default)s)")
    add("dropout", metavar="P", help="of the head (default: %(default)s)")
    add("text_dropout", metavar="P", help="share trained without text (default: %(default)s)")
    add("audio_dropout", metavar="P", help="share trained without audio (default: %(default)s)")


def _add_training(group: argparse._ArgumentGroup) -> None:
    add = partial(add_setting, group, TrainingSettings)
    add("epochs", metavar="N", help="at most (default: %(default)s)")
    add("patience", metavar="N", help="epochs without a rise (default: %(default)s)")
    add("batch", metavar="N", help="utterances on each device (default: %(default)s)")
    add("accumulate", metavar="N", help="batches a step, under one loss (default: %(default)s)")
    add("audio_rate", metavar="RATE", help="learning rate of the speech encoder (default: %(default)s)")
    add("text_rate", metavar="RATE", help="of the text encoder (default: %(default)s)")
    add("head_rate", metavar="RATE", help="of the heads (default: %(default)s)")
    add("decay", help="weight decay (default: %(default)s)")
    add("warmup", help="share of the steps (default: %(default)s)")
    add("weights", metavar="W", help="of each dimension's loss")
    add("longest", metavar="S", help="seconds of an utterance in training (default: %(default)s)")
    add("seed", help="first seed, and that of the folds (default: %(default)s)")
    add("seeds", metavar="N", help="repetitions (default: %(default)s)")
    add("folds", metavar="N", help="where there is no split (default: %(default)s)")
    add("ungrouped", help="folds by utterance, where no speaker is named")
    add("resamples", metavar="N", help="of the bootstrap (default: %(default)s)")
    add("precision", choices=PRECISIONS, help="default: %(default)s")
    add("checkpointing", help="less memory, more time")
    add("save_steps", metavar="N", help="between checkpoints (default: %(default)s)")
    add("device", help="auto, cpu, cuda, mps (default: %(default)s)")
    add(
        "workers",
        metavar="N",
        help="processes that decode audio, as far as /dev/shm has room (default: 4 beside a GPU, else 0)",
    )


def main(argv: list[str] | None = None) -> int:
    """Train, then draw the figures of all that the results hold; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["export"]:
        from .export import main as export

        return export(argv[1:])
    options = parser().parse_args(argv)

    def command() -> int:
        _refuse_misspelt(options)
        return _count(options) if options.count else _train(options)

    return run_command(command)


def _refuse_misspelt(options: argparse.Namespace) -> None:
    """Before anything heavy is imported."""
    from emoprobe.extract.encoders.architectures import refuse_misspelt_speech, refuse_misspelt_text

    for name, refuse in ((options.audio, refuse_misspelt_speech), (options.text, refuse_misspelt_text)):
        if name != "none":
            refuse(name)


def _settings(options: argparse.Namespace) -> tuple[ModelSettings, TrainingSettings]:
    freeze = tuple(dict.fromkeys(options.freeze))
    if "none" in freeze and len(freeze) > 1:
        raise UserError("--freeze none goes with no other part")
    model = settings_of(
        options,
        ModelSettings,
        audio=None if options.audio == "none" else options.audio,
        text=None if options.text == "none" else options.text,
        freeze=() if freeze == ("none",) else freeze,
        dimensions=DIMENSIONS if "all" in options.dimensions else tuple(dict.fromkeys(options.dimensions)),
    )
    return model, settings_of(options, TrainingSettings)


def _train(options: argparse.Namespace) -> int:
    model, training = _settings(options)
    quiet_transformers()
    refuse_inputs([options.out], [options.corpus, options.splits, model.audio, model.text])
    from emoprobe.endtoend.training import train
    from emoprobe.extract.corpora import read_corpus

    from .fit import summary

    corpus = read_corpus(options.corpus, **reading(options))
    if not options.quiet:
        print(corpus.summary())
    results, left_out = train(
        corpus,
        model,
        training,
        out=options.out,
        results=options.results,
        label=options.label,
        overwrite=options.overwrite,
        progress=not options.quiet,
        say=(lambda line: None) if options.quiet else (lambda line: print(line, flush=True)),
    )
    if not len(results.scores):  # one of several processes, and not the one that writes
        return 0
    of_labels = results.protocol[0]["run"].get("dimensions_left_out", {})
    tell_left_out([f"{dimension}: {reason}" for dimension, reason in of_labels.items()])
    tell_left_out(in_lines(left_out), elsewhere=f"field `left_out` of {options.results / 'protocol.json'}")
    print(summary(results))
    print(f"model: {options.out / 'model'}")
    print(f"results: {options.results}")
    draw(options.results, options.figures)
    tell_next("predict", options.out / "model", "FILES")
    return LEFT_OUT if len(left_out) else 0


def _count(options: argparse.Namespace) -> int:
    model, _ = _settings(options)
    from emoprobe.endtoend.costs import count_model, report

    table = count_model(model)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cost.csv"
    refuse_stranger(path, begins_with_columns(list(table.columns)), "table of costs", option="--out")
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    print(report(table))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
