"""What is installed on machines: rows that all machines share, so that one can ask who has what.

A short list is taken in with its report. A long one may bring thousands of names that nobody had: it waits as a
document, and a task of its own puts it into rows, some at a time. Deliveries wait for the ledger meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa

from haidang_collector.inventory import changes as differences
from haidang_collector.inventory.body import Body, list_of, pack, text_of
from haidang_collector.inventory.changes import Change
from haidang_collector.inventory.fold import fold
from haidang_collector.inventory.history import note
from haidang_collector.ledger.database import Ledger, LedgerError
from haidang_collector.ledger.statements import Plain
from haidang_collector.ledger.tables import installed, machine_documents, machines, software, software_lists
from haidang_collector.quotas.holdings import ROW_BYTES, Keeper

log = logging.getLogger(__name__)

Package = tuple[str, str, str, str]  # name, version, publisher, source

_MOST_PACKAGES = 20_000
# So many rows are written in a few milliseconds.
_STEP_ROWS = 200
_SHORT_LIST = 500
# What deliveries have of the ledger between two steps, and how long the task waits when it fails.
_PAUSE_SECONDS = 0.005
_RETRY_SECONDS = 10.0
_KNOW_SOFTWARE = Plain(
    "INSERT INTO software (name, version, publisher, source, folded) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_INSTALL = Plain(
    "INSERT INTO installed (machine, software) SELECT ?, id FROM software"
    " WHERE name = ? AND version = ? AND publisher = ? AND source = ? ON CONFLICT DO NOTHING"
)
_documents, _lists = machine_documents.c, software_lists.c


@dataclass
class Step:
    """What changes of some names: numbers of rows that are gone, packages that are new, and how people say it."""

    gone: list[int] = field(default_factory=list)
    new: list[Package] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def take(connection: sa.Connection, machine: int, taken: float, body: Body) -> int:
    """Keep a machine's list, unless a newer one is known; about how many bytes that added."""
    known = connection.execute(sa.select(_documents.seen).where(_of_machine(machine))).scalar()
    waiting = connection.execute(sa.select(_lists.seen).where(_lists.machine == machine)).scalar()
    if taken < max(known or 0.0, waiting or 0.0):
        return 0
    connection.execute(sa.delete(software_lists).where(_lists.machine == machine))
    if len(list_of(body, "packages")) > _SHORT_LIST:
        # For some seconds, while others wait: it is not compressed.
        text = msgspec.json.encode(body)
        connection.execute(sa.insert(software_lists).values(machine=machine, seen=taken, body=text))
        return len(text) + ROW_BYTES
    found = list(steps(_have(connection, machine), _wanted(body)))
    added = sum(_apply(connection, machine, taken, step, noted=known is not None) for step in found)
    _note_seen(connection, machine, taken, is_first=known is None, is_changed=bool(found))
    return added


def steps(have: dict[Package, int], wanted: set[Package]) -> Iterator[Step]:
    """From what a machine has (with the numbers of the rows) to what its list says; each name in one step."""
    before, after = _by_name(set(have)), _by_name(wanted)
    step = Step()
    was: set[tuple[str, str]] = set()
    now: set[tuple[str, str]] = set()
    for name in sorted(before.keys() | after.keys()):
        one, two = before.get(name, set()), after.get(name, set())
        if one == two:
            continue
        step.gone += [have[package] for package in one - two]
        step.new += two - one
        was |= {package[:2] for package in one}
        now |= {package[:2] for package in two}
        if len(step.gone) + len(step.new) >= _STEP_ROWS:
            step.changes = differences.software(was, now)
            yield step
            step, was, now = Step(), set(), set()
    if step.gone or step.new:
        step.changes = differences.software(was, now)
        yield step


@dataclass(frozen=True)
class _List:
    """One that waits: of a machine and its agent, what is in rows of it so far, and what should be."""

    machine: int
    agent: str
    seen: float
    is_first: bool
    have: dict[Package, int]
    wanted: set[Package]


