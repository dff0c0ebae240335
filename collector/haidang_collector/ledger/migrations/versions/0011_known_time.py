"""Which time the ledger has lived to.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "known_time",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("newest", sa.Float(), nullable=False),
        sa.Column("held", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("known_time")
