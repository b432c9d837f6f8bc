"""The findings beside the photograph: the sidecar's own figures, a row and its line, and the scale."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from inspection.report.ranking import figure
from tests.pages import (
    downloaded,
    draw,
    eventually,
    inspect,
    move_to,
    one,
    open_tab,
    painted,
    press,
    says,
    strike,
    transform,
    upload,
)
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome


def rows(browser: Browser) -> list[list[str]]:
    """The table's cells, once it is measured."""
    eventually(lambda: re.search("in total|No crack", one(browser, ".findings .sum").text))
    script = """
    const rows = document.querySelectorAll(".findings tbody tr");
    return [...rows].map((row) => [...row.cells].map((cell) => cell.textContent));
    """
    return browser.execute_script(script)  # type: ignore[no-any-return]


@pytest.fixture
def cracks(sidecar: Sidecar, walls: list[Path]) -> list[dict[str, float]]:
    """What the sidecar measures in the first wall."""
    files = {"image": walls[0].read_bytes(), "response": (None, "cracks")}
    features = requests.post(f"{sidecar.url}/predict", files=files, timeout=PATIENCE_S).json()["features"]
    assert features
    return [feature["properties"] for feature in features]


def number(cell: str) -> float:
    return float(cell.lstrip("≥< "))


def test_the_table_holds_what_the_sidecar_measures(browser: Browser, walls: list[Path], cracks: list[dict[str, float]]) -> None:
    inspect(browser, walls[0])
    found = rows(browser)
    assert len(found) == len(cracks)
    for cells, crack in zip(found, cracks, strict=True):
        assert number(cells[1]) == pytest.approx(crack["length_px"], rel=0.01)
        width = crack["width_limit_px"] if crack["is_width_below_limit"] else crack["width_max_px"]
        assert number(cells[2]) == pytest.approx(width, abs=0.06)
        assert float(cells[3]) == pytest.approx(crack["probability_mean"], abs=0.0051)


def test_a_scale_with_a_comma_is_the_same_and_one_that_can_be_misread_is_not_taken(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    rows(browser)
    field, total = one(browser, ".findings .mm"), one(browser, ".findings .sum")
    field.send_keys("0.25", Keys.TAB)
    eventually(lambda: "mm in total" in total.text)
    with_point = total.text
    field.clear()
    field.send_keys("0,25", Keys.TAB)
    assert total.text == with_point
    for text in ("1,000", "a quarter", "1.2.3", "-1"):
        field.clear()
        field.send_keys(text, Keys.TAB)
        assert "can be misread" in str(field.get_attribute("validationMessage")), text
    field.clear()
    field.send_keys("0,5", Keys.TAB)
    assert field.get_attribute("validationMessage") == ""
    eventually(lambda: float(total.text.split()[2]) == pytest.approx(2 * float(with_point.split()[2]), rel=0.01))


def test_what_is_a_thousand_in_the_browsers_language_is_not_taken_for_one(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    rows(browser)
    field = one(browser, ".findings .mm")
    agent = browser.execute_script("return navigator.userAgent")
    try:
        for of_menus, of_pages, taken in (
            ("en-GB", "en-GB", {"1.125"}),
            ("de-DE", "de-DE", {"1,125"}),
            ("en-GB", "de-DE", set()),
            ("de-DE", "en-GB", set()),
        ):
            browser.execute_cdp_cmd("Emulation.setLocaleOverride", {"locale": of_menus})
            browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": of_pages})
            for text in ("1,125", "1.125"):
                field.clear()
                field.send_keys(text, Keys.TAB)
                is_taken = field.get_attribute("validationMessage") == ""
                assert is_taken == (text in taken), (of_menus, of_pages, text)
    finally:
        browser.execute_cdp_cmd("Emulation.setLocaleOverride", {})
        browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "en-US"})


