"""The report: what it claims by which rule, what it escapes, what it says it lacks, how it looks in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from emoprobe.analysis.report import methods, write_report
from emoprobe.analysis.report.bibliography import REFERENCES, bibtex, read_references
from emoprobe.analysis.report.chart import can_be_asked
from emoprobe.analysis.report.claims import claims
from emoprobe.analysis.report.content import interval, known, number, probability
from emoprobe.analysis.report.markdown import escaped
from emoprobe.analysis.report.study import Model, Study, gather
from emoprobe.cli.extract import parser as extract_parser
from emoprobe.cli.report import main
from emoprobe.errors import UserError
from emoprobe.extract.layout import layout_sha256, seal_layout
from emoprobe.probe import fit_layers, load_results
from emoprobe.probe.metrics import ccc
from emoprobe.probe.results import PREDICTIONS, SCORES, Results, table, update_results
from emoprobe.testing.caches import write_cache

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>|`evil`"
EVIL_CORPUS = "hand\"><img src=http://example.org/x onerror='alert(2)'>"
DIMENSIONS = ("arousal", "valence", "dominance")


def tell(path: Path, *, model: dict | None = None, corpus: dict | None = None) -> None:
    """Change what a cache says of its model and corpus."""
    with h5py.File(path, "r+") as file:
        told = json.loads(file.attrs["provenance"])
        told["model"].update(model or {})
        told["corpus"].update(corpus or {})
        file.attrs["provenance"] = json.dumps(told)
        file.attrs["layout_sha256"] = layout_sha256(file)
    seal_layout(path)


def study_of(
    folder: Path,
    *,
    label: str = "deep",
    planted: dict | None = None,
    corpus: str = "handmade",
    official: bool = False,
    alone: bool = False,
) -> Path:
    """A deep model, a shallow one and a random twin on one corpus: caches, and results beside them."""
    n, speakers = (240, 12) if official else (160, 16)
    same = {"n": n, "speakers": speakers, "width": 10}
    about = {"notes": [f"Synthetic {EVIL}"], "utterances": n}
    names = {
        "speaker": [f"<b>s{i % speakers:02d}</b>" for i in range(n)],
        "gender": ["female" if i % 2 else "male" for i in range(n)],
        "transcript": [f"sentence {i % 4}" for i in range(n)],
    }
    if official:
        parts = ["train"] * 6 + ["development"] * 2 + ["test"] * 4
        names["split"] = [parts[i % speakers] for i in range(n)]
    # Not so clean that every interval is a point.
    truth = write_cache(folder / "deep.h5", layers=5, planted=planted, label=label, noise=0.6, **same, **names)
    if planted and planted["arousal"] == planted["valence"]:
        names["valence"] = truth["arousal"] + 0.1 * np.random.default_rng(1).standard_normal(n)
        truth = write_cache(folder / "deep.h5", layers=5, planted=planted, label=label, noise=0.6, **same, **names)
    labels = {name: truth[name] for name in DIMENSIONS}
    names.pop("valence", None)
    tell(folder / "deep.h5", model={"name": label, "blocks": 4}, corpus={"name": corpus, **about})
    for file, seed, layers, name, more in (
        ("shallow.h5", 5, 3, "shallow", {"name": "shallow", "blocks": 2}),
        ("random.h5", 9, 5, f"{label} (random 0)", {"name": label, "blocks": 4, "random_init": 0}),
    ):
        write_cache(folder / file, layers=layers, label=name, seed=seed, **same, **names, **labels)
        tell(folder / file, model={**more, "weights_sha256": str(seed) * 64}, corpus={"name": corpus, **about})
    for file in ("deep.h5",) if alone else ("deep.h5", "shallow.h5", "random.h5"):
        fit_layers(folder / file, permutations=99, resamples=200, mdl=official, out=folder / "results")
    return folder / "results"


@pytest.fixture(scope="module")
def evil(tmp_path_factory) -> Path:
    """Results whose names try everything, with their caches."""
    folder = tmp_path_factory.mktemp("evil")
    results = study_of(folder, label=EVIL, corpus=EVIL_CORPUS, official=True)
    fit_layers(folder / "deep.h5", probe="weighted", seeds=2, dimensions="valence", resamples=200, out=results)
    return results


@pytest.fixture(scope="module")
def report(evil, tmp_path_factory) -> Path:
    """The report of these results, with all that is computed from caches."""
    out = tmp_path_factory.mktemp("report") / "a report"
    assert main([str(evil), "--out", str(out), "--quiet"]) == 0
    return out


class Page(HTMLParser):
    """Elements of a page, and the text outside its style."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.declarations: list[str] = []
        self.within: list[str] = []
        self.feed(text)

    def handle_decl(self, decl):
        self.declarations.append(decl)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_endtag(self, tag):
        if tag in self.within:
            while self.within.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" not in self.within:
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# What is claimed ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ({"arousal": 1, "valence": 3, "dominance": 2}, "supported"),
        ({"arousal": 3, "valence": 1, "dominance": 2}, "contradicted"),
        ({"arousal": 2, "valence": 2, "dominance": 0}, "undecided"),  # the same label twice, but for a little noise
    ],
)
def test_a_planted_depth_gets_its_verdict(tmp_path, planted, expected):
    found = claims(gather([study_of(tmp_path, planted=planted)]))
    (depth,) = [claim for claim in found if claim.subject == "depth" and "In deep," in claim.statement]
    assert depth.verdict == expected, depth
    # States of the other models know nothing of these labels.
    twin = {claim.statement: claim.verdict for claim in found if claim.subject == "twin"}
    assert len(twin) == 3
    assert set(twin.values()) == {"supported"}
    (student,) = [claim for claim in found if claim.subject == "student"]
    assert student.verdict == "supported"
    assert "shallow (2 blocks) carries less valence than deep" in student.statement
    (unread,) = [claim for claim in found if claim.subject == "depth" and "In shallow," in claim.statement]
    assert unread.verdict == "not tested"
    assert "permuted labels" in unread.how


