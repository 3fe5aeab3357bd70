"""The report: every number of a results folder that a reviewer asks for, on one page that opens from disk."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
