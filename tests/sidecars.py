"""The real sidecar, as a process of its own, beside the real TorchServe."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from tests.ports import NOBODY, free_ports
from tests.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parent.parent


class Sidecar:
    """One running sidecar with a store in `folder`, which may have `n_files` open; without a TorchServe unless one is named."""

    def __init__(
        self,
        folder: Path,
        log_path: Path,
        torchserve_url: str = NOBODY,
        management_url: str = NOBODY,
        n_files: int = 1024,
        **settings: str,
    ) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.log_path = log_path
        self._n_files = n_files
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "CRACK_DATA_DIR"},
            "CRACK_SIDECAR_PORT": str(port),
            "CRACK_FEEDBACK_DIR": str(folder),
            "CRACK_INSPECTIONS_DIR": str(folder.with_name(f"{folder.name}-inspections")),
            "TORCHSERVE_URL": torchserve_url,
            "TORCHSERVE_MANAGEMENT_URL": management_url,
            **settings,
        }
        self.start()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", f'ulimit -n {self._n_files} && exec "$@"', "sh", sys.executable, "-m", "crack", "sidecar"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def answers() -> bool:
            assert self.process.poll() is None, self.log_path.read_text()
            return requests.get(f"{self.url}/ping", timeout=PATIENCE_S).ok

        eventually(answers, requests.ConnectionError)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


StartSidecar = Callable[..., Sidecar]
