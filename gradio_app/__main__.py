"""Start the page: `python -m gradio_app --help`."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from crack.connections import serve
from crack.doors import Doors
from crack.instance import of_instance
from crack.issuer import issuer_url, page_client
from crack.temporary import OwnFolder
from gradio_app.backend import Backend
from gradio_app.login import Login
from gradio_app.page import Page, application, cookies
from model.inference.photograph import Limits


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gradio_app",
        description="The web page, beside a running sidecar. docs/configuration.md lists its settings.",
        epilog="examples:\n  python -m gradio_app\n  BACKEND_URL=http://inspection.example:8000 python -m gradio_app\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.umask(0o077)  # uploads and what is shown of them are for no other user of this machine
    try:
        environment = of_instance(os.environ)
        doors, login = Doors.from_environment(environment), _login(environment)
        limits = Limits.from_environment(environment)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    key, key_file = environment.get("CRACK_API_KEY"), environment.get("CRACK_API_KEY_FILE")
    try:
        key = Path(key_file).read_text().strip() if key_file else key
    except OSError as error:
        parser.exit(2, f"error: CRACK_API_KEY_FILE={key_file!r} cannot be read ({error}). Put the page's key there.\n")
    backend = Backend(
        environment["BACKEND_URL"], (lambda: login.token(cookies())) if isinstance(login, Login) else (lambda: key)
    )
    folder = OwnFolder("crack-page")
    try:
        with closing(Page(backend, folder.path, limits, doors.root_path)) as page:
            app = application(page, login, doors)
            host, port = environment.get("CRACK_PAGE_HOST", "127.0.0.1"), int(environment["CRACK_PAGE_PORT"])
            serve(app, host, port, stop_timeout_s=1)
    finally:
        folder.remove()
    return 0


def _login(environment: Mapping[str, str]) -> Login | tuple[str, str] | None:
    """Raises ValueError, naming the variable, where one is no sensible value."""
    client_id, named = page_client(environment), environment.get("CRACK_PAGE_LOGIN", "")
    if client_id and named:
        raise ValueError("CRACK_PAGE_LOGIN and CRACK_OIDC_CLIENT_ID are both set: expected one way to log in. Unset the other.")
    if client_id:
        return Login(issuer_url(environment), client_id, environment.get("CRACK_OIDC_CLIENT_SECRET", ""))
    user, separator, password = named.partition(":")
    if named and not separator:
        raise ValueError(f"CRACK_PAGE_LOGIN={named!r}: expected NAME:PASSWORD.")
    return (user, password) if named else None


if __name__ == "__main__":
    sys.exit(main())
