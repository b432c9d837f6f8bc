"""A crack is split from another: two findings of one, in the table, in the draft and in the inspection's report."""

from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from selenium import webdriver

from model.synthetic import draw_surface
from tests.page.conftest import SIZE_HW
from tests.page.test_findings import number, rows
from tests.page.test_inspections import begin, kept, saved
from tests.pages import PointerAt, draw, eventually, inspect, one, painted, press, says, strike
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome
# The middle of the longest crack's longest line.
MIDDLE = """
const ways = document.querySelector("#inspect-viewer .lines .near").getAttribute("d").slice(1).split("M");
const points = ways.map((way) => way.split("L").map((at) => at.split(" ").map(Number)));
const line = points.sort((one, other) => other.length - one.length)[0];
return line[line.length >> 1];
"""


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    path = tmp_path / "cracked.jpg"
    path.write_bytes(jpeg(draw_surface(5, SIZE_HW, is_cracked=True).image_hwc_u8))
    return path


def split(browser: Browser) -> None:
    """The longest crack, in its middle."""
    x, y = browser.execute_script(MIDDLE)
    strike(browser, "s", "KeyS")
    PointerAt(browser).click(x, y)


def test_a_click_makes_two_findings_of_one_and_undo_makes_it_one_again(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    found, before = rows(browser), painted(browser)
    split(browser)
    eventually(lambda: len(rows(browser)) == len(found) + 1)
    after = painted(browser)
    assert not (after & ~before).any()
    assert 0 < (before & ~after).sum() < 100
    lengths, former = ([number(row[1]) for row in each] for each in (rows(browser), found))
    assert max(lengths) < 0.9 * max(former)
    assert sum(lengths) == pytest.approx(sum(former), rel=0.1)
    strike(browser, "z", "KeyZ", ctrlKey=True)
    assert np.array_equal(painted(browser), before)
    eventually(lambda: rows(browser) == found)


def test_by_keys_the_mark_moves_along_the_chosen_crack_and_enter_splits_there(browser: Browser, wall: Path) -> None:
    inspect(browser, wall)
    found, before = rows(browser), painted(browser)
    mark = "#inspect-viewer .wire .way"
    strike(browser, "n", "KeyN")
    strike(browser, "s", "KeyS")
    middle = one(browser, mark).get_attribute("d")
    strike(browser, "ArrowRight", "ArrowRight")
    assert one(browser, mark).get_attribute("d") != middle
    strike(browser, "Escape", "Escape")
    assert one(browser, ".findings .apart").get_attribute("aria-pressed") == "false"
    assert np.array_equal(painted(browser), before)
    strike(browser, "s", "KeyS")
    strike(browser, "Enter", "Enter")
    eventually(lambda: len(rows(browser)) == len(found) + 1)


def test_what_was_painted_is_split_as_well_and_a_click_beside_it_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.fromarray(np.full((*SIZE_HW, 3), 180, np.uint8)).save(path)
    inspect(browser, path)
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-100, 0), (200, 0))
    eventually(lambda: len(rows(browser)) == 1)
    strike(browser, "s", "KeyS")
    PointerAt(browser).click(20, 20)
    says(browser, "#inspect-viewer", "Click on a crack")
    strike(browser, "s", "KeyS")
    split(browser)
    eventually(lambda: len(rows(browser)) == 2)


def test_both_findings_are_in_the_inspections_report(browser: Browser, wall: Path, sidecar: Sidecar) -> None:
    begin(browser, "Split")
    inspect(browser, wall)
    found = rows(browser)
    saved(browser)
    split(browser)
    eventually(lambda: len(rows(browser)) == len(found) + 1)
    saved(browser)
    (inspection,) = (each for each in kept(sidecar) if each["name"] == "Split")
    (photograph,) = kept(sidecar, f"/{inspection['id']}/photographs")
    address = f"{sidecar.url}/inspections/{inspection['id']}"
    told = requests.get(f"{address}/photographs/{photograph['id']}", timeout=PATIENCE_S).json()
    lengths = [crack["length_px"] for crack in told["cracks"]]
    assert lengths == pytest.approx([number(row[1]) for row in rows(browser)], rel=0.01)
    requests.delete(address, timeout=PATIENCE_S).raise_for_status()
