"""Inspections and their photographs: created, or taken over from a store that is older than the migrations."""

import sqlalchemy as sa
from alembic import op

from crack.stores.schema import UnknownFormError

revision = "inspections_1"
down_revision = None
branch_labels = ("inspections",)

_HEAD = ("name", "structure", "element", "date", "inspector", "made_by", "made_at", "changed_at")
_NEEDED = ("state", "taken", "image_file", "levels_file", "quality", "note", "added_by", "added_at", "changed_by", "changed_at")
_LATER = ("look_alikes", "zones")  # which the first stores lacked
_OTHERS = ("inspection_id", "id", "row", "mask_file", "model_threshold", "marker_size_mm", "revision")


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if there.has_table("photographs"):
        known = {column["name"] for column in there.get_columns("photographs")}
        lacking = {*_NEEDED, *_OTHERS} - known
        if lacking:
            raise UnknownFormError(f"its table photographs lacks {', '.join(sorted(lacking))}")
        for name in _LATER:
            if name not in known:
                op.add_column("photographs", sa.Column(name, sa.Text))
        return
    op.create_table(
        "inspections",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _HEAD),
        sa.Column("is_position_kept", sa.Boolean, nullable=False),
    )
    op.create_table(
        "photographs",
        sa.Column("inspection_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("row", sa.JSON, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in _NEEDED),
        *(sa.Column(name, sa.Text) for name in ("mask_file", *_LATER)),
        sa.Column("model_threshold", sa.Double, nullable=False),
        sa.Column("marker_size_mm", sa.Double),
        sa.Column("revision", sa.Integer, nullable=False),
    )
