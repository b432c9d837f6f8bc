"""What a browser sees of the servers where no other host can be reached."""

from pathlib import Path

from selenium import webdriver

from tests.pages import ServedPage, eventually, one
from tests.ports import NOBODY
from tests.sidecars import StartSidecar


def asked_hosts(browser: webdriver.Chrome) -> set[str]:
    """The hosts that the open page has loaded something from, or wanted to."""
    script = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)"
    return set(browser.execute_script(script))


def test_the_description_of_the_routes_is_read_without_any_other_host(
    browser: webdriver.Chrome, start_lone_sidecar: StartSidecar
) -> None:
    url = start_lone_sidecar().url
    browser.get(f"{url}/docs")
    eventually(lambda: "/save-for-retrain" in one(browser, "#swagger-ui").text)
    assert asked_hosts(browser) == {url.removeprefix("http://")}


def test_the_page_is_drawn_without_any_other_host(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=NOBODY)
    try:
        browser.get(page.url)
        eventually(lambda: "Review" in one(browser, "body").text)
        assert asked_hosts(browser) == {page.url.removeprefix("http://")}
    finally:
        page.stop()
