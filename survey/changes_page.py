"""What a comparison of two surveys writes into the later one: pictures, a table and a page.

Left to others: what has changed (`changes`), which photographs were compared (`compare`).
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inspection.findings import printable
from inspection.report.changes import COLUMNS as COLUMNS_TOLD
from inspection.report.changes import table_row
from survey.changes import Change, Kind, Part
from survey.changes_record import PICTURES, RECORD
from survey.folder import Results
from survey.laying import Float, Picture
from survey.pictures import fitting
from survey.results import CHANGES as TABLE
from survey.results import CHANGES_BOOK as WORKBOOK
from survey.results import CHANGES_PAGE as PAGE
from survey.results import present
from survey.sheet import link_results
from survey.tables import csv_table, workbook

CONTRADICTING = (
    "Those of some photographs contradict each other. One of the two is wrong, so don't compare the two surveys' millimetres. "
    "What is called longer or wider was judged by the pictures alone."
)
_LENGTHS = ("length", "changed", "unknown", "width_before", "width")
COLUMNS = (
    *("file", "earlier_file", "change", "id", "earlier_ids"),
    *(f"{name}_{unit}" for unit in ("px", "mm") for name in _LENGTHS),
    "note",
)
MAP_COLUMNS = ("map_x", "map_y")  # of a mosaic
_JOINED = "; "  # several earlier photographs, and the cracks of each
_PICTURE_PX = 1200  # the longer side of a picture
PANELS = ("before", "now", "changes")
_COLOURS = {Part.CHANGED: (255, 0, 64), Part.FOUND: (0, 140, 255), Part.UNKNOWN: (255, 255, 255)}
_GONE, _CASING = (255, 200, 0), (0, 0, 0)


@dataclass(frozen=True)
class Compared:
    """A photograph of the later survey, or a block of its mosaic, beside those of the earlier that show the same.

    Attributes:
        pictures: a JPEG for each of `PANELS`, see `draw`.
        digest: of the photograph's cracks, see `changes_record`; a mosaic's are never measured again.
        contradiction: how the scales of two of them contradict each other; empty if they don't.
        place: of a block, in words.
    """

    file: str
    earlier_files: tuple[str, ...]
    changes: "list[Measured]"
    pictures: dict[str, Path]
    digest: str = ""
    contradiction: str = ""
    place: str = ""

    @property
    def changed_px(self) -> float:
        return sum(each.change.changed_px for each in self.changes if each.change.kind in (Kind.NEW, Kind.GROWN))


class Measured(NamedTuple):
    """
    Attributes:
        mm_per_px: None without a scale.
        map_xy: where it is on a mosaic's map.
    """

    change: Change
    mm_per_px: float | None
    map_xy: tuple[float, float] | None = None


@dataclass(frozen=True)
class Heading:
    """What a comparison says of all that was compared.

    Attributes:
        title: of the later survey.
        earlier, later: names of the two surveys.
        made: how differently they were made; empty if they were not.
        what: is compared, in the plural.
        layers: files for a GIS that show the changes, too.
    """

    title: str
    earlier: str
    later: str
    made: str
    what: str = "photographs"
    layers: tuple[str, ...] = ()


def draw(
    formers: Sequence[tuple[Picture, Float]], later_hwc_u8: Picture, told: Sequence[Change]
) -> tuple[Picture, Picture, Picture]:
    """Pictures for `PANELS`: the earlier photographs as they would look from where the later one was taken, the first on top;
    the later one; and the later one with its cracks in `_COLOURS`, and those no longer found in `_GONE`. What changed is
    thicker, for printers without colours. Each crack that is not unchanged has its number.

    Args:
        formers: the earlier photographs, and their homographies to the later one.
    """
    height, width = later_hwc_u8.shape[:2]
    scale = min(1.0, _PICTURE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    former = np.zeros((size[1], size[0], 3), np.uint8)
    for earlier_hwc_u8, to_later in reversed(formers):
        to_picture = np.diag([scale, scale, 1.0]) @ to_later
        shown = cv2.warpPerspective(np.ones(earlier_hwc_u8.shape[:2], np.uint8), to_picture, size, flags=cv2.INTER_NEAREST)
        laid = cv2.warpPerspective(earlier_hwc_u8, to_picture, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        former = np.where(shown[..., None] > 0, laid, former)
    now = np.array(cv2.resize(later_hwc_u8, size, interpolation=cv2.INTER_AREA), np.uint8)
    marked = now.copy()
    thin = max(2, round(max(size) / 500))
    for change in sorted(told, key=lambda each: each.kind is not Kind.GONE):
        for points_xy, part in sorted(change.parts, key=lambda each: each[1] is Part.CHANGED):
            if change.kind is Kind.GONE and part is not Part.CHANGED:
                continue
            colour = _GONE if change.kind is Kind.GONE else _COLOURS[part]
            thickness = 2 * thin if part is Part.CHANGED else thin
            points = [np.round(points_xy * scale * 8).astype(np.int32)]
            cv2.polylines(marked, points, False, _CASING, thickness + 2, cv2.LINE_AA, 3)
            cv2.polylines(marked, points, False, colour, thickness, cv2.LINE_AA, 3)
    picture = Image.fromarray(marked)
    _draw_numbers(picture, [change for change in told if change.kind is not Kind.SAME and change.parts], scale)
    return np.asarray(former, np.uint8), now, np.asarray(picture)


def _draw_numbers(picture: Image.Image, told: Sequence[Change], scale: float) -> None:
    """Beside the middle of what changed, or else of the crack's longest piece."""
    draw = ImageDraw.Draw(picture)
    text_px = max(22, max(picture.size) // 36)
    font = ImageFont.load_default(text_px)
    for change in told:
        points_xy, _ = max(change.parts, key=lambda part: (part[1] is Part.CHANGED, len(part[0])))
        at = points_xy[len(points_xy) // 2] * scale + (text_px, -text_px / 2)
        x, y = np.clip(at, text_px / 2, np.maximum(text_px / 2, np.array(picture.size) - text_px / 2)).tolist()
        colour = _GONE if change.kind is Kind.GONE else (255, 255, 255)
        draw.text((x, y), str(change.id), font=font, fill=colour, stroke_width=3, stroke_fill=_CASING, anchor="mm")


def counted(found: Sequence[Compared]) -> str:
    """The cracks by their changes, in words."""
    n_of = Counter(measured.change.kind for each in found for measured in each.changes)
    return ", ".join(f"{n_of[kind]} {kind}" for kind in Kind if n_of[kind]) or "none"


def write_changes(
    survey: Results,
    heading: Heading,
    found: Sequence[Compared],
    without: Mapping[str, str],
    not_used: Sequence[tuple[str, int]],
    with_bom: bool,
) -> dict[str, Any]:
    """Write the pictures, the table, and last the page, which needs both; former pictures stay until then.
    Returns the record of all.

    Args:
        survey: the later one.
        without: why a later photograph or block was compared with none.
        not_used: earlier photographs that were compared with none, and their number of cracks.
    """
    found = sorted(found, key=lambda each: (-each.changed_px, each.file))
    counts = counted(found)
    lines = {id(each): [_line(each, measured) for measured in each.changes] for each in found}
    columns = (*COLUMNS, *MAP_COLUMNS) if any(each.place for each in found) else COLUMNS
    made = heading.made
    rows = [
        ("Compared with", f"{heading.earlier}, on {date.today().isoformat()}"),
        (f"{heading.what.capitalize()} compared", f"{len(found)}"),
        *([(f"{heading.what.capitalize()} not compared", f"{len(without)}; {PAGE} lists them, and why")] if without else []),
        *([("Earlier photographs not compared", f"{len(not_used)}; {PAGE} lists them")] if not_used else []),
        ("Cracks", counts),
        *([("Scales", CONTRADICTING)] if any(each.contradiction for each in found) else []),
        *([("The surveys were made differently", f"{made}. A crack may look longer or wider for that alone")] if made else []),
    ]
    former, names, photographs = set(survey.names(PICTURES)), {RECORD.partition("/")[2]}, []
    for rank, each in enumerate(found, 1):
        told = [line for line in lines[id(each)] if line["change"] != Kind.SAME]
        is_changed = any(line["change"] not in (Kind.OUTSIDE, Kind.UNCERTAIN) for line in told)
        pictures = {}
        for panel in PANELS if told else PANELS[-1:]:
            name = fitting(f"{PICTURES}/{rank:04d}-{panel}-{Path(each.file).name}.jpg")
            with survey.whole(name) as path:
                shutil.copyfile(each.pictures[panel], path)
            pictures[panel] = name
            names.add(name.partition("/")[2])
        photographs.append(
            {
                "file": each.file,
                "earlier_file": _JOINED.join(each.earlier_files),
                "note": each.contradiction,
                "pictures": pictures,
                "lines": lines[id(each)],
                "told": told,
                "is_changed": is_changed,
                "digest": each.digest,
                "place": each.place,
            }
        )
    with csv_table(survey, TABLE, columns, with_bom) as add, workbook(survey, WORKBOOK, {"changes": columns}) as (sheet,):
        for line in chain.from_iterable(lines[id(each)] for each in found):
            cells = [line[column] for column in columns]
            add(cells)
            sheet.add(cells)
    record = {"earlier": heading.earlier, "rows": rows, "photographs": photographs}
    with survey.whole(RECORD) as path:
        path.write_text(json.dumps(record), encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"printable": printable, "row": table_row, "url": lambda name: quote(os.fsencode(name))}
    template = environment.from_string(Path(__file__).with_name("changes.html").read_text(encoding="utf-8"))
    page = template.render(
        heading=heading,
        today=date.today().isoformat(),
        counts=counts,
        photographs=photographs,
        without=[(printable(file), printable(reason)) for file, reason in without.items()],
        not_used=[(printable(file), n_cracks) for file, n_cracks in not_used],
        scales=CONTRADICTING if any(each.contradiction for each in found) else "",
        tables=(WORKBOOK, TABLE, *heading.layers),
        columns=COLUMNS_TOLD,
    )
    with survey.whole(PAGE) as path:
        path.write_text(page, encoding="utf-8")
    for name in former - names:
        survey.remove(f"{PICTURES}/{name}")
    link_results(survey, present(survey))
    return record


def _line(compared: Compared, measured: Measured) -> dict[str, object]:
    change, mm_per_px, map_xy = measured
    lengths = (change.length_px, change.changed_px, change.unknown_px, change.width_before_px, change.width_px)
    photographs = change.photographs or range(len(compared.earlier_files))
    earlier_file = _JOINED.join(compared.earlier_files[index] for index in photographs)
    ids = [" ".join(str(number) for of, number in change.earlier if of == index) for index in photographs]
    line: dict[str, object] = {
        "file": compared.file,
        "earlier_file": earlier_file,
        "change": change.kind.value,
        "id": None if change.kind is Kind.GONE else change.id,
        "earlier_ids": _JOINED.join(ids) if any(ids) else "",
        "whose": "the earlier survey" if len(compared.earlier_files) == 1 else earlier_file,
    }
    for name, value in zip(_LENGTHS, lengths, strict=True):
        line[f"{name}_px"] = None if value is None else round(value, 1)
        line[f"{name}_mm"] = None if value is None or mm_per_px is None else round(value * mm_per_px, 2)
    line |= dict(zip(MAP_COLUMNS, (round(each, 3) for each in map_xy), strict=True)) if map_xy else {}
    line["reason"] = change.reason
    line["note"] = " ".join(filter(None, (change.reason, compared.contradiction)))
    return line
