"""The order in which current reports became durable.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("latest", sa.Column("position", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("latest", "position")
