"""The paths the registry assigns to this agent, once a second each: up or down at once, figures now and then."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from pathlib import Path as FilePath

from haidang_wire.assignment import AssignedPath
from haidang_wire.errors import HaidangError
from haidang_wire.report import Event, Fact
from haidang_wire.sources import PATH_STATE, PATHS, ROUTES

from haidang_agent.config import PathsConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.path.discover import Route, discover
from haidang_agent.path.keys import load_keys
from haidang_agent.path.prober import Path, Prober
from haidang_agent.schedule.source import Deliver, Findings, instant

log = logging.getLogger(__name__)

_STATE_SECONDS = 5.0
# While a path is in doubt whoever judges the whole network wants to know it.
_DOUBT_SECONDS = 0.5
# When a thousand paths change within a second, that is not a thousand reports of them all.
_BETWEEN_SECONDS = 0.2
_ROUTE_SECONDS = 6 * 3600.0
_ROUTE_AGAIN_SECONDS = 60.0
_COLLECT_SECONDS = 4.0


class Paths:
    """A standing source."""

    name = PATHS

    def __init__(self, config: PathsConfig, assignments: Assignments) -> None:
        self.config = config
        self.failures = {"error": 0, "timeout": 0}
        self.duration = 0.0
        self._assignments = assignments
        self._routes: dict[str, Route] = {}
        self._route_due: dict[str, float] = {}

    def collect(self) -> Findings:
        """Some seconds of probes, for people."""
        prober = Prober(self.config.probe_seconds, self.config.packets_a_second)
        try:
            prober.assign(self._wanted())
            ends = time.monotonic() + _COLLECT_SECONDS
            while time.monotonic() < ends:
                time.sleep(min(prober.turn(), ends - time.monotonic() if ends > time.monotonic() else 0))
            return Findings([*self._figures(prober).samples, *_state(prober).samples])
        finally:
            prober.close()

    async def run(self, deliver: Deliver) -> None:
        """Probe until cancelled."""
        prober = Prober(self.config.probe_seconds, self.config.packets_a_second)
        discovering: asyncio.Task[None] | None = None
        current: object = None
        said = state_due = figures_due = route_due = 0.0
        try:
            while True:
                if current is not self._assignments.current:
                    current = self._assignments.current
                    prober.assign(self._wanted())
                    self._route_due = {target: self._route_due.get(target, 0.0) for target in prober.paths}
                    self._routes = {target: route for target, route in self._routes.items() if target in prober.paths}
                wait = prober.turn()
                now = time.monotonic()
                if prober.paths and (now >= state_due or (prober.changed and now >= said + _BETWEEN_SECONDS)):
                    self._say(prober, deliver)
                    said, state_due = now, now + (_DOUBT_SECONDS if prober.doubtful else _STATE_SECONDS)
                elif now < state_due - _DOUBT_SECONDS and prober.doubtful:
                    state_due = now + _DOUBT_SECONDS
                if prober.paths and now >= figures_due:
                    figures_due = now + self.config.interval_seconds
                    deliver(self.name, instant(), self.config.interval_seconds, self._figures(prober))
                if now >= route_due and (discovering is None or discovering.done()):
                    route_due = now + 1
                    discovering = self._discover_next(prober, deliver)
                self.duration = time.monotonic() - now
                await asyncio.sleep(wait)
        finally:
            if discovering:
                discovering.cancel()
            prober.close()

    def _wanted(self) -> dict[str, tuple[AssignedPath, bytes]]:
        """The paths that can be measured; of the others the log says why not."""
        assigned = self._assignments.current.paths
        keys: dict[str, bytes] = {}
        problem = ""
        if any(path.stamp_key for path in assigned):
            try:
                keys = load_keys(FilePath(self.config.keys_file))
            except HaidangError as error:
                self.failures["error"] += 1
                problem = str(error)
        wanted = {}
        for path in assigned:
            if not _is_address(path.address):
                log.error("%s: not measured: %r is no address", path.target, path.address)
            elif path.stamp_key and path.stamp_key not in keys:
                why = problem or f"{self.config.keys_file} has no {path.stamp_key!r}"
                log.error("%s: measured by echo alone, not by STAMP: %s", path.target, why)
                wanted[path.target] = (AssignedPath(path.target, path.address), b"")
            else:
                wanted[path.target] = (path, keys.get(path.stamp_key, b""))
        return wanted

    def _say(self, prober: Prober, deliver: Deliver) -> None:
        deliver(PATH_STATE, instant(), _STATE_SECONDS, _state(prober))
        prober.changed.clear()

    def _figures(self, prober: Prober) -> Findings:
        findings = Findings()
        for target, path in prober.paths.items():
            findings.add("path_target_info", 1, target=target, address=path.assigned.address)
            path.echo.report(findings, target=target, protocol="icmp")
            if path.session:
                path.session.report(findings, target=target, protocol="stamp")
                if path.directions.known:
                    findings.add("path_direction_lost_total", path.directions.forward, target=target, direction="there")
                    findings.add("path_direction_lost_total", path.directions.backward, target=target, direction="back")
            route = self._routes.get(target)
            if route and route.reached:
                findings.add("path_hops", len(route.hops) + 1, target=target)
            if route and route.mtu_bytes:
                findings.add("path_mtu_bytes", route.mtu_bytes, target=target)
        return findings

    def _discover_next(self, prober: Prober, deliver: Deliver) -> asyncio.Task[None] | None:
        """Begin to find the route that is due, one at a time."""
        now = time.monotonic()
        for target, path in prober.paths.items():
            due = self._route_due.get(target, 0.0)
            if path.changed_route and due - now < _ROUTE_SECONDS - _ROUTE_AGAIN_SECONDS:
                due = now
            if due <= now and path.liveness.up:
                self._route_due[target] = now + _ROUTE_SECONDS
                path.changed_route = False
                return asyncio.get_running_loop().create_task(self._discover(target, path, deliver))
        return None

    async def _discover(self, target: str, path: Path, deliver: Deliver) -> None:
        try:
            route = await asyncio.get_running_loop().run_in_executor(None, discover, path.assigned.address)
        except OSError as error:
            log.warning("the route to %s can't be found: %s", target, error)
            return
        if target not in self._route_due:  # it was taken away meanwhile
            return
        before = self._routes.get(target)
        self._routes[target] = route
        if before is not None and before.hops == route.hops and before.mtu_bytes == route.mtu_bytes:
            return
        body = {"hops": list(route.hops), "mtu_bytes": route.mtu_bytes, "reached": route.reached}
        findings = Findings(facts=[Fact("route", target, body)])
        if before is not None:
            findings.events.append(
                Event("path_changed", time.time(), {"target": target, "before": list(before.hops), **body})
            )
        deliver(ROUTES, instant(), self.config.interval_seconds, findings)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _state(prober: Prober) -> Findings:
    """Which paths are up, for how long, and since when those are silent that are in doubt."""
    findings = Findings()
    now, wall = time.monotonic(), time.time()
    for target, path in prober.paths.items():
        liveness = path.liveness
        if liveness.up is None:
            continue
        findings.add("path_reachable", int(liveness.up), target=target)
        since = wall - (now - liveness.since)
        findings.add("path_change_timestamp_seconds", round(since, 3), target=target)
        silent = liveness.silent_seconds(now) if target in prober.doubtful else 0
        findings.add("path_silent_seconds", round(silent, 2), target=target)
        if target in prober.changed and liveness.changes > 1:
            findings.events.append(Event("path_up" if liveness.up else "path_down", since, {"target": target}))
    return findings
