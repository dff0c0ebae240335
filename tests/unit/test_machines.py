"""Which machine a document is of, what changed, when support ends; and the store they feed, in a real ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from haidang_collector.cli import main as cli
from haidang_collector.inventory import changes, claims, counts, lan, search, store
from haidang_collector.inventory.identity import Marks, choose
from haidang_collector.inventory.support import support_ends
from haidang_collector.ledger import audit
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import events, machine_changes, machine_documents, machine_macs, machines
from haidang_collector.principals import Principal
from haidang_collector.registry.model import Registry
from haidang_wire.report import Fact
from haidang_wire.sources import INVENTORY, SOURCES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

UUID = "4c4c4544-0033-4d10-8034-b3c04f4e3332"
OTHER = "4c4c4544-0044-5a10-8051-c7c04f383432"
CARD, CARD2 = "58:11:22:aa:bb:01", "58:11:22:aa:bb:02"
MACHINE = {
    "name": "PC-VANTHU-01", "manufacturer": "Dell Inc.", "model": "OptiPlex 3080", "serial": "ABC1234", "uuid": UUID,
    "machine_id": "f" * 32, "macs": [CARD], "chassis": "desktop",
    "memory": {"total_bytes": 8 << 30, "slots": 2, "free_slots": 0, "modules": [
        {"slot": "DIMM1", "size_bytes": 4 << 30, "type": "DDR4", "serial": "A1"},
        {"slot": "DIMM2", "size_bytes": 4 << 30, "type": "DDR4", "serial": "A2"},
    ]},
}  # fmt: skip


def marks(**values: Any) -> Marks:
    known = {
        "uuid": UUID,
        "serial": "S1",
        "model": "M",
        "macs": frozenset({CARD}),
        "machine_id": "a" * 32,
        "agent": "pc-1",
    }
    return Marks(**{**known, **values})


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"machine_id": "b" * 32, "agent": "pc-9"}, True),  # a new system, enrolled anew under another name
        ({"macs": frozenset({CARD2})}, True),  # another network card
        ({"uuid": OTHER, "serial": ""}, True),  # a new board in the old case: card, system and agent are the old ones
        ({"uuid": OTHER, "serial": "S2", "macs": frozenset({CARD2})}, False),  # the disk was copied, agent and all
        ({"uuid": OTHER, "serial": "S2", "macs": frozenset({CARD2}), "agent": "pc-2"}, False),  # and named anew
        (
            {"uuid": OTHER, "serial": "S2", "machine_id": "c" * 32, "agent": "pc-3"},
            False,
        ),  # its card in another machine
        ({"uuid": "", "serial": ""}, True),  # now without the right to read firmware
        ({"uuid": "", "serial": "", "macs": frozenset()}, True),
        ({"uuid": "", "serial": "", "macs": frozenset({CARD2}), "agent": "pc-2"}, False),  # a copy, firmware unread
        ({"uuid": "", "serial": "S1", "model": "Other"}, True),  # the serial is another's, its card is here
        ({"uuid": "", "serial": "S1", "model": "Other", "macs": frozenset({CARD2}), "machine_id": "d" * 32}, False),
        ({"uuid": UUID, "serial": "S2", "macs": frozenset({CARD2})}, False),  # makers who give all one UUID
    ],
)
def test_one_machine_stays_one_and_copies_are_told_apart(changed: dict[str, Any], same: bool) -> None:
    assert (choose(marks(**changed), [(7, marks())]) == 7) is same


def test_the_likeliest_of_several_is_chosen() -> None:
    copy = marks(uuid=OTHER, serial="S2", macs=frozenset({CARD2}))
    assert choose(marks(machine_id="z" * 32), [(1, copy), (2, marks())]) == 2
    assert choose(copy, [(2, marks()), (1, copy)]) == 1
    assert choose(marks(), []) is None


@given(st.builds(
    Marks, uuid=st.sampled_from(["", UUID]), serial=st.sampled_from(["", "S1"]), model=st.sampled_from(["", "M"]),
    macs=st.sampled_from([frozenset(), frozenset({CARD})]), machine_id=st.sampled_from(["", "a"]), agent=st.just("pc-1"),
))  # fmt: skip
def test_a_machine_that_did_not_change_is_known_again(same: Marks) -> None:
    """However little it tells: else each of its reports would be another machine."""
    assert choose(same, [(7, same)]) == 7


def test_changes_are_said_as_people_would() -> None:
    after = deepcopy(MACHINE)
    after["name"] = "PC-MỘT-CỬA"
    after["memory"]["modules"].pop()
    after["macs"] = [CARD2]
    assert {(c.what, c.before, c.after) for c in changes.changes("machine", MACHINE, after)} == {
        ("renamed", "PC-VANTHU-01", "PC-MỘT-CỬA"),
        ("memory_removed", "4 GB DDR4 (DIMM2)", ""),
        ("network_card_removed", CARD, ""),
        ("network_card_added", "", CARD2),
    }
    disks = {"disks": [{"model": "WDC", "serial": "W1", "size_bytes": 500 << 30, "healthy": True}]}
    new = {"disks": [{"model": "Samsung", "serial": "S1", "size_bytes": 250 << 30, "healthy": False}]}
    assert [c.what for c in changes.changes("disks", disks, new)] == ["disk_removed", "disk_added", "disk_failing"]
    lost = {
        "encryption": [{"volume": "C:", "encrypted": False}],
        "antivirus": [{"name": "Bkav", "on": False}],
        "administrators": 3,
    }
    had = {
        "encryption": [{"volume": "C:", "encrypted": True}],
        "antivirus": [{"name": "Bkav", "on": True}],
        "administrators": 1,
    }
    assert [c.what for c in changes.changes("security", had, lost)] == [
        "administrators_changed", "antivirus_off", "encryption_lost",
    ]  # fmt: skip
    one, two = {"name": "Windows 10 Pro", "installed": 10**9}, {"name": "Windows 11 Pro", "installed": 10**9 + 10**6}
    assert [c.what for c in changes.changes("system", one, two)] == ["reinstalled"]
    assert [(c.what, c.before, c.after) for c in changes.software({("vim", "1"), ("a", "1")}, {("vim", "2"), ("b", "3")})] == [
        ("software_removed", "a 1", ""), ("software_installed", "", "b 3"), ("software_updated", "vim 1", "vim 2"),
    ]  # fmt: skip


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*sorted(MACHINE), "disks", "healthy", "antivirus", "modules", "packages", "volumes", "updates"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_BODY = st.dictionaries(
    st.sampled_from([*MACHINE, "disks", "volumes", "antivirus", "encryption", "updates", "packages", "displays"]),
    _JSON,
    max_size=6,
)


@given(_BODY, _BODY, st.sampled_from(SOURCES[INVENTORY].facts))
def test_documents_of_any_form_are_compared(before: dict[str, Any], after: dict[str, Any], kind: str) -> None:
    found = changes.changes(kind, before, after)
    assert all(isinstance(text, str) for change in found for text in (change.what, change.before, change.after))
    assert changes.changes(kind, after, after) == []
    ends = support_ends(after)
    assert ends is None or ends > 946_684_800


@pytest.mark.parametrize(
    ("body", "day"),
    [
        ({"name": "Windows 10 Pro", "release": "22H2"}, "2025-10-14"),
        ({"name": "Windows 11 Pro", "release": "24H2", "edition": "Professional"}, "2026-10-13"),
        ({"name": "Windows 11 Enterprise", "release": "24H2", "edition": "Enterprise"}, "2027-10-12"),
        ({"name": "Windows 8.1 Pro"}, "2023-01-10"),
        ({"name": "Windows Server 2019 Standard", "release": "1809"}, "2029-01-09"),
        ({"name": "Debian GNU/Linux", "version": "12.11"}, "2028-06-30"),
        ({"name": "Ubuntu", "version": "20.04", "release": "20.04.6 LTS (Focal Fossa)"}, "2025-05-31"),
        ({"name": "AlmaLinux", "version": "9.4"}, "2032-05-31"),
        ({"name": "TempleOS"}, None),
    ],
)
def test_when_support_ends(body: dict[str, str], day: str | None) -> None:
    ends = support_ends(body)
    assert (time.strftime("%Y-%m-%d", time.gmtime(ends)) if ends is not None else None) == day


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def give(ledger: Ledger, taken: float, agent: str = "pc-1", site: str = "ttdl", **bodies: Any) -> None:
    with ledger.transaction() as connection:
        store.take(connection, site, agent, taken, [Fact(kind, agent, body) for kind, body in bodies.items()])


def all_machines(ledger: Ledger) -> list[Any]:
    with ledger.transaction() as connection:
        return list(connection.execute(sa.select(machines).order_by(machines.c.id)))


def told(ledger: Ledger) -> list[tuple[float, str, str, str]]:
    with ledger.transaction() as connection:
        table = machine_changes.c
        return [
            tuple(row)
            for row in connection.execute(sa.select(table.at, table.what, table.before, table.after).order_by(table.id))
        ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(SOURCES[INVENTORY].facts), _BODY, max_size=4))
def test_documents_of_any_form_are_kept(ledger: Ledger, bodies: dict[str, Any]) -> None:
    """What an agent sends must never end the transaction that others' reports are in."""
    with ledger.transaction() as connection:
        connection.execute(sa.delete(machines))
    now = time.time()
    give(ledger, now, "odd", **bodies)
    first = told(ledger)
    give(ledger, now + 1, "odd", **bodies)
    assert len(all_machines(ledger)) <= 1
    assert told(ledger) == first


