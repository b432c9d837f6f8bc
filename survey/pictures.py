"""Masks and overlays in a survey's folder or store: names them, writes each whole, and checks that they are there.

Left to others: drawing them (`outcome`), the journal that says which there should be (`folder`).
"""

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

INCOMING = ".cracks-incoming"  # files that are being written; removed at the end of a survey
DRAWINGS = "dxf"  # the folder of the drawings, which `dxf` writes
_MAX_NAME_BYTES, _MAX_PARENT_BYTES = 255, 2000  # a path has 4096 at most, and the survey's folder is before it
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}  # of a whole picture


@dataclass(frozen=True)
class Pictures:
    """The pictures of the survey in `folder`; any thread and any process may write them."""

    folder: Path

    def mask(self, file: str) -> Path:
        return self.folder / mask_name(file)

    def overlay(self, file: str) -> Path:
        return self.folder / overlay_name(file)

    def keep(self, file: str, mask_png: bytes, overlay_jpeg: bytes) -> None:
        """Write a photograph's pictures, each whole or not at all, in the place of earlier ones. Raises OSError."""
        for path, content in ((self.mask(file), mask_png), (self.overlay(file), overlay_jpeg)):
            incoming = self.folder / INCOMING / uuid.uuid4().hex
            incoming.write_bytes(content)
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(path)

    def has(self, file: str) -> bool:
        """Whether mask and overlay are there, and not empty or half, as a power cut may leave them."""
        return all(_is_whole(path) for path in (self.mask(file), self.overlay(file)))

    def remove(self, file: str) -> None:
        for path in (self.mask(file), self.overlay(file)):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stored:
    """A file in a store, which takes it whole or not at all."""

    url: str

    def read_bytes(self) -> bytes:
        from survey import urls  # fsspec, which a folder doesn't need

        return urls.read(self.url)

    def write_bytes(self, content: bytes) -> None:
        from survey import urls

        urls.put(self.url, content)

    def remove(self) -> None:
        from survey import urls

        urls.remove(self.url)


@dataclass(frozen=True)
class StorePictures:
    """As `Pictures`, below a URL."""

    url: str

    def mask(self, file: str) -> Stored:
        return Stored(f"{self.url}/{mask_name(file)}")

    def overlay(self, file: str) -> Stored:
        return Stored(f"{self.url}/{overlay_name(file)}")

    def keep(self, file: str, mask_png: bytes, overlay_jpeg: bytes) -> None:
        self.mask(file).write_bytes(mask_png)
        self.overlay(file).write_bytes(overlay_jpeg)

    def has(self, file: str) -> bool:
        """Always: a store doesn't lose what it has taken, and asking costs two requests for each photograph."""
        return True

    def remove(self, file: str) -> None:
        self.mask(file).remove()
        self.overlay(file).remove()


def mask_name(file: str) -> str:
    return f"masks/{fitting(f'{file}.png')}"  # the suffix stays: wall.jpg and wall.png are two photographs


def overlay_name(file: str) -> str:
    return f"overlays/{fitting(f'{file}.jpg')}"


def fitting(name: str) -> str:
    """A file's name below a folder, short enough for all file systems: if its last part, or the folders before it, are too
    long, they are cut and get a hash.
    """
    parent, separator, last = name.rpartition("/")
    if len(os.fsencode(parent)) > _MAX_PARENT_BYTES:
        parent = f"~{hashlib.sha256(os.fsencode(parent)).hexdigest()[:16]}"
        name = f"{parent}/{last}"
    encoded = os.fsencode(last)
    if len(encoded) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{parent}{separator}{encoded[:200].decode(errors='ignore')}~{digest}{Path(last).suffix}"


def _is_whole(picture: Path) -> bool:
    end = _ENDS[picture.suffix]
    try:
        with picture.open("rb") as file:
            file.seek(-len(end), os.SEEK_END)
            return file.read() == end
    except OSError:  # none there, or it is empty
        return False
