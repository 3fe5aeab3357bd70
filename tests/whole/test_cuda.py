"""The promises of the extraction and of ridge probes on a GPU; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from emoprobe.cli.extract import main
from emoprobe.cli.fit import main as fit
from emoprobe.extract import HiddenStateCache
from emoprobe.extract.devices import numerics
from emoprobe.probe import load_results
from emoprobe.testing.caches import write_cache
from emoprobe.testing.checkpoints import VARIANTS, make_backbone, make_model, save_speech_model
from emoprobe.testing.corpora import make_corpus
from tests.extract.test_exactness import FLOAT32_TOLERANCE, alone, relative_error, waveforms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_on_the_gpu_equals_each_utterance_alone_on_the_cpu(variant):
    backbone = make_backbone(variant).to("cuda")
    batch = waveforms([16000, backbone.receptive_field, 12345, 7000], 5)
    # Log-mel features of a bin without sound are the logarithm of rounding errors, which differ between two FFTs.
    tolerance = FLOAT32_TOLERANCE if backbone.reads_waveform else 1e-3
    with numerics(torch.device("cuda"), "float32"):
        states, frames = backbone.hidden_states(batch)
    reference = make_model(variant)
    for row, waveform in enumerate(batch):
        for layer, wanted in enumerate(alone(reference, waveform)):
            assert relative_error(states[layer, row, : frames[row]].cpu().numpy(), wanted) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_the_command_on_the_gpu(dtype, tolerance, tmp_path):
    manifest = make_corpus(tmp_path / "corpus")
    model = save_speech_model(tmp_path / "tiny")
    command = ["--corpus", str(manifest), "--model", str(model), "--quiet"]
    assert main([*command, "--device", "cpu", "--out", str(tmp_path / "cpu.h5")]) == 0
    assert main([*command, "--device", "cuda", "--out", str(tmp_path / "cuda.h5")]) == 0
    assert main([*command, "--device", "cuda", "--dtype", dtype, "--out", str(tmp_path / "half.h5")]) == 0
    with (
        HiddenStateCache(tmp_path / "cpu.h5") as cpu,
        HiddenStateCache(tmp_path / "cuda.h5") as cuda,
        HiddenStateCache(tmp_path / "half.h5") as half,
    ):
        assert cpu.provenance["precision_check"] is None
        for cache in (cuda, half):
            check = cache.provenance["precision_check"]
            assert check["device"] == "cuda"
            assert max(check["errors"].values()) <= check["tolerance"]
        wanted = cpu.states("mean")
        np.testing.assert_allclose(cuda.states("mean"), wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0)
        assert np.linalg.norm(half.states("mean") - wanted) <= tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("rescale", [False, True])
def test_ridge_probes_on_the_gpu_score_as_on_the_cpu(rescale, tmp_path):
    states = tmp_path / "states.h5"
    write_cache(states, layers=3, width=40, n=900, speakers=15)
    command = [str(states), "--permutations", "50", "--resamples", "100", "--no-figures", "--quiet"]
    command += ["--rescale"] * rescale
    for device in ("cpu", "cuda"):
        assert fit([*command, "--device", device, "--out", str(tmp_path / device)]) == 0
    cpu, cuda = (load_results(tmp_path / device) for device in ("cpu", "cuda"))
    # Durations are all alike here: what they score is what their null is, but for rounding.
    scores = [results.scores[results.scores["probe"] != "duration"] for results in (cuda, cpu)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-7, atol=1e-8)
    pd.testing.assert_frame_equal(cuda.predictions, cpu.predictions, rtol=1e-7, atol=1e-8)
    assert [run["hash"] for run in cuda.protocol] == [run["hash"] for run in cpu.protocol]
