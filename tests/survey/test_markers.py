"""The PDF to print markers from: its measures, and that what it shows is found."""

from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray

from model.inference.markers import find
from survey.markers import PAPERS_MM, RULER_MM, draw, main

DPI = 300


def printed(pdf: bytes) -> NDArray[np.uint8]:
    """Its page at `DPI`, RGB."""
    with pypdfium2.PdfDocument(pdf) as document:
        assert len(document) == 1
        return np.asarray(document[0].render(scale=DPI / 72).to_pil().convert("RGB"))


def black_mm(page: NDArray[np.uint8]) -> tuple[float, float]:
    """Width and height of what is black."""
    y, x = np.nonzero(page[..., 1] < 100)
    return float(np.ptp(x) + 1) * 25.4 / DPI, float(np.ptp(y) + 1) * 25.4 / DPI


def ruler_mm(page: NDArray[np.uint8]) -> float:
    """Between the middles of the strokes at its ends, 0.25 mm each."""
    is_black = page[..., 1] < 128
    thin = is_black & ~np.roll(is_black, 12, axis=0) & ~np.roll(is_black, -12, axis=0)
    row = is_black[int(thin.sum(axis=1).argmax())]
    return float(np.ptp(np.flatnonzero(row)) + 1) * 25.4 / DPI - 0.25


@pytest.mark.parametrize("paper", PAPERS_MM)
def test_a_sheet_of_four_is_printed_at_its_size(paper: str) -> None:
    page = printed(draw(50, paper, is_board=True))
    assert page.shape[:2] == tuple(pytest.approx(side * DPI / 25.4, abs=1) for side in PAPERS_MM[paper][::-1])
    assert black_mm(page) == (pytest.approx(3.5 * 50, abs=0.1), pytest.approx(5 * 50, abs=0.1))
    assert ruler_mm(page) == pytest.approx(RULER_MM, abs=0.2)


@pytest.mark.parametrize("size_mm", [20, 50, 120])
def test_a_single_marker_is_printed_at_its_size(size_mm: float) -> None:
    page = printed(draw(size_mm))
    markers = find(page, size_mm)
    assert markers is not None
    assert markers.mm_per_px == pytest.approx(25.4 / DPI, rel=0.002)
    assert ruler_mm(page) == pytest.approx(RULER_MM, abs=0.2)


@pytest.mark.parametrize(("size_mm", "is_board"), [(30, True), (50, True), (50, False)])
def test_what_is_printed_is_found_flat_and_at_its_scale(size_mm: float, is_board: bool) -> None:
    page = printed(draw(size_mm, is_board=is_board))
    markers = find(page, size_mm)
    assert markers is not None
    (plane,) = markers.planes
    scale = np.sqrt(plane.mm2_per_px2(np.array([(0.0, 0.0), (2480.0, 3508.0)])))
    assert scale == pytest.approx([25.4 / DPI] * 2, rel=0.005)
    prob = np.full(page.shape[:2], 255, np.uint8)
    markers.clear(prob)
    assert not prob[page[..., 1] < 100].any() or not is_board


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "80", "--board"], "Markers of 80 mm: expected 30 to 52 mm for a sheet of four on a4."),
        (["--size", "5"], "Markers of 5 mm: expected 10 to"),
        (["--size", "nan"], "Markers of nan mm: expected 10 to"),
        (["--out", "/nowhere/markers.pdf"], "/nowhere/markers.pdf"),
    ],
)
def test_what_cannot_be_printed_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_the_file_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--board", "--out", str(tmp_path / "sheet.pdf")]) == 0
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF-1.4")
    assert "check that the line is 100 mm long" in capsys.readouterr().out
