"""The outage engine on a large province: seconds to look at all of it once, well and with a tenth of it cut off.

python bench/outage.py [SITES] [CIRCUITS]     (default: 2000 5000)
"""

from __future__ import annotations

import random
import sys
import time

from common import show
from haidang_collector.outage.engine import Engine
from haidang_collector.outage.evidence import Evidence, PathState, PortState
from haidang_collector.registry.model import Registry
from haidang_collector.topology.graph import reached

NOW = 1_780_000_000.0
ROUNDS = 10


def province(sites: int, circuits: int) -> Registry:
    chance = random.Random(3)
    ends = [(chance.randrange(number), number) for number in range(1, sites)]
    while len(ends) < circuits:
        one, two = chance.sample(range(sites), 2)
        ends.append((one, two))
    document = {
        "province": {"name": "X", "center": "s0"},
        "sites": [
            {
                "id": f"s{n}", "name": f"s{n}", "level": "commune", "officials": 20, "probe": f"a{n}",
                "address": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
            }
            for n in range(sites)
        ],
        "devices": [
            {"id": f"a{n}", "site": f"s{n}", "address": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"} for n in range(sites)
        ],
        "circuits": [
            {
                "id": f"c{n}",
                "ends": [{"site": f"s{end}", "device": f"a{end}", "interface": f"p{n}"} for end in pair],
            }
            for n, pair in enumerate(ends)
        ],
    }  # fmt: skip
    return Registry.model_validate(document)


def see(engine: Engine, cut: set[str], now: float) -> None:
    """Probes and ports as they are with these circuits cut."""
    alive = reached(engine.graph, (), cut)
    for site in engine.graph.neighbours:
        if site != "s0":
            up = site in alive
            engine.evidence.paths["a0", site] = PathState(up, NOW if not up else NOW - 1000, 0.0, now, now + 60)
    for circuit in engine.registry.circuits:
        for end in circuit.ends:
            engine.evidence.ports[end.device, end.interface] = PortState(circuit.id not in cut, NOW, now)


def seconds(engine: Engine, now: float) -> float:
    started = time.perf_counter()
    for number in range(ROUNDS):
        engine.evaluate(now + number)
    return (time.perf_counter() - started) / ROUNDS


def main() -> int:
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    circuits = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    registry = province(sites, circuits)
    engine = Engine(registry, Evidence(registry))
    see(engine, set(), NOW)
    show("looking at a province that is well", seconds(engine, NOW), 1.0, "the goal", "well under 1 s", " s")
    cut = set(random.Random(5).sample([circuit.id for circuit in registry.circuits], circuits // 4))
    see(engine, cut, NOW + 30)
    show("looking at one cut to pieces", seconds(engine, NOW + 30), 1.0, "the goal", "well under 1 s", " s")
    lost = sum(state == "down" for state in engine.site_states.values())
    print(
        f"{lost} of {sites} sites cut off by {len(cut)} of {circuits} circuits, {len(engine.open_outages)} outages open"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
