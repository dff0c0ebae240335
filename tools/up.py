"""`make up`: the real thing on this machine, all state in one folder, until Ctrl-C or SIGTERM.

Collector, this machine's agent, Prometheus and Alertmanager on the project's own rules, and a
receiver that prints what Alertmanager would page. Started again it resumes.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

import yaml

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("HAIDANG_STATE", ROOT / ".state")).resolve()
BIN = Path(sys.executable).parent
PORTS = {"collector": 8443, "prometheus": 9090, "alertmanager": 9093, "pages": 9099}
START_SECONDS = 60.0
LOOPBACK = "127.0.0.1"


class Stopped(Exception):
    """Somebody asked us to stop."""


def say(text: str) -> None:
    print(text, flush=True)


def ports() -> dict[str, int]:
    """The ports of this folder: the usual ones where they are free, the same ones each time."""
    file = STATE / "ports.json"
    chosen = json.loads(file.read_text()) if file.exists() else {}
    for name, usual in PORTS.items():
        if name not in chosen:
            chosen[name] = usual if free(usual) else free_port(set(chosen.values()))
        elif not free(chosen[name]):
            sys.exit(
                f"Port {chosen[name]} ({name}) is in use. Is `make up` running already? Stop it, or whatever"
                f" uses the port, or remove {file.parent} to begin anew on other ports."
            )
    file.write_text(json.dumps(chosen))
    return chosen


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


class Pages(BaseHTTPRequestHandler):
    """Prints what Alertmanager sends: the on-call telephone of this machine."""

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/watchdog":
            for alert in document["alerts"]:
                name, severity = alert["labels"]["alertname"], alert["labels"].get("severity", "")
                say(f"  [{alert['status']}] {severity} {name}: {alert['annotations'].get('summary', '')}")
            with (STATE / "pages.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(document, ensure_ascii=False) + "\n")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Up:
    """The processes, their owner."""

    def __init__(self) -> None:
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ports = ports()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.config = STATE / "collector.toml"

    def start(self, name: str, *command: str) -> None:
        """Start a process that ends when we do, whatever ends us; its output goes to a log file."""
        die_with_us = [shutil.which("setpriv") or "", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with (STATE / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*die_with_us, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, name: str, port: int, path: str, *, tls: bool = False) -> None:
        """Until the process answers; exit with the end of its log when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            if answers(port, path, tls=tls):
                return
            time.sleep(0.1)
        self.stop()
        log = (STATE / f"{name}.log").read_text(errors="replace").splitlines()[-10:]
        sys.exit("\n".join([f"{name} does not start:", *log, f"The whole log: {STATE / (name + '.log')}"]))

    def command(self, *command: str, text: str | None = None) -> str:
        """Run one of our commands to its end; exit with what it says when it fails."""
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            self.stop()
            sys.exit(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def collector(self) -> None:
        receiver = ""
        if shutil.which("prometheus"):
            receiver = f'\n[remote_write]\nurl = "http://{LOOPBACK}:{self.ports["prometheus"]}/api/v1/write"\n'
        console = receiver and f'[console]\nprometheus_url = "http://{LOOPBACK}:{self.ports["prometheus"]}"\n'
        self.config.write_text(
            f'state_dir = "{STATE / "collector"}"\nlisten_port = {self.ports["collector"]}\n{receiver}{console}',
            encoding="utf-8",
        )
        tool = str(BIN / "haidang-collector")
        if not (STATE / "collector" / "collector.db").exists():
            say("Loading the example registry (docs/examples/registry.yaml)")
            self.command(
                tool, "--config", str(self.config), "registry", "load", str(ROOT / "docs/examples/registry.yaml")
            )
        say("Starting the collector")
        self.start("collector", tool, "--config", str(self.config), "serve")
        self.wait("collector", self.ports["collector"], "/readyz", tls=True)

    def agent(self) -> None:
        tool, folder = str(BIN / "haidang-agent"), str(STATE / "agent")
        if not (STATE / "agent" / "enrolment.json").exists():
            say("Enrolling this machine's agent at site ttdl")
            token = self.command(
                str(BIN / "haidang-collector"), "--config", str(self.config), "token", "create", "--site", "ttdl"
            )
            url = f"https://{LOOPBACK}:{self.ports['collector']}"
            # The token goes through a pipe: a process list would show it.
            self.command(tool, "enrol", "--state-dir", folder, "--collector", url, "--token", "-", text=token + "\n")
        say("Starting the agent")
        self.start("agent", tool, "run", "--state-dir", folder)

    def status_page(self) -> str:
        """Its address, and the certificate a browser needs for it."""
        file = STATE / "operator.p12"
        file.unlink(missing_ok=True)
        tool = str(BIN / "haidang-collector")
        said = self.command(tool, "--config", str(self.config), "operator", "truc-ban", str(file))
        url = f"https://{LOOPBACK}:{self.ports['collector']}/console/"
        return f"Status page: {url} (import {file} into the browser, password {said.split()[-1]})"

    def prometheus(self) -> None:
        folder = STATE / "prometheus"
        folder.mkdir(exist_ok=True)
        config = yaml.safe_load((ROOT / "rules/prometheus.yml").read_text(encoding="utf-8"))
        config["rule_files"] = ["haidang.yml"]
        rules = (ROOT / "rules/haidang.yml").read_text(encoding="utf-8")
        collector = f"https://{LOOPBACK}:{self.ports['collector']}"
        (folder / "haidang.yml").write_text(rules.replace("https://haidang.example", collector), encoding="utf-8")
        alertmanager = {"targets": [f"{LOOPBACK}:{self.ports['alertmanager']}"]}
        config["alerting"]["alertmanagers"][0]["static_configs"] = [alertmanager]
        tls = {"ca_file": str(STATE / "collector" / "ca.pem")}
        for job in config["scrape_configs"]:
            job["tls_config"] = tls
            discovery = job["http_sd_configs"][0]
            discovery.update(url=f"https://{LOOPBACK}:{self.ports['collector']}/sd/collector", tls_config=tls)
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        say("Starting Prometheus")
        self.start(
            "prometheus",
            shutil.which("prometheus") or "",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=30d",
            f"--web.listen-address={LOOPBACK}:{self.ports['prometheus']}",
            "--web.enable-remote-write-receiver",
        )
        self.wait("prometheus", self.ports["prometheus"], "/-/ready")

    def alertmanager(self) -> None:
        folder = STATE / "alertmanager"
        folder.mkdir(exist_ok=True)
        config = yaml.safe_load((ROOT / "rules/alertmanager.yml").read_text(encoding="utf-8"))
        config["templates"] = [str(ROOT / "rules/templates/*.tmpl")]
        for receiver in config["receivers"]:
            # Mail and Telegram need addresses of yours: here everything goes to the webhook.
            receiver.pop("email_configs", None)
            receiver.pop("telegram_configs", None)
            for webhook in receiver.get("webhook_configs", []):
                webhook["url"] = webhook["url"].replace(":9099", f":{self.ports['pages']}")
        file = folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        say("Starting Alertmanager")
        self.start(
            "alertmanager",
            shutil.which("prometheus-alertmanager") or "",
            f"--config.file={file}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.ports['alertmanager']}",
            "--cluster.listen-address=",
        )
        self.wait("alertmanager", self.ports["alertmanager"], "/-/ready")

    def run(self) -> int:
        server = ThreadingHTTPServer((LOOPBACK, self.ports["pages"]), Pages)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.collector()
        self.agent()
        addresses = [f"Collector: https://{LOOPBACK}:{self.ports['collector']}", self.status_page()]
        if shutil.which("prometheus"):
            self.prometheus()
            addresses.insert(0, f"Prometheus: http://{LOOPBACK}:{self.ports['prometheus']}")
        else:
            say("Prometheus is not installed (Debian's package prometheus): going on without it")
        if shutil.which("prometheus-alertmanager"):
            self.alertmanager()
            addresses.append(f"Alertmanager: http://{LOOPBACK}:{self.ports['alertmanager']}")
        else:
            say("Alertmanager is not installed (Debian's package prometheus-alertmanager): going on without it")
        say("\n".join(["", *addresses]))
        say(
            "\nLook at:\n"
            "  Prometheus, Graph: haidang_agent_up, haidang_host_memory_available_bytes, haidang_path_loss_ratio\n"
            "  Prometheus, Alerts: HaidangWatchdog fires always; the others when there is something\n"
            f"  .venv/bin/haidang-agent status --state-dir {STATE / 'agent'}\n"
            f"  .venv/bin/haidang-agent doctor --state-dir {STATE / 'agent'}\n"
            f"  To see a page: kill -9 {self.processes['agent'].pid} (the agent), wait a minute, and read here\n"
            f"  Logs and all state: {STATE}\n"
            "Ctrl-C stops all of it; `make up` goes on where it stopped.\n"
        )
        announced: set[str] = set()
        while True:
            time.sleep(0.5)
            for name, process in self.processes.items():
                if process.poll() is not None and name not in announced:
                    announced.add(name)
                    say(f"{name} has ended ({process.returncode}); its log: {STATE / (name + '.log')}")

    def stop(self) -> None:
        """Ask all to end, agent first so that it can say so; after ten seconds end them."""
        for name in ("agent", "prometheus", "alertmanager", "collector"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port: int, path: str, *, tls: bool) -> bool:
    """Whether a GET is answered 200; of our own collector on loopback TLS proves nothing here."""
    try:
        connection: http.client.HTTPConnection
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=2, context=context)
        else:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return status == 200


def main() -> int:
    def on_signal(number: int, frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    up = Up()
    try:
        return up.run()
    except Stopped:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        say("\nStopping")
    finally:
        up.stop()
    say("Stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
