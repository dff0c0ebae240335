"""A province in virtual time: what fails, what probes and ports say of it, what the engine makes of that.

A dual-homed ring of six sites, a hub on it with three sites behind, and a site of two carriers.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from haidang_collector.intake.ingest import Speaker, prepare
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.evidence import Evidence
from haidang_collector.outage.model import Changes, MaintenanceWindow, Outage
from haidang_collector.registry.assignments import Assignments
from haidang_collector.registry.model import Registry
from haidang_collector.settings import Limits
from haidang_collector.topology.graph import reached

START = 1_780_000_000.0
RING = ["r1", "r2", "r3", "r4", "r5", "r6"]
LEAVES = ["x1", "x2", "x3"]
SITES = ["ttdl", *RING, "hub", *LEAVES, "dual"]
CIRCUITS = {
    "ttdl-r1": ("ttdl", "r1"), "r1-r2": ("r1", "r2"), "r2-r3": ("r2", "r3"), "r3-r4": ("r3", "r4"),
    "r4-r5": ("r4", "r5"), "r5-r6": ("r5", "r6"), "r6-ttdl": ("r6", "ttdl"),
    "r2-hub": ("r2", "hub"), "hub-x1": ("hub", "x1"), "hub-x2": ("hub", "x2"), "hub-x3": ("hub", "x3"),
    "ttdl-dual": ("ttdl", "dual"), "r5-dual": ("r5", "dual"),
}  # fmt: skip
# A probe asks a path once a second and needs so long to be sure of it.
_DOUBT_FROM, _SURE_AFTER, _UP_AFTER = 1.0, 3.0, 1.0


def registry() -> dict[str, Any]:
    """The registry's document. Each site has one device, named as the site with `sw-` before."""
    return {
        "province": {"name": "Tỉnh Ví Dụ"},
        "sites": [
            {
                "id": site, "name": f"UBND {site}", "level": "province" if site == "ttdl" else "commune",
                "officials": 10 + number, "address": f"10.9.{number}.1", "probe": f"sw-{site}",
                "feeder": "f1" if site in ("x1", "x2") else "",
            }
            for number, site in enumerate(SITES)
        ],
        "carriers": [
            {"id": "vta", "name": "Viễn thông A", "telephone": "0200 800 119"},
            {"id": "vtb", "name": "Viễn thông B", "telephone": "0200 800 126"},
        ],
        "devices": [
            {"id": f"sw-{site}", "site": site, "role": "switch", "address": f"10.9.{number}.2"}
            for number, site in enumerate(SITES)
        ],
        "circuits": [
            {
                "id": name, "carrier": "vtb" if name == "r5-dual" else "vta", "carrier_circuit_id": f"VT-{name}",
                "ring": "r" if name.count("r") > 1 else "",
                "ends": [{"site": site, "device": f"sw-{site}", "interface": name} for site in ends],
            }
            for name, ends in CIRCUITS.items()
        ],
    }  # fmt: skip


