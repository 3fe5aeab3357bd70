"""Long files as windows that overlap: what a curve over time is predicted from."""

from __future__ import annotations

from collections.abc import Sequence

from emoprobe.extract.audio import AudioProblem
from emoprobe.extract.corpora.places import Place
from emoprobe.extract.scan import read_headers

from .window_settings import WindowSettings

#: Decimals of a time in seconds.
_DECIMALS = 6


def spans(seconds: float, settings: WindowSettings) -> list[tuple[float, float]]:
    """Begin and end of each window in seconds, the last at the end of the file.

    Parameters
    ----------
    seconds : float
        Length of the file; one that is no longer than a window is one.
    settings : WindowSettings
        With a hop.

    Returns
    -------
    list of tuple

    Examples
    --------
    >>> spans(7.2, WindowSettings(hop=2.0, window=4.0))
    [(0.0, 4.0), (2.0, 6.0), (3.2, 7.2)]
    """
    if settings.hop is None:
        raise ValueError("there is no hop")
    last = seconds - settings.window
    if last <= 0:
        return [(0.0, seconds)]
    count = int(last / settings.hop) + 1
    begins = [round(k * settings.hop, _DECIMALS) for k in range(count)]
    begins = [begin for begin in begins if begin < last - 10**-_DECIMALS]
    return [(begin, round(begin + settings.window, _DECIMALS)) for begin in begins] + [
        (round(last, _DECIMALS), seconds)
    ]


def windows_of(paths: Sequence[str], settings: WindowSettings) -> tuple[list[str], list[Place]]:
    """Every window of every file, and which part of it that is.

    Parameters
    ----------
    paths : sequence of str
        Audio files.
    settings : WindowSettings

    Returns
    -------
    paths : list of str
        The file of each window.
    parts : list of tuple
        Its begin and end in seconds, of the mean of all channels. Of a file whose header cannot be read there is one,
        the whole, so that its reason is told where all are.
    """
    files: list[str] = []
    parts: list[Place] = []
    for path, header in zip(paths, read_headers(list(paths), [()] * len(paths)), strict=True):
        if isinstance(header, AudioProblem):
            files, parts = [*files, path], [*parts, ()]
            continue
        of_file = spans(header.seconds, settings)
        files += [path] * len(of_file)
        parts += [(begin, end, None) for begin, end in of_file]
    return files, parts
