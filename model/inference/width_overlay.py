"""The photograph with each crack in the colour of its width, and below it a legend and a scale bar.

Left to others: the classes (`width_classes`), the plain drawing (`overlay`).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.inference.cracks import Crack
from model.inference.overlay import draw_overlay
from model.inference.width_classes import Bands

MAX_LEGEND_PX = 2500  # its height, for the narrowest photograph
# From narrow to wide. People who can't tell red from green can tell these apart.
_COLOURS = np.array([(0, 200, 255), (255, 225, 0), (255, 145, 0), (235, 0, 30), (190, 0, 200)], np.float32)
_NOT_TOLD_COLOUR = np.array((190, 160, 255), np.float32)
_NOT_TOLD = "width not told"
_OPACITY = 0.8
_TEXT_PX = (12, 64)
_TEXTS_ACROSS = 60  # heights of a text in a photograph's width
_BAR_SHARE = 0.25  # of the photograph's width, at most


@dataclass(frozen=True)
class Legend:
    """The legend below the photograph.

    Attributes:
        title: what the classes are.
        bands: of widths; none where there is no scale.
        mm_per_px: at `bar_place`, such as "at the marker".
        notes: sentences at the end.
    """

    title: str
    bands: Bands | None = None
    mm_per_px: float | None = None
    bar_place: str = ""
    notes: Sequence[str] = ()


def draw(
    image_hwc_u8: NDArray[np.uint8],
    mask_hw: NDArray[np.bool_],
    cracks: Sequence[Crack],
    told: Sequence[Mapping[str, Any]],
    legend: Legend,
) -> NDArray[np.uint8]:
    """The photograph in colours with the legend below; uint8 (height + at most `MAX_LEGEND_PX`, width, 3).

    Args:
        cracks: of the mask; what is none of theirs has the colour of cracks without a width.
        told: the properties of each.
    """
    bands, width_px = legend.bands, image_hwc_u8.shape[1]
    if bands is None:
        return np.concatenate([draw_overlay(image_hwc_u8, mask_hw), _strip(width_px, legend, Counter())])
    ranks = [bands.rank(figures) for figures in told]
    picture = image_hwc_u8.copy()
    before, flat = image_hwc_u8.reshape(-1, 3), picture.reshape(-1, 3)
    painted = [(np.flatnonzero(mask_hw), _NOT_TOLD_COLOUR)]
    painted += [(crack.pixels, _colour(rank, bands)) for crack, rank in zip(cracks, ranks, strict=True) if rank is not None]
    for pixels, colour in painted:
        flat[pixels] = np.rint(before[pixels] * (1 - _OPACITY) + colour * _OPACITY)
    return np.concatenate([picture, _strip(width_px, legend, Counter(ranks))])


def _colour(rank: int, bands: Bands) -> NDArray[np.float32]:
    place = rank * (len(_COLOURS) - 1) / (len(bands.names) - 1)
    return np.asarray(_COLOURS[round(place)])


def _strip(width_px: int, legend: Legend, counts: Counter[int | None]) -> NDArray[np.uint8]:
    text_px = min(max(width_px // _TEXTS_ACROSS, _TEXT_PX[0]), _TEXT_PX[1])
    line_px, margin_px = round(1.6 * text_px), text_px
    font = ImageFont.load_default(text_px)
    canvas = Image.new("RGB", (width_px, MAX_LEGEND_PX), "white")
    pen = ImageDraw.Draw(canvas)
    y = margin_px // 2

    def write(text: str) -> None:
        nonlocal y
        for line in _wrapped(text, lambda part: font.getlength(part) <= width_px - 2 * margin_px):
            pen.text((margin_px, y), line, "black", font)
            y += line_px

    write(legend.title)
    x = margin_px
    for name, colour, count in _classes(legend.bands, counts):
        label = f"{name}: {count}"
        needed_px = text_px + margin_px // 2 + math.ceil(font.getlength(label)) + 2 * margin_px
        if x > margin_px and x + needed_px > width_px:
            x, y = margin_px, y + line_px
        pen.rectangle((x, y + text_px // 6, x + text_px, y + text_px + text_px // 6), tuple(int(value) for value in colour))
        pen.text((x + text_px + margin_px // 2, y), label, "black", font)
        x += needed_px
    if x > margin_px:
        y += line_px
    if legend.mm_per_px:
        bar_mm = round_length(_BAR_SHARE * width_px * legend.mm_per_px)
        bar_px = bar_mm / legend.mm_per_px
        pen.rectangle(
            (margin_px, y + text_px // 2, margin_px + round(bar_px), y + text_px // 2 + max(1, text_px // 5)), "black"
        )
        pen.text((2 * margin_px + round(bar_px), y), f"{bar_mm:g} mm {legend.bar_place}".strip(), "black", font)
        y += line_px
    for note in legend.notes:
        write(note)
    return np.asarray(canvas.crop((0, 0, width_px, min(y + margin_px // 2, MAX_LEGEND_PX))))


def _classes(bands: Bands | None, counts: Counter[int | None]) -> Iterator[tuple[str, NDArray[np.float32], int]]:
    """Each class's name, colour and number of cracks; that of cracks without a width where there are some."""
    if bands:
        yield from ((name, _colour(rank, bands), counts[rank]) for rank, name in enumerate(bands.names))
    if counts[None]:
        yield _NOT_TOLD, _NOT_TOLD_COLOUR, counts[None]


def round_length(most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most that."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step == 1 or step * power <= most * (1 + 1e-9))


def _wrapped(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and not fits(longer):
            yield line
            longer = word
        line = longer
    yield line
