"""Speech-recognition checkpoints: how they are loaded, and the text of a waveform whatever its batch."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import UserError
from ..extract.devices import default_batch_seconds, numerics
from ..extract.encoders.speech import SAMPLE_RATE, Backbone, first_line, weights_sha256
from ..jsontext import to_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, WhisperFeatureExtractor

# Named and not looked up, so that no checkpoint can bring code of its own.
_CTC = {
    "hubert": "HubertForCTC",
    "wav2vec2": "Wav2Vec2ForCTC",
    "wavlm": "WavLMForCTC",
    "data2vec-audio": "Data2VecAudioForCTC",
}
_WHISPER = "WhisperForConditionalGeneration"

# Used by masked training alone: a checkpoint may lack it.
_UNUSED_WEIGHTS = {"masked_spec_embed"}

# Whisper's window is 30 s, however short the utterance. Its decoder, which goes token by token, gains from company:
# Whisper base on a CPU was 1.5 times as fast by 4 as one by one, and no faster by 8.
_WHISPER_WINDOWS = {"cpu": 4, "mps": 8, "cuda": 32}


class Recogniser(ABC):
    """What both kinds of recogniser share.

    Attributes
    ----------
    label : str
        Short name and revision (the first 12 digits of the weights' hash where there is none), as in the column
        ``transcript_source``.
    shortest : int
        Samples that an utterance needs.
    """

    shortest = 1

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, language: str | None = None
    ):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.language = language
        self.weights_sha256 = weights_sha256(model)
        revision = getattr(model.config, "_commit_hash", None) or self.weights_sha256
        self.label = f"{Path(name).name or name}@{revision[:12]}"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Recogniser:
        """Move the weights to `device`."""
        self.model.to(device)
        return self

    def identity(self) -> dict:
        """What a transcript depends on, as JSON."""
        vocabulary = to_json(sorted(self.tokenizer.get_vocab().items()))
        return {
            "the recogniser": self.label,
            "its weights": self.weights_sha256,
            "its vocabulary": hashlib.sha256(vocabulary.encode("utf-8", "surrogatepass")).hexdigest(),
            "the language": self.language,
        }

    def sizes(self, samples: np.ndarray) -> np.ndarray:
        """What an utterance of that many samples takes of a batch, in samples."""
        return samples

    @abstractmethod
    def default_batch_seconds(self, device: torch.device) -> float:
        """Seconds of audio, padding included, that one batch takes on the device."""

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """The words of each waveform; an utterance's text does not depend on the others.

        Parameters
        ----------
        waveforms : sequence of ndarray, (samples,) float32
            At 16 kHz, each at least `shortest` long.
        """
        if not waveforms:
            return []
        with numerics(self.device, "float32"):
            texts = self._transcribe(waveforms)
        return [" ".join(text.replace("\0", " ").split()) for text in texts]

    @abstractmethod
    def _transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """The same before blanks are tidied."""


class CtcRecogniser(Recogniser):
    """HuBERT, wav2vec 2.0, WavLM or data2vec-audio with a CTC head, decoded greedily.

    The encoder sees no padding (:mod:`emoprobe.extract.encoders.exact`), and what the head says of padding is cut off.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, normalise: bool):
        super().__init__(model, tokenizer, name=name)
        self._encoder = Backbone(model.base_model, name=name, normalise=normalise)
        self.shortest = self._encoder.receptive_field

    def identity(self) -> dict:
        """What a transcript depends on, as JSON."""
        return {**super().identity(), "normalised input": self._encoder.normalise}

    def default_batch_seconds(self, device: torch.device) -> float:
        """As for the hidden states of the same model."""
        return default_batch_seconds(device, self._encoder.config.conv_dim[0])

    def _transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        samples = [len(waveform) for waveform in waveforms]
        padded = torch.zeros(len(samples), max(samples))
        for row, waveform in enumerate(waveforms):
            padded[row, : len(waveform)] = torch.from_numpy(self._encoder.prepare(waveform))
        states = self._encoder.forward(padded.to(self.device), samples)
        tokens = self.model.lm_head(states).argmax(-1).cpu()
        return [self._text(row[: self._encoder.frames(n)]) for row, n in zip(tokens, samples, strict=True)]

    def _text(self, tokens: torch.Tensor) -> str:
        # Special tokens go after decoding: before it, they keep apart the repeated letters that CTC would merge.
        text = self.tokenizer.decode(tokens)
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text


