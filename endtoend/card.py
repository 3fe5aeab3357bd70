"""The card of a trained model: what it is, what it was trained on, how well it does, where it must not be trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emoprobe.probe.results import Results
from emoprobe.probe.selecting import is_pooled
from emoprobe.probe.units import GROUP, SPEAKER
from emoprobe.storage import write_file

_ARTICLE = (
    "D. de Oliveira, N. R. Prabhu and T. Gerkmann, *Leveraging semantic information for efficient self-supervised "
    "emotion recognition with audio-textual distilled models*, Interspeech 2023 (arXiv 2305.19184)"
)


def write_card(folder: Path, config: dict, results: Results, runs: list[dict]) -> Path:
    """Write `README.md` into the folder of a saved model.

    Parameters
    ----------
    folder : Path
    config : dict
        As :func:`emoprobe.endtoend.saved.read_config` returns it.
    results : Results
        Scores of every seed and split.
    runs : list of dict
        Seed, fold and development score of each training.

    Returns
    -------
    Path
    """
    run, settings = config["run"], config["run"]["training"]
    sides = [run[side]["label"] for side in ("audio", "text") if run[side] is not None]
    many = len(runs) > 1
    this = f"The weights here are those of seed {config['seed']}, fold {config['fold']}: the best of " if many else ""
    kept = f"{this}{len(runs)} trainings by the development part." if many else "One training."
    lines = [
        f"# {_plain(config['label'])}, {run_modality(run)}",
        "",
        f"A model of {_listed(config['dimensions'])} in speech, made with emoprobe {config['versions']['emoprobe']} "
        f"from {_listed(_plain(side) for side in sides)}. Method: {_ARTICLE}.",
        "",
        "```sh",
        f"probe-predict {folder.name} FILES --out predictions.csv",
        "```",
        "",
        "## Data and protocol",
        "",
        f"- Corpus: {_plain(run['corpus']['name'])} (sha256 of its table {run['corpus']['sha256'][:16]}…).",
        *(f"- {_plain(note)}" for note in run["corpus"]["notes"]),
        *(f"- Encoder {_encoder(run[side])}" for side in ("audio", "text") if run[side] is not None),
        f"- Frozen: {', '.join(run['model']['freeze']) or 'nothing'}. Pooling: {run['model']['pooling']}. Layers of "
        f"the speech encoder: {run['model']['layers']}{_kept(run['model'])}. Share of utterances without text in "
        f"training: {run['model']['text_dropout']:g}, without audio: {run['model']['audio_dropout']:g}.",
        *(f"- {name} is left out: {reason}." for name, reason in config.get("dimensions_left_out", {}).items()),
        f"- Text: {_plain(results.protocol[0]['text'])}.",
        *_reading(config),
        f"- Loss: {_loss(run)}, summed over dimensions. At most {settings['epochs']} epochs, batch "
        f"{settings['batch']} x {settings['accumulate']}, learning rates {_rates(settings)}, "
        f"{settings['precision']}. {kept}",
        *(f"- {told}" for told in _variation(settings)),
        *(f"- {_plain(note)}" for note in results.protocol[0]["split"]["notes"]),
        "",
        "## Measured",
        "",
        "Scores over all trainings (seeds, and folds where the corpus has no split of its own); in brackets the 95 % "
        f"bootstrap interval over {_unit(results)}s.",
        "",
        "| dimension | split | seed | n | CCC | Pearson | RMSE |",
        "|---|---|---|---|---|---|---|",
        *_rows(results),
        "",
        *_held(config),
        "## Limits",
        "",
        "- Scores hold for speech like that of the corpus: its language, its recordings, its way of rating. Elsewhere "
        "measure first.",
        f"- Predictions are in the corpus's units ({_scales(config['scale'])}) and are not bounded to them.",
        "- It estimates how raters would rate an utterance. It does not know what a person feels, and must not decide "
        "about anyone.",
        "",
    ]
    path = Path(folder) / "README.md"
    write_file(path, "\n".join(lines))
    return path


def _held(config: dict) -> Iterator[str]:
    """What the intervals are calibrated on, and how often they held what was scored."""
    kept = config.get("intervals")
    if not kept:
        return
    yield (
        f"Intervals (`probe-predict --interval`) are calibrated on {kept['utterances']} utterances of "
        f"{kept['speakers']} speakers of the development part, on which training stopped, too. Share of labels that "
        "intervals of 80 and 90 % held:"
    )
    yield ""
    for part, shares in kept.get("held", {}).items():
        told = [
            f"{dimension} {' and '.join('none' if share is None else f'{share:.2f}' for share in both)}"
            for dimension, of_levels in shares.items()
            for both in [[of_levels.get(level) for level in ("0.8", "0.9")]]
        ]
        yield f"- {part}: {', '.join(told)}."
    yield ""


def run_modality(run: dict) -> str:
    """Which sides the model has: "audio", "text" or "audio+text"."""
    return "+".join(side for side in ("audio", "text") if run[side] is not None)


def _rows(results: Results) -> Iterator[str]:
    for row in results.scores[is_pooled(results.scores)].to_dict("records"):
        yield (
            f"| {row['dimension']} | {row['split']} | {row['seed']} | {row['n']} | {_number(row['ccc'])} "
            f"{_interval(row)} | {_number(row['pearson'])} | {_number(row['rmse'])} |"
        )


def _unit(results: Results) -> str:
    """What the intervals resample; a table of an earlier version does not say it, and knew speakers alone."""
    return GROUP if (results.scores["unit"] == GROUP).any() else SPEAKER


def _interval(row: Mapping[Any, Any]) -> str:
    low, high = row["ccc_low"], row["ccc_high"]
    return f"[{low:.3f}, {high:.3f}]" if math.isfinite(low) and math.isfinite(high) else "(no interval)"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "undefined"


def _reading(config: dict) -> Iterator[str]:
    """What the development part said of the words, for each dimension."""
    # Null where the development part has no score of a dimension.
    asked = {name: scores for name, scores in config.get("text_helps", {}).items() if None not in scores.values()}
    said = [f"{name} {scores['with']:.3f} with, {scores['without']:.3f} without" for name, scores in asked.items()]
    unread = [name for name, scores in asked.items() if scores["without"] > scores["with"]]
    if asked:
        yield f"- Development CCC with and without the words: {'; '.join(said)}."
    if unread:
        yield f"- So {_listed(unread)} is predicted without them, and the rest with them."


def _loss(run: dict) -> str:
    """What was brought down."""
    share = run["training"].get("mse_share", 0.0)
    loss = "1 − CCC" if not share else f"{1 - share:g} x (1 − CCC) + {share:g} x mean squared error"
    if (teacher := run.get("teacher")) is None:
        return loss
    return (
        f"{loss}, {1 - teacher['share']:g} of it towards the labels and {teacher['share']:g} towards the predictions "
        f"of {_plain(teacher['label'])} (sha256 of its weights {teacher['weights_sha256'][:16]}…)"
    )


def _kept(model: dict) -> str:
    """What was taken from the encoder before it was trained."""
    kept, window = model.get("keep_layers"), model.get("audio_window")
    told = [] if kept is None else [f"of its blocks the first {kept} are kept"]
    told += [] if window is None else [f"its window has {window:g} s"]
    return f" ({', '.join(told)})" if told else ""


def _rates(settings: dict) -> str:
    rates = ", ".join(f"{settings[f'{part}_rate']:g} ({part})" for part in ("audio", "text", "head"))
    share = settings.get("layer_decay", 1.0)
    return rates if share == 1 else f"{rates}, each block with {share:g} of that of the block behind it"


def _variation(settings: dict) -> Iterator[str]:
    """What training did beside its defaults."""
    if settings.get("reliability"):
        yield "Each label counted by its reliability, from the spread and the number of its ratings."
    masks = [(settings.get(f"mask_{kind}", 0.0), what) for kind, what in (("time", "frames"), ("features", "channels"))]
    if any(share for share, _ in masks):
        told = " and ".join(f"{share:g} of the {what}" for share, what in masks if share)
        yield f"In training {told} were hidden from the blocks of the speech encoder."
    if (speeds := settings.get("speeds", [1.0])) != [1.0]:
        told = ", ".join(f"{speed:g}" for speed in speeds)
        yield f"In training each utterance was played at one of the speeds {told}."
    if average := settings.get("average", 0.0):
        yield f"The weights are a running average, of which {average:g} stayed at each step."
    if rank := settings.get("lora"):
        yield f"Of the encoders low-rank updates (rank {rank}) were trained, and added to their weights in the end."


def _encoder(origin: dict) -> str:
    start = "pretrained" if origin["random_init"] is None else f"random weights, seed {origin['random_init']}"
    revision = f", revision {origin['revision']}" if origin["revision"] else ""
    return (
        f"{_plain(origin['label'])} ({origin['model_type']}, {origin['parameters']:,} parameters, {start}{revision}; "
        f"sha256 of the weights it started from {origin['weights_sha256'][:16]}…)."
    )


def _scales(scale: dict) -> str:
    return ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in scale.items())


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _plain(text: str) -> str:
    """Text from a manifest as Markdown shows it: on one line, nothing in it read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(str(text).split()))
