"""Corpora of speech as one kind of table: a reader is one small file and one entry point.

A reader is a function ``read(root: Path, *, keep_words=()) -> Corpus`` registered in the entry-point group
``emoprobe.corpora`` under the name that ``--corpus NAME:ROOT`` gives. What every reader takes, gives and refuses:

- `root` is where the corpus was unpacked to; each reader tells which folder, or file, that is.
- `keep_words` are columns in which a word such as ``None`` is meant (:class:`.cells.MissingWords`); without the
  keyword a reader is refused together with ``--keep-words``. A reader of any table takes `columns` too
  (:mod:`.naming`).
- It returns a :class:`.table.Corpus`, whose notes tell what is odd, and what was left out, with its count.
  :meth:`.table.Corpus.from_table` does the checks that every reader owes.
- A :class:`~emoprobe.errors.UserError` names the file, the place in it, and a remedy.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
