"""HTTP requests to the other parts of this system, without the proxy that the environment names for the internet."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests


def session() -> requests.Session:
    """A session that ignores proxy variables and .netrc, which would replace the API key."""
    made = requests.Session()
    made.trust_env = False
    return made


def ask_without_proxy(url: str) -> None:
    """Make this process's other libraries, and the processes it starts, reach `url` directly, without a proxy: if its host is
    this machine, or has a name without a dot, as containers and services have.
    """
    host = urlsplit(url).hostname or ""
    if host != "::1" and not host.startswith("127.") and "." in host:
        return
    former = [name.strip() for variable in ("no_proxy", "NO_PROXY") for name in os.environ.get(variable, "").split(",")]
    names = ",".join(dict.fromkeys(filter(None, (*former, host))))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in former else names  # * has no effect in a list


@contextmanager
def without_connections() -> Iterator[None]:
    """Hide the variables for proxies and certificates while the block runs: a library that prepares HTTP requests when it is
    imported, and makes none here, would fail at a value that it can't read.
    """
    kept = dict(os.environ)
    for name in kept:
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ |= kept
