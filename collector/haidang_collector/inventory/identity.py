"""Which known machine a document is of.

Hardware says who a machine is: its UUID, its serial, its network cards. A system says it less well, for disks are
copied: its machine id, and the agent's identity, which lies on the disk too. One machine stays one through a new
system, another name, a new disk or card; two machines with copies of one disk are two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """What tells machines apart; empty for what is not known."""

    uuid: str = ""
    serial: str = ""
    model: str = ""
    macs: frozenset[str] = frozenset()
    machine_id: str = ""
    agent: str = ""


def likeliest(marks: Marks, known: Iterable[tuple[int, Marks]]) -> tuple[int, int | None]:
    """(how surely, the machine's number) of the likeliest one these marks are of, and of equally likely ones the
    first; (0, None) for one that was never seen."""
    best, number = 0, None
    for candidate, theirs in known:
        points = likeness(marks, theirs)
        if points > best:
            best, number = points, candidate
    return best, number


def choose(marks: Marks, known: Iterable[tuple[int, Marks]]) -> int | None:
    """The machine (its number) that these marks are of; None for one that was never seen."""
    return likeliest(marks, known)[1]


def likeness(one: Marks, other: Marks) -> int:
    """How surely two sets of marks are of one machine; 0 for two machines."""
    uuid, serial = _same(one.uuid, other.uuid), _same(one.serial, other.serial)
    # A serial is its maker's: of another model it is another's.
    if serial and one.model and other.model and one.model != other.model:
        serial = None
    cards = one.macs & other.macs
    if uuid and serial is not False:
        return 8 + bool(cards)
    if uuid and cards:
        return 7
    if serial and (uuid is None or cards):
        return 6 + bool(cards)
    if uuid is False or serial is False:
        # A new board in the old case: its cards and the system on its disk are what they were, only the firmware
        # is another's. A card moved into another machine alone is not enough.
        return 3 if cards and _same(one.machine_id, other.machine_id) and _same(one.agent, other.agent) else 0
    if cards:
        return 5
    # Nothing of the hardware can be compared, or all cards are new: the same agent on no other system is the same
    # machine; the same system alone is a copy of it.
    return 2 if _same(one.agent, other.agent) and _same(one.machine_id, other.machine_id) is not False else 0


def _same(one: str, other: str) -> bool | None:
    return one == other if one and other else None