class LongLists:
    """The task that puts long lists into rows. `run()` owns it."""

    def __init__(self, ledger: Ledger, keeper: Keeper, reached: Callable[[str, str, int], None]) -> None:
        """`reached` is told the agent, the quota and how many lists were left out for it."""
        self._ledger = ledger
        self._keeper = keeper
        self._reached = reached
        self._some = asyncio.Event()

    def wake(self) -> None:
        """There may be one."""
        self._some.set()

    async def run(self) -> None:
        """Put lists into rows as they come, until cancelled."""
        while True:
            self._some.clear()
            try:
                while (waiting := await self._next_list()) is not None:
                    await self._put(waiting)
            except LedgerError as error:
                log.error("lists of software wait: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await self._some.wait()

    async def _next_list(self) -> _List | None:
        waiting, left_out = await self._ledger.run(self._next)
        for agent in left_out:
            self._reached(agent, "kept_bytes", 1)
        return waiting

    def _next(self, connection: sa.Connection) -> tuple[_List | None, list[str]]:
        """The oldest that waits, and whose were left out before it."""
        left_out: list[str] = []
        query = sa.select(_lists.machine, _lists.seen, _lists.body, machines.c.agent)
        query = query.join(machines, machines.c.id == _lists.machine).order_by(_lists.seen).limit(1)
        while (row := connection.execute(query).first()) is not None:
            if self._keeper.holding(connection, row.agent).may_keep():
                known = connection.execute(sa.select(_documents.seen).where(_of_machine(row.machine))).first()
                have, wanted = _have(connection, row.machine), _wanted(msgspec.json.decode(row.body))
                return _List(row.machine, row.agent, row.seen, known is None, have, wanted), left_out
            connection.execute(sa.delete(software_lists).where(_lists.machine == row.machine))
            left_out.append(row.agent)
        return None, left_out

    async def _put(self, waiting: _List) -> None:
        found = await asyncio.to_thread(lambda: list(steps(waiting.have, waiting.wanted)))
        for step in found:
            if not await self._ledger.run(self._take_step, waiting, step):
                return  # there is a newer list by now
            await asyncio.sleep(_PAUSE_SECONDS)
        await self._ledger.run(_finish, waiting, bool(found))

    def _take_step(self, connection: sa.Connection, waiting: _List, step: Step) -> bool:
        if not _still_waits(connection, waiting):
            return False
        added = _apply(connection, waiting.machine, waiting.seen, step, noted=not waiting.is_first)
        self._keeper.holding(connection, waiting.agent).keep(added)
        return True


def _finish(connection: sa.Connection, waiting: _List, is_changed: bool) -> None:
    if _still_waits(connection, waiting):
        connection.execute(sa.delete(software_lists).where(_lists.machine == waiting.machine))
        _note_seen(connection, waiting.machine, waiting.seen, is_first=waiting.is_first, is_changed=is_changed)


def _still_waits(connection: sa.Connection, waiting: _List) -> bool:
    """Whether this very list does: a newer one may have come, the machine may be another's, the clock set."""
    query = sa.select(_lists.seen).where(_lists.machine == waiting.machine)
    return connection.execute(query).scalar() == waiting.seen


def _of_machine(machine: int) -> sa.ColumnElement[bool]:
    return sa.and_(_documents.machine == machine, _documents.kind == "software")


def _note_seen(connection: sa.Connection, machine: int, taken: float, *, is_first: bool, is_changed: bool) -> None:
    """The list lies in rows; its document holds the time alone."""
    if is_first:
        values = {"machine": machine, "kind": "software", "body": pack({}), "since": taken, "seen": taken}
        connection.execute(sa.insert(machine_documents).values(**values))
    else:
        changed = {"since": taken} if is_changed else {}
        connection.execute(sa.update(machine_documents).where(_of_machine(machine)).values(seen=taken, **changed))


def _wanted(body: Body) -> set[Package]:
    return {
        (name, text_of(each, "version"), text_of(each, "publisher"), text_of(each, "source", 20))
        for each in list_of(body, "packages")[:_MOST_PACKAGES]
        if (name := text_of(each, "name", 300))
    }


def _have(connection: sa.Connection, machine: int) -> dict[Package, int]:
    columns = (software.c.id, software.c.name, software.c.version, software.c.publisher, software.c.source)
    query = sa.select(*columns).join(installed, installed.c.software == software.c.id)
    rows = connection.execute(query.where(installed.c.machine == machine))
    return {(name, version, publisher, source): number for number, name, version, publisher, source in rows}


def _by_name(packages: set[Package]) -> dict[str, set[Package]]:
    found: dict[str, set[Package]] = defaultdict(set)
    for package in packages:
        found[package[0]].add(package)
    return found


def _apply(connection: sa.Connection, machine: int, taken: float, step: Step, *, noted: bool) -> int:
    """About how many bytes that added."""
    for at in range(0, len(step.gone), _STEP_ROWS):
        some = installed.c.software.in_(step.gone[at : at + _STEP_ROWS])
        connection.execute(sa.delete(installed).where(installed.c.machine == machine, some))
    if step.new:
        # Past SQLAlchemy, which would take as long again.
        rows = [(*package, fold(package[0])[:300]) for package in step.new]
        connection.exec_driver_sql(_KNOW_SOFTWARE.on(connection), rows)
        connection.exec_driver_sql(_INSTALL.on(connection), [(machine, *package) for package in step.new])
    # The name stands in the row, folded again, and in two indexes.
    added = sum(
        4 * len(name) + 2 * (len(version) + len(publisher)) + ROW_BYTES for name, version, publisher, _ in step.new
    )
    return added + (note(connection, machine, taken, step.changes) if noted else 0)
