"""What is known of one device while it is polled: columns read once, ports and entities by index."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from haidang_agent.snmp.session import Manner, Session, Value, Walk
from haidang_agent.snmp.values import number, text

SYS_DESCR, SYS_OBJECT_ID, SYS_NAME = "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.2.0", "1.3.6.1.2.1.1.5.0"
IF_NAME, IF_DESCR = "1.3.6.1.2.1.31.1.1.1.1", "1.3.6.1.2.1.2.2.1.2"
IF_INDEX, IF_OPER_STATUS = "1.3.6.1.2.1.2.2.1.1", "1.3.6.1.2.1.2.2.1.8"
_ENTITY = "1.3.6.1.2.1.47.1.1.1.1"
ENTITY_DESCR, ENTITY_CONTAINED_IN, ENTITY_NAME = f"{_ENTITY}.2", f"{_ENTITY}.4", f"{_ENTITY}.7"
_ENTITY_ALIAS = "1.3.6.1.2.1.47.1.3.2.1.2"
_BRIDGE_PORT = "1.3.6.1.2.1.17.1.4.1.2"
_MAX_DEPTH = 20
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Polled:
    """What a device says of its own engine over version 3 (SNMP-FRAMEWORK-MIB), and when by our steady clock."""

    engine_id: bytes
    boots: int
    seconds: int
    at: float


@dataclass
class Memory:
    """What polls of one device remember for the next: what seldom changes, or was not there.

    `everything_due` is from when on, by the steady clock, a poll reads that anew (0: the next one).
    `state` is what of the device tells that any of it may have changed, `ports` ifIndex → the
    name of a port in metrics. There is one of these for each of a thousand devices: what is only
    compared is kept as its hash.
    """

    manner: Manner = field(default_factory=Manner)
    everything_due: float = 0.0
    uptime: float = 0.0
    engine: Polled | None = None
    state: tuple[object, ...] = ()
    identity: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    ports_up: int = 0
    if_names: int = 0
    absent: frozenset[str] = frozenset()
    entity_ports: dict[str, str | None] = field(default_factory=dict)
    entity_names: dict[str, str] = field(default_factory=dict)
    entity_descriptions: dict[str, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Read everything anew. What the device can bear stays known, and its ports until they are read."""
        for learnt in (self.identity, self.entity_ports, self.entity_names, self.entity_descriptions):
            learnt.clear()
        self.absent, self.if_names, self.everything_due = frozenset(), 0, 0.0

    def note_absent(self, oids: set[str]) -> None:
        """The device has none of these columns."""
        self.absent = _shared(self.absent | oids)


@lru_cache(maxsize=256)
def _shared(oids: frozenset[str]) -> frozenset[str]:
    # Devices of a kind lack the same columns: they hold one set.
    return oids


