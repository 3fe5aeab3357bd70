"""A question that is asked by name: what it asks, of what, with which settings, and the table that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .problems import Bar

if TYPE_CHECKING:
    import pandas as pd

    from emoprobe.extract.cache import HiddenStateCache
    from emoprobe.probe.results import Results

#: Types of the columns of an answer, those of :func:`emoprobe.probe.schema.table`.
TEXT, WHOLE, NUMBER = "str", "Int64", "float64"

#: What every answer begins with: whom it is about.
SUBJECT = {"model": TEXT, "corpus": TEXT}


class Ask(Protocol):
    """What computes an answer."""

    def __call__(
        self, caches: Sequence[HiddenStateCache], settings: Any, *, results: Results, bar: Bar
    ) -> pd.DataFrame:
        """Answer of opened caches.

        Parameters
        ----------
        caches : sequence of HiddenStateCache
            One, unless the inquiry is `together`.
        settings
            Of the inquiry's type.
        results : Results
            Of the folder; without any row where it holds none yet.
        bar : callable
            Wraps what is iterated over, to show progress.

        Returns
        -------
        DataFrame
            The inquiry's columns.

        Raises
        ------
        UserError
            If the question cannot be answered of them: why, and what would help.
        """


@dataclass(frozen=True)
class Option:
    """How a setting is given to the command.

    Parameters
    ----------
    help : str
        ``%(default)s`` stands for the default.
    name : str
        What it is called, where not as the field.
    choices : tuple of str
        What it can be; anything, where empty.
    shown : str
        What stands for its value in the help, such as N; by default its name.
    """

    help: str
    name: str = ""
    choices: tuple[str, ...] = ()
    shown: str = ""


@dataclass(frozen=True)
class Inquiry:
    """A question that is asked by name (``emoprobe ask NAME``).

    Parameters
    ----------
    name : str
        Of the command, and of the table in the folder of the results, ``NAME.csv`` and ``NAME.parquet``.
    title : str
        Of its section in the report.
    question : str
        One plain sentence.
    settings : type
        A frozen dataclass; the options of the command are filled from it.
    options : mapping of str to Option
        By the field of the settings, in the order of the help.
    columns : mapping of str to str
        Name and type (:data:`TEXT`, :data:`WHOLE`, :data:`NUMBER`) of each column; :data:`SUBJECT` comes first.
    ask : callable
        Computes the answer, see :class:`Ask`.
    told : callable
        One or two sentences that say what a table of answers has shown, for the terminal and the report.
    method : str
        How it is answered, in a sentence or two that a paper can take over.
    cites : tuple of str
        Keys of the references.
    version : int
        Raise it with any change that moves its numbers beyond rounding; kept ones are then made anew.
    methods : tuple of str
        Modules of `emoprobe.probe` on whose versions its numbers depend.
    reads : tuple of str
        Columns of the utterances on which they depend.
    uses_results, uses_baselines : bool
        Whether they depend on the runs in the folder of the results, and on the baselines beside the cache.
    together : bool
        Whether all caches are asked at once, and not one after the other.
    """

    name: str
    title: str
    question: str
    settings: type
    options: Mapping[str, Option]
    columns: Mapping[str, str]
    ask: Ask
    told: Callable[[pd.DataFrame], Sequence[str]]
    method: str
    cites: tuple[str, ...] = ()
    version: int = 1
    methods: tuple[str, ...] = ()
    reads: tuple[str, ...] = field(
        default=("id", "speaker", "split", "status", "arousal", "valence", "dominance"),
    )
    uses_results: bool = False
    uses_baselines: bool = False
    together: bool = False
