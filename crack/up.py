"""`crack up`: runs the parts in the Procfile, or those that are named, until Ctrl-C, and starts each again when it ends.

Prometheus and its node-exporter are left out where they are not installed (`make monitor` installs them). Before anything
starts, it names the ports that other processes hold.

honcho prefixes what the parts print and hands signals on, but ends all of them when one ends. supervisor gives up on a part
after some tries and does not say whose line is whose; circus listens on ports of its own, where any user of the machine may
command it. So `Part` starts a part again. Unlike honcho's own command, this also gives the parts a minute to end in order,
because TorchServe takes some seconds, and stops them when the terminal is closed.
"""

import argparse
import contextlib
import errno
import functools
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from honcho import command, environ, manager, printer, process

from crack.instance import N_INSTANCES, STEP, TORCHSERVE, VARIABLE, instance_number, of_instance
from crack.processes import how_it_ended, signal_with_parent
from crack.shipped import shipped

CPUINFO = Path("/proc/cpuinfo")
OPTIONAL = ("prometheus", "prometheus-node-exporter")  # both names of processes and of programs
STOP_TIMEOUT_S = 60
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 60
NOT_OURS = ("PORT", "PYTHONWARNINGS")  # honcho fails at a port that is not a number, gradio and MLflow at warnings as errors
WRONG_SETTING = 2  # the status with which our programs, and those of others, refuse a setting
# The variables that say on which ports a part listens, and the one that says at which of the machine's addresses.
LISTENS = {
    "torchserve": (
        *("TS_INFERENCE_ADDRESS", "TS_MANAGEMENT_ADDRESS", "TS_METRICS_ADDRESS"),
        *("TS_GRPC_INFERENCE_PORT", "TS_GRPC_MANAGEMENT_PORT"),
    ),
    "sidecar": ("CRACK_SIDECAR_PORT",),
    "page": ("CRACK_PAGE_PORT",),
    "mlflow": ("CRACK_MLFLOW_PORT",),
    "retrain": ("CRACK_RETRAIN_METRICS_PORT",),
    "prometheus": ("CRACK_PROMETHEUS_PORT",),
    "prometheus-node-exporter": ("CRACK_NODE_EXPORTER_PORT",),
}
HOSTS = {
    "CRACK_SIDECAR_PORT": "CRACK_SIDECAR_HOST",
    "CRACK_PAGE_PORT": "CRACK_PAGE_HOST",
    "CRACK_RETRAIN_METRICS_PORT": "CRACK_RETRAIN_METRICS_HOST",
}
# Folders that a part writes to.
KEEPS = {
    "torchserve": ("CRACK_LOGS",),
    "sidecar": ("CRACK_FEEDBACK_DIR", "CRACK_INSPECTIONS_DIR"),
    "mlflow": ("CRACK_MLRUNS",),
    "retrain": ("CRACK_MODEL_STORE", "CRACK_RETRAIN_WORKSPACE", "CRACK_DVC_REMOTE"),
    "prometheus": ("CRACK_PROMETHEUS_DIR",),
}

# The instructions that numpy and PyTorch need beyond the first x86-64 processors (x86-64-v2), as /proc/cpuinfo names them.
X86_64_V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}


class Part(process.Process):  # type: ignore[misc]
    """A process of the Procfile that is started again when it ends, after pauses that double until it runs for a minute.

    If it refuses a setting at its very first start, all parts end, as somebody must correct it. It also ends if `crack up` is
    killed: otherwise it would hold its ports, and come back whenever somebody stops it.
    """

    def __init__(self, stopping: Any, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._stopping, self._is_orphan = stopping, False
        self._child_ctor = functools.partial(process.Popen, preexec_fn=_heed_signals)

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        signal.signal(signal.SIGUSR1, self._end_as_orphan)
        signal_with_parent(signal.SIGUSR1)
        pause_s, is_first = FIRST_PAUSE_S, True
        while True:
            begun = time.monotonic()
            super().run(events, ignore_signals)
            status = self._child.returncode
            if self._is_orphan or self._stopping.is_set() or (is_first and status == WRONG_SETTING):
                break
            if time.monotonic() - begun > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            self._send_message(f"{self.name} {how_it_ended(status)}, and starts again in {pause_s} s\n".encode())
            if self._stopping.wait(pause_s) or self._is_orphan:
                break
            pause_s, is_first = min(2 * pause_s, LONGEST_PAUSE_S), False
        if not self._is_orphan:
            super()._send_message({"returncode": status}, type="stop")

    def _end_as_orphan(self, *_: object) -> None:
        self._is_orphan = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGTERM)

    def _send_message(self, data: Any, type: str = "line") -> None:  # noqa: A002
        if type == "start" and self._stopping.is_set():
            os.killpg(self._child.pid, signal.SIGTERM)
        if type != "stop" and not self._is_orphan:  # "stop" would end all parts; an orphan's are read by nobody
            super()._send_message(data, type)


