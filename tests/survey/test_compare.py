"""Two surveys of one structure: photographs are laid over each other, and their cracks compared."""

import codecs
import csv
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import openpyxl
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.inference.millimetres import Scale, ScaleSource
from model.synthetic import Surface, draw_surface
from survey.changes_page import COLUMNS
from survey.compare import main
from survey.laying import Features, lay_over, px_ratio
from survey.report import write_report
from survey.stopping import DONE, NOT_POSSIBLE, SOME_MISSING
from tests.conftest import ROOT
from tests.surveyed import SCALE, surveyed, without_crack

Picture = NDArray[np.uint8]
SIZE_HW = (600, 800)
FROM_THE_SIDE = np.array([(1.08, 0.09, -70.0), (-0.06, 1.02, 25.0), (6e-5, -4e-5, 1.0)])


def taken_from(image: Picture, homography: NDArray[np.float64]) -> Picture:
    height, width = image.shape[:2]
    return np.asarray(cv2.warpPerspective(image, homography, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def test_how_many_pixels_of_the_later_photograph_one_of_the_earlier_covers() -> None:
    assert px_ratio((400, 300), (800, 600), np.diag([2.0, 2.0, 1.0])) == pytest.approx(2)
    assert px_ratio((800, 600), (400, 300), np.diag([0.5, 0.5, 1.0])) == pytest.approx(0.5)


def test_a_photograph_from_another_point_is_laid_over_to_a_pixel() -> None:
    image = draw_surface(5, SIZE_HW).image_hwc_u8
    found = lay_over(Features.of(image), Features.of(taken_from(image, FROM_THE_SIDE)))
    assert found is not None
    points = np.array([[(100.0, 100.0), (700.0, 100.0), (700.0, 500.0), (100.0, 500.0)]])
    np.testing.assert_allclose(cv2.perspectiveTransform(points, found), cv2.perspectiveTransform(points, FROM_THE_SIDE), atol=1)


@pytest.mark.parametrize("make", [lambda: draw_surface(6, SIZE_HW).image_hwc_u8, lambda: np.full((*SIZE_HW, 3), 128, np.uint8)])
def test_what_does_not_show_the_same_is_not_laid_over(make: Callable[[], Picture]) -> None:
    assert lay_over(Features.of(draw_surface(5, SIZE_HW).image_hwc_u8), Features.of(make())) is None


def survey(folder: Path, surfaces: dict[str, Surface], scale: Scale = SCALE) -> Path:
    findings = surveyed(folder, surfaces, scale)
    findings.survey.close()
    return findings.survey.folder


@pytest.fixture
def years(tmp_path: Path) -> tuple[Path, Path]:
    """The same two walls, one renamed and taken from the side; the later year has a third."""
    walls = [draw_surface(seed, SIZE_HW) for seed in (3, 4, 7)]
    moved = taken_from(walls[0].mask_hw.astype(np.uint8), FROM_THE_SIDE)
    aside = Surface(taken_from(walls[0].image_hwc_u8, FROM_THE_SIDE), moved.astype(bool), walls[0].material)
    earlier = survey(tmp_path / "2024", {"DSC1.jpg": walls[0], "DSC2.jpg": walls[1]})
    return earlier, survey(tmp_path / "2026", {"=P9.jpg": aside, "DSC2.jpg": walls[1], "DSC1.jpg": walls[2]})


def compare(earlier: Path, later: Path, *more: str) -> int:
    return main([str(earlier), str(later), "--archive", str(ROOT / "model_store" / "crack.mar"), "--concurrency", "1", *more])


def told(later: Path) -> list[dict[str, str]]:
    with (later / "changes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_photographs_find_their_counterparts_whatever_their_names(years: tuple[Path, Path]) -> None:
    earlier, later = years
    assert compare(earlier, later) == SOME_MISSING  # nothing of 2024 shows the third wall, though it has a name of 2024
    rows = told(later)
    assert {(row["file"], row["earlier_file"]) for row in rows} == {("'=P9.jpg", "DSC1.jpg"), ("DSC2.jpg", "DSC2.jpg")}
    assert not {"new", "longer"} & {row["change"] for row in rows}
    page = (later / "changes.html").read_text()
    assert "2 compared" in page
    assert "<li>DSC1.jpg: No earlier photograph shows the same flat surface.</li>" in page
    assert linked(page) == {path.name for path in (later / "changes").glob("*.jpg")}
    head, *lines = openpyxl.load_workbook(later / "changes.xlsx")["changes"].iter_rows(values_only=True)
    assert head == COLUMNS
    assert [(line[0], line[head.index("length_px")]) for line in lines] == [
        (row["file"].removeprefix("'"), float(row["length_px"])) for row in rows
    ]


def linked(page: str) -> set[str]:
    return {unquote(name) for name in re.findall(r'(?:href|src)="changes/([^"]*)"', page)}


def test_earlier_photographs_that_nobody_took_again_are_told(years: tuple[Path, Path]) -> None:
    earlier, later = years
    assert compare(later, earlier) == DONE
    page = (earlier / "changes.html").read_text()
    assert "1 earlier photograph not compared" in page
    assert re.search(r"<li>DSC1.jpg: \d+ cracks?</li>", page)


def test_a_changed_crack_is_shown_before_and_now_and_marked(tmp_path: Path) -> None:
    wall = draw_surface(3, SIZE_HW)
    whole, around = without_crack(wall)
    earlier, later = survey(tmp_path / "2024", {"a.jpg": whole}), survey(tmp_path / "2026", {"a.jpg": wall})
    assert compare(earlier, later, "--bom") == DONE
    assert "new" in (later / "changes.csv").read_bytes().decode("utf-8-sig")
    assert (later / "changes.csv").read_bytes().startswith(codecs.BOM_UTF8)
    assert linked((later / "changes.html").read_text()) == {f"0001-{panel}-a.jpg.jpg" for panel in ("before", "now", "changes")}
    before, now, changed = (
        np.asarray(Image.open(later / "changes" / f"0001-{panel}-a.jpg.jpg"), float) for panel in ("before", "now", "changes")
    )
    assert np.abs(before - now)[~around].mean() < 6  # laid over each other
    assert (np.abs(changed - (255, 0, 64)).max(axis=2) < 60).sum() > 500


def test_a_photograph_is_compared_with_all_that_show_a_part_of_it(tmp_path: Path) -> None:
    wall = draw_surface(3, SIZE_HW)
    whole, _ = without_crack(wall)
    parts = {
        "left.jpg": Surface(wall.image_hwc_u8[:, :480], wall.mask_hw[:, :480], wall.material),
        "right.jpg": Surface(whole.image_hwc_u8[:, 320:], whole.mask_hw[:, 320:], wall.material),
        "z.jpg": draw_surface(6, SIZE_HW),
    }
    earlier, later = survey(tmp_path / "2024", parts), survey(tmp_path / "2026", {"a.jpg": wall})
    assert compare(earlier, later) == DONE
    rows = told(later)
    assert {row["earlier_file"] for row in rows} <= {"left.jpg", "right.jpg", "left.jpg; right.jpg", "right.jpg; left.jpg"}
    assert "not on the earlier photograph" not in {row["change"] for row in rows}
    assert sum(float(row["changed_px"]) for row in rows if row["change"] in ("new", "longer")) > 100
    page = (later / "changes.html").read_text()
    assert re.search("before: (left.jpg; right.jpg|right.jpg; left.jpg)<", page)
    assert "<li>z.jpg:" in page  # not compared
    before = np.asarray(Image.open(later / "changes" / "0001-before-a.jpg.jpg"), float)
    assert (before.max(axis=2) < 5).mean() < 0.01  # each shows its part


def test_the_report_tells_the_changes_and_two_scales_that_contradict_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wall = draw_surface(3, SIZE_HW)
    earlier = survey(tmp_path / "2024", {"a.jpg": without_crack(wall)[0]})
    later = survey(tmp_path / "2026", {"a.jpg": wall}, Scale(0.3, ScaleSource.GIVEN))
    (later / "report.html").touch()
    assert compare(earlier, later) == DONE
    said = capsys.readouterr().out
    assert "The scales of 1 photograph contradict" in said
    assert "run crack report again" in said
    note = "a pixel of this photograph covers 0.3 mm by its own scale, and 0.2 mm by that of the earlier photograph."
    assert all(row["note"].endswith(note) for row in told(later))
    assert note in (later / "changes.html").read_text()
    page = Path(write_report(later, {}, 30)[0]).read_text()
    assert note in page
    assert page.count("<figcaption") == 3
    assert re.search(r"Since photographs-cracks</th><td>new<", page)
    journal = later / "cracks.jsonl"
    journal.write_text(journal.read_text().replace('"id":1', '"id":7'))
    page = Path(write_report(later, {}, 30)[0]).read_text()
    assert "a.jpg. Compare the surveys again" in page
    assert "not compared" in page
    assert "<figcaption" not in page


@pytest.fixture
def former(years: tuple[Path, Path]) -> str:
    """What a comparison wrote before."""
    later = years[1]
    (later / "changes").mkdir()
    (later / "changes" / "0001-changes-DSC2.jpg.jpg").write_bytes(b"former")
    (later / "changes" / "0002-changes-DSC3.jpg.jpg").write_bytes(b"former")
    page = '<img src="changes/0001-changes-DSC2.jpg.jpg"><img src="changes/0002-changes-DSC3.jpg.jpg">'
    (later / "changes.html").write_text(page)
    return page


@pytest.mark.parametrize(("name", "reason"), [("2026", "The photograph"), ("2024", "The earlier photograph")])
def test_if_nothing_can_be_compared_a_former_comparison_stays(
    years: tuple[Path, Path], former: str, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    earlier, later = years
    photographs = later.parents[1] / name / "photographs"
    photographs.rename(photographs.with_name("moved"))
    with pytest.raises(SystemExit) as ended:
        compare(earlier, later)
    assert ended.value.code == NOT_POSSIBLE
    assert f"nothing was written. {reason} is not where its survey found it" in capsys.readouterr().err
    assert (later / "changes.html").read_text() == former


def test_if_the_page_cannot_be_written_the_former_one_keeps_its_pictures(
    years: tuple[Path, Path], former: str, tmp_path: Path
) -> None:
    earlier, later = years
    (later / "changes.csv").mkdir()
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("DSC2.jpg,DSC2.jpg\n")
    with pytest.raises(SystemExit):
        compare(earlier, later, "--pairs", str(pairs))
    assert (later / "changes.html").read_text() == former
    assert linked(former) <= {path.name for path in (later / "changes").glob("*.jpg")}
    (later / "changes.csv").rmdir()
    assert compare(earlier, later, "--pairs", str(pairs)) == DONE
    assert linked((later / "changes.html").read_text()) == {path.name for path in (later / "changes").glob("*.jpg")}


def test_surveys_that_were_made_differently_are_told(
    years: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, later = years
    journal = later / "cracks.jsonl"
    journal.write_text(journal.read_text().replace('"threshold":0.5', '"threshold":0.2'))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("DSC2.jpg,DSC2.jpg\n")
    compare(earlier, later, "--pairs", str(pairs))
    assert "threshold 0.5, quality normal, the later one by model 20260501-000000 with threshold 0.2" in capsys.readouterr().out
    assert "The two surveys were made differently" in (later / "changes.html").read_text()


def test_a_folder_whose_name_is_not_utf_8_can_be_compared(tmp_path: Path) -> None:
    walls = {"DSC1.jpg": draw_surface(3, SIZE_HW)}
    later = survey(tmp_path / "2026", walls).rename(tmp_path / "Br\udcfccke")
    assert compare(survey(tmp_path / "2024", walls), later) == DONE
    assert "Br\ufffdcke" in (later / "changes.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("separator", [",", ";"])
def test_pairs_can_be_named(years: tuple[Path, Path], tmp_path: Path, separator: str) -> None:
    earlier, later = years
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"DSC1.jpg{separator}=P9.jpg\n", encoding="utf-8-sig")
    assert compare(earlier, later, "--pairs", str(pairs)) == DONE
    assert {row["file"] for row in told(later)} == {"'=P9.jpg"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("2024", "2024"), "is named twice"),
        (("2024", "2026", "--pairs", "pairs.csv"), "line 1: found 'DSC1.jpg,no.jpg', expected a photograph of EARLIER"),
        (("2024", "2026", "--pairs", "empty.csv"), "empty.csv names no pair"),
        (("2024", "photographs"), "expected a survey's folder"),
    ],
)
def test_what_is_wrong_is_told(
    years: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "pairs.csv").write_text("DSC1.jpg,no.jpg\n")
    (tmp_path / "empty.csv").touch()
    places = {
        "2024": years[0],
        "2026": years[1],
        "photographs": tmp_path / "2024" / "photographs",
        "pairs.csv": tmp_path / "pairs.csv",
        "empty.csv": tmp_path / "empty.csv",
    }
    with pytest.raises(SystemExit) as ended:
        main([str(places.get(each, each)) for each in arguments])
    assert ended.value.code == NOT_POSSIBLE
    assert sentence in capsys.readouterr().err
