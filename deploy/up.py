"""What `make up` runs: the processes of the Procfile under honcho, until one of them ends or Ctrl-C; or those that are named.

Prometheus and its node-exporter are left out where they are not installed (`make monitor` does that).

Beside honcho's own command it gives them a minute to end in order, as TorchServe takes some seconds, and stops them when the
terminal is closed, as honcho itself would leave them running.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from honcho import command, environ, manager

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = ("prometheus", "prometheus-node-exporter")  # both names of processes and of programs
STOP_TIMEOUT_S = 60
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)

if __name__ == "__main__":
    manager.KILL_WAIT = STOP_TIMEOUT_S
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], str(ROOT / ".tools")])
    os.environ["PYTHONUNBUFFERED"] = "1"
    absent = {name for name in OPTIONAL if not shutil.which(name)}
    if "prometheus" not in absent:
        os.environ.setdefault("CRACK_PROMETHEUS_URL", "http://127.0.0.1:9090")
    named = sys.argv[1:] or environ.parse_procfile((ROOT / "Procfile").read_text()).processes
    sys.argv = ["honcho", "start", *(name for name in named if name not in absent)]
    try:
        command.main()
    except SystemExit as end:
        sys.exit(0 if end.code in STOPPED else end.code)
