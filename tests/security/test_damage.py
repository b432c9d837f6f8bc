"""Torn and corrupt files of every format: each is decoded or refused with a sentence, and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import MEGAPIXEL, Limits, decode
from model.synthetic import draw_surface
from tests.photographs import (
    avif,
    bmp,
    cmyk_jpeg,
    exif_with_misfit_tag,
    heic,
    jpeg,
    noise,
    png,
    sixteen_bit_grey_png,
    tiff,
    webp,
    with_orientation,
)

VALID_FILES = {
    "jpeg": jpeg(noise(24, 32)),
    "progressive jpeg": jpeg(noise(24, 32), progressive=True),
    "cmyk jpeg": cmyk_jpeg(noise(24, 32)),
    "turned jpeg": with_orientation(noise(24, 32), 6),
    "jpeg with profile": jpeg(noise(24, 32), icc_profile=bytes(range(200)), comment=b"a comment", dpi=(72, 72)),
    "png": png(noise(24, 32)),
    "turned png": with_orientation(noise(24, 32), 6, "PNG", dpi=(72, 72)),
    "palette png": png(Image.fromarray(noise(24, 32)).convert("P"), transparency=3),
    "16 bit png": sixteen_bit_grey_png(noise(24, 32)),
    "heic": heic(noise(24, 32)),
    "avif": avif(noise(24, 32)),
    "webp": webp(noise(24, 32)),
    "tiff": tiff(noise(24, 32), compression="tiff_lzw"),
    "bmp": bmp(noise(24, 32)),
    "animated png": png(Image.fromarray(noise(24, 32)), save_all=True, append_images=[Image.fromarray(noise(24, 32, seed=1))]),
}
FUZZ_LIMITS = Limits(max_pixels=MEGAPIXEL)  # a flipped size must not cost the test gigabytes

Damage = list[tuple[float, int]]
"""Where in a stretch of bytes (0: its first, 1: its last), and the byte to put there."""
damages = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)


def damaged(data: bytes, damage: Damage, first: int = 2, last: int | None = None) -> bytes:
    """`data` with other bytes between `first` and `last`; what lies before `first` is kept."""
    torn = bytearray(data)
    last = len(data) - 1 if last is None else last
    for ratio, byte in damage:
        torn[first + round(ratio * (last - first))] = byte
    return bytes(torn)


def decode_or_refuse(data: bytes) -> NDArray[np.uint8] | None:
    """None for a clean refusal; anything that is neither that nor a photograph fails the test."""
    try:
        decoded = decode(data, FUZZ_LIMITS)
    except RequestError as error:
        if 400 <= error.code.status < 500:
            return None
        raise
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    return decoded


@pytest.mark.parametrize("save", [jpeg, png, cmyk_jpeg])
@pytest.mark.parametrize("kept_ratio", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_photograph_is_undecodable(save: Callable[..., bytes], kept_ratio: float) -> None:
    data = save(noise(64, 64))
    with pytest.raises(RequestError) as caught:
        decode(data[: int(len(data) * kept_ratio)])
    assert caught.value.code is ErrorCode.IMAGE_UNDECODABLE
    assert "Send the original file again" in caught.value.message


@pytest.mark.parametrize("save", [jpeg, png, heic, avif])
def test_a_photograph_whose_end_a_broken_copy_left_as_zeros_is_undecodable(save: Callable[..., bytes]) -> None:
    data = save(draw_surface(seed=4, size_hw=(96, 128)).image_hwc_u8, quality=95)
    with pytest.raises(RequestError) as caught:
        decode(data[:-600] + bytes(600))
    assert caught.value.code is ErrorCode.IMAGE_UNDECODABLE


@pytest.mark.parametrize("save", [jpeg, png, heic, avif])
def test_a_photograph_of_which_a_broken_copy_lost_a_part_is_undecodable(save: Callable[..., bytes]) -> None:
    data = save(noise(300, 400), quality=90)
    middle = len(data) // 2
    with pytest.raises(RequestError) as caught:
        decode(data[:middle] + bytes(4096) + data[middle + 4096 :])
    assert caught.value.code is ErrorCode.IMAGE_UNDECODABLE


@pytest.mark.parametrize("level", [0, 255])
def test_an_even_photograph_is_whole_though_its_file_is_mostly_zeros(level: int) -> None:
    even = np.full((400, 600, 3), level, np.uint8)
    even[:8, :8] = noise(8, 8)
    for data in (jpeg(even, optimize=True), jpeg(even), jpeg(even, progressive=True), heic(even), avif(even)):
        np.testing.assert_allclose(decode(data)[64:], level, atol=2)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of what it finds in broken headers
@pytest.mark.parametrize("kind", VALID_FILES)
@given(damage=damages, kept_ratio=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(kind: str, damage: Damage, kept_ratio: float) -> None:
    data = damaged(VALID_FILES[kind], damage)
    decode_or_refuse(data[: round(len(data) * kept_ratio)])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", VALID_FILES)
@given(damage=damages)
def test_a_damaged_header_is_decoded_or_refused_and_nothing_else(kind: str, damage: Damage) -> None:
    decode_or_refuse(damaged(VALID_FILES[kind], damage, last=200))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("byte", [0, 255])
@pytest.mark.parametrize("kind", VALID_FILES)
def test_no_single_byte_at_the_start_of_a_file_has_to_be_right(kind: str, byte: int) -> None:
    data = VALID_FILES[kind]
    for at in range(64):
        decode_or_refuse(data[:at] + bytes([byte]) + data[at + 1 :])


@pytest.mark.parametrize(("kind", "header_end"), [("jpeg", b"\xff\xda"), ("png", b"IDAT")])
@given(damage=damages)
def test_damage_behind_the_header_never_changes_the_size(kind: str, header_end: bytes, damage: Damage) -> None:
    data = VALID_FILES[kind]
    decoded = decode_or_refuse(damaged(data, damage, first=data.index(header_end) + 16))
    assert decoded is None or decoded.shape == (24, 32, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "block"), [("turned jpeg", b"Exif\0\0"), ("turned png", b"eXIf")])
@given(damage=damages)
def test_a_damaged_exif_block_turns_the_photograph_or_not_or_refuses_it(kind: str, block: bytes, damage: Damage) -> None:
    data = VALID_FILES[kind]
    first = data.index(block) + len(block)
    decoded = decode_or_refuse(damaged(data, damage, first, first + 60))
    assert decoded is None or decoded.shape in {(24, 32, 3), (32, 24, 3)}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("save", [jpeg, png])
def test_an_exif_block_that_is_cut_short_turns_the_photograph_or_not_or_refuses_it(save: Callable[..., bytes]) -> None:
    exif = exif_with_misfit_tag(orientation=6)
    for n_bytes in range(6, len(exif)):
        decoded = decode_or_refuse(save(noise(24, 32), exif=exif[:n_bytes]))
        assert decoded is None or decoded.shape in {(24, 32, 3), (32, 24, 3)}