@pytest.mark.slow
def test_a_model_without_predictions_is_told_for_its_own_reason(tmp_path):
    kept = study_of(tmp_path / "one", label="kept", alone=True)
    lost = study_of(tmp_path / "two", label="lost", alone=True)
    (lost / "predictions.parquet").unlink()
    of_depth = {
        claim.statement.split(",")[0][3:]: claim for claim in claims(gather([kept, lost])) if claim.subject == "depth"
    }
    assert known(of_depth["kept"].value)
    assert of_depth["lost"].verdict == "not tested"
    assert of_depth["lost"].how == "Not tested: there are no predictions of the layers of lost."
    # One reason does not stand for the next model: the first alone has labels of which no layer reads anything.
    scores = pd.read_csv(kept / "scores.csv")
    pd.DataFrame(scores.assign(p_holm=1.0)).to_csv(kept / "scores.csv", index=False)
    (kept / "scores.parquet").unlink(missing_ok=True)
    of_depth = {
        claim.statement.split(",")[0][3:]: claim.how
        for claim in claims(gather([kept, lost]))
        if claim.subject == "depth"
    }
    assert "no layer of kept reads arousal or valence" in of_depth["kept"]
    assert of_depth["lost"] == "Not tested: there are no predictions of the layers of lost."


def test_p_values_are_corrected_over_all_claims_together(evil):
    """Each claim counts with each of its tests: one on depth has three."""
    tested = [claim for claim in claims(gather([evil])) if np.isfinite(claim.p)]
    family = sum(3 if claim.subject == "depth" else 1 for claim in tested)
    assert family > len(tested) > 5
    smallest = min(tested, key=lambda claim: claim.p)
    assert smallest.p_holm == pytest.approx(family * smallest.p, rel=1e-12)
    assert all(claim.decided == (claim.p_holm <= 0.05) for claim in tested)


