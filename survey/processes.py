"""The inference core of an archive in processes of this machine; they answer calls from any number of threads.

If a process is ended in the middle of a call, for example by the kernel because memory is short, that call is tried again in a
new process; other calls are not affected. Left to others: what is called (`engines.local`, `mosaic`).
"""

import multiprocessing
import os
import signal
import threading
import traceback
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import LifoQueue
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from crack.faults import is_full
from crack.temporary import OwnFolder
from model.inference import card, runtime
from model.inference.card import Backend, ModelCard
from model.inference.errors import RequestError
from model.inference.processors import n_usable_cores, usable_memory_bytes
from model.inference.segmenter import Segmenter
from survey.engines import StoppedError, SurveyError

N_TRIES = 3
LONGEST_S = 600.0  # for a call, as in TorchServe
PROCESS_BYTES = 1.5e9  # its peak at 50 megapixels

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Core:
    """What a process has loaded; it is the first argument of each function that is called there."""

    segmenter: Segmenter
    backend: Backend

    @classmethod
    def load(cls, folder: Path, wanted: Sequence[str], n_threads: int) -> "Core":
        """Load an archive unpacked into `folder`. `wanted`: a runtime and a precision, either of which may be `auto`."""
        model_card = ModelCard.read(folder / card.FILE_NAME)
        backend, run, _ = runtime.choose(folder, model_card, n_threads, runtime=wanted[0], precision=wanted[1])
        return cls(Segmenter(model_card, run), backend)


class EndedError(RuntimeError):
    """The processes of all tries were ended, or took too long; the message is a sentence."""


def default_n() -> int:
    """A process for each processor, fewer where memory is short."""
    return max(1, min(n_usable_cores(), int(usable_memory_bytes() // PROCESS_BYTES)))


class Processes:
    """`n` processes, which start when they are first needed, each on its share of the processors.

    Args:
        archive: a `.mar`; its networks and card are read, its code is not run.
        backend: such as "openvino int8"; `runtime.AUTO` times the archive's backends and takes the fastest.
        stopping: once it is set, no call begins any more.

    Raises:
        SurveyError: the archive can't be read, or has no such backend.
    """

    def __init__(self, archive: Path, n: int, backend: str, stopping: threading.Event) -> None:
        self._n_threads = max(1, n_usable_cores() // n)
        self._stopping = stopping
        self._folder = OwnFolder("crack-survey")
        try:
            self.card = unpack(archive, self._folder.path)
            self._wanted = parse_backend(backend, self.card)
        except BaseException:
            self._folder.remove()
            raise
        self._free: LifoQueue[_Process | None] = LifoQueue()
        for _ in range(n):
            self._free.put(None)  # in place of one that is yet to be started
        self.n = n

    def start(self) -> Backend:
        """Start the first one, which settles the backend for all of them. Raises SurveyError where it can't start."""
        process = self._free.get()
        try:
            process, backend = self._start()
            self._wanted = tuple(backend)
        except (EOFError, OSError) as error:
            raise SurveyError("The process that loads the model ended, or hung; its output is above.") from error
        finally:
            self._free.put(process)
        return backend

    def call(self, function: Callable[Concatenate[Core, _P], _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Call a module's function in one of the processes; returns its result. Arguments and result are pickled.

        Raises:
            RequestError, OSError: what the function raises.
            RuntimeError: it raised something else.
            EndedError, StoppedError: see there.
        """
        ended = ""
        for _ in range(N_TRIES):
            process = self._free.get()
            try:
                if self._stopping.is_set():
                    raise StoppedError
                if process is None or not process.program.is_alive():
                    _end(process)
                    process, _ = self._start()
                process.connection.send((function, arguments, named))
                if not process.connection.poll(LONGEST_S):
                    raise TimeoutError
                result, error = process.connection.recv()
            except StoppedError:
                raise
            except TimeoutError:
                _end(process)
                process, ended = None, f"took more than {LONGEST_S:g} s"
                continue
            except (EOFError, OSError):
                process, ended = None, f"ended with status {_end(process)}"
                continue
            except BaseException:
                _end(process)  # or its answer would be taken for the next call's
                process = None
                raise
            finally:
                self._free.put(process)
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]
        raise EndedError(f"Its process {ended}, in {N_TRIES} tries. Memory may be short: a smaller --concurrency needs less.")

    def in_order(self, calls: Iterable[Callable[[], _T]]) -> Iterator[_T]:
        """The results of functions that use `call` once each, in order; enough are under way to keep all processes busy."""
        under_way: deque[Future[_T]] = deque()
        with ThreadPoolExecutor(self.n) as pool:
            for call in calls:
                under_way.append(pool.submit(call))
                if len(under_way) > 2 * self.n:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def close(self) -> None:
        """End the processes as soon as their calls have ended; further calls would wait forever."""
        for _ in range(self.n):
            _end(self._free.get())
        self._folder.remove()

    def _start(self) -> "tuple[_Process, Backend]":
        """Raises EOFError where it ends while it starts, TimeoutError where it hangs."""
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe()
        program = context.Process(target=_serve, args=(its, self._folder.path, self._wanted, self._n_threads), daemon=True)
        with _without_ctrl_c():
            program.start()
        its.close()
        process = _Process(program, ours)
        try:
            if not ours.poll(LONGEST_S):
                raise TimeoutError
            return process, ours.recv()
        except BaseException:
            _end(process)
            raise


class _Process(NamedTuple):
    program: BaseProcess
    connection: "Connection[Any, Any]"


def _end(process: _Process | None) -> int | None:
    """End a process; returns its exit status."""
    if process is None:
        return None
    process.connection.close()
    process.program.kill()
    process.program.join()
    return process.program.exitcode


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started within never see Ctrl-C, which is meant for this process."""
    resource_tracker.ensure_running()  # its start would unblock the signal
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def unpack(archive: Path | BytesIO, folder: Path) -> ModelCard:
    """Put an archive's networks and card into `folder`; returns the card. Raises SurveyError, and OSError where the
    disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in (card.FILE_NAME, *{runtime.file_name(backend) for backend in runtime.BACKENDS}):
                if name in packed.namelist():
                    packed.extract(name, folder)
        return ModelCard.read(folder / card.FILE_NAME)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        if is_full(error):
            raise
        raise SurveyError(f"{archive} is not an archive of a model ({error}). Name one by --archive.") from error


def parse_backend(text: str, model_card: ModelCard) -> tuple[str, ...]:
    """Runtime and precision. Raises SurveyError where the archive has no such backend."""
    if text == runtime.AUTO:
        return (text, text)
    wanted = tuple(text.split())
    if wanted not in model_card.backends:
        possible = ", ".join(map(repr, map(str, model_card.backends)))
        raise SurveyError(f"--backend {text!r}: expected {runtime.AUTO!r}, or of this archive's {possible}.")
    return wanted


def _serve(connection: "Connection[Any, Any]", folder: Path, wanted: Sequence[str], n_threads: int) -> None:
    """The work of such a process, until its parent ends: answer one call after the other."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    core = Core.load(folder, wanted, n_threads)
    connection.send(core.backend)
    while True:
        try:
            function, arguments, named = connection.recv()
        except EOFError:
            return
        result: Any = None
        error: Exception | None = None
        try:
            result = function(core, *arguments, **named)
        except (RequestError, OSError) as told:
            error = told
        except Exception as failure:
            traceback.print_exc()
            error = RuntimeError(f"{type(failure).__name__}: {failure}")
        connection.send((result, error))
