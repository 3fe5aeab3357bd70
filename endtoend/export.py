"""A trained model to ONNX, float32 and dynamic int8, held to what torch computes on audio that it never saw.

One utterance goes through the graph at a time: nothing is padded, so nothing has to be masked, and the graph is exact.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from emoprobe.errors import UserError, is_full_disk, reason
from emoprobe.extract.encoders.pickled import file_sha256
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.extract.versions import versions
from emoprobe.jsontext import null_for_nan, to_json
from emoprobe.ownership import mark, refuse_strangers, remove
from emoprobe.probe.metrics import ccc

from .arguments import checked_arguments
from .emotion_model import EmotionModel
from .exported import (
    FLOAT,
    FORMAT,
    HEARD,
    INSIDE,
    INT8,
    INT8_TOLERANCE,
    MADE_BY,
    PREDICTED,
    OnnxModel,
    own_export_files,
    saved_in,
)
from .familiar import corpus_of
from .model import AudioEncoder, AudioStates, AudioTextModel, TextStates
from .saved import load_model
from .unlike import FILE as LEARNED_FROM

#: Farthest that a prediction of the float32 graph may be from torch's, as a share of the spread of the training labels.
#: Both compute in float32, in another order and with other approximations of GELU and softmax: some 1e-6 to 1e-5. An
#: error of the graph is orders of magnitude larger, and a thousandth of a label's spread is far below what any
#: annotator or model resolves.
TOLERANCE = 1e-3

#: Utterances that are checked a second time without their text.
_WITHOUT_TEXT = 8


def export_model(
    folder: str | Path,
    waveforms: Sequence[np.ndarray] | None,
    texts: Sequence[str | None] | None = None,
    *,
    out: str | Path | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
) -> dict:
    """Write a saved model in ONNX form, unless it predicts otherwise than torch.

    Parameters
    ----------
    folder : str or Path
        A model that ``probe-train`` saved, or the folder of its training.
    waveforms : sequence of ndarray, (samples,) float32, or None
        Held-out audio at 16 kHz to compare both forms on, of several lengths; None for a model of text alone.
    texts : sequence of str or None
        What is said in it.
    out : str or Path, optional
        Folder of the ONNX form, replaced if it is there; `onnx` in `folder` by default.
    int8 : bool
        Write the form of 8 bits as well: weights quantised channel by channel, activations as they come. On processors
        without 8-bit dot products (x86 before AVX-512 VNNI) its sums can saturate; what is reported is of this machine.
    tolerance : float
        Farthest that a float32 prediction may be from torch's, in units of the training labels' spread.

    Returns
    -------
    dict
        `utterances` compared; `difference`, the largest between float32 and torch in units of the labels' spread;
        with `int8` also `int8_ccc` and `int8_mae` a dimension, between the forms of 8 and 32 bits, and `int8_tolerance`
        of the second (both in the corpus's units). It is kept under `checks` in `config.json`.

    Raises
    ------
    UserError
        If the model cannot be read or exported, a package is missing, or the forms differ by more than `tolerance`
        (that of 8 bits by more than :data:`.exported.INT8_TOLERANCE`); what was there before is left alone then.
    """
    folder = saved_in(folder)
    out = folder / INSIDE if out is None else Path(out)
    beside, before = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for path in (out, beside, before):
        refuse_strangers(path, own_export_files(path), "the ONNX form of a model", option="--out")
    try:
        tools = {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    except PackageNotFoundError as error:
        raise UserError(f"the package {error.name} is not installed; `pip install 'emoprobe[onnx]'`") from error
    ready = load_model(folder)
    refuse_features(ready)
    heard, said = checked_arguments(ready, waveforms, texts)
    count = len(said)
    if count == 0:
        raise UserError(f"no utterance to compare torch and ONNX on; give a corpus that {ready.label} can be run on")
    if ready.uses_audio and ready.uses_text:
        heard = [*heard, *heard[:_WITHOUT_TEXT]]
        said += [""] * (len(heard) - count)
    expected = ready.predict(heard, said)
    spread = ready.model.label_spread.numpy().copy()
    if before.exists() and not out.exists():  # a kill between the two renamings below
        before.rename(out)
    for path in (beside, before):
        remove(path, own_export_files(path))
    beside.mkdir(parents=True, exist_ok=True)
    try:
        mark(beside, MADE_BY, also=["**"])  # until it is whole
        if ready.familiar is not None:
            ready.familiar.save(beside)
        _write_config(beside, ready, {}, tools)
        _write_tokenizer(beside, ready)
        _write_graph(ready, beside / FLOAT)
        whole = OnnxModel(beside).predict(heard, said)
        difference = float(np.abs((whole - expected) / spread).max())
        if not difference <= tolerance:  # NaN too
            raise UserError(
                f"{folder}: the ONNX form predicts otherwise than torch, by up to {difference:.2g} of the "
                f"spread of the training labels (at most {tolerance:g} is allowed), and was not written; try other "
                "releases of torch, onnxscript and onnxruntime"
            )
        checks: dict[str, object] = {"utterances": count, "difference": difference}
        if int8:
            _quantise(beside / FLOAT, beside / INT8)
            small = OnnxModel(beside, int8=True, check=False).predict(heard, said)
            checks |= _compare_int8(folder, ready, small, whole, spread)
        _write_config(beside, ready, checks, tools)
        mark(beside, MADE_BY)
        if out.exists():
            out.rename(before)
        beside.rename(out)
    finally:
        remove(beside, own_export_files(beside))
    remove(before, own_export_files(before))
    return checks


def refuse_features(model: EmotionModel) -> None:
    """Refuse a model whose input is computed from the waveform, which no graph does.

    Raises
    ------
    UserError
    """
    if model.model.audio is not None and not model.model.audio.backbone.reads_waveform:
        raise UserError(
            f"{model.label} takes log-mel features, which the ONNX form does not compute; use probe-predict without "
            "--onnx, or train a model that reads the waveform, such as distilhubert"
        )


def _compare_int8(
    folder: Path, ready: EmotionModel, small: np.ndarray, whole: np.ndarray, spread: np.ndarray
) -> dict[str, dict[str, float]]:
    """Agreement of predictions (utterances, dimensions) in 8 bits with those in float32; refused where it is none."""
    agreement, error, allowed = ccc(whole.T, small.T), np.abs(small - whole).mean(0), INT8_TOLERANCE * spread
    for k, name in enumerate(ready.dimensions):
        if not error[k] <= allowed[k]:  # NaN too
            raise UserError(
                f"{folder}: in 8 bits {name} is predicted otherwise than in float32, by {error[k]:.2g} on average of "
                f"{len(small)} predictions (at most {allowed[k]:.2g} is allowed, {INT8_TOLERANCE:g} of the spread of "
                "the training labels), and nothing was written: leave out --int8, or export on a processor with 8-bit "
                "dot products"
            )
    columns = {"int8_ccc": agreement, "int8_mae": error, "int8_tolerance": allowed}
    return {
        key: {name: float(value) for name, value in zip(ready.dimensions, values, strict=True)}
        for key, values in columns.items()
    }


class GatheredConv(nn.Module):
    """A strided convolution over time as one matrix product: each output step's inputs, side by side, times a matrix.

    The same multiply-adds, on channels last. Dynamic quantisation makes matrix products fast and convolutions slow, and
    most of a distilled encoder's work is in the convolutions of its front end.

    Parameters
    ----------
    conv : torch.nn.Conv1d
        Without padding, dilation or groups.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        if conv.padding != (0,) or conv.dilation != (1,) or conv.groups != 1:
            raise ValueError(f"{conv} is no plain strided convolution")
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        # (out, in, kernel) to (kernel * in, out)
        self.weight = nn.Parameter(conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.out_channels).contiguous())
        self.bias = conv.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Convolve `states` (1, steps, channels)."""
        _, steps, channels = states.shape
        outputs = (steps - self.kernel) // self.stride + 1
        starts = torch.arange(outputs)[:, None] * self.stride
        wanted = (starts + torch.arange(self.kernel)).reshape(-1)
        frames = states.index_select(1, wanted).reshape(1, outputs, self.kernel * channels)
        product = frames @ self.weight
        return product if self.bias is None else product + self.bias


class GatheredFrontEnd(nn.Module):
    """The front end of a speech model with all its convolutions but the first, which has one channel, gathered.

    Parameters
    ----------
    front_end : torch.nn.Module
        `feature_extractor` of HuBERT or its kin, which give their parts no types.
    """

    def __init__(self, front_end: Any) -> None:
        super().__init__()
        self.first, *others = front_end.conv_layers
        self.convolutions = nn.ModuleList(GatheredConv(layer.conv) for layer in others)
        self.norms = nn.ModuleList(getattr(layer, "layer_norm", None) or nn.Identity() for layer in others)
        self.activations = nn.ModuleList(layer.activation for layer in others)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Features (1, channels, frames) of `waveforms` (1, samples)."""
        states = self.first(waveforms[:, None]).transpose(1, 2)
        for convolution, norm, activation in zip(self.convolutions, self.norms, self.activations, strict=True):
            states = activation(norm(convolution(states)))  # a norm here is over channels, which are last already
        return states.transpose(1, 2)


