"""Painting in the Inspect tab: nothing of it is lost, and nothing of one photograph sticks to the next."""

from pathlib import Path

import numpy as np
import pytest
import requests
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from sidecar.labels import read_mask
from tests.page.conftest import SIZE_HW
from tests.pages import draw, eventually, inspect, move_to, one, painted, press, says, strike, transform, upload
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome
NAME = ".gallery [aria-current=true] .name"


def paint(browser: Browser) -> None:
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-120, -60), (160, 70))


def test_painting_verdict_and_note_stay_with_their_photograph_through_keys_and_a_reload(
    browser: Browser, walls: list[Path]
) -> None:
    inspect(browser, *walls)
    name, before = one(browser, NAME).text, painted(browser)
    paint(browser)
    mine = painted(browser)
    assert (mine & ~before).sum() > 50
    Select(one(browser, "#inspect-viewer .verdict")).select_by_value("too_thin")
    one(browser, "#inspect-viewer .note").send_keys("at the joint")

    is_last = (
        one(browser, ".gallery button:last-child").get_attribute("aria-current") == "true"
    )  # whichever came first is shown
    away, back = ("k", "j") if is_last else ("j", "k")
    strike(browser, away)
    eventually(lambda: one(browser, NAME).text != name)
    says(browser, "#inspect-viewer", one(browser, NAME).text)
    assert one(browser, "#inspect-viewer .verdict").get_attribute("value") == ""
    assert one(browser, "#inspect-viewer .note").get_attribute("value") == ""
    strike(browser, back)
    says(browser, "#inspect-viewer", name)
    assert np.array_equal(painted(browser), mine)

    browser.refresh()
    says(browser, "#inspect-viewer", f"{name}: ")
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .gallery button")) == len(walls))
    assert np.array_equal(painted(browser), mine)
    assert one(browser, "#inspect-viewer .verdict").get_attribute("value") == "too_thin"
    assert one(browser, "#inspect-viewer .note").get_attribute("value") == "at the joint"


def test_painting_goes_on_at_the_next_photograph_and_behind_a_failed_one(
    browser: Browser, walls: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("Look again at pier 3.\n")
    upload(browser, *walls[:2], tmp_path / "notes.txt")
    eventually(lambda: one(browser, ".progress").text == "2 of 3 done, 1 failed")
    press(browser, ".gallery button:first-child")
    says(browser, "#inspect-viewer", one(browser, ".gallery button:first-child .name").text + ": ")
    strike(browser, "e", "KeyE")
    for key, number in (("j", 2), ("j", 3), ("k", 2), ("k", 1)):
        strike(browser, key)
        says(browser, "#inspect-viewer", one(browser, f".gallery button:nth-child({number}) .name").text + ": ")
        if number < 3:
            eventually(lambda: one(browser, "#inspect-viewer .eraser").is_displayed())
            eventually(lambda: "in total" in one(browser, ".findings .sum").text)
            assert one(browser, "#inspect-viewer .eraser").is_displayed()
            assert one(browser, "#inspect-viewer .eraser").get_attribute("aria-pressed") == "true"


def test_keys_work_before_anything_is_clicked_with_caps_lock_and_on_other_layouts(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])

    def is_painting() -> bool:
        return one(browser, "#inspect-viewer .paint-mode").get_attribute("aria-pressed") == "true"

    for key in ("p", "P", "з", "π"):
        was_painting = is_painting()
        strike(browser, key, "KeyP")
        assert is_painting() is not was_painting, key
    strike(browser, "p", "KeyP")
    draw(browser, (-100, -40), (120, 20))
    mine = painted(browser)
    strike(browser, "я", "KeyZ", metaKey=True)
    undone = painted(browser)
    assert not np.array_equal(undone, mine)
    strike(browser, "Z", "KeyZ", ctrlKey=True, shiftKey=True)
    assert np.array_equal(painted(browser), mine)
    one(browser, "#inspect-viewer .note").send_keys("pbe")
    assert one(browser, "#inspect-viewer .note").get_attribute("value") == "pbe"


