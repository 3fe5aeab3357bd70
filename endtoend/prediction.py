"""From audio, and what was said, to arousal, valence and dominance in the units that the model was trained on."""

from __future__ import annotations

import hashlib
import numbers
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emoprobe.errors import Note, UserError
from emoprobe.extract.audio import LOUDEST, SILENCE, Kept, gathered, read_audio
from emoprobe.extract.batchwise import Problem, Utterances, run_batches, stamp
from emoprobe.extract.corpora import COLUMNS, DIMENSIONS, Corpus
from emoprobe.extract.corpora.cells import OPTIONAL_NUMBERS, PLACES, TEXT_COLUMNS
from emoprobe.extract.corpora.places import Place
from emoprobe.extract.corpora.values import printable
from emoprobe.extract.journal import open_journal, write_beside
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.resampling import resample
from emoprobe.extract.scan import scan
from emoprobe.fields import is_number
from emoprobe.ownership import MARK

from .emotion_model import EmotionModel
from .exported import FLOAT, INSIDE, INT8, OnnxModel
from .familiar import beyond_training, told_training
from .prediction_table import as_csv, is_predictions, tabulate
from .saved import load_model
from .settings import PredictionSettings
from .unlike import FAR
from .unlike import FILE as LEARNED_FROM

#: Of what becomes of a file between its samples and a number; raised whenever that changes a prediction.
VERSION = 1

# Audio of which the results go to disk together; the model makes its own, smaller batches of it.
_GROUP_SECONDS = {"cpu": 60.0, "mps": 60.0, "cuda": 1200.0}
_GROUP_LETTERS = 16_000  # the same for text alone


def predict(
    waveform: np.ndarray | None = None,
    *,
    sampling_rate: int = SAMPLE_RATE,
    text: str | None = None,
    model: EmotionModel | OnnxModel | str | os.PathLike[str],
) -> dict[str, float]:
    """Dimensions of one utterance; a note tells what the model learned from, and what lies beyond that.

    Parameters
    ----------
    waveform : ndarray, (samples,) float, or None
        Mono, at about [-1, 1]; None for a model of text alone.
    sampling_rate : int
        In Hz; brought to 16 kHz by :func:`emoprobe.extract.resampling.resample`.
    text : str, optional
        What was said, for a model that reads.
    model : EmotionModel, OnnxModel, or folder of an EmotionModel
        A model is loaded at each call from a folder; load it once with :func:`.saved.load_model` for many utterances.

    Returns
    -------
    dict of str to float
        Dimension to prediction, in the units of the corpus that the model was trained on.

    Raises
    ------
    UserError
        If the array is no mono signal of finite numbers, silent, too short or too long, or what the model needs is
        missing.

    Warns
    -----
    Note
        What the model learned from (Python shows it once), a text that the model does not read, each prediction
        beyond the range of the labels that the model learned from, and speech that is unlike what it learned from.

    Examples
    --------
    A model with random weights, in the place of a folder that ``probe-train`` wrote:

    >>> from tempfile import TemporaryDirectory
    >>> from emoprobe.endtoend.saved import build
    >>> from emoprobe.endtoend.settings import ModelSettings
    >>> from emoprobe.testing import save_speech_model
    >>> with TemporaryDirectory() as folder:
    ...     speech = save_speech_model(Path(folder) / "speech")
    ...     network, words = build(ModelSettings(audio=str(speech), text=None, hidden=8))
    >>> model = EmotionModel(network, words, {"label": "small"})
    >>> sorted(predict(np.sin(np.arange(16_000) / 20), sampling_rate=16_000, model=model))
    ['arousal', 'dominance', 'valence']
    """
    if isinstance(model, str | os.PathLike):
        model = load_model(model)
    waveforms = None
    if model.uses_audio:
        signal = _checked(waveform, sampling_rate, model)
        if text is not None and not model.uses_text:
            warnings.warn(f"{model.label} hears alone, and does not read the text", Note, stacklevel=2)
        if len(signal) < model.receptive_field:
            raise UserError(
                f"the waveform has {1000 * len(signal) / SAMPLE_RATE:.1f} ms, and one frame of {model.label} needs "
                f"{1000 * model.receptive_field / SAMPLE_RATE:.1f} ms"
            )
        if model.longest is not None and len(signal) > model.longest:
            raise UserError(
                f"the waveform has {len(signal) / SAMPLE_RATE:.1f} s, and {model.label} takes at most "
                f"{model.longest / SAMPLE_RATE:g} s; cut it"
            )
        waveforms = [signal]
    elif waveform is not None:
        raise UserError(f"{model.label} reads text alone: give None in place of a waveform")
    elif not (text or "").strip():
        raise UserError(f"{model.label} reads text alone: give text=...")
    (values,) = _values(model, waveforms, [text or ""], None)
    predicted = {dimension: float(value) for dimension, value in zip(model.dimensions, values, strict=False)}
    warnings.warn(told_training(model.config), Note, stacklevel=2)
    if beyond := beyond_training(predicted, model.config.get("scale", {})):
        told = f"{', '.join(beyond)}: beyond every label that {model.label} learned from, so do not rely on it"
        warnings.warn(told, Note, stacklevel=2)
    if len(values) > len(model.dimensions) and values[-1] >= FAR:
        told = (
            f"this sounds unlike what {model.label} learned from: more so than {values[-1]:.1%} of its development part"
        )
        warnings.warn(told, Note, stacklevel=2)
    return predicted


