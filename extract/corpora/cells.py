"""Which cells hold no value, and when two names are one: the rules for every column of every reader."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

from emoprobe.errors import UserError

DIMENSIONS = ("arousal", "valence", "dominance")

#: The column of categories.
EMOTION = "emotion"

#: Which part of a file an utterance is: seconds from its beginning, and the number of one channel from 0.
PLACES = ("start", "end", "channel")

#: What several raters said of an utterance: their mean, its spread (standard deviation, divided by n - 1) and their
#: number, NaN where single raters are not known.
RATERS = tuple(f"{name}_{what}" for name in DIMENSIONS for what in ("mean", "sd", "n"))

#: Columns of numbers that few corpora have.
OPTIONAL_NUMBERS = (*PLACES, *RATERS)

#: Columns that few corpora have; where they are empty they are left out of hashes and caches.
OPTIONAL = ("group", "fold", *OPTIONAL_NUMBERS)

TEXT_COLUMNS = ("id", "path", "speaker", "gender", "split", "emotion", "transcript", "group", "fold")

#: Names that a person wrote or a program printed; upper and lower case are one. Paths and transcripts are none.
IDENTIFIERS = ("id", "speaker", "gender", "split", "emotion", "group", "fold")

#: What stands for a value that is not there, in any spelling; in transcripts see :data:`MISSING_TRANSCRIPTS`.
MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "unknown", "-", "--", "–", "—"})

#: The same in transcripts, where "none" and "na" are words that people say: only what programs print for no value.
MISSING_TRANSCRIPTS = frozenset(
    {"", "nan", "NaN", "NA", "n/a", "N/A", "#N/A", "<NA>", "NULL", "None", "-", "--", "–", "—"}
)

_LONGEST = max(map(len, MISSING | MISSING_TRANSCRIPTS))

#: As speakers these name nobody, whatever a corpus means by them.
NOBODY = frozenset({"", "nan", "unknown"})


class MissingWords:
    """Tells which cells hold no value, and counts the words that were taken for none.

    Parameters
    ----------
    keep : collection of str
        Columns in which such a word is meant: a speaker called "None". An empty cell is missing all the same, and
        so is a speaker of :data:`NOBODY`.

    Raises
    ------
    UserError
        If there is no such text column.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        unknown = [name for name in keep if name not in TEXT_COLUMNS]
        if unknown:
            raise UserError(f"--keep-words {' '.join(unknown)}: the columns of words are {', '.join(TEXT_COLUMNS)}")
        self.keep = tuple(name for name in TEXT_COLUMNS if name in keep)
        self._taken: dict[str, Counter] = {}

    def text(self, column: str, text: str) -> str:
        """The cell without blanks around it, ``""`` where it holds no value."""
        text = text.strip()
        if not text or not self._is_missing(column, text):
            return text
        self._taken.setdefault(column, Counter())[text] += 1
        return ""

    def _is_missing(self, column: str, text: str) -> bool:
        if len(text) > _LONGEST:  # which no folding of letters makes shorter
            return False
        if column == "transcript":
            missing = text in MISSING_TRANSCRIPTS
        else:
            missing = text.casefold() in MISSING
        return missing and (column not in self.keep or (column == "speaker" and text.casefold() in NOBODY))

    def notes(self) -> list[str]:
        """How many cells of each column held such a word, and how to keep it; nothing where none did."""
        if not self._taken:
            return []
        listed = [
            f"{column} {sum(words.values()):,} ({', '.join(f'{word!r} {n:,}' for word, n in words.most_common(5))})"
            for column, words in self._taken.items()
        ]
        said = f"words taken for a missing value: {'; '.join(listed)}"
        meant = [name for name in self._taken if name in TEXT_COLUMNS and name not in self.keep]
        return [said + (f"; if such a word is meant: --keep-words {' '.join(meant)}" if meant else "")]


def identifier(text: str) -> str:
    """One form of a name that Unicode can compose in several ways (NFC), so that one name is one name."""
    return unicodedata.normalize("NFC", text)


# Letters of Cyrillic and Greek whose capital or small form prints as a Latin one; the common cases of a wrong keyboard.
_CONFUSABLE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u043a\u043c\u0442\u0432\u043d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "aeopcyxijskmtbh" + "abezhikmnoptyx",
)
_INVISIBLE = ("Cf", "Cc")


def appearance(name: str) -> str:
    """One form of all names that the eye takes for one; see :func:`look_alikes`."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_CONFUSABLE)
    text = "".join(letter for letter in text if unicodedata.category(letter) not in _INVISIBLE)
    # 7 and 007: a spreadsheet drops the zeros.
    return re.sub(r"(?<!\d)0+(?=\d)", "", " ".join(text.split()))


def look_alikes(names: Iterable[str]) -> list[str]:
    """Names that differ in a way that the eye passes over, each group with its counts.

    Upper and lower case, width and ligatures (NFKC), blanks and invisible characters, zeros in front of a number, and
    letters of another script that look the same.

    Parameters
    ----------
    names : iterable of str
        One a row; ``""`` is nobody.

    Returns
    -------
    list of str
        Such as ``"'Anna' (3 rows) and 'anna' (2 rows)"``; what is not ASCII is written as escapes, since it may look
        the same.
    """
    groups: dict[str, list[str]] = {}
    counts = Counter(names)
    for name in counts:
        if name:
            groups.setdefault(appearance(name), []).append(name)
    return [
        " and ".join(f"{name!a} ({counts[name]:,} rows)" for name in group)
        for group in groups.values()
        if len(group) > 1
    ]
