"""Speech whose every phoneme and word is known: eSpeak NG, called through ctypes.

The library and its data come in the wheel ``espeakng-loader``.  eSpeak NG keeps state between utterances (the
phase of its wave generator, its flutter and its noise), so the same sentence spoken twice differs.  The library is
therefore loaded afresh for every utterance (8 ms): its statics start from zero, and what is spoken depends on the
arguments alone.  It is not thread-safe: use processes.
"""

import ctypes
import functools
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emoprobe.errors import UserError
from emoprobe.extract.limits import SAMPLE_RATE

# Variants of eSpeak NG that sound like somebody speaking: whispering, clipping and robot voices are left out.
# Families that differ in a detail (steph, steph2) stand in one group, so that nobody in a test split was trained on.
TRAIN_VOICES = {
    "female": ("Alicia", "Andrea", "anika", "aunty", "belinda", "f1", "f2", "f3", "f5", "grandma", "steph", "steph2"),
    "male": (
        "Alex", "Denis", "Diogo", "Gene2", "Henrique", "Hugo", "Marco", "Michael", "Mike", "Nguyen", "RicishayMax",
        "adam", "benjamin", "boris", "fast", "gustave", "iven3", "iven4", "john", "klatt3", "klatt6", "m1", "m2", "m4",
        "m5", "m6", "m7", "m8", "marcelo", "michel", "miguel", "mike2", "rob", "robert", "travis", "victor",
    ),
}  # fmt: skip
HELD_OUT_VOICES = {
    "development": {"female": ("Annie",), "male": ("quincy", "pablo", "kaukovalta")},
    "test": {"female": ("f4", "linda", "shelby"), "male": ("m3", "Andy", "Lee", "Reed", "Mario", "max", "david")},
}

_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE, _WORDGAP = 1, 2, 3, 4, 7
_CHARS_UTF8, _POS_CHARACTER = 1, 1
_FINENESS = 50  # Hz, of the rates at which it may be played: finer ones take longer to resample
_EVENT_WORD, _EVENT_PHONEME = 1, 7