def test_a_machines_life(ledger: Ledger) -> None:
    packages = {
        "packages": [{"name": "UniKey", "version": "4.3", "source": "windows"}, {"name": "Zalo", "version": "1"}]
    }
    give(ledger, 1000, machine=MACHINE, software=packages, system={"name": "Windows 10 Pro", "installed": 10})
    less = {**MACHINE, "memory": {"total_bytes": 4 << 30, "modules": MACHINE["memory"]["modules"][:1]}}  # type: ignore[index]
    give(ledger, 2000, machine=less, software={"packages": packages["packages"][:1]})
    # Enrolled anew on a new system, under another name, at another site; an operator says that it is the same.
    give(ledger, 3000, "pc-9", "huyen-an-binh", machine={**less, "machine_id": "9" * 32, "name": "PC-MỚI"})
    with ledger.transaction() as connection:
        assert claims.decide(connection, Principal.itself(), 2, "moved", 3000) == 1
    (row,) = all_machines(ledger)
    assert (row.first_seen, row.last_seen, row.agent, row.site, row.name) == (
        1000,
        3000,
        "pc-9",
        "huyen-an-binh",
        "PC-MỚI",
    )
    assert told(ledger) == [
        (1000, "first_seen", "", "PC-VANTHU-01"),
        (2000, "memory_removed", "4 GB DDR4 (DIMM2)", ""),
        (2000, "software_removed", "Zalo 1", ""),
        (3000, "claimed", "", "2 (huyen-an-binh)"),
        (3000, "moved", "ttdl", "huyen-an-binh"),
        (3000, "renamed", "PC-VANTHU-01", "PC-MỚI"),
    ]
    # What comes late from before changes nothing.
    give(ledger, 1500, "pc-1", machine=MACHINE, software=packages)
    assert len(told(ledger)) == 6
    assert all_machines(ledger)[0].last_seen == 3000
    with ledger.transaction() as connection:
        whole = search.machine(connection, row.id)
        assert whole is not None
        assert [each["name"] for each in whole["software"]] == ["UniKey"]
        assert whole["documents"]["system"]["body"]["name"] == "Windows 10 Pro"


