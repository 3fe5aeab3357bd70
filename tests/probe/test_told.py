"""What results say in one sentence, and how they show themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emoprobe.errors import UserError
from emoprobe.probe.fit import fit_layers
from emoprobe.probe.results import Results
from emoprobe.probe.told import told_depths, told_scores
from emoprobe.testing.caches import write_cache


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    cache = tmp_path_factory.mktemp("told") / "states.h5"
    write_cache(cache)
    return fit_layers(cache, dimensions=("arousal", "valence"), permutations=0, resamples=50, mdl=False, progress=False)


def test_the_sentence_names_the_layer_that_is_reported(results):
    told = told_depths(results)
    best = results.best_layers().query("probe == 'ridge'").set_index("dimension")
    for dimension in ("arousal", "valence"):
        row = best.loc[dimension]
        assert f"{dimension} best in layer {row['layer']} (CCC {row['ccc']:.2f} [{row['ccc_low']:.2f}, " in told
    assert told_depths(results, dimensions=["valence"]).count(" best in layer ") == 1
    assert told_depths(results, model="nobody") == ""
    assert told_depths(Results.empty()) == told_scores(Results.empty()) == ""


def test_results_show_a_line_and_a_page_that_escapes_what_is_data(results):
    assert (
        repr(results) == f"Results of {len(results.protocol)} runs, {len(results.scores)} fits: {told_depths(results)}"
    )
    strange = replace(results, scores=results.scores.assign(model="<b>x</b>"))
    page = strange._repr_html_()
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt; carries arousal best" in page
    assert Results.empty()._repr_html_() == "<p><b>Results of 0 runs, 0 fits: no score yet.</b></p>"


def test_what_no_score_has_is_refused_with_what_there_is(results):
    assert len(results.select(probe="ridge", fold="all", dimension="arousal"))
    for values, told in (
        ({"split": "cross"}, "no score has the split 'cross': there is cross-validation"),
        ({"dimensions": "arousal"}, "no column 'dimensions': did you mean dimension?"),
        ({"layer": 99}, "no score has the layer 99: "),
    ):
        with pytest.raises(UserError, match=told.replace("?", r"\?")):
            results.select(**values)
    assert not len(Results.empty().select(split="test"))
