"""The page's login at a real OpenID Connect provider: who comes in, as whom, for how long, and how they leave."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import requests
from selenium import webdriver

from gradio_app.__main__ import main
from tests.pages import ServedPage, eventually, one, open_tab, press, says
from tests.photographs import png
from tests.ports import NOBODY
from tests.providers import ANNA, BOB, Provider
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

PAGE = "crack-page"  # the provider's name for it
PHOTOGRAPH = png(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8))
COOKIE = "crack-session"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.stop()


class PageWithLogin(ServedPage):
    """A page whose users log in at a provider."""

    def __init__(self, provider: Provider, log_path: Path, **settings: str) -> None:
        client = {"CRACK_OIDC_CLIENT_ID": PAGE, "CRACK_OIDC_CLIENT_SECRET": "a secret"}
        super().__init__(log_path, CRACK_OIDC_ISSUER=provider.url, **client, **settings)


@pytest.fixture(scope="module")
def sidecar(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    issuer = {"CRACK_OIDC_ISSUER": provider.url, "CRACK_OIDC_CLIENT_ID": PAGE}
    running = Sidecar(folder / "store", folder / "log", **issuer)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(provider: Provider, sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    """It has an API key too, which isn't used: people have names."""
    log = tmp_path_factory.mktemp("page") / "log"
    running = PageWithLogin(provider, log, BACKEND_URL=sidecar.url, CRACK_API_KEY="nobody's")
    yield running
    running.stop()


def get(browser: requests.Session, url: str, **headers: str) -> requests.Response:
    return browser.get(url, headers=headers, allow_redirects=False, timeout=PATIENCE_S)


def location(answer: requests.Response) -> str:
    assert answer.is_redirect, answer.text
    return answer.headers["Location"]


def way_back(page: ServedPage, browser: requests.Session, subject: str = ANNA["sub"], **headers: str) -> str:
    """Where the provider sends a browser that came from the page, once somebody has said who they are."""
    form = location(get(browser, f"{page.url}/login", **headers))
    return location(browser.post(form, data={"sub": subject}, allow_redirects=False, timeout=PATIENCE_S))


def log_in(page: ServedPage, subject: str) -> requests.Session:
    browser = requests.Session()
    assert location(get(browser, way_back(page, browser, subject))) == "/"
    return browser


def run(page: ServedPage, browser: requests.Session, name: str) -> str:
    """What an event of the page gives, or the sentence that went with its failure."""
    event = browser.post(f"{page.url}/gradio_api/call/{name}", json={"data": []}, timeout=PATIENCE_S).json()["event_id"]
    return browser.get(f"{page.url}/gradio_api/call/{name}/{event}", timeout=PATIENCE_S).text


def history(sidecar: Sidecar, item_id: str, token: str) -> list[tuple[str, str]]:
    answer = requests.get(f"{sidecar.url}/feedback/{item_id}", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S)
    return [(event["who"], event["action"]) for event in answer.json()["history"]]


def asked_by(sidecar: Sidecar, token: str) -> str:
    """Who asked for the last retraining."""
    headers = {"Authorization": f"Bearer {token}"}
    return str(requests.get(f"{sidecar.url}/retrain", headers=headers, timeout=PATIENCE_S).json()["job"]["asked_by"])


def come_in(browser: webdriver.Chrome, page: ServedPage) -> None:
    browser.get(page.url)
    one(browser, "input[name=sub]").send_keys(ANNA["sub"])
    press(browser, "button[type=submit]")


def test_people_log_in_review_under_their_own_name_and_log_out(
    browser: webdriver.Chrome, provider: Provider, sidecar: Sidecar, page: ServedPage
) -> None:
    token = provider.token(audience=PAGE)
    form = {"image": PHOTOGRAPH, "verdict": (None, "no_crack")}
    headers = {"Authorization": f"Bearer {token}"}
    saved = requests.post(f"{sidecar.url}/save-for-retrain", files=form, headers=headers, timeout=PATIENCE_S).json()
    come_in(browser, page)
    open_tab(browser, "Review")
    press(browser, "#review-viewer .accept")
    says(browser, "#review-viewer", "accepted")
    assert history(sidecar, saved["id"], token)[-1] == ("anna (2481)", "reviewed")
    cookie = browser.get_cookie(COOKIE)
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    assert eventually(lambda: browser.find_element("link text", "Log out").click() is None)
    eventually(lambda: browser.current_url.startswith(provider.url))
    browser.get(page.url)
    one(browser, "input[name=sub]")
    assert get(requests.Session(), page.url, Cookie=f"{COOKIE}={cookie['value']}").status_code == 401


def test_somebody_whose_session_ended_while_the_page_was_open_is_told_to_log_in(
    browser: webdriver.Chrome, page: ServedPage
) -> None:
    come_in(browser, page)
    open_tab(browser, "Review")
    one(browser, "#review-viewer .reload")
    browser.delete_cookie(COOKIE)
    press(browser, "#review-viewer .reload")
    says(browser, "#review-viewer", "the session ended. Log in at /login; if you have unsent work, in another tab.")