def say(ledger: Ledger, taken: float, agent: str, site: str, **bodies: Any) -> bool:
    """Whether it is kept."""
    with ledger.transaction() as connection:
        try:
            store.take(connection, site, agent, taken, [Fact(kind, agent, body) for kind, body in bodies.items()])
        except claims.TooMany:
            return False
    return True


def disputes(ledger: Ledger) -> list[tuple[int, str, str, int | None]]:
    with ledger.transaction() as connection:
        query = sa.select(machines.c.id, machines.c.site, machines.c.dispute, machines.c.claims)
        return [tuple(row) for row in connection.execute(query.order_by(machines.c.id))]


DAYS = 86400.0
FORGED = {
    "whole": MACHINE,
    "uuid and serial": {
        "uuid": UUID,
        "serial": "ABC1234",
        "model": "OptiPlex 3080",
        "macs": [CARD2],
        "machine_id": "9" * 32,
    },
    "uuid alone": {"uuid": UUID},
    "serial and model": {"serial": "ABC1234", "model": "OptiPlex 3080"},
    "serial alone": {"serial": "ABC1234"},
    "cards alone": {"macs": [CARD]},
    "cards and system": {"macs": [CARD], "machine_id": "f" * 32},
    "many cards": {"macs": [f"00:00:00:00:00:{n:02x}" for n in range(60)] + [CARD]},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_no_mark_moves_another_sites_machine(ledger: Ledger, forged: dict[str, Any]) -> None:
    give(ledger, 1000, machine=MACHINE, software={"packages": [{"name": "UniKey", "version": "4.3"}]})
    before = all_machines(ledger)[0]
    claim = {**forged, "name": "STOLEN"}
    for at in (1001, 1002, 1003 + DAYS):
        assert say(ledger, at, "attacker", "xa", machine=claim, software={"packages": []})
        assert say(ledger, at + 0.5, "attacker", "xa", security={"antivirus": []})
        assert say(ledger, at + 0.6, "attacker", "xa")
    assert all_machines(ledger)[0] == before
    assert disputes(ledger) == [(1, "ttdl", "", None), (2, "xa", "open", 1)]
    with ledger.transaction() as connection:
        (shown, claimed) = search.find(connection, search.Filter(disputed=True), sort="first_seen")[1]
        assert [(each["id"], each["dispute"], each["claims"]) for each in (shown, claimed)] == [
            (1, "claimed", None), (2, "open", 1),
        ]  # fmt: skip
        assert search.find(connection, search.Filter(disputed=False))[0] == 0
        assert search.disputed(connection) == {"ttdl": 1, "xa": 1}
        assert search.clones(connection, 0) == []
        kinds = connection.execute(sa.select(events.c.site, events.c.agent).where(events.c.kind == "machine_disputed"))
        assert sorted(tuple(row) for row in kinds) == [("ttdl", ""), ("xa", "")]
        (listed,) = claims.listed(connection)
        assert (listed["id"], listed["site"], listed["claims"], listed["claims_site"]) == (2, "xa", 1, "ttdl")
    # Its owner goes on, and moves between agents of the site as ever.
    give(ledger, 2 * DAYS, "pc-new", machine={**MACHINE, "name": "PC-2"})
    owned = all_machines(ledger)[0]
    assert (owned.agent, owned.name, owned.site) == ("pc-new", "PC-2", "ttdl")


def test_a_site_claims_a_machine_once_however_it_says_so(ledger: Ledger) -> None:
    give(ledger, 1000, machine=MACHINE)
    for number, (agent, forged) in enumerate((f"a-{n % 3}", each) for n, each in enumerate([*FORGED.values()] * 2)):
        assert say(ledger, 1001 + number, agent, "xa", machine=forged)
    assert disputes(ledger) == [(1, "ttdl", "", None), (2, "xa", "open", 1)]
    with ledger.transaction() as connection:
        claims.decide(connection, Principal.itself(), 2, "refused", 2000)
    for number, forged in enumerate(FORGED.values()):
        assert say(ledger, 3000 + number, "a-9", "xa", machine=forged)
    assert disputes(ledger) == [(1, "ttdl", "", None), (2, "xa", "refused", 1)]


@pytest.mark.parametrize(
    ("decision", "left"),
    [
        ("moved", [(1, "xa", "", None)]),
        ("other", [(1, "ttdl", "", None), (2, "xa", "", None)]),
        ("refused", [(1, "ttdl", "", None), (2, "xa", "refused", 1)]),
    ],
)
def test_an_operator_decides_and_it_stays_so(
    ledger: Ledger, decision: claims.Decision, left: list[tuple[int, str, str, int | None]]
) -> None:
    give(ledger, 1000, machine=MACHINE, software={"packages": [{"name": "UniKey", "version": "4.3"}]})
    give(ledger, 2000, "new", "xa", machine={**MACHINE, "name": "PC-XÃ"}, software={"packages": [{"name": "vim"}]})
    with ledger.transaction() as connection:
        number = claims.decide(connection, Principal.itself(), 2, decision, 3000)
        assert number == left[-1][0]
        (entry,) = audit.find(connection, audit.Wanted(what="machine.decide"), 10)
        assert entry.after == {"decision": decision, "machine": number}
        assert entry.before
        assert entry.before["older"] == {"site": "ttdl", "agent": "pc-1", "name": MACHINE["name"]}
    assert disputes(ledger) == left
    give(ledger, 4000, "new", "xa", machine={**MACHINE, "name": "PC-XÃ"})
    assert disputes(ledger) == left
    with ledger.transaction() as connection:
        whole = search.machine(connection, number)
        assert whole is not None
        assert ([each["name"] for each in whole["software"]], whole["name"]) == (["vim"], "PC-XÃ")
    if decision == "moved":
        assert {what for _, what, _, _ in told(ledger)} == {
            "first_seen", "claimed", "moved", "renamed", "software_installed", "software_removed",
        }  # fmt: skip
        with ledger.transaction() as connection, pytest.raises(claims.NoSuchClaim):
            claims.decide(connection, Principal.itself(), 1, "moved", 5000)
        # What waited in the old place's spool is of before, and who speaks there now claims in his turn.
        give(ledger, 2500, machine=MACHINE)
        assert disputes(ledger) == left
        give(ledger, 6000, machine=MACHINE)
        assert disputes(ledger) == [(1, "xa", "", None), (2, "ttdl", "open", 1)]


@pytest.mark.parametrize("how", ["machine", "nothing", "document"])
def test_who_is_silent_for_30_days_has_moved(ledger: Ledger, how: str) -> None:
    give(ledger, 1000, machine=MACHINE)
    give(ledger, 2000, "new", "xa", machine=MACHINE)
    later: dict[str, Any] = {
        "machine": {"machine": {**MACHINE, "name": "PC-XÃ"}}, "nothing": {},
        "document": {"system": {"name": "Debian GNU/Linux"}},
    }[how]  # fmt: skip
    # In between it says less, and then more again: its claim is one all the same.
    give(ledger, 3000, "new", "xa", machine={"serial": "ABC1234", "name": "PC"})
    give(ledger, 1000 + 30 * DAYS - 1, "new", "xa", **later)
    assert disputes(ledger) == [(1, "ttdl", "", None), (2, "xa", "open", 1)]
    give(ledger, 1000 + 30 * DAYS + 1, "new", "xa", **later)
    assert disputes(ledger) == [(1, "xa", "", None)]
    row = all_machines(ledger)[0]
    assert (row.first_seen, row.agent, row.serial) == (1000, "new", "ABC1234")


def test_a_machine_that_nobody_misses_moves_at_once(ledger: Ledger) -> None:
    give(ledger, 1000, machine=MACHINE)
    give(ledger, 1000 + 31 * DAYS, "new", "xa", machine=MACHINE)
    assert disputes(ledger) == [(1, "xa", "", None)]
    with ledger.transaction() as connection:
        assert search.remove(connection, Principal.itself(), 1, 1000 + 31 * DAYS)
    give(ledger, 1001 + 31 * DAYS, "newer", "xb", machine=MACHINE)  # taken out of use there
    assert disputes(ledger) == [(1, "xb", "", None)]
    assert all_machines(ledger)[0].removed is None


def test_a_machine_in_dispute_is_counted_once(ledger: Ledger) -> None:
    now = time.time()
    give(ledger, now, machine=MACHINE)
    give(ledger, now, "attacker", "xa", machine=MACHINE)
    own = {**MACHINE, "uuid": OTHER, "serial": "Z", "macs": [CARD2], "machine_id": "2" * 32}
    give(ledger, now, "pc-xa", "xa", machine=own)
    sites = [{"id": name, "name": name, "level": "commune"} for name in ("ttdl", "xa")]
    registry = Registry.model_validate({"province": {"name": "X"}, "sites": sites})
    with ledger.transaction() as connection:
        found = counts.count(connection, registry, now)
        assert (found.workstations, found.present) == ({"ttdl": 1, "xa": 1}, {"ttdl": 1, "xa": 1})
        assert found.disputed == {"ttdl": 1, "xa": 1}
        # A disk that was copied to another site is that one's copy, not this one's.
        give_copy = {**MACHINE, "uuid": "7" + UUID[1:], "serial": "Q", "macs": []}
    give(ledger, now, "copied", "xa", machine=give_copy)
    with ledger.transaction() as connection:
        assert search.clones(connection, 0) == [("xa", 4)]


def test_a_card_that_another_site_names_makes_no_device_known(ledger: Ledger) -> None:
    give(ledger, 1000, "attacker", "xa", machine={**MACHINE, "uuid": OTHER, "macs": [CARD]})
    with ledger.transaction() as connection:
        lan.take(connection, "ttdl", 1000, Fact("network", "p", {"devices": [{"mac": CARD, "address": "10.1.0.5"}]}))
        assert lan.coverage(connection, 0, {}) == {"ttdl": (0, 1)}
        assert [each["known_as"] for each in lan.devices(connection, managed=False)] == [""]


def test_neither_machines_nor_claims_fill_the_ledger(ledger: Ledger) -> None:
    def other(number: int) -> dict[str, Any]:
        return {"uuid": f"{number:08d}-0000-4000-8000-000000000000", "serial": f"S{number}", "name": f"m{number}"}

    for number in range(300):
        give(ledger, 1000, f"pc-{number}", machine=other(number))
    kept = [say(ledger, 2000, "flood", "xb", machine=other(1000 + number)) for number in range(120)]
    assert kept == [True] * 100 + [False] * 20
    kept = [say(ledger, 2000, f"thief-{number % 3}", "xa", machine=other(number)) for number in range(300)]
    assert kept.count(True) == 200
    with ledger.transaction() as connection:
        assert len(claims.listed(connection)) == 200
        count = sa.select(sa.func.count()).select_from(events)
        assert connection.execute(count.where(events.c.kind == "machine_disputed")).scalar_one() == 400
    # Those that are there already go on.
    assert say(ledger, 3000, "thief-0", "xa", machine=other(0))


_MARKS = st.fixed_dictionaries({}, optional={
    "uuid": st.sampled_from([UUID, OTHER]), "serial": st.sampled_from(["S1", "S2"]), "model": st.sampled_from(["M", "N"]),
    "macs": st.lists(st.sampled_from([CARD, CARD2]), max_size=2), "machine_id": st.sampled_from(["a", "b"]),
})  # fmt: skip
_SAID = st.tuples(
    st.sampled_from([("pc-1", "s1"), ("pc-2", "s1"), ("pc-3", "s2"), ("pc-4", "s3")]), st.booleans(), _MARKS,
    st.integers(-3, 3),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_SAID, min_size=1, max_size=12))
