"""Optics of this machine's own ports, for switches that run Linux and machines with an SFP: the
`ethtool` program reads the module's EEPROM, which needs CAP_NET_ADMIN (packaging/switch.conf).
Linux alone."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path

from haidang_wire.report import Fact
from haidang_wire.sources import TRANSCEIVERS

from haidang_agent.eeprom import Optics, TooShort, decode
from haidang_agent.eeprom.light import milliwatts_to_dbm
from haidang_agent.schedule.source import Findings

log = logging.getLogger(__name__)

_NETWORK = Path("/sys/class/net")
_READ_SECONDS = 5.0
# Ports that gave nothing are asked again so seldom: somebody may plug a module in.
_AGAIN_SECONDS = 600.0
_QUANTITIES = {
    "temperature": ("temperature", "celsius"),
    "voltage": ("voltage", "volts"),
    "bias": ("bias", "amperes"),
    "receive_power": ("receive_power", "dbm"),
    "transmit_power": ("transmit_power", "dbm"),
}


class Transceivers:
    """Same metrics and labels as a switch polled over SNMP; `device` is this machine's name."""

    name = TRANSCEIVERS

    def __init__(self, device: str, ethtool: str = "ethtool") -> None:
        self._device = device
        self._ethtool = ethtool
        self._without: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def collect(self) -> Findings:
        """Each port's light, bias, temperature, voltage and their limits; who made the module."""
        findings = Findings()
        if shutil.which(self._ethtool) is None:
            raise FileNotFoundError(f"{self._ethtool} is not installed: it reads the modules")
        modules: dict[str, dict[str, str]] = {}
        for interface in _ports():
            if time.monotonic() < self._without.get(interface, 0.0):
                continue
            optics = self._read(interface)
            if optics is None:
                self._without[interface] = time.monotonic() + _AGAIN_SECONDS
                continue
            add(findings, self._device, interface, optics)
            modules[interface] = {"vendor": optics.vendor, "part": optics.part, "serial": optics.serial}
        findings.facts.append(Fact("transceivers", self._device, {"modules": modules}))
        return findings

    def _read(self, interface: str) -> Optics | None:
        dump = self._ask(interface)
        if dump is None:
            return None
        try:
            return decode(dump, lambda page: self._ask(interface, page))
        except TooShort as error:
            self._say(interface, f"its module can't be read: {error}")
            return None
        except (OSError, subprocess.SubprocessError):
            raise
        except Exception as error:  # what one module brings out is no other's
            log.debug("%s", interface, exc_info=True)
            self._say(interface, f"its module can't be read: {type(error).__name__}: {error}")
            return None

    def _ask(self, interface: str, page: int | None = None) -> bytes | None:
        of_page = ["page", hex(page), "offset", "128", "length", "128"] if page is not None else []
        command = [self._ethtool, "-m", interface, "raw", "on", *of_page]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_READ_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            self._say(interface, "its module does not answer")
            return None
        if done.returncode == 0 and done.stdout:
            return done.stdout
        text = done.stderr.decode("utf-8", "replace").strip()
        if "not permitted" in text:
            raise PermissionError(f"{text}: the service needs CAP_NET_ADMIN (packaging/switch.conf)")
        log.debug("%s: %s", interface, text)
        return None

    def _say(self, interface: str, text: str) -> None:
        if self._said.get(interface) != text:  # once, not every minute
            log.warning("%s: %s", interface, text)
        self._said[interface] = text


def _ports() -> list[str]:
    """Interfaces with a driver behind them: no bridges, no virtual ones."""
    return sorted(path.name for path in _NETWORK.iterdir() if (path / "device").exists())


def add(findings: Findings, device: str, interface: str, optics: Optics) -> None:
    """Samples of one module."""
    common = {"device": device, "interface": interface}
    values: dict[str, dict[str, float | None]] = {
        "temperature": {"": optics.temperature},
        "voltage": {"": optics.voltage},
        "bias": {lane: each.bias for lane, each in optics.lanes.items()},
        "receive_power": {lane: each.receive_power for lane, each in optics.lanes.items()},
        "transmit_power": {lane: each.transmit_power for lane, each in optics.lanes.items()},
    }
    for quantity, by_lane in values.items():
        name, unit = _QUANTITIES[quantity]
        for lane, raw in by_lane.items():
            if raw is None:
                continue
            _put(findings, f"optical_{name}_{unit}", raw, lane=lane, **common)
            for level, limit in optics.limits.get(quantity, {}).items():
                _put(findings, f"optical_{name}_threshold_{unit}", limit, lane=lane, level=level, **common)


def _put(findings: Findings, metric: str, value: float, **labels: str) -> None:
    shown = milliwatts_to_dbm(value) if metric.endswith("_dbm") else value
    if shown is not None:
        findings.add(metric, shown, **labels)
