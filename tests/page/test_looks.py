"""What is drawn over a photograph, and which parts of it are left out of its figures."""

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from model.inference.width_classes import classes
from model.synthetic import draw_surface
from tests.page.conftest import SIZE_HW
from tests.pages import PointerAt, downloaded, eventually, inspect, one, painted, press, says, strike
from tests.photographs import jpeg

Browser = webdriver.Chrome
HEIGHT, WIDTH = SIZE_HW
CYAN, RED = (0, 229, 255), (255, 0, 64)


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    path = tmp_path / "cracked.jpg"
    path.write_bytes(jpeg(draw_surface(5, SIZE_HW, is_cracked=True).image_hwc_u8))
    return path


def show(browser: Browser, look: str) -> None:
    Select(one(browser, "#inspect-viewer .look")).select_by_value(look)


def colours(browser: Browser) -> NDArray[np.uint8]:
    """Of the canvas over the photograph: red, green, blue and opacity."""
    script = """
    const canvas = document.querySelector("#inspect-viewer .overlay canvas");
    return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
    """
    return np.array(browser.execute_script(script), np.uint8).reshape(HEIGHT, WIDTH, 4)


def counted(browser: Browser) -> list[str]:
    """The legend's rows, as soon as there are some."""
    script = "return [...document.querySelectorAll('#inspect-viewer .legend li')].map((row) => row.textContent)"
    return eventually(lambda: browser.execute_script(script))  # type: ignore[no-any-return]


def measured(browser: Browser) -> str:
    return (
        eventually(lambda: re.search("in total|No crack", one(browser, ".findings .sum").text))
        and one(browser, ".findings .sum").text
    )


def test_an_outline_is_round_the_crack_and_leaves_it_bare(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    mask_hw = painted(browser)
    show(browser, "outline")
    found = colours(browser)
    assert not found[mask_hw].any()
    beside = np.zeros_like(mask_hw)
    beside[1:] |= mask_hw[:-1]
    beside &= ~mask_hw
    assert (found[beside] == (*CYAN, 255)).all()
    show(browser, "red")
    assert (colours(browser)[mask_hw] == (*RED, 255)).all()


def test_cracks_have_the_colour_of_their_width_and_the_legend_counts_them(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    n_cracks = int(measured(browser).split()[0])
    show(browser, "width")
    rows = counted(browser)
    names = {each.name for each in classes("px")}
    assert {row.rpartition(": ")[0] for row in rows} <= names
    assert sum(int(row.rpartition(": ")[2]) for row in rows) == n_cracks
    found, mask_hw = colours(browser), painted(browser)
    assert 0 < len(np.unique(found[mask_hw], axis=0)) <= len(rows) + 1  # what is too short to be a crack has a colour, too
    one(browser, ".findings .mm").send_keys("0.5", Keys.TAB)
    eventually(lambda: {row.rpartition(": ")[0] for row in counted(browser)} <= {each.name for each in classes("mm")})


def test_cracks_too_narrow_to_be_measured_have_a_colour_and_are_in_the_legend(browser: Browser, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.jpg"
    narrow.write_bytes(jpeg(draw_surface(45, (480, 640), is_cracked=True).image_hwc_u8))
    inspect(browser, narrow)
    measured(browser)
    assert one(browser, ".findings tbody td:nth-child(3)").text.startswith("<")
    show(browser, "width")
    assert counted(browser) == [f"{classes('px')[0].name}: 1"]


def test_what_lies_in_an_ignored_box_is_in_no_figure_until_the_box_is_taken_away(
    browser: Browser, wall: Path, tmp_path: Path
) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    inspect(browser, wall)
    mask_hw = painted(browser)
    whole = measured(browser)
    pointer = PointerAt(browser)
    strike(browser, "i", "KeyI")
    pointer.drag((10, 10), (WIDTH / 2, HEIGHT + 5))
    box = one(browser, "#inspect-viewer .zones rect")
    left, top, width, height = (int(box.get_attribute(name) or 0) for name in ("x", "y", "width", "height"))
    counts_hw = np.ones_like(mask_hw)
    counts_hw[top : top + height, left : left + width] = False
    share, left_out = mask_hw[counts_hw].mean(), 1 - counts_hw.mean()
    status = says(browser, "#inspect-viewer", f"{100 * left_out:.1f} % of them left out")
    assert f" {100 * share:.2f} % crack" in status
    eventually(lambda: measured(browser) != whole)
    assert np.array_equal(painted(browser), mask_hw)

    line = packed_line(browser, tmp_path)
    assert float(line["left_out_ratio"]) == pytest.approx(left_out, abs=1e-5)
    assert float(line["crack_ratio"]) == pytest.approx(share, abs=1e-5)
    half = measured(browser)  # by now that of the whole box, and not of what was drawn of it at first
    browser.refresh()
    says(browser, "#inspect-viewer", "of them left out")
    assert measured(browser) == half
    press(browser, "#inspect-viewer .zones .cross")
    eventually(lambda: "left out" not in one(browser, "#inspect-viewer .status").text)
    eventually(lambda: measured(browser) == whole)


def test_another_tool_takes_the_place_of_the_box(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    press(browser, "#inspect-viewer .ignore")
    strike(browser, "b", "KeyB")
    assert one(browser, "#inspect-viewer .ignore").get_attribute("aria-pressed") == "false"
    press(browser, "#inspect-viewer .ignore")
    press(browser, "#inspect-viewer .ruler")
    assert one(browser, "#inspect-viewer .ignore").get_attribute("aria-pressed") == "false"
    assert one(browser, "#inspect-viewer .ruler").get_attribute("aria-pressed") == "true"
    assert not browser.find_elements(By.CSS_SELECTOR, "#inspect-viewer .zones rect")


def packed_line(browser: Browser, downloads: Path) -> dict[str, Any]:
    press(browser, "#inspect-viewer .pack")
    with zipfile.ZipFile(downloaded(downloads, "*.zip")) as archive:
        (line,) = csv.DictReader(io.StringIO(archive.read("photographs.csv").decode("utf-8-sig")))
    return line


@pytest.mark.parametrize(("tool", "told"), [("ignore", "Draw a box over"), ("ruler", "Draw a line over")])
def test_a_tool_says_what_to_draw_until_it_is_put_away(browser: Browser, wall: Path, tool: str, told: str) -> None:
    inspect(browser, wall)
    press(browser, f"#inspect-viewer .{tool}")
    says(browser, "#inspect-viewer", told)
    press(browser, f"#inspect-viewer .{tool}")
    says(browser, "#inspect-viewer", "% crack")


@pytest.mark.parametrize("tool", ["ignore", "ruler", "apart"])
def test_escape_puts_a_tool_away(browser: Browser, wall: Path, tool: str) -> None:
    inspect(browser, wall)
    press(browser, f"#inspect-viewer .{tool}")
    strike(browser, "Escape")
    assert one(browser, f"#inspect-viewer .{tool}").get_attribute("aria-pressed") == "false"
    says(browser, "#inspect-viewer", "% crack")


def test_what_is_chosen_is_seen_in_high_contrast(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    press(browser, "#inspect-viewer .paint-mode")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "forced-colors", "value": "active"}]})
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => getComputedStyle(each).borderBottomWidth)"
    try:
        for chosen, other in (
            ("#inspect-viewer .brush", "#inspect-viewer .eraser"),
            ("[role=tab][aria-selected=true]", "[role=tab][aria-selected=false]"),
        ):
            assert set(browser.execute_script(script, chosen)) == {"3px"}
            assert "3px" not in browser.execute_script(script, other)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