def end_to_end(results: Path, noise: dict[str, float]) -> None:
    """Rows of models trained end to end on audio, and on audio and text, beside the probes."""
    there = load_results(results)
    base = there.predictions[(there.predictions["probe"] == "mean") & (there.predictions["model"] == "deep")]
    entry = next(run for run in there.protocol if run["probe"] == "mean")
    rng = np.random.default_rng(3)
    scores, predictions, protocol = [], [], []
    for features, spread in noise.items():
        for dimension in DIMENSIONS:
            key = {"model": "deep", "corpus": "handmade", "dimension": dimension, "probe": "end-to-end"}
            for seed in (0, 1):
                rows = base[base["dimension"] == dimension].assign(**key, features=features, seed=seed, layer=pd.NA)
                rows["prediction"] = rows["truth"] + spread * rng.standard_normal(len(rows))
                predictions.append(rows)
                split = rows["split"].iloc[0]
                score = float(ccc(rows["truth"].to_numpy(), rows["prediction"].to_numpy()))
                scores.append({**key, "features": features, "seed": seed, "split": split, "fold": "all",
                               "n": len(rows), "speakers": 16, "ccc": score, "ccc_low": score - 0.1,
                               "ccc_high": min(score + 0.1, 1.0)})  # fmt: skip
            run = {
                "model": {"freeze": ["frontend"]},
                "audio": {"label": "deep", "name": "deep", "blocks": 4},
                "corpus": {"name": "handmade", "sha256": "", "notes": []},
                "training": {},
            }
            protocol.append({**key, "features": features, "hash": features, "split": entry["split"], "run": run,
                             "runs": [{"seed": 0}, {"seed": 1}], "text": "none", "versions": entry["versions"],
                             "notes": [], "left_out": []})  # fmt: skip
    new = replace(there, scores=table(scores, SCORES), weights=there.weights.iloc[:0], protocol=protocol,
                  predictions=table(pd.concat(predictions), PREDICTIONS))  # fmt: skip
    update_results(results, new)


@pytest.mark.slow
def test_text_is_claimed_where_models_trained_end_to_end_are_there(tmp_path):
    results = study_of(tmp_path, alone=True)
    end_to_end(results, {"audio": 2.0, "audio+text": 0.4})
    study = gather([results])
    found = {claim.statement: claim for claim in claims(study) if claim.subject == "text"}
    assert len(found) == 3
    assert all(claim.verdict == "supported" for claim in found.values())
    assert any("deep with text beats deep alone on valence" in statement for statement in found)
    write_report(results, out=tmp_path / "report", quick=True)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "end to end, audio+text" in text
    assert "deep was trained end to end on audio and text with 2 seeds, frozen: frontend" in text
    assert "The results hold no model trained end to end" not in text


# What is on the page --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_is_loaded_and_nothing_is_run_but_the_chart(report):
    html = (report / "report.html").read_text()
    page = Page(html)
    assert page.declarations == ["DOCTYPE html"]
    assert not page.all("link")
    assert not page.all("iframe")
    assert not page.all("object")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "style" not in attributes
        for name in ("src", "data", "action", "srcset", "background"):
            if name in attributes:
                assert tag == "img"
                assert attributes[name].startswith("data:image/png;base64,")
        if "href" in attributes:
            assert tag == "a"
            assert attributes["href"].startswith(("#", "https://"))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    # Each script that runs is one that the policy names by its hash; no other can.
    if not can_be_asked():
        assert not page.all("script")
        assert "script-src" not in policy
        return
    (allowed,) = re.findall(r"script-src ([^;]+);", policy)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed.split() == [f"'sha256-{digest}'" for digest in hashes]
    assert len(page.all("script")) == len(scripts) + 1  # and the data of the chart
    assert len(html) < 3_000_000


@pytest.mark.skipif(not can_be_asked(), reason="needs emoprobe[report]")
def test_what_the_chart_shows_is_data_and_no_more(evil, report):
    """Names that try to end the element of the data stay within it, and the numbers are those of the tables."""
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', (report / "report.html").read_text())
    assert "<" not in data
    shown = json.loads(data)["datasets"]
    results = load_results(evil)
    row = next(
        row for row in shown["scores"] if (row["layer"], row["dimension"], row["metric"]) == (3, "valence", "CCC")
    )
    assert row["model"] == EVIL
    stored = results.select(model=EVIL, dimension="valence", layer=3, probe="ridge", split="test", fold="all").iloc[0]
    assert row["value"] == pytest.approx(stored["ccc"], abs=5e-4)
    assert (row["low"], row["high"]) == pytest.approx((stored["ccc_low"], stored["ccc_high"]), abs=5e-4)
    assert (row["n"], row["speakers"]) == (stored["n"], stored["speakers"])
    # CCC of what a click shows is the score that the curve has.
    (rated,) = [one for one in shown["rated"] if one["dimension"] == "valence"]
    (predicted,) = [
        one for one in shown["predicted"] if (one["model"], one["dimension"], one["layer"]) == (EVIL, "valence", 3)
    ]
    assert ccc(np.array(rated["truth"]), np.array(predicted["predictions"])) == pytest.approx(stored["ccc"], abs=2e-3)
    assert any(name.startswith("<b>s0") for name in rated["speaker"])


