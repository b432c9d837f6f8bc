"""The Review tab: what may be accepted, what is kept, and what was decided."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from model.inference.encoding import mask_png
from model.masks import read_mask
from tests.front import Front
from tests.page.conftest import SIZE_HW
from tests.pages import draw, eventually, one, open_tab, painted, press, says, strike, without_network
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("empty_store")

Browser = webdriver.Chrome
REVIEW = "#review-viewer"


def send(sidecar: Sidecar, path: Path, verdict: str, mask: np.ndarray | None = None) -> str:
    files = {"image": (path.name, path.read_bytes())} | ({"mask": ("m", mask_png(mask))} if mask is not None else {})
    answer = requests.post(f"{sidecar.url}/save-for-retrain", files=files, data={"verdict": verdict}, timeout=PATIENCE_S)
    answer.raise_for_status()
    return str(answer.json()["id"])


def item(sidecar: Sidecar, item_id: str) -> dict[str, Any]:
    return dict(requests.get(f"{sidecar.url}/feedback/{item_id}", timeout=PATIENCE_S).json()["item"])


def state(sidecar: Sidecar, item_id: str) -> str:
    return str(item(sidecar, item_id)["state"])


def opened(browser: Browser, path: Path) -> None:
    open_tab(browser, "Review")
    says(browser, REVIEW, f"{path.name}: ")


def test_with_nothing_painted_nothing_is_accepted(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    item_id = send(sidecar, walls[0], "missed_crack")
    opened(browser, walls[0])
    eventually(one(browser, f"{REVIEW} .threshold").is_displayed)  # the model's mask is there
    press(browser, f"{REVIEW} .save")
    says(browser, REVIEW, "Nothing was painted, so there is nothing to accept.")
    press(browser, f"{REVIEW} .empty")
    press(browser, f"{REVIEW} .save")
    says(browser, REVIEW, "The verdict is missed_crack, but the mask holds no crack. Paint the crack, or reject")
    assert state(sidecar, item_id) == "needs_label"


def test_a_false_alarm_is_answered_by_no_crack_here(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    item_id = send(sidecar, walls[0], "false_alarm")
    opened(browser, walls[0])
    press(browser, f"{REVIEW} .empty")
    press(browser, f"{REVIEW} .save")
    says(browser, REVIEW, "accepted by local")
    assert state(sidecar, item_id) == "accepted"


def test_a_mask_that_came_while_the_model_was_away_is_accepted_once_it_is_checked(
    browser: Browser, front: Front, sidecar: Sidecar, walls: list[Path]
) -> None:
    with front.cut_off():
        item_id = send(sidecar, walls[0], "too_thin", np.arange(SIZE_HW[1]) < np.full((SIZE_HW[0], 1), 9))
        opened(browser, walls[0])
        assert not one(browser, f"{REVIEW} .accept").is_enabled()
        assert "could be the model's own" in one(browser, f"{REVIEW} .said").text
    eventually(lambda: item(sidecar, item_id)["own_mask_check"] is None)
    press(browser, f"{REVIEW} .reload")
    eventually(one(browser, f"{REVIEW} .accept").is_enabled)
    press(browser, f"{REVIEW} .accept")
    says(browser, REVIEW, "accepted by local")


def test_a_reviewer_is_told_what_is_doubtful_about_a_mask(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    send(sidecar, walls[0], "other", np.ones(SIZE_HW, np.bool_))
    opened(browser, walls[0])
    assert "more than half of the photograph is called crack" in one(browser, f"{REVIEW} .said").text


def test_painting_in_a_review_survives_the_next_photograph_and_a_reload(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    for path in walls[:2]:
        send(sidecar, path, "missed_crack")
    open_tab(browser, "Review")
    name = says(browser, REVIEW, "% crack").partition(":")[0]
    eventually(one(browser, f"{REVIEW} .threshold").is_displayed)
    draw(browser, (-100, -40), (150, 20), REVIEW)
    mine = painted(browser, REVIEW)
    assert mine.any()
    strike(browser, "j")
    eventually(lambda: not np.array_equal(painted(browser, REVIEW), mine))
    browser.refresh()
    open_tab(browser, "Review")
    while name not in says(browser, REVIEW, "% crack"):
        strike(browser, "k")
    assert np.array_equal(painted(browser, REVIEW), mine)


def test_what_was_decided_is_listed_with_name_and_sender_and_can_be_decided_anew(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    item_id = send(sidecar, walls[0], "other", np.ones(SIZE_HW, np.bool_))
    opened(browser, walls[0])
    assert "local, " in one(browser, f"{REVIEW} .gallery .from").text
    eventually(lambda: browser.execute_script("return document.querySelector(arguments[0]).naturalWidth", f"{REVIEW} img"))
    press(browser, f"{REVIEW} .accept")
    says(browser, REVIEW, f"{walls[0].name}: accepted by local")
    eventually(lambda: "Nothing waits" in one(browser, f"{REVIEW} .count").text)
    Select(one(browser, f"{REVIEW} .which")).select_by_value("decided")
    eventually(lambda: "1 decided" in one(browser, f"{REVIEW} .count").text)
    says(browser, REVIEW, "% crack")
    eventually(lambda: "accepted by local, " in one(browser, f"{REVIEW} .said").text)
    press(browser, f"{REVIEW} .reject")
    says(browser, REVIEW, "rejected by local")
    assert state(sidecar, item_id) == "rejected"


def test_nobody_accepts_a_mask_that_came_later(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    mask_hw = np.zeros(SIZE_HW, np.bool_)
    mask_hw[100:110] = True
    send(sidecar, walls[0], "other", mask_hw)
    opened(browser, walls[0])
    send(sidecar, walls[0], "other", ~mask_hw)
    press(browser, f"{REVIEW} .accept")
    says(browser, REVIEW, "is not what you looked at: local saved it")
    press(browser, f"{REVIEW} .reload")
    eventually(lambda: np.array_equal(painted(browser, REVIEW), ~mask_hw))
    press(browser, f"{REVIEW} .accept")
    says(browser, REVIEW, "accepted by local")


def test_a_second_reviewer_is_told_who_decided_and_when(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    item_id = send(sidecar, walls[0], "other", np.ones(SIZE_HW, np.bool_))
    opened(browser, walls[0])
    etag = requests.get(f"{sidecar.url}/feedback/{item_id}", timeout=PATIENCE_S).headers["ETag"]
    requests.post(
        f"{sidecar.url}/feedback/{item_id}/review",
        data={"decision": "reject"},
        files={"decision": (None, "reject")},
        headers={"If-Match": etag},
        timeout=PATIENCE_S,
    ).raise_for_status()
    press(browser, f"{REVIEW} .accept")
    said = says(browser, REVIEW, f"{walls[0].name} is not what you looked at: local reviewed it on 20")
    assert "UTC, and it is rejected now" in said
    assert state(sidecar, item_id) == "rejected"
    assert browser.find_elements(By.CSS_SELECTOR, f"{REVIEW} .gallery button")


def test_a_complaint_begins_with_the_models_mask_which_cannot_be_accepted(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    item_id = send(sidecar, walls[0], "too_thin")
    opened(browser, walls[0])
    eventually(one(browser, f"{REVIEW} .threshold").is_displayed)
    files = {"image": walls[0].read_bytes(), "response": (None, "mask")}
    answer = requests.post(f"{sidecar.url}/predict", files=files, timeout=PATIENCE_S)
    predicted = read_mask(answer.content, SIZE_HW)
    assert np.array_equal(painted(browser, REVIEW), predicted)
    assert not one(browser, f"{REVIEW} .accept").is_enabled()
    draw(browser, (-100, -40), (150, 20), REVIEW)
    mine = painted(browser, REVIEW)
    assert (mine & predicted).sum() == predicted.sum()
    press(browser, f"{REVIEW} .save")
    says(browser, REVIEW, "accepted by local")
    content = requests.get(f"{sidecar.url}/feedback/{item_id}/mask", timeout=PATIENCE_S).content
    assert np.array_equal(read_mask(content, SIZE_HW), mine)


def test_the_accepted_mask_is_seen_beside_the_newer_one_and_moves_with_it(
    browser: Browser, sidecar: Sidecar, walls: list[Path]
) -> None:
    before_hw, after_hw = np.zeros(SIZE_HW, np.bool_), np.zeros(SIZE_HW, np.bool_)
    before_hw[100:110], after_hw[:, 50:60] = True, True
    item_id = send(sidecar, walls[0], "other", before_hw)
    etag = requests.get(f"{sidecar.url}/feedback/{item_id}", timeout=PATIENCE_S).headers["ETag"]
    review = {"files": {"decision": (None, "accept")}, "headers": {"If-Match": etag}}
    requests.post(f"{sidecar.url}/feedback/{item_id}/review", **review, timeout=PATIENCE_S).raise_for_status()  # type: ignore[arg-type]
    send(sidecar, walls[0], "other", after_hw)
    opened(browser, walls[0])
    strike(browser, "v", "KeyV")
    eventually(one(browser, f"{REVIEW} .before .caption").is_displayed)
    assert "accepted mask" in one(browser, f"{REVIEW} .before .caption").text
    assert np.array_equal(painted(browser, f"{REVIEW} .before"), before_hw)
    assert np.array_equal(painted(browser, REVIEW), after_hw)
    press(browser, f"{REVIEW} .zoom-in")
    script = "return [...document.querySelectorAll(arguments[0])].map((sheet) => sheet.style.transform)"
    after, before = browser.execute_script(script, f"{REVIEW} .sheet")
    assert before == after
    strike(browser, "v", "KeyV")
    eventually(lambda: not one(browser, f"{REVIEW} .before").is_displayed())


def test_without_a_network_the_reviewer_is_told(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    for wall in walls[:2]:
        send(sidecar, wall, "", np.ones(SIZE_HW, bool))
    open_tab(browser, "Review")
    says(browser, REVIEW, "% crack")
    with without_network(browser):
        press(browser, f"{REVIEW} .reject")
        says(browser, REVIEW, "cannot be reached. Check your connection")
        strike(browser, "j")
        says(browser, REVIEW, "cannot be reached. Check your connection")
    strike(browser, "k")
    says(browser, REVIEW, "% crack")


def test_a_long_list_does_not_make_the_page_longer(browser: Browser, sidecar: Sidecar, walls: list[Path]) -> None:
    browser.set_window_size(1400, 700)
    for wall in walls:
        send(sidecar, wall, "", np.ones(SIZE_HW, bool))
    open_tab(browser, "Review")
    says(browser, REVIEW, "% crack")
    script = "return document.querySelector('#review-viewer .gallery').getBoundingClientRect().bottom <= innerHeight"
    eventually(lambda: browser.execute_script(script))
