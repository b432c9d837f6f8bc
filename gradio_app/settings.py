"""What the page reads from the environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from crack.doors import Doors
from crack.foreign import read_text
from crack.issuer import issuer_url, page_client
from crack.settings import Port, Reader, Settings, Url
from gradio_app.login import Login
from model.inference.photograph import Limits


def _key(environment: Mapping[str, str]) -> str | None:
    path = environment.get("CRACK_API_KEY_FILE")
    try:
        return read_text(Path(path)).strip() if path else environment.get("CRACK_API_KEY")
    except (OSError, ValueError) as error:
        raise ValueError(f"CRACK_API_KEY_FILE={path!r} cannot be read ({error}). Put the page's key there.") from error


def _login(environment: Mapping[str, str]) -> Login | tuple[str, str] | None:
    client_id, named = page_client(environment), environment.get("CRACK_PAGE_LOGIN", "")
    if client_id and named:
        raise ValueError("CRACK_PAGE_LOGIN and CRACK_OIDC_CLIENT_ID are both set: expected one way to log in. Unset the other.")
    if client_id:
        return Login(issuer_url(environment), client_id, environment.get("CRACK_OIDC_CLIENT_SECRET", ""))
    user, separator, password = named.partition(":")
    if named and not separator:
        raise ValueError(f"CRACK_PAGE_LOGIN={named!r}: expected NAME:PASSWORD.")
    return (user, password) if named else None


class PageSettings(Settings):
    """The page's settings.

    Attributes:
        key: with which the page asks the sidecar; None where the sidecar wants none.
        login: how people log in: at an issuer, or with one name and its password; None lets everyone in.
    """

    host: str = Field("127.0.0.1", alias="CRACK_PAGE_HOST", description="where the page listens")
    port: Port = Field(alias="CRACK_PAGE_PORT", description="at which port")
    backend_url: Url = Field(alias="BACKEND_URL", description="where the page and the survey find the sidecar")

    key: str | None
    login: Login | tuple[str, str] | None
    doors: Doors
    limits: Limits

    composed: ClassVar[Mapping[str, Reader]] = {
        "key": _key,
        "login": _login,
        "doors": Doors.from_environment,
        "limits": Limits.from_environment,
    }
