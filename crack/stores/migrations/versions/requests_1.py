"""The requests of the last minute, in PostgreSQL."""

import sqlalchemy as sa
from alembic import op

revision = "requests_1"
down_revision = None
branch_labels = ("requests",)


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_index("requests_by_key", "requests", ["key", "at"])
