"""The command `probe-train`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.defaults import FIGURES, RESULTS
from emoprobe.endtoend.settings import (
    FREEZABLE,
    LAYERS,
    POOLINGS,
    TRACKERS,
    ModelSettings,
    TrainingSettings,
    refuse_absent_trackers,
    refuse_in_vain,
)
from emoprobe.errors import UserError
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.limits import PRECISIONS
from emoprobe.ownership import begins_with_columns, refuse_inputs, refuse_stranger
from emoprobe.storage import replacing

from .command import (
    LEFT_OUT,
    CommandParser,
    add_beside,
    add_device,
    add_engine,
    add_output,
    add_reading,
    add_setting,
    draw,
    in_lines,
    quiet_transformers,
    reading,
    settings_of,
    tell_end,
    tell_left_out,
)
from .running import run_command

_EPILOG = """\
examples:
  emoprobe train                                          the demo corpus
  emoprobe train --corpus ratings.csv --audio distilhubert --text distilbert --seeds 3
  emoprobe train --text none                              the speech encoder alone
  emoprobe train --audio none                             the text encoder alone
  emoprobe train --audio hubert-large --text none --layers sum --freeze frontend
  emoprobe train --audio hubert-large --text none --keep-layers 8             a model of 8 blocks
  emoprobe train --teacher trained-teacher --out student      the predictions of a trained model, beside the labels
  emoprobe train --audio distilhubert --count             what it would cost
  emoprobe train --report-to tensorboard                  curves while it trains
  emoprobe train export trained/model --int8              ONNX, float32 and dynamic int8

With no argument: the offline demonstration corpus, distilhubert-nano with minilm, trained/ and results/ in this folder.
Run the same command again after an interruption: finished trainings are kept, the one under way goes on.
Several GPUs: accelerate launch --num_processes N -m emoprobe.cli.train (the same options).

exit status: 0 all utterances used; 3 some left out, each listed with its reason; 2 an error.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-train",
        description="Train an audio-textual model end to end, and score it in the same table as the probes.",
        epilog=_EPILOG,
    )
    what = p.add_argument_group("what")
    what.add_argument(
        "--corpus",
        default="demo",
        metavar="CORPUS",
        help="read demo, a manifest (CSV, Parquet or JSON), or READER:ROOT such as msp-podcast:ROOT or emobank:ROOT "
        "(default: demo); emoprobe corpora lists them",
    )
    add_reading(what)
    add_beside(what)
    add = partial(add_setting, what, ModelSettings)
    add(
        "audio",
        metavar="NAME|none",
        help="hear by this speech encoder, as --model of emoprobe extract, or by none (default: %(default)s)",
    )
    add(
        "text",
        metavar="NAME|none",
        help="read by this text encoder: folder, hub name, distilbert, distilroberta, minilm, or none "
        "(default: %(default)s)",
    )
    add("audio_revision", metavar="REV", help="take this branch, tag or commit of a speech encoder on the hub")
    add("text_revision", metavar="REV", help="take this branch, tag or commit of a text encoder on the hub")
    add("audio_random", metavar="SEED", help="draw random weights for the speech encoder")
    add("text_random", metavar="SEED", help="draw random weights for the text encoder")
    add(
        "dimensions",
        option="dim",
        metavar="DIM",
        help="predict arousal, valence, dominance, or all, by one head together (default: %(default)s)",
    )
    what.add_argument(
        "--label", metavar="NAME", help="call the model so in tables and legends (default: as its speech encoder)"
    )
    _add_model(p.add_argument_group("model"))
    _add_training(p.add_argument_group("training"))
    add_engine(p.add_argument_group("on a cluster, a seed and fold a task"))
    where = p.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("trained"), metavar="FOLDER", help="keep the run there (default: trained)"
    )
    where.add_argument(
        "--results", type=Path, default=Path(RESULTS), metavar="FOLDER", help="write scores there (default: results)"
    )
    where.add_argument(
        "--figures", type=Path, default=Path(FIGURES), metavar="FOLDER", help="draw there (default: figures)"
    )
    where.add_argument("--overwrite", action="store_true", help="start anew where --out holds another run")
    where.add_argument(
        "--report-to",
        nargs="+",
        choices=TRACKERS,
        default=[],
        metavar="TRACKER",
        help="report each epoch to tensorboard (in the folder of the run) or wandb, too, while it trains",
    )
    instead = p.add_argument_group("instead of training")
    instead.add_argument(
        "--count",
        action="store_true",
        help="print parameters, multiply-adds and size beside HuBERT large, write them to cost.csv in --out, and stop",
    )
    add_output(p)
    return p


