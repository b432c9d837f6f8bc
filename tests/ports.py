"""Ports for servers that tests start.

They lie below those that Linux gives to outgoing connections: of those, a client of any test could hold one in the moment in
which its server starts, or starts again.
"""

import contextlib
import random
import socket

PORTS = range(15_000, 32_000)
NOBODY = "http://127.0.0.1:9"  # where no server listens

_order = random.SystemRandom().sample(PORTS, len(PORTS))  # another one in each session, which may run beside this one


def free_ports(n_ports: int) -> list[int]:
    """Ports that nobody listens on at this moment; none is given twice, so that a server may come back to its own."""
    ports: list[int] = []
    while len(ports) < n_ports:
        port = _order.pop()
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports
