"""Decides which web pages may use our servers from a browser, and at which addresses: one set of rules for the sidecar and the
page.

Any website can make a browser send requests to this machine, and can point its own name here (DNS rebinding). Left to others:
who sends the request (keys, login). Clients that are not browsers send no origin, and need none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crack.refusals import error_body, error_headers, refusal

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/]+)(:\d+)?")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
ALLOWED_METHODS = ("GET", "HEAD", "POST", "DELETE")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Doors:
    """docs/security.md, "Other sites", says what each setting means, docs/operations/proxy.md what prefixes are for."""

    prefixes: tuple[str, ...] = ("",)
    """The server answers paths that begin with one of these; the first is its own."""
    public_origins: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], below: str = "") -> Self:
        """`below`: the server's path under CRACK_ROOT_PATH. Raises ValueError, naming the variable, for an invalid value."""
        root_path = _root_path("CRACK_ROOT_PATH", environment.get("CRACK_ROOT_PATH", ""))
        return cls(
            (root_path + below, root_path) if root_path and below else (root_path,),
            frozenset(_origin("CRACK_PUBLIC_URL", text) for text in _listed(environment, "CRACK_PUBLIC_URL")),
            frozenset(_origin("CRACK_ALLOWED_ORIGINS", text) for text in _listed(environment, "CRACK_ALLOWED_ORIGINS")),
            tuple(_network("CRACK_TRUSTED_PROXIES", text) for text in _listed(environment, "CRACK_TRUSTED_PROXIES")),
        )

    @property
    def root_path(self) -> str:
        return self.prefixes[0]

    def guard(self, app: Starlette) -> None:
        """Only requests that are allowed here reach `app`, and only pages that are named here can read its answers."""
        app.add_middleware(
            _Preflights,
            allow_origins=sorted(self.allowed_origins),
            allow_methods=ALLOWED_METHODS,
            allow_headers=["*"],  # including those that frameworks and tracing add
            allow_private_network=True,  # browsers ask for it when an allowed page on the internet calls a private network
            expose_headers=["*"],
        )
        app.add_middleware(Doorkeeper, doors=self)

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header names this server. An IP address always does, as nobody can redirect it."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").rstrip(".").lower()
        return name == "localhost" or _is_address(name) or name in {urlsplit(url).hostname for url in self.public_origins}

    def lets_in(self, scheme: str, method: str, headers: Headers) -> bool:
        """Whether the request comes from our own page, from an allowed one, from no page at all, or from somebody who follows
        a link.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin in self.allowed_origins | self.public_origins:
            return True
        if origin is not None and origin.lower() != f"{scheme}://{headers['host']}".lower():
            return False
        mode, destination = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        return site in ("same-origin", "none") or (method, mode, destination) == ("GET", "navigate", "document")

    def trusts(self, scope: Scope) -> bool:
        """Whether the connection comes from a proxy whose X-Forwarded headers are trusted."""
        client = scope.get("client")
        return client is not None and any(ip_address(client[0]) in network for network in self.trusted_proxies)


def route_path(scope: Scope) -> str:
    """The path of a request as the application's routes have it, without the prefix that a proxy gave it."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


class _Preflights(CORSMiddleware):
    """Answers a browser's preflight request for an allowed page; a refusal has the form of our errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        asked = request_headers["access-control-request-method"]
        message = f"A page may not use the method {asked!r}: expected {', '.join(self.allow_methods)}."
        headers = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
        return Response(error_body("parameter_invalid", message), 400, headers | error_headers(400))


class Doorkeeper:
    """ASGI middleware; the application behind it sees the same scheme, host and path as the browser."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["http_version"] == "1.1" and "host" not in Headers(scope=scope):  # RFC 9112, section 3.2
            message = "The request names no host, which HTTP/1.1 requires. Send the header Host."
            await refusal(400, "request_malformed", message)(scope, receive, send)
            return
        self._see_past_proxies(scope)
        self._see_prefix(scope)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":  # against clickjacking: no other site may frame our page
                MutableHeaders(scope=message).setdefault("content-security-policy", "frame-ancestors 'self'")
            await send(message)

        if not self._doors.is_own_name(host):
            message = f"Host is {host!r}: expected an IP address, localhost or a name of this server (CRACK_PUBLIC_URL)."
            await refusal(421, "host_refused", message)(scope, receive, send)
        elif not self._doors.lets_in(scope["scheme"], scope["method"], headers):
            message = (
                f"A page of {origin or 'another site'!r} may not use this server. Use its own page at its own address "
                "(CRACK_PUBLIC_URL), or have it allowed (CRACK_ALLOWED_ORIGINS)."
            )
            await refusal(403, "origin_refused", message)(scope, receive, send)
        elif not route_path(scope):  # relative addresses would lead above the prefix
            await RedirectResponse(f"{scope['path']}/", 308)(scope, receive, send)
        else:
            await self._app(scope, receive, send_framed)

    def _see_past_proxies(self, scope: Scope) -> None:
        """Take scheme and host from a trusted proxy's X-Forwarded headers; remove these headers from everybody's requests."""
        headers = MutableHeaders(scope=scope)
        if self._doors.trusts(scope):
            scope["scheme"] = _last(headers.get("x-forwarded-proto")) or scope["scheme"]
            headers["host"] = _last(headers.get("x-forwarded-host")) or headers.get("host", "")
        scope["headers"] = [(name, value) for name, value in headers.raw if not name.startswith(b"x-forwarded-")]

    def _see_prefix(self, scope: Scope) -> None:
        """Make the path begin with the server's own prefix, as ASGI expects, whether or not a proxy removed it, and without
        needless slashes.
        """
        path = re.sub("/{2,}", "/", str(scope["path"]))
        passed_on = next((prefix for prefix in self._doors.prefixes if f"{path}/".startswith(f"{prefix}/")), "")
        within = path.removeprefix(passed_on)
        scope["root_path"] = self._doors.root_path
        scope["path"] = self._doors.root_path + (within.rstrip("/") or within)


def _listed(environment: Mapping[str, str], name: str) -> list[str]:
    return [text.strip() for text in environment.get(name, "").split(",") if text.strip()]


def _last(value: str | None) -> str:
    return (value or "").split(",")[-1].strip()


def _origin(variable: str, text: str) -> str:
    """As browsers write it: in lower case, without the scheme's default port."""
    try:
        parts = urlsplit(text.lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _PORTS or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError(
            f"{variable}={text!r}: expected https://NAME or https://NAME:PORT, several separated by commas; "
            "a path belongs in CRACK_ROOT_PATH."
        )
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port not in (None, _PORTS[parts.scheme]) else "")


def _root_path(variable: str, text: str) -> str:
    if not _ROOT_PATH.fullmatch(text):
        raise ValueError(f"{variable}={text!r}: expected a path such as /cracks, of letters, digits and . _ ~ -.")
    return text.rstrip("/")


def _network(variable: str, text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{variable}={text!r}: expected addresses or networks, separated by commas ({error}).") from error


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
