"""What people do that nobody planned: two clicks for one, a folder beside a text, a page left early, a server that is gone."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from model.masks import read_mask
from model.synthetic import draw_surface
from tests.front import Front
from tests.heif_files import heif, hevc, turned
from tests.page.conftest import SIZE_HW
from tests.page.test_inspections import begin, marks, saved
from tests.pages import (
    ServedPage,
    draw,
    eventually,
    inspect,
    one,
    open_tab,
    painted,
    press,
    says,
    slow_network,
    strike,
    upload,
    without_network,
)
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome
# Controls that can be seen, with their boxes; the gallery scrolls, and Gradio measures its tabs on hidden ones.
CONTROLS = """
const controls = [...document.querySelectorAll("button, input:not([type=file]), select")]
  .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.closest(".gallery, [aria-hidden=true]"));
return controls.map((each) => [each.outerHTML, each.getBoundingClientRect().toJSON()]);
"""


def progress(browser: Browser) -> str:
    return one(browser, "#inspect-viewer .progress").text


def outside(browser: Browser) -> list[str]:
    across = browser.execute_script("return document.documentElement.clientWidth")
    return [name for name, box in browser.execute_script(CONTROLS) if box["left"] < 0 or box["right"] > across]


def too_small_for_a_thumb(browser: Browser) -> list[str]:
    return [name for name, box in browser.execute_script(CONTROLS) if box["height"] < 44]


def show_as(browser: Browser, width: int, height: int, factor: float = 1, is_phone: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": factor, "mobile": is_phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def drop(browser: Browser, *paths: Path) -> None:
    one(browser, "#inspect-viewer .hint")
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 500, "data": data})


def test_a_double_click_on_the_zip_gives_one(browser: Browser, walls: list[Path], tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    inspect(browser, walls[0])
    ActionChains(browser).double_click(one(browser, ".pack")).perform()
    eventually(lambda: list(tmp_path.glob("*.zip")) and one(browser, ".pack").is_enabled())
    assert len(list(tmp_path.glob("*.zip"))) == 1


def test_a_heic_a_text_and_a_folder_are_dropped_together(browser: Browser, walls: list[Path], tmp_path: Path) -> None:
    folder, heic, text = tmp_path / "Brücke #1 100%", tmp_path / "IMG_1.HEIC", tmp_path / "notes.txt"
    (folder / "north_original").mkdir(parents=True)
    for path, name in zip(walls[:2], ("Stütze 1?.jpg", "north_original/2.jpg"), strict=True):
        (folder / name).write_bytes(path.read_bytes())
    for name in (
        "DJI_0001.THM",
        "Stütze 1?.jpg_original",
        ".trashed.jpg",
        "@eaDir/2.jpg",
        "#recycle/2.jpg",
    ):  # copies, none of them taken
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(walls[0].read_bytes())
    heic.write_bytes(heif([hevc(draw_surface(5, SIZE_HW).image_hwc_u8, 320, 240, turned(3))]))
    text.write_text("Look again at pier 3.\n")
    drop(browser, heic, text, folder)
    eventually(lambda: progress(browser) == "3 of 4 done, 1 failed")
    (failed,) = browser.find_elements(By.CSS_SELECTOR, ".gallery .failed")
    assert "notes.txt" in failed.text
    failed.click()
    says(browser, "#inspect-viewer", "expected a photograph")


def test_of_a_dropped_folder_what_cannot_be_read_is_listed_and_all_else_is_taken(
    browser: Browser, walls: list[Path], front: Front, tmp_path: Path
) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(walls[0].read_bytes())
    shutil.copy(walls[1], os.fsencode(folder) + b"/Br\xfccke.jpg")  # of an old camera or ZIP: no browser can read such a name
    with front.holding(0):
        drop(browser, folder)
        eventually(lambda: front.n_held == 3)
        (waiting,) = (each for each in browser.find_elements(By.CSS_SELECTOR, ".gallery button") if "waiting" in each.text)
        (folder / waiting.text.split()[0]).unlink()  # as if the card was taken out
    eventually(lambda: progress(browser) == "3 of 5 done, 2 failed")
    for failed in browser.find_elements(By.CSS_SELECTOR, ".gallery .failed"):
        assert "The browser cannot read it" in failed.text


def test_what_is_empty_or_a_pipe_is_listed_and_all_else_is_taken(browser: Browser, walls: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(walls[0].read_bytes())
    (folder / "2.jpg").touch()
    os.mkfifo(folder / "3.jpg")
    drop(browser, folder)
    eventually(lambda: progress(browser) == "1 of 3 done, 2 failed")
    drop(browser, folder / "3.jpg")
    upload(browser, folder / "2.jpg")
    eventually(lambda: progress(browser) == "1 of 5 done, 4 failed")
    for failed in browser.find_elements(By.CSS_SELECTOR, ".gallery .failed"):
        assert "It is empty, or no file but a pipe." in failed.text


def test_of_a_dropped_folder_without_photographs_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    drop(browser, tmp_path / "empty")
    eventually(lambda: "no photograph" in progress(browser))


def test_what_the_page_says_of_a_drop_stays_beside_the_progress(
    browser: Browser, walls: list[Path], front: Front, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with front.holding(0):
        upload(browser, *walls)
        eventually(lambda: front.n_held == 3)
        drop(browser, tmp_path / "empty")
        eventually(lambda: progress(browser) == "There is no photograph in what you dropped. 0 of 3 done …")
    eventually(lambda: progress(browser) == "There is no photograph in what you dropped. 3 of 3 done")
    upload(browser, walls[0])
    eventually(lambda: progress(browser) == "4 of 4 done")


def test_a_reload_in_the_middle_of_a_batch_goes_on_with_it(browser: Browser, walls: list[Path], front: Front) -> None:
    with front.holding(0):
        upload(browser, *walls)
        eventually(lambda: front.n_held == 3)
        browser.refresh()
        eventually(lambda: progress(browser) == "0 of 3 done …")
    eventually(lambda: progress(browser) == "3 of 3 done")
    says(browser, "#inspect-viewer", "% crack")


def test_the_back_button_brings_back_what_was_painted(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    mine = painted(browser)
    browser.get("about:blank")
    browser.back()
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mine)


def test_what_is_painted_after_the_browser_has_dropped_its_data_is_kept(
    browser: Browser, walls: list[Path], page_url: str
) -> None:
    inspect(browser, walls[0])
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": page_url, "storageTypes": "all"})
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, -40), (150, 20))
    mine = painted(browser)
    browser.refresh()
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mine)


def test_what_was_painted_in_another_tab_is_taken_over(browser: Browser, walls: list[Path], page_url: str) -> None:
    inspect(browser, walls[0])
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        browser.get(page_url)
        says(browser, "#inspect-viewer", "% crack")
        press(browser, "#inspect-viewer .paint-mode")
        draw(browser, (-100, -40), (150, 20))
        says(browser, "#inspect-viewer", "corrected by you")
        mine = painted(browser)
    finally:
        browser.close()
        browser.switch_to.window(first)
    says(browser, "#inspect-viewer", "corrected by you")
    assert np.array_equal(painted(browser), mine)


def test_of_two_tabs_with_one_inspection_the_later_one_is_asked(browser: Browser, walls: list[Path], page_url: str) -> None:
    begin(browser, "Two tabs")
    inspect(browser, *walls[:2])
    saved(browser)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        browser.get(page_url)
        eventually(lambda: one(browser, "#inspect-viewer .title").text == "Two tabs")
        says(browser, "#inspect-viewer", "% crack")
        press(browser, "#inspect-viewer .reject")
        eventually(lambda: any("rejected" in mark for mark in marks(browser)))
        saved(browser)
        name = one(browser, ".gallery [aria-current=true] .name").text
    finally:
        browser.close()
        browser.switch_to.window(first)
    press(browser, f"#inspect-viewer .gallery button[title='{name}']")
    says(browser, "#inspect-viewer", f"{name}: ")
    press(browser, "#inspect-viewer .confirm")
    eventually(lambda: "local changed it on" in one(browser, "#inspect-viewer .saved").text)
    press(browser, "#inspect-viewer .theirs")
    eventually(lambda: any("rejected" in mark for mark in marks(browser)))
    saved(browser)


def test_a_server_that_is_killed_and_comes_back_loses_no_photograph(
    browser: Browser, walls: list[Path], front: Front, sidecar: Sidecar
) -> None:
    try:
        with front.holding(1):
            upload(browser, *walls)
            eventually(lambda: front.n_held == 2 and progress(browser) == "1 of 3 done …")
            sidecar.kill()
            eventually(lambda: progress(browser) == "1 of 3 done, 2 failed")
            assert "does not answer" in one(browser, ".gallery .failed").text
    finally:
        sidecar.start()
    press(browser, "#inspect-viewer .again")
    eventually(lambda: progress(browser) == "3 of 3 done")


def test_after_a_restart_of_the_page_a_photograph_is_dropped_again_and_the_work_on_it_goes_on(
    browser: Browser, walls: list[Path], sidecar: Sidecar, tmp_path: Path
) -> None:
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=sidecar.url)
    try:
        browser.get(page.url)
        inspect(browser, walls[0])
        press(browser, "#inspect-viewer .paint-mode")
        draw(browser, (-100, -40), (150, 20))
        one(browser, "#inspect-viewer .note").send_keys("at the joint")
        mine = painted(browser)
        page.stop()
        page.start()
        browser.refresh()
        says(browser, "#inspect-viewer", "Drop it again")
        other = tmp_path / "other" / walls[0].name  # a camera gives the same name again
        other.parent.mkdir()
        other.write_bytes(walls[1].read_bytes())
        upload(browser, other)
        eventually(lambda: progress(browser) == "2 of 2 done")
        upload(browser, walls[0])
        says(browser, "#inspect-viewer", "corrected by you")
        assert progress(browser) == "2 of 2 done"
        assert np.array_equal(painted(browser), mine)
        assert one(browser, "#inspect-viewer .note").get_attribute("value") == "at the joint"
    finally:
        page.stop()


def test_without_a_network_the_page_says_so_and_try_again_sends_what_was_not_sent(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])  # at its start Gradio waits for answers: if the network is lost then, it loads the page again
    with without_network(browser):
        upload(browser, walls[1])
        eventually(lambda: one(browser, "#inspect-viewer .again").is_displayed())
        assert "cannot be reached. Check your connection" in one(browser, "#inspect-viewer").text
    press(browser, "#inspect-viewer .again")
    eventually(lambda: one(browser, ".progress").text == "2 of 2 done")


def test_what_was_not_sent_when_the_page_is_loaded_again_is_to_be_dropped_again(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, walls[0])
    with without_network(browser):
        upload(browser, walls[1])
        eventually(lambda: one(browser, "#inspect-viewer .again").is_displayed())
    browser.refresh()
    eventually(lambda: "before this was sent. Drop it again." in one(browser, "#inspect-viewer").text)
    assert not one(browser, "#inspect-viewer .again").is_displayed()
    upload(browser, walls[1])
    eventually(lambda: one(browser, ".progress").text == "2 of 3 done, 1 failed")


def test_over_a_slow_network_the_former_photograph_is_not_taken_for_the_next(browser: Browser, walls: list[Path]) -> None:
    def opacity() -> float:
        return float(one(browser, "#inspect-viewer .sheet").value_of_css_property("opacity"))

    begin(browser, "Slow")
    inspect(browser, *walls[:2])
    saved(browser)
    with slow_network(browser):
        press(browser, ".gallery [aria-current=false]")
        eventually(lambda: opacity() < 0.5)
        strike(browser, "x", "KeyX")
        assert not any("rejected" in mark for mark in marks(browser))
    says(browser, "#inspect-viewer", one(browser, ".gallery [aria-current=true] .name").text)
    eventually(lambda: opacity() == 1)


@pytest.mark.usefixtures("empty_store")
def test_a_portrait_by_exif_is_shown_painted_and_sent_upright(browser: Browser, sidecar: Sidecar, tmp_path: Path) -> None:
    path, exif, photograph = tmp_path / "portrait.jpg", Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.fromarray(draw_surface(5, SIZE_HW).image_hwc_u8).save(photograph, "JPEG", exif=exif, quality=90)
    path.write_bytes(photograph.getvalue())
    inspect(browser, path)
    assert re.search("240 . 320 pixels", one(browser, "#inspect-viewer .status").text)
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-20, -60), (40, 90))
    mine = painted(browser)
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    (item,) = requests.get(f"{sidecar.url}/feedback?state=labelled", timeout=PATIENCE_S).json()["items"]
    content = requests.get(f"{sidecar.url}/feedback/{item['id']}/mask", timeout=PATIENCE_S).content
    assert np.array_equal(read_mask(content, (320, 240)), mine)


def test_a_key_that_is_held_down_decides_nothing(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, *walls)
    strike(browser, "c", "KeyC", repeat=True)
    strike(browser, "p", "KeyP", repeat=True)
    assert one(browser, "#inspect-viewer .paint-mode").get_attribute("aria-pressed") == "false"
    assert "Sending" not in one(browser, "#inspect-viewer .status").text


@pytest.mark.parametrize(("width", "height", "share"), [(844, 390, 0.8), (932, 430, 0.8), (667, 375, 0.8), (1180, 820, 0.65)])
def test_on_a_phone_or_tablet_held_sideways_the_photograph_and_the_brush_fill_the_screen(
    browser: Browser, walls: list[Path], width: int, height: int, share: float
) -> None:
    inspect(browser, *walls[:2])
    press(browser, "#inspect-viewer .paint-mode")
    try:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        show_as(browser, width, height, is_phone=True)
        eventually(lambda: browser.execute_script("return innerWidth") == width)
        stage, brush = one(browser, "#inspect-viewer .stage"), one(browser, "#inspect-viewer .brush")
        eventually(lambda: stage.rect["height"] > share * height)
        assert stage.rect["width"] > 0.7 * width
        assert brush.rect["y"] + brush.rect["height"] - stage.rect["y"] <= height
        assert outside(browser) == []
        assert too_small_for_a_thumb(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_at_150_percent_and_on_a_phone_all_is_on_the_screen_and_large_enough(browser: Browser, walls: list[Path]) -> None:
    inspect(browser, *walls[:2])
    press(browser, "#inspect-viewer .paint-mode")
    try:
        show_as(browser, 933, 600, 1.5)
        eventually(lambda: browser.execute_script("return innerWidth") == 933)
        assert outside(browser) == []
        show_as(browser, 390, 844, is_phone=True)
        eventually(lambda: browser.execute_script("return innerWidth") == 390)
        for name in ("Inspect", "Review", "Model"):
            open_tab(browser, name)
            assert outside(browser) == []
            assert too_small_for_a_thumb(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
