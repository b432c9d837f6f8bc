"""Inspections on the page: begun, filled, left, reopened by a colleague, reported, compared, deleted."""

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import openpyxl
import psutil
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from model.synthetic import draw_surface
from tests.front import Front
from tests.page.conftest import SIZE_HW
from tests.pages import (
    PointerAt,
    downloaded,
    draw,
    eventually,
    inspect,
    move_to,
    one,
    painted,
    press,
    says,
    strike,
    upload,
    without_network,
)
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.surveyed import without_crack
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome
WALL_HW = (600, 800)


@pytest.fixture(autouse=True)
def no_inspections(sidecar: Sidecar) -> None:
    for each in kept(sidecar):
        requests.delete(f"{sidecar.url}/inspections/{each['id']}", timeout=PATIENCE_S).raise_for_status()


def kept(sidecar: Sidecar, route: str = "") -> list[dict[str, Any]]:
    return list(requests.get(f"{sidecar.url}/inspections{route}", timeout=PATIENCE_S).json()["items"])


def begin(browser: Browser, name: str, **fields: str) -> None:
    press(browser, "#inspect-viewer .all")
    for field, text in {"name": name, **fields}.items():
        one(browser, f"dialog.inspections [name={field}]").send_keys(text)
    press(browser, "dialog.inspections .begin")
    eventually(lambda: one(browser, "#inspect-viewer .title").text == name)


def open_again(browser: Browser, name: str) -> None:
    press(browser, "#inspect-viewer .all")
    press(browser, f"dialog.inspections [aria-label='Open {name}']")
    eventually(lambda: one(browser, "#inspect-viewer .title").text == name)


def saved(browser: Browser) -> None:
    eventually(lambda: one(browser, "#inspect-viewer .saved").text == "All saved.")


def marks(browser: Browser) -> list[str]:
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .gallery .mark")]


def open_unseen(browser: Browser) -> None:
    """The first photograph of the gallery that nobody has looked at."""
    script = """
    const buttons = [...document.querySelectorAll("#inspect-viewer .gallery button")];
    const found = buttons.find((each) => each.textContent.includes("unseen"));
    found.click();
    return found.querySelector(".name").textContent;
    """
    name = browser.execute_script(script)
    says(browser, "#inspect-viewer", f"{name}: ")


def forget(browser: Browser, page_url: str) -> None:
    """As a colleague's browser is, which has never seen this page."""
    saved(browser)
    browser.get("about:blank")
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": page_url, "storageTypes": "all"})
    browser.get(page_url)


def test_what_one_inspector_did_a_colleague_finds_as_it_was(
    browser: Browser, walls: list[Path], page_url: str, sidecar: Sidecar
) -> None:
    begin(browser, "Spring", structure="Bridge 7", element="Pier 3", inspector="M. Weber")
    inspect(browser, *walls)
    strike(browser, "c", "KeyC")
    says(browser, "#inspect-viewer", "Saved: the prediction was called correct")
    open_unseen(browser)
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    mask, name = painted(browser), one(browser, ".gallery [aria-current=true] .name").text
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    open_unseen(browser)
    press(browser, "#inspect-viewer .reject")
    eventually(lambda: any("rejected" in mark for mark in marks(browser)))
    forget(browser, page_url)

    assert one(browser, "#inspect-viewer .title").text == "No inspection"
    open_again(browser, "Spring")
    assert "Bridge 7 · Pier 3" in one(browser, "#inspect-viewer .facts").text
    eventually(lambda: len(marks(browser)) == 3)
    found = " ".join(marks(browser))
    assert all(words in found for words in ("confirmed", "corrected", "rejected"))
    eventually(
        lambda: browser.execute_script(
            "const found = [...document.querySelectorAll('#inspect-viewer .gallery button')]"
            ".find((each) => each.querySelector('.name').textContent === arguments[0]); found.click(); return true",
            name,
        )
    )
    says(browser, "#inspect-viewer", f"{name}: ")
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mask)
    saved(browser)
    assert len(kept(sidecar, f"/{kept(sidecar)[0]['id']}/photographs")) == 3


