"""One file of settings, and every stage in order: the paper's whole programme on one corpus.

In the order of the data flow: `settings` (what is studied), `tables` (options of the single commands), `reading` (a
file of settings to a programme, each mistake with its line), `template` (a programme to such a file), `presets`,
`facts` (what of the corpus decides on the steps), `steps` (the commands), `estimate` (what they will take), `running`,
`outcome` (the result in one sentence). Each step is a command that can be run alone. Names are loaded when they are
first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
