"""How unlike the training part speech sounds: calibrated on the development part, far for what nobody said."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.covariance import LedoitWolf

from emoprobe.cli.predict import main as predict
from emoprobe.cli.train import main as train
from emoprobe.endtoend import prediction, unlike
from emoprobe.endtoend.prediction import predict as predict_one
from emoprobe.endtoend.saved import load_model
from emoprobe.endtoend.unlike import FAR, FILE, Familiar, told_unlike
from emoprobe.errors import UserError
from emoprobe.testing.checkpoints import save_speech_model
from emoprobe.testing.corpora import make_corpus


def cloud(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 6)) @ np.diag([5.0, 3.0, 1.0, 1.0, 0.3, 0.1]) + 2.0


def test_the_distance_is_mahalanobis_s():
    trained, x = cloud(300, 0), cloud(40, 1)
    familiar = Familiar.of(trained, cloud(100, 2))
    np.testing.assert_allclose(familiar.distance(x) ** 2, LedoitWolf().fit(trained).mahalanobis(x), rtol=1e-4)


def test_shares_are_uniform_on_the_like_and_one_on_what_is_far():
    """A share of a hundred is off by .05 of one standard deviation at most; four of them here."""
    familiar = Familiar.of(cloud(500, 0), cloud(100, 1))
    shares = familiar.unlike(cloud(400, 2))
    assert np.abs(np.quantile(shares, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.2
    far = cloud(5, 3)
    far[:, 5] += 3  # no wider than the cloud, and where it is thin
    assert (familiar.unlike(far) == 1).all()
    assert familiar.unlike(cloud(500, 0).mean(0, keepdims=True)) == 0


def test_states_that_do_not_vary_are_no_trouble():
    familiar = Familiar.of(np.ones((20, 3)), np.ones((5, 3)))
    assert list(familiar.unlike(np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]))) == [0.0, 1.0]


def test_it_comes_back_as_it_was_and_another_model_s_is_refused(tmp_path):
    familiar = Familiar.of(cloud(50, 0), cloud(20, 1))
    familiar.save(tmp_path)
    loaded = Familiar.load(tmp_path, 6)
    np.testing.assert_array_equal(loaded.unlike(cloud(9, 2)), familiar.unlike(cloud(9, 2)))
    with pytest.raises(UserError, match=r"does not belong to the model"):
        Familiar.load(tmp_path, 7)
    (tmp_path / FILE).write_bytes(b"no safetensors")
    with pytest.raises(UserError, match=r"is damaged"):
        Familiar.load(tmp_path, 6)
    assert Familiar.load(tmp_path / "elsewhere", 6) is None


def test_what_is_told_is_counted():
    assert told_unlike(np.array([0.1, FAR - 0.01, np.nan])) == ""
    assert told_unlike(np.array([FAR, 0.5, np.nan])).startswith("1 of 2 utterances sound unlike")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_trained_model_tells_noise_from_what_it_learned(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv(make_corpus(tmp_path / "corpus", utterances=40, speakers=8, longest=0.8))
    parts = dict(zip(sorted(table["speaker"].unique()), ["train"] * 4 + ["development"] * 3 + ["test"], strict=True))
    table["split"] = table["speaker"].map(parts)
    table.to_csv("corpus/manifest.csv", index=False)
    save_speech_model(tmp_path / "speech")
    for module in (unlike, prediction):
        monkeypatch.setattr(module, "FAR", 0.0)  # all is
    words = ["--corpus", "corpus/manifest.csv", "--audio", "speech", "--text", "none", "--hidden", "8", "--quiet"]
    assert train([*words, "--epochs", "1", "--batch", "8", "--resamples", "10", "--device", "cpu"]) == 0
    noise = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    soundfile.write("noise.wav", noise, 16000)
    trained = [f"corpus/{path}" for path in table.loc[table["split"] == "train", "path"]]
    command = ["trained/model", *trained, "noise.wav", "--out", "out.csv", "--device", "cpu", "--quiet"]
    assert predict(command) == 0
    shares = pd.read_csv("out.csv").set_index("path")["unlike"]
    model = load_model("trained/model")
    _, heard = model.predict_and_hear([noise])
    assert shares["noise.wav"] == pytest.approx(model.familiar.unlike(heard)[0], abs=1e-6)
    assert shares.drop("noise.wav").median() < 0.9
    assert "utterances sound unlike what the model learned from" in capsys.readouterr().err
    first = (tmp_path / "out.csv").read_bytes()
    assert predict(command) == 0  # from the journal
    assert (tmp_path / "out.csv").read_bytes() == first
    with pytest.warns(Warning, match="sounds unlike what"):
        predict_one(noise, model=load_model("trained/model"))
    (tmp_path / "trained/model" / FILE).unlink()  # as of a model from before
    assert predict([*command, "--overwrite"]) == 0
    assert "unlike" not in pd.read_csv("out.csv")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        predict_one(noise, model=load_model("trained/model"))
    assert not any("sounds unlike" in str(one.message) for one in told)
