"""A student from any teacher by the DistilHuBERT objective.

In the order of the data flow: `store` (packed speech), `student` and `distiller` (a student made of its teacher),
`targets`, `matching` and `following` (a given student and any teacher), `training` (with checkpoints), `checkpoint` and
`card` (what transformers loads). Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
