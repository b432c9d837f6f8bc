"""Two surveys of one structure: photographs are laid over each other, and their cracks compared."""

import codecs
import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import openpyxl
import pytest
from numpy.typing import NDArray
from PIL import Image

from inspection.rows import Row, Status
from model.inference.cracks import measure
from model.inference.findings import lines
from model.inference.millimetres import Scale, ScaleSource
from model.synthetic import Surface, draw_surface
from survey.changes import Change, Former, Kind, Part, Reason, Seen, changes
from survey.changes_page import COLUMNS
from survey.compare import main
from survey.laying import Features, lay_over, px_ratio
from survey.report import write_report
from survey.stopping import DONE, NOT_POSSIBLE, SOME_MISSING
from tests.conftest import ROOT
from tests.surveyed import SCALE, surveyed

Picture = NDArray[np.uint8]
SIZE_HW = (600, 800)
FROM_THE_SIDE = np.array([(1.08, 0.09, -70.0), (-0.06, 1.02, 25.0), (6e-5, -4e-5, 1.0)])
STAYS = np.eye(3)


def taken_from(image: Picture, homography: NDArray[np.float64]) -> Picture:
    height, width = image.shape[:2]
    return np.asarray(cv2.warpPerspective(image, homography, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def seen(*cracks: tuple[list[tuple[int, int]], int], possible: list[tuple[int, int]] | None = None) -> Seen:
    """Cracks on a grainy wall, each with its points and width, of which the model is certain; and one that it doubts."""
    image = np.random.default_rng(0).normal(180, 8, (*SIZE_HW, 1)).repeat(3, axis=2).astype(np.uint8)
    prob_hw_u8 = np.zeros(SIZE_HW, np.uint8)
    for points, width in cracks:
        cv2.polylines(image, [np.array(points)], False, (40, 40, 40), width)
        cv2.polylines(prob_hw_u8, [np.array(points)], False, 255, width)
    found = measure(prob_hw_u8, image, 128)
    if possible:
        cv2.polylines(prob_hw_u8, [np.array(possible)], False, 60, 3)
    figures, drawn = [crack.figures for crack in found], [lines(crack) for crack in found]
    row = Row("x.jpg", Status.PREDICTED, 1, 1, "", width=SIZE_HW[1], height=SIZE_HW[0], cracks=figures, lines=drawn)
    return Seen(row, prob_hw_u8, image)


def between(earlier: Seen, later: Seen, to_later: NDArray[np.float64]) -> list[Change]:
    return changes([Former(earlier, to_later)], later)


def only(told: list[Change]) -> Change:
    assert len(told) == 1
    return told[0]


LONG, HALF, REST = [(100, 300), (700, 320)], [(100, 300), (400, 310)], [(400, 310), (700, 320)]


@pytest.mark.parametrize(
    ("earlier", "later", "kind", "changed_px"),
    [
        (seen((LONG, 4)), seen((LONG, 4)), Kind.SAME, 0),
        (seen((HALF, 4)), seen((LONG, 4)), Kind.GROWN, 300),
        (seen((HALF, 4), possible=REST), seen((LONG, 4)), Kind.SAME, 0),
        (seen(), seen((LONG, 4)), Kind.NEW, 600),
        (seen(possible=LONG), seen((LONG, 4)), Kind.UNCERTAIN, 0),
        (seen((LONG, 4)), seen((LONG, 9)), Kind.WIDER, 0),
        (seen((LONG, 4)), seen(), Kind.GONE, 600),
    ],
    ids=["unchanged", "longer", "longer where it was doubtful before", "new", "doubtful before", "wider", "no longer found"],
)
def test_what_became_of_a_crack(earlier: Seen, later: Seen, kind: Kind, changed_px: float) -> None:
    change = only(between(earlier, later, STAYS))
    assert change.kind is kind
    assert change.changed_px == pytest.approx(changed_px, abs=10)


def test_lengths_are_those_that_the_survey_tells() -> None:
    later = seen((LONG, 4))
    change, told = only(between(seen(), later, STAYS)), (later.row.cracks or [])[0]["length_px"]
    assert (change.length_px, change.changed_px) == (pytest.approx(told), pytest.approx(told, rel=0.02))


@pytest.mark.parametrize(("width", "kind"), [(3, Kind.UNCERTAIN), (11, Kind.NEW)], ids=["fine", "wide"])
def test_a_crack_is_new_only_if_the_earlier_photograph_is_fine_enough_to_show_it(width: int, kind: Kind) -> None:
    """Laid over four pixels for each of its own."""
    assert only(between(seen(), seen((LONG, width)), np.diag([4.0, 4.0, 1.0]))).kind is kind


def test_a_fine_crack_that_a_coarser_later_photograph_cannot_show_is_not_missed() -> None:
    assert not between(seen((LONG, 3)), seen(), np.diag([0.25, 0.25, 1.0]))
    assert only(between(seen((LONG, 19)), seen(), np.diag([0.25, 0.25, 1.0]))).kind is Kind.GONE


def blurred(image: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)


def too_bright(image: Picture) -> Picture:
    return np.clip(image.astype(np.int32) * 2, 0, 255).astype(np.uint8)


def too_dark(image: Picture) -> Picture:
    return np.asarray(image // 8, np.uint8)


@pytest.mark.parametrize("spoil", [blurred, too_bright, too_dark])
def test_a_crack_is_not_new_where_the_earlier_photograph_could_not_show_it(spoil: Callable[[Picture], Picture]) -> None:
    earlier, later = seen(), seen((LONG, 3))
    change = only(between(replace(earlier, image_hwc_u8=spoil(earlier.image_hwc_u8)), later, STAYS))
    assert (change.kind, change.reason, change.changed_px) == (Kind.UNCERTAIN, Reason.HIDDEN, 0)
    assert change.unknown_px == pytest.approx(change.length_px, rel=0.02)
    assert not between(later, replace(earlier, image_hwc_u8=spoil(earlier.image_hwc_u8)), STAYS)  # nor is it gone


def test_where_half_of_the_earlier_photograph_is_too_bright_the_other_half_is_compared() -> None:
    earlier = seen()
    half = earlier.image_hwc_u8.copy()
    half[:, 400:] = too_bright(half[:, 400:])
    change = only(between(replace(earlier, image_hwc_u8=half), seen((LONG, 3)), STAYS))
    assert change.kind is Kind.GROWN
    assert change.changed_px == pytest.approx(300, abs=40)
    assert change.unknown_px == pytest.approx(300, abs=40)


def test_a_wide_crack_is_compared_with_a_photograph_that_is_a_little_blurred() -> None:
    earlier = seen()
    soft = np.asarray(cv2.GaussianBlur(earlier.image_hwc_u8, (0, 0), 1.5), np.uint8)
    earlier = replace(earlier, image_hwc_u8=soft)
    assert only(between(earlier, seen((LONG, 3)), STAYS)).kind is Kind.UNCERTAIN
    assert only(between(earlier, seen((LONG, 20)), STAYS)).kind is Kind.NEW


def test_a_crack_that_looks_wider_in_a_blurred_later_photograph_is_not_wider() -> None:
    later = seen((LONG, 9))
    assert only(between(seen((LONG, 4)), replace(later, image_hwc_u8=blurred(later.image_hwc_u8)), STAYS)).kind is Kind.SAME


def test_how_many_pixels_of_the_later_photograph_one_of_the_earlier_covers() -> None:
    assert px_ratio((400, 300), (800, 600), np.diag([2.0, 2.0, 1.0])) == pytest.approx(2)
    assert px_ratio((800, 600), (400, 300), np.diag([0.5, 0.5, 1.0])) == pytest.approx(0.5)


def test_a_branch_is_as_long_as_it_is() -> None:
    branch = [(400, 310), (400, 110)]
    change = only(between(seen((LONG, 4)), seen((LONG, 4), (branch, 4)), STAYS))
    assert change.kind is Kind.GROWN
    assert change.changed_px == pytest.approx(200, abs=10)


def test_what_the_earlier_photograph_does_not_show_is_not_new() -> None:
    right_half_is_beside_it = np.array([(1.0, 0, -450), (0, 1, 0), (0, 0, 1)])
    change = only(between(seen(), seen((REST, 4)), right_half_is_beside_it))
    assert change.kind is Kind.OUTSIDE
    assert change.unknown_px == pytest.approx(300, abs=10)
    assert {part for _, part in change.parts} == {Part.UNKNOWN}


def beside(right_px: int, *points: list[tuple[int, int]]) -> Former:
    """An earlier photograph that was taken further to the right, of cracks at these points of the later one."""
    own = [([(x - right_px, y) for x, y in crack], 4) for crack in points]
    return Former(seen(*own), np.array([(1.0, 0, right_px), (0, 1, 0), (0, 0, 1)]))


def test_several_earlier_photographs_tell_of_a_crack_each_of_its_part() -> None:
    left, right = beside(-450, HALF), beside(350)
    change = only(changes([left, right], seen((LONG, 4))))
    assert (change.kind, change.photographs, change.earlier) == (Kind.GROWN, (0, 1), ((0, 1),))
    assert change.changed_px == pytest.approx(350, abs=10)
    assert change.unknown_px == 0
    assert only(changes([left], seen((LONG, 4)))).unknown_px == pytest.approx(350, abs=10)
    assert only(changes([left, beside(350, LONG)], seen((LONG, 4)))).kind is Kind.SAME


def test_a_crack_that_one_of_two_earlier_photographs_shows_is_not_new() -> None:
    for formers in ([beside(0), beside(0, LONG)], [beside(0, LONG), beside(0)]):
        change = only(changes(formers, seen((LONG, 4))))
        assert (change.kind, change.changed_px) == (Kind.SAME, 0)


def test_a_crack_that_two_earlier_photographs_show_is_no_longer_found_once() -> None:
    change = only(changes([beside(0, LONG), beside(200, LONG)], seen()))
    assert (change.kind, change.photographs, change.earlier) == (Kind.GONE, (0,), ((0, 1),))


def test_what_one_earlier_photograph_could_not_show_another_one_tells() -> None:
    sharp, later = seen(), seen((LONG, 3))
    dull = Former(replace(sharp, image_hwc_u8=blurred(sharp.image_hwc_u8)), STAYS)
    change = only(changes([dull, Former(sharp, STAYS)], later))
    assert (change.kind, change.unknown_px) == (Kind.NEW, 0)


def test_widths_and_lengths_are_those_of_the_later_photograph() -> None:
    twice_as_near = np.diag([2.0, 2.0, 1.0])
    change = only(between(seen(([(50, 100), (350, 110)], 4)), seen(([(100, 200), (700, 220)], 8)), twice_as_near))
    assert change.kind is Kind.SAME
    assert change.width_px is not None
    assert change.width_before_px == pytest.approx(change.width_px, rel=0.15)


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


def without_crack(wall: Surface) -> tuple[Surface, NDArray[np.bool_]]:
    """The wall before it cracked, and where it did."""
    shade = np.median(wall.image_hwc_u8, axis=(0, 1)).astype(np.uint8)
    rng = np.random.default_rng(0)
    plain = np.clip(shade + rng.normal(0, 6, wall.image_hwc_u8.shape), 0, 255).astype(np.uint8)
    around = cv2.dilate(wall.mask_hw.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    return Surface(np.where(around[..., None], plain, wall.image_hwc_u8), np.zeros(SIZE_HW, bool), wall.material), around


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
