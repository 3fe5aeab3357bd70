"""What is studied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emoprobe.analysis.measures.inquiries import INQUIRIES
from emoprobe.errors import UserError
from emoprobe.extract.baselines.registry import kept_beside
from emoprobe.extract.corpora.cells import DIMENSIONS
from emoprobe.extract.options import check_counts
from emoprobe.misspelt import meant
from emoprobe.settings_as_options import called

from .systems import SYSTEMS

#: In place of a model: there is none.
NONE = "none"

#: Probes of dimensions, in the order in which they are fitted.
PROBES = ("ridge", "mlp", "weighted")


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What is studied: the corpus, the models, and what is asked of them.

    Attributes
    ----------
    corpus : str
        What --corpus of every command takes: a manifest, READER:ROOT such as msp-podcast:ROOT, or demo.
    teacher : str
        The speech model whose layers are probed: a folder, a name on the hub, or a short name such as hubert-large.
    student : str
        The distilled model that is compared with it; none for no student.
    text : str
        The text encoder of the text baseline and of the end-to-end systems; none for neither.
    recogniser : str
        Speech recogniser for utterances without a transcript, such as whisper-tiny-en; none leaves them without.
    teacher_revision, student_revision, text_revision : str or None
        Branch, tag or commit of each on the hub; that of text is of the end-to-end systems.
    language : str or None
        Of a multilingual recogniser, such as de; it tells by itself where this is empty.
    twins : int
        Random twins: the teacher's architecture with random weights, one for each seed from 0.
    dimensions : tuple of str
        Of arousal, valence and dominance.
    categories : bool
        Fit categories of emotion too, where the corpus has any.
    probes : tuple of str
        Of ridge (one linear probe a layer), mlp (one hidden layer) and weighted (learned weights over the layers, of
        the teacher and the student).
    baselines : tuple of str
        Rivals of every layer, beside those that each cache holds: egemaps, text (by the text encoder above).
    ask : tuple of str
        Questions that are asked by name; emoprobe ask --help lists them.
    systems : tuple of str
        End-to-end systems to train: text, student, student+text, teacher, teacher+text. Empty for none.
    seeds : int
        Trainings of each end-to-end system.
    write_report : bool
        Write the report at the end.
    """

    corpus: str = "demo"
    teacher: str = "hubert-nano"
    student: str = "distilhubert-nano"
    text: str = "minilm"
    recogniser: str = NONE
    teacher_revision: str | None = None
    student_revision: str | None = None
    text_revision: str | None = None
    language: str | None = None
    twins: int = 1
    dimensions: tuple[str, ...] = field(default=DIMENSIONS, metadata=called("dim"))
    categories: bool = True
    probes: tuple[str, ...] = ("ridge", "weighted")
    baselines: tuple[str, ...] = ("egemaps", "text")
    ask: tuple[str, ...] = ()
    systems: tuple[str, ...] = ("text", "student", "student+text", "teacher")
    seeds: int = 3
    write_report: bool = field(default=True, metadata=called("report"))

    def __post_init__(self) -> None:
        for name in ("corpus", "teacher"):
            if getattr(self, name).strip() in ("", NONE):
                raise UserError(f"{name} is to be named: a study is of a corpus and a teacher")
        check_counts(self, "twins")
        check_counts(self, "seeds", least=1)
        if "all" in self.dimensions:
            object.__setattr__(self, "dimensions", DIMENSIONS)
        for name, known in (
            ("dimensions", DIMENSIONS),
            ("probes", PROBES),
            ("ask", tuple(INQUIRIES)),
            ("systems", tuple(SYSTEMS)),
            ("baselines", tuple(kept_beside())),
        ):
            given = getattr(self, name)
            for one in given:
                if one not in known:
                    raise UserError(f"{name}: there is no {one!r}: {meant(one, known)}")
            if len(set(given)) < len(given):
                raise UserError(f"{name}: name each once")
        if not self.dimensions and not self.categories:
            raise UserError("dimensions is empty and categories is false: there would be nothing to ask for")
        if not self.probes:
            raise UserError(f"probes is empty: name at least one of {', '.join(PROBES)}")


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How the corpus is read, in every step.

    Attributes
    ----------
    columns : tuple of str
        What the columns of a manifest are called, where no common name tells it: "path=file", "arousal=EmoAct".
    keep_words : tuple of str
        Columns in which words such as None or NA are meant, and stand for no missing value.
    ratings : str or None
        Table of single ratings of the corpus.
    splits : str or None
        Folder of folds of EmoBox or EMO-SUPERB, in place of the corpus's own splits.
    """

    columns: tuple[str, ...] = ()
    keep_words: tuple[str, ...] = ()
    ratings: str | None = None
    splits: str | None = None


@dataclass(frozen=True)
class Programme:
    """What is studied, and with which options of the single commands.

    Attributes
    ----------
    settings : StudySettings
    tables : mapping
        By the name of a table (:data:`.tables.TABLES`) the fields that are not left at their default.
    """

    settings: StudySettings = field(default_factory=StudySettings)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def table(self, name: str) -> Mapping[str, Any]:
        """The fields of a table that are set."""
        return self.tables.get(name, {})
