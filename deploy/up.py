"""What `make up` runs: the processes of the Procfile under honcho, until one of them ends or Ctrl-C.

Beside honcho's own command it gives them a minute to end in order, as TorchServe takes some seconds, and stops them when the
terminal is closed, as honcho itself would leave them running.
"""

import os
import signal
import sys
from pathlib import Path

from honcho import command, manager

STOP_TIMEOUT_S = 60
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)

if __name__ == "__main__":
    manager.KILL_WAIT = STOP_TIMEOUT_S
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONUNBUFFERED"] = "1"
    sys.argv = ["honcho", "start"]
    try:
        command.main()
    except SystemExit as end:
        sys.exit(0 if end.code in STOPPED else end.code)
