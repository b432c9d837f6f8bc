"""An inspector's walk from a folder of photographs to the report, and what it costs in clicks and keys.

The minutes are those of the keystroke-level model (Card, Moran and Newell, "The keystroke-level model for user performance time
with interactive systems", Communications of the ACM 23, 1980): the hand's and the mind's, without looking and without waiting.
"""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import requests
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from model.synthetic import draw_surface
from tests.pages import PointerAt, downloaded, eventually, one, painted, press, says
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

Browser = webdriver.Chrome
N_PHOTOGRAPHS, N_CRACKED, N_WORST = 60, 12, 5
SIZE_HW = (192, 256)
# Seconds: deciding; pointing; pressing or letting go of a button; a key; the hand from keyboard to mouse and back.
DECIDE_S, POINT_S, BUTTON_S, KEY_S, REACH_S = 1.35, 1.1, 0.1, 0.28, 0.4


class Hand:
    """Does what a person would do, with trusted events, and counts it."""

    def __init__(self, browser: Browser) -> None:
        self._browser, self._pointer = browser, PointerAt(browser)
        self.counts: Counter[str] = Counter()
        self.seconds, self._where = 0.0, "mouse"

    def press(self, selector: str) -> None:
        self._use("mouse", "clicks", DECIDE_S + POINT_S + 2 * BUTTON_S)
        press(self._browser, selector)

    def click_photograph(self, x: float, y: float) -> None:
        self._use("mouse", "clicks", DECIDE_S + POINT_S + 2 * BUTTON_S)
        self._pointer.click(x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._use("mouse", "drags", DECIDE_S + 2 * POINT_S + 2 * BUTTON_S)
        self._pointer.drag(start, end)

    def strike(self, key: str) -> None:
        """A key that does something by itself."""
        self._use("keyboard", "keys", DECIDE_S + KEY_S)
        ActionChains(self._browser).send_keys(key).perform()

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self._use("keyboard", "keys", DECIDE_S + KEY_S * len(text), len(text))
        ActionChains(self._browser).send_keys(text).perform()

    def drop(self, folder: Path) -> None:
        """A folder from another window onto the page."""
        self._use("mouse", "drags", DECIDE_S + 2 * POINT_S + 2 * BUTTON_S)
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 500, "data": data})

    def _use(self, where: str, what: str, seconds: float, n: int = 1) -> None:
        self.seconds += seconds + REACH_S * (where != self._where)
        self._where = where
        self.counts[what] += n


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty photographs of drawn surfaces, of which twelve have a crack."""
    folder = tmp_path / "pier-3"
    folder.mkdir()
    for number in range(N_PHOTOGRAPHS):
        surface = draw_surface(7000 + number, SIZE_HW, is_cracked=number % (N_PHOTOGRAPHS // N_CRACKED) == 0)
        (folder / f"IMG_{number:04d}.jpg").write_bytes(jpeg(surface.image_hwc_u8))
    return folder


def gallery(browser: Browser) -> list[str]:
    """What each thumbnail says, in the gallery's order."""
    script = """
    const texts = (each) => [each.querySelector(".name").textContent, each.querySelector(".mark").textContent].join(": ");
    return [...document.querySelectorAll("#inspect-viewer .gallery button")].map(texts);
    """
    return browser.execute_script(script)  # type: ignore[no-any-return]


def shown(browser: Browser, *before: str) -> str:
    """The photograph that the gallery says is shown, another than those before, once its cracks are measured."""

    def current() -> str:
        name = browser.find_element(By.CSS_SELECTOR, ".gallery [aria-current=true] .name").text
        return "" if name in before else name

    name = eventually(current)
    says(browser, "#inspect-viewer", f"{name}: ")
    eventually(lambda: one(browser, ".findings .sum").text not in ("", "Measuring …"))
    return name


def all_saved(browser: Browser) -> None:
    eventually(lambda: one(browser, "#inspect-viewer .saved").text == "All saved.")


