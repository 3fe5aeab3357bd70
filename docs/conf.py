"""The site: `make docs` builds it from these pages, the docstrings and the notebooks, without a network."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

project = "emoprobe"
author = "The emoprobe authors"
copyright = author  # the name that Sphinx knows it by
version = release = version_of("emoprobe").partition("+")[0].partition(".dev")[0]

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode",
              "sphinx_copybutton"]  # fmt: skip
exclude_patterns = ["_build", "jupyter_execute", "_templates"]
templates_path = ["_templates"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["fitting.css"]
html_title = f"emoprobe {release}"

# Pages are Markdown; each heading has an anchor, as on a code host.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "dollarmath", "colon_fence"]
# `make docs` has executed the notebooks before; what it has not executed is shown without outputs.
nb_execution_mode = "off"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have them, with shapes and units
numpydoc_show_class_members = False
copybutton_prompt_text = "$ "

_ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")
#: Files of the repository that are pages here.
_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def _link_here(match: re.Match) -> str:
    """A link to a page of ours stays one; to another file of the repository it becomes that file's name."""
    text, path, anchor = match[1], match[2].removeprefix("../"), match[3] or ""
    if path in _PAGES:
        return f"[{text}]({_PAGES[path]}{anchor})"
    return text if path.rstrip("/") in text.replace("`", "") else f"{text} (`{path}`)"


def _of_repository(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _LINK.sub(_link_here, source[0])


def _included(_app: Sphinx, _path: Path, _parent: str, source: list[str]) -> None:
    """What stands in the repository's root links from there."""
    text = re.sub(r"\]\(docs/([\w./]+\.md)", r"](\1", source[0])
    text = re.sub(r"\]\((?!https?:|#|[\w]+\.md)([\w./]+)", r"](../\1", text)
    for path_there, page in _PAGES.items():
        text = text.replace(f"]({path_there}", f"]({page}")
    source[0] = _LINK.sub(_link_here, text)


def setup(app: Sphinx) -> None:
    """Have the pages read as they are meant for a repository too."""
    app.connect("source-read", _of_repository)
    app.connect("include-read", _included)
