"""An item's mask that is not checked yet: it may be the model's own."""

import sqlalchemy as sa
from alembic import op

revision = "feedback_3"
down_revision = "feedback_2"
branch_labels = None


def upgrade() -> None:
    op.add_column("items", sa.Column("unchecked_mask_file", sa.Text))
    op.create_index("items_by_unchecked_mask", "items", ["unchecked_mask_file"])
