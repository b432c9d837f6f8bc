"""Finds the photographs of the original sets in feedback, unchanged or as copies, so that no model learns from photographs that
judge models. Some of them do so now, and a later recipe may choose others. Left to others: what a copy is (`crack.copies`), and
what is done with it (`feedback`).
"""

import hashlib
import logging
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crack.copies import LEAST_AGREEING, Description, Index
from crack.files import whole
from crack.foreign import SPLIT_COLUMNS, finder, read_rows
from model.inference.errors import ErrorCode, RequestError
from sidecar.labels import Photograph

logger = logging.getLogger("sidecar.reserved")

SAME_PICTURE_BITS = 4  # of 64, between the perceptual hashes of a photograph and itself, scaled or compressed again
_FILE_NAME = "reserved.npz"
_METHOD = "1"  # the version of the descriptions: those of another one are made again
_PATIENCE_S = 20.0


class _Known:
    """The known photographs, each by its number: hashes of its file and of its appearance."""

    def __init__(self, sha256: Sequence[str], hashes: NDArray[np.uint64], index: Index) -> None:
        self.numbers = {digest: number for number, digest in enumerate(sha256)}
        self.hashes = hashes
        self.index = index


class Reserved:
    """The photographs of each set in `data_dir`; none without a folder.

    They are described in the background. Their descriptions are kept in `cache_dir` until a split.csv or a file's size changes.

    Raises:
        OSError: a photograph that a split.csv names is missing.
        ValueError: a split.csv can't be read, or has other columns.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path) -> None:
        self._names: list[str] = []
        paths: list[Path] = []
        key = hashlib.sha256(_METHOD.encode())
        for index_path in sorted(data_dir.glob("*/split.csv")) if data_dir else []:
            key.update(f"{index_path.parent.name}\n".encode() + index_path.read_bytes())
            image = finder(index_path.parent / "images")
            for row in read_rows(index_path, SPLIT_COLUMNS):
                paths.append(image(row["image"]))
                self._names.append(f"{index_path.parent.name}/{row['split']} ({row['image']})")
                key.update(f"{paths[-1].stat().st_size}\n".encode())
        self._known: Future[_Known] = Future()
        arguments = (paths, key.hexdigest(), cache_dir / _FILE_NAME)
        threading.Thread(target=self._fill, args=arguments, name="reserved", daemon=True).start()

    def __call__(self, sha256: str, perceptual_hash: str, described: Description) -> str | None:
        """The set and name of the photograph that this one is, or is a copy of; None if a model may learn from it.

        Raises:
            RequestError: MODEL_UNAVAILABLE: the sets are still being described.
        """
        try:
            known = self._known.result(_PATIENCE_S)
        except TimeoutError as error:
            raise RequestError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"The {len(self._names)} photographs that judge models are still being indexed, once. Nothing was saved. "
                "Send it again in a minute.",
            ) from error
        number = known.numbers.get(sha256)
        if number is None:  # a small or smooth photograph has few parts, but a copy of all of it has the same hash
            distances = np.bitwise_count(known.hashes ^ np.uint64(int(perceptual_hash, 16)))
            number = next(map(int, np.flatnonzero(distances <= SAME_PICTURE_BITS)), None)
        if number is None:
            match = known.index.find(described)
            if match is None or match.n_agreeing < LEAST_AGREEING:
                return None
            number = match.photograph
        return self._names[number]

    def _fill(self, paths: Sequence[Path], key: str, cache_path: Path) -> None:
        try:
            self._known.set_result(_read(cache_path, key) or _describe(paths, key, cache_path))
        except BaseException as error:  # otherwise callers would wait forever
            logger.exception("the photographs of the original sets cannot be described: no feedback is saved")
            self._known.set_exception(error)


def _read(cache_path: Path, key: str) -> _Known | None:
    try:
        with cache_path.open("rb") as file, np.load(file) as stored:
            if str(stored["key"]) != key:
                return None
            index = Index(stored["owners"], stored["places"], stored["codes"])
            return _Known(stored["sha256"].tolist(), stored["hashes"], index)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # missing, or incomplete
        return None


def _describe(paths: Sequence[Path], key: str, cache_path: Path) -> _Known:
    if paths:
        logger.info("describing %d photographs of the original sets, once", len(paths))
    sha256, hashes, descriptions = [], [], []
    for path in paths:
        data = path.read_bytes()
        try:
            photograph = Photograph.read(data)
        except RequestError as error:
            raise ValueError(f"{path}: {error}") from error
        sha256.append(hashlib.sha256(data).hexdigest())
        hashes.append(int(photograph.perceptual_hash, 16))
        descriptions.append(photograph.description)
    index, known_hashes = Index.build(descriptions), np.array(hashes, np.uint64)
    if paths:
        cache_path.parent.mkdir(parents=True, exist_ok=True)
        with whole(cache_path) as file:
            np.savez(
                file,
                key=np.array(key),
                sha256=np.array(sha256),
                hashes=known_hashes,
                owners=index.owners,
                places=index.places,
                codes=index.codes,
            )
        logger.info("%d photographs of the original sets never train", len(paths))
    return _Known(sha256, known_hashes, index)
