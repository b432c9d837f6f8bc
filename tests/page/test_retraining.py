"""The Model tab in Chromium."""

import requests
from selenium import webdriver

from tests.pages import eventually, one, open_tab, press
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S


def test_a_retraining_is_asked_for_twice_and_can_be_left(browser: webdriver.Chrome, sidecar: Sidecar) -> None:
    def n_asked() -> int:
        return len(requests.get(f"{sidecar.url}/retrain", timeout=PATIENCE_S).json()["history"])

    before = n_asked()
    open_tab(browser, "Model")
    press(browser, "#retrain")
    eventually(lambda: "quarter of an hour" in one(browser, "body").text)
    press(browser, "#retrain-cancel")
    eventually(lambda: one(browser, "#retrain").is_displayed())
    assert n_asked() == before
    press(browser, "#retrain")
    press(browser, "#retrain-start")
    eventually(lambda: n_asked() == before + 1)
    eventually(lambda: "by local" in one(browser, "body").text or "queued" in one(browser, "body").text)
