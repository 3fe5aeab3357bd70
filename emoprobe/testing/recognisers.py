"""Small speech recognisers, random but complete, in the form that transformers saves and the hub has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from emoprobe.jsontext import to_json

from .checkpoints import LARGE, SIZES

if TYPE_CHECKING:
    import torch

_Model = TypeVar("_Model", bound="torch.nn.Module")

_LETTERS = "abcdefghijklmnopqrstuvwxyz'"

#: Recognisers with a CTC head, with both norms of the front end: the family by the name of its classes in transformers,
#: and what its config changes in :data:`.checkpoints.SIZES`.
CTC_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-base": ("Wav2Vec2", {}),
    "wav2vec2-large": ("Wav2Vec2", LARGE),
    "hubert-base": ("Hubert", {}),
    "wavlm-base": ("WavLM", {}),
    "data2vec-audio": ("Data2VecAudio", {"conv_pos_kernel_size": 19}),
}


def _spread(model: _Model) -> _Model:
    """Give the model weights large enough that what it says depends on the sound."""
    import torch

    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0.0, 1.5 / parameter[0].numel() ** 0.5)
    return model.eval()


def save_ctc(folder: Path, variant: str = "wav2vec2-base", *, normalise: bool = True, seed: int = 0) -> Path:
    """Save a recogniser of letters with a CTC head as a checkpoint; return `folder`.

    Parameters
    ----------
    folder : Path
        What ``probe-transcribe --model`` takes then.
    variant : str
        A name in :data:`CTC_VARIANTS`.
    normalise : bool
        Whether its preprocessor normalises waveforms.
    seed : int
        Of the weights.
    """
    import torch
    import transformers

    family, changes = CTC_VARIANTS[variant]
    tokens = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *_LETTERS])}
    sizes = {**SIZES, "num_hidden_layers": 2, "vocab_size": len(tokens), "pad_token_id": 0, **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _spread(getattr(transformers, f"{family}ForCTC")(getattr(transformers, f"{family}Config")(**sizes)))
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "tokens.json").write_text(to_json(tokens))
    transformers.Wav2Vec2Processor(
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=True),
        transformers.Wav2Vec2CTCTokenizer(str(folder / "tokens.json")),
    ).save_pretrained(folder)
    return folder


def save_whisper(folder: Path, *, languages: tuple[str, ...] = ("en", "de"), seed: int = 0) -> Path:
    """Save a Whisper whose tokens are single bytes as a checkpoint; return `folder`.

    Parameters
    ----------
    folder : Path
        What ``probe-transcribe --model`` takes then.
    languages : tuple of str
        Codes; multilingual where there is more than one.
    seed : int
        Of the weights.
    """
    import torch
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special += ["<|notimestamps|>"]
    times = [f"<|{0.02 * i:.2f}|>" for i in range(1501)]
    number = {token: i for i, token in enumerate([*alphabet, *special, *times])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(to_json({token: number[token] for token in [*alphabet, special[0]]}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer.from_pretrained(folder, pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.add_tokens(times)
    moved = [token for token, i in number.items() if tokenizer.convert_tokens_to_ids(token) != i]
    if moved:
        raise RuntimeError(f"this release of transformers numbers {moved[:3]} otherwise than the vocabulary")
    end, start = number["<|endoftext|>"], number["<|startoftranscript|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(number),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_target_positions=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _spread(transformers.WhisperForConditionalGeneration(config))
    settings = {
        "max_length": 24,
        "no_timestamps_token_id": number["<|notimestamps|>"],
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "max_initial_timestamp_index": 50,
        "prev_sot_token_id": number["<|startofprev|>"],
        "suppress_tokens": [number["<|nospeech|>"], number["<|startoflm|>"], start],
        "begin_suppress_tokens": [end],
        "is_multilingual": len(languages) > 1,
        "return_timestamps": False,
    }
    if len(languages) > 1:
        settings["lang_to_id"] = {f"<|{code}|>": number[f"<|{code}|>"] for code in languages}
        settings["task_to_id"] = {task: number[f"<|{task}|>"] for task in ("transcribe", "translate")}
    model.generation_config = transformers.GenerationConfig(**settings)
    model.save_pretrained(folder, safe_serialization=True)
    features = transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    return folder
