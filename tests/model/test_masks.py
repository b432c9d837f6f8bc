"""Masks as label tools write them: each that has one meaning is read, any other is refused with what it was and what to do."""

import io

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.inference.encoding import mask_png
from model.inference.errors import ErrorCode, RequestError
from model.masks import read_mask
from tests.photographs import bmp, jpeg, noise, png, sixteen_bit_png, tiff, webp

MASK = noise(40, 60)[..., 0] > 200
MASK[0, 0] = False
LEVELS = MASK.astype(np.uint8) * 255


def in_colours(no_crack: tuple[int, ...], crack: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.where(MASK[..., None], np.array(crack, np.uint8), np.array(no_crack, np.uint8))


def of_palette(entries: list[int], n_crack: int = 1) -> Image.Image:
    """`entries`: red, green and blue of each; the first is no crack, number `n_crack` is."""
    image = Image.fromarray(np.where(MASK, n_crack, 0).astype(np.uint8), "P")
    image.putpalette(entries)
    return image


def classes_of_one_colour() -> Image.Image:
    image = Image.fromarray(MASK.astype(np.uint8) + 1, "P")
    image.putpalette([0] * 9)
    return image


def layer(crack: tuple[int, int, int]) -> NDArray[np.uint8]:
    return in_colours((0, 0, 0, 0), (*crack, 255))


def tifffile_of(image: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **options)
    return buffer.getvalue()


LAYER = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
WITH_ONE_MEANING = {
    "0 and 255": png(LEVELS),
    "as it is stored": mask_png(MASK),
    "one bit": png(Image.fromarray(MASK)),
    "0 and 1": png(MASK.astype(np.uint8)),
    "0 and a class": png(MASK.astype(np.uint8) * 7),
    "16 bits, 0 and 65535": sixteen_bit_png(MASK.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": sixteen_bit_png(MASK.astype(np.uint16)),
    "16 bits, with a level that is transparent": sixteen_bit_png(np.where(MASK, 1, 9).astype(np.uint16), transparency=9),
    "16 bits in colour, 0 and 1": sixteen_bit_png(np.dstack([MASK.astype(np.uint16)] * 3)),
    "grey with opacity": png(Image.fromarray(LEVELS).convert("LA")),
    "RGB": png(in_colours((0, 0, 0), (255, 255, 255))),
    "red on black": png(in_colours((0, 0, 0), (200, 0, 30))),
    "the page's own": png(in_colours((0, 0, 0, 255), (255, 255, 255, 255))),
    "a layer of paint": png(in_colours((0, 0, 0, 0), (255, 0, 64, 180))),
    "a layer of paint over transparent white": png(in_colours((255, 255, 255, 0), (255, 0, 64, 255))),
    "LabelMe's palette": png(of_palette([0, 0, 0, 128, 0, 0, 0, 128, 0])),
    "a later class of a palette": png(of_palette([0, 0, 0, 128, 0, 0, 0, 128, 0], n_crack=2)),
    "classes without a palette": png(Image.fromarray(MASK.astype(np.uint8), "P")),
    "a palette with a transparent entry": png(of_palette([255, 255, 255, 128, 0, 0]), transparency=0),
    "TIFF": tiff(LEVELS),
    "TIFF, 0 and 1": tiff(MASK.astype(np.uint8), compression="tiff_lzw"),
    "16 bits with opacity": sixteen_bit_png(np.dstack([MASK.astype(np.uint16) * 65535, np.full(MASK.shape, 65535, np.uint16)])),
    "a layer of paint in 16 bits": sixteen_bit_png(layer((255, 0, 64)).astype(np.uint16) * 257),
    "a layer of white paint, as TIFF": tifffile_of(layer((255, 255, 255)), **LAYER),
    "a layer of red paint, as TIFF": tifffile_of(layer((200, 0, 30)), compression="zlib", **LAYER),
    "a layer of white paint, as WebP": webp(layer((255, 255, 255)), lossless=True, exact=True),
    "QGIS's raster calculator": tifffile_of(MASK.astype(np.float32), compression="zlib"),
    "a table of signed numbers": tifffile_of(MASK.astype(np.int16) * -1),
    "napari's labels": tifffile_of(MASK.astype(np.int64) * 3, tile=(16, 16)),
    "32 bits, the most significant first": tifffile_of(
        MASK.astype(np.uint32) * 7, byteorder=">", compression="zlib", predictor=True
    ),
    "BMP": bmp(LEVELS),
    "WebP": webp(in_colours((0, 0, 0), (255, 255, 255)), lossless=True),
}


@pytest.mark.parametrize("kind", WITH_ONE_MEANING)
def test_two_colours_of_which_one_is_nothing_are_a_mask(kind: str) -> None:
    np.testing.assert_array_equal(read_mask(WITH_ONE_MEANING[kind], (40, 60)), MASK)


@pytest.mark.parametrize("kind", ["0 and 1", "16 bits, 0 and 1", "red on black", "LabelMe's palette", "a layer of paint"])
def test_it_makes_no_difference_which_colour_comes_first(kind: str) -> None:
    first = int(np.argmax(MASK[0]))
    image = Image.open(io.BytesIO(WITH_ONE_MEANING[kind])).crop((first, 0, 60, 40))
    np.testing.assert_array_equal(read_mask(png(image), (40, 60 - first)), MASK[:, first:])


@pytest.mark.parametrize(("level", "is_crack"), [(0, False), (255, True)])
def test_a_mask_of_one_colour_is_all_crack_or_none(level: int, is_crack: bool) -> None:
    assert (read_mask(png(np.full((40, 60), level, np.uint8)), (40, 60)) == is_crack).all()


REFUSED = {
    "smoothed": (png(noise(40, 60)[..., 0]), r"more than two colours \(0, 1, 2, 3\), expected two.*without smoothing"),
    "a JPEG": (jpeg(LEVELS), "more than two colours .* a JPEG always gets more colours"),
    "three classes": (png(np.arange(2400).astype(np.uint8).reshape(40, 60) % 3), r"has 3 colours \(0, 1, 2\)"),
    "classes 1 and 2": (png(MASK.astype(np.uint8) + 1), "has 1 and 2, which can mean more than one thing.*Paint what is no"),
    "classes 1 and 2 of one colour": (png(classes_of_one_colour()), "has 1 and 2, which can mean"),
    "red on white": (png(in_colours((255, 255, 255), (200, 0, 30))), r"255 and \(200, 0, 30\), which can mean more"),
    "black on nothing": (png(in_colours((0, 0, 0, 0), (0, 0, 0, 255))), "transparent and 0, which can mean more"),
    "a palette the other way round": (png(of_palette([255, 255, 255, 0, 0, 0])), "255 and 0, which can mean more"),
    "one class alone": (png(np.ones((40, 60), np.uint8)), "has 1, which can mean more than one thing"),
    "ImageJ's TIFF, crack 255 shown black": (
        tifffile_of(LEVELS, photometric="miniswhite"),
        "a TIFF in which 0 is white, which can mean",
    ),
    "a BMP's palette the other way round": (bmp(of_palette([255, 255, 255, 0, 0, 0])), "255 and 0, which can mean more"),
    "a TIFF of a layer in black": (tifffile_of(layer((0, 0, 0)), **LAYER), "transparent and 0, which can mean more"),
    "probabilities": (tifffile_of(noise(40, 60)[..., 0].astype(np.float32) / 255), "of the numbers 0, 0.00392.*expected two"),
    "numbers and nothing": (tifffile_of(np.where(MASK, 1, np.nan)), "of the numbers 1, nan, expected two: 0 where"),
    "numbers of another size": (tifffile_of(np.zeros((39, 60), np.float32)), "60 x 39 pixels, expected"),
    "numbers of two samples": (tifffile_of(np.zeros((40, 60, 3), np.float32), photometric="rgb"), "Save it as PNG of 8"),
    "another size": (mask_png(MASK[:39]), "60 x 39 pixels, expected the upright photograph's 60 x 40. Do not scale"),
    "turned": (mask_png(MASK.T), "40 x 60 pixels, expected the upright photograph's 60 x 40. Do not scale or turn it"),
    "torn": (mask_png(MASK)[:90], "cannot be decoded"),
    "LabelMe's outlines": (b'{"shapes": []}', "a JSON document.*keeps outlines can export them as such a mask"),
    "COCO's annotations": (b'[{"segmentation": []}]', "a JSON document"),
    "a PDF": (b"%PDF-1.7", "The mask is a PDF, expected two colours"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_could_mean_more_than_one_thing_is_refused_with_what_to_do(kind: str) -> None:
    data, sentence = REFUSED[kind]
    with pytest.raises(RequestError, match=sentence) as caught:
        read_mask(data, (40, 60))
    assert caught.value.code is ErrorCode.MASK_INVALID


def test_a_mask_of_the_photograph_as_it_is_stored_is_told_so() -> None:
    with pytest.raises(RequestError, match="fits the photograph as it is stored, before it is turned upright"):
        read_mask(mask_png(MASK.T), (40, 60), orientation=6)
