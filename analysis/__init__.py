"""From results to figures: each number drawn is read from the tables, none is computed anew.

Beside the probes stand two looks at the cache itself: how alike layers are (`similarity`), and second opinions on which
of them matter (`relevance`).
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
