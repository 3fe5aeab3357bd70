"""emoprobe: which layers of a speech self-supervised model carry emotion.

The stages, in the order of the data flow: :mod:`emoprobe.extract` (corpus to cache of hidden states),
:mod:`emoprobe.probe` (cache to scores), :mod:`emoprobe.analysis` (scores to figures). What can be imported from here
stands in ``__init__.pyi``; it is loaded when it is first used, so that importing the package costs nothing.
"""

from pkgutil import extend_path

import lazy_loader as _lazy

# In the root of a clone, Python finds this folder before the installed package: the rooms are looked up there too.
__path__ = extend_path(__path__, __name__)

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