def _add_model(group: argparse._ArgumentGroup) -> None:
    add = partial(add_setting, group, ModelSettings)
    add(
        "freeze",
        choices=(*FREEZABLE, "none"),
        metavar="PART",
        help=f"keep the pretrained weights of {', '.join(FREEZABLE)}, several of them, or none (default: %(default)s)",
    )
    add(
        "keep_layers",
        metavar="N",
        help="keep the first N blocks of the speech encoder, such as those up to the layer that probes name "
        "(default: all)",
    )
    add(
        "audio_window",
        metavar="SECONDS",
        help="shorten the window that Whisper puts every utterance into, which is faster (default: the model's, 30 s)",
    )
    add("pooling", choices=POOLINGS, help="pool the frames so (default: %(default)s)")
    add(
        "layers",
        choices=LAYERS,
        help="pool the last layer, or a learned sum of all layers, for deep encoders (default: %(default)s)",
    )
    add("hidden", metavar="N", help="give the head a hidden layer of N units (default: %(default)s)")
    add("dropout", metavar="P", help="drop this share of the head's units in training (default: %(default)s)")
    add("text_dropout", metavar="P", help="train this share of the utterances without text (default: %(default)s)")
    add("audio_dropout", metavar="P", help="train this share of the utterances without audio (default: %(default)s)")


def _add_training(group: argparse._ArgumentGroup) -> None:
    add = partial(add_setting, group, TrainingSettings)
    add("epochs", metavar="N", help="train N epochs at most (default: %(default)s)")
    add(
        "patience",
        metavar="N",
        help="stop after N epochs without a rise on the development part (default: %(default)s)",
    )
    add("batch", metavar="N", help="put N utterances in a batch on each device (default: %(default)s)")
    add("accumulate", metavar="N", help="take N batches a step, under one loss (default: %(default)s)")
    add("audio_rate", metavar="RATE", help="teach the speech encoder at this learning rate (default: %(default)s)")
    add("text_rate", metavar="RATE", help="teach the text encoder at this learning rate (default: %(default)s)")
    add("head_rate", metavar="RATE", help="teach the heads at this learning rate (default: %(default)s)")
    add(
        "layer_decay",
        metavar="P",
        help="give each block of an encoder this share of the rate of the block behind it (default: %(default)s)",
    )
    add("decay", metavar="RATE", help="let weights decay at this rate (default: %(default)s)")
    add("warmup", metavar="P", help="let the rates rise over this share of the steps (default: %(default)s)")
    add("weights", metavar="W", help="weigh the loss of each dimension so (default: alike)")
    add(
        "mse_share",
        metavar="P",
        help="put this share of a mean squared error into the loss, beside 1 - CCC (default: %(default)s)",
    )
    add(
        "teacher",
        metavar="FOLDER",
        help="learn what this trained model predicts for the training part, beside the labels",
    )
    add(
        "teacher_share",
        metavar="P",
        help="give the teacher this share of the loss (default: %(default)s)",
    )
    add("reliability", help="weigh each label by its reliability, from the spread and number of its single ratings")
    add("mask_time", metavar="P", help="hide this share of the speech encoder's frames in training (default: "
        "%(default)s)")  # fmt: skip
    add("mask_features", metavar="P", help="hide this share of its channels in training (default: %(default)s)")
    add("speeds", metavar="SPEED", help="play each utterance at one of these speeds, such as 0.9 1 1.1, drawn anew in "
        "each epoch (default: as it is)")  # fmt: skip
    add(
        "average",
        metavar="P",
        help="score and keep a running average of the weights, of which this share stays at each step, such as 0.99 "
        "(default: %(default)s)",
    )
    add("lora", metavar="RANK", help="train low-rank updates of the encoders in place of their weights (default: the "
        "weights)")  # fmt: skip
    add("longest", metavar="S", help="cut longer utterances to S seconds in training (default: %(default)s)")
    add("seed", metavar="N", help="begin with this seed, which is that of the folds too (default: %(default)s)")
    add("seeds", metavar="N", help="train with N seeds (default: %(default)s)")
    add("folds", metavar="K", help="make K folds where the corpus has no split (default: %(default)s)")
    add("ungrouped", help="accept folds by utterance in a corpus that names no speaker")
    add("resamples", metavar="N", help="draw N resamples in the bootstrap (default: %(default)s)")
    add("precision", choices=PRECISIONS, metavar="PRECISION", help=f"train in {', '.join(PRECISIONS)} (default: "
        "%(default)s)")  # fmt: skip
    add("checkpointing", help="compute activations twice, for less memory and more time")
    add("save_steps", metavar="N", help="write a checkpoint every N steps (default: %(default)s)")
    add_device(group, TrainingSettings, does="train")
    add(
        "workers",
        metavar="N",
        help="decode audio in N processes, as far as /dev/shm has room (default: 4 beside a GPU, else 0)",
    )