def test_whatever_is_said_changes_only_machines_of_its_own_site(ledger: Ledger, said: list[Any]) -> None:
    """Within 30 days, in any order, with any marks."""
    with ledger.transaction() as connection:
        for table in (machines, machine_macs, machine_documents, machine_changes, events):
            connection.execute(sa.delete(table))
    for number, ((agent, site), whole, marks, shift) in enumerate(said):
        before = {row.id: row for row in all_machines(ledger)}
        bodies = {"machine": {**marks, "name": f"n{number}"}} if whole else {"system": {"name": f"v{number}"}}
        assert say(ledger, 1000.0 + number + shift, agent, site, **bodies)
        after = {row.id: row for row in all_machines(ledger)}
        assert {row for row in before.values() if row.site != site} <= set(after.values())
        assert all(row.site == site for number, row in after.items() if number not in before)
        assert all(row.claims in after and after[row.claims].site != row.site for row in after.values() if row.claims)


def test_a_report_without_changes_says_that_the_machine_is_there(ledger: Ledger) -> None:
    give(ledger, 1000, machine=MACHINE)
    with ledger.transaction() as connection:
        assert search.remove(connection, Principal.itself(), 1, 1500)
    give(ledger, 5000)
    (row,) = all_machines(ledger)
    assert (row.last_seen, row.removed) == (5000, None)
    # Facts that came without the machine's own go to the machine the agent was on.
    give(ledger, 6000, security={"antivirus": [{"name": "Bkav", "on": True}]})
    assert all_machines(ledger)[0].antivirus_on is True


