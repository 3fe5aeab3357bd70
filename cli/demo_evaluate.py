"""``emoprobe demo-evaluate``: measure whether the packaged models have learned something."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emoprobe.demo.evaluate import EvaluationSettings
from emoprobe.errors import UserError
from emoprobe.ownership import begins_with_columns, refuse_stranger
from emoprobe.storage import replacing, write_file

from .command import CommandParser, add_setting, settings_of
from .running import run_command


def main(arguments: list[str] | None = None) -> int:
    """Measure the packaged models against their controls; return the exit status."""
    parser = CommandParser(
        prog="emoprobe demo-evaluate",
        description="Ask each layer of the packaged models for phones and emotion, beside its controls.",
    )
    parser.add_argument("--model", help="folder (default: the packaged hubert-nano)")
    parser.add_argument("--student", help="folder (default: the packaged distilhubert-nano)")
    parser.add_argument("--front-end", help="folder of the twin whose front end alone was fitted")
    parser.add_argument("--corpus", type=Path, default=Path("demo_corpus"), help="demo corpus, made if absent")
    parser.add_argument("--manifest", action="append", default=[], metavar="NAME=CSV", help="further corpora")
    add_setting(parser, EvaluationSettings, "limit", help="utterances of each corpus")
    add_setting(parser, EvaluationSettings, "seeds", help="of each probe (default %(default)s)")
    add_setting(parser, EvaluationSettings, "phones", help="utterances to learn from, to test on (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("evaluation.csv"))
    parser.add_argument("--figure", type=Path, default=Path("evaluation.png"))
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options))


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
    scores = evaluate(models, corpora, hop=hop, field=field, settings=settings, say=print)
    with replacing(options.out) as temporary:
        scores.to_csv(temporary, index=False)
    print(summary(scores).to_string())
    write_file(options.figure, encoded(draw(scores), options.figure.suffix[1:]))
    print(f"{options.out} {options.figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
