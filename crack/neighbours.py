"""Asking the other parts of this system over HTTP: not by the proxy that the environment names for the world outside."""

import os
from urllib.parse import urlsplit

import requests


def session() -> requests.Session:
    """A session that heeds neither proxy variables nor a .netrc, which would replace the key that is sent."""
    made = requests.Session()
    made.trust_env = False
    return made


def ask_without_proxy(url: str) -> None:
    """Have this process's other libraries, and the processes that it starts, ask `url` directly: where its host is this machine
    or, as a container's or a service's, has a name without a dot.
    """
    host = urlsplit(url).hostname or ""
    if host != "::1" and not host.startswith("127.") and "." in host:
        return
    former = (name for variable in ("no_proxy", "NO_PROXY") for name in os.environ.get(variable, "").split(","))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(filter(None, (*former, host))))
