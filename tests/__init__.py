"""Tests in folders named as the rooms; `package/` is of what is the package's own, `whole/` of what concerns all rooms.

No folder here is called `emoprobe`: a script that runs from this folder would import it in place of the package.
"""
