"""`coco.json`: photographs and cracks as COCO's instances (https://cocodataset.org/#format-data), to train or label elsewhere.

A crack's segmentation is its pixels of the mask, run-length encoded and not compressed: polygons would fill the holes of a net
of cracks, and lose lines that are one pixel wide.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inspection.rows import Line
from model.inference.photograph import decode
from model.inference.skeleton import Index, find_parts
from survey.findings import Findings

NAME = "coco.json"
_CRACK = 1


def write_coco(findings: Findings) -> None:
    """All predicted photographs, those without cracks too; each measured crack is an annotation."""
    with findings.survey.whole(NAME) as path, path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": [{{"id": {_CRACK}, "name": "crack"}}],\n"images": [')
        _write_items(file, _images(findings))
        file.write('],\n"annotations": [')
        _write_items(file, _annotations(findings))
        file.write("]}\n")


def _write_items(file: IO[str], items: Iterable[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        json.dump(item, file)


def _images(findings: Findings) -> Iterator[dict[str, Any]]:
    for number, photograph in enumerate(findings.predicted(), 1):
        row = photograph.row
        yield {"id": number, "file_name": row.file, "width": row.width, "height": row.height}


def _annotations(findings: Findings) -> Iterator[dict[str, Any]]:
    number = 0
    for image, photograph in enumerate(findings.predicted(), 1):
        row = photograph.row
        if not row.cracks or row.lines is None:
            continue
        mask_hw = decode(findings.survey.pictures.mask(row.file).read_bytes())[..., 0] > 0
        for crack, at in zip(row.cracks, crack_pixels(mask_hw, row.lines), strict=True):
            number += 1
            left, top, right, bottom = crack["bbox_px"]
            yield {
                "id": number,
                "image_id": image,
                "category_id": _CRACK,
                "segmentation": run_lengths(at, mask_hw.shape),
                "area": len(at),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }


def crack_pixels(mask_hw: NDArray[np.bool_], cracks: Sequence[Sequence[Line]]) -> list[Index]:
    """The flat indices of each crack's pixels in `mask_hw`: the parts of the mask that its centre lines touch. A part that two
    cracks touch belongs to the one with more points on it.
    """
    parts, n = find_parts(mask_hw), len(cracks)
    if not len(parts.part):
        raise ValueError("The mask is empty, expected cracks in it.")
    height, width = mask_hw.shape
    points_xy = [np.concatenate([np.asarray(line) for line in lines]) for lines in cracks]
    crack = np.repeat(np.arange(n), [len(each) for each in points_xy])
    x, y = np.floor(np.concatenate(points_xy)).astype(np.int64).T
    # A smoothed line may run beside a mask of one pixel.
    x, y, crack = (x[:, None] + [-1, 0, 1] * 3).ravel(), (y[:, None] + np.repeat([-1, 0, 1], 3)).ravel(), np.repeat(crack, 9)
    at = y * width + x
    run = np.maximum(np.searchsorted(parts.first, at, side="right") - 1, 0)
    is_on = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    is_on &= (at >= parts.first[run]) & (at < parts.first[run] + parts.n_pixels[run])
    touches, n_points = np.unique(parts.part[run[is_on]] * n + crack[is_on], return_counts=True)
    touches = touches[np.argsort(n_points, kind="stable")]
    crack_of_part = np.full(len(parts.area_px), n)
    crack_of_part[touches // n] = touches % n  # of two cracks the later one, with more points
    return parts.pixels(crack_of_part, n)


def run_lengths(at: Index, shape_hw: tuple[int, ...]) -> dict[str, Any]:
    """COCO's run lengths of the pixels at these flat indices (row by row): column by column, the number of background pixels,
    of crack pixels, of background pixels ...
    """
    height, width = shape_hw
    y, x = np.divmod(at, width)
    down = np.sort(x * height + y)
    is_first = np.append(True, np.diff(down) != 1) if len(down) else np.zeros(0, np.bool_)
    is_last = np.append(is_first[1:], True) if len(down) else is_first
    bounds = np.stack([down[is_first], down[is_last] + 1]).T.ravel()
    counts = np.diff(np.concatenate([[0], bounds, [height * width]]))
    return {"size": [height, width], "counts": counts.tolist()}
