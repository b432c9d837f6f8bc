"""API keys: who may predict, give feedback and review. `crack keys --help` makes and removes them.

The file holds names, rights and the SHA-256 of each key; a key has 256 random bits, so its hash reveals nothing. The file is
read again when it changes, so a removed key stops working at once. A marker beside the feedback store remembers that keys are
required: if the file of keys is then missing, empty, damaged or open to others, nobody is let in.
"""

import argparse
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from crack.files import write_whole
from crack.foreign import damage_named
from crack.instance import of_instance

logger = logging.getLogger("sidecar.keys")

MARKER = "keys-required"
_MARKER_TEXT = "API keys are required from now on. `crack keys open` undoes that.\n"
# A group may read: what Kubernetes mounts of a Secret belongs to root, and a container's user reads it by its group.
_OPEN_TO_OTHERS = stat.S_IRWXO | stat.S_IWGRP


class Right(StrEnum):
    PREDICT = "predict"
    FEEDBACK = "feedback"
    REVIEW = "review"


@dataclass(frozen=True)
class Caller:
    """A client and its rights."""

    name: str
    rights: frozenset[Right]


LOCAL = Caller("local", frozenset(Right))


class NoKeysError(ValueError):
    """No key can be checked. The message says what was found, and what to do."""


class KeyRing:
    """The keys in the file at `path`, which need not exist, and whether keys are required. They are required once that file or
    the marker exists, or the caller says so, and stay required after a restart.

    Args:
        marker: remembers that keys are required; by default beside `path`.
        is_required: requires keys from now on.
        may_be_empty: whether having no key is fine, because people can log in another way.

    Raises:
        OSError: the marker cannot be written.
    """

    def __init__(
        self, path: Path, marker: Path | None = None, *, is_required: bool = False, may_be_empty: bool = False
    ) -> None:
        self._path = path
        self._marker = marker or path.with_name(MARKER)
        self._may_be_empty = may_be_empty
        self._is_required = False
        self._lock = threading.RLock()
        self._read_at: tuple[int, int] | None = None
        self._callers: dict[bytes, Caller] = {}
        self._unreadable = self._told = ""
        if is_required:
            self._require()
        self._refresh()

    @property
    def is_required(self) -> bool:
        """Whether every request needs a key."""
        with self._lock:
            self._refresh()
            return self._is_required

    @property
    def fault(self) -> str:
        """Why no key can be checked, and what to do; empty if keys can be checked."""
        with self._lock:
            self._refresh()
            return self._fault()

    def find(self, key: str) -> Caller | None:
        """The owner of a key; it is compared with each key of the file, in a time that does not depend on how much of it is
        right.

        Raises NoKeysError.
        """
        digest, found = _digest(key), None
        with self._lock:
            self._refresh()
            if self._fault():
                raise NoKeysError(self._fault())
            for known, caller in self._callers.items():
                if hmac.compare_digest(known, digest):
                    found = caller
        return found

    def add(self, name: str, rights: Sequence[Right], key: str | None = None) -> str:
        """Make a key, which is shown only once, or enter one made elsewhere. Raises ValueError if the name is taken, or is none
        that a list of names could show.
        """
        if not name.isprintable() or name != name.strip() or not name:
            raise ValueError(f"{name!r}: expected a name, such as crew-7, without spaces around it.")
        with self._alone():
            if name in self.names():
                raise ValueError(f"{name!r} has a key already. Remove it first, or choose another name.")
            key = key or secrets.token_urlsafe(32)
            self._write(self._callers | {_digest(key): Caller(name, frozenset(rights))})
        return key

    def remove(self, name: str) -> None:
        """Raises ValueError if nobody has that name, or if there is no folder of keys."""
        self._check_folder()
        with self._alone():
            if name not in self.names():
                raise ValueError(f"{name!r} has no key. There are keys for: {', '.join(self.names()) or 'nobody'}.")
            self._write({digest: caller for digest, caller in self._callers.items() if caller.name != name})

    def open(self) -> None:
        """Stop requiring keys, from the sidecar's next start on. Raises ValueError if there still is one, or if there
        is no folder of keys."""
        self._check_folder()
        with self._alone():
            if self.names():
                raise ValueError(f"There are keys for: {', '.join(self.names())}. Remove them first.")
            self._path.unlink(missing_ok=True)
            self._marker.unlink(missing_ok=True)

    def names(self) -> list[str]:
        return [caller.name for caller in self.callers()]

    def callers(self) -> list[Caller]:
        """Raises NoKeysError where the file cannot be read."""
        with self._lock:
            self._refresh()
            if self._unreadable:
                raise NoKeysError(self._unreadable)
            return sorted(self._callers.values(), key=lambda caller: caller.name)

    def _check_folder(self) -> None:
        folder = self._path.parent.resolve()
        if not (folder.is_dir() or self._marker.exists()):
            raise ValueError(
                f"There is no folder {folder}, so there are no keys. Run this where the system was started, or set "
                "CRACK_FEEDBACK_DIR."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock: meanwhile no other process changes the file."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            with self._lock:
                yield
        finally:
            os.close(folder)

    def _fault(self) -> str:
        if self._is_required and not (self._unreadable or self._callers or self._may_be_empty):
            return f"API keys are required, and {self._path} holds none. Make one: crack keys add NAME."
        return self._unreadable

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            read_at = (status.st_ctime_ns, status.st_ino)  # what changes the mode changes that time, too
        except FileNotFoundError:
            read_at = None
        if read_at or self._marker.exists():
            self._require()
        if read_at is None or read_at != self._read_at:
            self._read_at, self._callers, self._unreadable = read_at, {}, ""
            if read_at:
                try:
                    self._callers = _read(self._path)
                except (OSError, ValueError) as error:
                    self._unreadable = str(error)
        fault = self._fault()
        if fault != self._told:
            self._told = fault
            logger.error("no API key is accepted: %s", fault) if fault else logger.info("API keys can be checked again")

    def _require(self) -> None:
        if not self._is_required and not self._marker.exists():
            _write(self._marker, _MARKER_TEXT)
        self._is_required = True

    def _write(self, callers: dict[bytes, Caller]) -> None:
        entries = [
            {"name": caller.name, "rights": sorted(caller.rights), "sha256": digest.hex()} for digest, caller in callers.items()
        ]
        self._require()
        _write(self._path, json.dumps(entries, indent=2))
        self._refresh()


def _read(path: Path) -> dict[bytes, Caller]:
    """Raises OSError, or ValueError if it is not a file of keys."""
    advice = "Restore it from a backup, or remove it and make new keys, by crack keys add NAME: none of the former works then."
    with damage_named(str(path), advice), path.open() as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OPEN_TO_OTHERS:
            raise ValueError(
                f"it belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):o}, so that others may read "
                f"or change it; expected the sidecar's user or root, and mode 600 or 440"
            )
        entries = json.load(file)
        if not isinstance(entries, list):
            raise TypeError(f"expected a list, got a {type(entries).__name__}")
        return {
            bytes.fromhex(entry["sha256"]): Caller(entry["name"], frozenset(map(Right, entry["rights"]))) for entry in entries
        }


def keys_path(environment: Mapping[str, str]) -> Path:
    """The file of keys. `environment`: as `of_instance` returns it."""
    return Path(environment.get("CRACK_KEYS_FILE") or Path(environment["CRACK_FEEDBACK_DIR"], "keys.json"))


def key_ring(environment: Mapping[str, str]) -> KeyRing:
    """The keys, to list or change them. Raises OSError or ValueError if they cannot be read."""
    return KeyRing(keys_path(environment), Path(environment["CRACK_FEEDBACK_DIR"], MARKER), may_be_empty=True)


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read; returns once it is safely on disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text.encode(), 0o600)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack keys",
        description="Make, list and remove API keys. Their hashes are kept in the file that CRACK_KEYS_FILE names.\n"
        "Once there was a key, every client needs one, even after the last key is removed.",
        epilog="examples:\n  crack keys add crew-7 --rights predict feedback\n  crack keys list\n  crack keys remove crew-7\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and print it once")
    add.add_argument("name", help="of the person or program that gets the key")
    add.add_argument(
        "--rights",
        nargs="+",
        type=Right,
        choices=list(Right),
        default=[Right.PREDICT, Right.FEEDBACK],
        help="what it may do; docs/security.md explains each (default: predict feedback)",
    )
    commands.add_parser("list", help="list names and rights")
    commands.add_parser("remove", help="remove a key: it stops working at once").add_argument("name")
    commands.add_parser("open", help="when no key is left: stop requiring keys, for clients on this machine only")
    options = parser.parse_args(arguments)
    try:
        ring = key_ring(of_instance(os.environ))
        if options.command == "add":
            print(ring.add(options.name, options.rights))
        elif options.command == "remove":
            ring.remove(options.name)
            if not ring.callers():
                print("That was the last key. Nobody is let in until you add another, or stop requiring keys: crack keys open.")
        elif options.command == "open":
            ring.open()
            print("Keys are no longer required, on this machine only. Start the sidecar again.")
        else:
            if not ring.callers():
                place = keys_path(of_instance(os.environ)).resolve()
                print(f"There are no keys in {place}. Make one: crack keys add NAME", file=sys.stderr)
            for caller in ring.callers():
                print(f"{caller.name}  {' '.join(sorted(caller.rights))}")
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("keys"))
