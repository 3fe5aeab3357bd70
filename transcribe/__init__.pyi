from . import recognisers as recognisers
from . import transcription as transcription
