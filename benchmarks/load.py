"""A load generator: so many connections, each sending the next request when it has the answer to the last."""

import http.client
import threading
import time
import uuid
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


def multipart(image: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with an image and fields, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def ask(url: str, body: bytes, content_type: str, timeout_s: float = 120) -> tuple[int, bytes]:
    """One request on a connection of its own; status and body."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=timeout_s)
    try:
        connection.request("POST", address.path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def load(url: str, body: bytes, content_type: str, *, concurrency: int, seconds: float) -> Load:
    """Keep `concurrency` requests under way for `seconds`."""
    address = urlsplit(url)
    latencies: list[float] = []
    codes: dict[int, int] = {}
    lock, started, cpu = threading.Lock(), time.perf_counter(), time.process_time()
    deadline = started + seconds

    def send() -> None:
        connection = http.client.HTTPConnection(address.netloc, timeout=120)
        while time.perf_counter() < deadline:
            asked = time.perf_counter()
            connection.request("POST", address.path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            answer.read()
            taken = time.perf_counter() - asked
            with lock:
                latencies.append(taken)
                codes[answer.status] = codes.get(answer.status, 0) + 1
        connection.close()

    clients = [threading.Thread(target=send) for _ in range(concurrency)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    wall = time.perf_counter() - started
    p50, p95, p99 = (1000 * float(np.percentile(latencies, share)) for share in (50, 95, 99))
    return Load(concurrency, len(latencies), wall, p50, p95, p99, codes, (time.process_time() - cpu) / wall)
