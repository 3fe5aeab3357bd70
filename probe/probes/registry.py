"""The probes there are. A new one is a file beside this, and a line here."""

from __future__ import annotations

from emoprobe.extract.baselines.registry import as_in_a_cache

from .base import Probe
from .baseline import FeatureBaseline, Mean
from .linear import Logistic, Ridge
from .mlp import MLP
from .weighted import Weighted

#: What can be asked for, by name.
PROBES: dict[str, Probe] = {probe.name: probe for probe in (Ridge(), Weighted(), MLP(), Logistic())}

#: What "all" stands for, in the order in which they are fitted: the quickest first.
ALL = ("ridge", "mlp", "weighted")

#: What is fitted beside them whatever is asked for, as far as a cache holds it.
BASELINES: tuple[Probe, ...] = (Mean(), *map(FeatureBaseline, as_in_a_cache()))
