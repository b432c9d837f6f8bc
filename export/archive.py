"""The .mar that TorchServe loads: network, model card, inference core and handler, packed by torch-model-archiver."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from crack.files import whole
from model.inference import card, runtime

_ROOT = Path(__file__).parent.parent
MANIFEST = "MAR-INF/MANIFEST.json"


class ArchiveError(RuntimeError):
    """torch-model-archiver failed; the message holds what it said."""


def write_archive(networks_dir: Path, model_card: card.ModelCard, archive_path: Path) -> None:
    """Pack everything that a worker needs but Python packages; `archive_path` is replaced as `crack.files` does.

    Args:
        networks_dir: holds the network's files; those that the card's backends read are packed.

    Raises:
        ArchiveError: the archiver refused.
    """
    archive_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="crack-export-", dir=archive_path.parent) as work:
        content = Path(work, "content")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_ROOT / "model" / "inference", content / "model" / "inference", ignore=ignored)
        shutil.copy(_ROOT / "model" / "__init__.py", content / "model")
        for name in _network_files(model_card):
            shutil.copy(networks_dir / name, content)
        (content / card.FILE_NAME).write_bytes(model_card.to_json())
        command = [
            sys.executable,
            "-m",
            "model_archiver.model_packaging",
            f"--model-name={archive_path.stem}",
            f"--version={model_card.version}",
            f"--handler={_ROOT / 'handler' / 'crack_handler.py'}",
            f"--extra-files={content}",
            f"--config-file={_ROOT / 'handler' / 'model-config.yaml'}",
            f"--export-path={work}",
        ]
        # The archiver stages in the temporary folder under the model's name and deletes what is there: give it its own.
        finished = subprocess.run(command, env={**os.environ, "TMPDIR": work}, capture_output=True, text=True, check=False)
        packed = Path(work, archive_path.name)
        if finished.returncode != 0 or not packed.is_file():
            raise ArchiveError(f"torch-model-archiver failed with status {finished.returncode}: {finished.stderr.strip()}")
        with packed.open("rb") as made, whole(archive_path) as archive:
            shutil.copyfileobj(made, archive)


def repack(archive_path: Path) -> card.ModelCard:
    """Pack an archive's network and card anew, with the code as it is now; returns the card.

    Raises:
        ArchiveError: the file is no archive of ours, or the archiver refused; it is untouched then.
    """
    with tempfile.TemporaryDirectory(prefix="crack-export-") as work:
        model_card = unpack(archive_path, Path(work))
        write_archive(Path(work), model_card, archive_path)
    return model_card


def unpack(archive_path: Path, folder: Path) -> card.ModelCard:
    """Put an archive's networks into a folder; returns its card. Raises ArchiveError if the file is no archive of ours."""
    try:
        with zipfile.ZipFile(archive_path) as archive:
            model_card = card.ModelCard.read(Path(archive.extract(card.FILE_NAME, folder)))
            for name in _network_files(model_card):
                archive.extract(name, folder)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{archive_path} is no archive of a crack model ({error}).") from error
    return model_card


def _network_files(model_card: card.ModelCard) -> set[str]:
    return {runtime.file_name(backend) for backend in model_card.backends}


def content_hash(archive_path: Path) -> str:
    """SHA-256 over the archive's files and their names, the manifest left out: its time stamp differs each time."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(archive_path) as archive:
        for name in sorted(set(archive.namelist()) - {MANIFEST}):
            if not name.endswith("/"):
                digest.update(f"{name}\0{hashlib.sha256(archive.read(name)).hexdigest()}\n".encode())
    return digest.hexdigest()
