"""The tables' schema and its versions: a store with an earlier schema is migrated when it is opened.

Alembic does it, with the files in `migrations/versions`, in one transaction: if it is killed, the store stays as it was.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, Engine, inspect, text

from crack.stores.tables import Part

logger = logging.getLogger("crack.stores")

HEADS = {  # the newest migration of each part
    Part.FEEDBACK: "feedback_3",
    Part.INSPECTIONS: "inspections_2",
    Part.JOBS: "jobs_2",
    Part.REQUESTS: "requests_1",
}
VERSIONS = "alembic_version"


def bring_up_to_date(engine: Engine, part: Part, where: str, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
    """Create or migrate the part's tables. Raises ValueError, with a message for people, if that is impossible."""
    with engine.connect() as connection:
        if HEADS[part] in _versions(connection):
            return
    logging.getLogger("alembic").setLevel(logging.WARNING)  # otherwise it logs each of its plugins and steps
    # Imported where it is needed, which is once per store: it takes a third of a second.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    with writing() as connection:
        before = _versions(connection)
        config = Config()
        config.set_main_option("script_location", "crack.stores:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, f"{part}@head")
        except CommandError as error:
            raise ValueError(
                f"{where} was written by a later version of this program ({', '.join(sorted(before))}; this one knows up to "
                f"{HEADS[part]}). Install that version, or restore an earlier backup."
            ) from error
        except UnknownFormError as error:
            raise ValueError(
                f"{where} is not a store of this program: {error}. Move it away, or name another folder or database."
            ) from error
    if before:
        logger.info("migrated %s from %s to %s", where, ", ".join(sorted(before)), HEADS[part])


class UnknownFormError(Exception):
    """A migration found tables with our names that none of our versions has made."""


def _versions(connection: Connection) -> set[str]:
    if not inspect(connection).has_table(VERSIONS):
        return set()
    return set(connection.scalars(text(f"SELECT version_num FROM {VERSIONS}")))  # noqa: S608
