"""From results to figures: each number drawn is read from the tables, none is computed anew.

Beside the probes stand two looks at the cache itself: how alike layers are (`similarity`), and second opinions on which
of them matter (`relevance`).
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "centroid": ["relevance_centroids"],
        "comparison": ["compare_systems", "plot_comparison"],
        "fairness": ["fairness_table", "plot_fairness"],
        "figures": ["draw_figures"],
        "plots": ["plot_heatmap", "plot_layers", "plot_teacher_student", "plot_weights"],
        "relevance": ["RelevanceSettings", "agreement", "load_relevance", "relevance_opinions"],
        "relevance_plots": ["draw_relevance", "plot_relevance"],
        "report": ["write_report"],
        "similarity": ["linear_cka", "load_similarity", "pwcca", "similarity_table"],
        "similarity_plots": ["draw_similarity", "plot_feature_similarity", "plot_similarity"],
        "style": ["publication_style"],
        "tables": ["read_tables"],
    },
)
