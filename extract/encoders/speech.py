"""Speech self-supervised models: how they are found, loaded, fed, and where their layers are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UserError
from ..audio import SAMPLE_RATE
from .architectures import ARCHITECTURES
from .families import FAMILIES

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Used by masked training alone: a checkpoint may lack it, and no hidden state here depends on it.
_UNUSED_WEIGHTS = {"masked_spec_embed"}

Visit = Callable[[int, torch.Tensor], None]


class Backbone:
    """A speech model whose hidden states do not depend on the batch.

    Layer 0 is the input of the first transformer block, layer k the output of block k, before any final norm of a
    pre-norm model: taken where they arise, whatever a release of transformers puts in `hidden_states`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of a family in :data:`.families.FAMILIES`, without a head; it is put into evaluation mode and changed in place.
    name : str
        Hub name or folder that it came from.
    normalise : bool
        Whether each waveform is brought to zero mean and unit variance first.
    label : str, optional
        Short name for tables and legends; made from `name` when left out.
    random_init : int, optional
        Seed of the random weights, where the weights are random.

    Attributes
    ----------
    n_layers : int
        Blocks + 1.
    width : int
        Size of a hidden state.
    receptive_field : int
        Samples that one frame needs; a shorter waveform has no frame.
    longest : int or None
        Samples that the model takes at most (Whisper: its window of 30 s); None without limit.
    blocks : torch.nn.ModuleList
        The transformer blocks.
    front_end : list of torch.nn.Module
        What comes before the blocks and can be frozen by itself; empty where it has no weights.
    channels : int
        Of the first convolution, for the batch that suits a device (:func:`..devices.default_batch_seconds`).
    reads_waveform : bool
        Whether the model's input is the waveform, and not features that are computed from it.

    Raises
    ------
    UserError
        If the waveform is to be normalised for a model whose features are computed from it as it is.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str,
        normalise: bool,
        label: str | None = None,
        random_init: int | None = None,
    ):
        self.model = model.eval()
        self.config = model.config
        self.name = name
        self.normalise = normalise
        self.random_init = random_init
        self.label = label or _label(name, random_init)
        self._recipe = FAMILIES[self.config.model_type].recipe(model)
        self.reads_waveform = self._recipe.reads_waveform
        if normalise and not self.reads_waveform:
            raise UserError(
                f"{self.label} takes features that are computed from the waveform as it is: leave --normalise out, or "
                "give --normalise no"
            )
        self.blocks = self._recipe.blocks
        self.front_end = self._recipe.front_end
        self.channels = self._recipe.channels
        self.receptive_field = self._recipe.shortest
        self.longest = self._recipe.longest
        self.n_layers = len(self.blocks) + 1
        self.width = self.config.hidden_size
        self.layer_names = ("input of block 1", *(f"block {k}" for k in range(1, self.n_layers)))
        self._visit: Visit | None = None
        self.blocks[0].register_forward_pre_hook(self._see_input, with_kwargs=True)
        for k, block in enumerate(self.blocks, start=1):
            block.register_forward_hook(self._see_output(k))

    def _see_input(self, block: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if self._visit is not None:
            self._visit(0, args[0] if args else kwargs["hidden_states"])

    def _see_output(self, k: int) -> Callable:
        def see(block: torch.nn.Module, args: tuple, output: torch.Tensor | tuple) -> None:
            if self._visit is not None:
                self._visit(k, output[0] if isinstance(output, tuple) else output)

        return see

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Backbone:
        """Move the weights to `device`."""
        self.model.to(device)
        return self

    def frames(self, samples: int) -> int:
        """Frames of a waveform of that many samples at 16 kHz; 0 when it is shorter than the receptive field."""
        return self._recipe.frames(int(samples))

    def sizes(self, samples: np.ndarray) -> np.ndarray:
        """What utterances of so many samples take of a batch, in samples, each (utterances,) int.

        More than their own where a model brings each to a length of its own, such as Whisper's window.
        """
        return self._recipe.sizes(samples)

    def keep_every_block(self) -> None:
        """Let training skip no block and mask no frame of the input."""
        self._recipe.keep_every_block()

    def prepare(self, waveform: np.ndarray) -> np.ndarray:
        """Normalise a waveform (samples,) float32 exactly as transformers' feature extractor would."""
        if not self.normalise:
            return waveform
        return (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)

    def walk(self, waveforms: Sequence[np.ndarray], visit: Visit) -> list[int]:
        """One forward pass, showing each layer's states as they arise.

        Parameters
        ----------
        waveforms : sequence of ndarray, (samples,) float32
            At 16 kHz, each at least `receptive_field` long, already through :meth:`prepare`.
        visit : callable
            Called as ``visit(layer, states)`` with states (batch, frames, width) on the device, layers in order.
            Frames past an utterance's own number are padding.

        Returns
        -------
        list of int
            Each utterance's number of frames.
        """
        samples = [len(w) for w in waveforms]
        padded = torch.zeros(len(samples), max(samples))
        for row, waveform in enumerate(waveforms):
            padded[row, : len(waveform)] = torch.as_tensor(waveform)
        if self.device.type == "cuda":
            padded = padded.pin_memory()
        self.forward(padded.to(self.device, non_blocking=True), samples, visit)
        return [self.frames(n) for n in samples]

    def forward(self, padded: torch.Tensor, samples: Sequence[int] | None, visit: Visit | None = None) -> torch.Tensor:
        """One forward pass of a batch that is a tensor already, such as in training.

        Parameters
        ----------
        padded : Tensor, (batch, samples)
            On the model's device, zero past each waveform's end, already through :meth:`prepare`.
        samples : sequence of int or None
            Length of each waveform; None where nothing is padded.
        visit : callable, optional
            As in :meth:`walk`.

        Returns
        -------
        Tensor, (batch, frames, width)
            The last block's output, after the final norm where the model has one.
        """
        if samples is not None:
            samples = [int(n) for n in samples]
            if min(samples) == padded.shape[1]:
                samples = None
        self._visit = visit
        try:
            return self._recipe.forward(padded, samples)
        finally:
            self._visit = None

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[np.ndarray | torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
        """Every frame of every layer of a padded batch.

        Parameters
        ----------
        waveforms : sequence of ndarray or Tensor, (samples,) float32
            At 16 kHz, as they come from the file; normalised here when the model wants it.

        Returns
        -------
        states : Tensor, (layers, batch, frames, width)
            On the model's device; what lies past an utterance's own frames is padding.
        frames : list of int
            Each utterance's number of frames.

        Raises
        ------
        UserError
            If a waveform is shorter than the receptive field, or longer than the model's window.
        """
        arrays = [np.asarray(w, dtype=np.float32) for w in waveforms]
        for array in arrays:
            if self.longest is not None and len(array) > self.longest:
                raise UserError(
                    f"a waveform of {len(array) / SAMPLE_RATE:.1f} s is longer than the {self.longest / SAMPLE_RATE:g} "
                    f"s that {self.label} takes; leave it out, or cut it"
                )
            if len(array) < self.receptive_field:
                raise UserError(
                    f"a waveform of {len(array)} samples is shorter than the {self.receptive_field} that one frame "
                    f"of {self.label} needs; leave it out"
                )
        layers: list[torch.Tensor] = []
        frames = self.walk([self.prepare(a) for a in arrays], lambda _, states: layers.append(states.clone()))
        return torch.stack(layers), frames

    def provenance(self) -> dict:
        """What identifies the model, as JSON: name, revision, family, sizes, hash of the weights."""
        return {
            "label": self.label,
            "name": self.name,
            "revision": getattr(self.config, "_commit_hash", None),
            "model_type": self.config.model_type,
            "blocks": self.n_layers - 1,
            "width": self.width,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "normalise": self.normalise,
            "random_init": self.random_init,
            "weights_sha256": weights_sha256(self.model),
            "layers": "0 = input of the first block, k = output of block k, before any final norm",
            **({} if self._recipe.features is None else {"features": self._recipe.features}),
        }


def weights_sha256(model: torch.nn.Module) -> str:
    """Hash of every parameter and buffer with its name, type and shape: what the model computes with.

    Two files that hold the same weights give the same hash, and so do random weights of the same seed.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name in _UNUSED_WEIGHTS:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_config(
    name: str, *, revision: str | None = None, random_init: int | None = None
) -> tuple[PretrainedConfig, str]:
    """Configuration of a model, and the place its checkpoint is loaded from (a folder or a hub name).

    Parameters
    ----------
    name : str
        A folder with `config.json`, the name of a model that comes with a package (entry points of the group
        ``emoprobe.models``), a short name of :data:`.architectures.ARCHITECTURES`, or a hub name.
    revision : str, optional
        Branch, tag or commit on the hub.
    random_init : int, optional
        With a seed, a short name needs no network: its architecture is known.

    Raises
    ------
    UserError
        If there is no such model, or its family is not accepted.
    """
    import transformers

    if random_init is not None and not 0 <= random_init < 2**63:
        raise UserError(f"--random-init {random_init} is no seed; give a number from 0 to {2**63 - 1}")
    known = ARCHITECTURES.get(name)
    if revision is not None and (name in packaged_models() or (known is not None and random_init is not None)):
        raise UserError(f"--revision is for checkpoints on the hub, and {name} is not taken from there; leave it out")
    if known is not None and random_init is not None:
        return FAMILIES[known.model_type].config_class(**known.config), known.hub_name
    source = _source(name)
    raw, _ = _from_hub(
        lambda: transformers.PretrainedConfig.get_config_dict(source, revision=revision), source, revision
    )
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    if model_type not in FAMILIES:
        raise UserError(
            f"{source} is a {model_type or 'model of unknown type'}, which is not supported; supported are "
            f"{', '.join(FAMILIES)} ({', '.join(family.title for family in FAMILIES.values())})"
        )
    config_class = FAMILIES[model_type].config_class
    config = _from_hub(lambda: config_class.from_pretrained(source, revision=revision), source, revision)
    return config, source


def load_backbone(
    name: str,
    *,
    revision: str | None = None,
    random_init: int | None = None,
    normalise: bool | None = None,
    label: str | None = None,
) -> Backbone:
    """Load a model, or make one of the same architecture with random weights.

    Parameters
    ----------
    name : str
        As in :func:`load_config`.
    revision : str, optional
        Branch, tag or commit on the hub.
    random_init : int, optional
        Seed: random weights in place of the checkpoint's, as a control. The global random state is left alone.
    normalise : bool, optional
        Whether waveforms are brought to zero mean and unit variance; by default what the checkpoint's
        `preprocessor_config.json` says, without which it must be given.
    label : str, optional
        Short name for tables and legends.

    Returns
    -------
    Backbone
        In float32, on the CPU.

    Raises
    ------
    UserError
        If the model cannot be had, is of another family, lacks weights, or holds no safetensors.
    """
    config, source = load_config(name, revision=revision, random_init=random_init)
    if min(config.num_hidden_layers, config.hidden_size) < 1:
        raise UserError(f"{source}: config.json describes a model without layers or width")
    model_class = FAMILIES[config.model_type].model_class
    if normalise is None:
        normalise = _normalisation(name, source, revision, random_init, config)
    if random_init is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_init)
            try:
                model = model_class(config)
            except Exception as error:  # sizes that do not fit together raise what each layer happens to raise
                raise UserError(f"{source}: config.json describes no model ({first_line(error)})") from error
    else:
        model = _load_weights(model_class, config, source, revision)
    return Backbone(model.float(), name=name, normalise=normalise, label=label, random_init=random_init)


def _source(name: str) -> str:
    """Folder or hub name behind what the user typed."""
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise UserError(f"the folder {name} holds no config.json; give the folder that save_pretrained wrote")
        return name
    for entry in entry_points(group="emoprobe.models"):
        if entry.name == name:
            return str(entry.load()())
    if name in ARCHITECTURES:
        return ARCHITECTURES[name].hub_name
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"no model at {name}: it is not a folder, and cannot be the name of one on the hub")
    return name


def _from_hub(load: Callable, source: str, revision: str | None):
    """Call `load`; say what to do where the checkpoint cannot be had."""
    try:
        return load()
    except json.JSONDecodeError as error:
        raise UserError(f"{source}: config.json is not valid JSON ({error}); download the model again") from error
    except Exception as error:  # a damaged config raises nearly anything; what is told is the place and the reason
        if Path(source).is_dir():
            raise UserError(f"{source}: the model cannot be read ({first_line(error)})") from error
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"the model {source}{at} is neither a folder here nor to be had from the hub ({first_line(error)}). "
            f"Without a network: on a machine that has one run `hf download {source} --local-dir FOLDER`, bring the "
            f"folder here, and give --model FOLDER. Models that need no network: {', '.join(packaged_models())}; "
            f"with --random-init SEED also {', '.join(ARCHITECTURES)}"
        ) from error


def packaged_models() -> list[str]:
    """Names of the models that come with an installed package."""
    return sorted(entry.name for entry in entry_points(group="emoprobe.models"))


def _normalisation(
    name: str, source: str, revision: str | None, random_init: int | None, config: PretrainedConfig
) -> bool:
    """What the checkpoint says of normalising its input."""
    from transformers import FeatureExtractionMixin

    known = ARCHITECTURES.get(name)
    if random_init is not None and known is not None and known.normalise is not None:
        return known.normalise
    try:
        settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(source, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source} has no readable preprocessor_config.json, which says whether the model was trained on "
            "normalised audio; copy it from the original checkpoint, or say so with --normalise yes or no"
        ) from error
    rate = settings.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(f"{source} was trained on audio of {rate} Hz; only models for {SAMPLE_RATE} Hz are supported")
    return FAMILIES[config.model_type].recipe.normalises(settings, config, source)


def _load_weights(model_class: type, config: PretrainedConfig, source: str, revision: str | None):
    """The checkpoint's weights, all of them, from safetensors."""
    from safetensors import SafetensorError

    within = FAMILIES[config.model_type].within
    options = {} if within is None else {"key_mapping": {rf"^(\w+\.)*?{re.escape(within)}\.": ""}}
    try:
        model, found = model_class.from_pretrained(
            source, config=config, revision=revision, use_safetensors=True, output_loading_info=True, **options
        )
    except SafetensorError as error:
        raise UserError(f"{source}: the safetensors weights are damaged ({error}); download the model again") from error
    except Exception as error:  # as above
        raise UserError(
            f"{source}: no usable safetensors weights ({first_line(error)}). Weights in pickle files are not loaded. "
            "On the hub, a revision that holds safetensors often exists as a pull request of the converter: try "
            f"--revision refs/pr/N. Or convert on a machine where you trust the file: load it with "
            f"transformers.{model_class.__name__}, save_pretrained to a folder, copy preprocessor_config.json beside "
            "it, and give --model FOLDER"
        ) from error
    missing = sorted(set(found["missing_keys"]) - _UNUSED_WEIGHTS)
    if missing:
        raise UserError(
            f"{source}: the checkpoint lacks {len(missing)} of the model's weights ({', '.join(missing[:3])}, …), "
            "which would have been random; give a checkpoint of the whole encoder"
        )
    return model


def _label(name: str, random_init: int | None) -> str:
    short = Path(name).name or name
    return short if random_init is None else f"{short} (random {random_init})"


def first_line(error: BaseException) -> str:
    """What an exception says, in one line that a message can hold."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
