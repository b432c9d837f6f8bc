"""Runs before the services of docker-compose.yml: copies the released model into the model store, and creates the secrets that
are missing.

Each `docker compose up` runs it. What is there stays, secrets that were put there beforehand among it; only the released model
gives way to a newer release. Killed at any point, it finishes the next time.
"""

import filecmp
import logging
import os
import secrets
import shutil
import sys
from pathlib import Path

from crack.faults import in_words
from crack.files import whole, write_whole
from crack.instance import of_instance
from sidecar.keys import KeyRing, Right, key_ring

logger = logging.getLogger("init")

RELEASED = Path("released/crack.mar")
PAGE_KEY = Path("secrets/page/api-key")
GRAFANA_PASSWORD = Path("secrets/grafana/admin-password")
PAGE = "page"  # the name of its key
LEAST_CHARACTERS = 16


def seed(model_store: Path) -> None:
    """Copy the released archive to `model_store` unless it is there."""
    target = model_store / RELEASED.name
    if target.is_file() and filecmp.cmp(RELEASED, target, shallow=False):
        return
    with RELEASED.open("rb") as released, whole(target) as copy:
        shutil.copyfileobj(released, copy)
    logger.info("%s is the released model", target)


def secret(path: Path, mode: int) -> str:
    """The secret in a file, created if there is none. Raises ValueError if it is too short."""
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32).encode(), mode)
        logger.info("made %s", path)
    text = path.read_text().strip()
    if len(text) < LEAST_CHARACTERS:
        raise ValueError(f"{path} holds {len(text)} characters, expected at least {LEAST_CHARACTERS}. Put a longer one there.")
    return text


def let_page_in(ring: KeyRing, key: str) -> None:
    """Add the page's key to the sidecar's keys, in place of a former one."""
    if ring.find(key) is not None:
        return
    if PAGE in ring.names():
        ring.remove(PAGE)
    ring.add(PAGE, list(Right), key)
    logger.info("the sidecar knows the page's key")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        environment = of_instance(os.environ)
        seed(Path(environment["CRACK_MODEL_STORE"]))
        secret(GRAFANA_PASSWORD, 0o444)  # Grafana runs as another user; nothing else mounts it
        let_page_in(key_ring(environment), secret(PAGE_KEY, 0o400))
    except (OSError, ValueError) as error:
        logger.error("%s", in_words(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
