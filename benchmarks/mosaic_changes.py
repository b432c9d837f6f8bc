"""How far a comparison of two mosaics can be trusted (`survey/mosaic/compare.py`).

No set has the same deck in two years, so mosaics are laid out of real photographs: each with its mirror images, so that its
cracks go on over their edges. The earlier one is another flight: its georeference is off, it is lit, sharp and cut off
otherwise, with noise, and has pixels of another size. In every second photograph half of the crack, by the label, is painted
over in it: that half is new in the later one, and all else is unchanged.
"""

import argparse
import contextlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as to_crs

from benchmarks.contenders import ARCHIVE
from export.archive import unpack
from model.dataset import LabelledPhotograph, add_data_option, read_parts
from model.inference.card import ModelCard
from model.params import Params
from survey.__main__ import main as survey
from survey.changes import Part
from survey.compare import main as compare
from survey.mosaic.layers import read_layer
from survey.mosaic.raster import Raster

Picture = NDArray[np.uint8]
SETS = ("deepcrack", "sut130", "uavkaggle")
SIDE = 3  # photographs along a side of a mosaic, each with its three mirror images
M_PER_PX = 0.001
LATER_CRS, OTHER_CRS = "EPSG:25832", "EPSG:25833"
PLACE = (699_000.0, 5_934_000.0)
LEAST_PX = 30.0
NEAR_PX = 31  # of what was painted over, in the later mosaic


class Flight(NamedTuple):
    """How the earlier mosaic differs from the later one."""

    name: str
    shift_px: float
    turn_deg: float
    coarser: float
    crs: str = LATER_CRS


FLIGHTS = (
    Flight("5 px, 0.1 degrees off", 5, 0.1, 1.0),
    Flight("60 px, 0.5 degrees off, pixels 1.25 times as large", 60, 0.5, 1.25),
    Flight("300 px, 1 degree off, pixels 0.8 times as large, another CRS", 300, 1.0, 0.8, OTHER_CRS),
    Flight("60 px, 0.5 degrees off, pixels twice as large", 60, 0.5, 2.0),
)


def painted_over(image_hwc_u8: Picture, mask_hw: NDArray[np.bool_]) -> tuple[Picture, NDArray[np.bool_]]:
    """The photograph without the right half of its crack, and where that was: the surface beside it is copied there, as an
    inpainted one still looks cracked to the model.
    """
    columns = np.flatnonzero(mask_hw.any(axis=0))
    is_gone = mask_hw.copy()
    is_gone[:, : (columns[0] + columns[-1]) // 2] = False
    around = cv2.dilate(is_gone.astype(np.uint8), np.ones((17, 17), np.uint8))
    margin = cv2.dilate(mask_hw.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    moves = [(y, x) for y in range(-160, 161, 20) for x in range(-160, 161, 20)]
    move = min(moves, key=lambda each: int(_moved(margin, each)[around > 0].sum()))
    soft = cv2.GaussianBlur(around.astype(np.float32), (0, 0), 3)[..., None]
    painted = image_hwc_u8 * (1 - soft) + _moved(image_hwc_u8, move) * soft
    return painted.astype(np.uint8), is_gone


def _moved(picture: NDArray[Any], by: tuple[int, int]) -> NDArray[Any]:
    """What is so many rows and columns away, mirrored at the edges."""
    size = max(map(abs, by))
    wide = np.pad(picture, [(size, size), (size, size), (0, 0)][: picture.ndim], mode="symmetric")
    return wide[size + by[0] :, size + by[1] :][: picture.shape[0], : picture.shape[1]]


def laid_out(labelled: Sequence[LabelledPhotograph], is_painted: Sequence[bool]) -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """The later mosaic, the earlier one, and where that was painted over."""
    height, width = (min(each.mask_hw.shape[axis] for each in labelled) for axis in (0, 1))
    cells = []
    for each, paint in zip(labelled, is_painted, strict=True):
        image, mask = each.image_hwc_u8[:height, :width], each.mask_hw[:height, :width] > 0
        former, is_gone = painted_over(image, mask) if paint and mask.any() else (image, np.zeros_like(mask))
        both = np.concatenate([image, former, is_gone[..., None].astype(np.uint8)], axis=2)
        both = np.concatenate([both, both[:, ::-1]], axis=1)
        cells.append(np.concatenate([both, both[::-1]]))
    rows = [np.concatenate(cells[first : first + SIDE], axis=1) for first in range(0, SIDE**2, SIDE)]
    whole = np.concatenate(rows)
    return whole[..., :3], whole[..., 3:6], whole[..., 6] > 0


def flown(image_hwc_u8: Picture, flight: Flight, rng: np.random.Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """The mosaic of another flight, and where it has data."""
    height, width = image_hwc_u8.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), flight.turn_deg, 1 / flight.coarser)
    size = (round(width / flight.coarser), round(height / flight.coarser))
    turn[:, 2] += (np.array(size) - (width, height)) / 2 + np.array([0.8, 0.6]) * flight.shift_px / flight.coarser
    light = image_hwc_u8 if flight.coarser <= 1 else cv2.GaussianBlur(image_hwc_u8, (0, 0), 0.4 * flight.coarser)
    taken = cv2.warpAffine(light, turn, size, flags=cv2.INTER_CUBIC) / 255
    has_data = cv2.warpAffine(np.ones((height, width), np.uint8), turn, size, flags=cv2.INTER_NEAREST) > 0
    has_data[:, : size[0] // 20] = False
    down = np.linspace(0.8, 1.1, size[1])[:, None, None]  # the sun
    lit = np.clip(taken ** rng.uniform(0.85, 1.2) * down * rng.uniform(0.95, 1.05, 3), 0, 1)
    soft = cv2.GaussianBlur(lit, (0, 0), 0.5) + rng.normal(0, 0.012, lit.shape)
    return (np.clip(soft, 0, 1) * 255).astype(np.uint8) * has_data[..., None], has_data


def write(path: Path, image_hwc_u8: Picture, has_data: NDArray[np.bool_] | None, m_per_px: float, crs: str) -> None:
    """`PLACE` is the top left corner; in another CRS the mosaic is turned as much as its north is."""
    height, width = image_hwc_u8.shape[:2]
    corners = np.array([PLACE, (PLACE[0] + width * m_per_px, PLACE[1]), (PLACE[0], PLACE[1] - height * m_per_px)])
    (x, x_right, x_down), (y, y_right, y_down) = to_crs(CRS.from_user_input(LATER_CRS), CRS.from_user_input(crs), *corners.T)
    place = Affine((x_right - x) / width, (x_down - x) / height, x, (y_right - y) / width, (y_down - y) / height, y)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "tiled": True}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", crs=crs, transform=place, compress="deflate", **profile) as file,
    ):
        file.write(np.moveaxis(image_hwc_u8, -1, 0))
        if has_data is not None:
            file.write_mask(has_data)


