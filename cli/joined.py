"""Commands that join two stages: a stage itself reads only what the one before it left."""

from __future__ import annotations

import sys

from emoprobe.errors import UserError


def probe_fit(argv: list[str] | None = None) -> int:
    """Run `probe-fit`, then draw the figures of what it found; return the exit status."""
    from .fit import main

    def draw(results, figures):
        from emoprobe.analysis.figures import draw_figures

        return draw_figures(results, figures)

    return main(argv, draw=draw)


def probe_train(argv: list[str] | None = None) -> int:
    """Run `probe-train`, then draw the figures of all that its results hold; return the exit status."""
    from .train import main

    def draw(results, figures):
        from emoprobe.analysis.figures import draw_figures

        try:
            return draw_figures(results, figures)
        except UserError as nothing:  # one system alone has nothing to stand beside
            print(f"no figure yet: {nothing}", file=sys.stderr)
            return ()

    return main(argv, draw=draw)