def test_copies_of_a_disk_are_two_machines_and_reported(ledger: Ledger) -> None:
    copy = {**MACHINE, "uuid": OTHER, "serial": "ABC9999", "macs": [CARD2]}
    for at in (1000, 2000, 3000):
        give(ledger, at, machine=MACHINE)
        give(ledger, at + 1, machine=copy)
    give(
        ledger,
        3000,
        "pc-7",
        machine={**MACHINE, "uuid": "7" + UUID[1:], "serial": "Q", "macs": [], "machine_id": "7" * 32},
    )
    assert len(all_machines(ledger)) == 3
    with ledger.transaction() as connection:
        assert [number for _, number in search.clones(connection, 0)] == [1, 2]
        assert search.clones(connection, 3000.5) == []  # the one was put away since


def copies(count: int, sites: int) -> list[dict[str, Any]]:
    """Machines made of one image; every third has an agent's name that others have too."""
    return [
        {"site": f"s{n % sites}", "agent": "image" if n % 3 else f"a{n}", "first_seen": 1.0, "last_seen": 100.0,
         "machine_id": "same"}
        for n in range(count)
    ]  # fmt: skip


def test_machines_of_one_image_cost_no_more_than_their_number(ledger: Ledger) -> None:
    """Counted in hundreds of steps of SQLite's machine: ten times as many machines are ten times as much."""
    cost = []
    with ledger.transaction() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        for count in (200, 2000):
            connection.execute(sa.delete(machines))
            connection.execute(sa.insert(machines), copies(count, 7))
            steps: list[int] = []
            driver.set_progress_handler(lambda steps=steps: steps.append(1), 100)
            assert len(search.clones(connection, 0)) == count
            driver.set_progress_handler(None, 0)
            cost.append(len(steps))
    assert cost[1] < 15 * cost[0]


