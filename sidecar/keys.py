"""API keys: who may predict, give feedback and review. `python -m sidecar.keys --help` makes and removes them.

On disk lie names, rights and the SHA-256 of each key; a key has 256 random bits, so its hash tells nothing. The file is read
again when it changes, so a removed key stops working at once.
"""

import argparse
import hashlib
import hmac
import json
import os
import secrets
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sidecar.settings import Settings


class Right(StrEnum):
    PREDICT = "predict"
    FEEDBACK = "feedback"
    REVIEW = "review"


@dataclass(frozen=True)
class Caller:
    """Somebody who may do something."""

    name: str
    rights: frozenset[Right]


LOCAL = Caller("local", frozenset(Right))


class KeyRing:
    """The keys of a file, which need not exist. Raises ValueError, naming the file, if it is none of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_at: tuple[int, int] | None = None
        self._callers: dict[bytes, Caller] = {}
        self._refresh()

    def __len__(self) -> int:
        with self._lock:
            self._refresh()
            return len(self._callers)

    def find(self, key: str) -> Caller | None:
        """Whose key this is; each key of the file is compared, in a time that does not depend on how much of one is right."""
        digest, found = _digest(key), None
        with self._lock:
            self._refresh()
            for known, caller in self._callers.items():
                if hmac.compare_digest(known, digest):
                    found = caller
        return found

    def add(self, name: str, rights: Sequence[Right], key: str | None = None) -> str:
        """Make a key, shown this once, or enter one made elsewhere. Raises ValueError if the name is taken."""
        with self._lock:
            self._refresh()
            if name in {caller.name for caller in self._callers.values()}:
                raise ValueError(f"{name!r} has a key already. Remove it first, or choose another name.")
            key = key or secrets.token_urlsafe(32)
            self._write(self._callers | {_digest(key): Caller(name, frozenset(rights))})
        return key

    def remove(self, name: str) -> None:
        """Raises ValueError if nobody has that name."""
        with self._lock:
            self._refresh()
            kept = {digest: caller for digest, caller in self._callers.items() if caller.name != name}
            if len(kept) == len(self._callers):
                raise ValueError(f"{name!r} has no key. There are keys for: {', '.join(self.names()) or 'nobody'}.")
            self._write(kept)

    def names(self) -> list[str]:
        return sorted(caller.name for caller in self._callers.values())

    def callers(self) -> list[Caller]:
        return sorted(self._callers.values(), key=lambda caller: caller.name)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._callers, self._read_at = {}, None
            return
        if self._read_at == (status.st_mtime_ns, status.st_ino):
            return
        try:
            entries = json.loads(self._path.read_text())
            self._callers = {
                bytes.fromhex(entry["sha256"]): Caller(entry["name"], frozenset(map(Right, entry["rights"])))
                for entry in entries
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._path}: no file of API keys ({error}). Make it with python -m sidecar.keys.") from error
        self._read_at = (status.st_mtime_ns, status.st_ino)

    def _write(self, callers: dict[bytes, Caller]) -> None:
        entries = [
            {"name": caller.name, "rights": sorted(caller.rights), "sha256": digest.hex()} for digest, caller in callers.items()
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(entries, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._read_at = None
        self._refresh()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sidecar.keys",
        description="Make, list and remove API keys. They lie, as hashes, in the file that CRACK_KEYS_FILE names.",
        epilog="examples:\n"
        "  python -m sidecar.keys add crew-7 --rights predict feedback\n"
        "  python -m sidecar.keys list\n"
        "  python -m sidecar.keys remove crew-7\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and print it, this once")
    add.add_argument("name")
    add.add_argument("--rights", nargs="+", type=Right, choices=list(Right), default=[Right.PREDICT, Right.FEEDBACK])
    commands.add_parser("list", help="names and rights")
    commands.add_parser("remove", help="make a key worthless").add_argument("name")
    options = parser.parse_args(arguments)
    try:
        ring = KeyRing(Settings.from_environment().keys_path)
        if options.command == "add":
            print(ring.add(options.name, options.rights))
        elif options.command == "remove":
            ring.remove(options.name)
        else:
            for caller in ring.callers():
                print(f"{caller.name}  {' '.join(sorted(caller.rights))}")
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
