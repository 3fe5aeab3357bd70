"""Numbers that are kept belong to a version of their method; and methods do not change in silence."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emoprobe import fit_layers
from emoprobe.analysis.measures import relevance, similarity
from emoprobe.probe import (
    baselines,
    bootstrap,
    category_null,
    deletion,
    jackknife,
    logistic,
    mdl,
    metrics,
    mlp,
    permutation,
    recalls,
    ridge,
    splits,
    weighted,
)
from emoprobe.probe import training as trained
from emoprobe.probe.results import Results, load_results
from emoprobe.testing.caches import write_cache

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden_numbers.json"
FITS = {"dimensions": ("valence", "emotion"), "probe": ("ridge", "mlp", "weighted"), "folds": 3, "seeds": 1,
        "resamples": 50, "permutations": 20, "features": "mean"}  # fmt: skip
LIKE_RIDGE = {"ridge", "duration", "logmel", "mfcc"}
EVERYTHING = {(probe, "valence") for probe in (*LIKE_RIDGE, "mean", "mlp", "weighted")}
EVERYTHING |= {(probe, "emotion") for probe in ("mean", "duration", "logmel", "mfcc", "logistic")}
OF_RIDGE = {(probe, "valence") for probe in LIKE_RIDGE}
OF_LOGISTIC = {(probe, "emotion") for probe in ("duration", "logmel", "mfcc", "logistic")}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "c.h5"
    write_cache(path, layers=2, width=6)
    return path


@pytest.fixture(scope="module")
def kept(cache, tmp_path_factory) -> Path:
    """Results of every probe, once."""
    folder = tmp_path_factory.mktemp("kept") / "results"
    fit_layers(cache, out=folder, **FITS)
    return folder


@pytest.mark.parametrize(
    ("module", "refitted"),
    [
        (splits, EVERYTHING),
        (metrics, EVERYTHING),
        (bootstrap, EVERYTHING),
        (ridge, OF_RIDGE),
        (deletion, OF_RIDGE),
        (jackknife, OF_RIDGE),
        (permutation, OF_RIDGE | OF_LOGISTIC),
        (mdl, OF_RIDGE),
        (logistic, OF_LOGISTIC),
        (category_null, OF_LOGISTIC),
        (recalls, OF_LOGISTIC | {("mean", "emotion")}),
        (mlp, {("mlp", "valence")}),
        (weighted, {("weighted", "valence")}),
        (trained, {("mlp", "valence"), ("weighted", "valence")}),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2] if hasattr(value, "__name__") else "",
)
def test_a_raised_version_refits_what_its_method_made_and_nothing_else(cache, kept, monkeypatch, module, refitted):
    monkeypatch.setattr(module, "VERSION", 99)
    assert fitted_again(cache, kept, monkeypatch) == refitted


def test_each_baseline_has_a_version_of_its_own(cache, kept, monkeypatch):
    monkeypatch.setitem(baselines.VERSIONS, "mfcc", 99)
    assert fitted_again(cache, kept, monkeypatch) == {("mfcc", "valence"), ("mfcc", "emotion")}


def test_the_package_version_refits_nothing(cache, kept, monkeypatch):
    from emoprobe.probe import protocol

    now = protocol.versions()
    monkeypatch.setattr(protocol, "versions", lambda: {**now, "emoprobe": "99"})
    assert fitted_again(cache, kept, monkeypatch) == set()


def fitted_again(cache: Path, kept: Path, monkeypatch) -> set[tuple[str, str]]:
    """Probes and dimensions that a second run would fit, without fitting them."""
    from emoprobe.probe import fit

    fitted = set()

    def note(study, unit, targets, *, progress, spread):
        fitted.update((unit.probe.name, target) for target in targets)
        return Results.empty()

    monkeypatch.setattr(fit, "run_unit", note)
    fit_layers(cache, out=kept, **FITS)
    return fitted


@pytest.mark.parametrize("name", ["leave_one_out", "best_layer"])
def test_an_opinion_is_asked_again_when_its_version_is_raised(cache, tmp_path, monkeypatch, name):
    asked = []

    def spy(one):
        opinion = relevance.OPINIONS[one]
        return replace(opinion, ask=lambda *given, **more: asked.append(one) or opinion.ask(*given, **more))

    for one in ("leave_one_out", "best_layer"):
        monkeypatch.setitem(relevance.OPINIONS, one, spy(one))
    settings = relevance.RelevanceSettings(dimensions=("valence",), folds=3, resamples=0)
    ask = {"opinions": ("leave_one_out", "best_layer"), "out": tmp_path}
    relevance.relevance_opinions(cache, settings, **ask)
    relevance.relevance_opinions(cache, settings, **ask)
    assert asked == ["leave_one_out", "best_layer"]
    monkeypatch.setitem(relevance.OPINIONS, name, replace(relevance.OPINIONS[name], version=99))
    relevance.relevance_opinions(cache, settings, **ask)
    assert asked == ["leave_one_out", "best_layer", name]


def test_a_similarity_is_computed_again_when_its_version_is_raised(cache, tmp_path, monkeypatch):
    computed = []
    compare = similarity.compare
    monkeypatch.setattr(
        similarity, "compare", lambda one, other, measures, *more, **named: computed.append(tuple(measures))
        or compare(one, other, measures, *more, **named)
    )  # fmt: skip
    similarity.similarity_table(cache, features=(), out=tmp_path)
    similarity.similarity_table(cache, features=(), out=tmp_path)
    assert computed == [("cka", "pwcca")]
    monkeypatch.setitem(similarity.MEASURES, "pwcca", replace(similarity.MEASURES["pwcca"], version=99))
    similarity.similarity_table(cache, features=(), out=tmp_path)
    assert computed[1:] == [("pwcca",)]


# That no method changes in silence -----------------------------------------------------------------------------------

#: Relative. Closed forms in double precision agree to rounding on every processor; iterations that end at a tolerance
#: of their own (logistic, and recalls of its predictions) to that; training in float32 that stops at the best epoch,
#: which rounding can move, to that.
TOLERANCES = {"logistic": 0.02, "recalls": 0.02, "mlp": 0.05, "weighted": 0.05, "learned_weights": 0.05}


def numbers(cache: Path, results: Results) -> dict[str, dict]:
    """By method: its version, and some of its numbers."""
    pooled = results.scores[(results.scores["fold"] == "all")]
    folds = results.scores[(results.scores["fold"] != "all")]

    def of(table, probe, dimension, column):
        return table[(table["probe"] == probe) & (table["dimension"] == dimension)][column].tolist()

    made = {
        "splits": (splits.VERSION, of(folds, "mean", "valence", "n")),
        "metrics": (metrics.VERSION, [of(pooled, "ridge", "valence", name) for name in ("pearson", "rmse")]),
        "ridge": (ridge.VERSION, [of(pooled, "ridge", "valence", name) for name in ("ccc", "penalty")]),
        "bootstrap": (bootstrap.VERSION, [of(pooled, "mean", "valence", name) for name in ("rmse_low", "rmse_high")]),
        "jackknife": (jackknife.VERSION, [of(pooled, "ridge", "valence", name) for name in ("ccc_low", "ccc_high")]),
        "deletion": (
            deletion.VERSION,
            [of(results.refits, "ridge", "valence", name) for name in ("prediction_squared", "product")],
        ),
        "permutation": (permutation.VERSION, [of(pooled, "ridge", "valence", name) for name in ("null_mean", "p")]),
        "mdl": (mdl.VERSION, [of(pooled, "ridge", "valence", name) for name in ("mdl_bits", "compression")]),
        "logistic": (logistic.VERSION, of(pooled, "logistic", "emotion", "uar")),
        "category_null": (
            category_null.VERSION,
            [of(pooled, "logistic", "emotion", name) for name in ("tested", "null_mean", "p")],
        ),
        "recalls": (
            recalls.VERSION,
            [of(results.recalls, "logistic", "emotion", name) for name in ("recall", "recall_low", "recall_high")],
        ),
        "mlp": ([mlp.VERSION, trained.VERSION], of(pooled, "mlp", "valence", "ccc")),
        "weighted": ([weighted.VERSION, trained.VERSION], of(pooled, "weighted", "valence", "ccc")),
    }
    for name in ("duration", "logmel", "mfcc"):
        made[f"baseline {name}"] = (baselines.VERSIONS[name], of(pooled, name, "valence", "rmse"))
    made["baseline mean"] = (baselines.VERSIONS["mean"], of(pooled, "mean", "valence", "rmse"))
    settings = relevance.RelevanceSettings(dimensions=("valence",), folds=3, seeds=1, resamples=0, iterations=3)
    opinions = relevance.relevance_opinions(cache, settings)
    for name, opinion in relevance.OPINIONS.items():
        made[name] = (opinion.version, opinions[opinions["opinion"] == name]["relevance"].tolist())
    alike = similarity.similarity_table(cache)
    for name, measure in similarity.MEASURES.items():
        made[name] = (measure.version, alike[alike["measure"] == name]["value"].tolist())
    return {
        name: {"version": version, "numbers": np.ravel(found).astype(float).tolist()}
        for name, (version, found) in made.items()
    }


def test_whoever_changes_numbers_raises_the_version(cache, kept):
    pytest.importorskip("himalaya")
    pinned, now = json.loads(GOLDEN.read_text()), numbers(cache, load_results(kept))
    assert set(now) == set(pinned), (
        "a method came or went: pin the numbers again, python -m tests.whole.test_method_versions"
    )
    moved = []
    for name, found in now.items():
        tolerance = TOLERANCES.get(name, 1e-5)
        same = np.allclose(found["numbers"], pinned[name]["numbers"], rtol=tolerance, atol=tolerance, equal_nan=True)
        if found["version"] != pinned[name]["version"]:
            moved.append(f"{name}: another version than is pinned")
        elif not same:
            moved.append(f"{name}: {pinned[name]['numbers']} became {found['numbers']}, and the version did not")
    assert not moved, (
        "the numbers of a method have moved. If that is meant, raise its VERSION (or that of what it is made of), so "
        "that kept results are made anew, and pin the new ones: python -m tests.whole.test_method_versions\n"
        + "\n".join(moved)
    )


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder) / "c.h5", layers=2, width=6)
        made = numbers(Path(folder) / "c.h5", fit_layers(Path(folder) / "c.h5", **FITS))
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(0)
