"""Small things to test with, for whoever extends the package; nothing in the package itself uses them.

Corpora with sound (`corpora`), caches in which each dimension is planted in one layer (`caches`), and checkpoints of
each family in the form that the hub has them, random but complete (`checkpoints`; `recognisers` for those that
transcribe). Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