class OneUtterance(nn.Module):
    """A model from the samples of a file and token numbers to the corpus's units, one utterance a time.

    Parameters
    ----------
    model : AudioTextModel
        In evaluation mode; its front end is replaced.
    """

    def __init__(self, model: AudioTextModel) -> None:
        super().__init__()
        self.model = model
        if model.audio is not None:
            encoder = model.audio.model
            encoder.feature_extractor = GatheredFrontEnd(encoder.feature_extractor)

    def forward(
        self,
        waveform: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        has_text: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Predictions (1, dimensions) of `waveform` (1, samples), `input_ids` (1, tokens) and `has_text` (1,).

        Of a model that hears the pooled states (1, width) that its head reads of the speech, too.
        """
        model, audio, text = self.model, None, None
        if model.audio is not None and waveform is not None:
            audio = _hear(model.audio, waveform)
        if model.text is not None and has_text is not None:
            states = model.text(input_ids=input_ids, attention_mask=None).last_hidden_state
            text = TextStates(states, _all_count(states), has_text)
        predictions = model.in_units(model.combine(audio, text))
        if audio is None:
            return (predictions,)
        return predictions, model.audio_pooling(audio.states, audio.mask)


def _hear(encoder: AudioEncoder, waveform: torch.Tensor) -> AudioStates:
    if encoder.backbone.normalise:
        mean = waveform.mean(dim=1, keepdim=True)
        variance = waveform.var(dim=1, keepdim=True, correction=0)
        waveform = (waveform - mean) / torch.sqrt(variance + 1e-7)
    states = encoder.states(waveform, None)
    return AudioStates(states, _all_count(states))


def _all_count(states: torch.Tensor) -> torch.Tensor:
    """The mask that says that none of the states is of padding."""
    return torch.ones(states.shape[:2], dtype=torch.bool)


def _write_graph(ready: EmotionModel, path: Path) -> None:
    graph = OneUtterance(ready.model).eval()
    free = {1: torch.export.Dim.DYNAMIC}  # refused by the exporter where the graph would hold for one length alone
    arguments: dict[str, torch.Tensor] = {}
    shapes: dict[str, dict | None] = {}
    if ready.uses_audio:
        arguments["waveform"] = torch.linspace(-1, 1, 2 * SAMPLE_RATE)[None]
        shapes["waveform"] = free
    if ready.text is not None:
        tokens = ready.text.tokenise(["one two three four five six seven eight"])["input_ids"]
        arguments |= {"input_ids": tokens, "has_text": torch.ones(1, dtype=torch.bool)}
        shapes |= {"input_ids": free, "has_text": None}
    try:
        with torch.no_grad(), _quiet():
            exported = torch.onnx.export(
                graph,
                kwargs=arguments,
                input_names=list(arguments),
                output_names=[PREDICTED, HEARD] if ready.uses_audio else [PREDICTED],
                dynamo=True,
                dynamic_shapes=shapes,
                verbose=False,
            )
            # Typed as None too, which it returns where dynamo is False.
            cast("torch.onnx.ONNXProgram", exported).save(str(path))
    except Exception as error:  # the exporter passes on whatever an operator that it does not know raises
        if is_full_disk(error):
            raise
        raise UserError(f"{ready.label} cannot be brought to ONNX ({reason(error)[:200]})") from error


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            # Convolutions stay: in 8 bits ONNX Runtime has no fast one.
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=source.with_name(f"{source.name}.data").exists(),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes on optional packages and steps, which say nothing of this model."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write_tokenizer(folder: Path, ready: EmotionModel) -> None:
    if ready.text is None:
        return
    backend = getattr(ready.text.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"the tokeniser of {ready.text.label} has no tokenizer.json form, which the ONNX form reads with"
        )
    backend.save(str(folder / "tokenizer.json"))


def _write_config(folder: Path, ready: EmotionModel, checks: dict, tools: dict) -> None:
    config = {
        "format": FORMAT,
        "label": ready.label,
        "dimensions": list(ready.dimensions),
        "scale": ready.config.get("scale", {}),
        **({"intervals": ready.config["intervals"]} if "intervals" in ready.config else {}),
        "dimensions_left_out": ready.config.get("dimensions_left_out", {}),
        "trained_on": dict(corpus_of(ready.config)),
        **({"familiar_sha256": file_sha256(learned)} if (learned := folder / LEARNED_FROM).is_file() else {}),
        "uses_audio": ready.uses_audio,
        "uses_text": ready.uses_text,
        "receptive_field": ready.receptive_field,
        "max_tokens": ready.text.max_tokens if ready.text is not None and ready.text.max_tokens < 2**31 else None,
        "checks": checks,
        "versions": versions() | tools,
    }
    text = to_json(null_for_nan(config), indent=1, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
