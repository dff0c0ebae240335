"""Measured time in the ledger: spans in which something told of a site or circuit. Every function runs in a
transaction of its caller's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from haidang_collector.ledger.statements import Upsert, greater
from haidang_collector.ledger.tables import measured
from haidang_collector.outage.model import Says, Seen

# Of each thing late reports say of a site or circuit in a day the longest spans are kept. What the data center's probe
# says and what probes at the ends say are two things: each has its own room.
_MOST_A_DAY = 200
_DAY = 86400.0
_LENGTHEN = Upsert(
    measured, ("kind", "element", "says", "begins"), lambda new: {"ends": greater(new.ends, measured.c.ends)}
)


class Late(NamedTuple):
    """Time that late reports prove, and how far from it another is still the same."""

    begins: float
    ends: float
    slack: float


def lengthen(connection: sa.Connection, seen: Sequence[Seen]) -> None:
    """Write spans, or over those that began with them how far they go now."""
    connection.execute(_LENGTHEN.on(connection), [_values(each) for each in seen])


def fill(connection: sa.Connection, late: Mapping[tuple[str, str, Says], Sequence[Late]]) -> int:
    """Add what late reports prove, joined with what they proved before; how many spans there was no room for."""
    return sum(_fill(connection, *of, spans) for of, spans in late.items())


def _fill(connection: sa.Connection, kind: str, element: str, says: Says, spans: Sequence[Late]) -> int:
    slack = max(span.slack for span in spans)
    which = [measured.c.kind == kind, measured.c.element == element, measured.c.says == str(says)]
    near = [
        measured.c.begins <= max(span.ends for span in spans) + slack,
        measured.c.ends >= min(span.begins for span in spans) - slack,
    ]
    columns = (measured.c.begins, measured.c.ends)
    present = [Late(row.begins, row.ends, 0.0) for row in connection.execute(sa.select(*columns).where(*which, *near))]
    whole = _joined([*spans, *present])
    gone = {span.begins for span in present} - {begins for begins, _ in whole}
    if gone:
        connection.execute(
            sa.delete(measured).where(*which, measured.c.begins == sa.bindparam("gone")),
            [{"gone": begins} for begins in gone],
        )
    known = {span.begins for span in present}
    longer = [Seen(kind, element, says, begins, ends) for begins, ends in whole if begins in known]
    new = [Seen(kind, element, says, begins, ends) for begins, ends in whole if begins not in known]
    if longer or new:
        lengthen(connection, [*longer, *new])
    added = {each.begins for each in new}
    return sum(_make_room(connection, which, day, added) for day in {begins // _DAY * _DAY for begins in added})


def _make_room(
    connection: sa.Connection, which: list[sa.ColumnElement[bool]], day: float, added: Collection[float]
) -> int:
    """Remove the shortest spans of a day that has too many, of equal ones those that were added now; how many.
    Whoever says much in instants takes no room from who saw an hour."""
    within = (measured.c.begins >= day, measured.c.begins < day + _DAY)
    columns = (measured.c.begins, measured.c.ends)
    rows = connection.execute(sa.select(*columns).where(*which, *within))
    shortest = sorted(rows, key=lambda row: (row.ends - row.begins, row.begins not in added))
    gone = shortest[: max(0, len(shortest) - _MOST_A_DAY)]
    if gone:
        connection.execute(
            sa.delete(measured).where(*which, measured.c.begins == sa.bindparam("gone")),
            [{"gone": row.begins} for row in gone],
        )
    return len(gone)


def _joined(spans: Iterable[Late]) -> list[tuple[float, float]]:
    """The spans in order; those nearer to each other than their slack are one."""
    found: list[Late] = []
    for span in sorted(spans):
        last = found[-1] if found else None
        if last is not None and span.begins <= last.ends + max(span.slack, last.slack):
            found[-1] = Late(last.begins, max(last.ends, span.ends), max(last.slack, span.slack))
        else:
            found.append(span)
    return [(span.begins, span.ends) for span in found]


def between(connection: sa.Connection, begins: float, ends: float) -> list[Seen]:
    """Spans of any time between."""
    rows = connection.execute(sa.select(measured).where(measured.c.begins < ends, measured.c.ends > begins))
    return [Seen(row.kind, row.element, Says(row.says), row.begins, row.ends) for row in rows]


def _values(seen: Seen) -> dict[str, object]:
    return {
        "kind": seen.kind, "element": seen.element, "says": str(seen.says), "begins": seen.begins, "ends": seen.ends
    }  # fmt: skip
