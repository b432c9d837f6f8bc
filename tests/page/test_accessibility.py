"""Every tab, with what can be on it, through axe-core in Chromium: no fault that it calls serious or critical."""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from model.synthetic import draw_surface
from tests.page.conftest import SIZE_HW
from tests.pages import PointerAt, eventually, one, open_tab, press, says, strike, upload
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

LISTEN = """
window.told = [];
new MutationObserver(() => told.push(...[...document.querySelectorAll("[aria-live]")].map((each) => each.textContent)))
  .observe(document.body, { childList: true, characterData: true, subtree: true });
"""
Browser = webdriver.Chrome
AXE, AXE_SHA256 = "axe-core@4.14.1", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RUN = """
const done = arguments[0];
axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => done(violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .flatMap(({ id, nodes }) => nodes.map(({ target, any }) => `${id}: ${target} ${any.map((each) => each.message)}`))));
"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "pack", "--silent", "--prefer-offline", AXE]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=PATIENCE_S)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        script = file.read()
    assert hashlib.sha256(script).hexdigest() == AXE_SHA256
    return script.decode()


@pytest.fixture
def walls(tmp_path: Path) -> list[Path]:
    """Photographs of drawn surfaces in which the model finds cracks."""
    paths = [tmp_path / f"wall-{seed}.jpg" for seed in (5, 6, 7)]
    for seed, path in zip((5, 6, 7), paths, strict=True):
        path.write_bytes(jpeg(draw_surface(seed, SIZE_HW).image_hwc_u8))
    return paths


@pytest.fixture(params=["light", "dark"])
def faults(browser: Browser, axe: str, request: pytest.FixtureRequest) -> Iterator[Callable[[str], list[str]]]:
    """What axe finds on the page as it is now, which is in light or dark colours."""
    scheme = [{"name": "prefers-color-scheme", "value": request.param}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.refresh()
    one(browser, "#inspect-viewer .hint")

    def found(state: str) -> list[str]:
        browser.execute_script(axe)
        return [f"{state}: {fault}" for fault in browser.execute_async_script(RUN)]

    yield found
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_no_part_of_the_inspect_tab_has_a_serious_fault(
    browser: Browser, faults: Callable[[str], list[str]], walls: list[Path], tmp_path: Path, sidecar: Sidecar
) -> None:
    found = faults("empty")
    press(browser, "#inspect-viewer .all")
    eventually(lambda: one(browser, "dialog.inspections .none").text != "…")
    found += faults("inspections")
    one(browser, "dialog.inspections [name=name]").send_keys("Spring")
    one(browser, "dialog.inspections [name=structure]").send_keys("Bridge 7")
    press(browser, "dialog.inspections .begin")
    eventually(lambda: one(browser, "#inspect-viewer .title").text == "Spring")
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(walls[2].read_bytes()[:900])
    upload(browser, *walls[:2], torn)
    eventually(lambda: one(browser, ".progress").text == "2 of 3 done, 1 failed")
    press(browser, ".gallery .failed")
    eventually(lambda: "torn.jpg" in one(browser, "#inspect-viewer .status").text)
    found += faults("a photograph that failed")
    press(browser, ".gallery button")
    says(browser, "#inspect-viewer", "% crack")
    eventually(lambda: browser.execute_script("return document.querySelectorAll('.findings tbody tr').length"))
    strike(browser, "n", "KeyN")
    found += faults("a chosen crack")
    press(browser, "#inspect-viewer .reject")
    strike(browser, "i", "KeyI")
    PointerAt(browser).drag((5, 5), (60, 60))
    Select(one(browser, "#inspect-viewer .look")).select_by_value("width")
    eventually(lambda: one(browser, "#inspect-viewer .legend").is_displayed())
    found += faults("an ignored box, colours by width, rejected")
    strike(browser, "l", "KeyL")
    PointerAt(browser).drag((10, 100), (200, 100))
    eventually(lambda: one(browser, ".findings .known-mm").is_displayed())
    found += faults("the ruler")
    strike(browser, "t", "KeyT")
    pointer = PointerAt(browser)
    pointer.click(20, 120)
    pointer.click(100, 120)
    says(browser, "#inspect-viewer", "corrected by you")
    pointer.move(150, 120)
    found += faults("tracing")
    press(browser, "#inspect-viewer .all")
    eventually(lambda: one(browser, "dialog.inspections li"))
    found += faults("inspections, one of them open")
    press(browser, "dialog.inspections .shut")
    address = f"{sidecar.url}/inspections"
    earlier = requests.post(address, data={"name": "Earlier"}, timeout=PATIENCE_S).json()["id"]
    for wall in walls[:2]:  # one of the two was rejected above
        files = {"image": wall.read_bytes()}
        requests.post(f"{address}/{earlier}/photographs", files=files, timeout=PATIENCE_S).raise_for_status()
    press(browser, "#inspect-viewer .compare")
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "dialog.changes li"))
    found += faults("inspections to compare with")
    press(browser, "dialog.changes [aria-label='Compare with Earlier']")
    eventually(lambda: one(browser, "dialog.changes .outcome").is_displayed())
    browser.execute_script("document.querySelectorAll('.changes details').forEach((each) => (each.open = true))")
    found += faults("changes")
    requests.delete(f"{address}/{earlier}", timeout=PATIENCE_S).raise_for_status()
    assert found == []


@pytest.mark.usefixtures("empty_store")
def test_no_part_of_the_review_and_model_tabs_has_a_serious_fault(
    browser: Browser, faults: Callable[[str], list[str]], walls: list[Path], sidecar: Sidecar
) -> None:
    open_tab(browser, "Review")
    eventually(lambda: "Nothing waits" in one(browser, "#review-viewer .count").text)
    found = faults("nothing to review")
    files = {"image": ("wall.jpg", walls[0].read_bytes()), "verdict": (None, "missed_crack"), "note": (None, "at the top")}
    requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).raise_for_status()
    press(browser, "#review-viewer .reload")
    says(browser, "#review-viewer", "% crack")
    found += faults("a complaint")
    strike(browser, "v", "KeyV")
    eventually(lambda: one(browser, "#review-viewer .before").is_displayed())
    found += faults("before and after")
    open_tab(browser, "Model")
    eventually(lambda: "Version" in one(browser, "body").text)
    press(browser, "#retrain")
    eventually(lambda: one(browser, "#retrain-start").is_displayed())
    found += faults("the model, and the question before a retraining")
    assert found == []


def test_a_screen_reader_is_told_in_words_that_an_answer_has_come(browser: Browser) -> None:
    one(browser, "#inspect-viewer .hint")
    browser.execute_script(LISTEN)
    open_tab(browser, "Model")
    eventually(lambda: "Done" in browser.execute_script("return told"))
    assert not [words for words in browser.execute_script("return told") if words.startswith("common.")]
