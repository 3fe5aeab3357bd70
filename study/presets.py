"""Programmes to begin with. A new one is an entry here."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import NONE, Programme, StudySettings


@dataclass(frozen=True)
class Preset:
    """A programme, and what it is for in a few words."""

    about: str
    programme: Programme


PRESETS: dict[str, Preset] = {
    "paper": Preset(
        "HuBERT large, DistilHuBERT and DistilBERT on MSP-Podcast, as in the paper",
        Programme(
            StudySettings(
                corpus="msp-podcast:MSP-Podcast",
                teacher="facebook/hubert-large-ll60k",
                student="ntu-spml/distilhubert",
                text="distilbert-base-uncased",
            )
        ),
    ),
    "demo": Preset(
        "the packaged models on the packaged corpus: probes of the three dimensions and a report; needs no network",
        Programme(StudySettings(categories=False, systems=())),
    ),
    "quick": Preset(
        "a first look at a corpus: 300 utterances, packaged models, few permutations",
        Programme(
            StudySettings(text=NONE, baselines=(), probes=("ridge",), categories=False, systems=()),
            {
                "extract": {"limit": 300},
                "fit": {"permutations": 200, "resamples": 500, "mdl": False},
                "report": {"quick": True},
            },
        ),
    ),
}

#: What is studied where a corpus is given and no preset: every step, with models that need no network.
EVERYTHING = Programme()