def main(argv: list[str] | None = None) -> int:
    """Train, then draw the figures of all that the results hold; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["export"]:
        from .export import main as export

        return export(argv[1:])
    options = parser().parse_args(argv)

    def command() -> int:
        refuse_absent_trackers(options.report_to)
        _refuse_misspelt(options)
        return _count(options) if options.count else _train(options)

    return run_command(command, verbose=options.verbose)


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
    if options.ratings is not None and not training.reliability:
        raise UserError("--ratings are for --reliability, which weighs labels by them: give both, or leave them out")
    quiet_transformers(verbose=options.verbose)
    refuse_inputs([options.out], [options.corpus, options.ratings, options.splits, model.audio, model.text])
    from emoprobe.endtoend.training import train
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.probe.told import told_scores

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
        trackers=tuple(dict.fromkeys(options.report_to)),
        engine=settings_of(options, EngineSettings),
        say=(lambda line: None) if options.quiet else (lambda line: print(line, flush=True)),
    )
    if not len(results.scores):  # one of several processes, and not the one that writes
        return 0
    of_labels = results.protocol[0]["run"].get("dimensions_left_out", {})
    tell_left_out([f"{dimension}: {reason}" for dimension, reason in of_labels.items()])
    tell_left_out(in_lines(left_out), elsewhere=f"field `left_out` of {options.results / 'protocol.json'}")
    if not options.quiet:
        print(summary(results))
        print(f"model: {options.out / 'model'}")
        print(f"results: {options.results}")
    draw(options.results, options.figures, run=options.out, quiet=options.quiet)
    found = told_scores(results)
    tell_end(f"{found}." if found else "", "predict", options.out / "model", "FILES", quiet=options.quiet)
    return LEFT_OUT if len(left_out) else 0


def _count(options: argparse.Namespace) -> int:
    model, training = _settings(options)
    refuse_in_vain(model, training)
    if training.lora is not None and not options.quiet:
        print(
            "note: what is counted as trainable are the whole weights, and not the updates of --lora", file=sys.stderr
        )
    from emoprobe.endtoend.costs import count_model, report

    table = count_model(model)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cost.csv"
    refuse_stranger(path, begins_with_columns(list(table.columns)), "table of costs", option="--out")
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    print(report(table))
    tell_end(f"The costs are in {path}.", quiet=options.quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
