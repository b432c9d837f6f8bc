"""OpenID Connect: who sent a bearer token and what its scopes allow, checked with the keys that its issuer publishes. The
issuer gets no request before the first token arrives. Left to others: how somebody gets a token, and API keys
(`sidecar.keys`).
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import aiohttp
import jwt

from crack.issuer import is_private
from model.inference.errors import ErrorCode, RequestError
from sidecar.keys import Caller, Right
from sidecar.settings import Settings

logger = logging.getLogger("sidecar.issuer")

# Signed with the issuer's private key: a token without a signature, or signed with a shared secret, is refused.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
KEYS_LIVE_S = 600  # a key that the issuer has withdrawn is accepted for no longer
PAUSE_S = 5  # between two requests to the issuer, however many unknown keys tokens name
LEEWAY_S = 30  # the most by which two clocks may differ
MAX_NAME_CHARACTERS = 100
_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=5, sock_read=5)


class Issuer:
    """One issuer of tokens.

    Args:
        url: as each of its tokens names it.
        audiences: each token must be for one of these.
        claim: where a token has its scopes: words in a text, or a list.
        scopes: which of them gives which right.
    """

    def __init__(self, url: str, audiences: Sequence[str], claim: str, scopes: Mapping[Right, str]) -> None:
        self._url, self._audiences, self._claim, self._scopes = url, audiences, claim, scopes
        self._lock = asyncio.Lock()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._keys_until = self._silent_until = 0.0
        self._fault = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None if no issuer is set. Raises ValueError, naming the variable, for an invalid value."""
        if not settings.oidc_issuer:
            return None
        if not settings.oidc_audiences:
            raise ValueError(
                "CRACK_OIDC_AUDIENCE is not set, nor CRACK_OIDC_CLIENT_ID: name the audience for tokens of CRACK_OIDC_ISSUER."
            )
        try:
            pairs = (pair.partition("=") for pair in settings.oidc_scopes.split(","))
            scopes = {Right(right): scope for right, _, scope in pairs}
        except ValueError as error:
            raise ValueError(f"CRACK_OIDC_SCOPES={settings.oidc_scopes!r}: {error}. Expected RIGHT=SCOPE,...") from error
        return cls(settings.oidc_issuer, settings.oidc_audiences, settings.oidc_claim, scopes)

    async def caller(self, token: str) -> Caller:
        """Raises RequestError: KEY_INVALID, ISSUER_UNAVAILABLE."""
        try:
            claims = jwt.decode(
                token,
                await self._key(jwt.get_unverified_header(token).get("kid")),
                algorithms=ALGORITHMS,
                audience=self._audiences,
                issuer=self._url,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise RequestError(
                ErrorCode.KEY_INVALID, f"The token is not accepted ({error}). Get a new one from {self._url}."
            ) from error
        return Caller(_name(claims), self._rights(claims))

    def _rights(self, claims: dict[str, Any]) -> frozenset[Right]:
        found = claims.get(self._claim)
        granted = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        return frozenset(right for right, scope in self._scopes.items() if scope in granted)

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        """Raises InvalidKeyError if the issuer publishes no key of that name, RequestError if it does not answer."""
        if not self._is_known(key_id):
            async with self._lock:
                if not self._is_known(key_id) and time.monotonic() >= self._silent_until:
                    await self._ask()
        if self._is_known(key_id):
            return self._keys[key_id]
        if self._fault:
            raise RequestError(
                ErrorCode.ISSUER_UNAVAILABLE,
                "The issuer of tokens does not publish its keys, so your token cannot be checked. Send it again later.",
            )
        raise jwt.InvalidKeyError(f"it is signed by a key that the issuer does not publish, {key_id!r}")

    def _is_known(self, key_id: str | None) -> bool:
        return key_id in self._keys and time.monotonic() < self._keys_until

    async def _ask(self) -> None:
        """Fetch the keys that the issuer publishes; if that fails, the known ones are used until they expire."""
        try:
            described = await self._get(f"{self._url.rstrip('/')}/.well-known/openid-configuration")
            if described["issuer"] != self._url:
                raise ValueError(f"it calls itself {described['issuer']!r}")
            published = jwt.PyJWKSet.from_dict(await self._get(described["jwks_uri"])).keys
        except (aiohttp.ClientError, jwt.PyJWTError, KeyError, TimeoutError, TypeError, ValueError) as error:
            self._fault = f"{type(error).__name__}: {error}"
            logger.warning("no token of %s can be checked by its keys: %s", self._url, self._fault)
        else:
            self._keys = {key.key_id: key for key in published if key.public_key_use in (None, "sig")}
            if len(self._keys) == 1:  # then a token need not name its key
                self._keys |= {None: next(iter(self._keys.values()))}
            self._keys_until, self._fault = time.monotonic() + KEYS_LIVE_S, ""
        self._silent_until = time.monotonic() + PAUSE_S

    async def _get(self, url: str) -> dict[str, Any]:
        if not is_private(url):
            raise ValueError(f"{url!r} is neither https:// nor on this machine")
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session,  # it may be far away, behind a proxy
            session.get(url, allow_redirects=False, raise_for_status=True) as answer,
        ):
            return dict(await answer.json(content_type=None))


def is_token(text: str) -> bool:
    """Whether this is a token, not an API key."""
    try:
        jwt.get_unverified_header(text)
    except jwt.PyJWTError:
        return False
    return True


def _name(claims: dict[str, Any]) -> str:
    """The name that people choose for themselves, and the id that the issuer gives them."""
    called = claims.get("preferred_username") or claims.get("name") or "user"
    shown, subject = ("".join(filter(str.isprintable, str(text)))[:MAX_NAME_CHARACTERS] for text in (called, claims["sub"]))
    return f"{shown} ({subject})"
