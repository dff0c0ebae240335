"""Client certificates.

Revision ID: 0005
Revises: 0004
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# What certificates without a row may count for at most from now on, in days: as long as new ones.
_LONGEST_DAYS = {"agent": 825, "scraper": 1095, "operator": 365}


def upgrade() -> None:
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("authority", sa.String(length=64), nullable=False),
        sa.Column("issued", sa.Float(), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.Column("used", sa.Float(), nullable=True),
        sa.Column("revoked", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(op.f("ix_certificates_change"), "certificates", ["change"], unique=False)
    op.create_index("certificates_of", "certificates", ["kind", "name"], unique=False)
    op.create_table(
        "revocations",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    unlisted = op.create_table(
        "unlisted",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("issued_from", sa.Float(), nullable=False),
        sa.Column("issued_until", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    # A collector that is in use has issued certificates before: they count on, and get their row when they are seen.
    # A new one has issued none, and nothing without a row will ever count there.
    connection = op.get_bind()
    used = (sa.table(name) for name in ("registry", "tokens", "agents"))
    if any(connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in used):
        now = time.time()
        windows = [
            {"kind": kind, "issued_from": 0.0, "issued_until": now, "until": now + days * 86400}
            for kind, days in _LONGEST_DAYS.items()
        ]
        op.bulk_insert(unlisted, windows)


def downgrade() -> None:
    for table in ("unlisted", "revocations", "certificates"):
        op.drop_table(table)
