"""Paths over a real line: a veth pair, nftables dropping what crosses it, a reflector at its end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from haidang_agent.config import PathsConfig
from haidang_agent.delivery.assignment import Assignments
from haidang_agent.path.discover import discover
from haidang_agent.path.prober import Prober
from haidang_agent.schedule.source import Findings
from haidang_agent.sources import paths
from haidang_wire.assignment import AssignedPath, Assignment

from tests.conftest import BIN, Processes, require, wait_for
from tests.system.network import Fiber, fiber, ip

pytestmark = pytest.mark.system
KEY = "000102030405060708090a0b0c0d0e0f"
PORT = 862


@pytest.fixture
def line() -> Iterator[Fiber]:
    require("nft")
    with fiber() as made:
        yield made


def reflector(line: Fiber, folder: Path, processes: Processes, key: str = "", address: str = "0.0.0.0") -> None:
    """The agent's reflector alone, in the site's namespace."""
    keys = folder / "stamp.toml"
    keys.write_text(f'[center]\nkey = "{KEY}"\n')
    keys.chmod(0o600)
    program = (
        "import asyncio\n"
        "from haidang_agent.config import ReflectorConfig\n"
        "from haidang_agent.sources.reflector import Reflector\n"
        f"config = ReflectorConfig(address='{address}', port={PORT}, allowed='192.0.2.0/24 2001:db8::/32',"
        f" key_name='{key}', keys_file='{keys}', a_second=1000)\n"
        "asyncio.run(Reflector(config).run(lambda *_: print('ready', flush=True)))\n"
    )
    processes.start("reflector", *line.in_site(str(BIN / "python"), "-c", program))
    wait_for("the reflector listens", lambda: "ready" in processes.log("reflector"), 10)


def rules(line: Fiber, *wanted: str) -> None:
    """nftables rules at the site's end, in `in` (from the center) and `out` (to it)."""
    text = "flush ruleset\ntable inet t {\n"
    for chain, hook in (("in", "input"), ("out", "output")):
        own = "\n".join(rule.removeprefix(chain) for rule in wanted if rule.startswith(chain))
        text += f"chain {chain} {{ type filter hook {hook} priority 0; {own}\n}}\n"
    subprocess.run(line.in_site("nft", "-f", "-"), input=text + "}\n", text=True, check=True)


