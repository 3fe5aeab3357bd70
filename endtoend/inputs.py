"""What the user names on the command line: audio files, folders of them, and what was said in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.extract.corpora import COLUMNS
from emoprobe.extract.corpora.cells import MissingWords, identifier
from emoprobe.extract.corpora.naming import name_columns
from emoprobe.extract.corpora.separated import csv_rows
from emoprobe.extract.corpora.text import read_bytes, read_text
from emoprobe.extract.corpora.values import first

# In a folder; a file that is named itself is told by its content. Those that libsndfile cannot decode are found too,
# so that they are listed with that reason and not passed over.
_USUAL = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd")
_UNUSUAL = (".caf", ".w64", ".rf64", ".nist", ".sph", ".m4a", ".mp4", ".aac", ".wma", ".amr", ".webm")
AUDIO_ENDINGS = frozenset((*_USUAL, *_UNUSUAL))

#: What is read of a table of transcripts.
_READ = ("path", "id", "transcript")


def find_audio(places: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files that are meant, each once.

    Parameters
    ----------
    places : sequence of path-like
        Files, in the order given; folders, whose audio files come in the order of their names, those of subfolders
        included, hidden ones not.

    Raises
    ------
    UserError
        If a folder holds no audio.
    """
    paths: list[str] = []
    for place in [os.fspath(named) for named in places]:
        if not os.path.isdir(place):  # noqa: PTH112 - paths stay the text that the user typed
            paths.append(place)
            continue
        inside = [path for path in _files(place) if Path(path).suffix.lower() in AUDIO_ENDINGS]
        if not inside:
            raise UserError(f"{place} holds no audio files ({', '.join(sorted(AUDIO_ENDINGS))})")
        paths += inside
    each: dict[str, str] = {}
    for path in paths:
        each.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - as above
    return list(each.values())


def _files(folder: str) -> list[str]:
    """Every file below the folder, sorted; links to folders are followed, each folder once."""
    paths = []
    seen = {os.path.realpath(folder)}
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        shown = sorted(name for name in subfolders if name[0] != ".")
        visible = {os.path.realpath(os.path.join(parent, name)): name for name in shown}  # noqa: PTH118
        subfolders[:] = [name for place, name in visible.items() if place not in seen]
        seen |= set(visible)
        paths += [os.path.join(parent, name) for name in names if name[0] != "."]  # noqa: PTH118
    return sorted(paths)


class Texts:
    """What was said, by file or by id.

    Attributes
    ----------
    place : str
        Where the texts come from.
    names : list of str
        Path or id of each, as given.
    texts : list of str
    notes : list of str
        What was odd about them.
    """

    def __init__(
        self,
        place: str,
        names: list[str],
        texts: list[str],
        files: Iterable[str],
        ids: Iterable[str],
        notes: Iterable[str] = (),
    ) -> None:
        self.place, self.names, self.texts, self.notes = place, names, texts, list(notes)
        self._by_file: dict[str, set[str]] = {}
        self._by_id: dict[str, set[str]] = {}
        for index, places in ((self._by_file, files), (self._by_id, ids)):
            for name, text in zip(places, texts, strict=True):
                if name:
                    # Files that a Mac has written spell one name in another form of Unicode than most tables do.
                    index.setdefault(identifier(name), set()).add(text)

    def of(self, path: str, name: str = "", *, shared: bool = False) -> str | None:
        """What was said in the file `path` of the utterance `name` (by default the file's stem); None if not told.

        Where the file is `shared` by several utterances, its path does not tell which is meant.

        Raises
        ------
        UserError
            If more than one text is meant.
        """
        meant = None if shared else self._by_file.get(identifier(os.path.abspath(path)))  # noqa: PTH100
        meant = meant or self._by_id.get(identifier(name or Path(path).stem))
        if meant is None:
            return None
        if len(meant) > 1:
            raise UserError(
                f"{self.place}: {len(meant)} texts are meant for {path}; tell them apart by a CSV with the column path"
            )
        return next(iter(meant))

    def for_files(self, paths: Sequence[str], ids: Sequence[str] | None = None) -> list[str | None]:
        """What was said in each file.

        Raises
        ------
        UserError
            If nothing is told of any file, or two things of one.
        """
        counts = Counter(paths)
        texts = [
            self.of(path, name, shared=counts[path] > 1)
            for path, name in zip(paths, ids or [""] * len(paths), strict=True)
        ]
        if paths and all(text is None for text in texts):
            raise UserError(
                f"{self.place}: none of its {len(self.texts)} texts ({first(self.names, 2)}) belongs to the audio "
                f"({first(paths, 2)}); they are joined by path, or by id, which is the file's name without ending"
            )
        return texts


def read_texts(
    place: str | os.PathLike[str], *, keep_words: Collection[str] = (), columns: Mapping[str, str] | None = None
) -> Texts:
    """Read transcripts.

    Parameters
    ----------
    place : path-like
        A CSV with the columns ``path`` or ``id`` (or both) and ``transcript``, by these or their common names, such as
        a manifest; or a folder of ``<stem>.txt``, subfolders included.
    keep_words : collection of str
        Columns in which a word such as ``None`` is meant, see :class:`.cells.MissingWords`.
    columns : mapping, optional
        Our name of a column to the one in the CSV, see :mod:`.naming`.

    Raises
    ------
    UserError
        If there are none, or they cannot be read.
    """
    place, missing = os.fspath(place), MissingWords(keep_words)
    if os.path.isdir(place):  # noqa: PTH112 - as above
        files = [path for path in _files(place) if path.lower().endswith(".txt")]
        if not files:
            raise UserError(f"{place} holds no .txt files; give a folder of <stem>.txt, or a CSV")
        texts = [missing.text("transcript", " ".join(read_text(Path(path)).split())) for path in files]
        return Texts(place, files, texts, [""] * len(files), [Path(path).stem for path in files], missing.notes())
    header, rows, _ = csv_rows(read_bytes(Path(place)), Path(place))
    chosen = {name: "" for name in COLUMNS if name not in _READ} | dict(columns or {})
    naming = name_columns(header, chosen=chosen, source=Path(place))
    places = {name: naming.places[name] for name in _READ if name in naming.places}
    if "transcript" not in places or len(places) < 2:
        raise UserError(
            f"{place}: transcripts need the columns transcript, and path or id (columns: {first(header, 12) or 'none'})"
        )
    if not rows:
        raise UserError(f"{place}: holds no transcripts, only a header")
    cells = {name: [missing.text(name, row[place]) for row in rows] for name, place in places.items()}
    taken = [f"{ours} from {naming.written[ours]}" for ours in places if ours in naming.written]
    paths, ids = (cells.get(name, [""] * len(rows)) for name in ("path", "id"))
    base = os.path.dirname(os.path.abspath(place))  # noqa: PTH100, PTH120 - as above
    return Texts(
        place,
        [path or name for path, name in zip(paths, ids, strict=True)],
        [" ".join(text.replace("\0", " ").split()) for text in cells["transcript"]],
        [os.path.normpath(os.path.join(base, path)) if path else "" for path in paths],  # noqa: PTH118
        ids,  # and no stem of a path: files of one name in two folders are two utterances
        [*([f"{place}: columns taken: {', '.join(taken)}"] if taken else []), *missing.notes()],
    )
