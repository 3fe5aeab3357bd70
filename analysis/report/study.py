"""What a report is about: results, the caches they came from, and which model plays which part."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from emoprobe.errors import UserError
from emoprobe.extract.finished import refuse_shard
from emoprobe.fields import LIST, TABLE, Part, Spec, check_fields
from emoprobe.probe.choosing import rows_of
from emoprobe.probe.results import Results
from emoprobe.probe.schema import CATEGORIES
from emoprobe.probe.selecting import NOT_HELD_OUT, Choice, best_layer, headline_metric, reported_split

from ..measures.answers import load_answers
from ..tables import END_TO_END, ordered_features, read_complete

EMOTION = CATEGORIES
LAYERED = {"dimension": "ridge", EMOTION: "logistic"}


@dataclass(frozen=True)
class Model:
    """A model on a corpus.

    Parameters
    ----------
    label, corpus : str
    about : dict
        Its provenance; empty where the results do not say (a text encoder, say).
    cache_file : str
        Name of the cache that it was probed from; empty where it was not.
    cache : Path, optional
        That cache, where it was found.
    arguments : tuple of str
        What ``probe-extract`` was given for it, where it was found and says so.
    """

    label: str
    corpus: str
    about: dict = field(default_factory=dict)
    cache_file: str = ""
    cache: Path | None = None
    arguments: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether its weights were never trained."""
        return self.about.get("random_init") is not None

    @property
    def blocks(self) -> int | None:
        """Number of transformer blocks, where it is known."""
        return self.about.get("blocks")

    @property
    def probed(self) -> bool:
        """Whether its layers were probed at all."""
        return bool(self.cache_file)


