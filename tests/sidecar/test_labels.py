"""Labels: a mask is one or is refused with the reason; a photograph loses where it was taken and nothing else."""

import numpy as np
import pytest
from PIL import Image

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import decode
from model.synthetic import draw_surface
from sidecar.labels import Mask, Photograph, compare, encode_mask, hash_distance, read_mask, without_position
from tests.photographs import cmyk_jpeg, exif_with_misfit_tag, jpeg, noise, png, sixteen_bit_grey_png, with_orientation

MASK = noise(40, 60)[..., 0] > 200


@pytest.mark.parametrize(
    "data",
    [
        jpeg(noise(40, 60)),
        jpeg(noise(40, 60), progressive=True),
        cmyk_jpeg(noise(40, 60)),
        png(noise(40, 60)),
        png(Image.fromarray(noise(40, 60)).convert("P")),
        sixteen_bit_grey_png(noise(40, 60)),
        with_orientation(noise(40, 60), 8),
        jpeg(noise(40, 60), exif=exif_with_misfit_tag(3)),
        jpeg(noise(40, 60), restart_marker_blocks=1),
        jpeg(noise(40, 60), icc_profile=bytes(70_000)),
    ],
)
def test_every_kind_of_photograph_keeps_its_pixels(data: bytes) -> None:
    assert np.array_equal(decode(without_position(data)), decode(data))


def test_a_picture_and_its_compressed_copy_look_alike_and_other_pictures_do_not() -> None:
    one, other = (draw_surface(seed, (96, 128)).image_hwc_u8 for seed in (1, 2))
    hashes = [Photograph.read(data).perceptual_hash for data in (png(one), jpeg(one, quality=60), png(other))]
    assert hash_distance(hashes[0], hashes[1]) <= 4
    assert hash_distance(hashes[0], hashes[2]) > 12


def test_a_mask_comes_back_as_it_was() -> None:
    assert np.array_equal(read_mask(encode_mask(MASK), (40, 60)), MASK)
    assert np.array_equal(read_mask(png(Image.fromarray(MASK)), (40, 60)), MASK)  # one bit a pixel


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (jpeg(MASK.astype(np.uint8) * 255), "expected a PNG"),
        (encode_mask(MASK.T), "40 x 60 pixels, expected the upright photograph's 60 x 40"),
        (png(noise(40, 60)), "a PNG of kind 'RGB', expected one channel"),
        (png(noise(40, 60)[..., 0]), r"the values \[0, 1, 2, 3, 4\]\.\.\., expected 0 and 255"),
        (encode_mask(MASK)[:90], "cannot be decoded"),
        (b"", "expected a PNG"),
    ],
)
def test_what_is_no_mask_of_the_photograph_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        read_mask(data, (40, 60))
    assert caught.value.code is ErrorCode.MASK_INVALID


@pytest.mark.parametrize(("threshold", "is_models_own"), [(1, True), (90, True), (255, True), (None, False)])
def test_a_mask_is_the_models_own_where_it_is_cut_out_of_its_probability(threshold: int | None, is_models_own: bool) -> None:
    prob_hw_u8 = noise(40, 60)[..., 0]
    mask_hw = MASK.T.reshape(40, 60) if threshold is None else prob_hw_u8 >= threshold
    compared = compare(Mask.of(mask_hw), png(prob_hw_u8), 90 / 255)
    assert (compared.is_models_own, compared.is_unchanged) == (is_models_own, threshold == 90)


def test_where_there_is_no_mask_to_compare_the_models_uncertainty_is_told() -> None:
    assert compare(None, png(np.full((40, 60), 128, np.uint8)), 0.5).uncertainty > 0.9
    assert compare(Mask.empty((40, 60)), png(np.zeros((40, 60), np.uint8)), 0.5).uncertainty == 0