def test_a_reload_loses_nothing_of_an_inspection(browser: Browser, walls: list[Path], sidecar: Sidecar) -> None:
    inspect(browser, *walls[:2])
    open_unseen(browser)
    begin(browser, "Autumn")  # with what is on the page
    eventually(lambda: one(browser, ".progress").text == "2 of 2 done")
    says(browser, "#inspect-viewer", "% crack")
    assert not any("unseen" in mark for mark in marks(browser))
    mm = one(browser, "#inspect-viewer .mm")
    mm.send_keys("0.25")
    mm.send_keys("\t")
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    mask = painted(browser)
    saved(browser)
    browser.refresh()
    eventually(lambda: one(browser, "#inspect-viewer .title").text == "Autumn")
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mask)
    assert one(browser, "#inspect-viewer .mm").get_attribute("value") == "0.25"
    (inspection,) = kept(sidecar)
    photographs = kept(sidecar, f"/{inspection['id']}/photographs")
    assert sorted(each["has_mask"] for each in photographs) == [False, True]
    assert [each["scale"]["mm_per_px"] for each in photographs if each["has_mask"]] == [0.25]


def test_what_is_painted_without_a_network_is_saved_and_measured_once_it_is_back(
    browser: Browser, walls: list[Path], sidecar: Sidecar
) -> None:
    begin(browser, "Spring")
    inspect(browser, walls[0])
    saved(browser)
    press(browser, "#inspect-viewer .paint-mode")
    with without_network(browser):
        draw(browser, (-100, -40), (150, 20))
        eventually(lambda: "Not saved: The page's server cannot" in one(browser, "#inspect-viewer .saved").text)
        eventually(lambda: "Not measured" in one(browser, ".findings .sum").text)
    saved(browser)
    eventually(lambda: "in total" in one(browser, ".findings .sum").text)
    (photograph,) = kept(sidecar, f"/{kept(sidecar)[0]['id']}/photographs")
    assert photograph["has_mask"]


def test_after_a_night_the_photographs_of_an_inspection_are_fetched_again(browser: Browser, walls: list[Path]) -> None:
    begin(browser, "Spring")
    inspect(browser, *walls[:2])
    saved(browser)
    eventually(lambda: "in total" in one(browser, ".findings .sum").text)
    script = "return performance.getEntriesByType('resource').map((each) => each.name).find((name) => name.includes('file='))"
    folder = Path(unquote(browser.execute_script(script).partition("file=")[2])).parent
    for path in folder.glob("*.*"):  # which the page does after a day
        path.unlink()
    before = one(browser, ".findings .sum").text
    move_to(browser, "#inspect-viewer .threshold", 20)
    eventually(lambda: " px in total" in one(browser, ".findings .sum").text.replace(before, ""))
    for path in folder.glob("*.*"):
        path.unlink()
    strike(browser, "j")
    strike(browser, "k")
    says(browser, "#inspect-viewer", "% crack")


def test_of_two_who_decide_about_a_photograph_the_second_is_asked(
    browser: Browser, walls: list[Path], sidecar: Sidecar
) -> None:
    begin(browser, "Spring")
    inspect(browser, walls[0])
    saved(browser)
    route = f"{sidecar.url}/inspections/{kept(sidecar)[0]['id']}/photographs"
    (photograph,) = requests.get(route, timeout=PATIENCE_S).json()["items"]
    files, seen = {"state": (None, "confirmed")}, {"If-Match": photograph["etag"]}
    requests.post(f"{route}/{photograph['id']}", files=files, headers=seen, timeout=PATIENCE_S).raise_for_status()
    press(browser, "#inspect-viewer .reject")
    eventually(lambda: "local changed it on" in one(browser, "#inspect-viewer .saved").text)
    press(browser, "#inspect-viewer .mine")
    saved(browser)
    eventually(lambda: requests.get(route, timeout=PATIENCE_S).json()["items"][0]["state"] == "rejected")