def test_sixty_photographs_become_a_report_in_a_few_minutes_of_work(
    browser: Browser, folder: Path, sidecar: Sidecar, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    hand, begun = Hand(browser), time.monotonic()
    one(browser, "#inspect-viewer .hint")

    hand.press("#inspect-viewer .all")
    hand.press("dialog.inspections [name=name]")
    hand.type(f"Spring{Keys.TAB}Bridge 7{Keys.ENTER}")
    eventually(lambda: one(browser, "#inspect-viewer .title").text == "Spring")
    hand.drop(folder)
    eventually(lambda: one(browser, ".progress").text == f"{N_PHOTOGRAPHS} of {N_PHOTOGRAPHS} done")

    scores = [float(text.split("score ")[1].split(",")[0]) for text in gallery(browser)]
    assert len(scores) == N_PHOTOGRAPHS
    assert scores == sorted(scores, reverse=True)
    hand.press("#inspect-viewer .gallery button")
    worst = [shown(browser)]

    hand.strike("l")  # the scale, by ruler, for all
    hand.drag((20, 180), (220, 180))
    hand.type(f"50{Keys.ENTER}")
    eventually(lambda: one(browser, ".findings .scale-source").text == "By ruler: 50 mm are 200 px.")
    hand.press(".findings .scale-all")

    hand.strike("j")  # an alarm is deleted
    worst.append(shown(browser, *worst))
    before = painted(browser)
    hand.strike("n")
    hand.strike(Keys.DELETE)
    eventually(lambda: "corrected by you" in one(browser, "#inspect-viewer .status").text)
    assert painted(browser).sum() < before.sum()
    hand.press("#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: ")

    hand.strike("j")  # a crack is traced
    worst.append(shown(browser, *worst))
    before = painted(browser)
    hand.strike("t")
    for place in ((30, 40), (110, 70), (200, 60)):
        hand.click_photograph(*place)
    hand.strike(Keys.ENTER)
    eventually(lambda: painted(browser).sum() > before.sum())
    traced = painted(browser)
    hand.strike("p")
    hand.press("#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: ")
    for _ in range(N_WORST - len(worst)):
        hand.strike("j")
        worst.append(shown(browser, *worst))
        hand.strike("c")
        says(browser, "#inspect-viewer", "Saved: the prediction was called correct")
    all_saved(browser)
    assert [text.split(": ")[0] for text in gallery(browser)[:N_WORST]] == worst

    hand.strike("k")
    assert shown(browser, worst[4]) == worst[3]
    hand.strike("k")
    assert shown(browser, worst[3]) == worst[2]
    told = gallery(browser)
    browser.refresh()  # F5
    hand._use("keyboard", "keys", DECIDE_S + KEY_S)
    eventually(lambda: gallery(browser) == told)
    assert shown(browser) == worst[2]
    assert np.array_equal(painted(browser), traced)
    assert one(browser, "#inspect-viewer .title").text == "Spring"
    assert one(browser, ".findings .scale-source").text.startswith("By ruler: 50 mm are 200 px.")

    all_saved(browser)
    hand.press("#inspect-viewer .report")
    report = downloaded(downloads, "*.html")
    script_s = time.monotonic() - begun
    (found,) = requests.get(f"{sidecar.url}/inspections", timeout=PATIENCE_S).json()["items"]
    assert found["n_by_state"] == {"unseen": N_PHOTOGRAPHS - 4, "confirmed": 2, "corrected": 2, "rejected": 0}
    browser.get(report.as_uri())
    text = one(browser, "body").text
    assert "Bridge 7" in text
    assert "2 corrected" in text
    assert "0.25 mm per pixel, as given" in text
    assert f"Photographs {N_PHOTOGRAPHS}\n" in text
    assert browser.find_elements(By.CSS_SELECTOR, "section.finding")
    print(f"{dict(hand.counts)}, {hand.seconds / 60:.1f} min by the keystroke-level model, script {script_s:.0f} s")
