"""From a file, a part of one, or a row of a shard to 16 kHz mono float32."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