def test_ignored_boxes_and_look_alikes_are_kept_for_a_colleague_and_told_in_the_report(
    browser: Browser, tmp_path: Path, page_url: str, sidecar: Sidecar
) -> None:
    wall = tmp_path / "wall.jpg"
    wall.write_bytes(jpeg(draw_surface(5, SIZE_HW, is_cracked=True).image_hwc_u8))
    begin(browser, "Spring")
    inspect(browser, wall)
    strike(browser, "i", "KeyI")
    PointerAt(browser).drag((0, 0), (40, 60))
    eventually(lambda: "left out" in one(browser, "#inspect-viewer .status").text)
    eventually(lambda: strike(browser, "n", "KeyN") or browser.find_elements(By.CSS_SELECTOR, ".findings tr.lit"))
    strike(browser, "1", "Digit1")
    eventually(lambda: one(browser, "#inspect-viewer .marked text").text == "joint")
    forget(browser, page_url)

    open_again(browser, "Spring")
    says(browser, "#inspect-viewer", "wall.jpg: ")
    assert one(browser, "#inspect-viewer .marked text").text == "joint"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .zones rect")) == 1
    address = f"{sidecar.url}/inspections/{kept(sidecar)[0]['id']}/report"
    told = requests.get(address, timeout=PATIENCE_S).text
    assert "1 part counts in no figure: 3.1% of the photograph. Marked as no crack: 1 joint." in told


def test_the_report_is_downloaded_and_an_inspection_is_deleted_with_all_it_holds(
    browser: Browser, walls: list[Path], tmp_path: Path, sidecar: Sidecar
) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    begin(browser, "Brücke #7: 100%", structure="Bridge 7")
    upload(browser, *walls[:2])
    eventually(lambda: one(browser, ".progress").text == "2 of 2 done")
    for name in ("report", "pdf", "xlsx"):
        press(browser, f"#inspect-viewer .{name}")
    assert "Bridge 7" in downloaded(tmp_path, "Brücke #7_ 100%-report*.html").read_text()
    assert downloaded(tmp_path, "Brücke #7_ 100%-report*.pdf").read_bytes().startswith(b"%PDF")
    sheet = openpyxl.load_workbook(downloaded(tmp_path, "Brücke #7_ 100%-cracks*.xlsx"))["photographs"]
    assert sheet.max_row == 3

    press(browser, "#inspect-viewer .all")
    press(browser, "dialog.inspections [aria-label='Delete Brücke #7: 100%']")
    eventually(lambda: browser.switch_to.alert.accept() is None)
    eventually(lambda: not kept(sidecar))
    press(browser, "dialog.inspections .shut")
    assert one(browser, "#inspect-viewer .title").text == "No inspection"
    assert marks(browser) == []


def keep(sidecar: Sidecar, name: str, photographs: dict[str, bytes], **details: str) -> str:
    """An inspection that somebody else made, with a scale for each photograph; returns its id."""
    url = f"{sidecar.url}/inspections"
    found = requests.post(url, data={"name": name, **details}, timeout=PATIENCE_S).json()
    for file, image in photographs.items():
        address = f"{url}/{found['id']}/photographs"
        added = requests.post(address, files={"image": (file, image)}, timeout=PATIENCE_S).json()
        scale, seen = {"mm_per_px": (None, "0.5")}, {"If-Match": added["etag"]}
        requests.post(f"{address}/{added['id']}", files=scale, headers=seen, timeout=PATIENCE_S).raise_for_status()
    return str(found["id"])