def test_every_name_is_text_and_no_more(report):
    html, markdown = (report / "report.html").read_text(), (report / "report.md").read_text()
    page = Page(html)
    assert EVIL in page.text
    assert EVIL_CORPUS in page.text
    assert "<b>s0" in page.text
    outside = re.sub(r"(?s)<script( type=.application/json.)?>.*?</script>", "", html)
    assert "<script" not in outside
    assert "<b>" not in outside
    assert "<img src=http" not in html
    # In Markdown a tag is text when its angle is escaped; within a fence everything is text.
    outside = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", markdown)
    outside = re.sub(r"(?m)^<a id=\"[a-z]+\"></a>$", "", outside)
    assert not re.search(r"(?<!\\)<", outside)
    # Bars in names split no cells: every row of a table has as many as its head.
    for block in re.findall(r"(?m)(?:^\|.*\n)+", outside):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block


def test_every_figure_is_told_in_words(report):
    page = Page((report / "report.html").read_text())
    pictures = page.all("img")
    assert len(pictures) >= 10
    assert all(len(picture["alt"]) > 40 for picture in pictures)
    found = re.findall(r"!\[(.*?)\]\((figures/[\w.+-]+\.png)\)", (report / "report.md").read_text())
    assert len(found) == len(pictures)
    assert {path for _, path in found} == {f"figures/{path.name}" for path in (report / "figures").iterdir()}
    assert (report / "report.html").stat().st_size < 6_000_000


def test_sections_come_in_order_and_the_contents_lead_to_them(report):
    page = Page((report / "report.html").read_text())
    names = [section["id"] for section in page.all("section")]
    assert names == [
        "answer", "protocol", "curves", "relevance", "similarity", "systems", "fairness", "limits", "methods"
    ]  # fmt: skip
    # The answer stands open; what folds is open where it has to be read with it.
    folded = re.findall(r'<section id="(\w+)"[^>]*>\n+<details>', (report / "report.html").read_text())
    assert [name for name in names if name not in folded] == ["answer", "limits"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)


def test_the_numbers_are_those_of_the_tables(evil, report):
    results = load_results(evil)
    best = results.best_layers()
    row = best[(best["model"] == EVIL) & (best["dimension"] == "valence") & (best["probe"] == "ridge")]
    row = row[row["split"] == "test"].iloc[0]
    text = Page((report / "report.html").read_text()).text
    assert f"{number(row['ccc'])} {interval(row['ccc_low'], row['ccc_high'])}" in text
    assert number(row["selectivity"]) in text
    # The answer tells the same layer and score as the tables below it, and the rival of the claim with its own score.
    score = f"{number(row['ccc'])} {interval(row['ccc_low'], row['ccc_high'])}"
    assert f"Layer {row['layer']}, chosen on development, has CCC {score}." in text
    of_model = [claim for claim in claims(gather([evil])) if (claim.model, claim.dimension) == (EVIL, "valence")]
    (acoustics,) = [claim for claim in of_model if claim.subject == "acoustics"]
    verb = {"supported": "It beats", "contradicted": "It is beaten by", "undecided": "It is not told apart from"}
    assert re.search(re.escape(verb[acoustics.verdict]) + r" [^.]*" + re.escape(acoustics.rival), text)
    counts = results.protocol[0]["split"]["counts"]
    assert f"test {counts['test']}" in text
    assert "of 4 speakers, left out together, the probes fitted again" in text
    assert "(<b>s0" in text  # the speakers at the ends of the range
    assert "Synthetic <script>" in text  # the corpus's own warning, among the limits
    assert "says 4 different sentences in 240 utterances" in text


