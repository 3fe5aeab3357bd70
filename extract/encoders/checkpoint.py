"""A checkpoint, wherever it lies: how it is found, and how its configuration and weights are read.

The one loader of every encoder and recogniser. Transformers is handed a folder or tensors, never a name, so that it
asks no network by itself, and the same files are read with a network and without one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import UserError, reason
from ...jsontext import from_json
from .hub import Repository, find_repository
from .packaged import packaged_folder, packaged_names
from .pickled import as_safetensors, file_sha256
from .sizes import check_model, check_preprocessor, check_sizes

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: Used by masked training alone: a checkpoint may lack it, and no hidden state here depends on it.
UNUSED_WEIGHTS = frozenset({"masked_spec_embed"})
#: Numbers from 0 upwards that were saved with a text encoder's weights once; every model makes its own.
NO_WEIGHTS = frozenset({"position_ids"})

#: Files of weights in the order in which they are looked for, and their format. An index names the shards.
_WEIGHTS = {
    "model.safetensors": "safetensors",
    "model.safetensors.index.json": "safetensors",
    "pytorch_model.bin": "pickle",
    "pytorch_model.bin.index.json": "pickle",
}

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


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this machine, with the few things that a :class:`.hub.Repository` has."""

    folder: Path
    commit: str | None = None

    def path(self, file: str) -> Path | None:
        """The file; None where there is none."""
        there = self.folder / file
        return there if there.is_file() else None

    def lacking(self) -> str:
        """What to say, and do, about a file that is not there."""
        return "copy it from the original checkpoint, or download the model again"


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
    files: Repository | LocalFolder

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
        settings = self._json("config.json")
        if settings is None:
            raise UserError(f"{self.source}: no config.json; {self.files.lacking()}")
        if settings.get("quantization_config"):
            raise UserError(f"{self.source} is quantised, which is not supported; take the original checkpoint")
        settings = {name: value for name, value in settings.items() if name not in _NOT_OF_THE_MODEL}
        if settings.get("vocab_size", 0) is None:
            del settings["vocab_size"]
        check_sizes(settings, self.files.path("config.json"))
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
        file = "preprocessor_config.json"
        settings = self._json(file)
        if settings is None:
            file = "processor_config.json"
            settings = (self._json(file) or {}).get("feature_extractor")
        if not isinstance(settings, dict):
            raise UserError(f"{self.source}: no preprocessor_config.json; {self.files.lacking()}")
        return check_preprocessor(settings, self.files.path(file))

    def folder_with_tokeniser(self) -> Path:
        """Folder that holds the configuration and all files of the tokeniser that the checkpoint has."""
        for file in _TOKENISER_FILES:
            self.files.path(file)
        return self.files.folder

    def load(
        self, model_class: type[PreTrainedModel], config: PretrainedConfig, *, within: str | None = None, **options
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
        tensors, origin = self._weights()
        names = ", ".join(origin.weights_files)
        tensors = _named_as_the_model(tensors, within, f"{self.source} ({names})")
        try:
            model, loaded = model_class.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **options,
            )
        except Exception as error:  # sizes that do not fit together raise what each layer happens to raise
            raise UserError(f"{self.source}: {names} does not fit config.json ({reason(error)})") from error
        missing = sorted(key for key in loaded["missing_keys"] if key.rpartition(".")[2] not in UNUSED_WEIGHTS)
        if missing:
            raise UserError(
                f"{self.source}: the checkpoint lacks {_counted(missing)} of {model_class.__name__}, which would have "
                "been random; give a checkpoint of the whole model"
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
        return model.float(), origin

    def _json(self, file: str) -> dict | None:
        path = self.files.path(file)
        if path is None:
            return None
        try:
            settings = from_json(path.read_bytes())
        except (ValueError, OSError) as error:
            raise UserError(f"{path} of {self.source} is damaged ({reason(error)}); download it again") from error
        if not isinstance(settings, dict):
            raise UserError(f"{path} of {self.source} is damaged (it holds no settings); download it again")
        return settings

    def _weights(self) -> tuple[dict[str, torch.Tensor], Origin]:
        """Every tensor by its name in the file, in float32, and where they are from."""
        for name, kind in _WEIGHTS.items():
            path = self.files.path(name)
            if path is None:
                continue
            paths = [path] if path.suffix != ".json" else self._shards(path)
            for each in paths:
                _refuse_pointer(each)
            hashes = [file_sha256(each) for each in paths]
            origin = Origin(self.files.commit, kind, dict(zip((each.name for each in paths), hashes, strict=True)))
            read = [as_safetensors(paths, hashes)] if kind == "pickle" else paths
            return {key: value for each in read for key, value in _read(each).items()}, origin
        raise UserError(
            f"{self.source}: no weights that can be read ({' or '.join(n for n in _WEIGHTS if '.json' not in n)}); "
            f"{self.files.lacking()}"
        )

    def _shards(self, index: Path) -> list[Path]:
        names = self._json(index.name).get("weight_map")
        names = list(names.values()) if isinstance(names, dict) else []
        if not names or not all(isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) for name in names):
            raise UserError(f"{index} of {self.source} is damaged (it names no files beside it); download it again")
        paths = {name: self.files.path(name) for name in sorted(set(names))}
        if absent := [name for name, path in paths.items() if path is None]:
            raise UserError(
                f"{self.source}: {absent[0]}, which {index.name} names, is not there; {self.files.lacking()}"
            )
        return list(paths.values())


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
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"no model at {name}: it is not a folder, and cannot be the name of one on the hub")
    source = hub_names.get(name, name)
    if source == name and "/" not in name and name not in hub_names.values():
        _refuse_misspelt(name, [*hub_names, *folders, *packaged])
    try:
        repository = find_repository(source, revision)
    except UserError as error:
        similar = _nearest(source, list(hub_names.values()))
        asked = f"Did you mean {similar}?" if similar not in (None, source) else ""
        raise UserError(" ".join(filter(None, (f"{error}.", asked, otherwise)))) from error
    if repository.path("config.json") is None:
        raise UserError(f"{source}: no config.json; {repository.lacking()}")
    return Checkpoint(source, repository)


