"""End to end: a distilled speech encoder with a text encoder beside it, trained for the dimensions of emotion.

In the order of the data flow: `settings`, `model`, `costs` (what a model costs before it is trained), `data`,
`trainer`, `training` (seeds, folds, results), `saved` (a model as a folder), `export` (to ONNX), `exported` (from it),
`prediction`. Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
