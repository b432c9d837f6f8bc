"""One picture out of an HEVC or AV1 stream, and how many pixels a decoder makes of it, read from its headers alone.

A stream of some kilobytes can hold thousands of pictures, and can say that it is larger than the file that it lies in says.
"""

import struct
from collections.abc import Iterator

MAX_UNITS = 2**16  # of a stream; a picture of a hundred megapixels has a few hundred

_HEVC_PARAMETERS = (32, 33, 34)  # VPS, SPS, PPS
_HEVC_SPS = 33
_AV1_SEQUENCE, _AV1_HEADER, _AV1_TILES, _AV1_FRAME = 1, 3, 4, 6


class _Bits:
    """Reads bits from the highest on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._n_left = int.from_bytes(data), 8 * len(data)

    def take(self, n: int) -> int:
        self._n_left -= n
        if self._n_left < 0:
            raise ValueError("a header of its stream is cut short")
        return self._value >> self._n_left & (1 << n) - 1

    def exponential(self) -> int:
        """ue(v) of ITU-T H.265, section 9.2."""
        n_zeros = 0
        while not self.take(1):
            n_zeros += 1
        return (1 << n_zeros) - 1 + self.take(n_zeros)


def first_of_hevc(setup: bytes, stream: bytes) -> tuple[bytes, bytes, int]:
    """The decoder's configuration (hvcC of ISO/IEC 14496-15, section 8.3.3) without messages, the first picture alone, and its
    pixels.

    Raises:
        ValueError, struct.error: it is torn.
    """
    arrays: dict[int, list[bytes]] = {kind: [] for kind in _HEVC_PARAMETERS}
    at = 23
    for _ in range(setup[22] if len(setup) > 22 else 0):
        kind, n_units = struct.unpack_from(">BH", setup, at)
        at += 3
        for _ in range(n_units):
            (length,) = struct.unpack_from(">H", setup, at)
            arrays.setdefault(kind & 63, []).append(setup[at + 2 : at + 2 + length])
            at += 2 + length
    if not arrays[_HEVC_SPS]:
        raise ValueError("it has no header of its stream")
    n_px = max(_hevc_pixels(unit) for unit in arrays[_HEVC_SPS])
    kept = bytes([len(_HEVC_PARAMETERS)])
    for kind in _HEVC_PARAMETERS:
        kept += struct.pack(">BH", 0x80 | kind, len(arrays[kind]))
        kept += b"".join(struct.pack(">H", len(unit)) + unit for unit in arrays[kind])
    return setup[:22] + kept, b"".join(_hevc_slices(stream, 1 + (setup[21] & 3))), n_px


def _hevc_slices(stream: bytes, n_length_bytes: int) -> Iterator[bytes]:
    """The parts of the first picture of the base layer, each behind its length."""
    start, has_begun = 0, False
    for _ in range(MAX_UNITS):
        at = start + n_length_bytes
        if at + 3 > len(stream):
            return
        end = at + int.from_bytes(stream[start:at])
        if end > len(stream):
            raise ValueError("its stream is cut short")
        kind, layer, is_first = stream[at] >> 1 & 63, (stream[at] & 1) << 5 | stream[at + 1] >> 3, stream[at + 2] >> 7
        if kind < 32 and layer == 0:
            if is_first and has_begun:
                return
            has_begun = True
            yield stream[start:end]
        start = end
    raise ValueError(f"more than {MAX_UNITS} parts in its stream")


def _hevc_pixels(unit: bytes) -> int:
    """By a sequence parameter set (ITU-T H.265, section 7.3.2.2)."""
    bits = _Bits(unit[2:500].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    n_layers = bits.take(3)
    bits.take(1 + 88 + 8)
    flags = [(bits.take(1), bits.take(1)) for _ in range(8 if n_layers else 0)]
    for has_profile, has_level in flags[:n_layers]:
        bits.take(88 * has_profile + 8 * has_level)
    bits.exponential()
    if bits.exponential() == 3:
        bits.take(1)
    return bits.exponential() * bits.exponential()


def first_of_av1(setup: bytes, stream: bytes) -> tuple[bytes, bytes, int]:
    """As `first_of_hevc`, of an av1C and what belongs to it (AV1 Bitstream & Decoding Process Specification, section 5).

    Raises:
        ValueError, struct.error: it is torn, or holds other than one picture.
    """
    kept, kinds, n_px = [], [], 0
    for kind, start, at, end in _av1_units(stream):
        if kind == _AV1_SEQUENCE and kind in kinds:
            if stream[start:end] not in kept:
                raise ValueError("two headers of its stream differ")
            continue
        if kind in (_AV1_SEQUENCE, _AV1_HEADER, _AV1_TILES, _AV1_FRAME):
            kept.append(stream[start:end])
            kinds.append(kind)
        if kind == _AV1_SEQUENCE:
            n_px = _av1_pixels(stream[at:end])
    n_pictures = kinds.count(_AV1_HEADER) + kinds.count(_AV1_FRAME)
    if n_pictures != 1 or kinds[0] != _AV1_SEQUENCE:
        raise ValueError(f"its stream holds {n_pictures} pictures, expected one")
    return setup[:4], b"".join(kept), n_px


def _av1_units(stream: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Kind of each unit, where it begins, its content begins and it ends (section 5.3)."""
    start = 0
    for _ in range(MAX_UNITS):
        if start >= len(stream):
            return
        header = stream[start]
        at = start + (2 if header & 4 else 1)
        n_bytes = len(stream) - at
        if header & 2:
            n_bytes = 0
            for shift in range(0, 56, 7):
                if at >= len(stream):
                    raise ValueError("its stream is cut short")
                n_bytes |= (stream[at] & 127) << shift
                at += 1
                if not stream[at - 1] & 128:
                    break
        if at + n_bytes > len(stream):
            raise ValueError("its stream is cut short")
        yield header >> 3 & 15, start, at, at + n_bytes
        start = at + n_bytes
    raise ValueError(f"more than {MAX_UNITS} parts in its stream")


def _av1_pixels(header: bytes) -> int:
    """By a sequence header (section 5.5)."""
    bits = _Bits(header[:200])
    bits.take(4)
    if bits.take(1):  # reduced, as a still picture's is
        bits.take(5)
    else:
        if bits.take(1):
            raise ValueError("its stream is a film's")
        has_delays = bits.take(1)
        for _ in range(1 + bits.take(5)):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if has_delays and bits.take(1):
                bits.take(4)
    n_width_bits, n_height_bits = 1 + bits.take(4), 1 + bits.take(4)
    return (1 + bits.take(n_width_bits)) * (1 + bits.take(n_height_bits))
