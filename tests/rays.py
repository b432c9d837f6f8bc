"""Ray's nodes on this machine, each in a process group of its own, as `ray start` makes them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import ROOT
from tests.ports import free_ports
from tests.waiting import PATIENCE_S

_HEAD, _OTHER = "127.0.0.2", "127.0.0.3"  # Ray takes 127.0.0.1 for the machine's address to others
_N_TRIES = 5  # of a node that isn't up in 30 s: Ray gives it up, on a busy machine too


class Cluster:
    """A head and any number of other nodes, with a processor each; they have the environment of the test's moment.

    Attributes:
        address: for RAY_ADDRESS.
    """

    def __init__(self, folder: Path) -> None:
        port, client_port = map(str, free_ports(2))
        self.address = f"{_HEAD}:{port}"
        self._log = folder / "ray-start.log"
        self._nodes: list[int] = []
        head = ("--head", "--node-ip-address", _HEAD, "--port", port, "--ray-client-server-port", client_port)
        self._start(*head, "--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", str(folder))

    def add_node(self) -> int:
        """Its process group."""
        return self._start("--address", self.address, "--node-ip-address", _OTHER)

    def close(self) -> None:
        for node in self._nodes:
            kill(node)

    def _start(self, *options: str) -> int:
        any_ports = ("--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0")
        command = [str(Path(sys.executable).with_name("ray")), "start", *options, *any_ports, "--num-cpus", "1"]
        for _ in range(_N_TRIES):
            with self._log.open("ab") as log:
                started = subprocess.Popen(
                    [*command, "--object-store-memory", "100000000", "--include-log-monitor", "false"],
                    cwd=ROOT,
                    env={**os.environ, "RAY_worker_niceness": "0"},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._nodes.append(started.pid)
            if started.wait(PATIENCE_S) == 0:
                return started.pid
            kill(started.pid)
        raise RuntimeError(self._log.read_text())


def kill(node: int) -> None:
    """All processes of it, as when its machine loses power."""
    with suppress(ProcessLookupError):
        os.killpg(node, signal.SIGKILL)


@contextmanager
def cluster() -> Iterator[Cluster]:
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # pytest's is too long for its sockets
        started = Cluster(Path(folder))
        try:
            yield started
        finally:
            started.close()
