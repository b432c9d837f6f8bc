"""The rows that a query returns, by the names of their columns."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select

Values = Mapping[str, Any]


def first(connection: Connection, asked: Select[Any]) -> Values | None:
    row = connection.execute(asked).mappings().first()
    return None if row is None else dict(row)


def every(connection: Connection, asked: Select[Any]) -> list[Values]:
    return [dict(row) for row in connection.execute(asked).mappings()]
