"""Devices over SNMP: every device of the configuration, polled side by side, a report each."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from haidang_wire.errors import ConfigError

from haidang_agent.config import SnmpConfig, SnmpDevice
from haidang_agent.snmp.credentials import load_credentials
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import load_profiles
from haidang_agent.snmp.session import DeviceError, Manner, Session
from haidang_agent.source import Findings

log = logging.getLogger(__name__)


class Snmp:
    """Polls all devices side by side in each run, which ends with the slowest of them: one that
    hangs delays the others' reports, never their measurement, and at most by the time limit."""

    name = "snmp"

    def __init__(self, config: SnmpConfig) -> None:
        """Raises ConfigError for credentials or profiles that can't be used."""
        self.config = config
        self._profiles = load_profiles(config.profiles_folder)
        self._credentials = load_credentials(Path(config.credentials_file))
        for device in config.devices:
            if device.credential not in self._credentials:
                raise ConfigError(
                    f"there is no credential {device.credential!r} for the device {device.name}",
                    where=config.credentials_file,
                )
            if device.profile and device.profile not in self._profiles.all:
                raise ConfigError(f"there is no profile {device.profile!r} for the device {device.name}")
        self._manners = {device.name: Manner() for device in config.devices}
        self._said: dict[str, list[str]] = {}

    def collect(self) -> Findings:
        """A report of each device; one that does not answer says haidang_device_up 0."""
        return Findings(targets=asyncio.run(self._all()))

    async def _all(self) -> dict[str, Findings]:
        turns = asyncio.Semaphore(self.config.at_once)
        polls = await asyncio.gather(*(self._one(device, turns) for device in self.config.devices))
        for found in polls:
            if found.notes != self._said.get(found.device, []):  # said once, not every minute
                log.warning("%s: %s", found.device, "; ".join(found.notes) or "answers again, completely")
            self._said[found.device] = found.notes
        return {found.device: found.findings() for found in polls}

    async def _one(self, device: SnmpDevice, turns: asyncio.Semaphore) -> Poll:
        config = self.config
        async with turns:
            try:
                session = Session(
                    device.address,
                    device.port,
                    self._credentials[device.credential],
                    timeout_seconds=config.answer_seconds,
                    retries=config.retries,
                    packets_a_second=config.packets_a_second,
                    manner=self._manners[device.name],
                )
                coroutine = poll(device.name, session, self._profiles, device.profile)
                return await asyncio.wait_for(coroutine, config.timeout_seconds * 0.9)
            except (DeviceError, asyncio.TimeoutError) as error:
                text = str(error) or f"took longer than {config.timeout_seconds * 0.9:.0f} seconds"
                failed = Poll(device.name, notes=[text])
                failed.add("device_up", 0)
                return failed