def test_nobody_reaches_the_page_without_a_session(page: ServedPage) -> None:
    nobody = requests.Session()
    for cookie in ("", f"{COOKIE}=", f"{COOKIE}=guessed"):
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "//config", "/config/"):
            answer = get(nobody, page.url + path, Cookie=cookie)
            assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid"), path
        for path in (
            "/gradio_api/upload",
            "/gradio_api/queue/join",
            "/gradio_api/component_server",
            "/gradio_api/call/retrain",
        ):
            assert nobody.post(page.url + path, headers={"Cookie": cookie}, timeout=PATIENCE_S).status_code == 401, path
    assert location(get(nobody, page.url, Accept="text/html")) == "/login"
    assert get(nobody, f"{page.url}/ping").json() == {"status": "ok"}


def test_the_sidecar_decides_what_somebody_may_on_the_page(provider: Provider, sidecar: Sidecar, page: ServedPage) -> None:
    bob, anna = log_in(page, BOB["sub"]), log_in(page, ANNA["sub"])
    assert "error" in run(page, bob, "retrain")
    assert "'bob (2482)' does not have the right to review" in page.log_path.read_text()
    run(page, anna, "retrain")
    assert asked_by(sidecar, provider.token(audience=PAGE)) == "anna (2481)"


def test_a_login_asks_for_a_code_with_pkce_state_and_nonce_and_its_answer_counts_once_in_its_own_browser(
    page: ServedPage,
) -> None:
    browser = requests.Session()
    asked = parse_qs(urlsplit(location(get(browser, f"{page.url}/login"))).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert {"code_challenge", "state", "nonce"} <= asked.keys()
    back = way_back(page, browser)
    assert get(requests.Session(), back).status_code == 403  # nobody is logged in as somebody else by a link
    assert get(browser, back.replace("state=", "state=x")).status_code == 403
    assert location(get(browser, back)) == "/"
    assert get(browser, back).status_code == 403
    assert get(browser, page.url, Accept="text/html").status_code == 200


def test_behind_https_cookies_are_secure_and_the_provider_sends_people_to_the_public_address(
    provider: Provider, tmp_path: Path
) -> None:
    settings = {"CRACK_PUBLIC_URL": "https://cracks.example", "CRACK_TRUSTED_PROXIES": "127.0.0.1"}
    page, browser = PageWithLogin(provider, tmp_path / "log", **settings), requests.Session()
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cracks.example"}
    answer = get(browser, f"{page.url}/login", **proxied)
    assert parse_qs(urlsplit(location(answer)).query)["redirect_uri"] == ["https://cracks.example/login/back"]
    pending = answer.headers["Set-Cookie"]
    back = browser.post(location(answer), data={"sub": ANNA["sub"]}, allow_redirects=False, timeout=PATIENCE_S)
    arrived = location(back).replace("https://cracks.example", page.url)
    session = get(browser, arrived, Cookie=pending.partition(";")[0], **proxied).headers["Set-Cookie"]
    for cookie in (pending, session):
        assert {"httponly", "samesite=lax", "secure"} <= {word.strip().lower() for word in cookie.split(";")}, cookie
    page.stop()


def test_a_session_ends_with_its_token_where_the_provider_renews_none_and_one_that_is_away_is_said(tmp_path: Path) -> None:
    provider = Provider("--token-max-age", "-40")
    page = PageWithLogin(provider, tmp_path / "log", BACKEND_URL=NOBODY)
    anna = log_in(page, ANNA["sub"])
    assert get(anna, page.url).status_code == 200
    run(page, anna, "model")  # its token is needed
    assert get(anna, page.url).json()["code"] == "key_invalid"
    back = way_back(page, anna)
    provider.stop()
    answer = get(anna, back)
    assert (answer.status_code, "The login failed" in answer.text) == (403, True)
    page.stop()


def test_a_session_outlives_its_token_where_the_provider_renews_it(tmp_path: Path, start_lone_sidecar: StartSidecar) -> None:
    provider = Provider("--token-max-age", "-40", program="tests.providers")
    sidecar = start_lone_sidecar(CRACK_OIDC_ISSUER=provider.url, CRACK_OIDC_CLIENT_ID=PAGE)
    page = PageWithLogin(provider, tmp_path / "log", BACKEND_URL=sidecar.url)
    anna = log_in(page, ANNA["sub"])
    assert "not accepted" not in run(page, anna, "model")
    assert get(anna, page.url).status_code == 200
    page.stop()
    provider.stop()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"CRACK_OIDC_CLIENT_ID": PAGE}, "CRACK_OIDC_ISSUER is not set"),
        ({"CRACK_OIDC_CLIENT_ID": PAGE, "CRACK_OIDC_ISSUER": "http://login.example"}, "expected https://"),
        (
            {"CRACK_OIDC_CLIENT_ID": PAGE, "CRACK_OIDC_ISSUER": "https://login.example", "CRACK_PAGE_LOGIN": "a:b"},
            "expected one way to log in",
        ),
    ],
)
def test_settings_that_cannot_be_meant_stop_the_start(
    settings: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main([])
    assert sentence in capsys.readouterr().err
