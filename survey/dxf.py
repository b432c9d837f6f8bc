"""`dxf/NAME.dxf`: a photograph's cracks as polylines for a CAD program, y up, a layer for each class of widths.

With a scale a unit is a millimetre on the surface; without one it is a pixel, and a text in the drawing says so.
"""

from collections.abc import Iterable, Sequence

from ezdxf.document import Drawing
from ezdxf.enums import TextEntityAlignment
from ezdxf.filemanagement import new
from ezdxf.units import MM

from inspection.findings import Photograph, printable
from inspection.report.ranking import width
from inspection.rows import Line
from model.inference.width_classes import width_class
from survey.findings import Findings
from survey.pictures import DRAWINGS, fitting

_UNITLESS = 0
_GREY = 8
_COLOURS = (9, 3, 3, 2, 2, 30, 1, 1, 6, 6)  # AutoCAD's, by a class's rank: grey, green, yellow, orange, red, magenta


def write_dxfs(findings: Findings) -> None:
    """Write a drawing for each photograph with cracks, and remove an earlier one of a photograph that has none any more."""
    for photograph in findings.photographs():
        name = fitting(f"{DRAWINGS}/{photograph.row.file}.dxf")
        if not photograph.row.cracks or photograph.row.lines is None:
            findings.survey.remove(name)
            continue
        document = draw(photograph)
        with findings.survey.whole(name) as path:
            document.saveas(path)


def _distinct(lines: Iterable[Line]) -> Iterable[Sequence[tuple[float, ...]]]:
    """Without those that are a point, and of two that are the same only the first: of short branches that part and meet again,
    or close to a ring, only the ends are kept.
    """
    kept: dict[Sequence[tuple[float, ...]], Sequence[tuple[float, ...]]] = {}
    for line in lines:
        points = tuple(map(tuple, line))
        if len(set(points)) > 1:
            kept.setdefault(min(points, points[::-1]), points)
    return kept.values()


def draw(photograph: Photograph) -> Drawing:
    """The photograph's outline, each crack's centre lines with its number and width, and what a unit is."""
    row = photograph.row
    per_px = photograph.scale.mm_per_px if photograph.scale else 1.0
    right, top = (row.width or 0) * per_px, (row.height or 0) * per_px
    text_height = max(right, top) / 100
    document = new("R2010", units=MM if photograph.scale else _UNITLESS)
    document.layers.add("photograph", color=_GREY)
    document.layers.add("notes", color=_GREY)
    document.set_modelspace_vport(1.2 * max(right, top), (right / 2, top / 2))  # what a program shows when it opens the drawing
    model = document.modelspace()
    model.add_lwpolyline([(0, 0), (right, 0), (right, top), (0, top)], close=True, dxfattribs={"layer": "photograph"})
    for crack, lines in zip(photograph.cracks, row.lines or (), strict=True):
        of_width = width_class(crack)
        layer = f"cracks {of_width.name}"
        if layer not in document.layers:
            document.layers.add(layer, color=_COLOURS[of_width.rank])
        for line in _distinct(lines):
            model.add_lwpolyline([(x * per_px, top - y * per_px) for x, y in line], dxfattribs={"layer": layer})
        told = f"{crack['id']}: {width(crack, 'p95')}"
        x, y = lines[0][0]
        text = model.add_text(told, height=text_height, dxfattribs={"layer": layer})
        text.set_placement((x * per_px, top - y * per_px), align=TextEntityAlignment.BOTTOM_LEFT)
    notes = [
        printable(row.file),
        f"1 unit = 1 mm; {photograph.scale.mm_per_px:.4g} mm per pixel ({photograph.scale.source.value})"
        if photograph.scale
        else "No scale: 1 unit = 1 pixel, not a length.",
        f"model {row.model_version}, threshold {row.threshold:.3g}",
    ]
    for number, note in enumerate(notes, 1):
        text = model.add_text(note, height=text_height, dxfattribs={"layer": "notes"})
        text.set_placement((0, -1.8 * text_height * number), align=TextEntityAlignment.BOTTOM_LEFT)
    return document
