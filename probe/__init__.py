"""Probes: from a cache of hidden states to a tidy table of scores.

In the order of the data flow: `splits`, `metrics`, the probes (`ridge`, `logistic`, `mlp`, `weighted`, `baselines`),
`permutation`, `mdl`, `bootstrap`, `scoring`, `results`, `fit`, which runs them on a cache, and `significance`, which
compares what they found. Names are loaded when they are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "baselines",
        "bootstrap",
        "fit",
        "logistic",
        "mdl",
        "metrics",
        "mlp",
        "permutation",
        "results",
        "ridge",
        "scoring",
        "significance",
        "splits",
        "training",
        "weighted",
    ],
    submod_attrs={
        "fit": ["FitSettings", "fit_layers"],
        "metrics": ["ccc", "macro_f1", "pearson", "rmse", "uar"],
        "results": ["Results", "load_results"],
        "ridge": ["RidgeProbe"],
        "significance": [
            "dimensions_compared",
            "features_compared",
            "layers_compared",
            "models_compared",
            "paired_differences",
            "probes_compared",
            "score_intervals",
        ],
    },
)