@pytest.mark.slow
def test_a_second_report_is_quick_and_the_same(evil, report, monkeypatch):
    from emoprobe.analysis.measures import relevance, similarity

    def never(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(similarity, "_rows", never)
    opinions = {name: replace(opinion, ask=never) for name, opinion in relevance.OPINIONS.items()}
    monkeypatch.setattr(relevance, "OPINIONS", opinions)
    before = {path: path.read_bytes() for path in report.rglob("*") if path.suffix in (".html", ".md", ".png")}
    write_report(evil, out=report)
    assert {path: path.read_bytes() for path in before} == before


# What it lacks --------------------------------------------------------------------------------------------------------


def test_quick_leaves_out_what_comes_from_caches_and_says_so(evil, tmp_path):
    assert main([str(evil), "--out", str(tmp_path), "--quick", "--quiet"]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text.count("Left out by --quick") == 2
    assert not (tmp_path / "relevance.csv").exists()
    assert not (tmp_path / "similarity.csv").exists()


def test_results_alone_make_a_report_that_says_what_it_lacks(evil, tmp_path, monkeypatch):
    shutil.copytree(evil, tmp_path / "handed on" / "results")
    (tmp_path / "handed on" / "results" / "predictions.parquet").unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["handed on/results", "--out", "report", "--quiet"]) == 0
    text = Page((tmp_path / "report" / "report.html").read_text()).text
    assert "supported" not in {claim.verdict for claim in claims(gather([Path("handed on/results")]))}
    assert "Not tested" in text
    assert "hold no predictions" in text
    assert "not found was deep.h5, shallow.h5" in text
    assert "probe-report 'handed on/results' --caches" in text
    assert "The results hold no model trained end to end" in text
    assert "There is no baseline of eGeMAPS" in text


def test_one_dimension_is_reported_alone(evil, tmp_path):
    assert main([str(evil), "--out", str(tmp_path), "--quick", "--quiet", "--dim", "valence", "--title", "A <b>"]) == 0
    text = Page((tmp_path / "report.html").read_text()).text
    assert text.startswith("A <b>")
    assert "reads valence better" in text
    assert "reads arousal" not in text


def test_categories_alone_make_a_report(tmp_path):
    write_cache(tmp_path / "deep.h5")
    fit_layers(tmp_path / "deep.h5", dimensions="emotion", probe="logistic", resamples=100, out=tmp_path / "results")
    write_report(tmp_path / "results", out=tmp_path / "report")
    text = Page((tmp_path / "report" / "report.html").read_text()).text
    assert "UAR" in text
    assert "The chosen layer of planted reads emotion categories better than plain acoustics do" in text
    assert "majority" in text
    ids = [section["id"] for section in Page((tmp_path / "report" / "report.html").read_text()).all("section")]
    assert ids.index("categories") == ids.index("curves") + 1
    results = load_results(tmp_path / "results")
    best = results.best_layers().set_index("probe").loc["logistic"]
    kept = results.recalls[(results.recalls["probe"] == "logistic") & (results.recalls["layer"] == best["layer"])]
    for row in kept.itertuples():
        assert f"{number(row.recall)} {interval(row.recall_low, row.recall_high)}" in text
    files = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert {"recalls_planted_handmade.png", "confusion_planted_handmade.png"} <= files


def test_what_the_user_can_mend_is_told(evil, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "results is not a folder of results: make one with probe-fit" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["empty"]) == 2
    assert "empty holds no results" in capsys.readouterr().err
    assert main([str(evil), "--dim", "emotion", "--out", "out"]) == 2
    assert "no scores of emotion" in capsys.readouterr().err
    write_cache(tmp_path / "other.h5", label="other")
    assert main([str(evil), "--caches", "other.h5", "--out", "out"]) == 2
    assert "other.h5 is of other on handmade" in capsys.readouterr().err
    shutil.copy(evil.parent / "deep.h5", tmp_path / "changed.h5")
    tell(tmp_path / "changed.h5", model={"weights_sha256": "e" * 64})
    with pytest.raises(UserError, match="other weights"):
        gather([evil], caches=[tmp_path / "changed.h5"])


def test_a_cache_of_other_weights_is_not_taken_for_the_one_that_the_protocol_names(evil, tmp_path, monkeypatch):
    shutil.copytree(evil, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    shutil.copy(evil.parent / "deep.h5", "deep.h5")
    shutil.copy(evil.parent / "shallow.h5", "shallow.h5")
    tell(Path("deep.h5"), model={"weights_sha256": "e" * 64})
    found = {model.cache_file: model.cache for model in gather([Path("results")]).models}
    assert found == {"deep.h5": None, "shallow.h5": Path("shallow.h5"), "random.h5": None}


# Words and numbers ----------------------------------------------------------------------------------------------------


def test_numbers_are_written_as_people_read_them():
    assert number(-0.0204) == "−0.020"
    assert number(-0.0001) == "0.000"
    assert number(pd.NA) == "–" == number(None)
    assert interval(-0.1, 0.25, 2) == "[−0.10, 0.25]"
    assert interval(np.nan, 1) == "–"
    assert probability(0.000499) == "< 0.001"
    assert probability(0.000999) == "0.001"
    assert probability(0.2) == "0.200"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<b> & *c*", r"\<b\> \& \*c\*"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("0.837 [0.754, 0.894]", r"0.837 \[0.754, 0.894\]"),
        ("two\nlines", "two lines"),
        ("a\u202eb\x00", "ab�"),
    ],
)
def test_markdown_is_escaped(text, expected):
    assert escaped(text) == expected


