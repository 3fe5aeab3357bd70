"""Count what an MPEG audio file (MP3) holds, frame by frame, and read what its header says.

A decoder that is told a length stops there, and one that is told none guesses it from the first frame: streams joined
end to end, as web radio and HLS leave them, would lose what follows the first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

# kbit/s by index: version 1, layers I to III; versions 2 and 2.5, layer I, layers II and III.
_KBITS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True)
class Frame:
    """One frame, by its four header bytes.

    Attributes
    ----------
    length : int
        Bytes, header included.
    samples : int
        Of each channel.
    kbits : int
        Bit rate in kbit/s.
    hertz, channels, layer : int
    side : int
        Bytes of side information, behind which a Xing or Info header lies.
    """

    length: int
    samples: int
    kbits: int
    hertz: int
    channels: int
    layer: int
    side: int

    def continues(self, other: Frame) -> bool:
        """Whether both may be of one stream."""
        return (self.hertz, self.layer) == (other.hertz, other.layer)


def read_frame(head: bytes) -> Frame | None:
    """The frame that four bytes begin; None if they begin none (or one of free format, which is not told apart)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    first, mono = version == 3, head[3] >> 6 == 3
    kbits, hertz = _KBITS[first, layer][bitrate], _RATES[version][rate]
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
    length = 4 * (12000 * kbits // hertz + padding) if layer == 1 else samples * 125 * kbits // hertz + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(length, samples, kbits, hertz, 1 if mono else 2, layer, side)


@dataclass
class MpegAudio:
    """What the frames of a file add up to.

    Attributes
    ----------
    samples : int
        Of each channel, all streams together, without the frame of a header.
    declared : int or None
        The same as the Xing, Info or VBRI header of the first stream tells it; None without one.
    begin : int
        Byte of the first frame, behind tags.
    formats : set of (int, int)
        Rates in Hz and channels.
    kbits : set of int
        Bit rates in kbit/s.
    longest_frame : int
        Bytes.
    skipped : list of (int, int)
        Sample before which bytes lie that are no frame and no tag, and how many they are; those behind the last frame
        are not among them.
    """

    samples: int = 0
    declared: int | None = None
    begin: int = 0
    formats: set[tuple[int, int]] = field(default_factory=set)
    kbits: set[int] = field(default_factory=set)
    longest_frame: int = 0
    skipped: list[tuple[int, int]] = field(default_factory=list)


def measure_mpeg(data: bytes) -> MpegAudio | None:
    """Walk through all frames of a file; None if it holds none.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    following = _find(data, _behind_tags(data, 0))
    if following is None:
        return None
    position, header = following
    audio = MpegAudio(begin=position, declared=_declared(data, position, header))
    if audio.declared is not None:
        position += header.length
    while True:
        while (frame := read_frame(data[position : position + 4])) is not None and position + frame.length <= len(data):
            audio.samples += frame.samples
            audio.formats.add((frame.hertz, frame.channels))
            audio.kbits.add(frame.kbits)
            audio.longest_frame = max(audio.longest_frame, frame.length)
            position += frame.length
        after = _behind_tags(data, position)
        following = _find(data, after)
        if following is None:
            return audio
        position, _ = following
        if data[after:position].strip(b"\0"):
            audio.skipped.append((audio.samples, position - after))


def _declared(data: bytes, position: int, frame: Frame) -> int | None:
    """Samples that the first frame tells of, if it is a header."""
    tag = position + 4 + frame.side
    if data[tag : tag + 4] in (b"Xing", b"Info"):
        flags, count = struct.unpack(">II", data[tag + 4 : tag + 12].ljust(8, b"\0"))
        return count * frame.samples if flags & 1 else None
    if data[position + 36 : position + 40] == b"VBRI":
        return struct.unpack(">I", data[position + 50 : position + 54].ljust(4, b"\0"))[0] * frame.samples
    return None


def _behind_tags(data: bytes, position: int) -> int:
    """The first byte that belongs to no ID3 or APE tag."""
    while True:
        head = data[position : position + 32]
        if head[:3] == b"ID3" and len(head) >= 10:
            length = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
            position += 10 + length + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) >= 16:
            position += 32 + struct.unpack("<I", head[12:16])[0]
        elif head[:3] == b"TAG":
            position += 128
        else:
            return position


def _find(data: bytes, position: int) -> tuple[int, Frame] | None:
    """Where the next two frames that follow each other begin, or a last one that ends with the file; and the first."""
    while 0 <= (position := data.find(b"\xff", position)) < len(data):
        frame = read_frame(data[position : position + 4])
        if frame is not None:
            end = position + frame.length
            following = read_frame(data[end : end + 4])
            if end == len(data) or (following is not None and frame.continues(following)):
                return position, frame
        position += 1
    return None