class WhisperRecogniser(Recogniser):
    """Whisper, decoded greedily; what is longer than its window goes through transformers' own long-form decoding.

    Every waveform is brought to the window's length, so a batch has no padding of its own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        features: WhisperFeatureExtractor,
        *,
        name: str,
        language: str | None,
    ):
        settings = model.generation_config
        multilingual = getattr(settings, "is_multilingual", False)
        # Tokens have names such as <|en|>.
        known = sorted(token.strip("<|>") for token in getattr(settings, "lang_to_id", None) or {})
        if language is not None and language not in (known if multilingual else ["en"]):
            raise UserError(
                f"--language {language}: {name} knows {', '.join(known)}"
                if multilingual
                else f"--language {language}: {name} knows English alone; leave --language out, or take a "
                "multilingual checkpoint"
            )
        super().__init__(model, tokenizer, name=name, language=language)
        self._features = features
        self._window = features.n_samples
        self._how = {"language": language, "task": "transcribe"} if multilingual else {}

    def sizes(self, samples: np.ndarray) -> np.ndarray:
        """Whole windows."""
        return -(-samples // self._window) * self._window

    def default_batch_seconds(self, device: torch.device) -> float:
        """A few windows."""
        return _WHISPER_WINDOWS[device.type] * self._window / SAMPLE_RATE

    def _transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        texts = [""] * len(waveforms)
        short = [row for row, waveform in enumerate(waveforms) if len(waveform) <= self._window]
        if short:
            features = self._features(
                [waveforms[row] for row in short], sampling_rate=SAMPLE_RATE, return_tensors="pt"
            ).input_features
            for row, text in zip(short, self._decode(features), strict=True):
                texts[row] = text
        for row in set(range(len(waveforms))) - set(short):
            features = self._features(
                waveforms[row],
                sampling_rate=SAMPLE_RATE,
                return_tensors="pt",
                truncation=False,
                padding="longest",
                return_attention_mask=True,
            )
            (texts[row],) = self._decode(
                features.input_features, attention_mask=features.attention_mask, return_timestamps=True
            )
        return texts

    def _decode(self, features: torch.Tensor, **more) -> list[str]:
        tensors = {name: value.to(self.device) for name, value in more.items() if torch.is_tensor(value)}
        tokens = self.model.generate(
            features.to(self.device), do_sample=False, num_beams=1, **self._how, **{**more, **tensors}
        )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)


def load_recogniser(name: str, *, revision: str | None = None, language: str | None = None) -> Recogniser:
    """Load a speech-recognition checkpoint.

    Parameters
    ----------
    name : str
        A folder as `save_pretrained` writes it (model, tokeniser, preprocessor), or a hub name: HuBERT, wav2vec 2.0,
        WavLM or data2vec-audio with a CTC head, or Whisper.
    revision : str, optional
        Branch, tag or commit on the hub.
    language : str, optional
        For a multilingual Whisper, by its code, such as ``"en"``; by default it finds out for each utterance.

    Returns
    -------
    Recogniser
        In float32, on the CPU.

    Raises
    ------
    UserError
        If the checkpoint cannot be had, is no recogniser, lacks weights, holds no safetensors, or does not know the
        language.
    """
    import transformers

    source = _source(name)
    raw, _ = _from_hub(lambda: transformers.PretrainedConfig.get_config_dict(source, revision=revision), source)
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    class_name = _WHISPER if model_type == "whisper" else _CTC.get(model_type)
    if class_name is None:
        raise UserError(
            f"{source} is a {model_type or 'model of unknown type'}, which cannot transcribe here; take Whisper, or "
            "HuBERT, wav2vec 2.0, WavLM or data2vec-audio with a CTC head"
        )
    if language is not None and model_type != "whisper":
        raise UserError(f"--language is for Whisper; {source} was trained for its own language, so leave it out")
    model_class = getattr(transformers, class_name)
    config = _from_hub(lambda: model_class.config_class.from_pretrained(source, revision=revision), source)
    if getattr(config, "add_adapter", False) or getattr(config, "adapter_attn_dim", None):
        raise UserError(f"{source} has adapters, which are not supported; take a checkpoint without")
    model = _load_weights(model_class, config, source, revision)
    if model_type == "whisper":
        tokenizer = _from_hub(lambda: transformers.WhisperTokenizer.from_pretrained(source, revision=revision), source)
        features = _from_hub(
            lambda: transformers.WhisperFeatureExtractor.from_pretrained(source, revision=revision), source
        )
        _check_rate(features, source)
        return WhisperRecogniser(model, tokenizer, features, name=name, language=language)
    tokenizer = _from_hub(lambda: transformers.Wav2Vec2CTCTokenizer.from_pretrained(source, revision=revision), source)
    features = _from_hub(
        lambda: transformers.Wav2Vec2FeatureExtractor.from_pretrained(source, revision=revision), source
    )
    _check_rate(features, source)
    if len(tokenizer) < config.vocab_size:
        raise UserError(
            f"{source}: the tokeniser knows {len(tokenizer)} tokens and the model {config.vocab_size}; copy the "
            "tokeniser that belongs to the model into its folder"
        )
    return CtcRecogniser(model, tokenizer, name=name, normalise=features.do_normalize)


def _source(name: str) -> str:
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise UserError(f"the folder {name} holds no config.json; give the folder that save_pretrained wrote")
    elif not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"no recogniser at {name}: it is not a folder, and cannot be the name of one on the hub")
    return name


def _from_hub(load: Callable, source: str):
    """Call `load`; say what to do where the checkpoint cannot be had."""
    try:
        return load()
    except Exception as error:  # a damaged file raises nearly anything; what is told is the place and the reason
        if Path(source).is_dir():
            raise UserError(f"{source}: the recogniser cannot be read ({first_line(error)})") from error
        raise UserError(
            f"the recogniser {source} is neither a folder here nor to be had from the hub ({first_line(error)}). "
            f"Without a network: on a machine that has one run `hf download {source} --local-dir FOLDER`, bring the "
            "folder here, and give --model FOLDER"
        ) from error


def _load_weights(model_class: type, config: PretrainedConfig, source: str, revision: str | None) -> PreTrainedModel:
    """The checkpoint's weights, all of them, from safetensors."""
    try:
        model, found = model_class.from_pretrained(
            source, config=config, revision=revision, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # as above
        raise UserError(
            f"{source}: no usable safetensors weights ({first_line(error)}). Weights in pickle files are not loaded: "
            "try --revision refs/pr/N, where the converter has left safetensors, or convert on a machine where you "
            f"trust the file: load it with transformers.{model_class.__name__}, save_pretrained to a folder"
        ) from error
    missing = sorted(key for key in found["missing_keys"] if key.rpartition(".")[2] not in _UNUSED_WEIGHTS)
    if missing:
        raise UserError(
            f"{source}: the checkpoint lacks {len(missing)} of the recogniser's weights ({', '.join(missing[:3])}, …), "
            "which would have been random; give one that was fine-tuned for speech recognition"
        )
    return model.float()


def _check_rate(features: object, source: str) -> None:
    if features.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{source} was trained on audio of {features.sampling_rate} Hz; only models for {SAMPLE_RATE} Hz are "
            "supported"
        )