_COPY = st.fixed_dictionaries({
    "site": st.sampled_from(["a", "b"]), "agent": st.sampled_from(["x", "y", "z"]),
    "machine_id": st.sampled_from(["", "1", "2"]), "last_seen": st.sampled_from([50.0, 150.0]),
    "removed": st.sampled_from([None, None, 9.0]), "dispute": st.sampled_from(["", "", "open"]),
})  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_COPY, max_size=9))
def test_clones_are_those_that_share_a_mark(ledger: Ledger, said: list[dict[str, Any]]) -> None:
    with ledger.transaction() as connection:
        connection.execute(sa.delete(machines))
        for number, each in enumerate(said, 1):
            connection.execute(sa.insert(machines).values(**each, id=number, first_seen=1.0))
        found = search.clones(connection, 100.0)
    here = [
        (number, each)
        for number, each in enumerate(said, 1)
        if each["last_seen"] > 100 and each["removed"] is None and each["dispute"] == ""
    ]
    assert found == sorted(
        (one["site"], number)
        for number, one in here
        if any(
            other != number
            and (one["site"] == another["site"] or number > other)
            and (one["agent"] == another["agent"] or one["machine_id"] == another["machine_id"] != "")
            for other, another in here
        )
    )


def test_every_filter_finds_what_it_says(ledger: Ledger) -> None:
    give(ledger, 1000, machine=MACHINE, system={"name": "Windows 7"}, disks={"disks": [{"healthy": False}], "volumes": [{"free_ratio": 0.05}]},
         security={"antivirus": [], "encryption": [{"volume": "C:", "encrypted": False}]}, software={"packages": [{"name": "UniKey 4%", "version": "4.3"}]})  # fmt: skip
    second = {
        **MACHINE,
        "uuid": OTHER,
        "serial": "ZZZ",
        "macs": [CARD2],
        "machine_id": "2" * 32,
        "name": "LAPTOP-Đức",
        "chassis": "laptop",
    }
    give(ledger, 9e9, "pc-2", "xa-dong-hoa", machine=second, system={"name": "Debian GNU/Linux", "version": "12.1"},
         disks={"disks": [{"healthy": True}], "volumes": [{"free_ratio": 0.5}]},
         security={"antivirus": [{"on": True}], "encryption": [{"encrypted": True}]}, software={"packages": [{"name": "vim", "version": "9"}]})  # fmt: skip
    now = 9e9

    def numbers(**wanted: Any) -> list[int]:
        with ledger.transaction() as connection:
            total, found = search.find(connection, search.Filter(now=now, **wanted), sort="first_seen")
            assert total == len(found)
            return [each["id"] for each in found]

    assert numbers() == [1, 2]
    for wanted, (yes, no) in {
        "antivirus_on": ([2], [1]), "encrypted": ([2], [1]), "support_ended": ([1, 2], []), "low_disk": ([1], [2]),
        "failing_disk": ([1], [2]), "missing": ([1], [2]),
    }.items():  # fmt: skip
        assert (numbers(**{wanted: True}), numbers(**{wanted: False})) == (yes, no), wanted
    assert numbers(text="vanthu") == [1]
    assert numbers(text="đức") == numbers(text="duc") == numbers(text="pc-2") == [2]
    assert numbers(text="%") == []
    assert numbers(sites=("xa-dong-hoa",)) == [2]
    assert numbers(chassis="laptop") == [2]
    assert numbers(system="linux") == [2]
    assert numbers(software="unikey") == [1]
    assert numbers(software="4%", software_version="4.3") == [1]
    assert numbers(software="vim", software_version="8") == []
    assert numbers(removed=True) == []