def _heed_signals() -> None:
    """`Part` ignores signals once it has started its process, and the next process that it starts would inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Parts(manager.Manager):  # type: ignore[misc]
    """honcho's manager, with `Part` for its processes."""

    def __init__(self, printer: Any = None) -> None:
        super().__init__(printer)
        self._stopping = multiprocessing.Event()
        self._process_ctor = functools.partial(Part, self._stopping)

    def terminate(self) -> None:
        self._stopping.set()
        super().terminate()

    def _all_stopped(self) -> bool:
        """Also look for killed `Part`s: they send no message, and honcho would wait for one for ever."""
        for name, each in self._processes.items():
            if "returncode" not in each and (each["process"].exitcode or 0) < 0:
                self._system_print(f"the process that watches over {name} was killed, so all parts end\n")
                each["returncode"] = self.returncode = 1
                with contextlib.suppress(ProcessLookupError, KeyError):
                    os.killpg(each["pid"], signal.SIGTERM)
        return bool(super()._all_stopped())


class Output(printer.Printer):  # type: ignore[misc]
    """When nobody can read the output any more (a closed terminal, a pipe whose reader has ended), all parts end in order."""

    def write(self, message: Any) -> None:
        try:
            super().write(message)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.output.fileno())
            os.kill(os.getpid(), signal.SIGTERM)


