"""Who is at the other end of each port of this machine: asked of lldpd, as its `lldpcli` tells it. Linux alone."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from haidang_wire.report import Fact
from haidang_wire.sources import LLDP

from haidang_agent.schedule.source import Findings

_ANSWER_SECONDS = 5.0


class Lldp:
    """The same fact as of a switch polled over SNMP."""

    name = LLDP

    def __init__(self, device: str, lldpcli: str = "lldpcli") -> None:
        self._device = device
        self._lldpcli = lldpcli

    def collect(self) -> Findings:
        """The fact `neighbours`. Raises OSError when lldpd can't be asked."""
        command = [self._lldpcli, "-f", "json0", "show", "neighbors", "details"]
        done = subprocess.run(command, capture_output=True, timeout=_ANSWER_SECONDS, check=False)
        if done.returncode:
            raise OSError(f"lldpd can't be asked: {done.stderr.decode('utf-8', 'replace').strip()}")
        body = {"neighbours": neighbours(done.stdout)}
        return Findings(facts=[Fact("neighbours", self._device, body)])


def neighbours(answer: bytes) -> list[dict[str, str]]:
    """Each neighbour as protocol, interface (ours), system, chassis, port, port_description (theirs).

    Raises ValueError for what is no JSON.
    """
    document = json.loads(answer.decode("utf-8", "replace"))
    return [
        {
            "protocol": str(interface.get("via", "lldp")).lower(),
            "interface": str(interface.get("name", "")),
            "system": _value(interface, "chassis", "name"),
            "chassis": _value(interface, "chassis", "id"),
            "port": _value(interface, "port", "id"),
            "port_description": _value(interface, "port", "descr"),
        }
        for lldp in _list(document, "lldp")
        for interface in _list(lldp, "interface")
    ]


def _list(at: Any, name: str) -> list[dict[str, Any]]:
    # In lldpcli's json0 everything is a list, also what can be there but once.
    value = at.get(name) if isinstance(at, dict) else None
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _value(at: dict[str, Any], *names: str) -> str:
    for name in names:
        found = _list(at, name)
        if not found:
            return ""
        at = found[0]
    return str(at.get("value", ""))
