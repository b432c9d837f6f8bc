"""Bearer tokens of a real OpenID Connect provider: who comes in with one, as whom, and which tokens are none."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import numpy as np
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.issuer import PAUSE_S
from sidecar.keys import KeyRing, Right
from tests.photographs import png
from tests.providers import ANNA, AUDIENCE, BOB, Provider
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPH = png(np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8))


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.stop()


@pytest.fixture
def start_with_issuer(start_lone_sidecar: StartSidecar) -> Callable[..., Sidecar]:
    def start(provider: Provider, **settings: str) -> Sidecar:
        return start_lone_sidecar(CRACK_OIDC_ISSUER=provider.url, CRACK_OIDC_AUDIENCE=AUDIENCE, **settings)

    return start


def ask(
    sidecar: Sidecar, token: str, method: str = "GET", route: str = "/feedback", seen: str = "", **body: Any
) -> requests.Response:
    headers = ({"Authorization": f"Bearer {token}"} if token else {}) | ({"If-Match": seen} if seen else {})
    return requests.request(method, f"{sidecar.url}{route}", headers=headers, timeout=PATIENCE_S, **body)


def refusal(answer: requests.Response) -> tuple[int, str]:
    assert answer.json()["message"].endswith(".")
    return answer.status_code, answer.json()["code"]


def test_who_has_a_token_may_what_its_scopes_say_and_stands_in_the_history_by_name(
    provider: Provider, start_with_issuer: Callable[..., Sidecar]
) -> None:
    sidecar = start_with_issuer(provider)
    anna, bob = provider.token(ANNA["sub"]), provider.token(BOB["sub"])
    saved = ask(sidecar, anna, "POST", "/save-for-retrain", files={"image": PHOTOGRAPH}, data={"verdict": "no_crack"}).json()
    item = f"/feedback/{saved['id']}"
    seen = ask(sidecar, anna, "GET", item).headers["ETag"]
    reviewed = ask(sidecar, anna, "POST", f"{item}/review", seen, files={"decision": (None, "accept")}).json()
    assert [(event["who"], event["action"]) for event in reviewed["history"]] == [
        ("anna (2481)", "saved"),
        ("anna (2481)", "reviewed"),
    ]
    assert refusal(ask(sidecar, bob)) == (403, "not_permitted")
    assert refusal(ask(sidecar, bob, "POST", "/predict", data=PHOTOGRAPH)) == (503, "model_unavailable")  # it was let in
    log = sidecar.log_path.read_text()
    assert anna not in log
    assert "anna" not in log


def test_the_rights_can_come_from_another_claim_and_by_other_names(
    provider: Provider, start_with_issuer: Callable[..., Sidecar]
) -> None:
    sidecar = start_with_issuer(provider, CRACK_OIDC_CLAIM="preferred_username", CRACK_OIDC_SCOPES="review=bob,predict=anna")
    assert ask(sidecar, provider.token(BOB["sub"])).status_code == 200
    assert refusal(ask(sidecar, provider.token(ANNA["sub"]))) == (403, "not_permitted")


def test_an_api_key_counts_beside_tokens_and_nobody_comes_in_with_neither(
    provider: Provider, start_with_issuer: Callable[..., Sidecar], tmp_path: Path
) -> None:
    sidecar = start_with_issuer(provider)
    assert refusal(ask(sidecar, "")) == (401, "key_invalid")
    assert requests.get(f"{sidecar.url}/ready", timeout=PATIENCE_S).json()["code"] == "model_unavailable"  # no fault of keys
    key = KeyRing(tmp_path / "store" / "keys.json").add("eve", [Right.REVIEW])
    assert ask(sidecar, key).status_code == 200
    (tmp_path / "store" / "keys.json").write_text("{}")
    assert refusal(ask(sidecar, key)) == (503, "keys_unavailable")
    assert ask(sidecar, provider.token()).status_code == 200


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(provider: Provider) -> str:
    token = provider.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    return f"{encoded({**jwt.get_unverified_header(token), 'alg': 'none'})}.{encoded(claims)}."


def signed_by_the_public_key(provider: Provider) -> str:
    """As if that were a secret shared by both."""
    token, public = provider.token(), provider.public_key().key
    assert isinstance(public, rsa.RSAPublicKey)
    claims = jwt.decode(token, options={"verify_signature": False})
    text = f"{encoded({**jwt.get_unverified_header(token), 'alg': 'HS256'})}.{encoded(claims)}"
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def own_key(provider: Provider) -> str:
    """Signed as it should be, by another's key under the name of the issuer's."""
    token = provider.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    return jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256", headers=header)


def with_more_rights(provider: Provider) -> str:
    header, claims, signature = provider.token(BOB["sub"]).split(".")
    changed = jwt.decode(f"{header}.{claims}.{signature}", options={"verify_signature": False}) | {"scope": ANNA["scope"]}
    return f"{header}.{encoded(changed)}.{signature}"


FORGED: dict[str, Callable[[Provider], str]] = {
    "for another audience": lambda provider: provider.token(audience="another-service"),
    "without a signature": unsigned,
    "signed by the public key": signed_by_the_public_key,
    "signed by another key": own_key,
    "changed after it was signed": with_more_rights,
}


def test_a_token_that_is_none_lets_nobody_in(provider: Provider, start_with_issuer: Callable[..., Sidecar]) -> None:
    sidecar = start_with_issuer(provider)
    for name, forge in FORGED.items():
        answer = ask(sidecar, forge(provider))
        assert refusal(answer) == (401, "key_invalid"), name
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert ask(sidecar, provider.token()).status_code == 200


def test_an_expired_token_lets_nobody_in(start_with_issuer: Callable[..., Sidecar]) -> None:
    provider = Provider("--token-max-age", "-60")
    try:
        answer = ask(start_with_issuer(provider), provider.token())
        assert refusal(answer) == (401, "key_invalid")
        assert "expired" in answer.json()["message"]
    finally:
        provider.stop()


def test_another_issuers_token_lets_nobody_in(provider: Provider, start_with_issuer: Callable[..., Sidecar]) -> None:
    other = Provider()
    try:
        assert refusal(ask(start_with_issuer(provider), other.token())) == (401, "key_invalid")
    finally:
        other.stop()


def test_an_issuer_that_is_away_is_said_and_one_that_is_back_with_other_keys_counts(
    start_with_issuer: Callable[..., Sidecar],
) -> None:
    provider = Provider()
    try:
        sidecar, former = start_with_issuer(provider), provider.token()
        assert ask(sidecar, former).status_code == 200
        provider.stop()
        assert ask(sidecar, former).status_code == 200  # by the key that is known
        sidecar.stop()
        sidecar.start()
        assert refusal(ask(sidecar, former)) == (503, "issuer_unavailable")
        provider.start()
        eventually(lambda: ask(sidecar, provider.token()).status_code == 200)
        assert refusal(ask(sidecar, former)) == (401, "key_invalid")
    finally:
        provider.stop()


def test_unknown_keys_are_asked_about_once_in_a_while_however_many_tokens_name_them(
    start_with_issuer: Callable[..., Sidecar],
) -> None:
    provider = Provider()
    try:
        sidecar = start_with_issuer(provider)
        assert ask(sidecar, provider.token()).status_code == 200
        provider.stop()
        started = time.monotonic()
        for number in range(100):
            token = jwt.encode({"sub": "2481"}, "a secret of thirty-two characters", headers={"kid": str(number)})
            assert ask(sidecar, token).status_code in (401, 503)
        n_asked = sidecar.log_path.read_text().count("no token of")
        assert n_asked <= 1 + (time.monotonic() - started) / PAUSE_S
    finally:
        provider.stop()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"CRACK_OIDC_ISSUER": "http://login.example"}, "expected https://, or http:// on this machine"),
        ({"CRACK_OIDC_ISSUER": "https://login.example"}, "CRACK_OIDC_AUDIENCE is not set, nor CRACK_OIDC_CLIENT_ID"),
        (
            {"CRACK_OIDC_ISSUER": "https://login.example", "CRACK_OIDC_AUDIENCE": "a", "CRACK_OIDC_SCOPES": "write=all"},
            "'write' is not a valid Right. Expected RIGHT=SCOPE",
        ),
    ],
)
def test_a_setting_that_cannot_be_meant_stops_the_start(
    settings: dict[str, str], named: str, start_lone_sidecar: StartSidecar
) -> None:
    with pytest.raises(AssertionError, match=named):
        start_lone_sidecar(**settings)