def measure(prober: Prober, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(prober.turn())


def samples(prober: Prober, protocol: str) -> dict[str, float]:
    findings = Findings()
    path = next(iter(prober.paths.values()))
    figures = path.echo if protocol == "icmp" else path.session
    assert figures is not None
    figures.report(findings)
    return {s.metric.removeprefix("haidang_path_") + s.labels.get("le", ""): s.value for s in findings.samples}


def one(line: Fiber, port: int = 0, key: str = "") -> dict[str, tuple[AssignedPath, bytes]]:
    return {"a": (AssignedPath("a", line.site_address, port, key and "center"), bytes.fromhex(key))}


@pytest.mark.parametrize("key", ["", "center"])
def test_stamp_tells_the_direction_in_which_packets_are_lost(
    line: Fiber, tmp_path: Path, processes: Processes, key: str
) -> None:
    reflector(line, tmp_path, processes, key)
    prober = Prober(0.02, 5000)
    prober.assign(one(line, PORT, KEY if key else ""))
    measure(prober, 1)
    rules(line, f"in udp dport {PORT} numgen random mod 10 < 3 drop")
    measure(prober, 4)
    rules(line, f"out udp sport {PORT} numgen random mod 10 < 1 drop")
    measure(prober, 4)
    rules(line)
    measure(prober, 4)
    prober.close()
    path = prober.paths["a"]
    told = samples(prober, "stamp")
    assert path.directions.known
    # About 60 of 200 there, 20 of 200 back.
    assert 30 < path.directions.forward < 100
    assert 5 < path.directions.backward < 45
    assert path.directions.forward + path.directions.backward == told["packets_lost_total"]
    assert told["packets_duplicate_total"] == told["packets_reordered_total"] == 0
    assert 0 < told["round_trip_distribution_seconds_sum"] / told["round_trip_distribution_seconds_count"] < 0.05
    assert samples(prober, "icmp")["packets_lost_total"] == 0
    assert path.liveness.changes == 1


@pytest.mark.parametrize(
    ("listen", "center", "router"), [("0.0.0.0", "192.0.2.1", "198.51.100.7"), ("::", "2001:db8::1", "2001:db8:1::7")]
)
def test_a_router_answers_from_the_address_that_was_asked(
    line: Fiber, tmp_path: Path, processes: Processes, listen: str, center: str, router: str
) -> None:
    """A router's own address is on none of its links."""
    ip("-n", line.site, "address", "add", router, "dev", "lo")
    if ":" in router:
        ip("address", "add", f"{center}/64", "dev", "fiber", "nodad")
        ip("-n", line.site, "address", "add", "2001:db8::2/64", "dev", "wan0", "nodad")
        ip("-6", "route", "add", "2001:db8:1::/48", "via", "2001:db8::2")
    else:
        ip("route", "add", router, "via", line.site_address)
    reflector(line, tmp_path, processes, address=listen)
    prober = Prober(0.05, 5000)
    prober.assign({"a": (AssignedPath("a", router, PORT), b"")})
    measure(prober, 3)
    prober.close()
    told = samples(prober, "stamp")
    assert told["round_trip_distribution_seconds_count"] > 20
    assert prober.paths["a"].directions.known
    assert prober.paths["a"].liveness.up


def test_a_packet_signed_with_another_key_is_not_answered(line: Fiber, tmp_path: Path, processes: Processes) -> None:
    reflector(line, tmp_path, processes, "center")
    prober = Prober(0.05, 5000)
    prober.assign(one(line, PORT, KEY[::-1]))
    measure(prober, 4)
    prober.close()
    told = samples(prober, "stamp")
    assert told["packets_lost_total"] > 10
    assert told["round_trip_distribution_seconds_count"] == 0


def test_a_cut_and_its_repair_are_noticed_at_the_pace_that_is_shipped(line: Fiber) -> None:
    prober = Prober(1.0, 5000)
    prober.assign(one(line))
    measure(prober, 2)
    liveness = prober.paths["a"].liveness
    assert liveness.up
    cut = time.monotonic()
    line.set("down")
    while liveness.up and time.monotonic() - cut < 10:
        time.sleep(prober.turn())
    assert time.monotonic() - cut < 4.5
    assert -0.1 < liveness.since - cut < 1.1
    repaired = time.monotonic()
    line.set("up")
    while not liveness.up and time.monotonic() - repaired < 10:
        time.sleep(prober.turn())
    assert liveness.up
    assert prober.changed == {"a"}
    prober.close()


def test_probes_of_many_paths_are_spread_and_each_is_known(line: Fiber) -> None:
    for number in range(10, 110):
        ip("-n", line.site, "address", "add", f"198.51.100.{number}/32", "dev", "wan0")
    ip("route", "add", "198.51.100.0/24", "via", line.site_address)
    wanted = {str(n): (AssignedPath(str(n), f"198.51.100.{n}"), b"") for n in range(10, 210)}
    prober = Prober(1.0, 5000)
    prober.assign(wanted)
    measure(prober, 8)
    up = {int(target) for target, path in prober.paths.items() if path.liveness.up}
    down = {int(target) for target, path in prober.paths.items() if path.liveness.up is False}
    assert up == set(range(10, 110))
    assert down == set(range(110, 210))
    for target in range(10, 110):
        assert 7 <= prober.paths[str(target)].echo.sent <= 9
    prober.assign({"10": wanted["10"]})
    measure(prober, 1.5)
    assert list(prober.paths) == ["10"]
    prober.close()


def test_route_and_path_mtu_are_found_even_where_errors_are_dropped(line: Fiber) -> None:
    # center – site – behind, with a narrower line behind the site.
    behind = f"{line.site}-b"
    ip("netns", "add", behind)
    try:
        ip("-n", line.site, "link", "add", "lan0", "type", "veth", "peer", "name", "wan0", "netns", behind)
        ip("-n", line.site, "address", "add", "198.51.100.1/24", "dev", "lan0")
        ip("-n", line.site, "link", "set", "lan0", "up", "mtu", "1380")
        ip("-n", behind, "link", "set", "wan0", "up", "mtu", "1380")
        ip("-n", behind, "address", "add", "198.51.100.2/24", "dev", "wan0")
        ip("-n", behind, "route", "add", "default", "via", "198.51.100.1")
        ip("netns", "exec", line.site, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        ip("route", "add", "198.51.100.0/24", "via", line.site_address)
        found = discover("198.51.100.2")
        assert found.hops == (line.site_address,)
        assert found.reached
        assert found.mtu_bytes == 1380
        ip("route", "flush", "cache")
        rules(line, "out icmp type destination-unreachable drop")
        assert discover("198.51.100.2").mtu_bytes == 1380
    finally:
        ip("netns", "delete", behind)


def test_an_address_that_does_not_answer_has_no_route_and_proves_no_mtu(line: Fiber) -> None:
    ip("route", "add", "198.51.100.0/24", "via", line.site_address)
    rules(line, "in ip daddr 198.51.100.0/24 drop")
    found = discover("198.51.100.9")
    assert (found.hops, found.mtu_bytes, found.reached) == ((), None, False)


def test_a_route_that_changes_is_an_event_and_a_fact(
    line: Fiber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "_ROUTE_AGAIN_SECONDS", 1.0)
    assignments = Assignments(tmp_path)
    assignments.current = Assignment(paths=(AssignedPath("a", "198.51.100.7"),))
    source = paths.Paths(PathsConfig(enabled=True, probe_seconds=0.2), assignments)
    facts: list[list[str]] = []
    events: list[tuple[list[str], list[str]]] = []

    def deliver(name: str, taken: float, interval: float, findings: Findings) -> None:
        facts.extend(fact.body["hops"] for fact in findings.facts)
        events.extend((e.body["before"], e.body["hops"]) for e in findings.events if e.kind == "path_changed")

    async def until(what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, (what, facts, events)
            await asyncio.sleep(0.1)

    async def watch() -> None:
        task = asyncio.ensure_future(source.run(deliver))
        await until("the first route", lambda: facts == [[]])
        assert events == []
        # The address moves one router further away.
        ip("-n", line.site, "address", "delete", "198.51.100.7/32", "dev", "lo")
        ip("-n", line.site, "route", "add", "198.51.100.7", "via", "203.0.113.2")
        await until("the other route", lambda: events == [([], [line.site_address])])
        assert facts == [[], [line.site_address]]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    behind = f"{line.site}-b"
    ip("netns", "add", behind)
    try:
        ip("route", "add", "198.51.100.7", "via", line.site_address)
        ip("-n", line.site, "address", "add", "198.51.100.7/32", "dev", "lo")
        ip("-n", line.site, "link", "add", "lan0", "type", "veth", "peer", "name", "wan0", "netns", behind)
        ip("-n", line.site, "address", "add", "203.0.113.1/24", "dev", "lan0")
        ip("-n", line.site, "link", "set", "lan0", "up")
        ip("netns", "exec", line.site, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        ip("-n", behind, "link", "set", "wan0", "up")
        ip("-n", behind, "link", "set", "lo", "up")
        ip("-n", behind, "address", "add", "203.0.113.2/24", "dev", "wan0")
        ip("-n", behind, "address", "add", "198.51.100.7/32", "dev", "lo")
        ip("-n", behind, "route", "add", "default", "via", "203.0.113.1")
        asyncio.run(watch())
    finally:
        ip("netns", "delete", behind)
