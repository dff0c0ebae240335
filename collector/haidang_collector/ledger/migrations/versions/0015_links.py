"""Links by the registry, LLDP, CDP and ARP; devices' neighbours as they were told last are among them.

Revision ID: 0015
Revises: 0014
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_TOLD = ("interface", "system", "chassis", "port", "port_description")
_MOST_A_DEVICE, _MOST_TEXT = 1000, 255


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False)


def upgrade() -> None:
    links = op.create_table(
        "links",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        _text("agent", 63),
        _text("source", 10),
        _text("site", 63),
        _text("device", 200),
        *(_text(name, 255) for name in _TOLD),
        _text("address", 45),
        _text("far_site", 63),
        _text("far_device", 63),
        _text("circuit", 63),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("links_of", "links", ["agent", "device"], unique=False)
    op.create_index("links_at", "links", ["site", "device"], unique=False)
    told = sa.text("SELECT agent, key, site, body, since, seen FROM facts WHERE kind = 'neighbours' ORDER BY seen")
    for fact in op.get_bind().execute(told).all():
        if rows := list(_links(fact)):
            op.bulk_insert(links, rows)


def _links(fact: Any) -> Iterator[dict[str, Any]]:
    """Agents say it again only after hours, or when it changes."""
    try:
        told = json.loads(fact.body)["neighbours"][:_MOST_A_DEVICE]
    except (RecursionError, ValueError, TypeError, KeyError):
        return
    known = set()
    for each in (each for each in told if isinstance(each, dict)):
        texts = {name: _of(each, name) for name in _TOLD}
        protocol = _of(each, "protocol").lower()
        source = protocol[:4] if protocol.startswith("lldp") else "cdp" if protocol.startswith("cdp") else "other"
        identity = (source, *(texts[name] for name in _TOLD[:-1]))
        if identity not in known:
            known.add(identity)
            yield {
                "agent": fact.agent, "source": source, "site": fact.site, "device": fact.key, **texts, "address": "",
                "far_site": "", "far_device": "", "circuit": "", "first_seen": fact.since, "last_seen": fact.seen,
            }  # fmt: skip


def _of(each: dict[str, Any], name: str) -> str:
    value = each.get(name)
    return value[:_MOST_TEXT] if isinstance(value, str) else ""


def downgrade() -> None:
    op.drop_table("links")