class Device:
    """Answers questions about one device from its session; every column is asked for once."""

    def __init__(self, session: Session, memory: Memory | None = None) -> None:
        self.session = session
        self.memory = memory or Memory()
        self.notes: list[str] = []
        self.absent: set[str] = set()
        self._columns: dict[str, dict[str, Value]] = {}
        self._ports: dict[str, str] | None = None
        self._ports_by_name: dict[str, str] | None = None

    async def column(self, oid: str) -> dict[str, Value]:
        """Index → raw value; empty when the device has no such column."""
        if oid not in self._columns:
            if oid in self.memory.absent:
                return {}
            walk: Walk = await self.session.walk(oid)
            if not walk.complete and walk.note not in self.notes:
                self.notes.append(walk.note)
            if walk.complete and not walk.rows:
                self.absent.add(oid)
            self._columns[oid] = walk.rows
        return self._columns[oid]

    async def ports(self) -> dict[str, str]:
        """ifIndex → the name a port has in metrics: ifName, else ifDescr, else its number. Two
        ports of one name are told apart by their index."""
        if self._ports is None:
            named, states = await self.column(IF_NAME), await self.column(IF_OPER_STATUS)
            if_names = hash(tuple((index, named.get(index)) for index in {**states, **named}))
            if not (states or named) or if_names != self.memory.if_names:
                described = await self.column(IF_DESCR)
                # Some devices leave both names out for some ports.
                indexes = {**described, **named, **await self.column(IF_INDEX), **states}
                wanted = {i: text(named.get(i)) or text(described.get(i)) or f"ifIndex {i}" for i in indexes}
                count: dict[str, int] = {}
                for name in wanted.values():
                    count[name] = count.get(name, 0) + 1
                self.memory.ports = {i: name if count[name] == 1 else f"{name} ({i})" for i, name in wanted.items()}
                self.memory.if_names = if_names
                self.memory.entity_ports.clear()
            self._ports = self.memory.ports
        return self._ports

    async def port_by_name(self, name: str) -> str | None:
        """The port called so in ifName or ifDescr."""
        if self._ports_by_name is None:
            self._ports_by_name = {}
            ports, named, described = await self.ports(), await self.column(IF_NAME), await self.column(IF_DESCR)
            for index, port in ports.items():
                for known_as in (port, text(named.get(index)), text(described.get(index))):
                    self._ports_by_name.setdefault(_plain(known_as), port)
            self._ports_by_name.pop("", None)
        return self._ports_by_name.get(_plain(name))

    async def port_described(self, beginning: str) -> str | None:
        """The port whose ifDescr begins so."""
        ports = await self.ports()
        for index, value in (await self.column(IF_DESCR)).items():
            if text(value).startswith(beginning):
                return ports[index]
        return None

    async def port_by_bridge_port(self, index: str) -> str | None:
        """The port of a dot1dBasePort (BRIDGE-MIB)."""
        at = number((await self.column(_BRIDGE_PORT)).get(index))
        return (await self.ports()).get(str(int(at))) if at is not None else None

    async def port_by_entity(self, index: str) -> str | None:
        """The port an entity is, or is part of: by entAliasMapping of it or of what contains it
        (RFC 6933), else by a name the two share."""
        found = self.memory.entity_ports
        if index not in found:
            found[index] = await self._climb(index)
        return found[index]

    async def _climb(self, index: str) -> str | None:
        ports = await self.ports()
        aliases = await self._aliases()
        contained_in = await self.column(ENTITY_CONTAINED_IN)
        names = [await self.column(ENTITY_NAME), await self.column(ENTITY_DESCR)]
        at: str | None = index
        for _ in range(_MAX_DEPTH):
            if at is None or at == "0":
                return None
            if at in aliases and aliases[at] in ports:
                return ports[aliases[at]]
            for column in names:
                name = text(column.get(at))
                for known_as in (name, *filter(_like_a_port, name.split())):
                    port = await self.port_by_name(known_as)
                    if port:
                        return port
            parent = number(contained_in.get(at))
            at = str(int(parent)) if parent else None
        return None

    async def _aliases(self) -> dict[str, str]:
        found = {}
        for index, value in (await self.column(_ENTITY_ALIAS)).items():
            target = text(value).rpartition(".")
            if target[0].endswith("2.2.1.1"):  # an ifIndex instance
                found[index.partition(".")[0]] = target[2]
        return found

    async def entity_name(self, index: str) -> str:
        """entPhysicalName, else entPhysicalDescr."""
        known = self.memory.entity_names
        if index not in known:
            known[index] = text((await self.column(ENTITY_NAME)).get(index)) or await self.entity_description(index)
        return known[index]

    async def entity_description(self, index: str) -> str:
        """entPhysicalDescr."""
        known = self.memory.entity_descriptions
        if index not in known:
            known[index] = text((await self.column(ENTITY_DESCR)).get(index))
        return known[index]


def _like_a_port(word: str) -> bool:
    # `DOM TX Power Sensor for Ethernet21`: a word of letters and digits may be a port's name.
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _plain(name: str) -> str:
    return _SPACES.sub("", name).lower()
