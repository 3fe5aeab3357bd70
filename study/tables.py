"""The tables of study.toml: options of the single commands, by the names that their --help gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass
from typing import Any, get_type_hints

from emoprobe.analysis.report.settings import ReportSettings
from emoprobe.endtoend.settings import ModelSettings, TrainingSettings
from emoprobe.extract.cluster import EngineSettings
from emoprobe.extract.settings import ExtractionSettings
from emoprobe.parallel import ProcessSettings
from emoprobe.probe.settings import FitSettings
from emoprobe.settings_as_options import fields_by_option, words_of
from emoprobe.transcribe.settings import TranscriptionSettings

from .settings import ReadingSettings


@dataclass(frozen=True)
class Table:
    """A table of study.toml.

    Attributes
    ----------
    about : str
        One line, for the file.
    settings : tuple of type
        The dataclasses whose fields it takes.
    not_here : frozenset of str
        Fields that the study sets itself, or that the command has no option for.
    """

    about: str
    settings: tuple[type, ...]
    not_here: frozenset[str] = frozenset()

    def fields(self, *, former: bool = False) -> dict[str, tuple[type, Field]]:
        """By key, the dataclass and its field; by the keys of earlier versions, too, where `former` says so."""
        return {
            key: (settings, field)
            for settings in self.settings
            for key, field in fields_by_option(settings, former=former).items()
            if field.name not in self.not_here
        }

    def hint(self, key: str) -> Any:
        """The type of a key's value."""
        settings, field = self.fields(former=True)[key]
        return get_type_hints(settings)[field.name]

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Words of the command line for the fields that are set."""
        return [word for settings in self.settings for word in words_of(settings, values)]


def default_of(field: Field) -> Any:
    """The default of a field; None where it is made anew each time."""
    return None if field.default is MISSING else field.default


TABLES: dict[str, Table] = {
    "reading": Table("How the corpus is read, in every step.", (ReadingSettings,)),
    "transcribe": Table(
        "Options of emoprobe transcribe.",
        (TranscriptionSettings,),
        frozenset({"only_missing", "overwrite", "keep_words", "columns"}),
    ),
    "extract": Table(
        "Options of emoprobe extract, for each model.",
        (ExtractionSettings, EngineSettings),
        frozenset({"overwrite", "shard"}),
    ),
    "fit": Table(
        "Options of emoprobe fit, for each probe.",
        (FitSettings, EngineSettings, ProcessSettings),
        frozenset({"dimensions", "probes", "gpus"}),
    ),
    "train": Table(
        "Options of emoprobe train, for each end-to-end system.",
        (ModelSettings, TrainingSettings),
        frozenset({"audio", "text", "audio_revision", "text_revision", "audio_random", "text_random", "dimensions",
                   "seeds", "memory", "teacher", "teacher_share"}),
    ),
    "report": Table("Options of emoprobe report.", (ReportSettings, ProcessSettings), frozenset({"dimensions"})),
}  # fmt: skip
