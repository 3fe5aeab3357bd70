"""The offline default: a corpus of known truth, small models, and how they were trained.

:mod:`.speech` and :mod:`.sentences` say something known, :mod:`.corpus` makes the demo corpus of it, :mod:`.shards`
the speech that :mod:`.pretrain` learns from, :mod:`.zoo` finds the packaged models and :mod:`.evaluate` measures them
against their controls.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
