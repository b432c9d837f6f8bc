"""The tables of all stores. A change here needs a migration (`migrations`) and its name in `schema.HEADS`. Left to others: the
queries (the modules beside this one).
"""

from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Boolean, Column, Dialect, Double, Index, Integer, MetaData, Table, TypeDecorator
from sqlalchemy import Text as AnyText

METADATA = MetaData()


class Text(TypeDecorator[str]):
    """PostgreSQL has no NUL in texts: a name that has one is kept, and looked for, with another character in its place."""

    impl = AnyText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or dialect.name == "sqlite" else value.replace("\0", "\ufffd")


class Part(StrEnum):
    """Which tables belong together: in SQLite each part is its own file; one PostgreSQL may hold all."""

    FEEDBACK = "feedback"
    INSPECTIONS = "inspections"
    JOBS = "jobs"
    REQUESTS = "requests"  # in PostgreSQL alone: one sidecar counts in its memory


SQLITE_FILES = {Part.FEEDBACK: "index.sqlite3", Part.INSPECTIONS: "index.sqlite3", Part.JOBS: "retrain.sqlite3"}


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _texts_or_none(*names: str) -> list[Column[str]]:
    return [Column(name, Text) for name in names]


ITEMS = Table(
    "items",
    METADATA,
    Column("id", Text, primary_key=True),  # the SHA-256 of what was uploaded
    *_texts("state", "reason", "image_file", "perceptual_hash", "near_group", "created_at", "updated_at"),
    *_texts_or_none("verdict", "mask_file", "proposed_mask_file", "unchecked_mask_file"),
    *_texts_or_none("request_id", "model_version", "note", "name", "look_alikes"),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("uncertainty", Double),
    Index("items_by_state", "state", "created_at"),
    Index("items_by_image", "image_file"),
    Index("items_by_mask", "mask_file"),
    Index("items_by_unchecked_mask", "unchecked_mask_file"),
)
EVENTS = Table(
    "events",
    METADATA,
    Column("id", Integer, primary_key=True),  # in the order in which they happened
    *_texts("item_id", "at", "who", "action", "state", "reason"),
    *_texts_or_none("verdict", "mask_file", "request_id", "model_version", "note"),
    Index("events_by_item", "item_id"),
    Index("events_by_mask", "mask_file"),
)
NEAR_KEYS = Table(  # the keys that find an item's near copies (`near`)
    "near_keys",
    METADATA,
    Column("key", Integer, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Index("near_keys_by_item", "item_id"),
    sqlite_with_rowid=False,
)
INSPECTIONS = Table(
    "inspections",
    METADATA,
    Column("id", Text, primary_key=True),
    *_texts("name", "structure", "element", "date", "inspector", "made_by", "made_at", "changed_at"),
    Column("is_position_kept", Boolean, nullable=False),
)
PHOTOGRAPHS = Table(
    "photographs",
    METADATA,
    Column("inspection_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("row", JSON, nullable=False),
    *_texts("state", "taken", "image_file", "levels_file", "quality", "note"),
    *_texts("added_by", "added_at", "changed_by", "changed_at"),
    *_texts_or_none("mask_file", "look_alikes", "zones"),
    Column("model_threshold", Double, nullable=False),
    Column("marker_size_mm", Double),
    Column("revision", Integer, nullable=False),
    Index("photographs_by_image", "image_file"),
    Index("photographs_by_levels", "levels_file"),
    Index("photographs_by_mask", "mask_file"),
)
JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Integer, primary_key=True),
    *_texts("state", "message", "asked_by", "asked_at", "updated_at"),
    Column("progress", Double, nullable=False),
    Column("n_labels", Integer),
)
JUDGED_LABELS = Table(  # that the newest finished retraining had
    "judged_labels",
    METADATA,
    Column("item_id", Text, primary_key=True),
    Column("mask_file", Text, nullable=False),
)
REQUESTS = Table(  # the answered requests of the last minute; after a crash counting starts again
    "requests",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False),  # whose, and of which kind
    Column("at", Double, nullable=False),  # seconds since 1970, by the database's clock
    Index("requests_by_key", "key", "at"),
    prefixes=["UNLOGGED"],
)


def _folder(part: Part) -> Table:
    """One row about the folder of the part's files: its id, the files' size, and whether positions were removed."""
    return Table(
        f"{part}_folder",
        METADATA,
        Column("id", Text, primary_key=True),
        Column("n_bytes", BigInteger, nullable=False),
        Column("has_no_positions", Boolean, nullable=False),
    )


FOLDERS = {part: _folder(part) for part in (Part.FEEDBACK, Part.INSPECTIONS)}
FILES = {  # the columns that refer to a part's files
    Part.FEEDBACK: (ITEMS.c.image_file, ITEMS.c.mask_file, EVENTS.c.mask_file),
    Part.INSPECTIONS: (PHOTOGRAPHS.c.image_file, PHOTOGRAPHS.c.levels_file, PHOTOGRAPHS.c.mask_file),
}
