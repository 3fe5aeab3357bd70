"""What a figure of layers shows of one dimension: its curve, its controls, and what stands beside the layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import UserError
from emoprobe.probe.schema import ordered_dimensions

from ..curves import Curve, Point, layer_curve, null_limits, random_twin, side_points
from ..tables import (
    BASELINE_NAMES,
    CATEGORY_METRICS,
    END_TO_END,
    METRICS,
    WEIGHTED,
    ZERO_OF_MEAN,
    Subject,
    one_subject,
    ordered_baselines,
    subjects,
)
from .canvas import of_categories
from .captions import curve_caption, rare_remark, subject_name
from .style import SMALL_FONT_SIZE, printable, text_width

if TYPE_CHECKING:
    from emoprobe.probe.results import Results


@dataclass(frozen=True)
class Profile:
    """One dimension of a model: the curve, and what it must be held against.

    Parameters
    ----------
    curve : Curve
    left, right : dict of str to Point
        Baselines; learned sums of all layers and models trained end to end. By name.
    null : ndarray, shape (n_layers,)
        Score that 95 % of permuted labels stay below; NaN where the table has none.
    twin : Curve or None
        Of the same architecture with random weights.
    borrowed : tuple of str
        Baselines that stand in another cache of the corpus: they do not depend on the model.
    """

    curve: Curve
    left: dict[str, Point]
    right: dict[str, Point]
    null: np.ndarray
    twin: Curve | None
    borrowed: tuple[str, ...] = ()

    @property
    def has_null(self) -> bool:
        """Whether any layer was permuted."""
        return bool(np.isfinite(self.null).any())


def layer_profiles(
    tables: Results,
    *,
    model: str | None,
    corpus: str | None,
    metric: str,
    probe: str,
    dimensions: Sequence[str] | None,
    split: str | None,
    features: str | None,
    controls: bool,
) -> tuple[Subject, list[Profile]]:
    """The profiles of one model on one corpus, one a dimension; options as for :func:`plot_layers`.

    Parameters
    ----------
    controls : bool
        Whether to take more than the curves.

    Raises
    ------
    UserError
        If the results hold no such score, or several models and none is named.
    """
    scores = tables.scores
    subject = one_subject(scores, model, corpus)
    rows = scores[(scores["model"] == subject.model) & (scores["corpus"] == subject.corpus)]
    metric, probe = of_categories(rows["dimension"] if dimensions is None else dimensions, metric, probe)
    wanted = ordered_dimensions(rows["dimension"]) if dimensions is None else list(dimensions)
    twin = random_twin(scores, subject)
    profiles = []
    for dimension in wanted:
        curve = layer_curve(
            scores, subject, dimension=dimension, metric=metric, probe=probe, split=split, features=features
        )
        if curve is None:
            continue
        if not controls:
            profiles.append(Profile(curve, {}, {}, np.full(len(curve.values), np.nan), None))
            continue
        left, right = side_points(scores, subject, dimension=dimension, metric=metric, split=curve.split)
        borrowed = []
        for other in subjects(scores):
            if other.corpus == subject.corpus and other != subject:
                others, _ = side_points(scores, other, dimension=dimension, metric=metric, split=curve.split)
                borrowed += [name for name in others if name not in left]
                left = others | left
        if metric in ZERO_OF_MEAN:
            left.pop("mean", None)
        of_twin = None
        if twin is not None:
            of_twin = layer_curve(
                scores, twin, dimension=dimension, metric=metric, probe=probe, split=curve.split,
                features=curve.features,
            )  # fmt: skip
        borrowed = [name for name in borrowed if name in left]
        profiles.append(Profile(curve, left, right, null_limits(scores, curve), of_twin, tuple(borrowed)))
    if not profiles:
        raise UserError(
            f"{subject_name(subject)}: no {METRICS[metric]} of probe={probe!r} for any of {wanted}: "
            "fit it with probe-fit, or choose another metric=, probe= or dimensions="
        )
    return subject, profiles


def names_beside(profiles: Iterable[Profile]) -> tuple[list[str], list[str]]:
    """Names of what stands left and right of the layers; right, learned sums come first, then end-to-end models."""
    profiles = list(profiles)
    left = ordered_baselines(name for profile in profiles for name in profile.left)
    right = {name for profile in profiles for name in profile.right}
    return left, sorted(right, key=lambda name: (name.startswith(END_TO_END), name.count("+"), name))


def place_name(name: str, profiles: Sequence[Profile]) -> str:
    """What is written under a place beside the layers; a learned sum tells its features where the curve has others."""
    curve = profiles[0].curve
    if name.startswith(WEIGHTED):
        reads = next(profile.right[name].features for profile in profiles if name in profile.right)
        if reads == f"{curve.features}_ln":
            return "weighted LN"
        return "weighted" if reads in ("", curve.features) else f"weighted\n({_features_in_words(reads)})"
    if name.startswith(END_TO_END):
        return printable(name).replace(f"{END_TO_END} ", "end to end, ")
    if name == "mean" and curve.metric in CATEGORY_METRICS:
        return "majority"
    return BASELINE_NAMES.get(name, printable(name))


def name_length(name: str) -> float:
    """Inches that a name needs when it stands upright."""
    return max(text_width(line, SMALL_FONT_SIZE) for line in name.split("\n"))


def profiles_caption(profiles: Sequence[Profile], tables: Results) -> str:
    """Caption of curves with what stands beside them; what the controls look like is for the figure to add."""
    curves = [profile.curve for profile in profiles]
    intervals = [
        (BASELINE_NAMES.get(name, name).lower(), point.interval)
        for profile in profiles
        for name, point in profile.left.items()
    ]
    right = [(name, point) for profile in profiles for name, point in profile.right.items()]
    intervals += [(_kind_of(name), point.interval) for name, point in right]
    text = curve_caption(curves, tables.protocol, band="Bands and bars", beside=intervals)
    text += rare_remark(tables.recalls, curves)
    text += " Layer 0: input of the first block."
    if any(profile.left for profile in profiles):
        text += " Left: baselines without the model"
        borrowed = ordered_baselines(name for profile in profiles for name in profile.borrowed)
        named = ", ".join(BASELINE_NAMES.get(name, printable(name)) for name in borrowed)
        text += f", {named} from another cache of the corpus." if borrowed else "."
    if right:
        text += f" Right: {_right_caption(right)}."
        reads = {point.features for name, point in right if name.startswith(WEIGHTED)} - {curves[0].features, ""}
        if reads and curves[0].features:
            others = " or ".join(sorted(map(_features_in_words, reads)))
            of_curve = _features_in_words(curves[0].features)
            text += f" A sum of {others} does not compare with the curves, which read {of_curve}."
    return text


def _features_in_words(features: str) -> str:
    return printable(features).removesuffix("_ln") + (" LN" if features.endswith("_ln") else "")


def _kind_of(name: str) -> str:
    """What stands right of the layers, by its name, in the plural."""
    return "models trained end to end" if name.startswith(END_TO_END) else "learned weighted sums"


def _right_caption(named: Sequence[tuple[str, Point]]) -> str:
    """What stands right of the layers, and of how many seeds it is the mean."""
    kinds = []
    for kind, is_one in (("learned weighted sum of all layers", False), ("models trained end to end", True)):
        points = [point for name, point in named if name.startswith(END_TO_END) == is_one]
        if points:
            seeds = max(point.n_seeds for point in points)
            kinds.append(kind + (f" (mean of {seeds} seeds)" if seeds > 1 else ""))
    return "; ".join(kinds)


def finite(point: Point) -> bool:
    """Whether a point has an interval."""
    return math.isfinite(point.low) and math.isfinite(point.high)
