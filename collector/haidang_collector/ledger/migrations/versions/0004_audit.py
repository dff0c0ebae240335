"""The audit: append-only.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("origin", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sqlite_autoincrement=True,  # a number is never given twice: a gap shows
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("audit_of_action", "audit", ["action", "at"], unique=False)
    op.execute(f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {_REFUSE}")
    # INSERT OR REPLACE removes a row without asking the trigger of deletions.
    exists = "EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)"
    op.execute(f"CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN {exists} {_REFUSE}")
    # Nothing of the last year goes; what is older only after a row (which stays) says up to which day.
    said = "SELECT max(CAST(strftime('%s', object) AS REAL)) FROM audit WHERE action = 'audit.remove'"
    young = "OLD.at > CAST(strftime('%s', 'now') AS REAL) - 31536000"
    kept = f"{young} OR OLD.at >= coalesce(({said}), 0)"
    op.execute(f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit WHEN {kept} {_REFUSE}")


def downgrade() -> None:
    op.drop_table("audit")
