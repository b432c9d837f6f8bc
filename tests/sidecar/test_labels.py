"""Labels: a mask is one or is refused with the reason; a photograph loses where it was taken and nothing else."""

import numpy as np
import pytest
from PIL import Image

from crack.stores.near import distance
from model.inference.photograph import Limits, decode, turn_upright
from model.synthetic import draw_surface
from sidecar.labels import Mask, Photograph, Verdict, compare, read_label, without_position
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
    assert distance(hashes[0], hashes[1]) <= 4
    assert distance(hashes[0], hashes[2]) > 12


@pytest.mark.parametrize(("verdict", "mask"), [(Verdict.NO_CRACK, Mask.empty((40, 60))), (Verdict.OTHER, None)])
def test_no_crack_is_a_label_by_itself_and_no_other_verdict_is(verdict: Verdict, mask: Mask | None) -> None:
    assert read_label(png(noise(40, 60)), b"", verdict, Limits())[1] == mask


@pytest.mark.parametrize(("threshold", "is_models_own"), [(1, True), (90, True), (255, True), (None, False)])
def test_a_mask_is_the_models_own_where_it_is_cut_out_of_its_probability(threshold: int | None, is_models_own: bool) -> None:
    prob_hw_u8 = noise(40, 60)[..., 0]
    mask_hw = MASK.T.reshape(40, 60) if threshold is None else prob_hw_u8 >= threshold
    compared = compare(Mask.of(mask_hw), png(prob_hw_u8), 90 / 255)
    assert (compared.is_models_own, compared.is_unchanged) == (is_models_own, threshold == 90)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_that_was_drawn_before_the_photograph_was_turned_upright_is_noticed(orientation: int) -> None:
    stored_hw = np.zeros((60, 60), np.bool_)
    stored_hw[5:9, 4:30] = True
    upright_hw = turn_upright(stored_hw, orientation)
    probability_png = png(upright_hw.astype(np.uint8) * 200 + 10)
    assert compare(Mask.of(stored_hw), probability_png, 0.5, orientation).is_drawn_unturned is (orientation != 1)
    assert not compare(Mask.of(upright_hw), probability_png, 0.5, orientation).is_drawn_unturned


def test_a_mask_of_which_most_is_crack_is_noticed() -> None:
    mask_hw = np.zeros((40, 60), np.bool_)
    mask_hw[20, 5:50] = True
    probability_png = png(mask_hw.astype(np.uint8) * 200 + 10)
    assert compare(Mask.of(~mask_hw), probability_png, 0.5).is_mostly_crack
    assert not compare(Mask.of(mask_hw), probability_png, 0.5).is_mostly_crack


def test_where_there_is_no_mask_to_compare_the_models_uncertainty_is_told() -> None:
    assert compare(None, png(np.full((40, 60), 128, np.uint8)), 0.5).uncertainty > 0.9
    assert compare(Mask.empty((40, 60)), png(np.zeros((40, 60), np.uint8)), 0.5).uncertainty == 0