@pytest.fixture
def years(sidecar: Sidecar, tmp_path: Path) -> dict[str, str]:
    """A wall in 2024, before its cracks, and in 2026, by other names; in 2026 also another wall. The ids by names."""
    cracked, other = (draw_surface(seed, WALL_HW) for seed in (3, 7))
    whole, _ = without_crack(cracked)
    now = {"P9.jpg": jpeg(cracked.image_hwc_u8), "P10.jpg": jpeg(other.image_hwc_u8)}
    before = keep(sidecar, "Spring 2024", {"DSC1.jpg": jpeg(whole.image_hwc_u8)}, structure="Bridge 7", date="2024-04-12")
    return {"Spring 2024": before, "Spring 2026": keep(sidecar, "Spring 2026", now, structure="Bridge 7", date="2026-04-15")}


def choose_earlier(browser: Browser, later: str, earlier: str) -> None:
    open_again(browser, later)
    press(browser, "#inspect-viewer .compare")
    press(browser, f"dialog.changes [aria-label='Compare with {earlier}']")


def comparisons(sidecar: Sidecar) -> list[psutil.Process]:
    """The processes that compare, of the page that asks this sidecar."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "survey.inspections" in process.cmdline() and process.environ()["BACKEND_URL"] == sidecar.url:
                found.append(process)
    return found


@pytest.mark.usefixtures("years")
def test_what_has_changed_since_an_earlier_inspection_is_shown_and_downloaded(browser: Browser, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    choose_earlier(browser, "Spring 2026", "Spring 2024")
    eventually(lambda: one(browser, ".changes .outcome").is_displayed())
    told = one(browser, ".changes").text
    assert "Spring 2026, compared with Spring 2024." in told
    assert "P10.jpg: No earlier photograph shows the same flat surface." in told
    assert one(browser, ".changes details[open] h3").text.startswith("P9.jpg: ")
    cells = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".changes details[open] tbody tr:first-child td")]
    assert cells[1] == "new"
    assert cells[2].endswith(" mm")
    script = "return [...document.querySelectorAll('.changes details[open] img')].map((each) => each.naturalWidth)"
    eventually(lambda: browser.execute_script(script) == [WALL_HW[1]] * 3)
    strike(browser, "x", "KeyX")  # no key decides about the photograph behind the result
    assert "rejected" not in " ".join(marks(browser))

    for form in ("zip", "pdf", "xlsx"):
        press(browser, f".changes .outcome .{form}")
    with zipfile.ZipFile(downloaded(tmp_path, "Spring 2026-changes*.zip")) as packed:
        names = packed.namelist()
    assert {"changes.html", "changes.xlsx", "changes.csv", "report.pdf", "changes/0001-now-P9.jpg.jpg"} <= set(names)
    assert downloaded(tmp_path, "Spring 2026-report*.pdf").read_bytes().startswith(b"%PDF")
    assert openpyxl.load_workbook(downloaded(tmp_path, "Spring 2026-changes*.xlsx"))["changes"]["C2"].value == "new"


def test_a_comparison_goes_on_after_a_reload_and_ends_when_it_is_stopped_or_its_photographs_are_deleted(
    browser: Browser, years: dict[str, str], sidecar: Sidecar, front: Front
) -> None:
    with front.holding(0):  # the model's answers
        choose_earlier(browser, "Spring 2026", "Spring 2024")
        eventually(lambda: front.n_held)
        browser.refresh()
        eventually(lambda: one(browser, "#inspect-viewer .compare").text == "Comparing …")
        press(browser, "#inspect-viewer .compare")
        eventually(lambda: "Comparing: 1 of 2 photographs" in one(browser, ".changes .doing").text)
        (former,) = comparisons(sidecar)
        press(browser, ".changes .end")
        eventually(lambda: one(browser, ".changes .failure").text == "Stopped.")
        eventually(lambda: not former.is_running())
        press(browser, "dialog.changes [aria-label='Compare with Spring 2024']")
        eventually(lambda: comparisons(sidecar) and front.n_held > 1)
        requests.delete(f"{sidecar.url}/inspections/{years['Spring 2024']}", timeout=PATIENCE_S).raise_for_status()
    eventually(lambda: "deleted meanwhile" in one(browser, ".changes .failure").text)
    eventually(lambda: not comparisons(sidecar))
