"""Keys that find near copies without comparing all photographs, and the size of the folder's files."""

import sqlalchemy as sa
from alembic import op

from crack.stores.near import keys

revision = "feedback_2"
down_revision = "feedback_1"
branch_labels = None


def upgrade() -> None:
    near_keys = op.create_table(
        "near_keys",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("near_keys_by_item", "near_keys", ["item_id"])
    for name, table, column in (
        ("items_by_image", "items", "image_file"),
        ("items_by_mask", "items", "mask_file"),
        ("events_by_mask", "events", "mask_file"),
    ):
        op.create_index(name, table, [column])
    op.create_table(
        "feedback_folder",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.Column("has_no_positions", sa.Boolean, nullable=False),
    )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA user_version").scalar_one() == 1:
        # In the former schema, user_version 1 meant that positions were removed from the photographs.
        connection.exec_driver_sql("INSERT INTO feedback_folder VALUES ('', 0, 1)")
    items = connection.exec_driver_sql("SELECT id, perceptual_hash FROM items").all()
    if items:
        rows = [{"key": key, "item_id": item_id} for item_id, perceptual_hash in items for key in keys(perceptual_hash)]
        op.bulk_insert(near_keys, rows)
