"""What a layer has to beat, besides the mean of the labels: what is known of an utterance without the model.

In the order of reading: `base` (what a baseline is), a file a kind, `registry` (all of them), `adding` (those that are
computed once for a corpus and kept beside a cache). Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
