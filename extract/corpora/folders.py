"""Corpora as they lie on disk: where a corpus begins, where a file of one of several names is, where the audio went."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from emoprobe.errors import UserError

from .values import first

#: Endings of audio files, in small letters.
AUDIO = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".w64", ".au"})

#: Endings of films, whose sound has to be taken out first.
FILMS = frozenset({".mp4", ".m4a", ".avi", ".mov", ".mkv"})


def corpus_root(given: Path, fits: Callable[[Path], bool], notes: list[str]) -> Path:
    """The folder where a corpus begins, also when the one above it was given.

    Parameters
    ----------
    given : Path
        What the user gave.
    fits : callable
        Whether a folder looks like the beginning of the corpus.
    notes : list of str
        Told which folder was taken, where it is not the one that was given.

    Returns
    -------
    Path
        Absolute. `given` itself where nothing fits: whoever reads it tells what is missing.

    Raises
    ------
    UserError
        If there is no such folder, or more than one folder in it fits.
    """
    given = Path(os.path.abspath(given))  # noqa: PTH100 - links are the user's own
    if not given.is_dir():
        raise UserError(f"{given}: no such folder; give the one that the corpus was unpacked to")
    if fits(given):
        return given
    fitting = [child for child in children(given).values() if child.is_dir() and fits(child)]
    if len(fitting) > 1:
        raise UserError(f"{given}: holds more than one such corpus; give one of {first(fitting)}")
    if fitting:
        notes.append(f"{given} holds the corpus in its folder {fitting[0].name}, which was read")
        return fitting[0]
    return given


def children(folder: Path) -> dict[str, Path]:
    """What a folder holds, by name in small letters, without names that begin with a dot; nothing for no folder.

    Raises
    ------
    UserError
        If the folder cannot be read.
    """
    if not folder.is_dir():
        return {}
    with _entries(folder) as entries:
        held = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    return {name.casefold(): folder / name for name in held}


def names_in(folder: Path) -> set[str]:
    """The names of what a folder holds.

    Raises
    ------
    UserError
        If the folder cannot be read.
    """
    with _entries(folder) as entries:
        return {entry.name for entry in entries}


def nested(folder: Path, names: Collection[str]) -> list[Path]:
    """The folders of these names in a folder, and those of the same names in them: ``Labels`` and ``Labels/Labels``.

    Parameters
    ----------
    folder : Path
    names : collection of str
        In small letters.

    Returns
    -------
    list of Path
        The outer ones first.
    """
    # By texts alone: a folder of audio has many thousands of files.
    with _entries(folder) as entries:
        outer = sorted(folder / entry.name for entry in entries if entry.name.casefold() in names and entry.is_dir())
    return outer + [inner for child in outer for inner in nested(child, names)]


@contextmanager
def _entries(folder: str | Path) -> Iterator[Iterator[os.DirEntry]]:
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as problem:
        raise UserError(f"{folder}: cannot be read ({problem.strerror}); change its permissions") from None


def audio_name(name: str) -> str:
    """A file name as a corpus writes it, with the ending ``.wav`` where it has none of :data:`AUDIO`."""
    return name if not name or PurePosixPath(name).suffix.casefold() in AUDIO | FILMS else f"{name}.wav"


def stem_of(path: str) -> str:
    """The name of a file without its folders and its ending."""
    return os.path.splitext(path.rpartition("/")[2])[0]  # noqa: PTH122 - texts are many times faster here


class AudioTree:
    """The audio files below a folder, by their stems; one walk finds them all.

    Links are followed, names that begin with a dot are left out.

    Parameters
    ----------
    root : Path
    endings : collection of str
        Of the files, in small letters.
    without : collection of str
        Names of folders, in small letters, that are not looked into.

    Raises
    ------
    UserError
        If a folder cannot be read.
    """

    def __init__(self, root: Path, *, endings: Collection[str] = AUDIO, without: Collection[str] = ()) -> None:
        self.root = root
        self._endings, self._without = frozenset(endings), frozenset(without)
        # One text for the many stems that one file has; a tuple for the few of several.
        self._by_stem: dict[str, str | tuple[str, ...]] = {}
        self._walk(str(root), "", set())

    def _walk(self, folder: str, within: str, seen: set[tuple[int, int]]) -> None:
        about = os.stat(folder)  # noqa: PTH116 - texts are many times faster here
        if (about.st_dev, about.st_ino) in seen:  # a link that leads back
            return
        seen.add((about.st_dev, about.st_ino))
        folders = []
        with _entries(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                stem, ending = os.path.splitext(entry.name)  # noqa: PTH122 - as above
                if ending.casefold() in self._endings and not entry.is_dir():
                    self._add(stem, within + entry.name)
                elif entry.is_dir() and entry.name.casefold() not in self._without:
                    folders.append(entry.name)
        for name in folders:
            self._walk(os.path.join(folder, name), f"{within}{name}/", seen)  # noqa: PTH118 - as above

    def _add(self, stem: str, path: str) -> None:
        held = self._by_stem.get(stem)
        if held is None:
            self._by_stem[stem] = path
        else:
            self._by_stem[stem] = (*((held,) if isinstance(held, str) else held), path)

    def __len__(self) -> int:
        return sum(1 if isinstance(held, str) else len(held) for held in self._by_stem.values())

    def of_stem(self, stem: str) -> tuple[str, ...]:
        """Paths of the files of this stem, relative to the root, sorted."""
        held = self._by_stem.get(stem, ())
        return (held,) if isinstance(held, str) else tuple(sorted(held))

    def find(self, expected: str) -> str | None:
        """Where a file lies: at the path that is expected, or wherever the only file of its stem is.

        Parameters
        ----------
        expected : str
            Relative to the root.

        Returns
        -------
        str or None
            Relative to the root; None where there is no such file.

        Raises
        ------
        UserError
            If it is not at its path, and several files could be meant.
        """
        name = expected.rpartition("/")[2]
        held = self._by_stem.get(stem_of(name))
        if held is None or isinstance(held, str):
            return held
        if expected in held:
            return expected
        named = [path for path in held if path.rpartition("/")[2] == name] or list(held)
        if len(named) == 1:
            return named[0]
        raise UserError(
            f"{self.root}: {name} is not at {expected}, and could be {' or '.join(sorted(named))}; remove the one that "
            "is not meant, or give a folder that holds one of them"
        )

    def without(self, used: Iterable[str]) -> list[str]:
        """Paths of the files that are not among `used`, sorted: those that no label tells of."""
        used = set(used)
        every = (path for held in self._by_stem.values() for path in ((held,) if isinstance(held, str) else held))
        return sorted(path for path in every if path not in used)


def locate(tree: AudioTree, expected: Iterable[str], notes: list[str], *, left_out: Iterable[str] = ()) -> list[str]:
    """Where the audio of each row lies, and what is said of rows without audio and of audio without a row.

    Parameters
    ----------
    tree : AudioTree
    expected : iterable of str
        Path of each row's file as the corpus has it, relative to the root.
    notes : list of str
        Added to.
    left_out : iterable of str
        The same of rows that were left out, of which it was told already.

    Returns
    -------
    list of str
        As :meth:`AudioTree.find` tells it; where there is no file, the path that was expected.

    Raises
    ------
    UserError
        If several files could be meant.
    """
    expected = list(expected)
    places = [tree.find(path) for path in expected]
    absent = [path for path, place in zip(expected, places, strict=True) if place is None]
    if absent:
        notes.append(
            f"{len(absent):,} of {len(expected):,} rows have no audio file below {tree.root}: {first(absent, 2)}"
        )
    moved = [(path, place) for path, place in zip(expected, places, strict=True) if place is not None and place != path]
    if moved:
        (path, place), *_ = moved
        notes.append(
            f"{len(moved):,} audio files lie elsewhere than usual, and were found by their stem: {place} for {path}"
        )
    listed = [*places, *(tree.find(path) for path in left_out)]
    unlisted = tree.without(place for place in listed if place is not None)
    if unlisted:
        notes.append(f"{len(unlisted):,} audio files are in no table of labels, and are left out: {first(unlisted, 2)}")
    return [path if place is None else place for path, place in zip(expected, places, strict=True)]
