"""Probes: from a cache of hidden states to a tidy table of scores.

In the order of the data flow: `splits`, `metrics`, the probes (`ridge`, `logistic`, `mlp`, `weighted`, `baselines`),
`permutation`, `mdl`, `bootstrap`, `scoring`, `results`, `fit`, which runs them on a cache, and `significance`, which
compares what they found. Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
