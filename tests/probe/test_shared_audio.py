"""One and the same audio on both sides of a split is told, whoever is said to speak in it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoprobe.cli.extract import main as extract_main
from emoprobe.cli.fit import main as fit_main
from emoprobe.probe.results import load_results
from emoprobe.probe.shared_audio import shared_audio
from emoprobe.probe.splits import Fold
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus

time = st.one_of(st.none(), st.integers(0, 6))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), time, time, st.sampled_from([None, 0, 1]), st.booleans()),
        min_size=2,
        max_size=8,
    )
)
def test_it_is_counted_as_pair_by_pair(rows):
    rows = [row for row in rows if row[1] is None or row[2] is None or row[1] < row[2]]
    table = pd.DataFrame(rows, columns=["path", "start", "end", "channel", "train"]).astype(
        {"start": float, "end": float, "channel": float, "train": bool}
    )
    train, test = np.flatnonzero(table["train"]), np.flatnonzero(~table["train"])

    def share(one, other) -> bool:
        begin, end = (max if k == 1 else min for k in (1, 2))
        latest = begin(one[1] or 0, other[1] or 0)
        earliest = end(math.inf if one[2] is None else one[2], math.inf if other[2] is None else other[2])
        channels = one[3] is None or other[3] is None or one[3] == other[3]
        return one[0] == other[0] and channels and latest < earliest

    expected = sum(any(share(rows[i], rows[j]) for j in train) for i in test)
    told = shared_audio(table, [Fold("all", train, (), {"test": test})])
    assert (int(told[0].split()[1]) if told else 0) == expected


@pytest.mark.slow
def test_it_is_told_by_the_command(tmp_path, capsys):
    manifest = make_corpus(tmp_path / "corpus", utterances=24, speakers=8)
    table = pd.read_csv(manifest)
    table["speaker"] = [f"p{row}" for row in range(24)]
    table["split"] = ["train"] * 16 + ["test"] * 8
    table["id"] = [f"i{row}" for row in range(24)]
    table.loc[16:18, "path"] = table["path"][:3].to_numpy()
    table.to_csv(manifest, index=False)
    cache, out = tmp_path / "states.h5", tmp_path / "results"
    model = save_speech_model(tmp_path / "tiny")
    assert extract_main([*f"--corpus {manifest} --model {model} --out {cache} --quiet".split()]) == 0
    fit = f"{cache} --dim arousal --out {out} --figures {tmp_path / 'figures'} --permutations 0 --no-mdl --resamples 10"
    assert fit_main(fit.split()) == 0
    said = capsys.readouterr()
    assert "LEAKAGE: 3 utterances of 'test' are, as a whole or in part, audio that is trained on" in said.out + said.err
    assert any("LEAKAGE: 3" in note for note in load_results(out).protocol[0]["split"]["notes"])


@pytest.mark.parametrize("path", ["", "x.wav"])
def test_without_a_file_or_with_one_each_nothing_is_said(path):
    table = pd.DataFrame({"path": [path, path and "y.wav"], "start": np.nan, "end": np.nan, "channel": np.nan})
    assert shared_audio(table, [Fold("all", np.array([0]), (), {"test": np.array([1])})]) == []
