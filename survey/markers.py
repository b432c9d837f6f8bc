"""Draws markers to print, as a PDF: a marker that is photographed beside cracks gives the photograph's scale.

`crack markers --size 50 --out markers.pdf` draws one marker to cut out, `--board` a sheet of four for a larger area.
All is drawn as lines and areas, as exact as the printer. Left to others: how they are found (`model.inference.markers`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from model.inference.markers import BOARD, BOARD_SIDES, DICTIONARY, MARGIN_SIDES, N_MODULES, SINGLE

PAPERS_MM = {"a4": (210.0, 297.0), "letter": (215.9, 279.4), "a3": (297.0, 420.0)}
RULER_MM = 100
_UNPRINTABLE_MM = 5  # at a page's edges
_NOTES_MM = 40  # of paper for the line to check the print by, and what is written beside it
_POINTS_BY_MM = 72 / 25.4


def draw(size_mm: float, paper: str = "a4", *, is_board: bool = False) -> bytes:
    """A PDF of one page.

    Args:
        size_mm: the side of a marker's black square.
        paper: one of `PAPERS_MM`.
        is_board: four markers instead of one.

    Raises:
        ValueError: the markers, or the line of 100 mm between them, don't fit.
    """
    width_mm, height_mm = PAPERS_MM[paper]
    markers, extent_sides = (BOARD, BOARD_SIDES) if is_board else ({SINGLE: (0.0, 0.0)}, (1.0, 1.0))
    margin_mm = size_mm * MARGIN_SIDES
    extent_mm = [side * size_mm for side in extent_sides]
    notes_mm = 0 if is_board else _NOTES_MM  # there is room between four
    largest_mm = min(
        (width_mm - 2 * _UNPRINTABLE_MM) / (extent_sides[0] + 2 * MARGIN_SIDES),
        (height_mm - 2 * _UNPRINTABLE_MM - notes_mm) / (extent_sides[1] + 2 * MARGIN_SIDES),
    )
    smallest_mm = (RULER_MM + 5) / BOARD_SIDES[0] if is_board else 10.0
    if not smallest_mm <= size_mm <= largest_mm:
        raise ValueError(
            f"Markers of {size_mm:g} mm: expected {smallest_mm:.0f} to {int(largest_mm)} mm "
            f"{'for a sheet of four' if is_board else 'for one'} on {paper}. Choose another size, or another paper."
        )
    left_mm = (width_mm - extent_mm[0]) / 2
    top_mm = height_mm - (height_mm - notes_mm - extent_mm[1]) / 2
    marks = ["0 g"]
    for number, (right, down) in markers.items():
        marks += _marker(number, left_mm + right * size_mm, top_mm - down * size_mm, size_mm)
    label_mm = 0 if is_board else margin_mm  # below the margin, which must stay white
    bottom_mm = top_mm - extent_mm[1] - margin_mm - label_mm
    frame_mm = (left_mm - margin_mm, bottom_mm, extent_mm[0] + 2 * margin_mm, extent_mm[1] + 2 * margin_mm + label_mm)
    marks += ["0.6 G 0.2 w [2 2] 0 d", _rectangle(*frame_mm) + " S", "0 G [] 0 d"]
    if not is_board:
        marks += _text(left_mm, bottom_mm + 0.3 * label_mm, 0.6 * label_mm, [f"{size_mm:g} mm"])
    notes_top_mm = height_mm / 2 + 15 if is_board else bottom_mm - 10
    marks += _notes(width_mm / 2, notes_top_mm, size_mm, is_board)
    return _pdf(width_mm, height_mm, "\n".join(marks))


def _marker(number: int, left_mm: float, top_mm: float, size_mm: float) -> list[str]:
    """Its black modules as one area, so that no seam shows between them."""
    picture_hw_u8 = cv2.aruco.generateImageMarker(DICTIONARY, number, N_MODULES)
    module_mm = size_mm / N_MODULES
    black = [
        _rectangle(left_mm + column * module_mm, top_mm - (row + 1) * module_mm, module_mm, module_mm)
        for row in range(N_MODULES)
        for column in range(N_MODULES)
        if not picture_hw_u8[row, column]
    ]
    return [*black, "f"]


def _notes(middle_mm: float, top_mm: float, size_mm: float, is_board: bool) -> list[str]:
    left_mm, right_mm = middle_mm - RULER_MM / 2, middle_mm + RULER_MM / 2
    lines = [f"{left_mm:.4f} {top_mm:.4f} m {right_mm:.4f} {top_mm:.4f} l"]
    lines += [f"{x:.4f} {top_mm - 2:.4f} m {x:.4f} {top_mm + 2:.4f} l" for x in (left_mm, right_mm)]
    said = (
        f"This line is {RULER_MM} mm long. If it isn't, print again at 100 %.",
        f"{'Four markers' if is_board else 'Marker'} of {size_mm:g} mm: send marker_size_mm={size_mm:g} with photographs.",
        "Cut along the dashed line, and lay the paper flat on the surface.",
        "Photograph the whole paper with the cracks, in focus: at least 150",
        "pixels per marker side, the cracks at most five marker sides away.",
    )
    return [*lines, "0.25 w S", *_text(left_mm, top_mm - 8, 3.2, said)]


def _text(left_mm: float, base_mm: float, height_mm: float, lines: Sequence[str]) -> list[str]:
    shown = [f"({line}) Tj T*" for line in lines]
    return [f"BT /F1 {height_mm:.4f} Tf {1.45 * height_mm:.4f} TL {left_mm:.4f} {base_mm:.4f} Td", *shown, "ET"]


def _rectangle(left_mm: float, bottom_mm: float, width_mm: float, height_mm: float) -> str:
    return f"{left_mm:.4f} {bottom_mm:.4f} {width_mm:.4f} {height_mm:.4f} re"


def _pdf(width_mm: float, height_mm: float, marks: str) -> bytes:
    """A file of one page (PDF 1.4, ISO 32000-1, 7.5); marks are in millimetres from the bottom left corner."""
    content = f"{_POINTS_BY_MM:.9f} 0 0 {_POINTS_BY_MM:.9f} 0 0 cm\n{marks}".encode("latin-1")
    box = f"[0 0 {width_mm * _POINTS_BY_MM:.4f} {height_mm * _POINTS_BY_MM:.4f}]"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        f"<< /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    written = bytearray(b"%PDF-1.4\n")
    starts = []
    for number, described in enumerate(objects, start=1):
        starts.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, described)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(written) + end % (len(objects) + 1, table, len(objects) + 1, len(written))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, the file is written; 2, it couldn't be."""
    parser = argparse.ArgumentParser(
        prog="crack markers",
        description=(__doc__ or "").partition("\n")[0],
        epilog="examples:\n  crack markers --size 50 --out marker.pdf\n  crack markers --size 50 --board --paper a3\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=float, default=50, help="a marker's side in mm (default: 50)")
    parser.add_argument("--board", action="store_true", help="a sheet of four markers, for a larger area")
    parser.add_argument("--paper", choices=PAPERS_MM, default="a4", help="default: a4")
    parser.add_argument("--out", type=Path, default=Path("markers.pdf"), help="default: markers.pdf")
    chosen = parser.parse_args(arguments)
    try:
        chosen.out.write_bytes(draw(chosen.size, chosen.paper, is_board=chosen.board))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{chosen.out}: print it at 100 %, and check that the line is {RULER_MM} mm long.")
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("markers"))