class _Identifier(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Manner:
    """How an utterance is spoken, in eSpeak NG's own units."""

    language: str = "en-us"
    variant: str = ""
    rate: int = 175
    """Words a minute, 80 to 450."""
    pitch: int = 50
    """0 to 99; 50 is the voice's own."""
    pitch_range: int = 50
    """0 (monotone) to 99."""
    volume: int = 50
    """0 to 200; above 50 several voices clip."""
    word_gap: int = 0
    """Extra pause between words, in units of 10 ms."""
    formants: float = 1.0
    """How many times as high as the variant's: it is spoken so much slower and then played so much faster, and what
    it speaks at its own pitch setting is so much higher."""

    @property
    def voice(self) -> str:
        """Name by which eSpeak NG knows language and variant."""
        return f"{self.language}+{self.variant}" if self.variant else self.language


@dataclass(frozen=True)
class Speech:
    """What was said and when.

    Attributes
    ----------
    samples : numpy.ndarray of int16, shape (samples,)
        At 16 kHz.
    phones, words : tuple of (start, end, name)
        In seconds, in order, without gaps between phones.
    """

    samples: np.ndarray
    phones: tuple[tuple[float, float, str], ...]
    words: tuple[tuple[float, float, str], ...]

    @property
    def seconds(self) -> float:
        """Length of the utterance."""
        return len(self.samples) / SAMPLE_RATE


def _close(library: ctypes.CDLL) -> None:
    import _ctypes

    close = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
    close(library._handle)  # noqa: SLF001 - ctypes has no other way to close a library


def speak(text: str, manner: Manner = Manner()) -> Speech:
    """Speak one text.

    Parameters
    ----------
    text : str
        Plain English.
    manner : Manner
        Voice, rate, pitch, range and volume.

    Raises
    ------
    UserError
        If the wheel ``espeakng-loader`` is missing, or the voice cannot be loaded.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError("the demo corpus needs espeakng-loader: pip install espeakng-loader") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        return _speak(library, str(espeakng_loader.get_data_path()), text, manner)
    finally:
        library.espeak_Terminate()
        _close(library)


def _speak(library: ctypes.CDLL, data: str, text: str, manner: Manner) -> Speech:
    chunks: list[np.ndarray] = []
    events: list[tuple[int, int, int, int, str]] = []

    def receive(samples: Any, count: int, event: Any) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while event[index].type:
            one = event[index]
            # The field is not terminated when a name fills all eight bytes.
            name = bytes(one.id.string).split(b"\0")[0].decode("utf-8", "replace") if one.type == _EVENT_PHONEME else ""
            events.append((one.type, one.sample, one.text_position, one.length, name))
            index += 1
        return 0

    callback = _Callback(receive)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS | _DONT_EXIT)
    if rate <= 0:
        raise UserError(f"eSpeak NG could not read its data in {data}: reinstall espeakng-loader")
    library.espeak_SetSynthCallback(callback)
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if library.espeak_SetVoiceByName(manner.voice.encode()) != 0:
        raise UserError(f"eSpeak NG has no voice {manner.voice!r}: choose one of emoprobe.demo.speech.voices()")
    for parameter, value in (
        (_RATE, round(manner.rate / manner.formants)),
        (_VOLUME, manner.volume),
        (_PITCH, manner.pitch),
        (_RANGE, manner.pitch_range),
        (_WORDGAP, manner.word_gap),
    ):
        library.espeak_SetParameter(parameter, int(value), 0)
    encoded = text.encode()
    synth = library.espeak_Synth
    synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    if synth(encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None) != 0 or not chunks:
        raise UserError(f"eSpeak NG could not speak {text!r}")
    wave = np.concatenate(chunks)
    if manner.formants != 1:
        rate = _FINENESS * round(rate * manner.formants / _FINENESS)
    seconds = len(wave) / rate

    def intervals(kind: int) -> list[tuple[float, float, tuple]]:
        # An event marks a beginning; it ends where the next of its kind begins.
        marks = [event for event in events if event[0] == kind]
        starts = [event[1] / rate for event in marks] + [seconds]
        return [(s, e, m) for s, e, m in zip(starts, starts[1:], marks, strict=False) if e > s]

    phones = tuple((s, e, m[4]) for s, e, m in intervals(_EVENT_PHONEME))
    # text_position counts characters from 1.
    words = tuple((s, e, text[m[2] - 1 : m[2] - 1 + m[3]].lower()) for s, e, m in intervals(_EVENT_WORD))
    return Speech(resample(wave, rate), phones, words)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """Bring int16 samples at `rate` to 16 kHz, int16 (polyphase, Kaiser window)."""
    from scipy.signal import resample_poly

    if rate == SAMPLE_RATE:
        return wave
    divisor = math.gcd(SAMPLE_RATE, rate)
    out = resample_poly(wave.astype(np.float64), SAMPLE_RATE // divisor, rate // divisor)
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)


@functools.cache
def loads(variant: str, language: str = "en-us") -> bool:
    """Whether this version of eSpeak NG has the variant and speaks with it."""
    import espeakng_loader

    # eSpeak NG takes an unknown variant for the plain voice without a word, so the file is looked for first.
    if variant and not (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file():
        return False
    try:
        return bool(np.abs(speak("one", Manner(language=language, variant=variant)).samples).max() > 300)
    except UserError:
        return False


# A step of the pitch setting changes the fundamental by so much (natural logarithm); measured on four voices.
PITCH_STEP = 0.0095


@functools.cache
def base_pitch(variant: str) -> float:
    """Fundamental frequency, in Hz, about which a variant speaks at pitch setting 50: the middle of its own range."""
    import espeakng_loader

    path = Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "pitch":
            return (float(words[1]) + float(words[2])) / 2
    return 100.0


def voices(pool: str) -> dict[str, tuple[str, ...]]:
    """Variants of a pool (``train``, ``development``, ``test``) that load, by gender."""
    table = TRAIN_VOICES if pool == "train" else HELD_OUT_VOICES[pool]
    return {gender: tuple(name for name in names if loads(name)) for gender, names in table.items()}
