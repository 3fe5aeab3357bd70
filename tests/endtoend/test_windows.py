"""A long file is predicted window by window, each as its cut alone would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from emoprobe.analysis.figures.timeline import plot_timeline
from emoprobe.cli.predict import main
from emoprobe.endtoend.saved import build, load_model, save_model
from emoprobe.endtoend.settings import ModelSettings
from emoprobe.endtoend.window_settings import WindowSettings
from emoprobe.endtoend.windows import spans
from emoprobe.errors import UserError
from emoprobe.extract.resampling import resample
from emoprobe.testing.checkpoints import save_speech_model, save_text_model
from emoprobe.testing.corpora import tone

SECONDS = st.floats(0.05, 500)


@given(st.floats(0.001, 2000), SECONDS, st.floats(0.05, 1))
def test_windows_cover_the_file_and_are_alike(seconds, window, share):
    settings = WindowSettings(hop=max(0.01, window * share), window=window)
    found = spans(seconds, settings)
    begins, ends = np.array(found).T
    assert begins[0] == 0
    assert ends[-1] == pytest.approx(seconds, abs=1e-6)
    assert (np.diff(begins) > 0).all()
    if len(found) == 1:
        assert seconds <= window + 1e-5
        return
    np.testing.assert_allclose(ends - begins, window, atol=2e-6)
    np.testing.assert_allclose(np.diff(begins)[:-1], settings.hop, atol=2e-6)
    assert np.diff(begins)[-1] <= settings.hop + 2e-6


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"hop": 0.0}, r"--hop 0 must be a number of seconds"),
        ({"hop": 7.0}, r"--hop 7 is longer than --window 6"),
        ({"window": float("nan")}, r"--window nan must be"),
    ],
)
def test_what_is_no_cut_is_refused(given_, message):
    with pytest.raises(UserError, match=message):
        WindowSettings(**given_)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Models that hear, read, and both; a file of 3.3 s at 16 kHz and one at 44.1 kHz, with silence within."""
    folder = tmp_path_factory.mktemp("windows")
    speech, text = str(save_speech_model(folder / "speech")), str(save_text_model(folder / "words"))
    for name, sides in {
        "hears": {"audio": speech, "text": None},
        "reads": {"audio": None, "text": text},
        "both": {"audio": speech, "text": text},
    }.items():
        model, encoder = build(ModelSettings(**sides, hidden=8, freeze=()))
        save_model(folder / name, model, encoder, {"label": name})
    signal = tone(3.3, seed=1)
    soundfile.write(folder / "long.wav", signal, 16000, subtype="FLOAT")
    other = np.concatenate([tone(2.0, seed=2), np.zeros(32000), tone(1.0, seed=3)]).astype(np.float32)
    soundfile.write(folder / "other.flac", other, 44100)
    soundfile.write(folder / "short.wav", tone(0.4, seed=4), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def predicted(place: Path, model: str, out: Path, *more: str) -> tuple[int, pd.DataFrame]:
    words = [str(place / model), *more, "--out", str(out), "--device", "cpu", "--quiet"]
    status = main([*words, "--figures", str(out.parent / "figures")])
    return status, pd.read_csv(out)


@pytest.mark.slow
def test_a_window_is_predicted_as_its_cut_alone(place, tmp_path):
    files = [str(place / name) for name in ("long.wav", "other.flac", "short.wav")]
    status, table = predicted(place, "hears", tmp_path / "out.csv", *files, "--hop", "0.25", "--window", "1")
    model = load_model(place / "hears")
    for path, rows in table.groupby("path", sort=False):
        signal, rate = soundfile.read(path, dtype="float32")
        signal = resample(signal, rate)
        seconds = len(signal) / 16000
        expected = spans(seconds, WindowSettings(hop=0.25, window=1.0))
        np.testing.assert_allclose(rows[["start", "end"]].to_numpy(), expected, atol=1e-4)
        for row in rows.itertuples():
            cut = signal[round(row.start * 16000) : round(row.end * 16000)]
            if row.status == "done":
                (values,) = model.predict([cut])
                # A window of resampled audio begins at the next sample of 16 kHz.
                tolerance = 2e-5 if rate == 16000 else 0.05
                np.testing.assert_allclose([row.arousal, row.valence, row.dominance], values, atol=tolerance)
            else:
                assert row.status == "silent"
                assert np.ptp(cut[100:-100]) < 1e-3
    assert status == (3 if (table["status"] != "done").any() else 0)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {f"timeline_{name}" for name in ("long.wav", "other.flac", "short.wav")}
    assert drawn == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg", "txt", "tex")}


@pytest.mark.slow
def test_a_run_that_was_stopped_keeps_its_windows(place, tmp_path, capsys):
    words = [str(place / "hears"), str(place / "long.wav"), "--hop", "0.5", "--window", "1", "--device", "cpu"]
    words += ["--out", str(tmp_path / "out.csv"), "--figures", str(tmp_path / "figures")]
    assert main(words) == 0
    first = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "out.csv").unlink()
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 files, 6 windows of 1 s, one every 0.5 s" in said
    assert "6 predictions are there" in said
    assert (tmp_path / "out.csv").read_bytes() == first


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_told_and_the_rest_goes_on(place, tmp_path, capsys):
    status, table = predicted(
        place, "both", tmp_path / "out.csv", str(place / "broken.wav"), str(place / "long.wav"), "--hop", "1"
    )
    assert status == 3
    assert [status == "done" for status in table["status"]] == [False, True]  # 3.3 s are one window of 6 s
    assert "no curve of" in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_cut_is_refused(place, tmp_path, capsys):
    words = ["--hop", "1", "--out", str(tmp_path / "out.csv")]
    (tmp_path / "texts.csv").write_text("path,transcript\nlong.wav,hello\n")
    assert main([str(place / "reads"), "--transcripts", str(tmp_path / "texts.csv"), *words]) == 2
    assert "reads text alone" in capsys.readouterr().err
    heard = [str(place / "both"), str(place / "long.wav"), *words]
    assert main([*heard, "--transcripts", str(tmp_path / "texts.csv")]) == 2
    assert "by their sound alone" in capsys.readouterr().err
    (tmp_path / "parts.csv").write_text(f"path,start,end\n{place / 'long.wav'},0,1\n")
    assert main([str(place / "both"), "--corpus", str(tmp_path / "parts.csv"), *words]) == 2
    assert "the corpus names parts" in capsys.readouterr().err


def test_a_curve_has_a_gap_where_nothing_is_predicted():
    table = pd.DataFrame({"start": [0.0, 1.0, 2.0], "end": [2.0, 3.0, 4.0], "arousal": [1.0, np.nan, 3.0]})
    (ax,) = plot_timeline(table, figure=Figure())
    (line,) = [line for line in ax.get_lines() if line.get_gid() == "timeline-arousal"]
    np.testing.assert_array_equal(line.get_xdata(), [1.0, 2.0, 3.0])
    assert np.isnan(line.get_ydata()[1])
    with pytest.raises(UserError, match="nothing to draw"):
        plot_timeline(table.assign(arousal=np.nan), figure=Figure())