def _checked(waveform: np.ndarray | None, rate: int, model: EmotionModel | OnnxModel) -> np.ndarray:
    """The waveform as (samples,) float32 at 16 kHz."""
    if not isinstance(rate, numbers.Real) or isinstance(rate, bool) or not rate > 0 or rate % 1 != 0:
        raise UserError(f"sampling_rate is {rate!r}; give a whole number of Hz")
    if waveform is None:
        unread = "" if model.uses_text else ", and does not read"
        raise UserError(
            f"{model.label} hears speech{unread}: give a waveform, (samples,) at sampling_rate="
            f"{'' if model.uses_text else '; to predict of words, train a model with probe-train --text'}"
        )
    if isinstance(waveform, str | os.PathLike):
        raise UserError(
            f"predict takes samples, and {os.fspath(waveform)!r} names a file: read it by waveform, sampling_rate = "
            "soundfile.read(path), or predict files by probe-predict MODEL FILES"
        )
    try:
        signal = np.asarray(waveform)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor on a device or with gradients, a ragged list
        raise UserError(f"the waveform is no array ({error}); give a numpy array") from error
    if signal.ndim != 1:
        raise UserError(
            f"the waveform has the shape {signal.shape}; give one channel (samples,), such as the mean of the channels"
        )
    if signal.dtype.kind in "iu":
        raise UserError(
            f"the waveform holds whole numbers ({signal.dtype}); bring them to [-1, 1], for int16 by / 32768"
        )
    if signal.dtype.kind != "f":
        raise UserError(f"the waveform holds {signal.dtype}; give floating-point samples")
    if len(signal) == 0:
        raise UserError("the waveform is empty")
    if not np.isfinite(signal).all() or np.abs(signal).max() > LOUDEST:
        raise UserError("the waveform holds NaN, infinity or samples that overflow; mend it")
    if float(signal.max()) - float(signal.min()) <= SILENCE:
        raise UserError("the waveform is silent")
    return resample(signal.astype(np.float32), int(rate))


