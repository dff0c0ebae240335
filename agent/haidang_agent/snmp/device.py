"""What is known of one device while it is polled: columns read once, ports and entities by index."""

from __future__ import annotations

import re

from haidang_agent.snmp.session import Session, Value, Walk
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


class Device:
    """Answers questions about one device from its session; every column is asked for once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.notes: list[str] = []
        self._columns: dict[str, dict[str, Value]] = {}
        self._ports: dict[str, str] | None = None
        self._ports_by_name: dict[str, str] = {}
        self._entity_port: dict[str, str | None] = {}

    async def column(self, oid: str) -> dict[str, Value]:
        """Index → raw value; empty when the device has no such column."""
        if oid not in self._columns:
            walk: Walk = await self.session.walk(oid)
            if not walk.complete and walk.note not in self.notes:
                self.notes.append(walk.note)
            self._columns[oid] = walk.rows
        return self._columns[oid]

    async def ports(self) -> dict[str, str]:
        """ifIndex → the name a port has in metrics: ifName, else ifDescr, else its number. Two
        ports of one name are told apart by their index."""
        if self._ports is None:
            described, named = await self.column(IF_DESCR), await self.column(IF_NAME)
            # Some devices leave both names out for some ports.
            indexes = {**described, **named, **await self.column(IF_INDEX), **await self.column(IF_OPER_STATUS)}
            wanted = {i: text(named.get(i)) or text(described.get(i)) or f"ifIndex {i}" for i in indexes}
            count: dict[str, int] = {}
            for name in wanted.values():
                count[name] = count.get(name, 0) + 1
            self._ports = {i: name if count[name] == 1 else f"{name} ({i})" for i, name in wanted.items()}
            for index, name in self._ports.items():
                for known_as in (name, text(named.get(index)), text(described.get(index))):
                    self._ports_by_name.setdefault(_plain(known_as), name)
            self._ports_by_name.pop("", None)
        return self._ports

    async def port_by_name(self, name: str) -> str | None:
        """The port called so in ifName or ifDescr."""
        await self.ports()
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
        if index not in self._entity_port:
            self._entity_port[index] = await self._climb(index)
        return self._entity_port[index]

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
        for oid in (ENTITY_NAME, ENTITY_DESCR):
            found = text((await self.column(oid)).get(index))
            if found:
                return found
        return ""


def _like_a_port(word: str) -> bool:
    # `DOM TX Power Sensor for Ethernet21`: a word of letters and digits may be a port's name.
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _plain(name: str) -> str:
    return _SPACES.sub("", name).lower()