def test_what_probes_see_on_networks(ledger: Ledger) -> None:
    body = {"devices": [{"mac": CARD, "address": "10.1.0.5"}, {"mac": "00:00:0c:11:22:33", "address": "10.1.0.9"},
                        {"mac": "zz", "address": "10.1.0.1"}, {"mac": "d6:11:22:33:44:55", "address": "fe80::1"}, 5]}  # fmt: skip
    give(ledger, 1000, machine=MACHINE)
    with ledger.transaction() as connection:
        new = lan.take(connection, "ttdl", 1000, Fact("network", "probe", body)).new
        assert {mac for mac, _ in new} == {CARD, "00:00:0c:11:22:33", "d6:11:22:33:44:55"}
        assert lan.take(connection, "ttdl", 2000, Fact("network", "probe", body)).new == []
        assert lan.take(connection, "ttdl", 1500, Fact("network", "probe", body)).new == []  # late: nothing goes back
        found = {each["mac"]: each for each in lan.devices(connection, site="ttdl")}
        assert "cisco" in found["00:00:0c:11:22:33"]["manufacturer"].lower()
        assert found["d6:11:22:33:44:55"]["manufacturer"] == "private"
        assert (found[CARD]["known_as"], found[CARD]["last_seen"]) == ("PC-VANTHU-01", 2000)
        assert len(lan.devices(connection, managed=False)) == 2
        assert lan.coverage(connection, 0, {"ttdl": {"10.1.0.9"}}) == {"ttdl": (2, 3)}


def test_disputes_say_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Ledger(tmp_path)
    give(opened, 1000, machine=MACHINE)
    give(opened, 2000, "new", "xa", machine={**MACHINE, "name": "PC\x9b2J\u202egnp\x1b[2J"})
    opened.close()
    config = tmp_path / "collector.toml"
    config.write_text(f'state_dir = "{tmp_path}"\nnames = ["localhost"]\n')
    assert cli.main(["--config", str(config), "machines", "disputes"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "PC" in line
    assert line.isprintable()
