"""Start the sidecar: `crack sidecar --help`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from crack.connections import serve
from crack.faults import in_words
from crack.stores.faults import StoreFullError
from sidecar.app import create_app
from sidecar.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack sidecar",
        description="The API for clients, beside a running TorchServe. docs/configuration.md lists its settings.",
        epilog="examples:\n  crack sidecar\n  CRACK_SIDECAR_PORT=9000 CRACK_REVIEW=automatic crack sidecar\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)  # other users of this machine must not read photographs, masks or tables
    try:
        settings = Settings.from_environment()
        app = create_app(settings)
    except BlockingIOError as error:
        advice = "Stop it, or set CRACK_FEEDBACK_DIR and CRACK_INSPECTIONS_DIR."
        parser.exit(2, f"error: another sidecar has {error.filename} open. {advice}\n")
    except StoreFullError as error:  # a later start may succeed, once somebody has made room
        parser.exit(1, f"error: {error}. The disk is full or cannot be written to. Make room there.\n")
    except OSError as error:
        parser.exit(1, f"error: {in_words(error)}\n")
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    serve(app, settings.host, settings.port, stop_timeout_s=30)
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("sidecar"))