def test_correct_and_another_window_keep_the_zoom(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    for _ in range(3):
        press(browser, "#inspect-viewer .zoom-in")
    (x, y, scale), height = transform(browser), one(browser, "#inspect-viewer .stage").size["height"]
    press(browser, "#inspect-viewer .paint-mode")
    lower = one(browser, "#inspect-viewer .stage").size["height"]  # the tools take a line of it, and its middle stays
    assert transform(browser) == pytest.approx((x, y + (lower - height) / 2, scale))
    browser.set_window_size(1200, 1000)
    eventually(lambda: transform(browser)[0] != x)
    assert transform(browser)[2] == scale


def test_a_mask_changed_by_the_threshold_alone_is_sent_and_waits_for_a_reviewer(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    inspect(browser, walls[0])
    move_to(browser, "#inspect-viewer .threshold", 150)
    mine = painted(browser)
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    (item,) = [item for item in waiting(sidecar) if item["name"] == walls[0].name and item["verdict"] == "too_thick"]
    content = requests.get(f"{sidecar.url}/feedback/{item['id']}/mask", timeout=PATIENCE_S).content
    assert np.array_equal(read_mask(content, SIZE_HW), mine)


def test_after_painting_the_threshold_waits_until_one_starts_over(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    before = painted(browser)
    paint(browser)
    assert not one(browser, "#inspect-viewer .threshold").is_enabled()
    press(browser, "#inspect-viewer .restore")
    assert one(browser, "#inspect-viewer .threshold").is_enabled()
    assert np.array_equal(painted(browser), before)


def test_starting_over_takes_the_batchs_threshold_and_changes_it_for_no_other(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, *walls[:2])
    paint(browser)
    press(browser, ".gallery [aria-current=false]")
    eventually(lambda: one(browser, "#inspect-viewer .threshold").is_enabled())
    move_to(browser, "#inspect-viewer .threshold", 20)
    other = painted(browser)
    press(browser, ".gallery [aria-current=false]")
    says(browser, "#inspect-viewer", "corrected by you")
    press(browser, "#inspect-viewer .restore")
    assert one(browser, "#inspect-viewer .threshold").get_attribute("value") == "20"
    press(browser, ".gallery [aria-current=false]")
    eventually(lambda: np.array_equal(painted(browser), other))


def test_undo_never_brings_back_the_mask_of_another_threshold(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    paint(browser)
    press(browser, "#inspect-viewer .restore")
    move_to(browser, "#inspect-viewer .threshold", 20)
    mine = painted(browser)
    for _ in range(2):
        press(browser, "#inspect-viewer .undo")
    assert one(browser, "#inspect-viewer .threshold").is_enabled()
    assert np.array_equal(painted(browser), mine)


def test_the_pages_own_mask_is_one_that_the_sidecar_takes(
    browser: Browser, sidecar: Sidecar, walls: list[Path], tmp_path: Path
) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    inspect(browser, walls[0])
    paint(browser)
    press(browser, "#inspect-viewer .save-mask")
    path = tmp_path / "wall-0-mask.png"
    eventually(path.is_file)
    assert np.array_equal(read_mask(path.read_bytes(), SIZE_HW), painted(browser))
    files = {"image": walls[0].read_bytes(), "mask": path.read_bytes()}
    answer = requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S)
    assert answer.json()["state"] == "labelled"


def test_two_fingers_zoom_and_pan_even_while_painting_and_paint_nothing(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    press(browser, "#inspect-viewer .paint-mode")
    before, scale = painted(browser), transform(browser)[2]
    box = one(browser, "#inspect-viewer .stage").rect
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind: str, *offsets: tuple[int, int]) -> None:
        points = [{"x": middle[0] + dx, "y": middle[1] + dy, "id": number} for number, (dx, dy) in enumerate(offsets)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (-30, 0))
    touch("touchStart", (-30, 0), (30, 0))
    touch("touchMove", (-60, 0), (60, 0))
    touch("touchMove", (-60, 40), (60, 40))
    touch("touchEnd")
    assert transform(browser)[2] > 1.5 * scale
    assert np.array_equal(painted(browser), before)
    touch("touchStart", (-30, 0))
    touch("touchMove", (30, 10))
    touch("touchEnd")
    eventually(lambda: not np.array_equal(painted(browser), before))


def test_the_brush_grows_by_a_key_and_is_seen_under_the_pointer(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    press(browser, "#inspect-viewer .paint-mode")
    size = one(browser, "#inspect-viewer .size-out").text
    strike(browser, "]", "BracketRight")
    assert one(browser, "#inspect-viewer .size-out").text != size
    ActionChains(browser).move_to_element(one(browser, "#inspect-viewer .stage")).perform()
    assert one(browser, "#inspect-viewer .cursor").is_displayed()


def waiting(sidecar: Sidecar) -> list[dict[str, str]]:
    return list(requests.get(f"{sidecar.url}/feedback?limit=500", timeout=PATIENCE_S).json()["items"])
