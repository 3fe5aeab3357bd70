"""A model in ONNX form, run by ONNX Runtime: neither torch nor transformers is loaded.

The folder that ``probe-train export`` writes: `config.json`, `model.onnx` (float32), `model-int8.onnx` where it was
asked for, and `tokenizer.json` for a model that reads. ONNX files are protocol buffers, which hold numbers and names of
operators and no code.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoprobe.errors import Note, UserError
from emoprobe.fields import COUNT, COUNT_OR_NONE, TABLE, TEXT, TRUTH, Spec, check_fields, is_number, read_json
from emoprobe.jsontext import from_json
from emoprobe.ownership import marked

from .arguments import checked_arguments
from .fields import DIMENSION_LIST, INTERVALS, REASONS, SCALE, TRAINED_ON
from .unlike import FILE as LEARNED_FROM
from .unlike import Familiar

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

FORMAT = "emoprobe audio-text model, ONNX 1"
FLOAT, INT8 = "model.onnx", "model-int8.onnx"

#: What a graph gives: predictions, and of a model that hears the pooled states that its head reads of the speech.
PREDICTED, HEARD = "dimensions", "heard"

#: Where the export of a saved model lies, when it lies in the model's folder.
INSIDE = "onnx"

#: Farthest that the form of 8 bits may be from float32, as a share of the spread of the training labels: the mean over
#: utterances of the absolute difference. Sound ones were 0.02 to 0.06 away; a processor whose sums saturate, or a wrong
#: kernel, gives a prediction of its own. Of a few utterances, where a model runs, twice as much is allowed.
INT8_TOLERANCE = 0.25

_CHECKED_UTTERANCES = 4


#: Command that a folder of ours is marked with.
MADE_BY = "probe-train export"


def saved_in(folder: str | os.PathLike[str]) -> Path:
    """The folder of the model that is meant by that of a training: the one that the training saved in it.

    Any other folder, that of a model first of all, is taken as it is.
    """
    folder = Path(folder)
    of_a_run = (folder / "model" / "config.json").is_file() and not (folder / "config.json").exists()
    return folder / "model" if of_a_run else folder


def own_of_format(folder: Path, made_by: str, known: str, unmarked: Sequence[str]) -> list[str]:
    """What the folder of a model holds of ours.

    Parameters
    ----------
    folder : Path
    made_by : str
        Command that the folder is marked with.
    known : str
        The format that `config.json` must name. Where that is absent or torn, as a kill leaves it, the mark tells.
    unmarked : sequence of str
        Files of a folder of this format without a mark, as release 0.1 wrote it.

    Returns
    -------
    list of str
        Nothing where the folder is another command's, or nobody's.
    """
    own = list(marked(folder, made_by))
    try:
        config = from_json((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return own
    if not isinstance(config, dict) or config.get("format") != known:
        return []
    return own or list(unmarked)


def own_export_files(folder: Path) -> list[str]:
    """What the folder of an export holds of ours; nothing where it is none."""
    graphs = [name for graph in (FLOAT, INT8) for name in (graph, f"{graph}.data")]
    return own_of_format(folder, MADE_BY, FORMAT, ["config.json", "tokenizer.json", *graphs])


class OnnxModel:
    """A model that ``probe-train export`` wrote, with the interface of :class:`~emoprobe.endtoend.EmotionModel`.

    Parameters
    ----------
    folder : str or Path
        What the export wrote, or the saved model in which it lies.
    int8 : bool
        Whether to compute with weights and activations of 8 bits. Processors differ in these more than in float32, so
        the first utterances are predicted in float32 as well, and compared.
    threads : int, optional
        Of ONNX Runtime; all cores by default.
    check : bool
        False leaves that comparison out, for whoever makes it.

    Attributes
    ----------
    dimensions : tuple of str
        Columns of what :meth:`predict` returns.
    label : str
        Short name of its encoders.
    uses_audio, uses_text : bool
        Whether it hears, whether it reads.
    receptive_field : int
        Samples at 16 kHz that an utterance needs; 0 for a model of text alone.
    longest : None
        No utterance is too long: a model with a window has no ONNX form.
    familiar : Familiar or None
        What the model learned from; None in 8 bits, whose states lie elsewhere, and of a graph that does not give them.
    config : dict
        `config.json`: with the training labels' `scale`, and under `checks` how far this form is from torch.

    Raises
    ------
    UserError
        If the folder holds no export, the export is damaged, or ONNX Runtime is not installed.
    """

    def __init__(
        self, folder: str | Path, *, int8: bool = False, threads: int | None = None, check: bool = True
    ) -> None:
        folder = saved_in(folder)
        if (folder / INSIDE / "config.json").is_file():
            folder = folder / INSIDE
        self.config = _read_config(folder)
        self.dimensions: tuple[str, ...] = tuple(self.config["dimensions"])
        self.label: str = self.config["label"]
        self.uses_audio: bool = self.config["uses_audio"]
        self.uses_text: bool = self.config["uses_text"]
        self.receptive_field: int = self.config["receptive_field"]
        self.longest: int | None = None
        self._session = _session(folder / (INT8 if int8 else FLOAT), threads)
        told = {output.name: output.shape for output in self._session.get_outputs()}
        self.familiar = None if int8 else _familiar(folder, self.config, told)
        self._folder, self._threads = folder, threads
        self._unchecked = int8 and check
        self._tokenizer = _tokenizer(folder, self.config["max_tokens"]) if self.uses_text else None

    def predict(
        self,
        waveforms: Sequence[np.ndarray] | None,
        texts: Sequence[str | None] | None = None,
        *,
        batch_seconds: float | None = None,  # noqa: ARG002 - EmotionModel has it
    ) -> np.ndarray:
        """Dimensions of utterances, in the units of the corpus that the model was trained on.

        Parameters
        ----------
        waveforms : sequence of ndarray, (samples,) float32, or None
            At 16 kHz, each at least `receptive_field` long, as they come from the file: the graph normalises them
            where the model wants it. None for a model of text alone.
        texts : sequence of str or None
            What was said; "" or None where that is not known. Left out, nothing is known of any.
        batch_seconds : float, optional
            Taken so that both forms can be called alike; utterances go through one at a time, without padding.

        Returns
        -------
        ndarray, (utterances, dimensions) float32

        Raises
        ------
        UserError
            If an argument is missing, a waveform is too short, or 8 bits give something else than float32 on this
            processor.
        """
        return self.predict_and_hear(waveforms, texts)[0]

    def predict_and_hear(
        self,
        waveforms: Sequence[np.ndarray] | None,
        texts: Sequence[str | None] | None = None,
        *,
        batch_seconds: float | None = None,  # noqa: ARG002 - EmotionModel has it
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """:meth:`predict`, and the pooled states that the head reads of the speech, (utterances, width) float32.

        None in their place where :attr:`familiar` is None.
        """
        heard, said = checked_arguments(self, waveforms, texts)
        if self._unchecked and said:
            self._check(heard, said)
        pooled = None if self.familiar is None else np.empty((len(said), len(self.familiar.mean)), np.float32)
        return self._predict(self._session, heard, said, pooled), pooled

    def _predict(
        self,
        session: InferenceSession,
        waveforms: Sequence[np.ndarray],
        said: Sequence[str],
        pooled: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predictions; where there is room for what the head reads of the speech, that too."""
        predictions = np.empty((len(said), len(self.dimensions)), np.float32)
        wanted = [PREDICTED] if pooled is None else [PREDICTED, HEARD]
        for row, text in enumerate(said):
            inputs: dict[str, np.ndarray] = {}
            if self.uses_audio:
                inputs["waveform"] = np.asarray(waveforms[row], np.float32)[None]
            if self._tokenizer is not None:
                inputs["input_ids"] = np.array([self._tokenizer.encode(text).ids], np.int64)
                inputs["has_text"] = np.array([bool(text.strip())])
            found = session.run(wanted, inputs)
            predictions[row] = found[0][0]
            if pooled is not None:
                pooled[row] = found[1][0]
        return predictions

    def _check(self, waveforms: Sequence[np.ndarray], said: Sequence[str]) -> None:
        """Compare the first utterances that are asked for with float32."""
        allowed = self.config["checks"].get("int8_tolerance")
        if allowed is None or not (self._folder / FLOAT).is_file():
            why = f"{self._folder / FLOAT} is not there" if allowed else "it was exported by an early version"
            warnings.warn(
                f"the form of 8 bits of {self.label} is not compared with float32 on this processor, since {why}; "
                "export the model again",
                Note,
                stacklevel=3,
            )
            self._unchecked = False
            return
        few = slice(_CHECKED_UTTERANCES)
        waveforms, said = waveforms[few], said[few]
        whole = self._predict(_session(self._folder / FLOAT, self._threads), waveforms, said)
        error = np.abs(self._predict(self._session, waveforms, said) - whole).mean(0)
        for name, difference in zip(self.dimensions, error, strict=True):
            if not difference <= 2 * allowed[name]:  # NaN too
                raise UserError(
                    f"in 8 bits this processor predicts {name} otherwise than in float32, by {difference:.2g} on "
                    f"average of {len(said)} utterances ({2 * allowed[name]:.2g} is allowed): leave out --int8"
                )
        self._unchecked = False


