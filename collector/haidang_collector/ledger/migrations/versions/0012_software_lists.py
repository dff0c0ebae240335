"""Long lists of software that wait to be put into rows.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "software_lists",
        sa.Column("machine", sa.Integer(), primary_key=True),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("software_lists")
