"""Speech self-supervised models: how they are found, loaded, fed, and where their layers are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UserError
from .architectures import ARCHITECTURES
from .exact import frame_mask, make_exact, steps
from .packaged import packaged_folder, packaged_models

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SAMPLE_RATE = 16_000

# The classes by family, named and not looked up, so that no checkpoint can bring code of its own.
_FAMILIES = {
    "hubert": ("HubertConfig", "HubertModel"),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel"),
}

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
        Without a head; it is put into evaluation mode and changed in place (:func:`.exact.make_exact`).
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
        self._lengths = make_exact(model)
        blocks = model.encoder.layers
        self.n_layers = len(blocks) + 1
        self.width = self.config.hidden_size
        self.layer_names = ("input of block 1", *(f"block {k}" for k in range(1, self.n_layers)))
        self.receptive_field = _receptive_field(self._lengths.kernels, self._lengths.strides)
        self._visit: Visit | None = None
        blocks[0].register_forward_pre_hook(self._see_input, with_kwargs=True)
        for k, block in enumerate(blocks, start=1):
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
        return steps(int(samples), self._lengths.kernels, self._lengths.strides)

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
            What the model itself returns: the last block's output, after the final norm where the model has one.
        """
        if samples is not None:
            samples = [int(n) for n in samples]
            if min(samples) == padded.shape[1]:
                samples = None
        mask = None if samples is None else frame_mask(samples, padded.shape[1], padded.device).long()
        self._lengths.samples = samples
        self._visit = visit
        try:
            return self.model(padded, attention_mask=mask).last_hidden_state
        finally:
            self._visit = None
            if not torch.is_grad_enabled():  # a checkpointed layer runs again in the backward pass, on these lengths
                self._lengths.samples = None

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
            If a waveform is shorter than the receptive field.
        """
        arrays = [np.asarray(w, dtype=np.float32) for w in waveforms]
        for array in arrays:
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
        config_class = getattr(transformers, _FAMILIES[known.model_type][0])
        return config_class(**known.config), known.hub_name
    source = _source(name)
    raw, _ = _from_hub(
        lambda: transformers.PretrainedConfig.get_config_dict(source, revision=revision), source, revision
    )
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    if model_type not in _FAMILIES:
        raise UserError(
            f"{source} is a {model_type or 'model of unknown type'}, which is not supported; supported are "
            f"{', '.join(_FAMILIES)} (HuBERT, DistilHuBERT, wav2vec 2.0, WavLM, data2vec-audio)"
        )
    config_class = getattr(transformers, _FAMILIES[model_type][0])
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
    import transformers

    config, source = load_config(name, revision=revision, random_init=random_init)
    if min(config.num_hidden_layers, config.hidden_size) < 1:
        raise UserError(f"{source}: config.json describes a model without layers or width")
    model_class = getattr(transformers, _FAMILIES[config.model_type][1])
    if normalise is None:
        normalise = _normalisation(name, source, revision, random_init)
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
    if (folder := packaged_folder(name)) is not None:
        return str(folder)
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


def _normalisation(name: str, source: str, revision: str | None, random_init: int | None) -> bool:
    """What the checkpoint says of normalising its input."""
    from transformers import FeatureExtractionMixin

    if random_init is not None and name in ARCHITECTURES:
        return ARCHITECTURES[name].normalise
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
    return bool(settings.get("do_normalize", True))


def _load_weights(model_class: type, config: PretrainedConfig, source: str, revision: str | None):
    """The checkpoint's weights, all of them, from safetensors."""
    from safetensors import SafetensorError

    try:
        model, found = model_class.from_pretrained(
            source, config=config, revision=revision, use_safetensors=True, output_loading_info=True
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


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def _label(name: str, random_init: int | None) -> str:
    short = Path(name).name or name
    return short if random_init is None else f"{short} (random {random_init})"


def first_line(error: BaseException) -> str:
    """What an exception says, in one line that a message can hold."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
