"""The figures, one file each, on one sheet: `style`, `canvas`, `captions`; `drawing` makes all of them."""
