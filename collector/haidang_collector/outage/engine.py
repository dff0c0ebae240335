"""The outage engine: from evidence to outages, one for each failure, each with who is behind it.

Pure of clocks and files: `evaluate(now)` looks at the evidence and says what changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from haidang_collector.outage import cause as causes
from haidang_collector.outage.cause import Cause, Kind
from haidang_collector.outage.coincidence import FEEDER_SECONDS
from haidang_collector.outage.evidence import Evidence
from haidang_collector.outage.model import Changes, Downtime, MaintenanceWindow, Outage
from haidang_collector.outage.remarks import remark
from haidang_collector.outage.sight import Picture, Sight, Told
from haidang_collector.registry.model import Registry
from haidang_collector.settings import Outages
from haidang_collector.topology.documented import Cables, Mismatch
from haidang_collector.topology.graph import Region, of_registry, reached, regions

# Those next to a region may be about to be lost with it, or to come back before it: they are waited for.
_DOUBT_SECONDS = 5.0
_MANY_DOUBTS_SECONDS = 20.0
_RETURN_SECONDS = 6.0
# A port says that it has no link before probes say which sites are lost; when none should be, that is soon
# certain; when some should be, something else is odd, and it is given time.
_CIRCUIT_SECONDS = 6.0
_BRIDGE_SECONDS = 20.0
# A site whose ports went dark, and of which nothing came for so long since, is silent.
_UNHEARD_SECONDS = 2.0
_FLAPS = 2
_ISOLATED_SITES = 2


class Engine:
    """`open_outages` are by id; `site_states` each site as up, degraded, down or unknown,
    `circuit_states` each circuit as up, down or unknown: where nothing current tells. `told` is by (kind, element) when
    what tells was seen and until when it is current."""

    def __init__(self, registry: Registry, evidence: Evidence, settings: Outages | None = None) -> None:
        self.registry = registry
        self.settings = settings or Outages()
        self.evidence = evidence
        self.graph = of_registry(registry)
        self.open_outages: dict[str, Outage] = {}
        self.downtimes: dict[tuple[str, str], Downtime] = {}
        self.site_states: dict[str, str] = {}
        self.circuit_states: dict[str, str] = {}
        self.told: dict[tuple[str, str], Told] = {}
        self.windows: list[MaintenanceWindow] = []
        self.sla_budgets_used: dict[str, float] = {}
        self.measured_ratios: dict[str, float] = {}
        self.mismatches: list[Mismatch] = []
        self.cables = Cables(registry)
        self.sight = Sight(registry, evidence)
        self._sites = {site.id: site for site in registry.sites}
        self._circuits = {circuit.id: circuit for circuit in registry.circuits}
        self._pending: dict[tuple[str, ...], float] = {}

    def take_over(self, before: Engine) -> None:
        """The outages of another registry's engine. Those of what this one does not have are over, see gone()."""
        self.windows = before.windows
        self.measured_ratios, self.sla_budgets_used = before.measured_ratios, before.sla_budgets_used
        self.resume(before.open_outages.values(), before.downtimes.values())

    def resume(self, outages: Iterable[Outage], downtimes: Iterable[Downtime]) -> None:
        """Go on with outages and downtimes that were open before, as far as the registry has what they are of."""
        for outage in outages:
            if not self.is_gone(outage):
                outage.sites.intersection_update(self._sites)
                outage.down.intersection_update(self._sites)
                self.open_outages[outage.id] = outage
        self.downtimes = {(each.kind, each.element): each for each in downtimes if self.has(each.kind, each.element)}

    def move(self, seconds: float, now: float) -> None:
        """The clock was set by so much: what is open is as old as it was."""
        for outage in self.open_outages.values():
            outage.move(seconds, now)
        self.downtimes = {key: each.moved(seconds, now) for key, each in self.downtimes.items()}

    def has(self, kind: str, element: str) -> bool:
        """Whether the registry has such a site or circuit, that can be down: the data center, which looks, can not."""
        return element in (self._sites if kind == "site" else self._circuits) and element != self.registry.center

    def is_gone(self, outage: Outage) -> bool:
        """Whether the registry no longer has what an outage is of."""
        if outage.kind == "center":
            return outage.site != self.registry.center
        return outage.site not in self._sites or not self._circuits.keys() >= set(outage.circuits)

    def officials(self, outage: Outage) -> int:
        """Officials of the sites it cuts off, or did last."""
        return sum(self._sites[site].officials for site in outage.down or outage.sites if site in self._sites)

    def evaluate(self, now: float) -> Changes:
        """Look at everything once."""
        picture = self.sight.look(now)
        self._doubt_what_was_heard(picture, now)
        changes = Changes()
        lost = set(picture.down)
        unknown = set(self._sites) - lost - set(picture.up) - {self.registry.center}
        # Where a failure lies is told by routers that do not answer; who is heard all the same is not cut off by it.
        silent = lost | self.sight.unreached(picture) if lost else lost
        found = regions(self.graph, silent, picture.circuits_down, unknown) if lost else []
        found = [region for region in found if region.sites & lost]
        isolated = self._isolated(picture, found)
        if isolated:
            self._meet_isolation(picture, now, changes)
        else:
            self._meet(found, picture, now, changes)
        lost = lost.union(*(region.sites for region in found)) - picture.heard.keys()
        # What nothing can tell of is taken for lost with what lies behind it, and comes back with that.
        picture.up_again = dict.fromkeys(self._sites.keys() - self.sight.sites_watched - lost, now) | picture.up
        self._meet_circuits(lost, picture, now, changes, isolated=isolated)
        self._clear(picture, now, changes)
        self._note_states(lost, picture, now, changes)
        return changes

    def _doubt_what_was_heard(self, picture: Picture, now: float) -> None:
        """A delivery shows that its site was reached then. When ports on every way to it went dark after that, its
        router is still silent, and nothing more comes, it is cut off again: so when a line flaps."""
        for site, heard in list(picture.heard.items()):
            told = {name: self.sight.went_dark(name, heard) for name in picture.circuits_down}
            dark = {name: at for name, at in told.items() if at is not None and now - at >= _UNHEARD_SECONDS}
            if dark and site not in reached(self.graph, (), dark):
                del picture.up[site], picture.heard[site], picture.silent[site]
                picture.down[site] = min(dark.values())
                self.sight.forget_heard(site, max(dark.values()))

    def _isolated(self, picture: Picture, found: list[Region]) -> bool:
        """Whether the data center, not the sites, lost its connection: nobody answers, in more than one direction."""
        if picture.answering or len(picture.down) < _ISOLATED_SITES or not self.registry.center:
            return False
        directions = {place for region in found for place in region.frontier or region.entries}
        return len(directions) > 1

    # Outages of sites

    def _meet(self, found: list[Region], picture: Picture, now: float, changes: Changes) -> None:
        waiting: set[tuple[str, ...]] = set()
        covered: set[str] = set()
        for region in found:
            outage = self._same(region)
            if outage is None and not self._settled(region, picture, now):
                waiting.add(region.frontier or region.entries)
                continue
            sites = set(region.sites) - self._of_others(region, outage) - picture.heard.keys()
            started = min((picture.down[site] for site in region.sites if site in picture.down), default=now)
            if outage is None:
                entry = next((site for site in region.entries if site not in picture.heard), region.entries[0])
                outage = self._open("site", entry, region.frontier, started, now, changes)
            covered.add(outage.id)
            why = outage.cause
            # While sites come back one after the other, other circuits lie between them: they are not what failed.
            if region.frontier == outage.circuits:
                feeder = self._feeder(region, found, picture)
                why = causes.of_region(region, self._circuits, self.evidence, started, feeder)
            self._set(outage, sites, why, changes)
        self._pending = {key: self._pending.get(key, now) for key in waiting}
        elsewhere = {site for name in covered for site in self.open_outages[name].down}
        for outage in self.open_outages.values():
            if outage.kind == "site" and outage.id not in covered and outage.down:
                self._set(outage, outage.down - picture.up.keys() - elsewhere, outage.cause, changes)

    def _same(self, region: Region) -> Outage | None:
        """The open outage a region belongs to: of the same circuits, or some of them, and the same site."""
        for outage in self.open_outages.values():
            if (
                outage.kind == "site"
                and (set(outage.circuits) & set(region.frontier) or outage.circuits == region.frontier)
                and outage.site in region.sites
            ):
                return outage
        return None

    def _of_others(self, region: Region, own: Outage | None) -> set[str]:
        """Sites of the region that an older outage cut off before."""
        others = (o for o in self.open_outages.values() if o is not own and o.kind == "site" and o.site in region.sites)
        return {site for outage in others for site in outage.down}

    def _settled(self, region: Region, picture: Picture, now: float) -> bool:
        """Whether no site next to a new region is about to share its fate, or has just come back before it."""
        seen = self._pending.get(region.frontier or region.entries, now)
        # A thousand paths that fall silent at once take longer to be sure of.
        patience = _DOUBT_SECONDS if len(picture.doubtful) <= len(picture.up) / 2 else _MANY_DOUBTS_SECONDS
        around = {other for site in region.sites for _, other in self.graph.neighbours[site]} - region.sites
        if around & picture.doubtful and now - seen < patience:
            return False
        started = max((picture.down[site] for site in region.sites if site in picture.down), default=now)
        return all(
            picture.up.get(site, 0.0) <= started or now - picture.up[site] >= _RETURN_SECONDS for site in region.near
        )

    def _feeder(self, region: Region, found: list[Region], picture: Picture) -> str:
        """The power line this region's entries share with another region that was lost at the same time."""
        for site in region.entries:
            feeder = self._sites[site].feeder
            since = picture.down.get(site)
            for other in found:
                if not feeder or since is None or other is region:
                    continue
                for entry in other.entries:
                    at = picture.down.get(entry)
                    near = at is not None and abs(at - since) <= FEEDER_SECONDS
                    if near and self._sites[entry].feeder == feeder:
                        return feeder
        return ""

    def _meet_isolation(self, picture: Picture, now: float, changes: Changes) -> None:
        outage = next((o for o in self.open_outages.values() if o.kind == "center"), None)
        if outage is None:
            key = ("center",)
            if picture.doubtful and now - self._pending.setdefault(key, now) < _DOUBT_SECONDS:
                return
            self._pending.pop(key, None)
            outage = self._open("center", self.registry.center, (), min(picture.down.values()), now, changes)
        why = Cause(Kind.CENTER, (remark("isolated", sites=len(picture.down)),))
        others = {site for o in self.open_outages.values() if o.kind == "site" for site in o.down}
        self._set(outage, set(picture.down) - others, why, changes)

    # Outages of circuits alone

    def _meet_circuits(self, lost: set[str], picture: Picture, now: float, changes: Changes, *, isolated: bool) -> None:
        explained = {circuit for o in self.open_outages.values() if o.kind == "site" for circuit in o.circuits}
        open_already = {o.circuit: o for o in self.open_outages.values() if o.kind == "circuit"}
        cut_off: set[str] | None = None
        for name, since in picture.circuits_down.items():
            outage = open_already.get(name)
            if outage is None:
                if isolated or name in explained or any(site in lost for site in self.graph.ends[name]):
                    continue
                if cut_off is None:
                    cut_off = set(self._sites) - reached(self.graph, (), picture.circuits_down)
                odd = bool(cut_off & set(self.graph.ends[name]))
                # The site that hangs on it is reached. That probes along it are not answered is not enough then, nor
                # what a port said long ago: its agent delivers over this very circuit, and may not have come to say
                # that the link is back.
                if odd and not self.sight.is_told_dark(name, now - _BRIDGE_SECONDS):
                    continue
                # A site that has just come back is known to be before the circuit it came back over.
                steady = max(since, *(picture.up.get(site, 0.0) for site in self.graph.ends[name]))
                wait = _BRIDGE_SECONDS if odd else _CIRCUIT_SECONDS
                if now - steady < wait or set(self.graph.ends[name]) & picture.doubtful:
                    continue
                far = max(self.graph.ends[name], key=lambda site: self.graph.depth.get(site, 0))
                outage = self._open("circuit", far, (name,), since, now, changes)
            why = causes.of_circuit(self._circuits[name], self.evidence, since)
            self._set(outage, set(), why, changes)

    # Beginning, change and end

    def _open(
        self, kind: str, site: str, circuits: tuple[str, ...], started: float, now: float, changes: Changes
    ) -> Outage:
        circuit = self._newest_failure(circuits, now)
        name = {"site": site, "circuit": circuit, "center": "center"}[kind]
        stamp = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%S")
        outage = Outage(f"{name}-{stamp}", kind, site, circuit, started, circuits)
        outage.planned = self._in_maintenance(outage, now)
        self.open_outages[outage.id] = outage
        changes.outages[outage.id] = outage
        return outage

    def _newest_failure(self, circuits: tuple[str, ...], now: float) -> str:
        """Of several circuits at a frontier the one that failed last: that is what cut the sites off."""
        since = {name: self.sight.circuit_down_since(name, now) or 0.0 for name in circuits}
        return max(circuits, key=lambda name: (since[name], name), default="")

    def _in_maintenance(self, outage: Outage, now: float) -> bool:
        elements = {window.element for window in self.windows if window.begins <= now < window.ends}
        circuits = set(outage.circuits)
        return outage.site in elements or (bool(circuits) and circuits <= elements)

    def _set(self, outage: Outage, down: set[str], why: Cause, changes: Changes) -> None:
        before = (set(outage.down), outage.cause, outage.clear_since, len(outage.sites))
        if outage.clear_since is not None and (down or outage.kind == "circuit"):
            outage.clear_since = None
            outage.flaps += 1
        outage.down = down
        outage.sites |= down
        # What is known once is not forgotten because the port has come back.
        news = why.kind != Kind.UNKNOWN or outage.cause.kind == Kind.UNKNOWN
        if news and (down or outage.kind == "circuit"):
            outage.cause = why
        if (outage.down, outage.cause, outage.clear_since, len(outage.sites)) != before:
            changes.outages[outage.id] = outage

    def _clear(self, picture: Picture, now: float, changes: Changes) -> None:
        for outage in list(self.open_outages.values()):
            planned = self._in_maintenance(outage, now)
            if planned != outage.planned:
                outage.planned = planned
                changes.outages[outage.id] = outage
            well = self._well_since(outage, picture, now)
            if well is None:
                continue
            if outage.clear_since is None:
                outage.clear_since, outage.down = min(max(well, outage.started), now), set()
                changes.outages[outage.id] = outage
            flapping = outage.flaps >= _FLAPS
            hold = self.settings.flapping_hold_seconds if flapping else self.settings.hold_seconds
            if now - outage.clear_since >= hold:
                outage.ended = outage.clear_since
                del self.open_outages[outage.id]
                changes.outages[outage.id] = outage

    def _well_since(self, outage: Outage, picture: Picture, now: float) -> float | None:
        """Since when all it cut off is back; None while something is not, or is not known to be."""
        if outage.kind == "circuit":
            return self._carries_since(outage.circuit, outage.started, picture, now)
        if outage.kind == "center":
            return min((picture.up[site] for site in picture.answering), default=None)
        others = {site for other in self.open_outages.values() if other is not outage for site in other.down}
        own = outage.sites - others
        if not own <= picture.up_again.keys():
            return None
        known = [picture.up[site] for site in own & picture.up.keys()]
        if known or not own:
            return max(known, default=outage.started)
        return now if now > outage.started else None

    def _carries_since(self, circuit: str, started: float, picture: Picture, now: float) -> float | None:
        """Since when a circuit that was down since `started` carries something again; None while that is not known."""
        if circuit in picture.circuits_down:
            return None
        told = picture.circuits_told.get(circuit)
        if told is None and circuit in self.sight.circuits_watched:
            return self.sight.circuit_up_since(circuit, started)
        # A site is reached over it, or the registry has nothing any more that could tell of it.
        return self.sight.circuit_up_since(circuit, started) or (told[0] if told else now)

    # States and downtimes

    def _note_states(self, lost: set[str], picture: Picture, now: float, changes: Changes) -> None:
        hurt = {site for name in picture.circuits_down for site in self.graph.ends[name]}
        for name in self._sites:
            if name in lost:
                state = "down"
            elif name in picture.up or (name == self.registry.center and name in picture.sites_told):
                state = "degraded" if name in hurt else "up"
            else:
                state = "unknown"
            self.site_states[name] = state
        behind = {site: o.id for o in self.open_outages.values() for site in o.down}
        dead = {circuit: o for o in self.open_outages.values() if o.kind != "center" for circuit in o.circuits}
        self._note_downtimes("site", {s: picture.down.get(s, now) for s in behind}, behind, picture.up_again, changes)
        circuits = dict(picture.circuits_down)
        for name, outage in dead.items():
            # The only way to sites that are cut off carries nothing, whether or not a port says so.
            if outage.down and len(outage.circuits) == 1:
                circuits.setdefault(name, outage.started)
                at = max((picture.sites_told[site] for site in outage.down if site in picture.sites_told), default=None)
                if at is not None:
                    picture.circuits_told[name] = max(at, picture.circuits_told.get(name, at))
        ends = {
            name: ended
            for kind, name in self.downtimes
            if kind == "circuit" and (ended := self._circuit_ended(name, dead.get(name), picture, now)) is not None
        }
        self._note_downtimes("circuit", circuits, {c: o.id for c, o in dead.items()}, ends, changes)
        self.circuit_states = {
            name: "unknown" if name not in picture.circuits_told else "down" if name in circuits else "up"
            for name in self._circuits
        }
        self.told = {("site", name): at for name, at in picture.sites_told.items()}
        self.told |= {("circuit", name): at for name, at in picture.circuits_told.items()}

    def _circuit_ended(self, name: str, outage: Outage | None, picture: Picture, now: float) -> float | None:
        """When a circuit that was down carried something again; None while that is not known."""
        started = self.downtimes["circuit", name].started
        # Sites that are back because they are heard again did not come back over it.
        cleared = outage.clear_since if outage and outage.sites & picture.answering else None
        since = self.sight.circuit_up_since(name, started) or cleared
        return since or self._carries_since(name, started, picture, now)

    def _note_downtimes(
        self, kind: str, down: dict[str, float], outages: dict[str, str], up: dict[str, float], changes: Changes
    ) -> None:
        """`down` is since when those are down that are, `up` since when those are up that are known to be."""
        for element, since in down.items():
            if (kind, element) not in self.downtimes:
                self.downtimes[kind, element] = begun = Downtime(kind, element, since, outages.get(element, ""))
                changes.downtimes.append(begun)
            elif not self.downtimes[kind, element].outage and element in outages:
                # A port was without link before it was known what that cut off.
                self.downtimes[kind, element] = known = replace(self.downtimes[kind, element], outage=outages[element])
                changes.downtimes.append(known)
        for key, downtime in list(self.downtimes.items()):
            if key[0] != kind or key[1] in down or key[1] not in up:
                continue
            del self.downtimes[key]
            changes.downtimes.append(replace(downtime, ended=max(up[key[1]], downtime.started)))