@dataclass(frozen=True)
class Study:
    """Everything that the sections read.

    Parameters
    ----------
    results : Results
        Of the dimensions that were asked for.
    models : tuple of Model
    folders : tuple of Path
        Where the results were read from.
    quick : bool
        Whether to leave out what is computed from caches.
    answers : mapping of str to DataFrame
        To the questions that were asked by name, as far as they stand in the folders.
    """

    results: Results
    models: tuple[Model, ...]
    folders: tuple[Path, ...]
    quick: bool = False
    answers: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def corpora(self) -> list[str]:
        """Names of the corpora, in the order of the results."""
        return list(dict.fromkeys(entry["corpus"] for entry in self.results.protocol))

    @property
    def dimensions(self) -> list[str]:
        """Arousal, valence, dominance: as far as there are scores of them."""
        return self.results.ratings

    @property
    def has_emotion(self) -> bool:
        """Whether categories were probed."""
        return bool((self.results.scores["dimension"] == EMOTION).any())

    @property
    def targets(self) -> list[str]:
        """The dimensions, and the categories where they were probed."""
        return [*self.dimensions, *([EMOTION] if self.has_emotion else [])]

    def of(self, corpus: str, *, random: bool | None = None, probed: bool = True) -> list[Model]:
        """Models on a corpus, trained or `random` or both, whose layers were probed."""
        return [
            model
            for model in self.models
            if model.corpus == corpus and (model.probed or not probed) and random in (None, model.random)
        ]

    def twin(self, model: Model) -> Model | None:
        """The same architecture with random weights, on the same corpus."""
        same = (other for other in self.of(model.corpus, random=True) if other.about.get("name") == model.about["name"])
        return None if model.random else next(same, None)

    def runs(self, **values: str) -> list[dict]:
        """Entries of the protocol whose key has the given values."""
        return [run for run in self.results.protocol if all(run[name] == value for name, value in values.items())]

    def split(self, corpus: str) -> str:
        """The part of a corpus that is reported."""
        scores = self.results.scores
        return reported_split(scores.loc[scores["corpus"] == corpus, "split"])

    def optimistic(self, corpus: str) -> bool:
        """Whether all that was scored is a part that choices were made on."""
        return self.split(corpus) in NOT_HELD_OUT

    def layers(self, model: Model, dimension: str) -> pd.DataFrame:
        """Pooled scores of the linear probe at each layer, on the part and features that are reported."""
        probe = LAYERED.get(dimension, LAYERED["dimension"])
        rows = rows_of(
            self.results.scores, model=model.label, corpus=model.corpus, dimension=dimension, probe=probe, fold="all",
            split=self.split(model.corpus),
        )  # fmt: skip
        rows = rows[rows["layer"].ge(0).fillna(False).to_numpy(bool)]
        features = next(iter(ordered_features(rows["features"])), "")
        return rows[rows["features"] == features].sort_values("layer")

    def choice(self, model: Model, dimension: str) -> Choice | None:
        """The layer of the linear probe that is reported; None where no layer has a score."""
        rows, metric = self.layers(model, dimension), headline_metric(dimension)
        if not rows[metric].notna().any():
            return None
        return best_layer(self.results.scores, rows, metric)

    @property
    def end_to_end(self) -> bool:
        """Whether the results hold models trained end to end."""
        return bool((self.results.scores["probe"] == END_TO_END).any())

    @property
    def cache_files(self) -> list[str]:
        """The caches that the results were fitted on, as words of a command."""
        files = [str(model.cache or model.cache_file) for model in self.models if model.probed]
        return [shlex.quote(name) for name in dict.fromkeys(files)] or ["CACHE"]

    def fit_command(self, *options: str) -> str:
        """``probe-fit`` on the caches of these results, into the same folder."""
        return " ".join(["probe-fit", *self.cache_files, *options, "--out", shlex.quote(str(self.folders[0]))])

    def fit_of(self, cache: str) -> str:
        """``probe-fit`` on one more cache, into the same folder."""
        return f"probe-fit {shlex.quote(cache)} --out {shlex.quote(str(self.folders[0]))}"

    def corpus_option(self, corpus: str) -> str:
        """``--corpus`` and what goes with it, as a cache of the corpus was given it; CORPUS where none tells."""
        given = next((model.arguments for model in self.models if model.corpus == corpus and model.arguments), ())
        return shlex.join(given[: given.index("--model")]) if "--model" in given else "--corpus CORPUS"

    def twin_command(self, model: Model, file: str) -> str:
        """``probe-extract`` of the same architecture with random weights, into `file`."""
        given = list(model.arguments)
        if "--label" in given:  # the twin has a name of its own
            place = given.index("--label")
            del given[place : place + 2]
        name = str(model.about.get("name") or model.label)
        words = shlex.join(given) or f"{self.corpus_option(model.corpus)} --model {shlex.quote(name)}"
        return f"probe-extract {words} --random-init 0 --out {shlex.quote(file)}"

    def baseline_command(self, model: Model, name: str) -> str:
        """``probe-extract`` of one more baseline beside a model's cache, and the fit of it.

        A cache that is here knows its corpus. One that is not has to be made again, and is told what it was made of.
        """
        told = ""
        if model.cache is None:
            about = shlex.quote(str(model.about.get("name") or model.label))
            told = (shlex.join(model.arguments) or f"{self.corpus_option(model.corpus)} --model {about}") + " "
        file = shlex.quote(str(model.cache or model.cache_file))
        return f"probe-extract {told}--out {file} --baselines {name} && {self.fit_command()}"

    def report_command(self, *options: str) -> str:
        """``probe-report`` of the same folders."""
        return " ".join(["probe-report", *(shlex.quote(str(folder)) for folder in self.folders), *options])


#: What a report says of the runs of some probes, beside the split of each; the figures do without.
_REPORTED: dict[str, dict[str, Spec]] = {
    "ridge": {"settings": Part({"penalties": LIST})},
    "weighted": {"settings": TABLE},
    END_TO_END: {"run": Part({"model": TABLE})},
}


