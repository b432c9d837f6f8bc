"""Start the page: `python -m gradio_app --help`."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crack.connections import serve
from crack.doors import Doors
from crack.instance import of_instance
from gradio_app.backend import Backend
from gradio_app.page import Page, application


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gradio_app",
        description="The web page, beside a running sidecar. docs/configuration.md lists its settings.",
        epilog="examples:\n  python -m gradio_app\n  BACKEND_URL=http://inspection.example:8000 python -m gradio_app\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        environment = of_instance(os.environ)
        doors = Doors.from_environment(environment)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    login = environment.get("CRACK_PAGE_LOGIN")
    if login and ":" not in login:
        parser.exit(2, f"error: CRACK_PAGE_LOGIN={login!r}: expected NAME:PASSWORD.\n")
    user, _, password = (login or "").partition(":")
    key, key_file = environment.get("CRACK_API_KEY"), environment.get("CRACK_API_KEY_FILE")
    try:
        key = Path(key_file).read_text().strip() if key_file else key
    except OSError as error:
        parser.exit(2, f"error: CRACK_API_KEY_FILE={key_file!r} cannot be read ({error}). Put the page's key there.\n")
    backend = Backend(environment["BACKEND_URL"], key)
    with tempfile.TemporaryDirectory(prefix="crack-page-") as folder:
        app = application(Page(backend, Path(folder)), (user, password) if login else None, doors)
        host, port = environment.get("CRACK_PAGE_HOST", "127.0.0.1"), int(environment["CRACK_PAGE_PORT"])
        serve(app, host, port, stop_timeout_s=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
