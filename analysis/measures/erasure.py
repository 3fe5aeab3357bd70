"""The question of erasure: what is left of one thing where another is taken out of a layer.

For every layer and fold an eraser (:mod:`.leace`) is fitted on the training rows alone, and ridge probes are fitted to
what it leaves of them; both are asked about speakers whom neither has met. The penalty of each probe is the one that
is chosen before anything is erased, and features keep the unit that they had then.

What is lost is told against erasing a control: the same concept, its values belonging to other utterances, or to other
speakers where each speaker has one. That costs what so many directions cost by chance. How much it scatters from
permutation to permutation is part of the interval of a loss.

Three things are not said by a loss. That the concept is used by the model; only that its directions carry what is read.
That nothing is left of the concept: linear erasure leaves what a nonlinear reader finds (Ravfogel et al. 2022). And
that two concepts are one: where their labels correlate, taking one out takes the other with it (Kumar et al. 2022),
which `shared` tells.

References
----------
N. Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023. S. Ravfogel, F. Vargas,
Y. Goldberg and R. Cotterell, "Adversarial concept erasure in kernel space", EMNLP 2022. A. Kumar, C. Tan and A. Sharma,
"Probing classifiers are unreliable for concept removal and detection", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe.errors import UserError
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.options import check_counts, check_seed

from .directions import LEVEL
from .inquiry import NUMBER, SUBJECT, TEXT, WHOLE, Inquiry, Option
from .problems import Bar, Problem, problems
from .relevance_settings import RelevanceSettings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import Results

    from .concepts import Concept
    from .leace import Eraser
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")

#: What can be erased, as `concepts.CONCEPTS` has it, which loads more than a `--help` needs.
ERASABLE = (*DIMENSIONS, "speaker", "gender", "words")


@dataclass(frozen=True)
class ErasureSettings:
    """What is erased, and how what is left is read.

    Parameters
    ----------
    concepts : tuple of str
        What is erased: dimensions, "speaker", "gender", "words"; empty for all that the corpus knows. All but the
        speaker are read, too.
    features : str
        Statistic of the cache, or several joined by "+".
    split : str, optional
        Part to score; by default the first test part, or all speaker-grouped folds pooled.
    folds, seed : int
        Of the folds; the seed is also that of the permutations.
    controls : int
        Permutations of the concept that a loss is told against.
    components : int
        Principal components of the sentence embedding that stand for the words. A corpus of few texts, which all
        speakers say, has its words told by which text it is.
    ungrouped : bool
        Allow folds by utterance in a corpus that names no speaker.
    """

    concepts: tuple[str, ...] = ()
    features: str = "mean"
    split: str | None = None
    folds: int = 5
    seed: int = 0
    controls: int = 20
    components: int = 10
    ungrouped: bool = False

    def __post_init__(self) -> None:
        for name in self.concepts:
            if name not in ERASABLE:
                raise UserError(f"unknown concept '{name}': there is {', '.join(ERASABLE)}")
        check_counts(self, "controls", least=2)
        check_counts(self, "components", least=1)
        check_counts(self, "folds")
        check_seed(self.seed)


def ask_erasure(
    caches: Sequence[HiddenStateCache],
    settings: ErasureSettings,
    *,
    results: Results | None = None,  # noqa: ARG001 - of every inquiry
    bar: Bar = iter,
) -> pd.DataFrame:
    """What each layer's probes read after each concept is erased from it.

    Parameters
    ----------
    caches : sequence of HiddenStateCache
        One.
    settings : ErasureSettings
    results : Results, optional
        Not used.
    bar : callable

    Returns
    -------
    DataFrame
        :data:`COLUMNS`: of each layer what is `erased` and `read`; `rank`, the directions that were taken away, the
        most of the folds; CCC `before`, `after` with `low` and `high`, and `control` and `control_low`, the mean and
        the lowest after erasing permutations of the concept; `lost`, the control less what is left, with its interval,
        `p`, and `p_holm` over the layers; `shared`, the share of the variance of what is read that the labels of what
        is erased explain.

    Raises
    ------
    UserError
        If a concept that is asked for is not known of the corpus.
    """
    (cache,) = caches
    rows: list[dict] = []
    for place, problem in enumerate(problems(cache, _as_relevance(settings))):
        concepts = _concepts(problem, settings)
        others = [one for one in concepts if one.read and one.name not in DIMENSIONS and place == 0]
        read = [*(one for one in concepts if one.name in problem.dimensions), *others]
        for layer in bar(range(cache.n_layers)):
            rows += _of_layer(problem, layer, concepts, read, settings)
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["erased", "read"], sort=False)["p"].transform(_holm)
    return table.sort_values(["erased", "read", "layer"], kind="stable", ignore_index=True, key=_order)


def _order(column: pd.Series) -> pd.Series:
    return column if column.name == "layer" else column.map(ERASABLE.index)


def _holm(p: pd.Series) -> np.ndarray:
    from emoprobe.probe.permutation import holm

    return holm(p)


def _as_relevance(settings: ErasureSettings) -> RelevanceSettings:
    dimensions = tuple(name for name in settings.concepts if name in DIMENSIONS)
    return RelevanceSettings(
        dimensions=dimensions,
        features=settings.features,
        split=settings.split,
        folds=settings.folds,
        seed=settings.seed,
        ungrouped=settings.ungrouped,
    )


def _concepts(problem: Problem, settings: ErasureSettings) -> list[Concept]:
    from .concepts import concept_of

    train = np.unique(np.concatenate([fold.train for fold in problem.folds]))
    concepts = []
    for name in settings.concepts or ERASABLE:
        one = concept_of(problem.cache, name, components=settings.components, fitted=train)
        if one is not None and not all(one.varies_in(fold.train) for fold in problem.folds):
            one = None
        if one is None and name in settings.concepts:
            need = "the baseline 'text'" if name == "words" else f"two values of {name} to train on in every fold"
            raise UserError(f"{problem.cache.path}: {name} cannot be erased, the cache has not {need}")
        concepts += [] if one is None else [one]
    return concepts


# One layer -----------------------------------------------------------------------------------------------------------


def _of_layer(
    problem: Problem, layer: int, concepts: Sequence[Concept], read: Sequence[Concept], settings: ErasureSettings
) -> Iterator[dict]:
    """Rows of a layer: every pair of what is erased and what is read."""
    from .losses import losses

    targets = np.concatenate([one.values for one in read], axis=1)
    columns = np.split(np.arange(targets.shape[1]), np.cumsum([one.values.shape[1] for one in read])[:-1])
    predicted, ranks = erased_predictions(problem, layer, concepts, targets, settings)
    common = {"model": problem.cache.label, "corpus": problem.cache.corpus, "split": problem.split, "layer": layer}
    common |= {"depth": layer / max(problem.cache.n_layers - 1, 1), "features": settings.features}
    for which, one in zip(columns, read, strict=True):
        rows = problem.scored[one.known[problem.scored]]
        fits = predicted[:, :, rows][..., which]
        scores = losses(one.values[rows], fits, problem.groups[rows])
        for k, concept in enumerate(concepts):
            known = rows[concept.known[rows]]
            yield {
                **common,
                "erased": concept.name,
                "read": one.name,
                "rank": ranks[k],
                **scores[k],
                "shared": _shared(one, concept, known),
                "n": len(rows),
            }


def _shared(read: Concept, erased: Concept, rows: np.ndarray) -> float:
    from .concepts import shared_variance

    return 1.0 if read.name == erased.name else shared_variance(read.values[rows], erased.values[rows])


def erased_predictions(
    problem: Problem, layer: int, concepts: Sequence[Concept], targets: np.ndarray, settings: ErasureSettings
) -> tuple[np.ndarray, list[int]]:
    """Predictions of ridge probes of one layer, nothing being erased, each concept, and permutations of it.

    Parameters
    ----------
    problem : Problem
    layer : int
    concepts : sequence of Concept
    targets : ndarray, shape (utterances, targets)
        NaN where there is no label.
    settings : ErasureSettings

    Returns
    -------
    predictions : ndarray, shape (1 + concepts, 1 + controls, utterances, targets)
        First of all what is read before; with it the controls are empty. NaN where no fold scores a row.
    ranks : list of int
        Of each eraser, the most of the folds.
    """
    from emoprobe.probe import ridge

    from .leace import Eraser, Whitening

    solved = ridge.ridge_probe(lambda rows: problem.read(layer, rows), targets, problem.folds)
    predictions = np.full((1 + len(concepts), 1 + settings.controls, *targets.shape), np.nan)
    predictions[0, 0] = solved.predictions
    ranks = [0] * len(concepts)
    for f, fold in enumerate(problem.folds):
        held = np.concatenate(list(fold.tests.values()))
        states, ahead = _in_units(problem, layer, fold.train, held)
        whitening = Whitening.of(states)
        left_by = partial(_read, states, ahead, targets[fold.train], solved.penalties[f])
        for k, one in enumerate(concepts):
            for draw, concept in enumerate(_with_controls(problem, one, k, f, settings)):
                known = concept.known[fold.train]
                eraser = Eraser.of_concept(states[known], concept.values[fold.train][known], whitening)
                predictions[1 + k, draw, held] = left_by(eraser)
                ranks[k] = max(ranks[k], eraser.rank)
    return predictions, ranks


def _with_controls(
    problem: Problem, concept: Concept, place: int, fold: int, settings: ErasureSettings
) -> list[Concept]:
    """The concept, and its permutations: the same in every layer, and in every fold of a cross-validation.

    Those of the speaker are exchanged among the training rows of a fold alone, which name fewer speakers than all.
    """
    from emoprobe.probe.units import speaker_groups

    voices = speaker_groups(problem.cache.utterances["speaker"].fillna("").astype(str).tolist())
    apart = len(problem.folds) == 1 or concept.name == "speaker"
    among = problem.folds[fold].train if apart else np.arange(len(voices))
    rng = np.random.default_rng([settings.seed, place, fold if apart else 0])
    return [concept, *(concept.permuted(among, voices, rng) for _ in range(settings.controls))]


def _in_units(problem: Problem, layer: int, train: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States of two sets of rows, each feature in the unit that it has in the first."""
    states, ahead = (problem.read(layer, rows).astype(np.float64) for rows in (train, held))
    mean, spread = states.mean(0), states.std(0)
    unit = np.where(spread > 1e-9 * np.abs(mean), spread, np.inf)
    return (states - mean) / unit, (ahead - mean) / unit


