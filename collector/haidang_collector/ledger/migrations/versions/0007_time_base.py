"""What time the current reports are dated by.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "time_base",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("boot", sa.String(length=40), nullable=False),
        sa.Column("anchor", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("time_base")
