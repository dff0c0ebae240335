"""Facts: the current document of each (agent, kind, key), and the history of its changes, within an agent's quota."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from haidang_collector.ledger.tables import fact_history, facts
from haidang_collector.quotas.holdings import ROW_BYTES, Holding

# Rows asked for at once: three parameters each, of which SQLite took 999 for long.
_AT_ONCE = 300

Told = tuple[str, str, str]  # kind, key, body as JSON


def keep(
    connection: sa.Connection, agent: str, site: str, taken: float, told: Iterable[Told], holding: Holding
) -> Counter[str]:
    """Keep what a report tells. The newest body is the current one; a body that differs goes to the history with its
    life. How many are left out, by the quota that is reached."""
    bodies = {(kind, key): text for kind, key, text in told}
    present = _present(connection, agent, list(bodies))
    new, changed, replaced, same = [], [], [], []
    left_out: Counter[str] = Counter()
    for (kind, key), text in bodies.items():
        known = present.get((kind, key))
        row = {"agent": agent, "kind": kind, "key": key, "site": site, "body": text, "since": taken, "seen": taken}
        if known is not None and taken >= known.seen and text == known.body:
            same.append({"of": agent, "a": kind, "named": key, "at": taken})
        elif known is not None and taken < known.seen:
            if reached := _keep_older(connection, row, known, holding):
                left_out[reached] += 1
        elif reached := holding.lacks(len(text), len(known.body) if known is not None else None):
            left_out[reached] += 1
        elif known is None:
            holding.add_fact(len(text))
            new.append(row)
        else:
            holding.change_fact(len(text), len(known.body))
            replaced.append({**_identity(row), "body": known.body, "since": known.since, "until": taken})
            changed.append({"of": agent, "a": kind, "named": key, "at": taken, "text": text})
    for statement, rows in (
        (sa.insert(facts), new), (sa.insert(fact_history), replaced), (_CHANGE, changed), (_SEE, same),
    ):  # fmt: skip
        if rows:
            connection.execute(statement, rows)
    if replaced:
        connection.execute(_FORGET, [_which(row, holding) for row in replaced])
    return left_out


def _present(connection: sa.Connection, agent: str, keys: list[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for at in range(0, len(keys), _AT_ONCE):
        some = sa.tuple_(facts.c.kind, facts.c.key).in_(keys[at : at + _AT_ONCE])
        for row in connection.execute(sa.select(*_CURRENT).where(facts.c.agent == agent, some)):
            found[row.kind, row.key] = row
    return found


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("agent", "kind", "key", "site")}


def _which(row: dict[str, Any], holding: Holding) -> dict[str, Any]:
    return {"of": row["agent"], "a": row["kind"], "named": row["key"], "most": holding.quotas.fact_versions}


def _keep_older(connection: sa.Connection, row: dict[str, Any], present: Any, holding: Holding) -> str:
    """After an outage the newest comes first: an older body either lengthens the life of the version that follows it,
    or is a version of its own. The quota by which it is left out, empty when it is not."""
    history, taken, text = fact_history.c, row["since"], row["body"]
    which = _which(row, holding)
    following = connection.execute(_FOLLOWING, {**which, "at": taken}).first()
    if following is not None and following.body == text:
        connection.execute(sa.update(fact_history).where(history.id == following.id).values(since=taken))
        return ""
    if following is None and present.body == text:
        current = [facts.c[name] == row[name] for name in ("agent", "kind", "key")]
        connection.execute(sa.update(facts).where(*current).values(since=min(taken, present.since)))
        return ""
    if not holding.may_keep():
        return "kept_bytes"
    oldest = connection.execute(_OLDEST, {**which, "most": which["most"] - 1}).scalar()
    if oldest is not None and oldest >= taken:
        return "fact_versions"
    holding.keep(len(text) + ROW_BYTES)
    until = following.since if following is not None else max(taken, present.since)
    connection.execute(sa.insert(fact_history).values(**_identity(row), body=text, since=taken, until=until))
    connection.execute(_FORGET, which)
    return ""


_CURRENT = (facts.c.kind, facts.c.key, facts.c.body, facts.c.since, facts.c.seen)
_WHICH = (facts.c.agent == sa.bindparam("of"), facts.c.kind == sa.bindparam("a"), facts.c.key == sa.bindparam("named"))
_SEE = sa.update(facts).where(*_WHICH).values(seen=sa.bindparam("at"))
_CHANGE = _SEE.values(body=sa.bindparam("text"), since=sa.bindparam("at"))
_VERSIONS = (
    fact_history.c.agent == sa.bindparam("of"),
    fact_history.c.kind == sa.bindparam("a"),
    fact_history.c.key == sa.bindparam("named"),
)
_NEWEST_FIRST = sa.select(fact_history.c.id).where(*_VERSIONS).order_by(fact_history.c.since.desc())
_FOLLOWING = (
    sa.select(fact_history.c.id, fact_history.c.body, fact_history.c.since)
    .where(*_VERSIONS, fact_history.c.since > sa.bindparam("at"))
    .order_by(fact_history.c.since)
    .limit(1)
)
_OLDEST = _NEWEST_FIRST.with_only_columns(fact_history.c.since).limit(1).offset(sa.bindparam("most"))
# A few at a time: where there were more when they were not counted yet, each change makes them fewer.
_SURPLUS = _NEWEST_FIRST.limit(10).offset(sa.bindparam("most"))
_FORGET = sa.delete(fact_history).where(fact_history.c.id.in_(_SURPLUS))
