"""What the tables know about a folder of files: which files are referred to by rows, how much space they take, and which store
owns the folder.
"""

import uuid
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Connection, insert, select, union, update

from crack.files import write_whole
from crack.stores.database import POSTGRESQL_FILE
from crack.stores.tables import FILES, FOLDERS, SQLITE_FILES, Part

_MOST_ASKED = 500  # in one query


def known(connection: Connection, part: Part) -> set[str]:
    """All files that rows refer to."""
    found = union(*(select(column) for column in FILES[part]))
    return {file for file in connection.scalars(found) if file}


def known_among(connection: Connection, part: Part, files: Collection[str]) -> set[str]:
    """Those of `files` that rows refer to."""
    found, waiting = set[str](), sorted(files)
    for start in range(0, len(waiting), _MOST_ASKED):
        asked = waiting[start : start + _MOST_ASKED]
        found |= set(connection.scalars(union(*(select(column).where(column.in_(asked)) for column in FILES[part]))))
    return found


def n_bytes(connection: Connection, part: Part) -> int:
    """The size of the part's files."""
    return int(connection.scalar(select(FOLDERS[part].c.n_bytes)) or 0)


def add_bytes(connection: Connection, part: Part, n_more: int) -> None:
    connection.execute(update(FOLDERS[part]).values(n_bytes=FOLDERS[part].c.n_bytes + n_more))


def set_bytes(connection: Connection, part: Part, n_counted: int) -> None:
    connection.execute(update(FOLDERS[part]).values(n_bytes=n_counted))


def has_no_positions(connection: Connection, part: Part) -> bool:
    """Whether positions were removed from the photographs."""
    return bool(connection.scalar(select(FOLDERS[part].c.has_no_positions)))


def set_no_positions(connection: Connection, part: Part, is_so: bool) -> None:
    connection.execute(update(FOLDERS[part]).values(has_no_positions=is_so))


def claim(connection: Connection, part: Part, folder: Path, sub_folders: Collection[str], is_shared: bool) -> None:
    """Remember the folder. Folder and tables must belong together: otherwise files that other tables refer to, or files of
    another program, would be removed.

    Raises:
        ValueError: they don't belong together; the message is for people.
    """
    table = FOLDERS[part]
    known_id = connection.scalar(select(table.c.id))
    holds_files = any(path.is_file() for name in sub_folders for path in (folder / name).iterdir())
    if not is_shared:
        if known_id is None:
            if holds_files and not known(connection, part):
                raise ValueError(
                    f"{folder} holds files in {', '.join(sub_folders)}, and no store of {part} knows them. If they are such a "
                    f"store's, put its {SQLITE_FILES[part]} back from a backup. Otherwise set CRACK_{part.upper()}_DIR to an "
                    "empty folder."
                )
            connection.execute(insert(table).values(id="", n_bytes=0, has_no_positions=False))
        return
    marker = folder / POSTGRESQL_FILE
    folders_id = marker.read_text().strip() if marker.is_file() else None
    if known_id is not None and known_id == folders_id:
        return
    if (folder / SQLITE_FILES[part]).exists():
        raise ValueError(
            f"{folder} holds a store whose tables are in SQLite ({SQLITE_FILES[part]}). Run crack store move, unset "
            "CRACK_STORE_URL, or name an empty folder."
        )
    if known_id is not None:
        raise ValueError(
            f"The database in CRACK_STORE_URL has the tables of another folder than {folder}. Mount that folder there, or name "
            "another database."
        )
    if holds_files:
        raise ValueError(
            f"{folder} holds files that the database in CRACK_STORE_URL does not know. Name the database that they were "
            "kept with, or an empty folder."
        )
    new_id = folders_id or uuid.uuid4().hex  # left by a start that was killed between the next two lines
    write_whole(marker, f"{new_id}\n".encode())
    connection.execute(insert(table).values(id=new_id, n_bytes=0, has_no_positions=False))
