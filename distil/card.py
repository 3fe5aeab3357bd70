"""The card of a distilled student: what it was taught by, on what, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emoprobe.jsontext import to_json

if TYPE_CHECKING:
    from emoprobe.extract.encoders.speech import Backbone

    from .settings import DistillSettings


def is_supervised(backbone: Backbone) -> bool:
    """Whether a model was trained on transcribed speech, as its configuration tells: Whisper, or one with a head."""
    heads = getattr(backbone.config, "architectures", None) or []
    return backbone.config.model_type == "whisper" or any("For" in name for name in heads)


def card(
    teacher: Backbone,
    settings: DistillSettings,
    *,
    student: Backbone | None = None,
    pairs: Sequence[tuple[int, int]] = (),
    corpus: str,
    utterances: int,
    hours: float,
) -> str:
    """What is known of a student when its training has ended, in Markdown.

    Parameters
    ----------
    teacher : Backbone
    settings : DistillSettings
    student : Backbone, optional
        Whose weights it went on from; the teacher's first blocks when left out.
    pairs : sequence of (int, int)
        Student's layer, teacher's layer.
    corpus : str
        As it was given.
    utterances : int
    hours : float
    """
    began = f"the weights of {student.label}" if student else f"the first {settings.blocks} blocks of its teacher"
    learned = (
        "**It was taught by a supervised recogniser and is not self-supervised alone**: what its layers hold may "
        "come from transcripts."
        if is_supervised(teacher)
        else "The teacher's configuration names no supervised training; read its own card."
    )
    mapped = (
        ", ".join(f"{asked}:{told}" for asked, told in pairs) or "its output tells the teacher's layers of the settings"
    )
    return f"""# A student of {teacher.label}

Made by `probe-distill`. {learned}

| | |
|---|---|
| teacher | {teacher.name}, {teacher.n_layers - 1} blocks of width {teacher.width} |
| began as | {began} |
| layers (student:teacher) | {mapped} |
| speech | {corpus}: {utterances} utterances, {hours:.2f} hours |

Settings:

```json
{to_json(settings.__dict__, indent=1)}
```
"""
