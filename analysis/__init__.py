"""From results to figures: each number drawn is read from the tables, none is computed anew."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "centroid": ["relevance_centroids"],
        "figures": ["draw_figures"],
        "plots": ["plot_heatmap", "plot_layers", "plot_teacher_student", "plot_weights"],
        "style": ["publication_style"],
        "tables": ["read_tables"],
    },
)
