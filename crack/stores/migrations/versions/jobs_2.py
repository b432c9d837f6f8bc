"""The labels that the newest finished retraining had."""

import sqlalchemy as sa
from alembic import op

revision = "jobs_2"
down_revision = "jobs_1"
branch_labels = None


def upgrade() -> None:
    op.create_table(
        "judged_labels",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("mask_file", sa.Text, nullable=False),
    )
