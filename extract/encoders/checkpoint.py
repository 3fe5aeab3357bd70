"""A checkpoint, wherever it lies: how it is found, and how its configuration and weights are read.

The one loader of every encoder and recogniser. Transformers is handed a folder or tensors, never a name, so that it
asks no network by itself, and the same files are read with a network and without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from emoprobe.errors import UserError, reason

from .files import Files, LocalFolder, read_settings
from .hub import cached_names, find_repository
from .names import nearest, nearest_folder, refuse_misspelt
from .packaged import packaged_folder, packaged_names
from .prefixes import first_parts, model_names, named_as_the_model
from .sizes import check_model, check_preprocessor, check_sizes
from .tensors import read_tensors

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: Used by masked training alone: a checkpoint may lack it, and no hidden state here depends on it.
UNUSED_WEIGHTS = frozenset({"masked_spec_embed"})
#: Numbers from 0 upwards that were saved with a text encoder's weights once; every model makes its own.
NO_WEIGHTS = frozenset({"position_ids"})

#: Files that one or another tokeniser of transformers reads.
_TOKENISER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "spm.model", "sentencepiece.bpe.model", "bpe.codes",
    "dict.txt", "byte_maps.json", "emoji.json", "entity_vocab.json", "normalizer.json", "word_pronunciation.json",
    "word_shape.json",
)  # fmt: skip

# What a configuration says of how its model was stored or is to be run. Weights are read as float32 whatever it says,
# by transformers' own code.
_NOT_OF_THE_MODEL = (
    "auto_map",
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "transformers_weights",
)


@dataclass(frozen=True)
class Origin:
    """Where a model came from, as its provenance says it.

    Attributes
    ----------
    revision : str or None
        Commit on the hub; None for a folder.
    weights_format : str or None
        "safetensors" or "pickle"; None for random weights.
    weights_files : dict of str to str
        Hash (sha256) of each file of weights.
    """

    revision: str | None = None
    weights_format: str | None = None
    weights_files: dict[str, str] = field(default_factory=dict)


class MissingWeights(UserError):
    """A checkpoint lacks weights of the model.

    Attributes
    ----------
    names : list of str
        Of the weights, in the model.
    """

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are at hand, or fetched when they are asked for.

    Attributes
    ----------
    source : str
        Folder or name on the hub, for messages.
    files : Repository or LocalFolder
        Where its files are.
    """

    source: str
    files: Files

    @property
    def origin(self) -> Origin:
        """Where the configuration is from, for a model of random weights."""
        return Origin(self.files.commit)

    def config(self) -> dict:
        """Content of ``config.json``, without what it says of types and of code, or of a vocabulary that it lacks.

        Raises
        ------
        UserError
            If it is damaged, describes a quantised model, or names a size that no model has.
        """
        path = self.files.path("config.json")
        if path is None:
            raise UserError(f"{self.source}: no config.json; {self.files.lacking()}")
        settings = read_settings(path, self.source)
        if settings.get("quantization_config"):
            raise UserError(f"{self.source} is quantised, which is not supported; take the original checkpoint")
        settings = {name: value for name, value in settings.items() if name not in _NOT_OF_THE_MODEL}
        if settings.get("vocab_size", 0) is None:
            del settings["vocab_size"]
        check_sizes(settings, path)
        return settings

    def configured(self, config_class: type[PretrainedConfig]) -> PretrainedConfig:
        """The configuration as an object of its family.

        Raises
        ------
        UserError
            If it is damaged.
        """
        settings = self.config()
        try:
            return config_class.from_dict(settings)
        except Exception as error:  # a damaged configuration raises nearly anything
            raise UserError(f"{self.source}: config.json describes no model ({reason(error)})") from error

    def preprocessor(self) -> dict:
        """Settings of the feature extractor: ``preprocessor_config.json``, or its part of ``processor_config.json``.

        Raises
        ------
        UserError
            If there is neither, or it is damaged.
        """
        path = self.files.path("preprocessor_config.json")
        if path is not None:
            return check_preprocessor(read_settings(path, self.source), path)
        path = self.files.path("processor_config.json")
        settings = None if path is None else read_settings(path, self.source).get("feature_extractor")
        if path is None or not isinstance(settings, dict):
            raise UserError(f"{self.source}: no preprocessor_config.json; {self.files.lacking()}")
        return check_preprocessor(settings, path)

    def folder_with_tokeniser(self) -> Path:
        """Folder that holds the configuration and all files of the tokeniser that the checkpoint has."""
        for file in _TOKENISER_FILES:
            self.files.path(file)
        return self.files.folder

    def load(
        self, model_class: type[PreTrainedModel], config: PretrainedConfig, *, within: str | None = None, **options: Any
    ) -> tuple[PreTrainedModel, Origin]:
        """A model with all the weights of the checkpoint.

        Parameters
        ----------
        model_class : type
            A class of transformers.
        config : PretrainedConfig
            As :meth:`configured` gives it.
        within : str, optional
            For an encoder without a head: the name that it has in models with one, such as ``"hubert"`` for the
            weights ``hubert.encoder…``. What those hold beside it is left out.
        **options
            For the class.

        Returns
        -------
        model : PreTrainedModel
            In float32, on the CPU.
        origin : Origin

        Raises
        ------
        UserError
            If there are no weights, they cannot be read, or they are not those that the configuration describes.
        """
        check_model(model_class, config, self.source, **options)
        tensors, kind, hashes = read_tensors(self.files, self.source)
        names, seen = ", ".join(hashes), first_parts(tensors)
        try:
            tensors = named_as_the_model(
                tensors, within, lambda: model_names(model_class, config, **options), f"{self.source} ({names})"
            )
            # A model and what was made of its weights, of which transformers' types do not tell.
            pair: Any = model_class.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **options,
            )
        except UserError:
            raise
        except Exception as error:  # sizes that do not fit together raise what each layer happens to raise
            raise UserError(f"{self.source}: {names} does not fit config.json ({reason(error)})") from error
        model, loaded = pair
        missing = sorted(key for key in loaded["missing_keys"] if key.rpartition(".")[2] not in UNUSED_WEIGHTS)
        if missing:
            raise MissingWeights(
                f"{self.source}: the checkpoint lacks {_counted(missing)} of {model_class.__name__}, which would have "
                f"been random (the names in {names} begin with {seen}); give a checkpoint of the whole model",
                missing,
            )
        parts = dict(model.named_children())
        surplus = sorted(
            key
            for key in loaded["unexpected_keys"]
            if key.partition(".")[0] in parts and key.rpartition(".")[2] not in NO_WEIGHTS
        )
        if surplus:
            raise UserError(
                f"{self.source}: config.json describes a smaller model than {names} holds; {_counted(surplus)} would "
                "have been left out. Give the config.json that belongs to the weights"
            )
        mismatched = [f"{key} {tuple(there)}, not {tuple(said)}" for key, there, said in loaded["mismatched_keys"]]
        if mismatched:
            raise UserError(
                f"{self.source}: {names} does not fit config.json: {_counted(sorted(mismatched))}. Give the "
                "config.json that belongs to the weights"
            )
        model = model.float()
        if broken := [name for name, values in model.state_dict().items() if _is_broken(name, values)]:
            raise UserError(
                f"{self.source}: {names} holds NaN or infinity in {_counted(broken)}; get the checkpoint anew, or take "
                "the one before the training went wrong"
            )
        self.files.keep()
        return model, Origin(self.files.commit, kind, hashes)


