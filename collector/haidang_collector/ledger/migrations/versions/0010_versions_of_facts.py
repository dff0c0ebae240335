"""Versions of a fact are found by their time.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_index("fact_history_of", "fact_history")
    op.create_index("fact_history_of", "fact_history", ["agent", "kind", "key", "since"], unique=False)


def downgrade() -> None:
    op.drop_index("fact_history_of", "fact_history")
    op.create_index("fact_history_of", "fact_history", ["agent", "kind", "key"], unique=False)