def _read(
    states: np.ndarray, ahead: np.ndarray, targets: np.ndarray, penalties: np.ndarray, eraser: Eraser
) -> np.ndarray:
    """Predictions (rows ahead, targets) of ridges of given penalties on what an eraser leaves, each on its labels."""
    states, ahead = eraser(states), eraser(ahead)
    predicted = np.empty((len(ahead), targets.shape[1]))
    labelled = ~np.isnan(targets)
    for pattern in np.unique(labelled, axis=1).T:
        same = (labelled == pattern[:, None]).all(0)
        x, y = states[pattern], targets[pattern]
        centre = x.mean(0)
        gram = (x - centre).T @ (x - centre)
        for penalty in np.unique(penalties[same]):
            some = same & (penalties == penalty)
            mean = y[:, some].mean(0)
            cross = (x - centre).T @ (y[:, some] - mean)
            predicted[:, some] = (ahead - centre) @ np.linalg.solve(gram + penalty * np.eye(len(gram)), cross) + mean
    return predicted


def surely_lost(rows: pd.DataFrame) -> pd.Series:
    """In which rows more is lost than by the permuted concept: after correction, and than by any permutation of it."""
    return (rows["p_holm"] <= LEVEL) & (rows["after"] < rows["control_low"])


def _told(answer: pd.DataFrame) -> Iterator[str]:
    """What each erasure costs what was read best, a sentence a concept."""
    for (model, _, erased), rows in answer.groupby(["model", "corpus", "erased"], sort=False):
        parts = []
        for read, curve in rows[rows["read"] != erased].groupby("read", sort=False):
            best = curve.iloc[curve["before"].argmax()]
            several = int(surely_lost(curve).sum())
            parts.append(
                f"{read} {best['before']:.2f} → {best['after']:.2f} (permuted {best['control']:.2f}) in layer "
                f"{best['layer']}, a loss beyond that in {several} of {len(curve)} layers"
            )
        if parts:
            yield f"{model}, without {erased} ({rows['rank'].max()} directions): {'; '.join(parts)}."


