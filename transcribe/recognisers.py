"""Speech-recognition checkpoints: how they are loaded, and the text of a waveform whatever its batch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch

from emoprobe.errors import UserError, reason
from emoprobe.extract.devices import default_batch_seconds, numerics
from emoprobe.extract.encoders.checkpoint import Checkpoint, MissingWeights, Origin, open_checkpoint
from emoprobe.extract.encoders.speech import Backbone, weights_sha256
from emoprobe.extract.limits import SAMPLE_RATE
from emoprobe.jsontext import to_json

if TYPE_CHECKING:
    from transformers import (
        GenerationConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        SequenceFeatureExtractor,
        WhisperFeatureExtractor,
    )

_Extractor = TypeVar("_Extractor", bound="SequenceFeatureExtractor")

# Named and not looked up, so that no checkpoint can bring code of its own.
_CTC = {
    "hubert": "HubertForCTC",
    "wav2vec2": "Wav2Vec2ForCTC",
    "wavlm": "WavLMForCTC",
    "data2vec-audio": "Data2VecAudioForCTC",
}
_RECOGNISERS = (
    "a Whisper, or a HuBERT, wav2vec 2.0, WavLM or data2vec-audio that was trained to transcribe (with a CTC head, "
    "architectures …ForCTC in its config.json)"
)
#: Of what becomes of a file between its samples and its words; raised whenever that changes a transcript.
VERSION = 1

_WHISPER = "WhisperForConditionalGeneration"

# What makes a recogniser of an encoder, by what its weights' names begin with; and what a head's outputs are called in.
_HEADS = {"ctc": ("lm_head.",), "whisper": ("model.decoder.", "proj_out.")}
_VOCABULARIES = {"ctc": ("vocab.json",), "whisper": ("tokenizer.json", "vocab.json")}

# Whisper's window is 30 s, however short the utterance. Its decoder, which goes token by token, gains from company:
# Whisper base on a CPU was 1.5 times as fast by 4 as one by one, and no faster by 8.
_WHISPER_WINDOWS = {"cpu": 4, "mps": 8, "cuda": 32}


class Recogniser(ABC):
    """What both kinds of recogniser share.

    Attributes
    ----------
    label : str
        Short name and commit (the first 12 digits of the weights' hash where there is none), as in the column
        ``transcript_source``.
    shortest : int
        Samples that an utterance needs.
    """

    shortest = 1

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        origin: Origin,
        language: str | None = None,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.language = language
        self.weights_sha256 = weights_sha256(model)
        self.label = f"{Path(name).name or name}@{(origin.revision or self.weights_sha256)[:12]}"

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
            "the method": VERSION,
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

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        origin: Origin,
        normalise: bool,
    ) -> None:
        super().__init__(model, tokenizer, name=name, origin=origin)
        encoder = cast("PreTrainedModel", model.base_model)  # typed as any module
        self._encoder = Backbone(encoder, name=name, normalise=normalise, origin=origin)
        self.shortest = self._encoder.receptive_field

    def identity(self) -> dict:
        """What a transcript depends on, as JSON."""
        return {**super().identity(), "normalised input": self._encoder.normalise}

    def default_batch_seconds(self, device: torch.device) -> float:
        """As for the hidden states of the same model."""
        return default_batch_seconds(device, self._encoder.channels)

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
        text = cast("str", self.tokenizer.decode(tokens))  # a list only where the tokens are of several texts
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
        origin: Origin,
        language: str | None,
    ) -> None:
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
        super().__init__(model, tokenizer, name=name, origin=origin, language=language)
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

    def _decode(self, features: torch.Tensor, **more: Any) -> list[str]:
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
        A folder as `save_pretrained` writes it (model, tokeniser, preprocessor), the name of a packaged model
        (``whisper-tiny-en``), or a hub name: HuBERT, wav2vec 2.0, WavLM or data2vec-audio with a CTC head, or Whisper.
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
        If the checkpoint cannot be had, is no recogniser, its weights are not all there, or it does not know the
        language.
    """
    import transformers

    checkpoint = open_checkpoint(name, revision=revision)
    source = checkpoint.source
    model_type = checkpoint.config().get("model_type")
    class_name = _WHISPER if model_type == "whisper" else _CTC.get(model_type or "")
    if class_name is None:
        raise UserError(
            f"{source} is a {model_type or 'model of unknown type'}, which cannot transcribe here; give {_RECOGNISERS}"
        )
    if language is not None and model_type != "whisper":
        raise UserError(f"--language is for Whisper; {source} was trained for its own language, so leave it out")
    model_class = getattr(transformers, class_name)
    config = checkpoint.configured(model_class.config_class)
    if getattr(config, "add_adapter", False) or getattr(config, "adapter_attn_dim", None):
        raise UserError(f"{source} has adapters, which are not supported; take a checkpoint without")
    kind = "whisper" if model_type == "whisper" else "ctc"
    try:
        model, origin = checkpoint.load(model_class, config)
    except MissingWeights as lacking:
        if not all(name.startswith(_HEADS[kind]) for name in lacking.names):
            raise
        raise UserError(
            f"{source} is an encoder without a recogniser ({lacking.names[0]} is not there): probe-extract takes it; "
            f"to transcribe, give {_RECOGNISERS}"
        ) from lacking
    vocabularies = _VOCABULARIES[kind]
    if not any(checkpoint.files.path(file) for file in vocabularies):
        raise UserError(
            f"{source} has no {' or '.join(vocabularies)}, which says what each output of the model stands for: copy "
            "it, and tokenizer_config.json, from the checkpoint that the model was made from, or take one that has it"
        )
    if model_type == "whisper":
        model.generation_config = _generation_settings(checkpoint) or model.generation_config
        tokenizer = _tokeniser(transformers.WhisperTokenizer, checkpoint)
        features = _features(transformers.WhisperFeatureExtractor, checkpoint)
        return WhisperRecogniser(model, tokenizer, features, name=name, origin=origin, language=language)
    tokenizer = _tokeniser(transformers.Wav2Vec2CTCTokenizer, checkpoint)
    normalise = _features(transformers.Wav2Vec2FeatureExtractor, checkpoint).do_normalize
    if len(tokenizer) < config.vocab_size:
        raise UserError(
            f"{source}: the tokeniser knows {len(tokenizer)} tokens and the model {config.vocab_size}; copy the "
            "tokeniser that belongs to the model into its folder"
        )
    return CtcRecogniser(model, tokenizer, name=name, origin=origin, normalise=normalise)


def _tokeniser(tokeniser_class: type[PreTrainedTokenizerBase], checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    try:
        return tokeniser_class.from_pretrained(checkpoint.folder_with_tokeniser(), local_files_only=True)
    except UserError:
        raise
    except Exception as error:  # an absent or damaged file raises nearly anything
        raise UserError(
            f"{checkpoint.source} holds no tokeniser that can be read ({reason(error)}); copy vocab.json and "
            "tokenizer_config.json of the model beside it"
        ) from error


def _features(extractor_class: type[_Extractor], checkpoint: Checkpoint) -> _Extractor:
    """The feature extractor, for audio of the rate that is read here."""
    settings = checkpoint.preprocessor()
    try:
        # Typed as a pair too, which it is where unused settings are asked for.
        features = cast("_Extractor", extractor_class.from_dict(settings))
    except Exception as error:  # as above
        raise UserError(f"{checkpoint.source}: preprocessor_config.json is damaged ({reason(error)})") from error
    if features.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{checkpoint.source} was trained on audio of {features.sampling_rate} Hz; only models for {SAMPLE_RATE} "
            "Hz are supported"
        )
    return features


def _generation_settings(checkpoint: Checkpoint) -> GenerationConfig | None:
    """What the checkpoint says of decoding; None where it says nothing."""
    from transformers import GenerationConfig

    path = checkpoint.files.path("generation_config.json")
    if path is None:
        return None
    try:
        return GenerationConfig.from_pretrained(path.parent, local_files_only=True)
    except Exception as error:  # as above
        raise UserError(f"{path} of {checkpoint.source} is damaged ({reason(error)}); download it again") from error
