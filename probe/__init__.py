"""Probes: from a cache of hidden states to a tidy table of scores.

In the order of the data flow: `splits`, `targets` (labels, and who is held out), `metrics`, what the probes compute
with (`ridge`, `logistic`, `mlp`, `weighted`, `baselines`, `permutation`, `mdl`), the kinds of probe (`probes`),
`bootstrap`, `scoring`, `results`, `settings`, `study` (a cache under settings), `protocol` (what a number depends on),
`fit`, which runs it all, and `significance`, which compares what was found. Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
