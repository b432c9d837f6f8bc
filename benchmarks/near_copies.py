"""Which copies of the original photographs are found (`crack/copies.py`), how often a photograph is wrongly taken for one,
and what a look-up costs.

The photographs are cut in half by group. `copies.LEAST_AGREEING` is to be chosen by the first half, and the second one tells
what it is worth. Photographs that are in no index show false alarms: those of groups that were left out, and those of each set
beside all others.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.costs import photograph
from crack.copies import LEAST_AGREEING, Description, Index
from model.dataset import add_data_option
from model.inference.photograph import decode
from tests.photographs import jpeg

Image = NDArray[np.uint8]
THRESHOLDS = (5, 7, 9, 11, 13)


class Known(NamedTuple):
    """An original photograph."""

    path: Path
    group: str
    described: Description

    @property
    def set_name(self) -> str:
        return self.path.parents[1].name


def _turned(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC)


def _cropped(image: Image, ratio: float, rng: np.random.Generator) -> Image:
    """Somewhere, to this share of height and width."""
    sides = [round(side * ratio) for side in image.shape[:2]]
    top, left = (rng.integers(0, whole - side + 1) for whole, side in zip(image.shape, sides, strict=False))
    return image[top : top + sides[0], left : left + sides[1]]


def _framed(image: Image) -> Image:
    border = round(0.05 * max(image.shape[:2]))
    return cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT, value=(255, 255, 255))


VARIANTS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "mirrored left to right": lambda image, _: image[:, ::-1],
    "mirrored top to bottom": lambda image, _: image[::-1],
    "turned by 90 degrees": lambda image, _: np.rot90(image),
    "turned by 180 degrees": lambda image, _: np.rot90(image, 2),
    "turned by 270 degrees": lambda image, _: np.rot90(image, 3),
    "inverted": lambda image, _: 255 - image,
    "inverted, mirrored, turned by 90": lambda image, _: np.rot90(255 - image[:, ::-1]),
    "JPEG, quality 50": lambda image, _: decode(jpeg(image, quality=50)),
    "half size": lambda image, _: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "grey": lambda image, _: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "turned by 3 degrees": lambda image, rng: _turned(image, 3 * rng.choice([-1, 1])),
    "with a border of 5%": lambda image, _: _framed(image),
    "cropped to 95%": lambda image, rng: _cropped(image, 0.95, rng),
    "cropped to 90%": lambda image, rng: _cropped(image, 0.9, rng),
    "cropped to 80%": lambda image, rng: _cropped(image, 0.8, rng),
}


def read(data_dir: Path) -> Iterator[tuple[Path, str]]:
    """Each photograph, and its group."""
    for index_path in sorted(data_dir.glob("*/split.csv")):
        with index_path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield index_path.parent / "images" / row["image"], f"{index_path.parent.name}/{row['group']}"


def n_agreeing_with_others(asked: Sequence[Known], known: Sequence[Known]) -> list[tuple[int, str, str]]:
    """Of each photograph with the most similar one of an index that it isn't in; the most similar first."""
    index, found = Index.build([one.described for one in known]), []
    for one in asked:
        match = index.find(one.described)
        if match:
            other = known[match.photograph]
            found.append((match.n_agreeing, f"{one.set_name}/{one.path.name}", f"{other.set_name}/{other.path.name}"))
    return sorted(found, reverse=True)


def row(name: str, n_asked: int, n_agreeing: Sequence[int]) -> str:
    counts = [sum(agreeing >= threshold for agreeing in n_agreeing) for threshold in THRESHOLDS]
    return f"| {name} | {n_asked} | {' | '.join(map(str, counts))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.near_copies",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.near_copies\n  python -m benchmarks.near_copies --n 20 --half first\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--n", type=int, default=100, help="photographs for each variant (default: 100)")
    parser.add_argument("--half", choices=("first", "second"), default="second", help="of the photographs (default: second)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    photographs = list(read(options.data))
    known = [
        Known(path, group, Description.of(decode(path.read_bytes())))
        for path, group in tqdm(photographs, desc="describing", unit="photo")
    ]
    groups = rng.permutation(sorted({one.group for one in known}))
    first = set(groups[: len(groups) // 2].tolist())
    is_asked = [(one.group in first) == (options.half == "first") for one in known]
    asked = [one for one, is_one in zip(known, is_asked, strict=True) if is_one]
    others = [one for one, is_one in zip(known, is_asked, strict=True) if not is_one]
    index = Index.build([one.described for one in known])

    print(f"\n{len(known)} photographs, {len(asked)} of the {options.half} half; found with at least so many agreeing parts:\n")
    print(f"| | photographs | {' | '.join(map(str, THRESHOLDS))} |\n|{'---|' * (2 + len(THRESHOLDS))}")
    chosen = [asked[number] for number in rng.choice(len(asked), options.n, replace=False)]
    for name, change in VARIANTS.items():
        agreeing = []
        for one in chosen:
            match = index.find(Description.of(np.ascontiguousarray(change(decode(one.path.read_bytes()), rng))))
            agreeing.append(match.n_agreeing if match else 0)  # also with a photograph of the same place: it doesn't train
        print(row(name, options.n, agreeing), flush=True)
    false = n_agreeing_with_others(asked, others)
    print(row("false alarms: groups left out", len(asked), [n for n, *_ in false]))
    alarms = false[:40]
    n_of_sets, agreeing_of_sets = 0, []
    for name in sorted({one.set_name for one in known}):
        own = [one for one in asked if one.set_name == name]
        found = n_agreeing_with_others(own, [one for one in known if one.set_name != name])
        n_of_sets += len(own)
        agreeing_of_sets += [n for n, *_ in found]
        alarms += found[:1]
    print(row("false alarms: a set beside the others", n_of_sets, agreeing_of_sets))
    print(f"\nThe limit is {LEAST_AGREEING}. The most similar among false alarms:")
    print("\n".join(f"- {n}: {one} and {other}" for n, one, other in sorted(alarms, reverse=True)))
    print(f"\nThe index has {index.n_bytes / 1e6:.1f} MB, {index.n_bytes / len(known) / 1e3:.1f} kB for each photograph.")
    for megapixels in (0.2, 12.0):
        image = decode(photograph(megapixels))
        clock = time.process_time()
        described = Description.of(image)
        between = time.process_time()
        index.find(described)
        now = time.process_time()
        print(
            f"{megapixels:g} megapixels: described in {1e3 * (between - clock):.0f} ms, found in {1e3 * (now - between):.0f} ms"
        )


if __name__ == "__main__":
    main()
