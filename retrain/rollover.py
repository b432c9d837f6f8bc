"""Put an archive into production without losing a request, and take it back.

What is served, and what was before it, stands in `model_store/serving.json`, by which TorchServe also starts. Writing it is the
moment at which a roll-over counts: killed before, it never was, and `settle` removes what it left; killed after, `settle`
finishes it. Left to others: which archive deserves it (`retrain.judge`).
"""

import io
import json
import logging
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from export.archive import content_hash
from model.checkpoint import REFERENCE
from model.inference import card, runtime
from model.inference.photograph import decode
from model.inference.segmenter import Segmenter

logger = logging.getLogger("retrain.rollover")

MODEL_NAME = "crack"
RELEASED = "crack.mar"  # in git; never removed
PROMOTED = "crack-{version}.mar"
STATE_FILE = "serving.json"
REGISTER_TIMEOUT_S = 300
ANSWER_TIMEOUT_S = 120
# Between what a worker answers (8-bit numbers, another runtime) and the archive's own float32 network, in levels of 255:
LARGEST_MEAN_DIFFERENCE = 8.0  # 8-bit networks were seen to differ by 0.6 on photographs, 7 on drawn surfaces full of crack


class RollOverError(RuntimeError):
    """The archive did not go into production; what was served before is served still. The message says why."""


