"""Items and events: created, or taken over from a store that is older than the migrations."""

import sqlalchemy as sa
from alembic import op

from crack.stores.schema import UnknownFormError

revision = "feedback_1"
down_revision = None
branch_labels = ("feedback",)

_NEEDED = ("state", "reason", "image_file", "perceptual_hash", "near_group", "created_at", "updated_at")
_OTHERS = ("id", "height", "width", "uncertainty")
_OR_NONE = ("verdict", "mask_file", "request_id", "model_version", "note")
_LATER = ("proposed_mask_file", "name", "look_alikes")  # which the first stores lacked
_OF_EVENTS = ("item_id", "at", "who", "action", "state", "reason")


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if there.has_table("items"):
        _take_over(there)
    else:
        op.create_table(
            "items",
            sa.Column("id", sa.Text, primary_key=True),
            *(sa.Column(name, sa.Text, nullable=False) for name in _NEEDED),
            *(sa.Column(name, sa.Text) for name in (*_OR_NONE, *_LATER)),
            sa.Column("height", sa.Integer, nullable=False),
            sa.Column("width", sa.Integer, nullable=False),
            sa.Column("uncertainty", sa.Double),
        )
        op.create_index("items_by_state", "items", ["state", "created_at"])
        _create_events()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _OF_EVENTS),
        *(sa.Column(name, sa.Text) for name in _OR_NONE),
    )
    op.create_index("events_by_item", "events", ["item_id"])


def _take_over(there: sa.Inspector) -> None:
    """The events get numbers: their order was SQLite's own numbering of rows, which other databases don't have."""
    known = {column["name"] for column in there.get_columns("items")}
    lacking = {*_NEEDED, *_OTHERS, *_OR_NONE} - known
    if not there.has_table("events"):
        lacking.add("the table events")
    if lacking:
        raise UnknownFormError(f"its table items lacks {', '.join(sorted(lacking))}")
    for name in _LATER:
        if name not in known:
            op.add_column("items", sa.Column(name, sa.Text))
    op.rename_table("events", "former_events")
    op.execute("DROP INDEX IF EXISTS events_by_item")
    _create_events()
    names = ", ".join((*_OF_EVENTS, *_OR_NONE))
    op.execute(f"INSERT INTO events ({names}) SELECT {names} FROM former_events ORDER BY rowid")  # noqa: S608
    op.drop_table("former_events")