def taken_ports(names: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """A sentence for each port of these parts on which they cannot listen."""
    sentences, given = [], dict[int, str]()
    for variable in (variable for name in names for variable in LISTENS.get(name, ())):
        place = environment.get(variable) or TORCHSERVE[variable]
        found = re.fullmatch(r"(?:https?://(?P<host>[^/]+):)?(?P<port>\d{1,5})/?", place)
        port = int(found["port"]) if found else 0
        if found is None or not 0 < port < 2**16:
            sentences.append(f"{variable}={place!r}: expected a port from 1 to 65535, or http://ADDRESS:PORT for TorchServe.")
            continue
        host = (found["host"] or environment.get(HOSTS.get(variable, "")) or "127.0.0.1").strip("[]")
        if port in given:
            sentences.append(f"Port {port} is given twice. Set {given[port]} or {variable} to another one.")
        given[port] = variable
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
        except (OSError, UnicodeError) as error:  # the latter where a name has an empty part
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                sentences.append(f"Port {port} is held by {_told(port)}. Stop that, or set {variable} to another one.")
            else:
                wrong = variable if isinstance(error, PermissionError) else HOSTS.get(variable, variable)
                reason = getattr(error, "strerror", error)
                sentences.append(f"Nothing can listen on port {port} of {host} ({reason}). Set {wrong} to another one.")
    return sentences


def running_already(name: str, environment: Mapping[str, str]) -> str | None:
    """Where this part already runs, if it was started in this folder and listens on the same port."""
    port = environment[LISTENS[name][0]]
    try:
        holder = _holder(int(port))
        is_ours = Path(holder.cmdline()[0]).name == name and holder.cwd() == os.getcwd()
    except (psutil.Error, LookupError, TypeError, ValueError):
        return None
    return f"http://127.0.0.1:{port} (pid {holder.pid})" if is_ours else None


def closed_folders(names: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """A sentence for each folder of these parts that they cannot write to."""
    sentences = []
    for variable in (variable for name in names for variable in KEEPS.get(name, ())):
        place = environment[variable]
        folder = Path(place).absolute()
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        is_elsewhere = variable == "CRACK_DVC_REMOTE" and "://" in place
        if not is_elsewhere and not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            sentences.append(
                f"{variable}={place!r}: {nearest} is not a folder that can be written to. Set {variable} to another one."
            )
    return sentences


def _holder(port: int) -> psutil.Process:
    """The process that listens on a port. Raises psutil.Error, LookupError or TypeError if it can't be told."""
    found = psutil.net_connections("tcp")
    listening = {each.laddr.port: each.pid for each in found if each.laddr and each.status == psutil.CONN_LISTEN}
    return psutil.Process(listening[port])


def _told(port: int) -> str:
    try:
        holder = _holder(port)
        return f"pid {holder.pid} ({' '.join(holder.cmdline())[:80]})"
    except (psutil.Error, KeyError, TypeError):  # the process ids of other users are hidden
        return "a process of another user"


def lacking_instructions(cpuinfo: str) -> list[str]:
    """The instructions of `X86_64_V2` that an x86-64 processor lacks; with any missing, importing numpy would end with SIGILL
    and no message.
    """
    found = re.search(r"^flags\s*:(.*)", cpuinfo, re.MULTILINE)
    return sorted(X86_64_V2 - set(found[1].split())) if found else []


def prometheus_configuration(environment: Mapping[str, str]) -> Path:
    """The configuration file; an instance other than the first gets a copy whose targets are at its own ports."""
    offset = STEP * (instance_number(environment) - 1)
    folder = shipped("monitoring/prometheus")
    if offset:
        own = Path(environment["CRACK_PROMETHEUS_DIR"], "configuration")
        folder = Path(shutil.copytree(folder, own, dirs_exist_ok=True))
        targets = folder / "targets" / "system.yml"
        targets.write_text(re.sub(r"127\.0\.0\.1:(\d+)", lambda at: f"127.0.0.1:{int(at[1]) + offset}", targets.read_text()))
    return folder / "prometheus.yml"


def surroundings(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of all parts: their instance's ports and folders, and where their programs are. Raises ValueError."""
    environment = of_instance(inherited)
    own, tools = Path(sys.executable).parent, Path(".tools").resolve()
    environment["PATH"] = os.pathsep.join([str(own), environment.get("PATH", os.defpath), str(tools)])
    environment |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}  # whatever the locale, files are UTF-8
    if shutil.which("prometheus", path=environment["PATH"]):
        environment.setdefault("CRACK_PROMETHEUS_URL", f"http://127.0.0.1:{environment['CRACK_PROMETHEUS_PORT']}")
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GRADIO_ANALYTICS_ENABLED": "False"}  # nothing is reported to others
    return environment


def unfit(environment: Mapping[str, str]) -> str:
    """Why no part can run on this machine, as a sentence; empty if they can."""
    lacking = lacking_instructions(CPUINFO.read_text()) if CPUINFO.is_file() else []
    if lacking:
        return (
            f"this processor lacks {', '.join(lacking)}, which numpy and PyTorch need: expected x86-64-v2, which "
            "nearly all have had since 2010. In a virtual machine choose the processor type host or x86-64-v2 instead of kvm64."
        )
    certificates = environment.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():  # httpx, and so the page, could not even be imported
        return f"SSL_CERT_FILE={certificates!r}: expected a file of certificates. Name one, or unset it."
    try:
        multiprocessing.Event()
    except OSError as error:  # honcho's processes need it to talk to each other
        return f"no semaphore can be made in /dev/shm ({error.strerror}): expected a writable tmpfs there."
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    procfile = shipped("Procfile")
    parts = list(environ.parse_procfile(procfile.read_text()).processes)
    asked = _asked(arguments, parts)
    try:
        environment = surroundings(os.environ)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if fault := unfit(environment):
        sys.exit(f"error: {fault}")
    installed = [name for name in asked or parts if name not in OPTIONAL or shutil.which(name, path=environment["PATH"])]
    if not installed:
        sys.exit(f"error: {', '.join(asked)}: not installed. Run make monitor, which installs it.")
    names = [name for name in installed if not _runs(name, environment)]
    if not names:
        return 0
    faults = closed_folders(names, environment)
    if not faults and (faults := taken_ports(names, environment)):
        faults.append(f"{VARIABLE}=2 to {VARIABLE}={N_INSTANCES} move every port and folder at once.")
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    names = _configured(names, environment)
    return _run(names, procfile, environment) if names else 1


def _asked(arguments: Sequence[str] | None, parts: Sequence[str]) -> list[str]:
    """The parts that are named; none means all."""
    parser = argparse.ArgumentParser(
        prog="crack up",
        description="Start the whole system, or some of its parts, until Ctrl-C. A part that ends is started again.",
        epilog="examples:\n  crack up\n  crack up sidecar page\n  CRACK_INSTANCE=2 crack up\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)} (default: all that are installed)")
    asked: list[str] = parser.parse_args(arguments).parts
    for name in asked:
        if name not in parts:
            parser.error(f"{name!r}: expected one of {', '.join(parts)}.")
    return asked


def _runs(name: str, environment: Mapping[str, str]) -> bool:
    """Whether this optional part runs already, which is said."""
    where = running_already(name, environment) if name in OPTIONAL else None
    if where:
        print(f"{name} runs already, at {where}: it is not started again.")
    return where is not None


def _configured(names: list[str], environment: dict[str, str]) -> list[str]:
    """Name Prometheus' configuration in the environment; returns the parts, without it if it cannot have one."""
    if "prometheus" in names and "CRACK_PROMETHEUS_CONFIGURATION" not in environment:
        try:
            environment["CRACK_PROMETHEUS_CONFIGURATION"] = str(prometheus_configuration(environment))
        except OSError:  # predictions don't need it
            folder = environment["CRACK_PROMETHEUS_DIR"]
            print(
                f"Prometheus is left out: {folder} cannot be written to. Make room there, or make it writable.", file=sys.stderr
            )
            return [name for name in names if name != "prometheus"]
    return names


def _run(names: Sequence[str], procfile: Path, environment: Mapping[str, str]) -> int:
    """Run the parts by honcho until a signal comes; returns the exit status."""
    manager.KILL_WAIT = STOP_TIMEOUT_S
    command.Manager, command.Printer = Parts, Output
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # MLflow prints characters that some terminals lack
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    os.environ |= environment
    for name in NOT_OURS:
        os.environ.pop(name, None)
    # Without --env, honcho would read Compose's `.env` in this folder, whose values the checks above didn't see.
    sys.argv = ["honcho", "start", "--env", os.devnull, "--procfile", str(procfile), *names]
    try:
        command.main()
    except SystemExit as end:
        return 0 if end.code in STOPPED else int(end.code or 0)
    return 0
