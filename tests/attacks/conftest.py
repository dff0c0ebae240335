"""Whom attacks need: machines that speak for themselves, honest ones and others, and the question whether all stands."""

from __future__ import annotations

import copy
import gzip
import http.client
import itertools
import json
import signal
import time
from typing import Any

import pytest
from haidang_collector.identity.authority import new_key_and_request

from tests.conftest import Center, delivery, report, wait_for


class Machine:
    """An enrolled machine over one kept connection; it says what a test makes it say."""

    def __init__(self, center: Center, name: str, site: str = "ttdl") -> None:
        self.center = center
        self.site = site
        self._sequences = itertools.count(1)
        self._connection: http.client.HTTPSConnection | None = None
        key, request = new_key_and_request(name)
        token = center.command("token", "create", "--site", site).split(".")[0]
        body = json.dumps({"token": token, "name": name, "request": request}).encode()
        status, answer = center.post("/v1/enrol", body)
        assert status == 200, answer
        self.name = str(answer["agent"])
        self.identity = center.folder / f"{self.name}.pem"
        self.identity.write_bytes(key + str(answer["certificate"]).encode())

    def report(self, **changes: Any) -> dict[str, Any]:
        """A good report of its own, with changes; each has a sequence number of its own."""
        return report(self.name, **{"sequence": next(self._sequences), **changes})

    def deliver(self, *reports: dict[str, Any], age: float = 0.0) -> tuple[int, dict[str, Any]]:
        """(status, receipt or problem) of a delivery of these."""
        return self.post("/v1/reports", delivery(*reports, age=age))

    def post(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, *, packed: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """(status, document) of any request with its certificate."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        if packed:
            body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        for again in (True, False):
            if self._connection is None:
                context = self.center.context(self.identity)
                self._connection = http.client.HTTPSConnection(
                    self.center.address, self.center.port, timeout=30, context=context
                )
            try:
                self._connection.request("POST", path, body, headers)
                answer = self._connection.getresponse()
                return answer.status, json.loads(answer.read() or b"{}")
            except (OSError, http.client.HTTPException):
                self.close()
                if not again:
                    raise
        raise AssertionError

    def another(self) -> Machine:
        """The same machine over a connection of its own, for another thread."""
        same = copy.copy(self)
        same._connection = None
        return same

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def shows(center: Center, machine: Machine, value: float) -> bool:
    """Whether the machine's one honest value is on /metrics."""
    series = f'haidang_host_processes{{site="{machine.site}",agent="{machine.name}"}}'
    return center.metrics().get(series) == value


def stands(center: Center, honest: Machine) -> None:
    """The collector lives, takes an honest agent's report and shows it, and does all this again after a new start."""
    value = time.time() % 1000 // 1 + 1
    status, receipt = honest.deliver(honest.report(samples=[_processes(value)]))
    assert (status, receipt.get("accepted")) == (200, 1), receipt
    wait_for("the honest value is shown", lambda: shows(center, honest, value), 10)
    assert center.process.poll() is None, center.processes.log("collector")
    honest.close()
    center.process.terminate()
    assert center.process.wait(20) in (0, -signal.SIGTERM), center.processes.log("collector")
    center.start()
    wait_for("it is shown again after a start", lambda: shows(center, honest, value), 10)
    status, receipt = honest.deliver(honest.report(samples=[_processes(value + 1)]))
    assert (status, receipt.get("accepted")) == (200, 1), receipt
    wait_for("the next is shown", lambda: shows(center, honest, value + 1), 10)
    assert "Traceback" not in center.processes.log("collector")


def _processes(value: float) -> dict[str, Any]:
    return {"metric": "haidang_host_processes", "labels": {}, "value": value}


@pytest.fixture
def honest(center: Center) -> Machine:
    """One that says what is true."""
    return Machine(center, "honest-1")


@pytest.fixture
def attacker(center: Center) -> Machine:
    """One that does not, of a commune."""
    return Machine(center, "attacker-1", "xa-dong-thinh")


__all__ = ["Machine", "shows", "stands"]
