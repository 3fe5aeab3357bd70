"""JSON of this package is strict: no NaN in what is written, None for it in what earlier versions wrote."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path

import pytest

from emoprobe import jsontext
from emoprobe.jsontext import dict_from_json, from_json, null_for_nan, to_json

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("analysis", "benchmarks", "cli", "demo", "distil", "emoprobe", "endtoend", "extract", "probe", "transcribe")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_lacks_is_refused_or_null(value):
    with pytest.raises(ValueError, match="JSON"):
        to_json({"score": [value]})
    kept = {"score": [value, 1.5, True, "nan"], "of": {"which": (value, None)}}
    assert from_json(to_json(null_for_nan(kept))) == {"score": [None, 1.5, True, "nan"], "of": {"which": [None, None]}}


def test_files_of_earlier_versions_are_read():
    assert from_json('{"a": NaN, "b": [-Infinity, Infinity, 2]}') == {"a": None, "b": [None, None, 2]}


@pytest.mark.parametrize("text", ["[1]", "3", "null", '"a"', "{"])
def test_what_is_no_names_and_values_is_refused(text):
    assert dict_from_json('{"a": NaN}') == {"a": None}
    with pytest.raises(ValueError, match=r"no table of names and values|Expecting"):
        dict_from_json(text)


def test_examples():
    assert doctest.testmod(jsontext).failed == 0


def test_every_writer_of_the_package_is_strict():
    """`to_json` is the one place that calls json.dumps."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "jsontext.py"]
    assert len(files) > 50
    lax = [str(path.relative_to(ROOT)) for path in files if re.search(r"\bjson\.dumps?\(", path.read_text())]
    assert lax == []
