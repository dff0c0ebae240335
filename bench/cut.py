"""Seconds from a cut to its page at a webhook: ours as shipped, and blackbox_exporter as it is usually set up.

    python bench/cut.py [CUTS]     (default: 30)

Sites hang on the data center by a link each, in network namespaces. The links are cut one after the other, at
random moments, and stay cut until both have paged. Ours: one probe, the collector, rules/prometheus.yml and
rules/alertmanager.yml as they are but for addresses. The peer: ICMP module, 15 s scrape, 15 s evaluation, `for: 1m`,
group_wait 30 s, and a group for each site, so that no page waits for another's.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles

import yaml
from common import need

from tests.conftest import BIN, Center, Processes, free_port, wait_for
from tests.system.network import ip, own_namespace
from tests.system.stack import Stack

STEADY = 6  # sites that are never cut: with all gone the center would be, and is said to be
PATIENCE_SECONDS = 240


class Pages:
    """When a page of each site came first."""

    def __init__(self, label: str, alert: str) -> None:
        self.at: dict[str, float] = {}
        at = self.at

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                for each in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]:
                    if each["status"] == "firing" and each["labels"]["alertname"] == alert:
                        at.setdefault(each["labels"][label], time.time())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()


def build(sites: list[str]) -> None:
    """A namespace and a link a site; ends of ours are cut by taking down the site's."""
    ip("link", "set", "lo", "up")
    for number, site in enumerate(sites, 1):
        ip("netns", "add", f"cut-{site}")
        ip("link", "add", site, "type", "veth", "peer", "name", "wan", "netns", f"cut-{site}")
        ip("address", "add", f"10.7.{number}.1/30", "dev", site)
        ip("link", "set", site, "up")
        ip("-n", f"cut-{site}", "address", "add", f"10.7.{number}.2/30", "dev", "wan")
        ip("-n", f"cut-{site}", "link", "set", "wan", "up")


def registry(sites: list[str]) -> str:
    document = {
        "province": {"name": "X", "center": "ttdl"},
        "sites": [
            {"id": "ttdl", "name": "TTDL", "level": "province", "probe": "probe"},
            *({"id": s, "name": s, "level": "commune", "address": f"10.7.{n}.2"} for n, s in enumerate(sites, 1)),
        ],
        "devices": [{"id": "probe", "site": "ttdl", "address": "127.0.0.1"}],
        "circuits": [
            {"id": f"c-{s}", "ends": [{"site": "ttdl", "device": "probe", "interface": s}, {"site": s}]} for s in sites
        ],
    }
    return yaml.safe_dump(document)


def ours(folder: Path, processes: Processes, sites: list[str]) -> Pages:
    pages = Pages("site", "HaidangSiteDown")
    center = Center(folder, processes)
    file = folder / "registry.yaml"
    file.write_text(registry(sites))
    center.command("registry", "load", str(file))
    stack = Stack(folder, processes, center, free_port(), as_shipped=True, webhook_port=pages.port)
    state = center.enrol(folder / "probe", site="ttdl", name="probe")
    config = folder / "agent.toml"
    config.write_text("[sources.paths]\nenabled = true\n[sources.links]\nenabled = true\n")
    agent = str(BIN / "haidang-agent")
    processes.start("agent", agent, "run", "--state-dir", str(state), "--config", str(config))
    wait_for("all sites are up", lambda: len(stack.query("haidang_site_up == 1")) == len(sites) + 1, 90)
    return pages


def peer(folder: Path, processes: Processes, sites: list[str]) -> Pages:
    pages = Pages("instance", "Down")
    blackbox, prometheus, alertmanager = free_port(), free_port(), free_port()
    (folder / "blackbox.yml").write_text("modules: {icmp: {prober: icmp}}\n")
    processes.start(
        "blackbox", need("prometheus-blackbox-exporter"), f"--config.file={folder / 'blackbox.yml'}",
        f"--web.listen-address=127.0.0.1:{blackbox}",
    )  # fmt: skip
    rule = {"alert": "Down", "expr": "probe_success == 0", "for": "1m"}
    (folder / "peer-rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    relabel = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["site"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": f"127.0.0.1:{blackbox}"},
    ]
    targets = [{"targets": [f"10.7.{n}.2"], "labels": {"site": s}} for n, s in enumerate(sites, 1)]
    job = {
        "job_name": "icmp", "metrics_path": "/probe", "params": {"module": ["icmp"]},
        "static_configs": targets, "relabel_configs": relabel,
    }  # fmt: skip
    config = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [str(folder / "peer-rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": [job],
    }
    (folder / "peer.yml").write_text(yaml.safe_dump(config))
    route = {"receiver": "w", "group_by": ["alertname", "instance"], "group_wait": "30s"}
    receivers = [{"name": "w", "webhook_configs": [{"url": f"http://127.0.0.1:{pages.port}/"}]}]
    (folder / "peer-am.yml").write_text(yaml.safe_dump({"route": route, "receivers": receivers}))
    processes.start(
        "peer-alertmanager", need("prometheus-alertmanager"), f"--config.file={folder / 'peer-am.yml'}",
        f"--storage.path={folder / 'peer-am'}", f"--web.listen-address=127.0.0.1:{alertmanager}",
        "--cluster.listen-address=",
    )  # fmt: skip
    processes.start(
        "peer-prometheus", need("prometheus"), f"--config.file={folder / 'peer.yml'}",
        f"--storage.tsdb.path={folder / 'peer-tsdb'}", f"--web.listen-address=127.0.0.1:{prometheus}",
    )  # fmt: skip
    wait_for("the peer is ready", lambda: Stack.ready(prometheus), 30)
    return pages


def main() -> int:
    cuts = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    sites = [f"s{n}" for n in range(cuts + STEADY)]
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as made, own_namespace():
        folder, at = Path(made), {}
        processes = Processes(folder)
        try:
            build(sites)
            theirs = peer(folder, processes, sites)
            mine = ours(folder, processes, sites)
            time.sleep(30)  # the peer has scraped everything twice
            for site in sites[:cuts]:
                time.sleep(chance.uniform(3, 9))
                at[site] = time.time()
                ip("-n", f"cut-{site}", "link", "set", "wan", "down")
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline and min(len(mine.at), len(theirs.at)) < cuts:
                time.sleep(1)
        finally:
            processes.stop()
            for site in sites:
                subprocess.run(["ip", "netns", "delete", f"cut-{site}"], capture_output=True)
    for name, pages in (("ours", mine), ("blackbox_exporter", theirs)):
        took = [pages.at[site] - at[site] for site in at if site in pages.at]
        p95 = quantiles(took, n=20)[-1] if len(took) > 1 else float("nan")
        extra = sorted(set(pages.at) - set(at))
        print(
            f"{name}: {len(took)} of {cuts} cuts paged, {len(extra)} false pages; seconds to the webhook:"
            f" p50 {median(took):.1f}, p95 {p95:.1f}, worst {max(took):.1f} (goal of ours: p95 10 or less)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
