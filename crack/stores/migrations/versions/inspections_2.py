"""The size of the folder's files, and indexes of the files that photographs refer to."""

import sqlalchemy as sa
from alembic import op

revision = "inspections_2"
down_revision = "inspections_1"
branch_labels = None


def upgrade() -> None:
    op.create_table(
        "inspections_folder",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.Column("has_no_positions", sa.Boolean, nullable=False),
    )
    for kind in ("image", "levels", "mask"):
        op.create_index(f"photographs_by_{kind}", "photographs", [f"{kind}_file"])
