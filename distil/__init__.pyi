from . import checkpoint as checkpoint
from . import distiller as distiller
from . import store as store
from . import training as training
from .distiller import DistillSettings as DistillSettings
from .distiller import distill as distill
from .store import open_store as open_store
from .store import write_store as write_store
