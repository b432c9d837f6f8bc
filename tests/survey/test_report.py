"""The report: its PDF read by PDFium, its page opened and printed by a real Chromium."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from selenium import webdriver
from selenium.webdriver.common.by import By

from inspection.report.drawings import Place, runs, site_map
from inspection.report.pictures import Overview, close_up, close_up_box
from inspection.report.ranking import rank
from inspection.report.writing import PAGE, compose
from inspection.rows import Row, Status
from model.inference.width_classes import classes
from model.synthetic import Surface, draw_surface
from survey.changes_record import RECORD
from survey.findings import ABOUT, About, Findings
from survey.head import read_inspection
from survey.opening import open_survey
from survey.report import main, write_report
from tests.conftest import ROOT
from tests.photographs import jpeg
from tests.surveyed import exif, surveyed

ODD = 'span 1/#strong[x] $y$ <b>&amp; \\ " \n\udcfc=.jpg'
SURFACES = {
    ODD: draw_surface(3, (300, 420)),
    "plain.jpg": draw_surface(4, (300, 420)),
    "third.jpg": draw_surface(1, (420, 300)),
}
TORN = Row("torn.jpg", Status.REFUSED, 5, 0, "", error="It is torn or corrupt.")
FILM = Row("walk.mov", Status.LEFT_OUT, 0, 0, "", error="It is a film.")
STRUCTURE = "Bridge <b>7</b> #strong[x] $x$ \\ @a"


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return found(tmp_path)


def found(folder: Path) -> Findings:
    exifs = {ODD: exif(47.3701, -8.5412), "plain.jpg": exif(47.3712, -8.5399)}
    findings = surveyed(folder, SURFACES, exifs=exifs, others={"torn.jpg": TORN, "walk.mov": FILM})
    findings.survey.close()
    return findings


def pages(path: Path | str) -> list[str]:
    document = pypdfium2.PdfDocument(path)
    texts = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    return [" ".join(text.split()) for text in texts]


def n_cracks(findings: Findings) -> int:
    journal = (findings.survey.folder / "cracks.jsonl").read_text().splitlines()
    return sum(len(json.loads(line).get("cracks") or ()) for line in journal)


class Told(NamedTuple):
    """A report's pages as text, and how many cracks its survey has."""

    pages: list[str]
    n_cracks: int


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    findings = found(tmp_path_factory.mktemp("survey"))
    given = {"structure": STRUCTURE, "date": "2026-05-01", "inspector": "M. Weber", "element": "", "client": "Road authority"}
    _, pdf = write_report(findings.survey.folder, given, 100)
    return Told(pages(pdf), n_cracks(findings))


def test_the_cover_names_what_was_said_of_the_inspection_and_nothing_that_was_not(told: Told) -> None:
    for words in (STRUCTURE, "Date of inspection 2026-05-01", "Inspector M. Weber", "Client Road authority", "20260501-000000"):
        assert words in told.pages[0]
    assert "0.2 mm per pixel, as given" in told.pages[0]
    assert "Element" not in told.pages[0]


def test_the_summary_counts_and_shows_where_photographs_were_taken(told: Told) -> None:
    for words in (f"Cracks {told.n_cracks}", "Photographs 4", "Where the photographs were taken"):
        assert words in told.pages[1]


def test_each_finding_has_a_page(told: Told) -> None:
    found = [page for page in told.pages if "Close-up:" in page]
    assert len(found) == told.n_cracks
    assert all(f"Finding {number} " in page for number, page in enumerate(found, 1))
    assert '#strong[x] $y$ <b>&amp; \\ "' in found[0]


def test_a_list_names_all_findings_before_their_pages_and_leads_to_them(told: Told, findings: Findings) -> None:
    (begin,) = (number for number, page in enumerate(told.pages) if "List of findings" in page)
    assert begin < next(number for number, page in enumerate(told.pages) if "Close-up:" in page)
    page, _ = write_report(findings.survey.folder, {}, 100)
    links = re.findall(r'<td><a href="#(finding-\d+)">', Path(page).read_text())
    assert links == [f"finding-{number}" for number in range(1, told.n_cracks + 1)]
    assert all(f'id="{link}"' in Path(page).read_text() for link in links)


