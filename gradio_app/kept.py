"""The files that browsers get from the page and send to it. The page keeps its own for a day."""

import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from gradio_app.backend import BackendError

KEPT_S = 24 * 3600


class Kept:
    """The page's own files, in `folder`, beside the `uploads`. `root_path`: the path before the page's addresses."""

    def __init__(self, folder: Path, uploads: Path, root_path: str) -> None:
        self.folder = folder
        self._uploads = uploads
        self._root_path = root_path

    def keep(self, content: bytes, suffix: str) -> Path:
        """Write a file with this suffix, for a browser or for a later call."""
        self._sweep()
        path = self.folder / f"{uuid.uuid4().hex}{suffix}"
        path.write_bytes(content)
        return path

    def downloadable(self, name: str) -> Path:
        """The path of a file to be written. Browsers save it under this name: that in the answer's Content-Disposition, which
        gradio takes from the path, has priority over the link's own.
        """
        self._sweep()
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        return folder / name

    def url(self, path: Path) -> str:
        """Where a browser finds a file."""
        return f"{self._root_path}/gradio_api/file={quote(str(path))}"

    def uploaded(self, path: str) -> Path:
        """A file that was uploaded to this page or is kept by it: a browser names it, so any other is refused.

        Raises:
            BackendError: it is another, or not there any more.
        """
        resolved = Path(path).resolve()
        if not any(resolved.is_relative_to(own.resolve()) for own in (self._uploads, self.folder)) or not resolved.is_file():
            raise BackendError("That file was not uploaded here. Drop the photograph again.")
        return resolved

    def kept(self, path: str) -> Path:
        """A file that `keep` has written, named by a browser.

        Raises:
            BackendError: as `uploaded` does.
        """
        resolved = Path(path).resolve()
        if not resolved.is_relative_to(self.folder.resolve()) or not resolved.is_file():
            raise BackendError("The page keeps photographs for a day, and this one is gone. Drop it again.")
        return resolved

    def _sweep(self) -> None:
        for former in self.folder.iterdir():
            with suppress(FileNotFoundError):  # somebody else's request has removed it meanwhile
                if time.time() - former.stat().st_mtime > KEPT_S:
                    shutil.rmtree(former) if former.is_dir() else former.unlink()
