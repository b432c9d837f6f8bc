"""How processes end: in words, and with their parents."""

import ctypes
import signal
import sys


def signal_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when its parent is killed; a program that it becomes keeps that (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG, of prctl(2)


def how_it_ended(status: int) -> str:
    """For a sentence like "Java ended ...": `status` as subprocess gives it, where a negative number is a signal's."""
    if status >= 0:
        return f"ended with status {status}"
    told = " (the system sends it where memory is short)" if status == -signal.SIGKILL else ""
    return f"was ended by the signal {signal.Signals(-status).name}{told}"
