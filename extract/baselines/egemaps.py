"""The extended Geneva minimalistic acoustic parameter set (Eyben et al. 2016), by opensmile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoprobe.errors import UserError

from ..limits import SAMPLE_RATE
from .base import Baseline, Features, Resources

if TYPE_CHECKING:
    import numpy as np

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

    from ..versions import versions
    from .hearing import of_waveforms

    try:
        import opensmile
    except (ImportError, OSError) as error:  # OSError: its compiled library does not load on this system
        raise UserError(f"eGeMAPS needs opensmile ({error}): pip install 'emoprobe[egemaps]'") from None
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )
    columns = tuple(smile.feature_names)

    def functionals(waveform: np.ndarray) -> np.ndarray | str:
        features = smile(waveform, SAMPLE_RATE).reshape(-1)
        if np.isfinite(features).all():
            return features
        return f"too short for eGeMAPS ({len(waveform) / SAMPLE_RATE:.3f} s)"

    of_rows = of_waveforms(cache, resources, len(columns), functionals)
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
