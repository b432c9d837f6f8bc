"""Start the page: `crack page --help`."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing

from crack.connections import serve
from crack.faults import in_words
from crack.neighbours import without_connections
from crack.temporary import OwnFolder
from gradio_app.backend import Backend
from gradio_app.login import Login
from gradio_app.settings import PageSettings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack page",
        description="The web page, beside a running sidecar. docs/configuration.md lists its settings.",
        epilog="examples:\n  crack page\n  BACKEND_URL=http://inspection.example:8000 crack page\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.umask(0o077)  # other users of this machine must not read uploads or results
    try:
        settings = PageSettings.from_environment()
        folder = OwnFolder("crack-page")
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {in_words(error)}\n")
    # Gradio's own default, /tmp/gradio, can be made by one user of a machine only; Gradio reads this when it is imported.
    uploads, shown = folder.path / "uploads", folder.path / "shown"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    with without_connections():
        from gradio_app.page import Page, application, cookies

    login = settings.login
    backend = Backend(
        settings.backend_url, (lambda: login.token(cookies())) if isinstance(login, Login) else lambda: settings.key
    )
    shown.mkdir()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again at its end; so the folder is removed, too
    try:
        with closing(Page(backend, shown, settings.limits, settings.doors.root_path)) as page:
            serve(application(page, login, settings.doors), settings.host, settings.port, stop_timeout_s=1)
    finally:
        folder.remove()
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("page"))
