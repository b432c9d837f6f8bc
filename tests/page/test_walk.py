"""An inspector's walk from a folder of photographs to the report, and what it costs in clicks and keys.

The minutes are those of the keystroke-level model (Card, Moran and Newell, "The keystroke-level model for user performance time
with interactive systems", Communications of the ACM 23, 1980): the hand's and the mind's, without looking and without waiting.
"""

import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty photographs of drawn surfaces, of which twelve have a crack."""
    folder = tmp_path_factory.mktemp("walk") / "pier-3"
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


class Walk(NamedTuple):
    """What an inspector saw on the way: texts of the gallery, names of photographs, what was painted on them."""

    ranked: list[str]
    worst: list[str]
    n_px_of_the_alarm: tuple[int, int]
    saved: list[str]
    back: list[str]
    traced: NDArray[np.bool_]
    reloaded: str
    title: str
    scale: str
    painted: NDArray[np.bool_]
    n_by_state: dict[str, int]
    report: str
    n_findings: int


@pytest.fixture(scope="module")
def walk(chrome: Browser, page_url: str, folder: Path, sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """From sixty photographs to the report: the scale by ruler, an alarm deleted, a crack traced, the other three confirmed."""
    browser, downloads = chrome, tmp_path_factory.mktemp("downloads")
    browser.set_window_size(1400, 1100)
    browser.get(page_url)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    hand, begun = Hand(browser), time.monotonic()
    one(browser, "#inspect-viewer .hint")

    hand.press("#inspect-viewer .all")
    hand.press("dialog.inspections [name=name]")
    hand.type(f"Spring{Keys.TAB}Bridge 7{Keys.ENTER}")
    eventually(lambda: one(browser, "#inspect-viewer .title").text == "Spring")
    hand.drop(folder)
    eventually(lambda: one(browser, ".progress").text == f"{N_PHOTOGRAPHS} of {N_PHOTOGRAPHS} done")

    eventually(lambda: all(": score " in text for text in gallery(browser)))  # it is drawn in the next frame
    ranked = gallery(browser)
    _, *others = (text.split(": ")[0] for text in ranked)
    hand.press("#inspect-viewer .gallery button")
    worst = [shown(browser, *others)]  # until the next frame, the gallery names the photograph that came first

    hand.strike("l")  # the scale, by ruler, for all
    hand.drag((20, 180), (220, 180))
    hand.type(f"50{Keys.ENTER}")
    eventually(lambda: one(browser, ".findings .scale-source").text == "By ruler: 50 mm are 200 px.")
    hand.press(".findings .scale-all")

    hand.strike("j")  # an alarm is deleted
    worst.append(shown(browser, *worst))
    n_alarm = int(painted(browser).sum())
    hand.strike("n")
    hand.strike(Keys.DELETE)
    eventually(lambda: "corrected by you" in one(browser, "#inspect-viewer .status").text)
    n_after_alarm = int(painted(browser).sum())
    hand.press("#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: ")

    hand.strike("j")  # a crack is traced
    worst.append(shown(browser, *worst))
    n_untraced = int(painted(browser).sum())
    hand.strike("t")
    for place in ((30, 40), (110, 70), (200, 60)):
        hand.click_photograph(*place)
    hand.strike(Keys.ENTER)
    eventually(lambda: painted(browser).sum() > n_untraced)
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

    saved, back = gallery(browser), []
    for place in (4, 3):
        hand.strike("k")
        back.append(shown(browser, worst[place]))
    browser.refresh()  # F5
    hand._use("keyboard", "keys", DECIDE_S + KEY_S)
    eventually(lambda: gallery(browser) == saved)
    reloaded = shown(browser)
    title, scale = (one(browser, selector).text for selector in ("#inspect-viewer .title", ".findings .scale-source"))
    again = painted(browser)

    all_saved(browser)
    hand.press("#inspect-viewer .report")
    report = downloaded(downloads, "*.html")
    script_s = time.monotonic() - begun
    (found,) = requests.get(f"{sidecar.url}/inspections", timeout=PATIENCE_S).json()["items"]
    browser.get(report.as_uri())
    print(f"{dict(hand.counts)}, {hand.seconds / 60:.1f} min by the keystroke-level model, script {script_s:.0f} s")
    return Walk(
        ranked,
        worst,
        (n_alarm, n_after_alarm),
        saved,
        back,
        traced,
        reloaded,
        title,
        scale,
        again,
        found["n_by_state"],
        report=one(browser, "body").text,
        n_findings=len(browser.find_elements(By.CSS_SELECTOR, "section.finding")),
    )


def test_sixty_photographs_are_ranked_by_their_scores(walk: Walk) -> None:
    scores = [float(text.split("score ")[1].split(",")[0]) for text in walk.ranked]
    assert len(scores) == N_PHOTOGRAPHS
    assert scores == sorted(scores, reverse=True)


def test_an_alarm_that_is_deleted_is_painted_no_more(walk: Walk) -> None:
    before, after = walk.n_px_of_the_alarm
    assert after < before


def test_the_next_photographs_are_those_of_the_gallery_and_the_way_back_is_the_same(walk: Walk) -> None:
    assert [text.split(": ")[0] for text in walk.saved[:N_WORST]] == walk.worst
    assert walk.back == [walk.worst[3], walk.worst[2]]


def test_a_reload_shows_the_same_photograph_with_the_crack_that_was_traced(walk: Walk) -> None:
    assert walk.reloaded == walk.worst[2]
    assert np.array_equal(walk.painted, walk.traced)


def test_a_reload_keeps_the_inspection_and_its_scale(walk: Walk) -> None:
    assert walk.title == "Spring"
    assert walk.scale.startswith("By ruler: 50 mm are 200 px.")


def test_the_sidecar_has_each_photographs_state(walk: Walk) -> None:
    assert walk.n_by_state == {"unseen": N_PHOTOGRAPHS - 4, "confirmed": 2, "corrected": 2, "rejected": 0}


@pytest.mark.parametrize("words", ["Bridge 7", "2 corrected", "0.25 mm per pixel, as given", f"Photographs {N_PHOTOGRAPHS}\n"])
def test_the_report_says_what_was_inspected_and_how(walk: Walk, words: str) -> None:
    assert words in walk.report


def test_the_report_has_findings(walk: Walk) -> None:
    assert walk.n_findings
