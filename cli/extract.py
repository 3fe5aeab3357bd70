"""The command `probe-extract`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.defaults import CACHE
from emoprobe.errors import UserError
from emoprobe.extract.baselines.registry import BASELINES, kept_beside
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.corpora.cells import EMOTION
from emoprobe.extract.limits import PRECISIONS, STATISTICS
from emoprobe.extract.settings import ExtractionSettings
from emoprobe.ownership import refuse_inputs

from .command import (
    LEFT_OUT,
    CommandParser,
    add_beside,
    add_decoding,
    add_device,
    add_engine,
    add_output,
    add_reading,
    add_setting,
    conclude,
    quiet_transformers,
    reading,
    settings_of,
    tell_end,
    tell_left_out,
    tell_next,
)
from .running import run_command

DEFAULT_CORPUS, DEFAULT_MODEL = "demo", "hubert-nano"

_EPILOG = """\
examples:
  emoprobe extract                      the demo corpus, by hubert-nano
  emoprobe extract --corpus ratings.csv --model distilhubert --out student.h5
  emoprobe extract --corpus emodb:EMODB --model hubert-nano --baselines egemaps
  emoprobe extract --corpus ratings.csv --model hubert-nano --random-init 1 --out twin.h5
  emoprobe extract --verify --out student.h5
  emoprobe extract --corpus ratings.csv --shard 2/8 --out shards/2.h5      the second of eight runs beside each other
  emoprobe extract join shards/*.h5 --out ratings.h5                       one cache of them all

With no argument: the offline demonstration corpus, the model hubert-nano, hidden_states.h5 in this folder.
Run the same command again after an interruption: what is finished is kept, and the file ends the same.

exit status: 0 all utterances extracted; 3 some left out, each listed with its reason; 2 an error; 1 --verify found
damage.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = CommandParser(
        prog="probe-extract",
        description="Cache the hidden states of every layer of a speech model, pooled over each utterance of a corpus.",
        epilog=_EPILOG,
    )
    what = p.add_argument_group("what")
    what.add_argument(
        "--corpus",
        default=DEFAULT_CORPUS,
        metavar="CORPUS",
        help="read demo, a manifest (CSV, Parquet or JSON), a folder of Kaldi or audformat, or READER:ROOT such as "
        "msp-podcast:ROOT or iemocap:ROOT (default: demo); emoprobe corpora lists them",
    )
    add_reading(what)
    add_beside(what)
    what.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="take a folder with config.json and weights, hub name, or short name such as hubert-base, distilhubert, "
        "wavlm-large; emoprobe models lists them (default: hubert-nano, which needs no network)",
    )
    what.add_argument("--revision", metavar="REV", help="take this branch, tag or commit of a model on the hub")
    what.add_argument(
        "--random-init", type=int, metavar="SEED", help="draw random weights of the same architecture, as a control"
    )
    what.add_argument(
        "--normalise",
        choices=("yes", "no"),
        help="bring each waveform to zero mean and unit variance (default: what the checkpoint says)",
    )
    what.add_argument("--label", metavar="NAME", help="call the model so in tables and legends")
    add_setting(
        what, ExtractionSettings, "limit", metavar="N", help="take only N utterances, drawn by lot, always the same"
    )
    add_setting(
        what,
        ExtractionSettings,
        "shard",
        metavar="K/N",
        help="take only the utterances K, K + N, K + 2 N, ... (of those that --limit takes), as one of N runs with an "
        "--out each; probe-extract join makes one cache of all",
    )
    keep = p.add_argument_group("what is kept")
    keep.add_argument(
        "--out", type=Path, default=Path(CACHE), metavar="FILE", help="write the cache there (default: %(default)s)"
    )
    add_setting(
        keep,
        ExtractionSettings,
        "statistics",
        choices=STATISTICS,
        metavar="STATISTIC",
        help=f"pool frames by {', '.join(STATISTICS)}; mean_ln is the mean of layer-normed frames (default: "
        "%(default)s)",
    )
    add_setting(keep, ExtractionSettings, "frames", help="keep every frame too (float16, compressed; large)")
    keep.add_argument(
        "--baselines",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"keep these beside the cache, as rivals of every layer: {', '.join(map(_baseline, kept_beside()))}. With "
        "no other choice than --out they are added to a cache that is finished",
    )
    how = p.add_argument_group("how")
    add = partial(add_setting, how, ExtractionSettings)
    add_device(how, ExtractionSettings)
    add(
        "precision",
        choices=PRECISIONS,
        metavar="PRECISION",
        help=f"compute the forward pass in {', '.join(PRECISIONS)}; what is stored is float32 (default: "
        "%(default)s, exact)",
    )
    add_decoding(how, ExtractionSettings)
    add_engine(how)
    add("strict", help="stop at the first file that has a problem")
    add("overwrite", help="start anew where there is a cache already")
    add("repair", help="extract again what --verify finds damaged")
    add(
        "refresh_labels",
        help="take over labels, splits, speakers and transcripts that have changed, without extracting again",
    )
    how.add_argument(
        "--verify", action="store_true", help="check the checksums of the cache at --out, and do nothing else"
    )
    add_output(p)
    return p


def _baseline(name: str) -> str:
    """A baseline as the help names it."""
    baseline = BASELINES[name]
    if not baseline.choice:
        return f"{name} ({baseline.described})"
    default = f"default {baseline.choice.lower()}: {baseline.default}"
    return f"{name} or {name}={baseline.choice} ({baseline.described}; {default})"


def main(argv: list[str] | None = None) -> int:
    """Run the command, or that which joins shards; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["join"]:
        from .join import main as join

        return join(argv[1:])
    options = parser().parse_args(argv)

    def command() -> int:
        if options.verify:
            return _verify(options)
        if _asks_for_baselines_alone(options):
            return _add_baselines(options, None)
        return _extract(_as_it_was_made(options) if options.repair else options)

    return run_command(command, verbose=options.verbose)


def _verify(options: argparse.Namespace) -> int:
    from emoprobe.extract.cache import HiddenStateCache

    with HiddenStateCache(options.out) as cache:
        wrong = cache.verify()
        for finding in wrong:
            print(f"{options.out}: {finding}", file=sys.stderr)
        if wrong:
            print(
                f"error: {options.out} is damaged; bring it back from a copy, or extract what is wrong again: "
                f"{cache.repair_command}",
                file=sys.stderr,
            )
            return 1
        done = int(cache.done.sum())
        waiting = "" if cache.complete else "; the extraction is not finished: run the same command again"
        print(f"{options.out}: the checksums of all {done} utterances are right{waiting}")
    return 0


def _extract(options: argparse.Namespace) -> int:
    if options.revision and Path(options.model).is_dir():
        raise UserError(f"--revision is for models on the hub, and {options.model} is a folder; leave it out")
    settings = settings_of(options, ExtractionSettings)
    if settings.shard is not None and options.baselines:
        raise UserError(
            "--shard and --baselines do not go together: what is kept beside a shard is not joined; leave --baselines "
            "out, and give it with the joined cache"
        )
    from emoprobe.extract.encoders.architectures import refuse_misspelt_speech

    refuse_misspelt_speech(options.model)
    if options.baselines:
        from emoprobe.extract.baselines.adding import parsed_baseline

        for name in options.baselines:
            parsed_baseline(name)
    # Torch and transformers take seconds: only now, when there may be something to load.
    from emoprobe.extract.corpora import read_corpus
    from emoprobe.extract.encoders.speech import load_backbone
    from emoprobe.extract.extraction import extract

    quiet_transformers(verbose=options.verbose)
    refuse_inputs([options.out], [options.corpus, options.model, options.ratings, options.splits])
    corpus = read_corpus(options.corpus, **reading(options))
    backbone = load_backbone(
        options.model,
        revision=options.revision,
        random_init=options.random_init,
        normalise=None if options.normalise is None else options.normalise == "yes",
        label=options.label,
    )
    cache = extract(
        corpus,
        backbone,
        options.out,
        settings=settings,
        engine=settings_of(options, EngineSettings),
        progress=not options.quiet,
        report=None if options.quiet else print,
    )
    with cache:
        table = cache.utterances
        status = conclude(
            table[table["status"] != "done"],
            table,
            cache.path,
            quiet=options.quiet,
            elsewhere="column `reason` of the utterances in",
        )
    status = max(status, _add_baselines(options, corpus.root) if options.baselines else 0)
    if settings.shard is not None:
        told = f"This is shard {settings.shard} of {corpus.name}; once all are there, they are joined."
        tell_end(told, "extract", "join", options.out, "OTHERS", "--out", "FILE", quiet=options.quiet)
    elif corpus.targets and not options.quiet:
        tell_next("fit", options.out, *(("--target", EMOTION) if corpus.targets == (EMOTION,) else ()))
    return status


def _asks_for_baselines_alone(options: argparse.Namespace) -> bool:
    """Whether the cache is there and finished, and nothing is said of how to extract it."""
    if not options.baselines or not options.out.is_file():
        return False
    from emoprobe.extract.cache import HiddenStateCache

    if _chosen(options) - {"out", "baselines", *_FREE}:
        return False
    with HiddenStateCache(options.out) as cache:
        return cache.complete


#: Options that make no other cache.
_FREE = ("device", "workers", "quiet", "verbose")


def _chosen(options: argparse.Namespace) -> set[str]:
    """Names of the options that are not what they are by themselves."""
    usual = vars(parser().parse_args([]))
    return {name for name, value in vars(options).items() if value != usual[name]}


def _as_it_was_made(options: argparse.Namespace) -> argparse.Namespace:
    """For a repair of which nothing else is said: the options that the cache was made with."""
    chosen = _chosen(options)
    if chosen - {"out", "repair", *_FREE} or not options.out.is_file():
        return options
    from emoprobe.extract.cache import HiddenStateCache

    with HiddenStateCache(options.out) as cache:
        if not cache.arguments:
            raise UserError(f"{options.out} does not say how it was made: give --repair what made it, --corpus too")
        made = parser().parse_args(["--repair", "--out", str(options.out), *cache.arguments])
    for name in chosen.intersection(_FREE):
        setattr(made, name, getattr(options, name))
    return made


def _add_baselines(options: argparse.Namespace, root: Path | None) -> int:
    from emoprobe.extract.baselines import add_baselines
    from emoprobe.extract.baselines.words import NO_TRANSCRIPT
    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.extract.writer import lock_cache

    quiet_transformers(verbose=options.verbose)
    with lock_cache(options.out), HiddenStateCache(options.out) as cache:
        sidecars = add_baselines(
            cache,
            options.baselines,
            root=root,
            device=options.device,
            workers=options.workers,
            progress=not options.quiet,
            report=None if options.quiet else print,
        )
        # What has no states is listed already. An utterance without a transcript is no file that cannot be used.
        done = cache.done
    failed = {name: s.reasons[done & (s.reasons != "") & (s.reasons != NO_TRANSCRIPT)] for name, s in sidecars.items()}
    for name, reasons in failed.items():
        tell_left_out(list(reasons), what=name, elsewhere="column `reason` of the baseline's file")
    return LEFT_OUT if any(len(reasons) for reasons in failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
