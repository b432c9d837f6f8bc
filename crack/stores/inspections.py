"""Inspections, and their photographs with what was found and decided.

Left to others: what is in a photograph's row (`sidecar.inspections`).
"""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, text, update

from crack.stores.rows import Values, every, first
from crack.stores.tables import FILES, INSPECTIONS, PHOTOGRAPHS, Part

_AT_ONCE = 20  # rows in memory: each has a thumbnail

_FILE = PHOTOGRAPHS.c.row["file"].as_string()  # a photograph's name, once in each inspection


def find(connection: Connection, inspection_id: str) -> Values | None:
    return first(connection, select(INSPECTIONS).where(INSPECTIONS.c.id == inspection_id))


def newest(connection: Connection, limit: int, offset: int) -> list[Values]:
    """The most recently changed first."""
    in_order = select(INSPECTIONS).order_by(INSPECTIONS.c.changed_at.desc(), INSPECTIONS.c.id)
    return every(connection, in_order.limit(limit).offset(offset))


def n_inspections(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(INSPECTIONS)) or 0)


def add(connection: Connection, inspection: Values) -> None:
    connection.execute(insert(INSPECTIONS).values(inspection))


def change(connection: Connection, inspection_id: str, values: Values) -> None:
    connection.execute(update(INSPECTIONS).where(INSPECTIONS.c.id == inspection_id).values(values))


def remove(connection: Connection, inspection_id: str) -> set[str]:
    """Delete an inspection and its photographs; returns the files that they referred to."""
    files = _remove(connection, PHOTOGRAPHS.c.inspection_id == inspection_id)
    connection.execute(delete(INSPECTIONS).where(INSPECTIONS.c.id == inspection_id))
    return files


# --- their photographs


def _photographs(inspection_id: str) -> Select[Any]:
    """In the order in which they were added."""
    chosen = select(PHOTOGRAPHS).where(PHOTOGRAPHS.c.inspection_id == inspection_id)
    return chosen.order_by(PHOTOGRAPHS.c.added_at, PHOTOGRAPHS.c.id)


def counts(connection: Connection, inspection_id: str) -> dict[str, int]:
    """The number of photographs by their state."""
    chosen = select(PHOTOGRAPHS.c.state, func.count()).where(PHOTOGRAPHS.c.inspection_id == inspection_id)
    return {str(state): int(n) for state, n in connection.execute(chosen.group_by(PHOTOGRAPHS.c.state))}


def photograph(connection: Connection, inspection_id: str, photograph_id: str) -> Values | None:
    return first(connection, _photographs(inspection_id).where(PHOTOGRAPHS.c.id == photograph_id))


def named(connection: Connection, inspection_id: str, file: str) -> Values | None:
    return first(connection, _photographs(inspection_id).where(file == _FILE))


def photographs(connection: Connection, inspection_id: str, states: Collection[str], limit: int, offset: int) -> list[Values]:
    """In any state, if none is given."""
    chosen = _photographs(inspection_id)
    if states:
        chosen = chosen.where(PHOTOGRAPHS.c.state.in_(states))
    return every(connection, chosen.limit(limit).offset(offset))


def every_photograph(connection: Connection, inspection_id: str) -> Iterator[Values]:
    """All photographs; only a few are in memory at a time."""
    rows = connection.execute(_photographs(inspection_id).execution_options(yield_per=_AT_ONCE)).mappings()
    return (dict(row) for row in rows)


def names(connection: Connection, inspection_id: str) -> set[str]:
    return set(connection.scalars(select(_FILE).where(PHOTOGRAPHS.c.inspection_id == inspection_id)))


def qualities(connection: Connection, inspection_id: str) -> list[str]:
    of_inspection = PHOTOGRAPHS.c.inspection_id == inspection_id
    return sorted(connection.scalars(select(PHOTOGRAPHS.c.quality).where(of_inspection).distinct()))


def put(connection: Connection, values: Values, *, is_new: bool) -> None:
    """Write a photograph, with all columns."""
    if is_new:
        connection.execute(insert(PHOTOGRAPHS).values(values))
        return
    is_it = (PHOTOGRAPHS.c.inspection_id == values["inspection_id"]) & (PHOTOGRAPHS.c.id == values["id"])
    connection.execute(update(PHOTOGRAPHS).where(is_it).values(values))


def forget_taken(connection: Connection, inspection_id: str, taken: str) -> None:
    """Replace each photograph's time and position by `taken`."""
    connection.execute(update(PHOTOGRAPHS).where(PHOTOGRAPHS.c.inspection_id == inspection_id).values(taken=taken))


def remove_photograph(connection: Connection, inspection_id: str, photograph_id: str) -> set[str]:
    """Delete a photograph; returns the files that it referred to."""
    return _remove(connection, (PHOTOGRAPHS.c.inspection_id == inspection_id) & (PHOTOGRAPHS.c.id == photograph_id))


def _remove(connection: Connection, chosen: Any) -> set[str]:
    rows = connection.execute(select(*FILES[Part.INSPECTIONS]).where(chosen))
    files = {file for row in rows for file in row if file}
    connection.execute(delete(PHOTOGRAPHS).where(chosen))
    return files


def n_index_bytes(connection: Connection) -> int:
    """The bytes that the tables take on the files' disk: 0 in PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return 0
    n_pages, page_bytes, n_free = (
        connection.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "page_size", "freelist_count")
    )
    return int((n_pages - n_free) * page_bytes)
