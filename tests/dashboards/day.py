"""A day of a province, as Prometheus would hold it: 400 sites, 600 circuits, outages of each cause.

Written through the project's own remote write messages, in the order of time; then what the rules would have recorded.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import yaml
from haidang_collector.exposition.remote_write import WriteRequest
from haidang_collector.outage import remarks
from haidang_wire.metrics import CATALOGUE, samples_of

from tests.conftest import ROOT, Processes, free_port, require, wait_for
from tests.system.stack import Stack

SITES, CIRCUITS = 400, 600
STEP_SECONDS = 120
STEPS = 24 * 3600 // STEP_SECONDS
_REQUEST_STEPS = 60
# How far from now the day ends when it is made, and at least when somebody else of the same run takes it over.
_AHEAD_SECONDS, _LEFT_SECONDS = 900, 420
Values = Callable[[int], float | None]
CAUSES = ("fiber_cut", "far_device", "power", "carrier", "unknown")
_PROMETHEUS_OWN = ("ALERTS", "ALERTS_FOR_STATE")
KNOWN = {sample for metric in CATALOGUE.values() for sample in samples_of(metric)}


@dataclass(frozen=True)
class Outage:
    """Of a site and the circuit it hangs on; `ends` in steps, none while it is open."""

    site: int
    cause: str
    begins: int
    ends: int | None

    def at(self, step: int) -> bool:
        return self.begins <= step < (STEPS if self.ends is None else self.ends)


OUTAGES = [Outage(10 + 7 * n, cause, 60 + 90 * n, 90 + 90 * n) for n, cause in enumerate(CAUSES)]
OUTAGES += [Outage(77, "fiber_cut", STEPS - 40, None), Outage(99, "power", STEPS - 12, None)]


@dataclass
class Day:
    """The series and their values by step."""

    started: float
    series: list[tuple[tuple[tuple[str, str], ...], Values]] = field(default_factory=list)

    def add(self, name: str, values: Values | float, /, **labels: str) -> None:
        assert f"haidang_{name}" in KNOWN or name in _PROMETHEUS_OWN, name
        full = name if name in _PROMETHEUS_OWN else f"haidang_{name}"
        fixed = (("__name__", full), ("instance", "collector"), ("job", "haidang"), *labels.items())
        given: Values = values if callable(values) else (lambda step, value=values: value)  # type: ignore[misc]
        self.series.append((tuple(sorted(fixed)), given))

    def requests(self) -> Iterator[bytes]:
        """Remote write requests, the oldest samples first."""
        for first in range(0, STEPS, _REQUEST_STEPS):
            request = WriteRequest()
            for labels, values in self.series:
                made = request.timeseries.add()
                for key, text in labels:
                    made.labels.add(name=key, value=text)
                for step in range(first, min(STEPS, first + _REQUEST_STEPS)):
                    value = values(step)
                    if value is not None:
                        made.samples.add(value=value, timestamp=round((self.started + step * STEP_SECONDS) * 1000))
            yield bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def down(site: int, step: int) -> bool:
    return any(outage.site == site and outage.at(step) for outage in OUTAGES)


def wave(number: int, step: int) -> float:
    """0 to 1 over the day, another phase for each."""
    return (1 + math.sin(2 * math.pi * (step / STEPS + number / 17))) / 2


def make(now: float) -> Day:
    """All of it, up to now."""
    day = Day(now - STEPS * STEP_SECONDS)
    day.add("outages_judged", 1)
    for number in range(SITES):
        _site(day, number)
    for number in range(CIRCUITS):
        _circuit(day, number)
    _outages(day, now)
    _devices(day, now)
    _machines(day, now)
    _plan_and_services(day, now)
    _collector(day, now)
    return day


def _site(day: Day, n: int) -> None:
    site, level = f"site-{n}", ("province" if n == 0 else "district" if n < 30 else "commune")
    day.add("site_info", 1, site=site, name=f"Cơ quan {n}", level=level, parent="")
    day.add("site_officials", 20 + n % 60, site=site)
    day.add("site_up", lambda step: int(not down(n, step)), site=site)
    day.add("site_degraded", lambda step: int(n % 97 == 3 and step > 400), site=site)
    agent = {"site": site, "agent": f"pc-{n}"}
    day.add("agent_up", lambda step: int(n % 50 != 7), **agent)
    day.add("agent_stopped", int(n % 100 == 57), **agent)
    day.add("agent_last_report_timestamp_seconds", day.started + 1000 * (n % 50 == 7) + 86000, **agent)
    day.add("agent_clock_offset_seconds", -3600 if n % 90 == 5 else 0.4, **agent)
    day.add("agent_info", 1, **agent, version="0.1.0", python=f"3.{9 + n % 4}", system="Debian")
    day.add("agent_source_up", int(n % 120 != 9), **agent, source="host")
    day.add("agent_spool_bytes", 1e6 + 1e5 * (n % 9), **agent)
    day.add("agent_spool_limit_bytes", 1e8, **agent)
    day.add("agent_spool_reports", lambda step: 900.0 if down(n, step) else 1.0, **agent)
    day.add("agent_resident_memory_bytes", 3e7, **agent)
    day.add("agent_uplink_failures_total", lambda step: float(step * (n % 77 == 1)), **agent, reason="network")
    _path(day, site, n)
    if n < 30:
        day.add("host_mains_power", lambda step: int(not (n == 24 and down(24, step))), **agent)


def _path(day: Day, target: str, n: int) -> None:
    path = {"site": "site-0", "agent": "probe", "target": target}
    lossy = 0.05 if n % 60 == 4 else 0.001
    day.add("path_packets_sent_total", lambda step: 120.0 * step, **path, protocol="icmp")
    day.add("path_packets_lost_total", lambda step: 120.0 * step * lossy, **path, protocol="icmp")
    shares = {"0.005": 0.3 + 0.2 * (n % 3), "0.01": 0.95, "0.05": 0.99, "0.1": 1.0, "+Inf": 1.0}
    for bound, part in shares.items():
        counted: Values = lambda step, part=part: 120.0 * step * part  # type: ignore[misc]  # noqa: E731
        day.add("path_round_trip_distribution_seconds_bucket", counted, **path, protocol="icmp", le=bound)
    if n < 41:
        day.add("path_delay_variation_seconds", 0.001, **path, protocol="icmp")
        day.add("path_hops", lambda step: 4 + (step > 500), **path)
        for direction in ("there", "back"):
            day.add("path_direction_lost_total", lambda step: 0.1 * step, **path, direction=direction)


def _circuit(day: Day, n: int) -> None:
    near, far = (0 if n < SITES else n - SITES), (n % SITES if n < SITES else n - SITES + 1)
    circuit = {"circuit": f"c-{n}", "carrier": f"carrier-{n % 3}"}
    end = {"site": f"site-{far}", "device": f"sw-{far}", "interface": f"wan{n // SITES}"}
    day.add("circuit_info", 1, **circuit, medium="fiber", carrier_circuit=f"VT-{n}")
    day.add("circuit_end_info", 1, **circuit, **end)
    measured = n % 50 != 11
    day.add(
        "circuit_up",
        lambda step: int(not (n < SITES and down(far, step))) if measured or step < 600 else None,
        **circuit,
    )
    day.add("circuit_measured", lambda step: int(measured or step < 600), **circuit)
    day.add("circuit_measured_ratio", 0.99 if measured else 0.4, **circuit)
    day.add("circuit_bandwidth_bytes_per_second", 1.25e7, circuit=circuit["circuit"])
    day.add("circuit_sla_budget_used_ratio", 1.4 if n % 100 == 3 else 0.02 * (n % 20), **circuit)
    if n % 200 == 9:
        day.add("circuit_mismatch_info", 1, **end, circuit=circuit["circuit"], problem="wrong_port",
                expected=f"sw-{near} ge1", found=f"sw-{near} ge2")  # fmt: skip
    if n % 20 == 0:
        _path(day, circuit["circuit"], n)
    if n < 120:
        _port(day, end, n)


def _port(day: Day, end: dict[str, str], n: int) -> None:
    port = {**end, "agent": "probe"}
    total = [0.0]
    for step in range(STEPS):
        total.append(
            total[-1] + STEP_SECONDS * 1.25e7 * (0.05 + 0.9 * wave(n, step) * (n % 7 == 0) + 0.2 * wave(n, step))
        )
    day.add("interface_receive_bytes_total", lambda step: total[step], **port)
    day.add("interface_transmit_bytes_total", lambda step: total[step] / 3, **port)
    day.add("interface_up", lambda step: int(not down(n % SITES, step)), **port)
    day.add("interface_receive_errors_total", lambda step: float(step * (n % 11 == 0)), **port)
    day.add("interface_receive_drops_total", lambda step: float(step * (n % 13 == 0)), **port)
    for side, value in (("receive", -9.0), ("transmit", -3.0)):
        drift: Values = lambda step, value=value: value - (step / STEPS) * (n % 40 == 3)  # type: ignore[misc]  # noqa: E731
        day.add(f"optical_{side}_power_dbm", drift, **port, lane="")
        day.add(f"optical_{side}_power_threshold_dbm", value - 9, **port, lane="", level="low_warning")
    day.add("optical_bias_amperes", 0.02, **port, lane="")
    day.add("optical_temperature_celsius", lambda step: 35 + 8 * wave(n, step), **port, lane="")


def _outages(day: Day, now: float) -> None:
    for outage in OUTAGES:
        begins = day.started + outage.begins * STEP_SECONDS
        name = f"site-{outage.site}-{outage.begins}"

        def during(value: float, outage: Outage = outage) -> Values:
            return lambda step: value if outage.at(step) else None

        own, words = {"outage": name}, remarks.CAUSES[outage.cause]
        day.add("outage_open", during(1), **own, kind="site", site=f"site-{outage.site}", circuit=f"c-{outage.site}",
                carrier="carrier-1", planned="0")  # fmt: skip
        day.add("outage_info", during(1), **own, cause=outage.cause, cause_en=words.en, cause_vi=words.vi)
        day.add("outage_sites", during(1), **own)
        day.add("outage_officials", during(20.0 + outage.site % 60), **own)
        day.add("outage_start_timestamp_seconds", during(begins), **own)
        day.add("ALERTS", during(1), alertname="HaidangSiteDown", alertstate="firing", severity="critical",
                site=f"site-{outage.site}")  # fmt: skip
        day.add(
            "ALERTS_FOR_STATE",
            during(begins),
            alertname="HaidangSiteDown",
            severity="critical",
            site=f"site-{outage.site}",
        )
    battery = {"alertname": "HaidangUpsBatteryOld", "severity": "info", "site": "site-24", "device": "sw-24"}
    day.add("ALERTS", 1, alertstate="firing", **battery)
    day.add("ALERTS_FOR_STATE", day.started + 4000, **battery)


def _devices(day: Day, now: float) -> None:
    for n in range(60):
        role = "appliance" if n % 3 == 0 else "switch"
        device = {"site": f"site-{n}", "device": f"fw-{n}" if role == "appliance" else f"sw-{n}", "agent": "probe"}
        day.add("device_registry_info", 1, site=device["site"], device=device["device"], role=role, agent="probe")
        day.add("device_up", int(n != 33), **device)
        day.add("device_uptime_seconds", lambda step: 1e6 + step * STEP_SECONDS, **device)
        day.add("device_temperature_celsius", lambda step, n=n: 40 + 20 * wave(n, step), **device, sensor="inlet")  # type: ignore[misc]
        day.add("device_cpu_utilization_ratio", lambda step, n=n: wave(n, step), **device, sensor="cpu")  # type: ignore[misc]
        day.add("device_memory_utilization_ratio", 0.6, **device, sensor="memory")
        if n < 5:
            day.add("ups_on_battery", 0, **device)
        if role == "appliance":
            day.add("appliance_ha_ok", int(n != 6), **device, sensor="ha")
            day.add("appliance_license_ok", int(n != 9), **device, sensor="av")
            day.add("appliance_license_expiry_timestamp_seconds", now + 86400 * (n - 10) * 10, **device, sensor="av")
            day.add("appliance_signature_timestamp_seconds", now - 86400 * n, **device, sensor="av")
            day.add("vpn_tunnels", 4, **device, sensor="ipsec")


def _machines(day: Day, now: float) -> None:
    for n in range(SITES):
        site = f"site-{n}"
        day.add("inventory_machines", 40, site=site)
        day.add("inventory_machines_missing", int(n % 31 == 0), site=site)
        day.add("inventory_coverage_ratio", 0.6 + 0.4 * (n % 5) / 5, site=site)
        if n % 80 == 0:
            day.add("inventory_clones", 2, site=site)
            day.add("inventory_machines_disputed", 1, site=site)
            day.add("network_devices_new", 1, site=site)
        for m in range(2):
            machine = {"site": site, "agent": f"pc-{n}-{m}"}
            day.add("workstation_info", 1, **machine, chassis="laptop" if m else "desktop", manufacturer="Dell Inc.",
                    model=f"OptiPlex {n % 6}", system="Windows 10 Pro" if n % 2 else "Windows 11 Pro", version="10")  # fmt: skip
            day.add("workstation_disk_healthy", int(n % 130 != 5), **machine, disk="sda")
            day.add("workstation_antivirus_on", int(n % 40 != 5), **machine)
            day.add("workstation_updates_security_pending", n % 6, **machine)
            day.add("workstation_support_ends_timestamp_seconds", now - 1e6 if n % 2 else now + 1e7, **machine)


FIGURES = (
    "fiber",
    "appliance",
    "workstation",
    "document_system",
    "online_services",
    "electronic_documents",
    "it_officer",
)


def _plan_and_services(day: Day, now: float) -> None:
    for number, figure in enumerate(FIGURES):
        day.add(
            "plan_target_ratio", 0.7 if figure == "appliance" else 0.8 if "electronic" in figure else 1, figure=figure
        )
        for level in ("all", "province", "district", "commune"):
            day.add(
                "plan_ratio",
                lambda step, number=number: 0.5 + 0.06 * number + 0.05 * step / STEPS,
                level=level,
                figure=figure,
            )  # type: ignore[misc]
        for n in range(SITES):
            day.add("plan_site_ratio", float((n + number) % 9 != 0), site=f"site-{n}", figure=figure)
    for number, kind in enumerate(("document_system", "portal", "one_stop", "public_service")):
        service = {"service": kind.replace("_", "-")}
        asked = {**service, "site": "site-0", "agent": "probe"}
        day.add("service_info", 1, **service, site="site-0", kind=kind)
        day.add("service_up", lambda step, number=number: int(not (number == 1 and 300 < step < 320)), **asked)  # type: ignore[misc]
        day.add("service_response_seconds", lambda step, number=number: 0.1 + 0.4 * wave(number, step), **asked)  # type: ignore[misc]
        day.add("service_certificate_ends_timestamp_seconds", now + 86400 * (5 + 40 * number), **asked)
        if number == 0:
            for n in range(60):
                day.add("service_documents", 1000, **asked, unit=f"site-{n}")
                day.add("service_documents_electronic", 500 + 8 * n, **asked, unit=f"site-{n}")


def _collector(day: Day, now: float) -> None:
    day.add("collector_series", 250_000)
    day.add("collector_start_timestamp_seconds", day.started - 86400)
    day.add("collector_commit_failures_total", 0)
    day.add("collector_late_reports_waiting", lambda step: 40.0 * (step % 100 < 5))
    day.add("collector_certificate_expiry_timestamp_seconds", now + 200 * 86400, certificate="server")
    day.add("collector_process_resident_memory_bytes", 4e8)
    for outcome, rate in (("live", 300.0), ("late", 2.0), ("duplicate", 0.1)):
        day.add("collector_reports_total", lambda step, rate=rate: rate * step, outcome=outcome)  # type: ignore[misc]
    for code in ("200", "403"):
        day.add("collector_requests_total", lambda step: 90.0 * step, endpoint="/v1/reports", code=code)
    day.add("collector_refused_reports_total", lambda step: 0.1 * step, reason="malformed")
    day.add("collector_refused_samples_total", lambda step: 0.1 * step, reason="unknown_metric")
    for bound, part in (("0.01", 0.6), ("0.1", 0.99), ("+Inf", 1.0)):
        day.add("collector_commit_duration_seconds_bucket", lambda step, part=part: 50 * step * part, le=bound)  # type: ignore[misc]
    day.add("collector_process_cpu_seconds_total", lambda step: 20.0 * step)
    day.add("collector_remote_write_samples_total", lambda step: 12.0 * step)
    day.add("collector_remote_write_failures_total", lambda step: 0.01 * step, reason="network")
    day.add("collector_outage_evaluation_seconds", 0.004)
    day.add("collector_exposition_duration_seconds", 0.02)


# Prometheus


def _of_this_run(folder: Path) -> Path:
    """A folder that all who load the day in this run of the tests share; `folder` is one that pytest made for them."""
    run = folder.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else folder.parent
    shared = run / "day"
    shared.mkdir(exist_ok=True)
    return shared


class Filled:
    """A Prometheus that holds the day, and what rules record of it."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.port = free_port()
        shared = _of_this_run(folder)
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = shared / "now"
            if made.exists() and float(made.read_text()) > time.time() + _LEFT_SECONDS:
                self.now = float(made.read_text())
                shutil.copytree(shared / "tsdb", folder / "tsdb")
            else:
                self._fill(folder, processes)
                shutil.rmtree(shared / "tsdb", ignore_errors=True)
                shutil.copytree(folder / "tsdb", shared / "tsdb")
                made.write_text(f"{self.now}")
        self._start(folder, processes)

    def _fill(self, folder: Path, processes: Processes) -> None:
        # It ends a while from now, so that what asks for the present finds one as long as tests run.
        self.now = (time.time() + _AHEAD_SECONDS) // STEP_SECONDS * STEP_SECONDS
        prometheus = self._start(folder, processes)
        for body in make(self.now).requests():
            self.write(body)
        self._tell(self.now - 86400, self.now, 1)
        for rule in _rules():
            self._record(rule)
        prometheus.terminate()
        prometheus.wait(60)

    def _start(self, folder: Path, processes: Processes) -> subprocess.Popen[bytes]:
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"storage": {"tsdb": {"out_of_order_time_window": "2d"}}}))
        command = (
            require("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
        )  # fmt: skip
        process = processes.start("prometheus", *command)
        wait_for("prometheus", lambda: Stack.ready(self.port), 120)
        return process

    def _tell(self, first: float, last: float, up: float, *firing: str) -> None:
        """What Prometheus says each half minute: whether the collector answers, and what fires."""
        moments = range(round(first), round(last) + 1, 30)
        series: list[tuple[str, float | None, dict[str, str]]] = [
            ("up", up, {"instance": "collector", "job": "haidang"}),
            ("center:haidang_evaluation:timestamp", None, {}),  # the moment itself
        ]
        for name in ("HaidangWatchdog", *firing):
            severity = "critical" if firing and name in firing else "none"
            labels = {"alertname": name, "alertstate": "firing", "severity": severity}
            series.append(("ALERTS", 1.0, labels))
        request = WriteRequest()
        for name, value, labels in series:
            made = request.timeseries.add()
            for key, text in sorted({**labels, "__name__": name}.items()):
                made.labels.add(name=key, value=text)
            for moment in moments:
                made.samples.add(value=moment if value is None else value, timestamp=moment * 1000)
        self.write(bytes(cramjam.snappy.compress_raw(request.SerializeToString())))

    def go_blind(self, until: float) -> None:
        """The collector is dead from the day's end on: Prometheus finds it down, and its rules say so."""
        self._tell(self.now + 30, until, 0, "HaidangCollectorDown")

    def write(self, body: bytes) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/write", body,
            {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status in (200, 204)

    def _record(self, rule: dict[str, Any]) -> None:
        """What a rule's expression gave at each step of the day, under its name."""
        parameters = {"query": rule["expr"], "start": self.now - 86400 + 600, "end": self.now, "step": STEP_SECONDS}
        url = f"http://127.0.0.1:{self.port}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = json.load(answer)["data"]["result"]
        assert found, rule["record"]
        request = WriteRequest()
        for series in found:
            made = request.timeseries.add()
            for key, text in sorted({**series["metric"], **rule.get("labels", {}), "__name__": rule["record"]}.items()):
                made.labels.add(name=key, value=text)
            for at, value in series["values"]:
                made.samples.add(value=float(value), timestamp=round(at * 1000))
        self.write(bytes(cramjam.snappy.compress_raw(request.SerializeToString())))


def _rules() -> Iterator[dict[str, Any]]:
    """Recording rules, those first that others stand on."""
    groups = yaml.safe_load((ROOT / "rules/haidang.yml").read_text())["groups"]
    left = [rule for group in groups for rule in group["rules"] if "record" in rule]
    while left:
        names = {rule["record"] for rule in left}
        ready = [rule for rule in left if not any(name in rule["expr"] for name in names)]
        yield from ready
        left = [rule for rule in left if rule not in ready]
