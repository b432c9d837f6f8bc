"""Counts the requests of the last seconds for several sidecars together; only in PostgreSQL. Left to others: how many are
allowed (`sidecar.rates`).
"""

from sqlalchemy import Connection, delete, extract, func, insert, or_, select

from crack.stores.tables import REQUESTS

_NOW = extract("epoch", func.clock_timestamp())  # the database's clock, which is one for all


def count(connection: Connection, key: str, n_most: int, window_s: float) -> float:
    """Count a request of `key` and return 0 or, if there were `n_most` within the window, return the seconds until the next is
    allowed.
    """
    # A key's requests are counted one after the other. Nobody waits for the disk: it does no harm if a power cut takes some.
    turn = func.pg_advisory_xact_lock(func.hashtextextended(key, 0))
    connection.execute(select(turn, func.set_config("synchronous_commit", "off", True)))
    # Requests later than now were counted before the clock was set back.
    is_past = or_(REQUESTS.c.at <= _NOW - window_s, REQUESTS.c.at > _NOW)
    connection.execute(delete(REQUESTS).where(REQUESTS.c.key == key, is_past))
    found = select(func.count(), _NOW - func.min(REQUESTS.c.at)).where(REQUESTS.c.key == key)
    n_counted, first_s = connection.execute(found).one()
    if n_counted >= n_most:
        return max(0.001, window_s - float(first_s))
    connection.execute(insert(REQUESTS).values(key=key, at=_NOW))
    return 0.0