def test_references_are_whole_and_cited_once():
    text = bibtex(REFERENCES, "1.0")
    keys = re.findall(r"(?m)^@\w+\{([\w]+),$", text)
    assert keys == [*REFERENCES, "emoprobe"]
    for reference in REFERENCES.values():
        fields = dict(reference.fields)
        assert {"author", "title", "year"} <= set(fields)
        assert re.fullmatch(r"(19|20)\d\d", fields["year"])
        assert reference.short.endswith(fields["year"])
        assert "{" not in reference.short
        assert reference.bibtex().count("{") == reference.bibtex().count("}")
    assert REFERENCES["hewitt2019designing"].short == "Hewitt and Liang, 2019"
    assert REFERENCES["dupre2022feature"].short == "Dupré la Tour et al., 2022"
    assert "version   = {1.0}" in text


def test_an_entry_is_read_as_it_is_written(tmp_path):
    """Braces, commas and equals signs in a value are its own; nothing is changed on the way through."""
    text = (
        "@article{one1999,\n  author    = {A{\\'e}, B. and {The = Group}},\n  title     = {{X}: y, = {Z}},\n"
        "  year      = {1999},\n}\n\n\n@book{two-2000,\n  author    = {C, D.},\n  title     = {T},\n"
        "  year      = {2000},\n}\n"
    )
    path = tmp_path / "some.bib"
    path.write_text(text, encoding="utf-8")
    references = read_references(path)
    assert list(references) == ["one1999", "two-2000"]
    assert dict(references["one1999"].fields)["title"] == "{X}: y, = {Z}"
    assert references["one1999"].short == "Aé and {The = Group}, 1999"
    assert [reference.bibtex() for reference in references.values()] == text.strip().split("\n\n\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@article{a,\n  author = {B},\n  title = {C},\n  year = 1999,\n}\n", "line 1: no entry"),
        ("@article{a,\n  author = {B},\n  title = {C},\n  year = {1999},\n}\nrubbish\n", "line 6: no entry"),
        ("@article{a,\n  author = {B},\n  title = {C},\n  year = {1999},\n", "line 1: no entry"),
        ("@article{a,\n  author = {B},\n  year = {1999},\n}\n", "the entry a lacks title"),
        ("@article{a,\n  author = {B},\n  title = {C},\n  year = {1999},\n}\n" * 2, "line 6: the entry a is there"),
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(tmp_path, text, said):
    path = tmp_path / "some.bib"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_references(path)


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Run headless Chromium with more arguments; returns what it prints."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on PATH to show the page")
    profile = tmp_path_factory.mktemp("profile")

    def run(*arguments: str) -> str:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
            "--disable-dev-shm-usage", f"--user-data-dir={profile}", *arguments,
        ]  # fmt: skip
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout

    return run


# Measured from outside, in a frame as wide as the window would be, with everything unfolded, once the chart is drawn.
MEASURE = """<!DOCTYPE html><body><iframe id="frame" src="PAGE" width="WIDTH" height="900" frameborder="0"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, pictures = [...page.images];
  page.querySelectorAll("details").forEach(details => details.open = true);
  if (!page.querySelector(".asked:not(.drawn)") || performance.now() > 15000) return measure(page, pictures);
  setTimeout(frame.onload, 200);
};
const measure = (page, pictures) => {
  document.body.textContent = JSON.stringify({
    window: page.documentElement.clientWidth, page: page.documentElement.scrollWidth,
    pictures: pictures.length, shown: pictures.filter(image => image.naturalWidth > 0).length,
    narrow: pictures.filter(image => image.clientHeight > 0 && image.clientWidth < 250).length,
    boxes: [...page.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length,
    ground: getComputedStyle(page.querySelector("details details")).backgroundColor,
    hints: [...page.querySelectorAll(".hint")].filter(hint => hint.clientHeight > 0).length,
    drawn: page.querySelectorAll(".asked.drawn canvas").length,
  });
};
</script></body>"""


