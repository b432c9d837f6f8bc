"""Login at an OpenID Connect issuer: authorization code with PKCE, sessions in memory, logout. A browser holds only a random
word in a cookie; tokens stay in this process. Left to others: permissions, which the sidecar decides by the ID token.
"""

import html
import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from fastapi import FastAPI
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from crack.doors import route_path
from crack.refusals import refusal

logger = logging.getLogger("gradio_app.login")

COOKIE = "crack-session"
PING, LOGIN, BACK, LOGOUT = "/ping", "/login", "/login/back", "/logout"
MAY_TAKE_S = 600  # from the page to the issuer and back
SESSION_S = 12 * 3600  # a working day, where the issuer renews tokens
RENEWED_S = 60  # before its end
_FAULTS = (AuthlibBaseError, JoseError, httpx2.HTTPError, KeyError, RuntimeError, TypeError, ValueError)


@dataclass
class Session:
    """Somebody who is logged in until `ends_at`; times are those of the wall clock, in seconds, as in tokens."""

    subject: str
    id_token: str
    token_ends_at: float
    refresh_token: str
    """Empty if the issuer gives none: the session ends with its token."""
    ends_at: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Login:
    """Logins at one issuer, which knows the page as `client_id`; `client_secret` is empty where it gave none."""

    def __init__(self, issuer: str, client_id: str, client_secret: str) -> None:
        self._url = issuer
        self._client = {"client_id": client_id}
        self._auth = (client_id, client_secret) if client_secret else None
        self._issuer = OAuth().register(
            "issuer",
            server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
            client_id=client_id,
            client_secret=client_secret or None,
            client_kwargs={
                "scope": "openid profile email",
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic" if client_secret else "none",
            },
        )
        self._sessions: dict[str, Session] = {}

    def guard(self, app: FastAPI, root_path: str, *, is_public: bool) -> None:
        """Only people who are logged in reach `app`, whose paths begin with `root_path`; `is_public`: whether browsers use
        https.
        """
        app.add_api_route(LOGIN, self._leave_for_the_issuer, include_in_schema=False)
        app.add_api_route(BACK, self._come_back, include_in_schema=False)
        app.add_api_route(LOGOUT, self._log_out, include_in_schema=False)
        app.add_middleware(Gate, login=self)
        app.add_middleware(  # a signed cookie for one login: state, nonce and PKCE's verifier
            SessionMiddleware,
            secret_key=secrets.token_urlsafe(32),
            session_cookie="crack-login",
            max_age=MAY_TAKE_S,
            path=root_path + LOGIN,
            same_site="lax",
            https_only=is_public,
        )

    def session(self, cookies: Mapping[str, str]) -> Session | None:
        """The session of these cookies; None if nobody is logged in with them."""
        session = self._sessions.get(cookies.get(COOKIE, ""))
        return session if session and time.time() < session.ends_at else None

    def token(self, cookies: Mapping[str, str]) -> str | None:
        """The ID token of the session of these cookies, renewed if it would soon expire."""
        session = self.session(cookies)
        if session is None:
            return None
        with session.lock:
            if session.refresh_token and session.token_ends_at - time.time() < RENEWED_S:
                self._renew(session)
        return session.id_token

    def _renew(self, session: Session) -> None:
        """If the issuer refuses, the session ends with its present token."""
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token, **self._client}
        try:
            answer = httpx2.post(self._issuer.server_metadata["token_endpoint"], data=form, auth=self._auth)
            if answer.is_server_error:
                answer.raise_for_status()
            renewed = answer.json()
            claims = json.loads(extract_compact(renewed["id_token"].encode()).payload)
            if claims["sub"] != session.subject:
                raise ValueError(f"the token is somebody else's, {claims['sub']!r}")
            session.id_token, session.token_ends_at = renewed["id_token"], float(claims["exp"])
            session.refresh_token = renewed.get("refresh_token", session.refresh_token)
        except httpx2.HTTPError as error:
            logger.warning("the issuer does not answer, so a token is renewed later: %s", error)
        except _FAULTS as error:
            logger.info("a session ends with its token, which was not renewed: %s: %s", type(error).__name__, error)
            session.refresh_token, session.ends_at = "", session.token_ends_at

    async def _leave_for_the_issuer(self, request: Request) -> Response:
        try:
            return await self._issuer.authorize_redirect(request, request.url_for(self._come_back.__name__))  # type: ignore[no-any-return]
        except _FAULTS as error:
            return _failed(error, request)

    async def _come_back(self, request: Request) -> Response:
        try:
            token = await self._issuer.authorize_access_token(request, claims_options={"iss": {"values": [self._url]}})
            claims, now = token["userinfo"], time.time()
            refresh_token, ends_at = token.get("refresh_token", ""), float(claims["exp"])
            session = Session(
                claims["sub"], token["id_token"], ends_at, refresh_token, now + SESSION_S if refresh_token else ends_at
            )
        except _FAULTS as error:
            return _failed(error, request)
        self._sessions = {word: each for word, each in self._sessions.items() if now < each.ends_at}
        word = secrets.token_urlsafe(32)  # never one that was there before: somebody else could have put it into the browser
        self._sessions[word] = session
        home = f"{request.scope['root_path']}/"
        answer = RedirectResponse(home, 303)
        answer.set_cookie(COOKIE, word, path=home, httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return answer

    async def _log_out(self, request: Request) -> Response:
        """Log out here, and at the issuer if it supports that."""
        session = self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        answer: Response = _told("You are logged out.", 200, request)
        if session:
            try:
                if "end_session_endpoint" in await self._issuer.load_server_metadata():
                    answer = await self._issuer.logout_redirect(request, str(request.base_url), session.id_token)
            except _FAULTS as error:
                logger.warning("somebody is logged out here, but not at the issuer: %s", error)
        answer.delete_cookie(COOKIE, path=f"{request.scope['root_path']}/", httponly=True, samesite="lax")
        return answer


class Gate:
    """ASGI middleware: people without a session are redirected to the login, programs get an error."""

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self._app = app
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in (PING, LOGIN, BACK, LOGOUT):
            await self._app(scope, receive, send)
            return
        request, address = Request(scope), scope["root_path"] + LOGIN
        if self._login.session(request.cookies):
            await self._app(scope, receive, send)
        elif request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            await RedirectResponse(address, 303)(scope, receive, send)
        else:
            message = (
                f"You are not logged in, or the session ended. Log in at {address}; if you have unsent work, in another tab."
            )
            await refusal(401, "key_invalid", message)(scope, receive, send)


def _failed(error: Exception, request: Request) -> Response:
    logger.warning("a login failed: %s: %s", type(error).__name__, error)
    return _told(f"The login failed ({type(error).__name__}: {error}).", 403, request)


def _told(sentence: str, status: int, request: Request) -> Response:
    address = request.scope["root_path"] + LOGIN
    return HTMLResponse(f'<p>{html.escape(sentence)} <a href="{address}">Log in</a></p>', status)
