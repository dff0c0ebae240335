"""Measured time of sites and circuits; why a downtime ended of which nothing was seen any more.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "measured",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("element", sa.String(length=63), nullable=False),
        sa.Column("says", sa.String(length=10), nullable=False),
        sa.Column("begins", sa.Float(), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "element", "says", "begins"),
    )
    op.create_index(op.f("ix_measured_ends"), "measured", ["ends"], unique=False)
    op.add_column("downtimes", sa.Column("reason", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("downtimes", "reason")
    op.drop_table("measured")
