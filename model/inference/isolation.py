"""Decodes untrusted files in separate processes: one that takes too long or too much memory is ended."""

import logging
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import LifoQueue
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import Limits

logger = logging.getLogger("model.inference.isolation")

DEADLINE_S = 60.0  # photographs of 100 megapixels take up to 10
_SECONDS_PER_PIXEL = 0.6e-6
# What decoding takes beside the pixels, and for each: CMYK's coefficients and pixels, or pixels, RGB and a mask; and how often
# a process holds the file.
_BASE_BYTES, _BYTES_PER_PIXEL, _N_FILES = 2**30, 24, 4
_MAX_KEPT_BYTES = 512 * 2**20  # a process that once needed more is ended, so that its memory goes back

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Isolation:
    """Calls functions in other processes, from any number of threads; a process starts when it is first needed.

    Args:
        n_processes: how many calls run at once; others wait for them.
        max_bytes: of address space, for each process.
        deadline_s: for each call; a process's start counts.
    """

    def __init__(self, n_processes: int, max_bytes: int, deadline_s: float = DEADLINE_S) -> None:
        self._n_processes = n_processes
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s
        self._free: LifoQueue[_Process | None] = LifoQueue()
        for _ in range(n_processes):
            self._free.put(None)  # for a process that is not started yet

    @classmethod
    def for_photographs(cls, n_processes: int, limits: Limits) -> Self:
        """With enough time and memory for any photograph within the limits, and its mask."""
        max_bytes = _BASE_BYTES + _BYTES_PER_PIXEL * limits.max_pixels + _N_FILES * limits.max_bytes
        return cls(n_processes, max_bytes, max(DEADLINE_S, _SECONDS_PER_PIXEL * limits.max_pixels))

    def call(self, function: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        """What a function of a module returns; arguments and result are pickled.

        Raises:
            RequestError: what the function raises; IMAGE_UNDECODABLE, if its process was ended or crashed; SERVER_BUSY, if the
                machine was short of memory or processes.
            RuntimeError: the function raised something else; the log has all of it.
        """
        process = self._free.get()
        try:
            if process is None or process.program.poll() is not None:
                process = _start(self._max_bytes)
            process.connection.send((function, arguments, named))
            if not process.connection.poll(self._deadline_s):
                raise _undecodable(f"took more than {self._deadline_s:g} s")
            result, error, peak_bytes = process.connection.recv()
            if peak_bytes > _MAX_KEPT_BYTES:
                _end(process)
        except (EOFError, OSError) as failure:
            raise _ended(_end(process), failure) from failure
        except BaseException:
            _end(process)
            raise
        finally:
            self._free.put(process)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End every process as soon as its call has ended; later calls would wait for ever."""
        for _ in range(self._n_processes):
            _end(self._free.get())


class _Process(NamedTuple):
    program: "subprocess.Popen[bytes]"
    connection: "Connection[Any, Any]"


def _start(max_bytes: int) -> _Process:
    ours, its = Pipe()
    with its:
        program = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({its.fileno()}, {max_bytes})"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[its.fileno()],
        )
    return _Process(program, ours)


def _end(process: _Process | None) -> int | None:
    """Its exit status. What has ended stays where it was, and is started again when it is needed."""
    if process is None:
        return None
    process.connection.close()
    process.program.kill()
    return process.program.wait()


def _ended(status: int | None, failure: Exception) -> RequestError:
    """A photograph can make its decoder crash, which ends with another signal than SIGKILL."""
    if status is not None and status < 0 and status != -signal.SIGKILL:
        return _undecodable(f"ended its process with status {status}")
    logger.error("a process for photographs was ended by the system, or could not start (%r, status %s)", failure, status)
    return RequestError(
        ErrorCode.SERVER_BUSY,
        "The process that decodes photographs was ended by the system, or could not start, as when memory is short. Nothing "
        "was saved. Send it again in some seconds; if that doesn't help, tell whoever runs this server.",
    )


def _undecodable(what: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_UNDECODABLE, f"The image cannot be decoded: it {what}. Save it anew with another program."
    )


def serve(descriptor: int, max_bytes: int) -> None:
    """What such a process does until the one that started it ends: answer one call after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the calling process
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_AS)  # of `ulimit -v`, which can't be raised
    max_bytes = max_bytes if hard_bytes == resource.RLIM_INFINITY else min(max_bytes, hard_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    connection: Connection[Any, Any] = Connection(descriptor)
    while True:
        try:
            function, arguments, named = connection.recv()
        except EOFError:
            return
        result: Any = None
        error: Exception | None = None
        try:
            result = function(*arguments, **named)
        except RequestError as refusal:
            error = refusal
        except MemoryError:
            error = _undecodable(f"needs more than {max_bytes / 2**20:.0f} MB of memory")
        except Exception as failure:
            traceback.print_exc()
            error = RuntimeError(f"{type(failure).__name__}: {failure}")
        connection.send((result, error, _peak_bytes()))


def _peak_bytes() -> int:
    """The most memory that this process had."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:  # Linux's ru_maxrss is at least that of the process that started this one
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