class Province:
    """Fail and repair things, let time pass, look at the outages. Ports are told of by agents on switches."""

    def __init__(self, *, ports: bool = True, circuits: bool = True) -> None:
        document = registry()
        if not circuits:
            document["circuits"] = []
        self.registry = Registry.model_validate(document)
        self.assignments = Assignments(self.registry)
        self.lost: set[str] = set()  # sites that are not reached, for no reason the registry knows
        self.engine = Engine(self.registry, Evidence(self.registry))
        self.now = START
        self.cuts: set[str] = set()
        self.black: set[str] = set()  # circuits with a link over which nothing passes
        self.dead: set[str] = set()  # sites without power
        self.isolated = False
        self.mute: set[str] = set()  # sites whose agents deliver nothing though they are reached
        self.ended: list[Outage] = []
        self.downtimes: dict[tuple[str, str, float], float | None] = {}
        self.opened: list[str] = []
        self._ports = ports
        self._lost: dict[str, float] = {}
        self._back: dict[str, float] = {}
        self._up: dict[str, bool] = {}
        self._changed: dict[str, float] = {}
        self._sequence = 0
        self._next_hosts = 0.0
        self.run(3)

    @property
    def open(self) -> list[Outage]:
        return sorted(self.engine.open_outages.values(), key=lambda outage: outage.started)

    def run(self, seconds: float) -> None:
        """Let time pass, half a second at a time."""
        ends = self.now + seconds
        while self.now < ends:
            self.now += 0.5
            self._probe()
            if self._ports and self.now >= self._next_hosts:
                self._next_hosts = self.now + 15
                self._hosts()
            self._note(self.engine.evaluate(self.now))

    def cut(self, *circuits: str) -> None:
        """Fibers are cut: both ends lose their link, and say so where they are reached."""
        self.cuts |= set(circuits)
        self._links(circuits, up=False)

    def repair(self, *circuits: str) -> None:
        self.cuts -= set(circuits)
        self._links(circuits, up=True)

    def power_off(self, site: str) -> None:
        """The site's device dies: its neighbours' ports lose their link."""
        self.dead.add(site)
        self._links([name for name, ends in CIRCUITS.items() if site in ends], up=False)

    def power_on(self, site: str) -> None:
        self.dead.discard(site)
        self._links([name for name, ends in CIRCUITS.items() if site in ends and name not in self.cuts], up=True)

    def maintain(self, element: str, seconds: float) -> None:
        self.engine.windows.append(MaintenanceWindow(element, self.now, self.now + seconds))

    def speaker(self, agent: str, site: str) -> Speaker:
        """An agent as the registry has it; a site's probe measures along its circuits too, which have no addresses."""
        rights = self.assignments.rights(agent, site)
        own = {name for name, ends in CIRCUITS.items() if site in ends} if rights.targets else set()
        return Speaker(agent, site, replace(rights, targets=rights.targets | own))

    def say(self, agent: str, site: str, source: str, **content: Any) -> None:
        """A report of an agent, as it is taken in."""
        self._sequence += 1
        report = {
            "agent": agent, "epoch": 1, "sequence": self._sequence, "source": source, "taken": self.now,
            "interval": 5, "samples": [], "facts": [], "events": [], **content,
        }  # fmt: skip
        speaker = self.speaker(agent, site)
        prepared = prepare(json.dumps(report).encode(), 0.0, speaker, self.now, Limits())
        assert not prepared.refused_samples
        self.engine.evidence.take(prepared, self.now)

    def say_path(self, agent: str, site: str, target: str, *, up: bool) -> None:
        """What a probe says of one path."""
        labels = {"target": target}
        samples = [
            {"metric": "haidang_path_reachable", "labels": labels, "value": int(up)},
            {"metric": "haidang_path_change_timestamp_seconds", "labels": labels, "value": START},
        ]
        self.say(agent, site, "path_state", samples=samples)

    def reached(self) -> set[str]:
        if self.isolated:
            return {"ttdl"}
        if not self.registry.circuits:
            return set(self.engine.graph.neighbours) - self.lost
        return reached(self.engine.graph, self.dead, self.cuts | self.black)

    def _probe(self) -> None:
        alive = self.reached()
        samples = []
        for site in self.engine.graph.neighbours:
            if site == "ttdl":
                continue
            if site in alive:
                self._lost.pop(site, None)
                since = self._back.setdefault(site, self.now)
                if self.now - since >= _UP_AFTER and self._up.get(site) is not True:
                    self._up[site], self._changed[site] = True, since
            else:
                self._back.pop(site, None)
                since = self._lost.setdefault(site, self.now)
                if self.now - since >= _SURE_AFTER and self._up.get(site) is not False:
                    self._up[site], self._changed[site] = False, since
            if site not in self._up:
                continue
            silent = self.now - since if self._up[site] and site not in alive and self.now - since >= _DOUBT_FROM else 0
            changed = self._changed[site]
            samples += [
                {"metric": f"haidang_path_{name}", "labels": {"target": site}, "value": value}
                for name, value in (
                    ("reachable", int(self._up[site])), ("change_timestamp_seconds", changed), ("silent_seconds", silent),
                )
            ]  # fmt: skip
        self.say("sw-ttdl", "ttdl", "path_state", samples=samples)

    def _links(self, circuits: Any, *, up: bool) -> None:
        for name in circuits if self._ports else ():
            for site in CIRCUITS[name]:
                if site in self.reached() | {"ttdl"}:
                    body = {"device": f"sw-{site}", "interface": name, "admin_up": True}
                    event = {"kind": "link_up" if up else "link_down", "at": self.now, "body": body}
                    self.say(f"sw-{site}", site, "links", events=[event])

    def _hosts(self) -> None:
        for site in self.reached() - self.mute:
            samples = [
                {
                    "metric": "haidang_interface_up", "labels": {"device": f"sw-{site}", "interface": name},
                    "value": int(name not in self.cuts and not self.dead & set(ends)),
                }
                for name, ends in CIRCUITS.items()
                if site in ends
            ]  # fmt: skip
            self.say(f"sw-{site}", site, "host", interval=15, samples=samples)

    def _note(self, changes: Changes) -> None:
        for outage in changes.outages.values():
            if outage.ended is not None:
                self.ended.append(outage)
            elif outage.id not in self.opened:
                self.opened.append(outage.id)
        for each in changes.downtimes:
            self.downtimes[each.kind, each.element, each.started] = each.ended
