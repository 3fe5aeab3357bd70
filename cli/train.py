"""The command `probe-train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.ownership import begins_with_columns, refuse_inputs, refuse_stranger
from emoprobe.storage import replacing

from .command import (
    LEFT_OUT,
    CommandParser,
    add_beside,
    add_reading,
    draw,
    in_lines,
    quiet_transformers,
    reading,
    tell_left_out,
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
    what.add_argument(
        "--audio",
        default="distilhubert-nano",
        metavar="NAME|none",
        help="speech encoder, as --model of probe-extract (default: distilhubert-nano)",
    )
    what.add_argument(
        "--text",
        default="minilm",
        metavar="NAME|none",
        help="text encoder: folder, hub name, or distilbert, distilroberta, minilm (default: minilm)",
    )
    what.add_argument("--audio-revision", metavar="REV", help="of a speech encoder on the hub")
    what.add_argument("--text-revision", metavar="REV", help="of a text encoder on the hub")
    what.add_argument("--audio-random", type=int, metavar="SEED", help="random weights for the speech encoder")
    what.add_argument("--text-random", type=int, metavar="SEED", help="random weights for the text encoder")
    what.add_argument(
        "--dim",
        nargs="+",
        default=["all"],
        metavar="DIM",
        help="arousal, valence, dominance, or all: one head for them together (default: all)",
    )
    what.add_argument("--label", help="name of the model in tables and legends (default: the speech encoder's)")
    model = p.add_argument_group("model")
    model.add_argument(
        "--freeze",
        nargs="+",
        default=["frontend", "embeddings"],
        choices=("frontend", "embeddings", "audio", "text", "none"),
        help="parts that keep their pretrained weights (default: frontend embeddings)",
    )
    model.add_argument("--pooling", choices=("mean", "attentive"), default="mean", help="default: mean")
    model.add_argument(
        "--layers",
        choices=("last", "sum"),
        default="last",
        help="what is pooled: the last layer, or a learned sum of all layers, for deep encoders (default: last)",
    )
    model.add_argument("--hidden", type=int, default=256, metavar="N", help="width of the head (default: 256)")
    model.add_argument("--dropout", type=float, default=0.1, metavar="P", help="of the head (default: 0.1)")
    model.add_argument(
        "--text-dropout", type=float, default=0.1, metavar="P", help="share trained without text (default: 0.1)"
    )
    model.add_argument(
        "--audio-dropout", type=float, default=0.1, metavar="P", help="share trained without audio (default: 0.1)"
    )
    how = p.add_argument_group("training")
    how.add_argument("--epochs", type=int, default=30, metavar="N", help="at most (default: 30)")
    how.add_argument("--patience", type=int, default=6, metavar="N", help="epochs without a rise (default: 6)")
    how.add_argument("--batch", type=int, default=32, metavar="N", help="utterances on each device (default: 32)")
    how.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="batches a step, under one loss (default: 1)"
    )
    how.add_argument(
        "--audio-rate", type=float, default=5e-5, metavar="RATE", help="learning rate of the speech encoder (5e-5)"
    )
    how.add_argument("--text-rate", type=float, default=5e-5, metavar="RATE", help="of the text encoder (5e-5)")
    how.add_argument("--head-rate", type=float, default=1e-3, metavar="RATE", help="of the heads (1e-3)")
    how.add_argument("--decay", type=float, default=0.01, help="weight decay (default: 0.01)")
    how.add_argument("--warmup", type=float, default=0.1, help="share of the steps (default: 0.1)")
    how.add_argument("--weights", type=float, nargs="+", default=[], metavar="W", help="of each dimension's loss")
    how.add_argument(
        "--longest", type=float, default=12.0, metavar="S", help="seconds of an utterance in training (default: 12)"
    )
    how.add_argument("--seed", type=int, default=0, help="first seed, and that of the folds (default: 0)")
    how.add_argument("--seeds", type=int, default=1, metavar="N", help="repetitions (default: 1)")
    how.add_argument("--folds", type=int, default=5, metavar="N", help="where there is no split (default: 5)")
    how.add_argument("--ungrouped", action="store_true", help="folds by utterance, where no speaker is named")
    how.add_argument("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap (default: 2000)")
    how.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    how.add_argument("--checkpointing", action="store_true", help="less memory, more time")
    how.add_argument("--save-steps", type=int, default=500, metavar="N", help="between checkpoints (default: 500)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    how.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that decode audio, as far as /dev/shm has room (default: 4 beside a GPU, else 0)",
    )
    where = p.add_argument_group("where")
    where.add_argument("--out", type=Path, default=Path("trained"), help="folder of the run (default: trained)")
    where.add_argument("--results", type=Path, default=Path("results"), help="table of scores (default: results)")
    where.add_argument("--figures", type=Path, default=Path("figures"), help="default: figures")
    where.add_argument("--overwrite", action="store_true", help="start anew where --out holds another run")
    where.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    p.add_argument(
        "--count",
        action="store_true",
        help="print parameters, multiply-adds and size beside HuBERT large, write them to cost.csv in --out, and stop",
    )
    return p


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


def _refuse_misspelt(options) -> None:
    """Before anything heavy is imported."""
    from emoprobe.extract.encoders.architectures import refuse_misspelt_speech, refuse_misspelt_text

    for name, refuse in ((options.audio, refuse_misspelt_speech), (options.text, refuse_misspelt_text)):
        if name != "none":
            refuse(name)


def _settings(options):
    from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
    from emoprobe.extract.corpora import DIMENSIONS

    freeze = tuple(dict.fromkeys(options.freeze))
    if "none" in freeze and len(freeze) > 1:
        raise UserError("--freeze none goes with no other part")
    given = vars(options)
    model = ModelSettings(
        audio=None if options.audio == "none" else options.audio,
        text=None if options.text == "none" else options.text,
        freeze=() if freeze == ("none",) else freeze,
        dimensions=DIMENSIONS if "all" in options.dim else tuple(dict.fromkeys(options.dim)),
        **{name: given[name] for name in _MODEL},
    )
    names = set(TrainingSettings.__dataclass_fields__) & set(given)
    training = TrainingSettings(**{name: given[name] for name in names} | {"weights": tuple(options.weights)})
    return model, training


_MODEL = (
    "audio_revision", "text_revision", "audio_random", "text_random", "pooling", "layers", "hidden", "dropout",
    "text_dropout", "audio_dropout",
)  # fmt: skip


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
