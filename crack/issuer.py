"""The OpenID Connect issuer that the sidecar and the page trust, as the environment names it: one contract for both.

Left to others: what a token allows (`sidecar.issuer`) and how people log in (`gradio_app.login`).
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from crack.instance import LOOPBACK


def issuer_url(environment: Mapping[str, str]) -> str:
    """The issuer's URL as its tokens have it; empty if none is set. Raises ValueError if it is invalid."""
    url = environment.get("CRACK_OIDC_ISSUER", "")
    if url and not is_private(url):
        raise ValueError(f"CRACK_OIDC_ISSUER={url!r}: expected https://, or http:// on this machine.")
    return url


def page_client(environment: Mapping[str, str]) -> str:
    """The name by which the issuer knows the page; empty where people don't log in there. Raises ValueError."""
    client_id = environment.get("CRACK_OIDC_CLIENT_ID", "")
    if client_id and not issuer_url(environment):
        raise ValueError("CRACK_OIDC_ISSUER is not set: name the issuer that knows the page as CRACK_OIDC_CLIENT_ID.")
    return client_id


def is_private(url: str) -> bool:
    """Whether nobody on the way can change the answers: https, or this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
