"""emoprobe: which layers of a speech self-supervised model carry emotion.

The stages, in the order of the data flow: :mod:`emoprobe.extract` (corpus to cache of hidden states),
:mod:`emoprobe.probe` (cache to scores), :mod:`emoprobe.analysis` (scores to figures). The names below are loaded
when they are first used, so that importing the package costs nothing.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=["analysis", "demo", "distilled", "extract", "probe"],
    submod_attrs={
        "analysis": ["plot_heatmap", "plot_layers", "plot_teacher_student", "plot_weights", "relevance_centroids"],
        "distilled": ["predict"],
        "errors": ["UserError"],
        "extract": ["HiddenStateCache", "extract"],
        "probe": ["fit_layers", "load_results"],
        "version": ["__version__"],
    },
)
