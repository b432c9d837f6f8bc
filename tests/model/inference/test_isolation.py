"""What runs in a process of its own: its results and refusals come back, and nothing that it does harms who asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from model.inference.errors import ErrorCode, RequestError
from model.inference.isolation import Isolation
from model.inference.photograph import decode
from tests.photographs import noise, png
from tests.waiting import eventually

GIGABYTE = 2**30


@pytest.fixture
def isolation() -> Iterator[Isolation]:
    isolation = Isolation(2, 4 * GIGABYTE)
    yield isolation
    isolation.close()


def refusal(isolation: Isolation, function: Callable[..., object], *arguments: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        isolation.call(function, *arguments)
    return caught.value


def test_a_photograph_is_decoded_in_another_process(isolation: Isolation) -> None:
    np.testing.assert_array_equal(isolation.call(decode, png(noise(40, 50))), noise(40, 50))
    assert isolation.call(os.getpid) != os.getpid()


def test_a_refusal_comes_back_as_it_was_made(isolation: Isolation) -> None:
    error = refusal(isolation, decode, b"hello")
    assert error.code is ErrorCode.IMAGE_UNSUPPORTED
    assert "expected a photograph" in error.message


def test_one_process_answers_call_after_call_and_two_answer_at_once(isolation: Isolation) -> None:
    assert isolation.call(os.getpid) == isolation.call(os.getpid)
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda n: isolation.call(pow, n, 2), range(60))) == [n * n for n in range(60)]


def test_what_takes_too_long_is_killed_and_the_next_call_is_answered() -> None:
    isolation = Isolation(1, 4 * GIGABYTE, deadline_s=10.0)
    pid = isolation.call(os.getpid)
    error = refusal(isolation, time.sleep, 3600)
    assert error.code is ErrorCode.IMAGE_UNDECODABLE
    assert "took more than 10 s" in error.message
    assert not psutil.pid_exists(pid)
    assert isolation.call(pow, 2, 3) == 8
    isolation.close()


def test_what_needs_too_much_memory_is_refused(isolation: Isolation) -> None:
    assert "needs more than 4096 MB of memory" in refusal(isolation, bytearray, 5 * GIGABYTE).message


def test_what_ends_its_process_ends_no_other_call(isolation: Isolation) -> None:
    assert "ended its process with status -11" in refusal(isolation, signal.raise_signal, signal.SIGSEGV).message
    assert isolation.call(pow, 2, 3) == 8


def test_a_process_that_the_system_killed_is_not_blamed_on_the_photograph(isolation: Isolation) -> None:
    error = refusal(isolation, signal.raise_signal, signal.SIGKILL)
    assert error.code is ErrorCode.SERVER_BUSY
    assert "memory is short" in error.message


def test_a_process_that_cannot_start_is_not_blamed_on_the_photograph(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert refusal(isolation, os.getpid).code is ErrorCode.SERVER_BUSY


def test_under_a_lower_limit_of_address_space_photographs_are_decoded_and_what_needs_more_is_refused() -> None:
    program = (
        "from model.inference.isolation import Isolation; i = Isolation(1, 2**40); print(i.call(pow, 2, 3), flush=True)\n"
        "try: i.call(bytearray, 2**32)\nexcept Exception as error: print(error)"
    )
    limited = f"ulimit -v {3 * 2**20}; exec {sys.executable} -c '{program}'"
    said = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=True).stdout
    assert said.startswith("8\n")
    assert "needs more than 3072 MB of memory" in said


def test_a_process_that_was_killed_while_it_was_free_is_started_again(isolation: Isolation) -> None:
    pid = isolation.call(os.getpid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert isolation.call(os.getpid) != pid


def test_memory_goes_back_after_a_large_photograph(isolation: Isolation) -> None:
    pid = isolation.call(os.getpid)
    assert isolation.call(eval, "len(b'x' * 600 * 2**20)") == 600 * 2**20
    assert not psutil.pid_exists(pid)


def test_an_unexpected_error_is_told_and_the_process_goes_on(isolation: Isolation) -> None:
    pid = isolation.call(os.getpid)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        isolation.call(divmod, 1, 0)
    assert isolation.call(os.getpid) == pid


def test_the_processes_end_with_the_one_that_asks(isolation: Isolation) -> None:
    process = psutil.Popen(
        [
            sys.executable,
            "-c",
            "import os; from model.inference.isolation import *; i = Isolation(1, 2**32); "
            "print(i.call(os.getpid), flush=True); os.kill(os.getpid(), 9)",
        ],
        stdout=-1,
    )
    pid = int(process.communicate()[0])
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