def gather(
    folders: Sequence[Path], *, caches: Sequence[Path] = (), dimensions: Sequence[str] = (), quick: bool = False
) -> Study:
    """Read results, and find the caches that they name.

    Parameters
    ----------
    folders : sequence of Path
        Of results.
    caches : sequence of Path
        Caches; those that the protocol names and that lie beside the results or in the current folder are found
        without.
    dimensions : sequence of str
        What to report; all by default.
    quick : bool
        See :class:`Study`.

    Returns
    -------
    Study

    Raises
    ------
    UserError
        If there are no results, none of the dimensions, a cache is absent, or belongs to none of the results.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results: make one with probe-fit --out {folder}")
    results = read_complete(folders)
    if dimensions:
        results = _only(results, dimensions)
    if not results.protocol or not len(results.scores):
        wanted = f" of {', '.join(dimensions)}" if dimensions else ""
        raise UserError(f"{_names(folders)} holds no scores{wanted}: fit them with probe-fit")
    for run in results.protocol:
        fields: dict[str, Spec] = {"split": TABLE} | _REPORTED.get(run["probe"], {})
        remedy = f"fit {run['probe']} of {run['dimension']}, {run['model']}, again, or draw figures alone: probe-plot"
        check_fields(run, f"the protocol of {_names(folders)}", fields, remedy=remedy)
    answers = {name: _of_dimensions(answer, dimensions) for name, answer in load_answers(folders).items()}
    return Study(results, _models(results, folders, caches), tuple(folders), quick, answers)


def _of_dimensions(answer: pd.DataFrame, dimensions: Sequence[str]) -> pd.DataFrame:
    if not dimensions or "dimension" not in answer:
        return answer
    # What is of no dimension, such as the states themselves, has none.
    return answer[answer["dimension"].isin([*dimensions, ""])].reset_index(drop=True)


def _only(results: Results, dimensions: Sequence[str]) -> Results:
    def rows(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["dimension"].isin(list(dimensions))].reset_index(drop=True)

    return replace(
        results,
        scores=rows(results.scores),
        weights=rows(results.weights),
        predictions=rows(results.predictions),
        recalls=rows(results.recalls),
        protocol=[entry for entry in results.protocol if entry["dimension"] in dimensions],
    )


def _models(results: Results, folders: Sequence[Path], given: Sequence[Path]) -> tuple[Model, ...]:
    about: dict[tuple[str, str], tuple[dict, str]] = {}
    for entry in results.protocol:
        key = (entry["model"], entry["corpus"])
        cache = entry.get("cache")
        if cache:
            about[key] = (cache["provenance"]["model"], cache["file"])
        elif not about.get(key, ({},))[0]:
            about[key] = ((entry.get("run") or {}).get("audio") or {}, "")
    paths = {_belonging(path, about): path for path in given}
    models = []
    for key, (provenance, file) in about.items():
        path = paths.get(key) or (_in_folders(file, key, provenance, folders) if file else None)
        models.append(Model(*key, provenance, file, path, () if path is None else _arguments(path)))
    return tuple(models)


def _belonging(path: Path, about: dict[tuple[str, str], tuple[dict, str]]) -> tuple[str, str]:
    """Which of the models a cache is of.

    Raises
    ------
    UserError
        If it is none of them, or one with other weights.
    """
    key, weights = _identity(path)
    if key not in about or not about[key][1]:
        have = "; ".join(f"{model} on {corpus}" for model, corpus in about)
        raise UserError(f"{path} is of {key[0]} on {key[1]}, and the results are of {have}: leave it out, or fit it")
    if weights != about[key][0].get("weights_sha256"):
        raise UserError(
            f"{path} was made with other weights than the results of {key[0]}: fit it again, or leave it out"
        )
    return key


def _identity(path: Path) -> tuple[tuple[str, str], str | None]:
    from emoprobe.extract.cache import HiddenStateCache

    with HiddenStateCache(path) as cache:
        refuse_shard(cache)
        return (cache.label, cache.corpus), cache.provenance["model"].get("weights_sha256")


def _arguments(path: Path) -> tuple[str, ...]:
    from emoprobe.extract.cache import HiddenStateCache

    with HiddenStateCache(path) as cache:
        return cache.arguments


def _in_folders(file: str, key: tuple[str, str], provenance: dict, folders: Sequence[Path]) -> Path | None:
    """The cache that the protocol names: in a folder of results, beside it, or here."""
    name = Path(file).name  # a protocol from elsewhere names a file, and leads nowhere
    places = [place for folder in folders for place in (folder.parent, folder)] + [Path()]
    for place in places:
        path = place / name
        if path.is_file():
            try:
                identity = _identity(path)
            except UserError:  # nobody asked for this file by name
                continue
            if identity == (key, provenance.get("weights_sha256")):
                return path
    return None


def _names(folders: Sequence[Path]) -> str:
    return " and ".join(map(str, folders))
