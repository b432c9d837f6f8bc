"""A contact sheet with more photographs than one page takes, in a real Chromium."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from inspection.findings import Photograph
from inspection.rows import Row, Status
from inspection.taken import Taken
from model.synthetic import draw_surface
from survey import sheet as sheets
from survey.folder import Survey
from survey.report import write_report
from survey.results import write_results
from survey.sheet import PER_PAGE, ContactSheet
from tests.surveyed import surveyed
from tests.waiting import eventually

QUESTION = {"quality": "normal", "threshold": "of the model"}
ODD = f"south/{'ü' * 125} #1 100%.jpg"


def write(folder: Path, files: Sequence[str]) -> Path:
    """The first ones have the highest score."""
    survey, sheet = Survey(folder, QUESTION), ContactSheet()
    for number, file in enumerate(files):
        ratio = (number % 1000) / 1000
        score = 1 - number / len(files)
        row = Row(file, Status.PREDICTED, 1, 1, "", crack_ratio=ratio, crack_score=score, thumbnail="THUMBNAIL")
        survey.append(row)
        sheet.add(Photograph(row, None, Taken()))
    path = Path(sheet.write(survey, "bridge", ""))
    survey.close()
    return path


def test_its_pages_lead_to_each_other_and_its_filter_finds_what_is_on_any_of_them(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    files = [f"north/{number:04}.jpg" for number in range(PER_PAGE + 200)] + [ODD]
    page = write(tmp_path, files)

    def shown() -> list[str]:
        return list(browser.execute_script("return [...document.querySelectorAll('figure')].map(each => each.dataset.file)"))

    def overlay() -> str:
        return str(browser.find_element(By.CSS_SELECTOR, "figure a").get_attribute("href"))

    browser.get(page.as_uri())
    assert shown() == files[:PER_PAGE]
    linked = overlay()
    browser.find_element(By.LINK_TEXT, "next").click()
    eventually(lambda: shown() == files[PER_PAGE:])
    assert "Page 2 of 2" in browser.find_element(By.TAG_NAME, "nav").text
    assert overlay() == linked.replace("0000.jpg", "1000.jpg")

    browser.find_element(By.ID, "name").send_keys("/0003")
    eventually(lambda: shown() == [files[3]])
    assert overlay() == linked.replace("0000.jpg", "0003.jpg")
    browser.find_element(By.ID, "name").clear()
    browser.find_element(By.ID, "name").send_keys("#1 100%")
    eventually(lambda: shown() == [ODD])
    assert overlay().startswith(linked.partition("/north")[0] + "/south/%C3%BC")
    assert "~" in overlay()  # a name too long for a file
    browser.find_element(By.ID, "name").clear()
    browser.find_element(By.ID, "share").clear()
    browser.find_element(By.ID, "share").send_keys("99.9")
    eventually(lambda: shown() == [files[999]])
    browser.find_element(By.ID, "share").clear()
    browser.find_element(By.ID, "share").send_keys("0")
    eventually(lambda: shown() == files[PER_PAGE:])


def test_a_share_with_a_comma_is_the_same_as_with_a_point(browser: webdriver.Chrome, tmp_path: Path) -> None:
    browser.get(write(tmp_path, [f"{number:04}.jpg" for number in range(60)]).as_uri())
    share, count = browser.find_element(By.ID, "share"), browser.find_element(By.ID, "count")
    for text, told in (("5,45", "5 shown"), ("5.45", "5 shown"), ("five", "60 shown")):
        share.clear()
        share.send_keys(text)
        eventually(lambda told=told: count.text == told)
        assert browser.execute_script("return arguments[0].validity.valid", share) == (text != "five")


def test_after_back_the_filter_that_is_written_applies(browser: webdriver.Chrome, tmp_path: Path) -> None:
    browser.get(write(tmp_path, [f"{number:04}.jpg" for number in range(60)]).as_uri())
    browser.find_element(By.ID, "name").send_keys("007")
    browser.execute_script("location.href = 'masks/'")
    eventually(lambda: "masks" in browser.current_url)
    browser.back()
    eventually(lambda: browser.find_element(By.ID, "name").get_attribute("value") == "007")
    eventually(lambda: browser.find_element(By.ID, "count").text == "1 shown")


def test_pages_of_a_larger_survey_before_it_are_removed(tmp_path: Path) -> None:
    files = [str(number) for number in range(2 * PER_PAGE + 1)]
    write(tmp_path, files)
    assert sorted(path.name for path in (tmp_path / "sheet").iterdir()) == ["2.html", "3.html", "all.js"]
    write(tmp_path, files[: PER_PAGE + 1])
    assert sorted(path.name for path in (tmp_path / "sheet").iterdir()) == ["2.html", "all.js"]
    write(tmp_path, files[:PER_PAGE])
    assert not (tmp_path / "sheet").exists()


def test_photographs_far_behind_show_their_overlays_in_place_of_thumbnails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "_N_THUMBNAILS", PER_PAGE)
    files = [f"{number:04}.jpg" for number in range(PER_PAGE + 1)]
    page = write(tmp_path, files)
    first, second = (re.findall('<img src="([^"]+)"', path.read_text()) for path in (page, tmp_path / "sheet" / "2.html"))
    assert set(first) == {"data:image/jpeg;base64,THUMBNAIL"}
    assert second == [f"../overlays/{files[-1]}.jpg"]


def test_every_table_and_report_is_linked_in_a_folder_that_was_moved_too(tmp_path: Path) -> None:
    findings = surveyed(tmp_path, {"wall.jpg": draw_surface(3, (120, 160))})
    write_results(findings, with_bom=False, also=["coco", "dxf"], asked="")
    findings.survey.close()
    tables = [
        "cracks.xlsx",
        "photographs.csv",
        "cracks.csv",
        "cracks.geojson",
        "photographs.parquet",
        "cracks.parquet",
        "coco.json",
    ]
    assert linked(findings.survey.folder) == [*tables, "dxf/"]
    write_report(findings.survey.folder, {}, n_pages=1)
    moved = findings.survey.folder.rename(tmp_path / "Brücke #7")
    assert linked(moved) == ["report.html", "report.pdf", *tables, "dxf/"]
    assert all((moved / name).exists() for name in linked(moved))


def linked(folder: Path) -> list[str]:
    (results,) = re.findall('<span id="results">(.*)</span>', (folder / "index.html").read_text())
    return re.findall('href="([^"]+)"', results)
