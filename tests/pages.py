"""The real page, as a process of its own, and a real Chromium that looks at it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.ports import free_ports
from tests.waiting import PATIENCE_S
from tests.waiting import eventually as in_the_end

ROOT = Path(__file__).parent.parent
T = TypeVar("T")


class ServedPage:
    """One running page, which may have `n_files` open."""

    def __init__(self, log_path: Path, n_files: int = 1024, **settings: str) -> None:
        (port,) = free_ports(1)
        self.url, self.log_path = f"http://127.0.0.1:{port}", log_path
        self._environment = {**os.environ, "CRACK_PAGE_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", **settings}
        self._command = ["sh", "-c", f'ulimit -n {n_files} && exec "$@"', "sh", sys.executable, "-m", "crack", "page"]
        self.start()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

        def answers() -> bool:
            assert self._process.poll() is None, self.log_path.read_text()
            return requests.get(f"{self.url}/ping", timeout=PATIENCE_S).ok

        in_the_end(answers, requests.ConnectionError)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "window-size=1400,1100"):
        options.add_argument(f"--{argument}")
    for argument in ("disable-background-networking", "disable-component-update", "disable-sync"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, Service(driver)) as chrome:
        chrome.set_page_load_timeout(PATIENCE_S)
        chrome.set_script_timeout(PATIENCE_S)
        yield chrome


def eventually(check: Callable[[], T]) -> T:
    """What `check` gives, as soon as it is true: elements come, move and are drawn anew meanwhile."""
    return in_the_end(check, WebDriverException)


@contextmanager
def without_network(browser: webdriver.Chrome) -> Iterator[None]:
    with _network(browser, offline=True, latency=0):
        yield


@contextmanager
def slow_network(browser: webdriver.Chrome) -> Iterator[None]:
    with _network(browser, offline=False, latency=5000):
        yield


@contextmanager
def _network(browser: webdriver.Chrome, **conditions: Any) -> Iterator[None]:
    usual = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", usual | conditions)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", usual)


def downloaded(folder: Path, pattern: str, former: Collection[Path] = ()) -> Path:
    """The one file that has come there beside `former`, once the browser has written all of it."""
    (path,) = eventually(lambda: set(folder.glob(pattern)) - set(former))

    def has_stopped_growing() -> bool:
        n_bytes = path.stat().st_size
        time.sleep(0.5)
        return 0 < n_bytes == path.stat().st_size

    eventually(has_stopped_growing)
    return path


def one(browser: webdriver.Chrome, selector: str) -> WebElement:
    return eventually(lambda: browser.find_element(By.CSS_SELECTOR, selector))


def press(browser: webdriver.Chrome, selector: str) -> None:
    eventually(lambda: browser.find_element(By.CSS_SELECTOR, selector).click() is None)


def open_tab(browser: webdriver.Chrome, name: str) -> None:
    def opened() -> bool:
        tabs = browser.find_elements(By.CSS_SELECTOR, "button[role=tab]")
        named = [tab for tab in tabs if tab.text.strip() == name]
        for tab in named:
            tab.click()
        return bool(named)

    eventually(opened)


def says(browser: webdriver.Chrome, viewer: str, words: str) -> str:
    def said() -> str:
        text = one(browser, f"{viewer} .status").text
        return text if words in text else ""

    return eventually(said)


def upload(browser: webdriver.Chrome, *paths: Path) -> None:
    one(browser, "input[type=file]").send_keys("\n".join(map(str, paths)))


def inspect(browser: webdriver.Chrome, *paths: Path) -> None:
    """Drop photographs, and wait until all of them are looked at and one is shown."""
    upload(browser, *paths)
    says(browser, "#inspect-viewer", "% crack")
    if len(paths) > 1:
        eventually(lambda: one(browser, ".progress").text == f"{len(paths)} of {len(paths)} done")


def draw(browser: webdriver.Chrome, start: tuple[int, int], way: tuple[int, int], viewer: str = "#inspect-viewer") -> None:
    """A stroke over the photograph, from a place beside its middle."""
    stage = one(browser, f"{viewer} .stage")
    stroke = ActionChains(browser).move_to_element_with_offset(stage, *start).click_and_hold().move_by_offset(*way).release()
    stroke.perform()


def painted(browser: webdriver.Chrome, viewer: str = "#inspect-viewer") -> NDArray[np.bool_]:
    """Which pixels of the canvas over the photograph are painted."""
    script = """
    const canvas = document.querySelector(arguments[0] + " .overlay canvas");
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const painted = [];
    for (let index = 3; index < data.length; index += 4) painted.push(data[index] ? 1 : 0);
    return [canvas.height, canvas.width, painted.join("")];
    """
    height, width, digits = browser.execute_script(script, viewer)
    return (np.frombuffer(digits.encode(), np.uint8) == ord("1")).reshape(height, width)


def move_to(browser: webdriver.Chrome, control: str, value: int) -> None:
    """A slider, or a choice."""
    script = "const c = document.querySelector(arguments[0]); c.value = arguments[1]; c.dispatchEvent(new Event('input'));"
    browser.execute_script(script, control, value)


def strike(browser: webdriver.Chrome, key: str, code: str = "", **held: bool) -> None:
    """A key, by what it gives and where it is, with nothing chosen before."""
    script = """
    const event = new KeyboardEvent("keydown", { key: arguments[0], code: arguments[1], bubbles: true, ...arguments[2] });
    document.body.dispatchEvent(event);
    """
    browser.execute_script(script, key, code, held)


def transform(browser: webdriver.Chrome, viewer: str = "#inspect-viewer") -> tuple[float, float, float]:
    """How far the photograph is moved in its frame, and how much enlarged, once that stays: a font that comes late changes the
    height of the bars, and the photograph is fitted again.
    """
    browser.execute_async_script(
        "document.fonts.ready.then(() => requestAnimationFrame(() => requestAnimationFrame(arguments[0])))"
    )
    found = re.findall(r"-?[0-9.]+", str(one(browser, f"{viewer} .sheet").get_attribute("style")).split("transform:")[1])
    return float(found[0]), float(found[1]), float(found[2])


class PointerAt:
    """The pointer over the Inspect tab's photograph, by places in that photograph."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self._browser = browser

    def move(self, x: float, y: float) -> None:
        self._event("mouseMoved", x, y)

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        self._event("mousePressed", x, y, button="left", clickCount=1)
        self._event("mouseReleased", x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.move(*start)
        self._event("mousePressed", *start, button="left", clickCount=1)
        self._event("mouseMoved", *end, button="left")
        self._event("mouseReleased", *end, button="left", clickCount=1)

    def zoom_in(self, x: float, y: float, times: int) -> None:
        for _ in range(times):
            self._event("mouseWheel", x, y, deltaX=0, deltaY=-100)

    def _event(self, kind: str, x: float, y: float, **more: Any) -> None:
        script = """
        const photo = document.querySelector("#inspect-viewer .photo"), box = photo.getBoundingClientRect();
        return [box.left + (arguments[0] * box.width) / photo.width, box.top + (arguments[1] * box.height) / photo.height];
        """
        left, top = self._browser.execute_script(script, x, y)
        self._browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": left, "y": top, **more})
