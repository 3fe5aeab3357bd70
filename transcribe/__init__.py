"""From speech to words.

Recognisers that give the same in any batch (`recognisers`), and a manifest with what they heard (`transcription`).
Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
