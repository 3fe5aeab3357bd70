from . import recognisers as recognisers
from . import settings as settings
from . import transcription as transcription
from .recognisers import load_recogniser as load_recogniser
from .settings import TranscriptionSettings as TranscriptionSettings
from .transcription import transcribe as transcribe