@dataclass(frozen=True)
class Serving:
    """Names of archives in the model store: what is served, and what was served before it."""

    default: str = RELEASED
    previous: str | None = None

    @classmethod
    def read(cls, model_store: Path) -> "Serving":
        path = model_store / STATE_FILE
        return cls(**json.loads(path.read_text())) if path.is_file() else cls()

    def write(self, model_store: Path) -> None:
        """Replaces the file in one step; returns when it would survive a power cut."""
        temporary = model_store / f".{STATE_FILE}.tmp"
        with temporary.open("w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(model_store / STATE_FILE)
        _sync(model_store)


class ModelServer:
    """TorchServe's management of the one model, and its predictions by version.

    Methods raise RollOverError where it does not answer, or refuses.
    """

    def __init__(self, management_url: str, inference_url: str) -> None:
        self._models_url = f"{management_url}/models"
        self._predictions_url = f"{inference_url}/predictions/{MODEL_NAME}"

    def default_version(self) -> str:
        return str(self._ask("GET", f"/{MODEL_NAME}")[0]["modelVersion"])

    def n_workers(self) -> int:
        """Of the default version."""
        return len(self._ask("GET", f"/{MODEL_NAME}")[0]["workers"])

    def versions(self) -> set[str]:
        return {str(version["modelVersion"]) for version in self._ask("GET", f"/{MODEL_NAME}/all")}

    def n_pending(self, version: str) -> int:
        """Requests that wait for a worker of this version."""
        return int(self._ask("GET", f"/{MODEL_NAME}/{version}")[0]["jobQueueStatus"]["pendingRequests"])

    def register(self, archive_name: str, n_workers: int) -> None:
        """Load an archive of the model store beside what is served; returns when its workers are READY."""
        parameters = {"url": archive_name, "model_name": MODEL_NAME, "initial_workers": n_workers, "synchronous": "true"}
        self._ask("POST", "", parameters, REGISTER_TIMEOUT_S)

    def set_default(self, version: str) -> None:
        self._ask("PUT", f"/{MODEL_NAME}/{version}/set-default")

    def unregister(self, version: str) -> None:
        self._ask("DELETE", f"/{MODEL_NAME}/{version}", timeout_s=REGISTER_TIMEOUT_S)

    def probability(self, image: bytes, version: str) -> NDArray[np.uint8]:
        """The crack probability that this version answers, uint8 (height, width)."""
        headers = {"Content-Type": "application/octet-stream", "X-Crack-Response": "probability"}
        try:
            answer = requests.post(f"{self._predictions_url}/{version}", image, headers=headers, timeout=ANSWER_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise RollOverError(f"Version {version} does not answer: {error}.") from error
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    def _ask(self, method: str, path: str, parameters: dict[str, Any] | None = None, timeout_s: float = 30) -> Any:
        try:
            answer = requests.request(method, self._models_url + path, params=parameters, timeout=timeout_s)
        except requests.RequestException as error:
            raise RollOverError(f"TorchServe's management API does not answer: {error}.") from error
        if answer.status_code != 200:
            raise RollOverError(f"TorchServe refused {method} /models{path}: {answer.status_code} {answer.text.strip()}")
        return answer.json()


def roll_over(
    archive_path: Path, expected_hash: str, model_store: Path, server: ModelServer, golden: Sequence[bytes], drain_s: float
) -> None:
    """Serve an archive in place of what is served, which stays as the way back.

    Args:
        archive_path: anywhere; it is copied.
        expected_hash: of its content (`export.archive.content_hash`), as it was when the archive was judged.
        golden: photographs that its workers must answer as the archive's own float32 network does.
        drain_s: seconds that the former version is kept after nothing waits for it any more, for what it is answering.

    Raises:
        RollOverError: it is not served; the former version is, and nothing of this one is left.
    """
    found = content_hash(archive_path)
    if found != expected_hash:
        raise RollOverError(f"{archive_path}: its content has the hash {found}, expected {expected_hash}. It was not served.")
    version = read_card(archive_path).version
    name = PROMOTED.format(version=version)
    before = Serving.read(model_store)
    if name == before.default:
        raise RollOverError(f"Version {version} is served already.")
    _copy(archive_path, model_store / name)
    try:
        _serve(name, version, before, model_store, server, golden, drain_s)
    except RollOverError:
        settle(model_store, server)
        raise


def roll_back(model_store: Path, server: ModelServer, golden: Sequence[bytes], drain_s: float) -> str:
    """Serve again what was served before; returns its version. Raises RollOverError as `roll_over` does."""
    before = Serving.read(model_store)
    if before.previous is None or not (model_store / before.previous).is_file():
        raise RollOverError("Nothing was served before, so there is no way back.")
    version = read_card(model_store / before.previous).version
    try:
        _serve(before.previous, version, before, model_store, server, golden, drain_s)
    except RollOverError:
        settle(model_store, server)
        raise
    return version


def settle(model_store: Path, server: ModelServer | None) -> list[str]:
    """Bring model store and TorchServe to what `serving.json` says, whatever was killed; sentences about what was done.

    Args:
        server: None where TorchServe is not to be asked; it starts by `serving.json` by itself.
    """
    done = []
    serving = Serving.read(model_store)
    for path in sorted([*model_store.glob(".*.tmp"), *model_store.glob(PROMOTED.format(version="*"))]):
        if path.name not in (serving.default, serving.previous):
            path.unlink()
            done.append(f"Removed {path.name}, which was not in production.")
    if server is None:
        return done
    version = read_card(model_store / serving.default).version
    registered = server.versions()
    if version not in registered:
        server.register(serving.default, server.n_workers())
        done.append(f"Loaded version {version}, which was to be served.")
    if server.default_version() != version:
        server.set_default(version)
        done.append(f"Made version {version} the default, as it was to be.")
    for other in sorted(registered - {version}):
        server.unregister(other)
        done.append(f"Unloaded version {other}, which is not served.")
    return done


def read_card(archive_path: Path) -> card.ModelCard:
    """The model card in an archive. Raises RollOverError if there is none."""
    try:
        with zipfile.ZipFile(archive_path) as archive:
            return card.ModelCard.parse(archive.read(card.FILE_NAME))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise RollOverError(f"{archive_path} is no archive of a crack model ({error}).") from error


def _serve(
    name: str,
    version: str,
    before: Serving,
    model_store: Path,
    server: ModelServer,
    golden: Sequence[bytes],
    drain_s: float,
) -> None:
    former = server.default_version()
    if version not in server.versions():
        server.register(name, server.n_workers())
    _check_answers(model_store / name, version, server, golden)
    Serving(default=name, previous=before.default).write(model_store)  # from here on there is only the way forward
    try:
        server.set_default(version)
        logger.info("version %s is served; %s answers what it has begun", version, former)
        _drain(former, server, drain_s)
        server.unregister(former)
    except RollOverError as error:
        logger.warning("%s Version %s is in production all the same: TorchServe starts with it.", error, version)
    settle(model_store, server=None)  # removes what was served before the former one


def _check_answers(archive_path: Path, version: str, server: ModelServer, golden: Sequence[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="crack-golden-") as work:
        with zipfile.ZipFile(archive_path) as archive:
            archive.extractall(work)
        segmenter = Segmenter(read_card(archive_path), runtime.load(Path(work), REFERENCE, 1))
        for number, image in enumerate(golden):
            expected = segmenter.probability(decode(image))
            answered = server.probability(image, version)
            if answered.shape != expected.shape:
                raise RollOverError(f"Version {version}: golden photograph {number} came back with {answered.shape} pixels.")
            difference = float(np.abs(answered.astype(np.int16) - expected).mean())
            if difference > LARGEST_MEAN_DIFFERENCE:
                raise RollOverError(
                    f"Version {version} answers golden photograph {number} {difference:.2f} levels of 255 off what its network "
                    f"computes, at most {LARGEST_MEAN_DIFFERENCE} are accepted. It was not served."
                )


def _drain(version: str, server: ModelServer, drain_s: float) -> None:
    """Wait until nothing waits for a version, and then for what its workers are answering: TorchServe doesn't tell of that."""
    while server.n_pending(version):
        time.sleep(0.2)
    time.sleep(drain_s)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with source.open("rb") as original, temporary.open("wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RollOverError(f"{target}: {error}. Nothing was changed.") from error
    temporary.replace(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
