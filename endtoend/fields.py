"""What the fields of a model's JSON files must hold, beside those that every file has (:mod:`..fields`)."""

from __future__ import annotations

from emoprobe.extract.corpora import DIMENSIONS
from emoprobe.fields import TEXT, TEXTS, TEXTS_BY_NAME, Field, Part, is_number


def _is_dimensions(value: object) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        return False
    return len(set(value)) == len(value) and set(value) <= set(DIMENSIONS)


def _is_scale(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[0] <= pair[1]
        for pair in value.values()
    )


def _are_intervals(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("half_widths"), dict):
        return False
    widths = [width for of_levels in value["half_widths"].values() if isinstance(of_levels, dict)
              for width in of_levels.values()]  # fmt: skip
    named = set(value["half_widths"]) <= set(DIMENSIONS) and all(map(_is_table, value["half_widths"].values()))
    counts = all(isinstance(value.get(name), int) for name in ("speakers", "utterances"))
    return named and counts and all(width is None or (is_number(width) and width >= 0) for width in widths)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


DIMENSION_LIST: Field = (_is_dimensions, f"a list of {', '.join(DIMENSIONS)}")
SCALE: Field = (_is_scale, "two numbers, low and high, a dimension")
INTERVALS: Field = (_are_intervals, "how many speakers and utterances, and half widths by dimension and level")
REASONS: Field = (TEXTS_BY_NAME[0], "a text a dimension")

#: Name and notes of the corpus that a model learned from.
TRAINED_ON = Part(optional={"name": TEXT, "notes": TEXTS})