def _in_folder(folder: str) -> Checkpoint:
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"the folder {folder} holds no config.json; give the folder that save_pretrained wrote")
    return Checkpoint(folder, LocalFolder(Path(folder)))


def _refuse_misspelt(name: str, known: Sequence[str]) -> None:
    """A name that is nearly a known one is answered at once, without asking the hub for it."""
    if nearest := _nearest(name, known):
        raise UserError(
            f"no model is called {name}: did you mean {nearest}? One on the hub is given with its owner, OWNER/{name}"
        )


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that is nearly this one."""
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
    return lower[close[0]] if close else None


def _named_as_the_model(tensors: dict[str, torch.Tensor], within: str | None, source: str) -> dict[str, torch.Tensor]:
    """The weights under the names that the model has for them, without what programs put before them.

    Data-parallel training leaves ``module.``; a model with a head, or one within another, names its encoder.
    """
    tensors = {re.sub(r"^(module\.)+", "", name): tensor for name, tensor in tensors.items()}
    if within is None:
        return tensors
    before = {name: re.match(rf"(?:\w+\.)*?{re.escape(within)}\.", name) for name in tensors}
    prefixes = sorted({found[0] for found in before.values() if found})
    if len(prefixes) > 1:
        raise UserError(f"{source} holds several encoders ({', '.join(prefixes)}); give a checkpoint of one")
    if not prefixes:
        return tensors
    return {name.removeprefix(prefixes[0]): tensor for name, tensor in tensors.items() if before[name]}


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name, those of numbers with a fraction in float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"the weights in {path} are damaged ({reason(error)}); delete it and download it again"
        ) from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise UserError(f"{path} is a pointer of Git LFS and holds no weights; run `git lfs pull` in its folder")


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'s' * (len(names) > 1)} ({', '.join(names[:3])}{', …' * (len(names) > 3)})"
