"""Before the services of docker-compose.yml: the released model into the model store, and secrets where there are none yet.

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

from sidecar.keys import MARKER, KeyRing, Right
from sidecar.settings import Settings

logger = logging.getLogger("init")

RELEASED = Path("released/crack.mar")
PAGE_KEY = Path("secrets/page/api-key")
GRAFANA_PASSWORD = Path("secrets/grafana/admin-password")
PAGE = "page"  # the name of its key
LEAST_CHARACTERS = 16


def seed(model_store: Path) -> None:
    """Copy the released archive there unless it is there."""
    target = model_store / RELEASED.name
    if target.is_file() and filecmp.cmp(RELEASED, target, shallow=False):
        return
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(RELEASED, temporary)
    _put(temporary, target)
    logger.info("%s is the released model", target)


def secret(path: Path, mode: int) -> str:
    """The secret in a file, made where there is none. Raises ValueError if it is too short to be one."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.write_text(secrets.token_urlsafe(32))
        temporary.chmod(mode)
        _put(temporary, path)
        logger.info("made %s", path)
    text = path.read_text().strip()
    if len(text) < LEAST_CHARACTERS:
        raise ValueError(f"{path} holds {len(text)} characters, expected at least {LEAST_CHARACTERS}. Put a longer one there.")
    return text


def let_page_in(ring: KeyRing, key: str) -> None:
    """Enter the page's key among those that the sidecar knows, in place of a former one."""
    if ring.find(key) is not None:
        return
    if PAGE in ring.names():
        ring.remove(PAGE)
    ring.add(PAGE, list(Right), key)
    logger.info("the sidecar knows the page's key")


def _put(temporary: Path, target: Path) -> None:
    """Rename; returns when the file would survive a power cut."""
    _sync(temporary)
    temporary.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environment()
    try:
        seed(settings.model_store)
        secret(GRAFANA_PASSWORD, 0o444)  # Grafana runs as another user; nothing else mounts it
        ring = KeyRing(settings.keys_path, settings.feedback_dir / MARKER, may_be_empty=True)
        let_page_in(ring, secret(PAGE_KEY, 0o400))
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
