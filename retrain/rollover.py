"""Puts an archive into production without losing a request, and rolls back: at one TorchServe, or at all its replicas.

`model_store/serving.json` names the served archive and the one before it; TorchServe reads it, too, when it starts. A roll-over
takes effect at the moment this file is written: if it is killed before, `settle` removes what it left; if it is killed after,
`settle` finishes it. Replicas share the model store and are the addresses of one host name. Before that moment an archive is
loaded and checked at every replica; if it fails at one, it is unloaded from all. Left to others: talking to a replica
(`retrain.replicas`), and which archive deserves it (`retrain.judge`).
"""

import logging
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crack.files import whole
from crack.serving import Serving
from export.archive import content_hash
from model.checkpoint import REFERENCE
from model.inference import runtime
from model.inference.card import ModelCard, threshold_level
from model.inference.photograph import decode
from model.inference.segmenter import Segmenter
from retrain.replicas import PROMOTED, ModelServer, Replica, RollOverError

logger = logging.getLogger("retrain.rollover")

# What the job leaves in a model store (`PROMOTED`, `check_reads`); people may keep archives of other names there.
_OURS = re.compile(r"crack-(\d{8}-\d{6}|ours-[0-9a-f]{32})\.mar|\..*\.tmp")
LONGEST_WAIT_S = 600.0  # for a waiting request: a worker that hangs is ended long before
# Between what a worker answers (8-bit numbers, another runtime) and the archive's own float32 network, in levels of 255:
LARGEST_MEAN_DIFFERENCE = 16.0  # measured for 8-bit networks: 0.6 on photographs, 9 for one that had hardly learned


def roll_over(
    archive_path: Path, expected_hash: str, model_store: Path, server: ModelServer, golden: Sequence[bytes], drain_s: float
) -> None:
    """Serve an archive in place of the present one, which is kept for a rollback.

    Args:
        archive_path: in any folder; the archive is copied.
        expected_hash: of its content (`export.archive.content_hash`), as it was when the archive was judged.
        golden: photographs that its workers must answer as the archive's own float32 network does.
        drain_s: seconds for which the former version stays loaded after its last waiting request, to finish its answers.

    Raises:
        RollOverError: it is not served; the former version is still served, and nothing of this one is left.
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
    _serve(name, version, before, model_store, server, golden, drain_s)


def roll_back(model_store: Path, server: ModelServer, golden: Sequence[bytes], drain_s: float) -> str:
    """Serve the former archive again; returns its version. Raises RollOverError as `roll_over` does."""
    before = Serving.read(model_store)
    if before.previous is None or not (model_store / before.previous).is_file():
        raise RollOverError("Nothing was served before, so there is no way back.")
    version = read_card(model_store / before.previous).version
    _serve(before.previous, version, before, model_store, server, golden, drain_s)
    return version


def settle(model_store: Path, server: ModelServer | None, drain_s: float = 0.0) -> list[str]:
    """Make model store and replicas match `serving.json`, whatever was killed before; returns sentences about what was done.

    Args:
        server: None to leave TorchServe alone, which reads `serving.json` when it starts.
        drain_s: seconds for which a former default stays loaded after its last waiting request, to finish its answers:
            TorchServe doesn't say when they are sent.

    Raises:
        RollOverError: a replica does not answer, or refuses; the others match.
    """
    done = []
    serving = Serving.read(model_store)
    for path in sorted(model_store.iterdir()):
        if _OURS.fullmatch(path.name) and path.name not in (serving.default, serving.previous):
            path.unlink()
            done.append(f"Removed {path.name}, which was not in production.")
    if server is None:
        return done
    version = read_card(model_store / serving.default).version
    failures: dict[Replica, str] = {}
    ours: set[Replica] = set()

    def at_each(act: Callable[[Replica], list[str]]) -> list[str]:
        sentences = []
        for replica in server.replicas():
            if replica not in failures:
                try:
                    if replica not in ours:
                        replica.check_reads(model_store)
                        ours.add(replica)
                    sentences += act(replica)
                except RollOverError as error:
                    failures[replica] = str(error)
        return sentences

    while switched := at_each(
        lambda replica: _switch(replica, serving.default, version)
    ):  # again, for replicas that came meanwhile
        done += switched
        at_each(lambda replica: _drain(replica, version))
        time.sleep(drain_s)
    done += at_each(lambda replica: _unload_others(replica, version))
    if failures:
        raise RollOverError(" ".join(failures.values()))
    return done


def served_versions(model_store: Path) -> tuple[str, str | None]:
    """The served version and the one before it. Raises RollOverError if an archive is missing."""
    serving = Serving.read(model_store)
    previous = read_card(model_store / serving.previous).version if serving.previous else None
    return read_card(model_store / serving.default).version, previous


def read_card(archive_path: Path) -> ModelCard:
    """The model card in an archive. Raises RollOverError if there is none."""
    try:
        return ModelCard.of_archive(archive_path)
    except ValueError as error:
        raise RollOverError(str(error)) from error


def _serve(
    name: str,
    version: str,
    before: Serving,
    model_store: Path,
    server: ModelServer,
    golden: Sequence[bytes],
    drain_s: float,
) -> None:
    try:
        _load_everywhere(model_store / name, version, server, golden)
    except RollOverError:
        try:
            settle(model_store, server)
        except RollOverError as error:
            logger.warning("%s When it starts, it loads the served version.", error)
        raise
    Serving(default=name, previous=before.default).write(model_store)
    logger.info("from here on %s is to be served, and a rollback returns to %s", name, before.default)
    try:
        for sentence in settle(model_store, server, drain_s):
            logger.info("%s", sentence)
    except RollOverError as error:
        logger.warning("%s Version %s is in production all the same: TorchServe starts with it.", error, version)


def _load_everywhere(archive_path: Path, version: str, server: ModelServer, golden: Sequence[bytes]) -> None:
    """Act on every replica, including those that appear meanwhile; if one fails and its address has disappeared, it is
    ignored.
    """
    model_card, expected = read_card(archive_path), _network_answers(archive_path, golden)
    loaded: set[Replica] = set()
    while waiting := [replica for replica in server.replicas() if replica not in loaded]:
        replica = waiting[0]
        try:
            replica.check_reads(archive_path.parent)
            if version not in replica.versions():
                replica.register(archive_path.name, replica.n_workers())
            _check_answers(replica, model_card, golden, expected)
        except RollOverError as error:
            if replica in server.replicas():
                raise
            logger.warning("%s This replica has disappeared meanwhile.", error)
        else:
            loaded.add(replica)


def _network_answers(archive_path: Path, golden: Sequence[bytes]) -> list[NDArray[np.uint8]]:
    """The crack probability of each photograph by the archive's own float32 network, uint8 (height, width), nothing lowered."""
    with tempfile.TemporaryDirectory(prefix="crack-golden-") as work:
        with zipfile.ZipFile(archive_path) as archive:
            archive.extractall(work)
        model_card = replace(read_card(archive_path), least_sure_px=0)
        segmenter = Segmenter(model_card, runtime.load(Path(work), REFERENCE, 1))
        return [segmenter.probability(decode(image)) for image in golden]


