"""Files put together at random from the parts of real ones: each is decoded or refused, and none is dear."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inference.errors import RequestError
from model.inference.formats import PNG_SIGNATURE
from model.inference.photograph import MEGAPIXEL, Limits, decode, read_size
from model.inference.structure import jpeg_segments, picture, png_chunks
from tests.photographs import cmyk_jpeg, exif_with_misfit_tag, jpeg, noise, png, with_orientation

LIMITS = Limits(max_pixels=MEGAPIXEL)  # a size at random must not cost the test gigabytes
MOST_S = 30.0  # a hundred scans of a megapixel take half a second
SOAK_S = 3600.0

PICTURE = noise(24, 32)
JPEGS = [
    jpeg(PICTURE),
    jpeg(PICTURE, progressive=True),
    jpeg(PICTURE, restart_marker_blocks=1, icc_profile=bytes(200), comment=b"a comment"),
    cmyk_jpeg(PICTURE, progressive=True),
    with_orientation(PICTURE, 6),
]
PNGS = [
    png(PICTURE),
    png(PICTURE[..., 0] > 127),
    png(PICTURE, exif=exif_with_misfit_tag(6)),
    with_orientation(PICTURE, 6, "PNG"),
]
FILES = [[data[part.start : part.end] for part in jpeg_segments(data)] for data in JPEGS]
FILES += [[PNG_SIGNATURE, *(data[part.start : part.end] for part in png_chunks(data))] for data in PNGS]
PARTS = sorted({part for file in FILES for part in file})
FILLS = st.one_of(st.binary(max_size=8), st.integers(0, 200).map(lambda n: b"\xff" * n))


@st.composite
def damaged_parts(draw: st.DrawFn) -> bytes:
    """One part, whole or with some of its bytes changed or cut off, once or many times."""
    part = bytearray(draw(st.sampled_from(PARTS)))
    for _ in range(draw(st.integers(0, 3))):
        part[draw(st.integers(0, len(part) - 1))] = draw(st.integers(0, 255))
    kept = draw(st.one_of(st.just(len(part)), st.integers(1, len(part))))
    return bytes(part[:kept]) * draw(st.sampled_from([1, 1, 1, 2, 90, 120, 70_000 // kept + 1]))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A whole file into which others' parts came, or from which some were taken."""
    made = list(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(1, len(made)))
        made[at : at + draw(st.integers(0, 1))] = [draw(st.one_of(damaged_parts(), FILLS))]
    return b"".join(made)


def decode_or_refuse(data: bytes) -> None:
    started = time.process_time()
    try:
        size_hw, image_hwc_u8 = read_size(data, LIMITS), decode(data, LIMITS)
    except RequestError as refusal:
        is_clean = 400 <= refusal.code.status < 500
    else:
        needed, _ = picture(data)
        is_clean = image_hwc_u8.shape == (*size_hw, 3) and picture(needed) == (needed, 1)
    assert is_clean
    assert time.process_time() - started < MOST_S


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(files())
@settings(max_examples=1500)
def test_files_of_parts_at_random_are_decoded_or_refused(data: bytes) -> None:
    decode_or_refuse(data)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_of_parts_at_random_are_decoded_or_refused_for_an_hour() -> None:
    deadline = time.monotonic() + SOAK_S
    attack: Callable[[], None] = settings(max_examples=5000, derandomize=False, database=None)(given(files())(decode_or_refuse))
    while time.monotonic() < deadline:
        attack()
