"""What is slow to get from a file again, kept while it is likely to be asked for: in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

_Value = TypeVar("_Value")

#: Bytes; four hours of speech at 16 kHz.
ROOM = 1 << 30


class Kept:
    """Values by key, each made once however many threads ask for it; the one that was not used for longest goes first.

    Parameters
    ----------
    room : int
        Bytes to keep. What is larger alone is kept until the next value comes.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._lock = Lock()
        self._making: dict[Hashable, Lock] = {}
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __reduce__(self) -> tuple:
        return Kept, (self.room,)  # another process keeps its own

    def get(self, key: Hashable, make: Callable[[], _Value], nbytes: Callable[[_Value], int]) -> _Value:
        """The value of `key`, from `make` where it is not kept; `nbytes` tells its size."""
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key][0]
            value = make()
            with self._lock:
                self._values[key] = value, nbytes(value)
                held = sum(size for _, size in self._values.values())
                while held > self.room and len(self._values) > 1:
                    gone, (_, size) = self._values.popitem(last=False)
                    self._making.pop(gone, None)
                    held -= size
        return value