def _check_answers(
    replica: Replica, model_card: ModelCard, golden: Sequence[bytes], network_answers: Sequence[NDArray[np.uint8]]
) -> None:
    version = model_card.version
    for number, (image, expected) in enumerate(zip(golden, network_answers, strict=True)):
        answered = replica.probability(image, version)
        if answered.shape != expected.shape:
            raise RollOverError(f"Version {version}: golden photograph {number} came back with {answered.shape} pixels.")
        difference = mean_difference(answered, expected, model_card)
        if difference > LARGEST_MEAN_DIFFERENCE:
            raise RollOverError(
                f"Version {version} answers golden photograph {number} {difference:.2f} levels of 255 off what its network "
                f"computes, at most {LARGEST_MEAN_DIFFERENCE} are accepted. It was not served."
            )


def mean_difference(answered: NDArray[np.uint8], computed: NDArray[np.uint8], model_card: ModelCard) -> float:
    """How far a worker's answer is off, in levels of 255.

    Whether a group of pixels is lowered (`certainty`) may depend on a single one of them, which 8 bits and 32 see differently.
    So a pixel is right as computed, and right as it would be lowered.

    Args:
        computed: by the network alone, nothing lowered.
    """
    off = np.abs(answered.astype(np.int16) - computed)
    if model_card.least_sure_px:
        lowered = np.minimum(computed, threshold_level(model_card.seen) - 1)
        off = np.minimum(off, np.abs(answered.astype(np.int16) - lowered))
    return float(off.mean())


def _switch(replica: Replica, archive_name: str, version: str) -> list[str]:
    if replica.default_version() == version:
        return []
    if version not in replica.versions():
        replica.register(archive_name, replica.n_workers())
    replica.set_default(version)
    return [f"Made version {version} the default of {replica}."]


def _drain(replica: Replica, version: str) -> list[str]:
    """Wait until no request waits for any other version. Raises RollOverError if that takes too long: the version stays
    loaded.
    """
    deadline = time.monotonic() + LONGEST_WAIT_S
    for other in replica.versions() - {version}:
        while n_pending := replica.n_pending(other):
            if time.monotonic() > deadline:
                raise RollOverError(
                    f"{replica}: {n_pending} requests still wait for version {other} after {LONGEST_WAIT_S:.0f} s. It stays "
                    "loaded beside the one that is served, until the next retraining or rollback."
                )
            time.sleep(0.2)
    return []


def _unload_others(replica: Replica, version: str) -> list[str]:
    others = sorted(replica.versions() - {version})
    for other in others:
        replica.unregister(other)
    return [f"Unloaded version {other}, which is not served, from {replica}." for other in others]


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as original, whole(target) as copy:
            shutil.copyfileobj(original, copy)
    except OSError as error:
        raise RollOverError(f"{target}: {error}. Nothing was changed.") from error
