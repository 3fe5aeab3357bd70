"""``emoprobe demo-evaluate``: measure whether the packaged models have learned something."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from emoprobe.demo.evaluate import EvaluationSettings
from emoprobe.errors import UserError
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing, write_file

from .command import CommandParser, add_output, add_setting, settings_of, tell_end
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Measure the packaged models against their controls; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-evaluate",
        epilog="examples:\n  emoprobe demo-evaluate\n  emoprobe demo-evaluate --manifest emodb=emodb.csv",
        description="Ask each layer of the packaged models for phones and emotion, beside its controls.",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--model", metavar="FOLDER", help="measure this model (default: the packaged hubert-nano)")
    what.add_argument(
        "--student", metavar="FOLDER", help="measure this student, too (default: the packaged distilhubert-nano)"
    )
    what.add_argument("--front-end", metavar="FOLDER", help="measure the twin whose front end alone was fitted, too")
    what.add_argument(
        "--corpus",
        type=Path,
        default=Path("demo_corpus"),
        metavar="FOLDER",
        help="hear the demo corpus, made if absent",
    )
    what.add_argument("--manifest", action="append", default=[], metavar="NAME=CSV", help="hear further corpora, too")
    add = partial(add_setting, parser.add_argument_group("how"), EvaluationSettings)
    add("limit", metavar="N", help="take N utterances of each corpus")
    add("seeds", metavar="N", help="fit each probe with N seeds (default: %(default)s)")
    add("phones", metavar="N", help="learn phones from N utterances, test on N others (default: %(default)s)")
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--out", type=Path, default=Path("evaluation.csv"), metavar="FILE", help="write scores there (%(default)s)"
    )
    where.add_argument(
        "--figure", type=Path, default=Path("evaluation.png"), metavar="FILE", help="draw them there (%(default)s)"
    )
    add_output(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options), verbose=options.verbose)


def _run(options: argparse.Namespace) -> int:
    from emoprobe.analysis.figures.files import FORMATS, encoded, is_own_figure
    from emoprobe.demo import zoo
    from emoprobe.demo.corpus import make_corpus
    from emoprobe.demo.evaluate import COLUMNS, draw, evaluate, load_models, summary

    settings = settings_of(options, EvaluationSettings)
    if options.figure.suffix[1:] not in FORMATS:
        raise UserError(f"--figure {options.figure}: its name must end in .{', .'.join(FORMATS)}")
    refuse_stranger(options.out, begins_with_columns(COLUMNS), "table of these scores", option="--out")
    refuse_stranger(options.figure, is_own_figure, "figure", option="--figure")
    manifest = options.corpus / "manifest.csv"
    corpora = {"demo": manifest if manifest.is_file() else make_corpus(options.corpus)}
    for given in options.manifest:
        name, _, path = given.partition("=")
        if not Path(path).is_file():
            raise UserError(f"--manifest {given}: no such file; write NAME=FILE.csv")
        corpora[name] = Path(path)
    teacher = options.model or zoo.model_folder("hubert-nano")
    student = options.student or (None if options.model else zoo.model_folder("distilhubert-nano"))
    models, hop, field = load_models(teacher, student=student, front_end=options.front_end)
    scores = evaluate(
        models, corpora, hop=hop, field=field, settings=settings, say=(lambda line: None) if options.quiet else print
    )
    with replacing(options.out) as temporary:
        scores.to_csv(temporary, index=False)
    if not options.quiet:
        print(summary(scores).to_string())
    write_file(options.figure, encoded(draw(scores), options.figure.suffix[1:]))
    tell_end(f"The scores are in {options.out}, their figure is {options.figure}.", quiet=options.quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
