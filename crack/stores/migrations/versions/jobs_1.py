"""Retrainings: created, or taken over from a store that is older than the migrations."""

import sqlalchemy as sa
from alembic import op

from crack.stores.schema import UnknownFormError

revision = "jobs_1"
down_revision = None
branch_labels = ("jobs",)

_TEXTS = ("state", "message", "asked_by", "asked_at", "updated_at")


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if there.has_table("jobs"):
        known = {column["name"] for column in there.get_columns("jobs")}
        lacking = {*_TEXTS, "id", "progress"} - known
        if lacking:
            raise UnknownFormError(f"its table jobs lacks {', '.join(sorted(lacking))}")
        if "n_labels" not in known:  # the first stores lacked it
            op.add_column("jobs", sa.Column("n_labels", sa.Integer))
        return
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _TEXTS),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("n_labels", sa.Integer),
    )