def measured(browse, page: Path, width: int, folder: Path) -> dict:
    outside = folder / "outside.html"
    outside.write_text(MEASURE.replace("PAGE", page.resolve().as_uri()).replace("WIDTH", str(width)))
    text = browse(
        "--allow-file-access-from-files", "--window-size=1600,1000", "--virtual-time-budget=20000", "--dump-dom",
        outside.resolve().as_uri(),
    )  # fmt: skip
    return json.loads(re.search(r"\{.*\}", text, re.DOTALL)[0])


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_its_window(browse, report, tmp_path, width):
    found = measured(browse, report / "report.html", width, tmp_path)
    assert found["page"] <= found["window"] <= width
    assert found["pictures"] == found["shown"] >= 10
    assert not found["narrow"]
    assert found["drawn"] == can_be_asked()
    assert (found["hints"] > 0) == (width == 390)
    assert found["ground"] != "rgba(0, 0, 0, 0)"  # the policy lets the page's own style through
    # On a phone wide tables and figures scroll, each within its own box.
    assert (found["boxes"] > 0) == (width == 390) or width == 1200


def test_the_measure_sees_a_page_that_is_too_wide(browse, tmp_path):
    page = tmp_path / "wide.html"
    page.write_text("<!DOCTYPE html><details><details>x</details></details><div style='width: 3000px'>wide</div>")
    found = measured(browse, page, 390, tmp_path)
    assert found["page"] == 3008 > found["window"]  # with the margin that a body has by default


def test_the_page_is_drawn_and_prints(browse, report, tmp_path):
    from PIL import Image

    page, image, printed = (report / "report.html").resolve().as_uri(), tmp_path / "page.png", tmp_path / "page.pdf"
    browse("--window-size=390,900", f"--screenshot={image}", page)
    with Image.open(image) as shown:
        pixels = np.asarray(shown.convert("L")).astype(float)
    assert pixels.shape == (900, 390)
    assert 0.01 < (np.abs(pixels - np.median(pixels)) > 100).mean() < 0.4  # words on a ground
    browse(f"--print-to-pdf={printed}", "--no-pdf-header-footer", page)
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 100_000
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes())) <= 6


def test_the_methods_say_what_ran_in_float32():
    assert methods._precision({}) == "float32"
    assert methods._precision({"precision": "bfloat16", "precision_check": {"in_float32": []}}) == "bfloat16"
    apart = {"precision": "bfloat16", "precision_check": {"in_float32": ["encoder.pos_conv_embed.conv"]}}
    assert methods._precision(apart) == "bfloat16 (grouped convolutions in float32)"


def test_printed_commands_carry_the_corpus_and_the_cache_of_the_run():
    given = (
        "--corpus",
        "msp-podcast:/data/My Corpus",
        "--keep-words",
        "speaker",
        "--model",
        "/m/hubert",
        "--label",
        "L",
    )
    told = Model("L", "msp", {"name": "hubert"}, "large.h5", Path("caches/large.h5"), (*given, "--normalise", "yes"))
    old = Model("M", "other", {"name": "hubert-base"}, "old.h5")
    study = Study(Results.empty(), (told, old), (Path("results"),))
    corpus = "--corpus 'msp-podcast:/data/My Corpus' --keep-words speaker"
    assert study.corpus_option("msp") == corpus
    twin = study.twin_command(told, "random.h5")
    assert twin == f"probe-extract {corpus} --model /m/hubert --normalise yes --random-init 0 --out random.h5"
    options = extract_parser().parse_args(shlex.split(twin)[1:])
    assert (options.corpus, options.keep_words, options.random_init) == (given[1], ["speaker"], 0)
    # Of a cache that is not here, or does not tell, the corpus is to be filled in.
    assert study.twin_command(old, "r.h5") == (
        "probe-extract --corpus CORPUS --model hubert-base --random-init 0 --out r.h5"
    )


def test_a_new_section_is_one_line(monkeypatch):
    from emoprobe.analysis.report.content import Paragraph
    from emoprobe.analysis.report.material import Material, SectionKind
    from emoprobe.analysis.report.sections import order

    def build(material):
        return [Paragraph(f"{len(material.study.models)} models")]

    monkeypatch.setattr(order, "SECTIONS", (SectionKind("models", "Models", build),))
    study = Study(Results.empty(), (), (Path("results"),))
    (section,) = order.sections(Material(study, [], None))
    assert (section.name, section.title, section.blocks) == ("models", "Models", (Paragraph("0 models"),))