def test_a_row_and_its_line_light_up_together_by_click_and_by_key(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    rows(browser)

    def lit() -> tuple[list[str | None], list[str | None]]:
        found = [browser.find_elements(By.CSS_SELECTOR, selector) for selector in (".findings tr.lit", ".lines .line.lit")]
        ids = [[element.get_attribute("data-line") for element in elements] for elements in found]
        return ids[0], ids[1]

    assert lit() == ([], [])
    script = """
    const path = document.querySelector(".lines .near");
    const [x, y] = path.getAttribute("d").slice(1).split("L")[1].split(" ").map(Number);
    const at = new DOMPoint(x, y).matrixTransform(path.getScreenCTM());
    return [at.x, at.y];
    """
    x, y = browser.execute_script(script)
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    eventually(lambda: lit() == (["1"], ["1"]))
    strike(browser, "n", "KeyN")
    second = "2" if len(rows(browser)) > 1 else "1"
    assert lit() == ([second], [second])
    one(browser, ".findings tbody tr.lit").send_keys(Keys.ARROW_UP)
    assert lit() == (["1"], ["1"])
    assert one(browser, ".findings tbody tr.lit").get_attribute("aria-selected") == "true"


def test_without_a_scale_lengths_are_in_pixels_and_with_a_typed_one_in_millimetres(
    browser: Browser, walls: list[Path], cracks: list[dict[str, float]]
) -> None:
    inspect(browser, *walls[:2])
    if walls[0].name not in one(browser, "#inspect-viewer .status").text:
        press(browser, ".gallery [aria-current=false]")
        says(browser, "#inspect-viewer", f"{walls[0].name}: ")
    rows(browser)
    assert one(browser, ".findings .length").text == "Length, px"
    assert "in pixels" in one(browser, ".findings .scale-source").text
    one(browser, ".findings .mm").send_keys("0.2", Keys.TAB)
    assert one(browser, ".findings .length").text == "Length, mm"
    assert one(browser, ".findings .scale-source").text == "Typed in."
    assert rows(browser)[0][1].removeprefix("≥ ") == figure(0.2 * cracks[0]["length_px"])  # as in a report
    press(browser, ".findings .scale-all")
    press(browser, ".gallery [aria-current=false]")
    says(browser, "#inspect-viewer", f"{walls[1].name}: ")
    assert one(browser, ".findings .scale-source").text == f"Typed in. Set on {walls[0].name}."


def test_the_zip_has_each_crack_as_it_is_on_the_screen(browser: Browser, walls: list[Path], tmp_path: Path) -> None:
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(walls[0].read_bytes()[:2000])
    upload(browser, walls[0], torn)
    eventually(lambda: one(browser, ".progress").text == "1 of 2 done, 1 failed")
    rows(browser)
    one(browser, ".findings .mm").send_keys("0.2", Keys.TAB)
    eventually(lambda: "mm in total" in one(browser, ".findings .sum").text)
    shown_mm = [number(cells[1]) for cells in rows(browser)]
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    press(browser, ".pack")
    with zipfile.ZipFile(downloaded(tmp_path, "cracks-*.zip")) as archive:
        book = openpyxl.load_workbook(io.BytesIO(archive.read("cracks.xlsx")))
    cracks, photographs = (
        [dict(zip(head, line, strict=True)) for line in lines]
        for head, *lines in (list(book[title].iter_rows(values_only=True)) for title in ("cracks", "photographs"))
    )
    assert [crack["length_mm"] for crack in cracks] == pytest.approx(shown_mm, rel=0.01)
    assert {crack["file"] for crack in cracks} == {walls[0].name}
    assert {crack["crack_score"] for crack in cracks} == {photographs[0]["crack_score"]}
    summary = {(line[0], line[1]): line[2] for line in book["summary"].iter_rows(min_row=2, values_only=True)}
    assert summary["totals", "Cracks"] == len(cracks)
    assert "quality normal" in summary["cover", "Model"]
    assert [name for section, name in summary if section == "left out"] == ["torn.jpg"]
    measured, failed = sorted(photographs, key=lambda line: line["file"] == "torn.jpg")
    assert (measured["mm_per_px"], measured["scale_note"]) == (0.2, "Typed in.")
    assert (failed["status"], "cannot be decoded" in failed["error"]) == ("failed", True)


def test_a_scale_that_is_being_typed_outlives_a_measurement(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    before = rows(browser)
    one(browser, ".findings .mm").send_keys("0.2")
    move_to(browser, "#inspect-viewer .threshold", 150)
    eventually(lambda: rows(browser) != before)
    one(browser, ".findings .mm").send_keys("5", Keys.TAB)
    eventually(lambda: one(browser, ".findings .length").text == "Length, mm")
    assert one(browser, ".findings .mm").get_attribute("value") == "0.25"


def test_a_ruler_over_a_known_length_sets_the_scale(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    rows(browser)
    strike(browser, "l", "KeyL")
    scale = transform(browser)[2]
    draw(browser, (-100, 20), (200, 0))
    eventually(lambda: one(browser, ".findings .known-mm").is_displayed())
    one(browser, ".findings .known-mm").send_keys("50", Keys.ENTER)
    eventually(lambda: one(browser, ".findings .length").text == "Length, mm")
    told = one(browser, ".findings .scale-source").text
    assert told == f"By ruler: 50 mm are {200 / scale:.0f} px."
    shown = float(one(browser, ".findings .mm").get_attribute("value") or 0)
    assert shown == pytest.approx(50 / (200 / scale), rel=0.02)


def test_what_is_painted_is_measured(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.fromarray(np.full((240, 320, 3), 180, np.uint8)).save(path)
    inspect(browser, path)
    assert rows(browser) == []
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, 0), (200, 0))
    eventually(lambda: "1 crack, " in one(browser, ".findings .sum").text)


def test_a_crack_is_marked_as_a_joint_by_one_key_and_undo_brings_it_back(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    found, before = rows(browser), painted(browser)
    strike(browser, "n", "KeyN")
    press(browser, ".findings [data-kind=joint]")
    assert painted(browser).sum() < before.sum()
    assert one(browser, "#inspect-viewer .marked text").text == "joint"
    assert "draft" in one(browser, "#inspect-viewer .send").get_attribute("title")
    eventually(lambda: len(rows(browser)) == len(found) - 1)
    press(browser, ".findings .back")
    assert np.array_equal(painted(browser), before)
    assert not browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .marked text")
    eventually(lambda: rows(browser) == found)


def test_what_was_deleted_and_marked_survives_a_reload_and_goes_along_with_the_label(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    inspect(browser, walls[0])
    found = rows(browser)
    strike(browser, "n", "KeyN")
    strike(browser, "2", "Digit2")
    mine = painted(browser)
    eventually(lambda: len(rows(browser)) == len(found) - 1)
    browser.refresh()
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mine)
    assert one(browser, "#inspect-viewer .marked text").text == "lane marking"
    before = {item["id"] for item in items(sidecar)}
    assert one(browser, "#inspect-viewer .send").text == "Checked: send mask"
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    (item,) = [item for item in items(sidecar) if item["id"] not in before]
    (marked,) = item["look_alikes"]
    left, top, right, bottom = marked["box"]
    assert marked["kind"] == "lane_marking"
    assert not mine[top:bottom, left:right].all()
    open_tab(browser, "Review")
    while walls[0].name not in says(browser, "#review-viewer", "% crack"):
        strike(browser, "j")
    eventually(lambda: one(browser, "#review-viewer .marked text").text == "lane marking")


def items(sidecar: Sidecar) -> list[dict[str, Any]]:
    return list(requests.get(f"{sidecar.url}/feedback?limit=500", timeout=PATIENCE_S).json()["items"])
