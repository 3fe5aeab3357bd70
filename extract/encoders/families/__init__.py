"""The accepted families of speech models, one file a family or its kin. How one is added: `docs/adding_a_model.md`."""

from __future__ import annotations

from . import conformer, sew, wav2vec2_bert, waveform, whisper
from .base import Family, Recipe

__all__ = ["FAMILIES", "Family", "Recipe"]

#: By `model_type`, as `config.json` names it.
FAMILIES: dict[str, Family] = {
    **waveform.FAMILIES,
    **conformer.FAMILIES,
    **sew.FAMILIES,
    **wav2vec2_bert.FAMILIES,
    **whisper.FAMILIES,
}