def open_checkpoint(
    name: str,
    *,
    revision: str | None = None,
    hub_names: Mapping[str, str] | None = None,
    folders: Mapping[str, str | Path] | None = None,
    otherwise: str = "",
) -> Checkpoint:
    """Find the checkpoint behind what the user typed.

    Parameters
    ----------
    name : str
        A folder with ``config.json``, the name of a model that comes with a package (entry points of the group
        ``emoprobe.models``), a short name, or a name on the hub.
    revision : str, optional
        Branch, tag or commit on the hub.
    hub_names : mapping of str to str, optional
        Names on the hub by short name.
    folders : mapping of str to path, optional
        Further models that come with a package, by name.
    otherwise : str
        What else there is, for the message where the hub does not give the checkpoint.

    Raises
    ------
    UserError
        If there is none, or a revision is asked of what is not on the hub.
    """
    hub_names, folders, packaged = hub_names or {}, folders or {}, packaged_names()
    is_folder = Path(name).is_dir()
    if revision is not None and (is_folder or name in folders or name in packaged):
        raise UserError(f"--revision is for checkpoints on the hub, and {name} is not taken from there; leave it out")
    if is_folder:
        return _in_folder(name)
    if name in folders:
        return _in_folder(str(folders[name]))
    if name in packaged:
        return _in_folder(str(packaged_folder(name)))
    refuse_misspelt(name, [*hub_names, *folders, *packaged], hub_names.values())
    source = hub_names.get(name, name)
    try:
        repository = find_repository(source, revision)
    except UserError as error:
        similar = nearest_folder(name) or nearest(source, {*hub_names.values(), *cached_names()} - {source})
        asked = "" if similar is None else f"Did you mean {similar}?"
        raise UserError(" ".join(filter(None, (f"{error}.", asked, otherwise)))) from error
    if repository.path("config.json") is None:
        raise UserError(f"{source}: no config.json; {repository.lacking()}")
    return Checkpoint(source, repository)


def _in_folder(folder: str) -> Checkpoint:
    files = LocalFolder(Path(folder))
    if files.path("config.json") is None:
        inside = sorted(path.parent for path in Path(folder).glob("snapshots/*/config.json"))
        raise UserError(
            f"the folder {folder} holds no config.json; give "
            + (f"{inside[-1]}, which does" if inside else "the folder that save_pretrained wrote")
        )
    return Checkpoint(folder, files)


def _is_broken(name: str, values: torch.Tensor) -> bool:
    used = name.rpartition(".")[2] not in UNUSED_WEIGHTS
    return used and values.is_floating_point() and not bool(values.isfinite().all())


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'s' * (len(names) > 1)} ({', '.join(names[:3])}{', …' * (len(names) > 3)})"