def predict_files(
    model: EmotionModel | OnnxModel,
    paths: Sequence[str],
    texts: Sequence[str | None] | None = None,
    out: str | Path = "predictions.csv",
    *,
    parts: Sequence[Place] | None = None,
    made_by: dict | None = None,
    widths: Mapping[str, float] | None = None,
    settings: PredictionSettings | None = None,
    progress: bool = True,
    report: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Predict audio files, or parts of them, and write a row for each; go on where an earlier run stopped.

    Parameters
    ----------
    model : EmotionModel or OnnxModel
    paths : sequence of str
        Audio files, each (or each part) once; for a model of text alone, names of the texts.
    texts : sequence of str or None, optional
        What was said in each; None or "" where that is not known.
    out : str or Path
        A CSV with the columns :data:`.prediction_table.PREDICTION_COLUMNS`, ``beyond_training`` (which predictions lie
        beyond the range of the labels that the model learned from) and where the model can tell ``unlike`` (share of
        the development part that sounds more like the training part), its rows in the order of `paths`; where there are
        parts, with ``start``, ``end`` and ``channel`` as well. Beside it, `out`.journal keeps what is finished;
        predictions of the same model, file, part and text are not computed again.
    parts : sequence of tuple, optional
        Which part of each file is meant, as :func:`emoprobe.extract.corpora.places.places` gives it; whole files if
        left out.
    made_by : dict, optional
        What identifies the model, as :func:`model_identity` gives it.
    widths : mapping of str to float, optional
        Half width of the interval around each dimension's prediction (:func:`.conformal.half_widths`): the columns
        ``DIMENSION_low`` and ``DIMENSION_high``.
    settings : PredictionSettings, optional
        The defaults if left out.
    progress : bool
        Show a bar on standard error.
    report : callable, optional
        Given each line of the summary; ``print`` shows it.

    Returns
    -------
    DataFrame
        What was written: `status` is ``done``, or why there is no prediction, with the `reason`.

    Raises
    ------
    UserError
        If `out` holds predictions of another model, or cannot be written.
    """
    settings = settings or PredictionSettings()
    say = report or (lambda line: None)
    out = Path(out)
    paths = list(paths)
    parts = list(parts or [()] * len(paths))
    said = [(text or "").strip() if model.uses_text else "" for text in texts or [""] * len(paths)]
    each_once = not model.uses_audio or len({*zip(paths, parts, strict=True)}) == len(paths)
    if not paths or len(said) != len(paths) or not each_once:
        raise UserError(f"{len(paths)} files and {len(said)} texts: give each file once, with one text or none")
    if model.uses_audio:
        table, headers = scan(
            _files(paths, parts),
            shortest=model.receptive_field,
            longest=settings.longest,
            window=model.longest,
            progress=progress,
        )
        sizes = table["samples"].to_numpy()
        load: Callable[[int], object] = _waveforms(paths, headers)
        keys = _keys(paths, parts)
        stamps = [[*stamp(path, part), _hash(text)] for path, part, text in zip(paths, parts, said, strict=True)]
    else:
        sizes = np.array([len(text) for text in said], dtype=np.int64)
        missing = ["" if text else "no text" for text in said]
        table = _files(paths, parts).utterances.assign(seconds=np.nan, status=missing)
        table["reason"] = ["the model reads text alone, and there is none" if status else "" for status in missing]
        load = said.__getitem__
        stamps = [[_hash(text)] for text in said]
        keys = [f"{name} {digest}" for name, (digest,) in zip(_keys(paths, parts), stamps, strict=True)]

    def compute(rows: list[int], loaded: list) -> list:
        waveforms = loaded if model.uses_audio else None
        values = _values(model, waveforms, [said[row] for row in rows], settings.batch_seconds)
        return [
            [float(value) for value in row]
            if np.isfinite(row).all()
            else Problem("overflow", "the model gave a number that is not finite")
            for row in values
        ]

    def is_prediction(values: object) -> bool:
        count = len(model.dimensions) + (model.familiar is not None)
        return isinstance(values, list) and len(values) == count and all(map(is_number, values))

    device = "cpu" if isinstance(model, OnnxModel) else model.device.type
    group = max(_GROUP_SECONDS[device], settings.batch_seconds or 0.0)
    with open_journal(
        out,
        made_by=made_by or {},
        settings={},
        overwrite=settings.overwrite,
        is_own=is_predictions,
        inputs=paths if model.uses_audio else (),
    ) as journal:
        if len(journal):
            say(f"going on with {out}: {len(journal)} predictions are there")
        results = run_batches(
            Utterances(keys, stamps, sizes, gathered(paths, parts) if model.uses_audio else None),
            journal=journal,
            load=load,
            compute=compute,
            budget=int(group * SAMPLE_RATE) if model.uses_audio else _GROUP_LETTERS,
            workers=settings.workers,
            is_result=is_prediction,
            doing="predicting",
            progress=progress,
        )
        table = tabulate(table, said, results, model, widths or {})
        write_beside(out, as_csv(table))
    return table


def _values(
    model: EmotionModel | OnnxModel, waveforms: list | None, texts: list[str], batch_seconds: float | None
) -> np.ndarray:
    """Predictions, and how unlike what the model learned from each utterance is, where the model can tell."""
    if model.familiar is None:
        return model.predict(waveforms, texts, batch_seconds=batch_seconds)
    values, heard = model.predict_and_hear(waveforms, texts, batch_seconds=batch_seconds)
    return values if heard is None else np.column_stack([values, model.familiar.unlike(heard)])


def model_identity(folder: str | os.PathLike[str], *, onnx: bool = False, int8: bool = False) -> dict:
    """What a prediction depends on: the hash of the model's files, and the version of the method.

    Parameters
    ----------
    folder : path-like
        A saved model, or for `onnx` also an export of one.
    onnx, int8 : bool
        Whether its ONNX form, and of that the form of 8 bits, is meant.
    """
    folder = Path(folder)
    if onnx:
        folder = folder / INSIDE if (folder / INSIDE / "config.json").is_file() else folder
        graph = INT8 if int8 else FLOAT
        files = [folder / name for name in ("config.json", "tokenizer.json", LEARNED_FROM, graph, f"{graph}.data")]
    else:
        known = {".json", ".txt", ".model", ".safetensors"}  # the card is no part of it
        files = [
            path
            for path in folder.rglob("*")
            if path.suffix in known and path != folder / MARK and not path.is_relative_to(folder / INSIDE)
        ]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    form = "torch" if not onnx else "onnx int8" if int8 else "onnx"
    return {"the model": digest.hexdigest(), "its form": form, "the method": VERSION}


def _waveforms(paths: list[str], headers: list) -> Callable[[int], np.ndarray]:
    kept = Kept()
    return lambda row: read_audio(paths[row], headers[row], kept)


def _keys(paths: list[str], parts: list[Place]) -> list[str]:
    """Of each utterance, in the journal."""
    return [printable(path) + "".join(f"\t{cell}" for cell in part) for path, part in zip(paths, parts, strict=True)]


def _files(paths: list[str], parts: list[Place]) -> Corpus:
    """Files without anything else that a corpus knows, for what scans a corpus."""
    utterances = pd.DataFrame(
        {name: pd.Series([""] * len(paths), dtype=object) for name in TEXT_COLUMNS}
        | {name: np.full(len(paths), np.nan) for name in (*DIMENSIONS, *OPTIONAL_NUMBERS)}
        | dict(zip(PLACES, np.array([part or (None,) * len(PLACES) for part in parts], dtype=float).T, strict=True))
    )
    utterances["path"] = pd.Series(paths, dtype=object)
    utterances["id"] = pd.Series([str(row) for row in range(len(paths))], dtype=object)
    return Corpus("files", Path(), utterances[list(COLUMNS)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
