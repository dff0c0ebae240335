"""Agents that were changed are found by the number of the change.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("agents", sa.Column("change", sa.Integer(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_agents_change"), "agents", ["change"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_agents_change"), "agents")
    op.drop_column("agents", "change")
