"""Speech self-supervised models: how they are found, loaded, fed, and where their layers are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from emoprobe.errors import UserError

from ..limits import SAMPLE_RATE
from ..transfers import padded_batch, to_device
from .architectures import ARCHITECTURES
from .checkpoint import UNUSED_WEIGHTS, Checkpoint, Origin, open_checkpoint
from .families import FAMILIES
from .packaged import packaged_models
from .random_weights import RandomWeights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


Visit = Callable[[int, torch.Tensor], None]


def normalised(waveform: np.ndarray) -> np.ndarray:
    """A waveform (samples,) float32 of zero mean and unit variance, as transformers' feature extractor makes it."""
    return (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)


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
    origin : Origin, optional
        Commit and files that it came from.

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
        origin: Origin | None = None,
    ) -> None:
        self.model = model.eval()
        self.origin = origin or Origin()
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

    def _see_input(self, _block: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if self._visit is not None:
            self._visit(0, args[0] if args else kwargs["hidden_states"])

    def _see_output(self, k: int) -> Callable:
        def see(_block: torch.nn.Module, _args: tuple, output: torch.Tensor | tuple) -> None:
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

    def narrow(self, seconds: float) -> None:
        """Give a model with a window one of so many seconds (:func:`.shortening.narrow` says what may be asked)."""
        self._recipe.narrow(seconds)
        self.longest = self._recipe.longest

    def prepare(self, waveform: np.ndarray) -> np.ndarray:
        """Normalise a waveform (samples,) float32 exactly as transformers' feature extractor would."""
        return normalised(waveform) if self.normalise else waveform

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
        self.forward(to_device(padded_batch(waveforms), self.device), samples, visit)
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
        """What identifies the model, as JSON: name, commit, files, family, sizes, hash of the weights."""
        return {
            "label": self.label,
            "name": self.name,
            **asdict(self.origin),
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
        if name in UNUSED_WEIGHTS:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_config(
    name: str, *, revision: str | None = None, random_init: int | None = None
) -> tuple[PretrainedConfig, Checkpoint | RandomWeights]:
    """Configuration of a model, and where its weights are from.

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
    if random_init is not None and not 0 <= random_init < 2**63:
        raise UserError(f"--random-init {random_init} is no seed; give a number from 0 to {2**63 - 1}")
    known = ARCHITECTURES.get(name)
    if known is not None and random_init is not None:
        if revision is not None:
            raise UserError(
                f"--revision is for checkpoints on the hub, and {name} is not taken from there; leave it out"
            )
        return FAMILIES[known.model_type].config_class(**known.config), RandomWeights(name, random_init, None)
    checkpoint = open_checkpoint(
        name,
        revision=revision,
        hub_names={short: architecture.hub_name for short, architecture in ARCHITECTURES.items()},
        otherwise=f"Models that need no network: {', '.join(packaged_models())}; with --random-init SEED also "
        f"{', '.join(ARCHITECTURES)}",
    )
    model_type = checkpoint.config().get("model_type")
    if model_type not in FAMILIES:
        raise UserError(
            f"{checkpoint.source} is a {model_type or 'model of unknown type'}, which is not supported; supported are "
            f"{', '.join(FAMILIES)} ({', '.join(family.title for family in FAMILIES.values())})"
        )
    config = checkpoint.configured(FAMILIES[model_type].config_class)
    return config, checkpoint if random_init is None else RandomWeights(name, random_init, checkpoint)


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
        If the model cannot be had, is of another family, or its weights are not all there.
    """
    config, weights = load_config(name, revision=revision, random_init=random_init)
    if not all(isinstance(size, int) and size >= 1 for size in (config.num_hidden_layers, config.hidden_size)):
        raise UserError(f"{name}: config.json describes a model without layers or width")
    family = FAMILIES[config.model_type]
    model_class = family.model_class
    if normalise is None:
        normalise = _normalisation(name, weights, config)
    model, origin = weights.load(model_class, config, within=family.within or model_class.base_model_prefix)
    return Backbone(model.float(), name=name, normalise=normalise, label=label, random_init=random_init, origin=origin)


def _normalisation(name: str, weights: Checkpoint | RandomWeights, config: PretrainedConfig) -> bool:
    """What the checkpoint says of normalising its input, or for random weights what is known of it."""
    known = ARCHITECTURES.get(name)
    if isinstance(weights, RandomWeights) and known is not None and known.normalise is not None:
        return known.normalise
    checkpoint = weights.checkpoint if isinstance(weights, RandomWeights) else weights
    if checkpoint is None:
        raise UserError(
            f"whether {name} was trained on normalised audio is not known here: say so with --normalise yes or no"
        )
    try:
        settings = checkpoint.preprocessor()
    except UserError as error:
        raise UserError(
            f"{error}. It says whether the model was trained on normalised audio: say so with --normalise yes or no"
        ) from error
    rate = settings.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(f"{name} was trained on audio of {rate} Hz; only models for {SAMPLE_RATE} Hz are supported")
    return FAMILIES[config.model_type].recipe.normalises(settings, config, name)


def _label(name: str, random_init: int | None) -> str:
    short = Path(name).name or name
    return short if random_init is None else f"{short} (random {random_init})"
