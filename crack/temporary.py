"""A temporary folder that disappears with its process: at its end or, after a kill, when the next one starts."""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path


class OwnFolder:
    """A new folder in TMPDIR, such as `NAME.1a2b3c4d`; folders of such a name whose process was killed are removed. No person
    would choose that form: `crack-survey-bridge-7` may hold somebody's results.

    Its owner holds a lock on it, which the kernel releases if the process is killed.

    Raises OSError if no folder can be created or locked.
    """

    def __init__(self, name: str) -> None:
        parent = Path(tempfile.gettempdir())
        for former in parent.glob(f"{name}.*"):
            if re.fullmatch(r"\.[0-9a-f]{8}", former.suffix):
                _remove_if_nobodys(former)
        made = Path(tempfile.mkdtemp(prefix=f"new-{name}-"))
        lock = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            os.close(lock)
            made.rmdir()
            raise OSError(
                f"no file in TMPDIR={str(parent)!r} can be locked ({error.strerror}), as on some network shares. Set "
                "TMPDIR to a folder on a disk of this machine, such as /tmp."
            ) from error
        self._lock: int | None = lock
        self.path = made.rename(parent / f"{name}.{secrets.token_hex(4)}")  # only now, so nobody finds it unlocked

    def remove(self) -> None:
        """May be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_if_nobodys(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # removed meanwhile, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its owner lives, or nothing can be locked there
        pass
    finally:
        os.close(lock)
