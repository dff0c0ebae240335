"""How many enrolled on a day; machines that are claimed by two sites.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "enrolments",
        sa.Column("site", sa.String(length=63), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("site", "day"),
    )
    op.add_column("machines", sa.Column("claims", sa.Integer(), nullable=True))
    op.add_column("machines", sa.Column("dispute", sa.String(length=10), nullable=False, server_default=""))
    op.create_index(op.f("ix_machines_claims"), "machines", ["claims"], unique=False)