_FIELDS = {
    "label": TEXT,
    "dimensions": DIMENSION_LIST,
    "uses_audio": TRUTH,
    "uses_text": TRUTH,
    "receptive_field": COUNT,
    "max_tokens": COUNT_OR_NONE,
    "checks": TABLE,
}
_MORE_FIELDS: dict[str, Spec] = {
    "intervals": INTERVALS,
    "scale": SCALE,
    "dimensions_left_out": REASONS,
    "trained_on": TRAINED_ON,
    "familiar_sha256": TEXT,
}


def _read_config(folder: Path) -> dict:
    path = folder / "config.json"
    again = "write it with `probe-train export MODEL` and give MODEL"
    config = read_json(path, remedy=again) if path.exists() else None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{folder} holds no model in ONNX form; {again}")
    check_fields(config, path, _FIELDS, _MORE_FIELDS, remedy=again)
    tolerance = (
        lambda value: isinstance(value, dict) and all(is_number(value.get(name)) for name in config["dimensions"]),
        "a number for each of " + ", ".join(config["dimensions"]),
    )
    check_fields(config["checks"], path, {}, {"int8_tolerance": tolerance}, remedy=again)
    return config


def _session(path: Path, threads: int | None) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("ONNX Runtime is not installed; `pip install 'emoprobe[onnx]'`") from error
    if not path.is_file():
        form = " --int8" if path.name == INT8 else ""
        raise UserError(f"{path} is not there; write it with `probe-train export MODEL{form}`")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # its warnings are of the graph's making, which nobody here can change
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a damaged file raises any of a dozen classes that have no common name
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{path} is damaged ({reason}); export the model again") from error


def _familiar(folder: Path, config: dict, told: dict[str, list]) -> Familiar | None:
    """What the model learned from, where it was exported with that."""
    known = config.get("familiar_sha256")
    if known is None or HEARD not in told:
        return None
    again = "write it again with `probe-train export MODEL`"
    path = folder / LEARNED_FROM
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != known:
        raise UserError(f"{path} is missing, damaged or of another model; {again}")
    return Familiar.load(folder, told[HEARD][-1], remedy=again)


def _tokenizer(folder: Path, max_tokens: int | None) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"{path} cannot be read ({error}); export the model again") from error
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    return tokenizer
