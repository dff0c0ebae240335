"""Machines, what is installed on them and what changed, devices on networks, the plan's figures.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _text(name: str, length: int, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False, default=default)


def upgrade() -> None:
    op.create_table(
        "machines",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        _text("site", 63),
        _text("agent", 63),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("removed", sa.Float(), nullable=True),
        _text("name", 200),
        _text("manufacturer", 200),
        _text("model", 200),
        _text("serial", 200),
        _text("uuid", 40),
        _text("machine_id", 200),
        _text("chassis", 20),
        _text("system", 200),
        _text("version", 100),
        sa.Column("support_ends", sa.Float(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=True),
        sa.Column("least_free_ratio", sa.Float(), nullable=True),
        sa.Column("disks_failing", sa.Integer(), nullable=False),
        sa.Column("antivirus_on", sa.Boolean(), nullable=True),
        sa.Column("encrypted", sa.Boolean(), nullable=True),
        sa.Column("updates_pending", sa.Integer(), nullable=True),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("site", "agent", "last_seen", "serial", "uuid", "machine_id"):
        op.create_index(op.f(f"ix_machines_{column}"), "machines", [column], unique=False)
    op.create_table(
        "machine_macs",
        _text("mac", 20),
        sa.Column("machine", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mac", "machine"),
    )
    op.create_index("machine_macs_of", "machine_macs", ["machine"], unique=False)
    op.create_table(
        "machine_documents",
        sa.Column("machine", sa.Integer(), nullable=False),
        _text("kind", 20),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "kind"),
    )
    op.create_table(
        "machine_changes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("machine", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        _text("what", 50),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_machine_changes_at"), "machine_changes", ["at"], unique=False)
    op.create_index("machine_changes_of", "machine_changes", ["machine", "at"], unique=False)
    op.create_table(
        "software",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        _text("name", 300),
        _text("version", 200),
        _text("publisher", 200),
        _text("source", 20),
        _text("folded", 300),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_software_name"), "software", ["name"], unique=False)
    op.create_index("software_known", "software", ["name", "version", "publisher", "source"], unique=True)
    op.create_table(
        "installed",
        sa.Column("machine", sa.Integer(), nullable=False),
        sa.Column("software", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("machine", "software"),
        sqlite_with_rowid=False,
    )
    op.create_index("installed_where", "installed", ["software"], unique=False)
    op.create_table(
        "network_devices",
        _text("site", 63),
        _text("mac", 20),
        _text("address", 45),
        _text("manufacturer", 200),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("site", "mac"),
    )
    op.create_table(
        "plan_figures",
        _text("day", 10),
        _text("level", 20),
        _text("site", 63),
        _text("figure", 30),
        sa.Column("ratio", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("day", "level", "site", "figure"),
    )
