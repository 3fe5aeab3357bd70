from . import adding as adding
from . import base as base
from . import egemaps as egemaps
from . import registry as registry
from . import words as words
from .adding import add_baselines as add_baselines
from .base import Baseline as Baseline
from .registry import BASELINES as BASELINES
