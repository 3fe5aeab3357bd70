"""The question of words or voice: what moves a probe's answer, read on speech that changes in one of them alone.

Probes are trained on a corpus and read two others, extracted with the same model: one in which texts change and the
manner does not, and one in which the manner changes and texts do not (`emoprobe probing-corpora` speaks both, in the
design of Triantafyllopoulos et al. 2022; a corpus of acted emotions whose texts are fixed can take the place of the
second). For each layer and dimension:

- the correlation of the answer with the rated valence of the texts, within a voice;
- the correlation of the answer with the rated arousal of the manner, within a text and voice;
- how far the answer moves with the texts and with the manner, as standard deviations, in the unit of the answer's own
  standard deviation on the training rows; and the share of the manner in both together,
  :math:`s_v^2 / (s_v^2 + s_w^2)`.

Intervals are the jackknife's (`probe.jackknife`), over texts in the first corpus and over pairs of text and voice in
the second; of the share, which rests on both, the two are independent samples on the scale of its logit. They are of
the fixed probe.

What this cannot say: synthetic speech is not the speech that the model and the probe were trained on, and a probe
that does not react to it may react to people. A reaction is shown; its absence is not.

References
----------
A. Triantafyllopoulos, J. Wagner, H. Wierstorf, M. Schmitt, U. Reichel, F. Eyben, F. Burkhardt and B. Schuller,
"Probing speech emotion recognition transformers for linguistic knowledge", Interspeech 2022.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from emoprobe.errors import Note, UserError
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

    from .reactions import Changed
else:
    np, pd = _lazy.load("numpy"), _lazy.load("pandas")


@dataclass(frozen=True)
class WordsOrVoiceSettings:
    """Which corpora are which, and how the probes are trained.

    Parameters
    ----------
    words, voice : str
        Names of the corpora in which the texts change, and in which the manner changes.
    dimensions : tuple of str
        Empty for all that the training corpus has labels of.
    features : str
        Statistic of the caches, or several joined by "+".
    folds, seed : int
        Among which the penalty is chosen; the seed deals them.
    ungrouped : bool
        Allow folds by utterance in a training corpus that names no speaker.
    """

    words: str = "probing-words"
    voice: str = "probing-voice"
    dimensions: tuple[str, ...] = ()
    features: str = "mean"
    folds: int = 5
    seed: int = 0
    ungrouped: bool = False

    def __post_init__(self) -> None:
        for name in self.dimensions:
            if name not in DIMENSIONS:
                raise UserError(f"unknown dimension '{name}': there is {', '.join(DIMENSIONS)}")
        check_counts(self, "folds", least=2)
        check_seed(self.seed)


def ask_words_or_voice(
    caches: Sequence[HiddenStateCache],
    settings: WordsOrVoiceSettings,
    *,
    results: Results | None = None,  # noqa: ARG001 - of every inquiry
    bar: Bar = iter,
) -> pd.DataFrame:
    """Reactions of the probes of every layer to words and to voice.

    Parameters
    ----------
    caches : sequence of HiddenStateCache
        Of each model one of a training corpus, or several, and one of each of the two corpora that the settings name.
    settings : WordsOrVoiceSettings
    results : Results, optional
        Not used.
    bar : callable

    Returns
    -------
    DataFrame
        :data:`COLUMNS`. `words_r` and `voice_r`, correlations with the valence of the texts and the arousal of the
        manner; `words_sd` and `voice_sd`, spreads in the unit of the answers on the training rows; `share` of the voice
        in what moves the answer; each with its interval and p of no reaction (of equal shares), corrected over the
        layers.

    Raises
    ------
    UserError
        If a model lacks one of the three, or they were extracted with different models.
    """
    from .reactions import Changed

    rows: list[dict] = []
    for corpus, words, voice in _roles(caches, settings):
        of_words, of_voice = Changed.of_words(words), Changed.of_voice(voice)
        for problem in problems(corpus, _as_relevance(settings)):
            for layer in bar(range(corpus.n_layers)):
                rows += _of_layer(problem, layer, of_words, of_voice, settings)
    table = pd.DataFrame(rows)
    about = ["model", "corpus", "dimension"]
    for name in ("words_p", "voice_p", "share_p"):
        table[f"{name}_holm"] = table.groupby(about, sort=False)[name].transform(_holm)
    return table.sort_values([*about, "layer"], kind="stable", ignore_index=True, key=_order)


def _order(column: pd.Series) -> pd.Series:
    if column.name == "layer":
        return column
    names = list(DIMENSIONS) if column.name == "dimension" else list(dict.fromkeys(column))
    return column.map(names.index)


def _holm(p: pd.Series) -> np.ndarray:
    from emoprobe.probe.permutation import holm

    return holm(p)


def _as_relevance(settings: WordsOrVoiceSettings) -> RelevanceSettings:
    return RelevanceSettings(
        dimensions=settings.dimensions,
        features=settings.features,
        folds=settings.folds,
        seed=settings.seed,
        ungrouped=settings.ungrouped,
    )


def _roles(
    caches: Sequence[HiddenStateCache], settings: WordsOrVoiceSettings
) -> list[tuple[HiddenStateCache, HiddenStateCache, HiddenStateCache]]:
    """Training corpus, words and voice of each model that has all three; the others are told."""
    models: dict[str, dict[str, HiddenStateCache]] = {}
    for cache in caches:
        models.setdefault(cache.label, {})[cache.corpus] = cache
    roles, lacking = [], []
    for label, corpora in models.items():
        if lack := _lacking(label, corpora, settings):
            lacking.append(lack)
            continue
        words, voice = corpora[settings.words], corpora[settings.voice]
        for cache in (one for one in corpora.values() if one not in (words, voice)):
            for other in (words, voice):
                _refuse_another_model(cache, other)
            roles.append((cache, words, voice))
    if not roles:
        raise UserError(lacking[0])
    for lack in lacking:
        warnings.warn(f"left out: {lack}", Note, stacklevel=2)
    return roles


def _lacking(label: str, corpora: dict[str, HiddenStateCache], settings: WordsOrVoiceSettings) -> str:
    """What the caches of a model lack for it to be asked, with the remedy; empty where all are there."""
    for name in (settings.words, settings.voice):
        if name not in corpora:
            return (
                f"there is no cache of the corpus '{name}' by {label}: speak it with emoprobe probing-corpora, "
                f"extract it with probe-extract --corpus probing_corpora/{name}.csv and the same model, and name "
                "its cache too; or name another corpus with --words or --voice"
            )
    if set(corpora) == {settings.words, settings.voice}:
        return f"there is no cache by {label} to train probes on: name that of a corpus with labels, too"
    return ""


def _refuse_another_model(one: HiddenStateCache, other: HiddenStateCache) -> None:
    same = ("weights_sha256", "normalise")
    mine, theirs = (cache.provenance["model"] for cache in (one, other))
    if one.n_layers != other.n_layers or any(mine.get(name) != theirs.get(name) for name in same):
        raise UserError(
            f"{one.path} and {other.path} are of different models that have one name: extract both with the same"
        )


def _of_layer(
    problem: Problem, layer: int, words: Changed, voice: Changed, settings: WordsOrVoiceSettings
) -> Iterator[dict]:
    from emoprobe.probe.ridge import RidgeProbe

    from .reactions import reaction

    several = len(problem.folds) > 1  # a cross-validation: all of it is trained on
    train = np.unique(np.concatenate([fold.train for fold in problem.folds])) if several else problem.folds[0].train
    states = problem.read(layer, train).astype(np.float64)
    probe = RidgeProbe(folds=settings.folds, random_state=settings.seed)
    probe.fit(states, problem.targets[train], groups=problem.whole[train])
    own = probe.predict(states).std(0)
    to_words, to_voice = (probe.predict(one.states(settings.features, layer)) for one in (words, voice))
    for column, dimension in enumerate(problem.dimensions):
        row = reaction(words, voice, to_words[:, column], to_voice[:, column])
        row |= {name: row[name] / own[column] if own[column] > 0 else np.nan for name in ("words_sd", "voice_sd")}
        yield {
            "model": problem.cache.label,
            "corpus": problem.cache.corpus,
            "words": settings.words,
            "voice": settings.voice,
            "dimension": dimension,
            "features": settings.features,
            "layer": layer,
            "depth": layer / max(problem.cache.n_layers - 1, 1),
            "trained": len(train),
            **row,
        }


#: What each correlation is with.
_FOLLOWED = (("words", "the valence of the words"), ("voice", "the arousal of the voice"))


def _told(answer: pd.DataFrame) -> Iterator[str]:
    """For each dimension: what its answers follow, and in how many layers."""
    for (model, _, dimension), rows in answer.groupby(["model", "corpus", "dimension"], sort=False):
        parts = []
        for name, what in _FOLLOWED:
            if not rows[f"{name}_r"].notna().any():
                continue
            best = rows.iloc[int(np.nanargmax(np.abs(rows[f"{name}_r"])))]
            sure = rows[rows[f"{name}_p_holm"] <= LEVEL]
            along, against = (int((sign * sure[f"{name}_r"] > 0).sum()) for sign in (1, -1))
            counter = f", against it in {against}" if against else ""
            strongest = f"r = {best[f'{name}_r']:.2f} in layer {best['layer']}"
            parts.append(f"{what} in {along} of {len(rows)} layers{counter} ({strongest})")
        low, high = rows["share"].min(), rows["share"].max()
        parts.append(f"{low:.0%} to {high:.0%} of what moves it is the voice")
        yield f"{model}, {dimension} follows {', '.join(parts)}."


COLUMNS = {
    **SUBJECT, "words": TEXT, "voice": TEXT, "dimension": TEXT, "features": TEXT, "layer": WHOLE, "depth": NUMBER,
    "trained": WHOLE,
    **{f"{name}_{what}": NUMBER for name in ("words", "voice") for what in ("r", "low", "high", "p", "p_holm", "sd")},
    "words_units": WHOLE, "voice_units": WHOLE,
    "share": NUMBER, "share_low": NUMBER, "share_high": NUMBER, "share_p": NUMBER, "share_p_holm": NUMBER,
}  # fmt: skip

WORDS_OR_VOICE = Inquiry(
    name="words_or_voice",
    title="Words or voice",
    question="Does what a layer's probe says react to the words, or to the voice?",
    settings=WordsOrVoiceSettings,
    options={
        "words": Option(
            "find the texts that change, in one manner, in this corpus (default: %(default)s)",
            shown="CORPUS",
        ),
        "voice": Option(
            "find the manners that change, of one text, in this corpus (default: %(default)s)",
            shown="CORPUS",
        ),
        "dimensions": Option("default: all that the training corpus has labels of", name="dim", choices=DIMENSIONS),
        "features": Option("read this statistic of the caches (default: %(default)s)"),
        "folds": Option("choose the penalty among so many folds (default: %(default)s)"),
        "seed": Option("draw the folds from this seed (default: %(default)s)"),
        "ungrouped": Option("accept folds by utterance in a corpus that names no speaker"),
    },
    columns=COLUMNS,
    ask=ask_words_or_voice,
    told=lambda answer: list(_told(answer)),
    method="Ridge probes of each layer, trained on a corpus, read speech in which the texts change and the manner does "
    "not, and speech in which the manner changes and the texts do not; what their answers follow is told by "
    "correlations within a voice, or within a text and voice.",
    cites=("triantafyllopoulos2022linguistic",),
    methods=("jackknife", "ridge", "splits"),
    reads=("id", "speaker", "group", "fold", "split", "status", "transcript", *DIMENSIONS),
    together=True,
)
