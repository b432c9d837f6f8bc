"""A load generator: so many connections, each sending the next request when it has the answer to the last."""

import contextlib
import http.client
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class Load:
    """What was measured. `own_cpu_ratio`: the generator's processor time over the whole time, 1 = one core."""

    concurrency: int
    n_answers: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    codes: dict[int, int]
    own_cpu_ratio: float

    @property
    def per_second(self) -> float:
        return self.n_answers / self.seconds


@dataclass(frozen=True)
class Request:
    """What is posted, and where to."""

    url: str
    body: bytes
    headers: Mapping[str, str]


def multipart(url: str, image: bytes, **fields: str) -> Request:
    """A form with an image and fields."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return Request(url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


@contextlib.contextmanager
def repeated(act: Callable[[threading.Event], None], n: int) -> Iterator[None]:
    """`act` in each of `n` threads, again and again until the end, which it is told by the event."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.is_set():
            act(is_over)

    threads = [threading.Thread(target=repeat) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def ask(request: Request, timeout_s: float = 120) -> tuple[int, bytes]:
    """On a connection of its own; status and body."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(request.url).netloc, timeout=timeout_s)) as connection:
        return _post(connection, request)


def load(request: Request, *, concurrency: int, seconds: float) -> Load:
    """Keep `concurrency` requests under way for `seconds`."""
    deadline = time.perf_counter() + seconds

    def send(connection: http.client.HTTPConnection, note: Note) -> None:
        while (asked := time.perf_counter()) < deadline:
            note(asked, _post(connection, request)[0])

    return _measure([send] * concurrency, request)


def each(requests: Sequence[Request], *, concurrency: int) -> Load:
    """Send each of them once, all to one server."""
    remaining, lock = iter(requests), threading.Lock()

    def send(connection: http.client.HTTPConnection, note: Note) -> None:
        while True:
            with lock:
                request = next(remaining, None)
            if request is None:
                return
            note(time.perf_counter(), _post(connection, request)[0])

    return _measure([send] * concurrency, requests[0])


def paced(request: Request, *, per_second: float, seconds: float) -> Load:
    """Send as many a second whether or not earlier ones were answered, at random moments (a Poisson process, seeded).

    Latencies count from the moment at which a request was due.
    """
    gaps = np.random.default_rng(0).exponential(1 / per_second, round(per_second * seconds))
    due = iter(time.perf_counter() + 0.1 + np.cumsum(gaps))
    lock = threading.Lock()

    def send(connection: http.client.HTTPConnection, note: Note) -> None:
        while True:
            with lock:
                moment = next(due, None)
            if moment is None:
                return
            time.sleep(max(0.0, moment - time.perf_counter()))
            note(moment, _post(connection, request)[0])

    return _measure([send] * 64, request)


Note = Callable[[float, int], None]
"""From the moment at which a request was asked or due, and the status of its answer, which has just come."""


def _measure(senders: Sequence[Callable[[http.client.HTTPConnection, Note], None]], request: Request) -> Load:
    latencies: list[float] = []
    codes: dict[int, int] = {}
    lock, started, cpu = threading.Lock(), time.perf_counter(), time.process_time()

    def note(asked: float, status: int) -> None:
        taken = time.perf_counter() - asked
        with lock:
            latencies.append(taken)
            codes[status] = codes.get(status, 0) + 1

    def run(send: Callable[[http.client.HTTPConnection, Note], None]) -> None:
        with contextlib.closing(http.client.HTTPConnection(urlsplit(request.url).netloc, timeout=120)) as connection:
            send(connection, note)

    threads = [threading.Thread(target=run, args=(send,)) for send in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    p50, p95, p99 = (1000 * float(np.percentile(latencies, share)) for share in (50, 95, 99))
    return Load(len(senders), len(latencies), wall, p50, p95, p99, codes, (time.process_time() - cpu) / wall)


def _post(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    address = urlsplit(request.url)
    connection.request("POST", f"{address.path}?{address.query}", request.body, dict(request.headers))
    answer = connection.getresponse()
    return answer.status, answer.read()
