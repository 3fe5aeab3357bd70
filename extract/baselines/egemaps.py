"""The extended Geneva minimalistic acoustic parameter set (Eyben et al. 2016), by opensmile."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from emoprobe.errors import UserError

from ..limits import SAMPLE_RATE
from .base import Baseline, Features, Resources

if TYPE_CHECKING:
    import numpy as np

    from ..audio import AudioHeader, AudioProblem
    from ..cache import HiddenStateCache

#: Robust standard deviations from the median beyond which a feature is brought back. Its coefficients of variation
#: divide by means that can be next to nothing, and one utterance of such a value decides over a whole fit: left alone,
#: a baseline that every layer should have to beat would be a poor one.
LIMIT = 5.0


def compute(cache: HiddenStateCache, resources: Resources) -> Features:
    """The 88 functionals of every utterance, each where its audio is as it was when the cache was made.

    Raises
    ------
    UserError
        If opensmile is not installed.
    """
    import numpy as np

    from ..audio import AudioProblem, Kept, read_audio, refuse_vanished
    from ..corpora.places import places
    from ..scan import read_headers
    from ..versions import versions

    try:
        import opensmile
    except (ImportError, OSError) as error:  # OSError: its compiled library does not load on this system
        raise UserError(f"eGeMAPS needs opensmile ({error}): pip install 'emoprobe[egemaps]'") from None
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
    paths = [resources.root / path for path in cache.utterances["path"]]
    parts = places(cache.utterances)
    samples, kept = cache.samples, Kept()
    columns = tuple(smile.feature_names)

    def one(row: int, header: AudioHeader | AudioProblem) -> tuple[np.ndarray, str]:
        nothing = np.full(len(columns), np.nan, np.float32)
        try:
            if isinstance(header, AudioProblem):
                raise header
            waveform = read_audio(paths[row], header, kept)
        except AudioProblem as problem:
            if samples[row]:  # it was there when the cache was made
                refuse_vanished(paths[row].parent)
            return nothing, f"{paths[row]}: {problem}"
        if samples[row] and len(waveform) != samples[row]:
            return nothing, f"{paths[row]}: of another length than when the cache was made"
        features = smile(waveform, SAMPLE_RATE).reshape(-1)
        if not np.isfinite(features).all():
            return nothing, f"{paths[row]}: too short for eGeMAPS ({len(waveform) / SAMPLE_RATE:.3f} s)"
        return features, ""

    def of_rows(rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        with warnings.catch_warnings(), ThreadPoolExecutor(resources.workers) as threads:
            warnings.simplefilter("ignore", UserWarning)  # of a signal too short, which `one` tells itself
            headers = read_headers([str(paths[row]) for row in rows], [parts[row] for row in rows])
            features, reasons = zip(*threads.map(one, rows, headers), strict=True)
        return np.stack(features), list(reasons)

    settings = {
        "feature_set": "eGeMAPSv02",
        "level": "functionals",
        "sample_rate": SAMPLE_RATE,
        "opensmile": opensmile.__version__,
    }
    return Features(columns, settings, versions(), of_rows)


def limited(features: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Bring each feature to within `LIMIT` robust standard deviations of its median.

    Parameters
    ----------
    features : ndarray, shape (utterances, width)
    trained : ndarray of int
        Rows that median and deviation are taken from.
    """
    import numpy as np

    there = features[trained]
    there = there[~np.isnan(there).any(1)]
    if not len(there):
        return features
    low, median, high = np.quantile(there, [0.25, 0.5, 0.75], axis=0)
    reach = LIMIT * (high - low) / 1.349  # the quartiles of a normal distribution are 1.349 sigma apart
    reach = np.where(reach > 0, reach, np.inf)  # a feature that is mostly one value has no scale
    return np.clip(features, median - reach, median + reach)


EGEMAPS = Baseline(
    "egemaps",
    "eGeMAPS",
    "the 88 eGeMAPSv02 functionals",
    acoustic=True,
    compute=compute,
    clean=limited,
    cleaning={"limit": LIMIT},
    cites=("eyben2016geneva",),
)
