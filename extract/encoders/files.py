"""The files of a checkpoint, wherever they lie, and what a file of settings holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emoprobe.errors import UserError, reason
from emoprobe.jsontext import from_json

from .hub import Repository
from .weight_files import refuse_dangling


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this machine, with the few things that a :class:`.hub.Repository` has."""

    folder: Path
    commit: str | None = None

    def path(self, file: str) -> Path | None:
        """The file; None where there is none.

        Raises
        ------
        UserError
            If it is a link to what is gone.
        """
        there = self.folder / file
        refuse_dangling(there, self.lacking())
        return there if there.is_file() else None

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(file.name for file in self.folder.iterdir() if file.is_file())

    def keep(self) -> None:
        """A folder is what it is."""

    def lacking(self) -> str:
        """What to say, and do, about a file that is not there."""
        return "copy it from the original checkpoint, or download the model again"


#: Where the files of a checkpoint are: at hand, or fetched when they are asked for.
Files = Repository | LocalFolder


def read_settings(path: Path, source: str) -> dict:
    """Content of a JSON file of a checkpoint.

    Parameters
    ----------
    path : Path
    source : str
        The checkpoint, for messages.

    Raises
    ------
    UserError
        If it is damaged.
    """
    try:
        settings = from_json(path.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"{path} of {source} is damaged ({reason(error)}); download it again") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} of {source} is damaged (it holds no settings); download it again")
    return settings
