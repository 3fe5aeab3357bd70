"""Corpora of speech as one kind of table: a reader is one small file and one entry point.

A reader is a function ``read(root: Path, *, keep_words=()) -> Corpus`` registered in the entry-point group
``emoprobe.corpora`` under the name that ``--corpus NAME:ROOT`` gives; :meth:`Corpus.from_table` does the checks that
every reader owes. Without the keyword it is refused together with ``--keep-words``.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
