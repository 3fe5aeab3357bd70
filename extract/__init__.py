"""From a corpus of speech to a cache of hidden states."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=["corpora"],
    submod_attrs={
        "encoders.speech": ["Backbone", "load_backbone"],
        "cache": ["HiddenStateCache"],
        "corpora": ["Corpus", "read_corpus"],
        "extraction": ["ExtractionSettings", "extract"],
        "encoders.text": ["TextEncoder", "load_text_encoder"],
    },
)
