"""The requests of the last seconds, counted for several sidecars together; in PostgreSQL alone.

Left to others: how many are let in (`sidecar.rates`).
"""

from sqlalchemy import Connection, delete, extract, func, insert, select

from crack.stores.tables import REQUESTS

_NOW = extract("epoch", func.clock_timestamp())  # the database's clock, which is one for all


def count(connection: Connection, key: str, n_most: int, window_s: float) -> float:
    """Count one more request of `key`, unless `n_most` came within the window: then the seconds until one is let in, else 0."""
    # Those of a key one after the other. A power cut may take the newest, which does no harm: nobody waits for the disk.
    turn = func.pg_advisory_xact_lock(func.hashtextextended(key, 0))
    connection.execute(select(turn, func.set_config("synchronous_commit", "off", True)))
    connection.execute(delete(REQUESTS).where(REQUESTS.c.key == key, REQUESTS.c.at <= _NOW - window_s))
    found = select(func.count(), _NOW - func.min(REQUESTS.c.at)).where(REQUESTS.c.key == key)
    n_counted, first_s = connection.execute(found).one()
    if n_counted >= n_most:
        return max(0.001, window_s - float(first_s))
    connection.execute(insert(REQUESTS).values(key=key, at=_NOW))
    return 0.0
