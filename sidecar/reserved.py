"""Photographs that models are judged by: found again in feedback by their bytes or their looks, so that they never train."""

import csv
import hashlib
import logging
from pathlib import Path

from model.inference.photograph import Limits
from sidecar.labels import Photograph, hash_distance

logger = logging.getLogger("sidecar.reserved")

SAME_PICTURE_BITS = 4  # of 64, between a photograph and itself, scaled or compressed again


class Reserved:
    """The photographs of `data_dir` whose split is not `train`; none without a folder."""

    def __init__(self, data_dir: Path | None) -> None:
        self._sets: dict[str, str] = {}
        self._hashes: list[tuple[str, str]] = []
        for index_path in sorted(data_dir.glob("*/split.csv")) if data_dir else []:
            with index_path.open(newline="") as lines:
                for row in csv.DictReader(lines):
                    if row["split"] != "train":
                        self._add(index_path.parent / "images" / row["image"], f"{index_path.parent.name}/{row['split']}")
        logger.info("%d photographs are reserved for judging models", len(self._hashes))

    def __call__(self, sha256: str, perceptual_hash: str) -> str | None:
        """The set that a photograph lies in, by its SHA-256 and perceptual hash; None if it is free to train."""
        near = (name for name, known in self._hashes if hash_distance(known, perceptual_hash) <= SAME_PICTURE_BITS)
        return self._sets.get(sha256) or next(near, None)

    def _add(self, path: Path, set_name: str) -> None:
        data = path.read_bytes()
        self._sets[hashlib.sha256(data).hexdigest()] = set_name
        self._hashes.append((set_name, Photograph.read(data, Limits()).perceptual_hash()))
