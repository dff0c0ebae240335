"""The machine: processors, memory, filesystems, disks, interfaces, temperatures, power."""

from __future__ import annotations

import platform
import socket

import psutil
from haidang_wire.sources import HOST

from haidang_agent.platform.system import boot_seconds, interface_kind, is_whole_disk, system_name
from haidang_agent.schedule.source import Findings

# Counted in another mode already (proc(5): guest time is part of user time).
_CPU_MODES_COUNTED_TWICE = frozenset(("guest", "guest_nice"))


class Host:
    """Everything psutil knows of the machine, in about 10 ms."""

    name = HOST

    def __init__(self, device: str) -> None:
        self.device = device

    def collect(self) -> Findings:
        """Samples of the families haidang_host_* and haidang_interface_*."""
        findings = Findings()
        self._system(findings)
        self._processors(findings)
        self._memory(findings)
        self._filesystems(findings)
        self._disks(findings)
        self._interfaces(findings)
        self._temperatures(findings)
        self._power(findings)
        return findings

    def _system(self, findings: Findings) -> None:
        findings.add(
            "host_info", 1,
            hostname=socket.gethostname(), system=system_name(),
            release=platform.release(), machine=platform.machine(),
        )  # fmt: skip
        findings.add("host_uptime_seconds", round(boot_seconds(), 1))
        findings.add("host_processes", len(psutil.pids()))

    def _processors(self, findings: Findings) -> None:
        findings.add("host_cpus", psutil.cpu_count() or 1)
        for mode, seconds in psutil.cpu_times()._asdict().items():
            if mode not in _CPU_MODES_COUNTED_TWICE:
                findings.add("host_cpu_seconds_total", seconds, mode=mode)
        for window, load in zip(("1m", "5m", "15m"), psutil.getloadavg()):
            findings.add("host_load_average", round(load, 2), window=window)

    def _memory(self, findings: Findings) -> None:
        memory = psutil.virtual_memory()
        findings.add("host_memory_size_bytes", memory.total)
        findings.add("host_memory_available_bytes", memory.available)
        swap = psutil.swap_memory()
        findings.add("host_swap_size_bytes", swap.total)
        findings.add("host_swap_used_bytes", swap.used)

    def _filesystems(self, findings: Findings) -> None:
        # Only local disks: a network filesystem whose server is gone would hang the source.
        seen = set()
        for partition in psutil.disk_partitions(all=False):
            if partition.mountpoint in seen or "cdrom" in partition.opts:
                continue
            seen.add(partition.mountpoint)
            try:
                usage = psutil.disk_usage(partition.mountpoint)
            except OSError:  # unmounted meanwhile, or a card reader without a card
                continue
            where = {"mountpoint": partition.mountpoint, "fstype": partition.fstype}
            findings.add("host_filesystem_size_bytes", usage.total, **where)
            findings.add("host_filesystem_available_bytes", usage.free, **where)
            findings.add("host_filesystem_readonly", int("ro" in partition.opts.split(",")), **where)

    def _disks(self, findings: Findings) -> None:
        for disk, io in (psutil.disk_io_counters(perdisk=True, nowrap=False) or {}).items():
            if not is_whole_disk(disk):
                continue
            findings.add("host_disk_read_bytes_total", io.read_bytes, disk=disk)
            findings.add("host_disk_written_bytes_total", io.write_bytes, disk=disk)
            findings.add("host_disk_reads_total", io.read_count, disk=disk)
            findings.add("host_disk_writes_total", io.write_count, disk=disk)
            if hasattr(io, "busy_time"):
                findings.add("host_disk_busy_seconds_total", io.busy_time / 1000, disk=disk)

    def _interfaces(self, findings: Findings) -> None:
        addresses = psutil.net_if_addrs()
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        for interface, state in psutil.net_if_stats().items():
            if interface == "lo" or interface.startswith("Loopback"):
                continue
            which = {"device": self.device, "interface": interface}
            mac = next((a.address for a in addresses.get(interface, ()) if a.family == psutil.AF_LINK), "")
            findings.add("interface_info", 1, kind=interface_kind(interface), address=mac.lower(), **which)
            findings.add("interface_up", int(state.isup), **which)
            findings.add("interface_mtu_bytes", state.mtu, **which)
            if state.speed > 0:
                findings.add("interface_speed_bytes_per_second", state.speed * 1e6 / 8, **which)
            io = counters.get(interface)
            if io is None:
                continue
            findings.add("interface_receive_bytes_total", io.bytes_recv, **which)
            findings.add("interface_transmit_bytes_total", io.bytes_sent, **which)
            findings.add("interface_receive_packets_total", io.packets_recv, **which)
            findings.add("interface_transmit_packets_total", io.packets_sent, **which)
            findings.add("interface_receive_errors_total", io.errin, **which)
            findings.add("interface_transmit_errors_total", io.errout, **which)
            findings.add("interface_receive_drops_total", io.dropin, **which)
            findings.add("interface_transmit_drops_total", io.dropout, **which)

    def _temperatures(self, findings: Findings) -> None:
        if not hasattr(psutil, "sensors_temperatures"):
            return
        seen: dict[str, int] = {}
        for chip, sensors in psutil.sensors_temperatures().items():
            for sensor in sensors:
                name = f"{chip} {sensor.label}".strip()
                seen[name] = seen.get(name, 0) + 1
                if seen[name] > 1:  # two modules of one kind carry the same label
                    name = f"{name} {seen[name]}"
                if sensor.current is not None:
                    findings.add("host_temperature_celsius", sensor.current, sensor=name)

    def _power(self, findings: Findings) -> None:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        if battery is None:
            return
        findings.add("host_battery_charge_ratio", round(battery.percent / 100, 4))
        if battery.power_plugged is not None:
            findings.add("host_mains_power", int(battery.power_plugged))
        if not battery.power_plugged and battery.secsleft > 0:
            findings.add("host_battery_remaining_seconds", battery.secsleft)
