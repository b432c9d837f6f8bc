"""How a survey stops early: Ctrl-C, the exit codes, and the sentence that says how to continue."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DONE, SOME_MISSING, NOT_POSSIBLE, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stopping`; another Ctrl-C ends the process at once."""

    def stop(*_: object) -> None:
        if stopping.is_set():
            os._exit(INTERRUPTED)
        stopping.set()
        os.write(2, b"\nStopping once the work under way is done; Ctrl-C again stops at once.\n")  # print may be under way

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def how_to_go_on() -> str:
    return f"Continue with: crack survey {shlex.join(sys.argv[1:])}"
