"""Rows: as a query returns them, by the names of their columns, and the instants in them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select

Values = Mapping[str, Any]


def first(connection: Connection, asked: Select[Any]) -> Values | None:
    row = connection.execute(asked).mappings().first()
    return None if row is None else dict(row)


def every(connection: Connection, asked: Select[Any]) -> list[Values]:
    return [dict(row) for row in connection.execute(asked).mappings()]


def instant() -> str:
    """The present instant in UTC, in the one form that all stores hold, so that instants sort as texts."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