class Told:
    """What comparisons found, against what was painted over."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.n_spots = self.n_found = self.n_unsure = 0
        self.painted_px = self.found_px = self.else_px = self.false_px = 0.0
        self.n_false = 0

    def add(self, later: Path, raster: Raster, is_painted: NDArray[np.bool_]) -> None:
        near = cv2.dilate(is_painted.astype(np.uint8), np.ones((NEAR_PX, NEAR_PX), np.uint8))
        n_spots, spots = cv2.connectedComponents(near)
        by_part = {part.value: np.zeros(n_spots) for part in Part}
        features = read_layer(later / "changes.gpkg")
        self.kinds.update(kind for kind, *_ in {_crack(each) for each, _ in features})
        false = Counter[tuple[str, ...]]()
        for feature, lines in features:
            for line in lines:
                line_xy = raster.pixel_xy(line)
                steps = np.hypot(*np.diff(line_xy, axis=0).T)
                x, y = ((line_xy[1:] + line_xy[:-1]) / 2).astype(int).T
                at = spots[np.clip(y, 0, spots.shape[0] - 1), np.clip(x, 0, spots.shape[1] - 1)]
                by_part[feature["part"]] += np.bincount(at, steps, minlength=n_spots)
                is_change = feature["change"] in ("new", "longer", "no longer found") and feature["part"] == Part.CHANGED.value
                false[_crack(feature)] += is_change * float(steps[at == 0].sum())
                self.else_px += float(steps[at == 0].sum())
        of_spots = np.stack([each[1:] for each in by_part.values()])  # found, changed, unknown
        of_spots = of_spots[:, of_spots.sum(axis=0) >= LEAST_PX]
        _, changed, unknown = of_spots
        self.n_spots += of_spots.shape[1]
        self.n_found += int((changed >= 0.5 * of_spots.sum(axis=0)).sum())
        self.n_unsure += int((unknown > 0.5 * of_spots.sum(axis=0)).sum())
        self.painted_px, self.found_px = self.painted_px + of_spots.sum(), self.found_px + changed.sum()
        self.n_false += sum(px >= LEAST_PX for px in false.values())
        self.false_px += sum(false.values())

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items(), key=lambda each: -each[1]))
        return (
            f"of {self.n_spots} parts painted over {self.n_found} are told as new, {self.n_unsure} as not known "
            f"({self.found_px / max(self.painted_px, 1):.0%} of their length is new); elsewhere {self.n_false} cracks wrongly "
            f"changed, {self.false_px / max(self.else_px, 1):.1%} of the length. Cracks: {counts}."
        )


def _crack(feature: Mapping[str, Any]) -> tuple[str, ...]:
    return str(feature["change"]), str(feature["id"]), str(feature["earlier_ids"])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mosaic_changes",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.mosaic_changes\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="(default: the released one)")
    parser.add_argument("--sets", nargs="+", default=SETS, help="(default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the mosaics and results (default: none)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="crack-bench-") as work:
        folder = options.keep or Path(work)
        card: ModelCard = unpack(options.archive, Path(work))
        pairs = read_parts(options.data, Params.model_validate(card.training["params"]).data).judging
        told = {flight: Told() for flight in FLIGHTS}
        common = ["--archive", str(options.archive), "--concurrency", "1"]
        for name in options.sets:
            labelled = [pair.read() for pair in pairs if pair.set_name == name]
            labelled = [each for each in labelled if each.mask_hw.any()][: SIDE**2]
            later, former, is_painted = laid_out(labelled, [number % 2 == 0 for number in range(len(labelled))])
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            write(place / "later.tif", later, None, M_PER_PX, LATER_CRS)
            quietly(survey, [str(place / "later.tif"), *common])
            raster = Raster(place / "later.tif")
            for number, flight in enumerate(FLIGHTS):
                path = place / f"earlier-{number}.tif"
                write(path, *flown(former, flight, np.random.default_rng(number)), M_PER_PX * flight.coarser, flight.crs)
                quietly(survey, [str(path), *common])
                print(quietly(compare, [str(place / f"earlier-{number}-cracks"), str(place / "later-cracks"), *common]))
                one = Told()
                for each in (one, told[flight]):
                    each.add(place / "later-cracks", raster, is_painted)
                print(f"{name}, {flight.name}: {one}", flush=True)
            raster.close()
    for flight, each in told.items():
        print(f"All, {flight.name}: {each}")


def quietly(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> str:
    """The last line but one that it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        command(arguments)
    return said.getvalue().splitlines()[-2]


if __name__ == "__main__":
    main()