COLUMNS = {
    **SUBJECT, "split": TEXT, "features": TEXT, "erased": TEXT, "read": TEXT, "layer": WHOLE, "depth": NUMBER,
    "rank": WHOLE, "before": NUMBER, "after": NUMBER, "low": NUMBER, "high": NUMBER, "control": NUMBER,
    "control_low": NUMBER, "lost": NUMBER, "lost_low": NUMBER, "lost_high": NUMBER, "p": NUMBER, "p_holm": NUMBER,
    "shared": NUMBER, "n": WHOLE, "units": WHOLE,
}  # fmt: skip

ERASURE = Inquiry(
    name="erasure",
    title="Erasure",
    question="What can still be read of a dimension where another, the speaker or the words are erased from a layer?",
    settings=ErasureSettings,
    options={
        "concepts": Option("erase and read these; default: all that the corpus knows", choices=ERASABLE),
        "features": Option("read this statistic of the cache (default: %(default)s)"),
        "split": Option("score this part, such as test (default: the first that is held out)"),
        "folds": Option("make so many folds where the corpus has no split (default: %(default)s)"),
        "controls": Option("tell a loss against so many permutations of the concept (default: %(default)s)"),
        "components": Option("take so many components of the sentence embedding for the words (default: %(default)s)"),
        "seed": Option("draw folds and permutations from this seed (default: %(default)s)"),
        "ungrouped": Option("accept folds by utterance in a corpus that names no speaker"),
    },
    columns=COLUMNS,
    ask=ask_erasure,
    told=lambda answer: list(_told(answer)),
    method="What is linearly readable of a concept is taken out of a layer by least-squares concept erasure, fitted on "
    "training rows alone (which components stand for the words is told by all rows that any fold trains on); ridge "
    "probes are then fitted to what is left, and what they lose is told against erasing the concept with its values "
    "permuted.",
    cites=("belrose2023leace", "ravfogel2022kernel", "kumar2022unreliable"),
    methods=("jackknife", "ridge", "splits"),
    reads=("id", "speaker", "group", "fold", "split", "status", "gender", "transcript", *DIMENSIONS),
    uses_baselines=True,
)