def test_names_can_be_searched_for_and_copied(tmp_path: Path) -> None:
    name = "span_3/IMG_" + "0123456789" * 8 + ".jpg"
    findings = surveyed(tmp_path, {name: SURFACES["third.jpg"]})
    findings.survey.close()
    _, pdf = write_report(findings.survey.folder, {}, 1)
    document = pypdfium2.PdfDocument(pdf)
    texts = ["".join(page.get_textpage().get_text_bounded().split()) for page in document]
    document.close()
    assert any(f"Crack1of{name}" in text for text in texts)


def test_the_pdf_is_for_archives_and_accessible_and_is_made_whatever_a_name_holds(findings: Findings) -> None:
    for structure, is_known in (("Brücke 7", True), ("\U00012000", False)):
        _, pdf = write_report(findings.survey.folder, {"structure": structure}, 2)
        content = Path(pdf).read_bytes()
        assert [name in content for name in (b"pdfaid:part", b"pdfuaid:part")] == [is_known, is_known]
        assert any("Finding 2 " in page for page in pages(pdf))


def test_thirty_findings_fit_into_a_mail_even_on_coarse_asphalt() -> None:
    grain = np.random.default_rng(1).normal(128, 60, (1500, 2000, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    asphalt = np.asarray(Image.fromarray(grain).filter(ImageFilter.GaussianBlur(2)))
    lines = [[(100.0 + 90 * step, 700.0 + 40 * (step % 3)) for step in range(20)]]
    crack = {"width_max_at": [1000.0, 720.0], "width_max_px": 90.0}
    box = close_up_box((2000, 1500), crack, lines)
    pictures = Overview(asphalt, [lines]).of(0, box, 0.2), close_up(asphalt, crack, lines, box, 0.2)
    assert 30 * sum(map(len, pictures)) < 5_000_000


def test_folders_and_bands_have_their_totals(findings: Findings) -> None:
    about = findings.survey.folder / ABOUT
    about.write_text(json.dumps(json.loads(about.read_text()) | {"standard": ["aci-224r-01", "humidity"]}))
    page, _ = write_report(findings.survey.folder, {}, 1)
    text = Path(page).read_text()
    of_folder = {name: int(n) for name, n in re.findall(r"<td>(\(no folder\)|span 1)</td><td>\d</td><td>(\d+)</td>", text)}
    of_band = [int(n) for n in re.findall(r'<th scope="row">(?:ACI 224R-01: |No band)[^<]*</th><td>(\d+)', text)]
    assert set(of_folder) == {"(no folder)", "span 1"}
    assert sum(of_folder.values()) == sum(of_band) == n_cracks(findings)
    assert len(of_band) == 3


def test_the_last_page_says_what_was_left_out_and_why(told: Told) -> None:
    for words in ("torn.jpg It is torn or corrupt.", "walk.mov It is a film."):
        assert words in told.pages[-1]


def test_findings_past_the_bound_are_in_a_table(findings: Findings) -> None:
    _, pdf = write_report(findings.survey.folder, {}, 1)
    told = pages(pdf)
    assert sum("Close-up:" in page for page in told) == 1
    assert "Cracks with a page below 1, by rank; the others follow" in told[1]
    assert "Further cracks" in told[-1]
    assert "third.jpg" in told[-1]


def test_a_survey_without_a_crack_has_a_report(tmp_path: Path) -> None:
    bare = Surface(SURFACES["plain.jpg"].image_hwc_u8, np.zeros((300, 420), np.bool_), "")
    findings = surveyed(tmp_path, {"bare.jpg": bare}, scale=None)
    findings.survey.close()
    _, pdf = write_report(findings.survey.folder, {}, 30)
    told = pages(pdf)
    assert len(told) == 3
    assert "photographs" in told[0]  # the folder, for want of a structure
    assert "None: all figures are in pixels" in told[0]
    assert "Photographs without cracks 1" in told[1]
    assert "Where" not in told[1]


def test_what_people_or_files_are_called_is_text_on_the_page_which_asks_nobody_and_prints_a_page_for_each_finding(
    findings: Findings, browser: webdriver.Chrome
) -> None:
    page, _ = write_report(findings.survey.folder, {"structure": STRUCTURE}, 100)
    browser.get(Path(page).as_uri())
    assert browser.find_element(By.TAG_NAME, "h1").text == STRUCTURE
    assert '#strong[x] $y$ <b>&amp; \\ " \ufffd=.jpg' in browser.find_element(By.ID, "finding-1").text
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 2 * n_cracks(findings)
    assert all(browser.execute_script("return arguments[0].naturalWidth", image) >= 300 for image in images)
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    assert browser.find_elements(By.TAG_NAME, "script") == []
    browser.set_window_size(390, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    pdf = findings.survey.folder / "printed.pdf"
    pdf.write_bytes(base64.b64decode(printed))
    told = pages(pdf)
    assert [sum(f"Finding {number} " in page for page in told) for number in range(1, n_cracks(findings) + 1)] == [
        1
    ] * n_cracks(findings)
    assert len(told) <= n_cracks(findings) + 5


def test_the_order_is_band_then_score_then_width_and_then_length() -> None:
    def crack(width_mm: float | None, length_mm: float, **more: object) -> dict[str, object]:
        return {"width_p95_mm": width_mm, "length_mm": length_mm, **more}

    ranked = [
        rank(crack(0.1, 5, band={"above_mm": 0.4}), 0.1),
        rank(crack(0.1, 5, band={"above_mm": None}), 0.9),
        rank(crack(0.5, 5), 0.9),
        rank(crack(0.4, 900), 0.9),
        rank(crack(None, 70), 0.9),
        rank(crack(None, 60), 0.9),
        rank(crack(3.0, 900), 0.2),
        rank(crack(3.0, 900), None),
    ]
    assert ranked == sorted(ranked)


@dataclass(frozen=True)
class Counting(Findings):
    """Findings that count how often they give a photograph's picture."""

    n_read: Counter[str] = field(default_factory=Counter)

    def picture(self, file: str) -> tuple[NDArray[np.uint8], bool]:
        self.n_read[file] += 1
        return super().picture(file)


def test_findings_of_different_photographs_alternate_by_width_and_each_photograph_is_decoded_once(tmp_path: Path) -> None:
    surfaces = {}
    for name, widths_px in (("a.jpg", (4, 12, 20)), ("b.jpg", (8, 16))):
        image_hwc_u8, mask_hw = np.full((300, 420, 3), 160, np.uint8), np.zeros((300, 420), np.bool_)
        for number, width_px in enumerate(widths_px, 1):
            bar = slice(70 * number, 70 * number + width_px), slice(60, 360)
            image_hwc_u8[bar], mask_hw[bar] = 40, True
        surfaces[name] = Surface(image_hwc_u8, mask_hw, "")
    surveyed(tmp_path, surfaces).survey.close()
    journal = tmp_path / "photographs-cracks" / "cracks.jsonl"
    journal.write_text(re.sub(r'"crack_score": ?[\d.]+', '"crack_score":0.9', journal.read_text()))
    survey = open_survey(journal.parent, None)
    counting = Counting(survey, About.load(survey), list(surfaces))
    page = compose(counting, {}, 4, forms=[PAGE])[PAGE].decode()
    survey.close()

    assert re.findall(r"Crack \d of (\w)", page) == ["a", "b", "a", "b"]
    assert re.findall(r"<td>5</td>\s*<td>(\w)", page) == ["a"]
    assert counting.n_read == {"a.jpg": 1, "b.jpg": 1}


def test_with_a_standard_each_finding_has_its_band_and_the_cover_the_standard(findings: Findings) -> None:
    about = findings.survey.folder / ABOUT
    about.write_text(json.dumps(json.loads(about.read_text()) | {"standard": ["aci-224r-01", "humidity"]}))
    _, pdf = write_report(findings.survey.folder, {}, 100)
    told = [" ".join(page.split()) for page in pages(pdf)]
    assert "A guide value, not a verdict on safety." in told[0]
    assert any("Band, a guide value ACI 224R-01: above" in page for page in told)


def test_a_photograph_that_is_gone_is_left_out_and_one_that_has_changed_is_shown_as_it_was(findings: Findings) -> None:
    photographs = findings.survey.folder.with_name("photographs")
    (photographs / ODD).unlink()
    (photographs / "plain.jpg").write_bytes(jpeg(np.zeros((90, 90, 3), np.uint8)))
    _, pdf = write_report(findings.survey.folder, {}, 100)
    told = pages(pdf)
    assert not any("#strong" in page for page in told[:-1])
    assert "It is no longer in the folder of photographs." in told[-1]
    shown = [page for page in told if "Crack 1 of plain.jpg" in page]
    assert len(shown) == 1
    assert "has changed since the survey" in shown[0]


def test_a_long_label_of_a_place_stays_on_the_map() -> None:
    assert runs([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    assert runs(range(1, 99, 2)) == "1, 3, 5, 7, 9 ..."
    drawn = site_map([Place(48.0, 9.0, 1), Place(48.0, 9.1, 3, "1, 3, 5, 7, 9 ...")], classes("mm"))
    assert 'text-anchor="end" font-size="13" fill="#1c2733"' in drawn


def test_a_map_shows_places_to_scale_across_the_180th_meridian() -> None:
    places = [Place(-18.0, 179.999, None), Place(-18.0, -179.999, 3, "1, 2")]
    drawn = site_map(places, classes("mm"))
    assert "1, 2" in drawn
    assert "no crack found" in drawn
    assert "50 m<" in drawn


def test_a_panorama_has_a_page_too(tmp_path: Path) -> None:
    image_hwc_u8, mask_hw = np.full((40, 30_000, 3), 160, np.uint8), np.zeros((40, 30_000), np.bool_)
    image_hwc_u8[18:22, 100:400], mask_hw[18:22, 100:400] = 40, True
    findings = surveyed(tmp_path, {"strip.png": Surface(image_hwc_u8, mask_hw, "")})
    findings.survey.close()
    _, pdf = write_report(findings.survey.folder, {}, 30)
    assert "Crack 1 of strip.png" in pages(pdf)[2]


def test_the_file_in_the_folder_says_what_the_command_line_does_not(findings: Findings) -> None:
    (findings.survey.folder / "inspection.toml").write_text(
        'structure = "From the file"\ninspector = "A. File"\ndate = 2026-05-01\n', encoding="utf-8-sig"
    )
    command = [
        sys.executable,
        "-m",
        "survey.report",
        str(findings.survey.folder),
        "--structure",
        "From the line",
        "--findings",
        "0",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(findings.survey.folder / name) for name in ("report.html", "report.pdf")]
    cover = pages(findings.survey.folder / "report.pdf")[0]
    assert "Structure From the line" in cover
    assert "Inspector A. File" in cover
    assert "Date of inspection 2026-05-01" in cover


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        ("no journal", "has no cracks.jsonl: expected a survey's folder"),
        ("no text", "structure is no text). Expected lines such as structure"),
        ("no toml", "Expected lines such as structure"),
    ],
)
def test_what_is_wrong_is_told(findings: Findings, tmp_path: Path, prepare: str, sentence: str) -> None:
    folder = tmp_path if prepare == "no journal" else findings.survey.folder
    if prepare != "no journal":
        (folder / "inspection.toml").write_text("structure = [1]" if prepare == "no text" else "structure")
    done = subprocess.run([sys.executable, "-m", "crack", "report", str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr


@pytest.mark.parametrize("content", [b"", b'{"earlier": "2024", "ro', b"[1, 2]", b"{}", b"\0" * 40])
def test_a_comparison_that_is_damaged_is_named_with_what_to_do(
    findings: Findings, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (findings.survey.folder / "changes").mkdir()
    (findings.survey.folder / RECORD).write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main([str(findings.survey.folder)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "changes.json cannot be read (" in said
    assert "Compare the surveys again" in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_details_are_read_as_windows_writes_them(findings: Findings, encoding: str) -> None:
    (findings.survey.folder / "inspection.toml").write_text('structure = "Br\u00fccke 7"\n', encoding)
    assert read_inspection(findings.survey) == {"structure": "Br\u00fccke 7"}


def test_a_full_disk_is_told_with_what_to_do_and_the_former_report_stays(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = shutil.copytree(found(tmp_path).survey.folder, small_disk / "results")
    (results / "report.html").write_text("former")
    with suppress(OSError), (small_disk / "other").open("wb", 0) as other:
        while True:
            other.write(bytes(4096))
    with pytest.raises(SystemExit) as ended:
        main([str(results)])
    assert ended.value.code == 2
    assert "Free space on that disk and in TMPDIR, then run the same command again." in capsys.readouterr().err
    assert (results / "report.html").read_text() == "former"
