"""Prometheus and Alertmanager as `make up` runs them, on the project's own files."""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, Center, Processes, free_port, require, wait_for

# In place of the shipped three minutes in which a collector that has just started pages nobody; promtool holds those.
SETTLED_SECONDS = 20
_SETTLED = "(time() - haidang_collector_start_timestamp_seconds < {})"


class Webhook:
    """Receives what Alertmanager sends, in order: (status, alert name, labels), and the annotations of each."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, dict[str, str]]] = []
        self.texts: list[dict[str, str]] = []
        received, texts = self.alerts, self.texts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in document["alerts"]:
                    texts.append(alert["annotations"])
                    received.append((alert["status"], alert["labels"]["alertname"], alert["labels"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def has(self, status: str, name: str) -> bool:
        return any(alert[:2] == (status, name) for alert in self.alerts)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def quick_rules(soon: tuple[str, ...]) -> str:
    """The shipped rules for a stack of tests."""
    document = yaml.safe_load((ROOT / "rules/haidang.yml").read_text())
    alerts = {rule["alert"]: rule for group in document["groups"] for rule in group["rules"] if "alert" in rule}
    down = alerts["HaidangAgentDown"]
    assert down["expr"].count(_SETTLED.format(180)) == 1
    down["expr"] = down["expr"].replace(_SETTLED.format(180), _SETTLED.format(SETTLED_SECONDS))
    for name in soon:
        alerts[name]["for"] = "30s"
    return yaml.safe_dump(document, allow_unicode=True)


class Stack:
    """Both programs beside a collector whose remote write goes to `prometheus_port`."""

    def __init__(
        self, folder: Path, processes: Processes, center: Center, prometheus_port: int,
        *, as_shipped: bool = False, webhook_port: int = 0, soon: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Faster than shipped, so that tests are (the figures that matter are the rules' own), unless `as_shipped`;
        the alerts `soon` after half a minute. Pages go to `webhook`, or to another one's port."""
        self.webhook = Webhook()
        self._webhook_port = webhook_port or self.webhook.port
        self._as_shipped = as_shipped
        self.port = prometheus_port
        alertmanager_port = free_port()
        self._alertmanager(folder, processes, alertmanager_port)
        config = yaml.safe_load((ROOT / "rules/prometheus.yml").read_text())
        rules = ROOT / "rules/haidang.yml"
        if not as_shipped:
            rules = folder / "haidang.yml"
            rules.write_text(quick_rules(soon))
        config["rule_files"] = [str(rules)]
        config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]
        if not as_shipped:
            config["global"].update(scrape_interval="2s", scrape_timeout="2s", evaluation_interval="2s")
        # Prometheus comes from another address than loopback: it proves itself as a scraper.
        scraper = str(folder / "scraper.pem")
        center.command("scraper", "prometheus", scraper)
        tls = {"ca_file": str(center.state / "ca.pem"), "cert_file": scraper, "key_file": scraper}
        for job in config["scrape_configs"]:
            job.update(tls_config=tls)
            job["http_sd_configs"][0].update(url=f"{center.url}/sd/collector", tls_config=tls)
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        processes.start(
            "prometheus", require("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus_port}", "--web.enable-remote-write-receiver",
        )  # fmt: skip
        wait_for("prometheus", lambda: self.ready(prometheus_port), 30)

    def _alertmanager(self, folder: Path, processes: Processes, port: int) -> None:
        config = yaml.safe_load((ROOT / "rules/alertmanager.yml").read_text())
        config["templates"] = [str(ROOT / "rules/templates/*.tmpl")]
        for receiver in config["receivers"]:
            receiver.pop("email_configs", None)
            receiver.pop("telegram_configs", None)
            for webhook in receiver.get("webhook_configs", []):
                webhook["url"] = f"http://127.0.0.1:{self._webhook_port}/"
        for route in [] if self._as_shipped else [config["route"], *config["route"]["routes"]]:
            route.update(group_wait="1s", group_interval="2s")
        file = folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        processes.start(
            "alertmanager", require("prometheus-alertmanager"), f"--config.file={file}",
            f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        )  # fmt: skip
        wait_for("alertmanager", lambda: self.ready(port), 30)

    @staticmethod
    def ready(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def query(self, query: str, path: str = "query", **parameters: Any) -> list[dict[str, Any]]:
        text = urllib.parse.urlencode({"query": query, **parameters})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{text}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result
