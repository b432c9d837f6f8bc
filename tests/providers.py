"""A real OpenID Connect provider, `oidc-provider-mock`, as a process of its own."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import requests

from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parent.parent
AUDIENCE = "crack-detection"
ANNA = {"sub": "2481", "preferred_username": "anna", "scope": "openid crack:predict crack:feedback crack:review"}
BOB = {"sub": "2482", "preferred_username": "bob", "scope": ["crack:predict"]}


class Provider:
    """It signs with a key of its own, a new one at each start; `program` is what runs it."""

    def __init__(self, *options: str, program: str = "oidc_provider_mock") -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        users = [word for user in (ANNA, BOB) for word in ("--user-claims", json.dumps(user))]
        self._command = [sys.executable, "-m", program, "--port", str(port), *users, *options]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: requests.get(f"{self.url}/jwks", timeout=PATIENCE_S).ok, requests.ConnectionError)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def token(self, subject: str = ANNA["sub"], audience: str = AUDIENCE) -> str:
        """Somebody's ID token, by the way that a browser goes."""
        asked = {"client_id": audience, "redirect_uri": "http://127.0.0.1/", "response_type": "code", "scope": "openid profile"}
        answer = requests.post(
            f"{self.url}/oauth2/authorize", params=asked, data={"sub": subject}, allow_redirects=False, timeout=PATIENCE_S
        )
        (code,) = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1/"}
        answer = requests.post(f"{self.url}/oauth2/token", data=form, auth=(audience, "a secret"), timeout=PATIENCE_S)
        return str(answer.json()["id_token"])

    def public_key(self) -> jwt.PyJWK:
        (key,) = jwt.PyJWKSet.from_dict(requests.get(f"{self.url}/jwks", timeout=PATIENCE_S).json()).keys
        return key


if __name__ == "__main__":  # the same provider, but a renewal gives an ID token too, as larger ones do; good for an hour
    from authlib.oidc.core import OpenIDToken
    from oidc_provider_mock import __main__ as command
    from oidc_provider_mock import _app as provider

    class Renewal(provider.RefreshTokenGrant):  # type: ignore[misc]
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            OpenIDToken.__call__(provider.OpenIDCode(False, timedelta(hours=1)), self)

    provider.RefreshTokenGrant = Renewal
    command.run()
