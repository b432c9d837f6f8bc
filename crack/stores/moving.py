"""Move the rows of stores in SQLite into PostgreSQL: `crack store --help`. The folders with their files stay where they are.

All rows are copied in one transaction. The folder's id is written into SQLite before it and into the folder after it, so that a
move that was killed is finished by the next one.
"""

import argparse
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, update

from crack.files import write_whole
from crack.instance import of_instance
from crack.settings import read_store_url
from crack.stores.database import POSTGRESQL_FILE, Database
from crack.stores.tables import (
    EVENTS,
    FOLDERS,
    INSPECTIONS,
    ITEMS,
    JOBS,
    JUDGED_LABELS,
    NEAR_KEYS,
    PHOTOGRAPHS,
    SQLITE_FILES,
    Part,
)

_TABLES = {
    Part.FEEDBACK: (ITEMS, EVENTS, NEAR_KEYS, FOLDERS[Part.FEEDBACK]),
    Part.INSPECTIONS: (INSPECTIONS, PHOTOGRAPHS, FOLDERS[Part.INSPECTIONS]),
    Part.JOBS: (JOBS, JUDGED_LABELS),
}
_NUMBERED = (EVENTS, JOBS)  # PostgreSQL counts their rows by itself
_N_AT_ONCE = 1000


def move(store_folders: Mapping[Part, Path], url: str) -> dict[str, int]:
    """Copy the stores in these folders; returns the number of rows by table. The SQLite files stay, but are not read any more.

    Raises:
        BlockingIOError: a sidecar has a store open; `filename` is its folder.
        ValueError: there is nothing to move, or the database has rows already; the message is for people.
        OSError: as `Database` does; nothing was moved.
    """
    parts = {
        part: folder
        for part, folder in store_folders.items()
        if (folder / SQLITE_FILES[part]).is_file() and not (folder / POSTGRESQL_FILE).exists()
    }
    if not parts:
        looked_at = ", ".join(sorted({str(folder) for folder in store_folders.values()}))
        raise ValueError(f"{looked_at}: no store in SQLite was found, or it was moved before. Nothing was copied.")
    with ExitStack() as opened:
        former = {
            part: opened.enter_context(closing(Database(part, folder, is_owner=part is not Part.JOBS)))
            for part, folder in parts.items()
        }
        targets = [opened.enter_context(closing(Database(part, folder, url))) for part, folder in parts.items()]
        ids = {part: _folder_id(former[part]) for part in parts if part in FOLDERS}
        with targets[0].writing() as connection:
            tables = [table for part in parts for table in _TABLES[part]]
            if not _is_moved(connection, ids):
                _refuse_rows(connection, tables)
                for part in parts:
                    with former[part].reading() as source:
                        for table in _TABLES[part]:
                            _copy(source, connection, table)
            counts = {table.name: _n_rows(connection, table) for table in tables}
    for part, folder_id in ids.items():
        write_whole(parts[part] / POSTGRESQL_FILE, f"{folder_id}\n".encode())
    return counts


def _folder_id(database: Database) -> str:
    """The id by which the folder and its rows in PostgreSQL belong together; made if there is none."""
    table = FOLDERS[database.part]
    with database.writing() as connection:
        known = connection.scalar(select(table.c.id))
        if not known:
            known = uuid.uuid4().hex
            connection.execute(update(table).values(id=known))
    return str(known)


def _is_moved(connection: Connection, ids: Mapping[Part, str]) -> bool:
    """Whether a move that was killed had copied everything."""
    return bool(ids) and all(connection.scalar(select(FOLDERS[part].c.id)) == folder_id for part, folder_id in ids.items())


def _refuse_rows(connection: Connection, tables: Sequence[Table]) -> None:
    held = {table.name: _n_rows(connection, table) for table in tables}
    if any(held.values()):
        some = ", ".join(f"{n} in {name}" for name, n in held.items() if n)
        raise ValueError(f"The database in CRACK_STORE_URL has rows already ({some}). Nothing was copied. Name an empty one.")


def _copy(source: Connection, target: Connection, table: Table) -> None:
    for rows in source.execute(select(table)).mappings().partitions(_N_AT_ONCE):
        target.execute(insert(table), [dict(row) for row in rows])
    if table in _NUMBERED:
        sequence = func.pg_get_serial_sequence(table.name, "id")
        target.execute(select(func.setval(sequence, 1 + func.coalesce(func.max(table.c.id), 0), False)))


def _n_rows(connection: Connection, table: Table) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack store",
        description="Move the stores' rows from SQLite into an empty PostgreSQL database, which CRACK_STORE_URL names.\n"
        "Stop the sidecar and the retrain job first. Photographs and masks stay in their folders.",
        epilog="example:\n  crack store move\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["move"])
    parser.parse_args(arguments)
    try:
        environment = of_instance(os.environ)
        url, feedback_dir = read_store_url(environment), Path(environment["CRACK_FEEDBACK_DIR"])
        if not url:
            raise ValueError("CRACK_STORE_URL is not set: expected postgresql://USER:PASSWORD@HOST/DATABASE.")
        folders = {
            Part.FEEDBACK: feedback_dir,
            Part.JOBS: feedback_dir,
            Part.INSPECTIONS: Path(environment["CRACK_INSPECTIONS_DIR"]),
        }
        counts = move(folders, url)
    except BlockingIOError as error:
        parser.exit(2, f"error: a sidecar has {error.filename} open. Stop it first. Nothing was copied.\n")
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    for name, n in counts.items():
        print(f"{n:>8} rows of {name}")
    print("Moved. Start the sidecar and the retrain job with the same CRACK_STORE_URL.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
