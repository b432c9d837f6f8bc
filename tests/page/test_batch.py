"""Many photographs in the Inspect tab: how they come in, what is shown of them, and what the ZIP holds."""

import base64
import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.front import Front
from tests.pages import downloaded, draw, eventually, inspect, move_to, one, painted, press, says, strike, upload

Browser = webdriver.Chrome


@pytest.fixture(autouse=True)
def downloads(browser: Browser, tmp_path: Path) -> Path:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    return tmp_path


def packed(browser: Browser, downloads: Path) -> tuple[dict[str, dict[str, str]], dict[str, NDArray[np.bool_]]]:
    """The ZIP of one press of the button: the table's lines and the masks, by the photographs' names."""
    former = set(downloads.glob("cracks-*.zip"))
    press(browser, ".pack")
    with zipfile.ZipFile(downloaded(downloads, "cracks-*.zip", former)) as archive:
        table = io.StringIO(archive.read("photographs.csv").decode("utf-8-sig"))
        lines = {line["name"]: line for line in csv.DictReader(table)}
        masks = {
            Path(name).stem[4:]: np.asarray(Image.open(io.BytesIO(archive.read(name)))) > 0
            for name in archive.namelist()
            if name.startswith("masks/")
        }
    return lines, masks


def shown(browser: Browser) -> str:
    return one(browser, "#inspect-viewer .status").text.partition(":")[0]


def test_one_press_gives_the_zip_of_this_batch_as_it_is_on_the_screen(
    browser: Browser, walls: list[Path], downloads: Path
) -> None:
    torn = downloads / "torn.jpg"
    torn.write_bytes(walls[0].read_bytes()[:2000])
    upload(browser, *walls, torn)
    eventually(lambda: one(browser, ".progress").text == "3 of 4 done, 1 failed")
    eventually(lambda: "cannot be decoded" in one(browser, "body").text)
    eventually(lambda: all(path.name in one(browser, "body").text for path in walls))
    says(browser, "#inspect-viewer", "% crack")
    move_to(browser, "#inspect-viewer .threshold", 20)
    lines, masks = packed(browser, downloads)
    assert lines.keys() == {path.name for path in (*walls, torn)}
    assert "cannot be decoded" in lines["torn.jpg"]["problem"]
    assert np.array_equal(masks[Path(shown(browser)).stem], painted(browser))
    assert {line["threshold"] for line in lines.values() if not line["problem"]} == {str(round(20 / 255, 4))}

    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    (downloads / "=1+1: ?.jpg").write_bytes(walls[0].read_bytes())
    upload(browser, downloads / "=1+1: ?.jpg")
    eventually(lambda: one(browser, ".progress").text == "4 of 5 done, 1 failed")
    lines, masks = packed(browser, downloads)
    assert lines.keys() == {"'=1+1: ?.jpg", *(path.name for path in (*walls, torn))}
    assert "=1+1_ _" in masks
    assert np.array_equal(masks[Path(shown(browser)).stem], painted(browser))
    assert lines[shown(browser)]["is_corrected"] == "True"


def test_a_photograph_dropped_anywhere_on_the_page_is_taken_and_no_tab_opens(browser: Browser, walls: list[Path]) -> None:
    script = """
    const dropped = new DataTransfer();
    const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
    dropped.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
    const drop = new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true });
    return !document.querySelector("#inspect-viewer .stage").dispatchEvent(drop);
    """
    one(browser, "#inspect-viewer .stage")
    assert browser.execute_script(script, base64.b64encode(walls[0].read_bytes()).decode())
    assert "dropped.jpg" in says(browser, "#inspect-viewer", "% crack")


def test_a_file_that_is_no_photograph_rejects_no_other(browser: Browser, walls: list[Path], downloads: Path) -> None:
    (downloads / "notes.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    upload(browser, downloads / "notes.heic", *walls)
    eventually(lambda: one(browser, ".progress").text == "3 of 4 done, 1 failed")
    says(browser, "#inspect-viewer", "% crack")


def test_several_photographs_are_asked_for_at_once_and_the_page_is_free_meanwhile(
    browser: Browser, walls: list[Path], front: Front
) -> None:
    inspect(browser, walls[0])
    with front.holding(0):
        for path in [*walls, *walls]:
            upload(browser, path)
        eventually(lambda: front.n_held == 3)
        before = painted(browser)
        press(browser, "#inspect-viewer .paint-mode")
        draw(browser, (-100, -40), (150, 20))
        assert not np.array_equal(painted(browser), before)
    eventually(lambda: one(browser, ".progress").text == "7 of 7 done")
    assert front.n_held == 3


def test_a_photograph_that_finds_the_server_busy_is_tried_again(browser: Browser, walls: list[Path], front: Front) -> None:
    front.refusals.extend([503, 503])
    inspect(browser, walls[0])
    assert not front.refusals


def test_after_stop_the_list_and_the_zip_agree_and_clear_clears(
    browser: Browser, walls: list[Path], front: Front, downloads: Path
) -> None:
    with front.holding(1):
        upload(browser, *walls, *[copied(path) for path in walls])
        eventually(lambda: front.n_held == 3)
        press(browser, ".halt")
    assert (
        eventually(lambda: one(browser, ".again").is_displayed() and one(browser, ".progress").text) == "4 of 6 done, 2 failed"
    )
    lines, masks = packed(browser, downloads)
    assert (len(lines), len(masks)) == (6, 4)
    assert sum(line["problem"] == "Stopped before it was sent." for line in lines.values()) == 2
    press(browser, ".again")
    eventually(lambda: one(browser, ".progress").text == "6 of 6 done")

    press(browser, "#inspect-viewer .clear")
    eventually(lambda: not browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .gallery button"))
    assert not one(browser, "#inspect-viewer .sheet").is_displayed()
    assert one(browser, "#inspect-viewer .hint").is_displayed()
    browser.refresh()
    assert one(browser, "#inspect-viewer .hint").is_displayed()


def test_the_gallery_has_the_surest_cracks_first_and_marks_what_was_done(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, *walls)
    marks = [element.text for element in browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .gallery .mark")]
    scores = [float(mark.split(",")[0].removeprefix("score ")) for mark in marks]
    assert scores == sorted(scores, reverse=True)
    assert sum("unseen" in mark for mark in marks) == 2
    current = ".gallery [aria-current=true] .mark"
    strike(browser, "c", "KeyC")
    says(browser, "#inspect-viewer", "Saved: the prediction was called correct")
    assert "confirmed" in one(browser, current).text
    press(browser, ".gallery [aria-current=false]")
    eventually(lambda: "confirmed" not in one(browser, current).text)
    says(browser, "#inspect-viewer", one(browser, ".gallery [aria-current=true] .name").text)
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    eventually(lambda: "not sent" in one(browser, current).text)
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    assert "corrected" in one(browser, current).text


def copied(path: Path) -> Path:
    copy = path.with_name(f"copy-of-{path.name}")
    copy.write_bytes(path.read_bytes())
    return copy
