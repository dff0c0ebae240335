"""`haidang-agent device`, `discover` and `profiles`: by hand, for people."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import ipaddress
import json
import sys
import time
from pathlib import Path

from haidang_wire.errors import HaidangError
from haidang_wire.labels import to_identifier
from haidang_wire.report import Report, report_json

from haidang_agent.config import SnmpConfig
from haidang_agent.snmp.credentials import Credential, load_credentials
from haidang_agent.snmp.device import SYS_DESCR, SYS_NAME, SYS_OBJECT_ID
from haidang_agent.snmp.found import Poll
from haidang_agent.snmp.poll import poll
from haidang_agent.snmp.profile import SHIPPED, Profiles, load_profile, load_profiles
from haidang_agent.snmp.session import DeviceError, Session, Value
from haidang_agent.snmp.values import text

_MOST_ADDRESSES = 4096
_ADDRESSES_A_SECOND = 100
_ASKED_AT_ONCE = 200


def device(options: argparse.Namespace, config: SnmpConfig) -> int:
    """Poll one device. The exit code: 0, or 1 when it does not answer or something was missing."""
    profiles = load_profiles(config.profiles_folder)
    if options.profile and options.profile not in profiles.all:
        raise HaidangError(f"there is no profile {options.profile!r}", remedy="See: haidang-agent profiles list")
    credential = _credential(options, config)
    if credential.problem():
        raise HaidangError(credential.problem())
    session = Session(
        options.address, options.port, credential, timeout_seconds=config.answer_seconds, retries=config.retries
    )
    taken = time.time()
    found = asyncio.run(poll(options.name or options.address, session, profiles, options.profile))
    findings = found.findings()
    if options.json:
        report = Report(
            found.device, 0, 0, f"snmp:{found.device}", taken, config.interval_seconds,
            findings.samples, findings.facts, findings.events,
        )  # fmt: skip
        print(json.dumps(report_json(report), ensure_ascii=False))
        for note in found.notes:
            print(note, file=sys.stderr)
    else:
        _show(found)
    return 1 if found.notes else 0


def _credential(options: argparse.Namespace, config: SnmpConfig) -> Credential:
    if options.credential:
        known = load_credentials(Path(config.credentials_file))
        if options.credential not in known:
            raise HaidangError(f"there is no credential {options.credential!r}", where=config.credentials_file)
        return known[options.credential]
    if options.v3_user:
        # Passwords are asked for: a process list would show options.
        return Credential(
            version="3",
            user=options.v3_user,
            auth=options.auth,
            auth_password=getpass.getpass("Authentication password: ") if options.auth else "",
            privacy=options.privacy,
            privacy_password=getpass.getpass("Privacy password: ") if options.privacy else "",
        )
    community = getpass.getpass("Community: ") if options.community == "-" else options.community or "public"
    return Credential(version="1" if options.v1 else "2c", community=community)


def _show(found: Poll) -> None:
    for fact in found.facts:
        if fact.kind == "device":
            for name, value in fact.body.items():
                print(f"{name:<12} {value}")
    series: dict[str, dict[str, dict[str, float]]] = {"interface": {}, "optics": {}, "limits": {}, "other": {}}
    aliases = {
        label["interface"]: label["alias"]
        for metric, label in ((metric, dict(labels)) for metric, labels in found.samples)
        if metric == "haidang_interface_alias_info"
    }
    for (metric, labels), value in found.samples.items():
        label = dict(labels)
        short = metric.removeprefix("haidang_")
        if "level" in label:
            name = f"{label['interface']} {label['lane']}".strip()
            series["limits"].setdefault(name, {})[f"{short} {label['level']}"] = value
        elif "lane" in label:
            series["optics"].setdefault(f"{label['interface']} {label['lane']}".strip(), {})[short] = value
        elif short.startswith("interface_") and len(label) == 2:
            series["interface"].setdefault(label["interface"], {})[short] = value
        elif not short.endswith("_alias_info"):
            of = " ".join(text for name, text in label.items() if name != "device")
            series["other"].setdefault(short, {})[of] = value
    print(f"\n{'interface':<28} {'state':<10} {'Mbit/s':>9} {'received':>16} {'sent':>16} {'errors':>9}  alias")
    for name, values in series["interface"].items():
        state = "up" if values.get("interface_up") else "down" if values.get("interface_admin_up") else "shut down"
        errors = values.get("interface_receive_errors_total", 0) + values.get("interface_transmit_errors_total", 0)
        speed = values.get("interface_speed_bytes_per_second", 0) * 8 / 1e6
        received, sent = (values.get(f"interface_{way}_bytes_total", 0) for way in ("receive", "transmit"))
        counters = f"{speed:>9.0f} {received:>16.0f} {sent:>16.0f} {errors:>9.0f}"
        print(f"{name:<28} {state:<10} {counters}  {aliases.get(name, '')}".rstrip())
    if series["optics"]:
        print(f"\n{'optics':<28} {'rx dBm':>9} {'tx dBm':>9} {'bias mA':>9} {'°C':>7} {'V':>6}  verdict")
    for name, values in series["optics"].items():
        limits = series["limits"].get(name, {})
        receive = values.get("optical_receive_power_dbm")
        print(
            f"{name:<28} {_cell(receive, 2):>9} {_cell(values.get('optical_transmit_power_dbm'), 2):>9}"
            f" {_cell(values.get('optical_bias_amperes'), 2, 1000):>9}"
            f" {_cell(values.get('optical_temperature_celsius'), 1):>7}"
            f" {_cell(values.get('optical_voltage_volts'), 2):>6}"
            f"  {_verdict(receive, limits)}"
        )
    print()
    for metric, sensors in series["other"].items():
        for sensor, value in sensors.items():
            print(f"{metric:<34} {value:>14g}  {sensor}")
    for fact in found.facts:
        for neighbour in fact.body.get("neighbours", []):
            far = " ".join(filter(None, (neighbour["system"], neighbour["port"], neighbour["port_description"])))
            print(f"neighbour  {neighbour['interface']:<24} {neighbour['protocol']}: {far}")
    for note in found.notes:
        print(f"not understood: {note}")


def _cell(value: float | None, digits: int, times: float = 1) -> str:
    return "-" if value is None else f"{value * times:.{digits}f}"


def _verdict(receive: float | None, limits: dict[str, float]) -> str:
    if receive is None:
        return "no light or no module"
    for level, worse in (("low_alarm", True), ("low_warning", True), ("high_alarm", False), ("high_warning", False)):
        limit = limits.get(f"optical_receive_power_threshold_dbm {level}")
        if limit is not None and (receive < limit if worse else receive > limit):
            return f"{level.replace('_', ' ')}: limit {limit:.2f} dBm"
    return "ok" if limits else "the device has no limits"


def discover(options: argparse.Namespace, config: SnmpConfig) -> int:
    """Ask every address of a network with every credential; print what answers as entries of the registry."""
    try:
        network = ipaddress.ip_network(options.network, strict=False)
    except ValueError as error:
        raise HaidangError(
            f"is no network: {error}", where=options.network, remedy="Give it as 10.20.0.0/22"
        ) from error
    if network.num_addresses > _MOST_ADDRESSES:
        raise HaidangError(f"has more than {_MOST_ADDRESSES} addresses", where=options.network, remedy="Ask in parts")
    known = load_credentials(Path(config.credentials_file))
    for name in options.credential or []:
        if name not in known:
            raise HaidangError(f"there is no credential {name!r}", where=config.credentials_file)
    chosen = {name: known[name] for name in options.credential or known}
    all_profiles = load_profiles(config.profiles_folder)
    found = asyncio.run(_ask_all([str(address) for address in network.hosts()], options.port, chosen, config))
    agent, site = options.agent
    names: set[str] = set()
    print("devices:")
    for address, credential, system in found:
        name = to_identifier(text(system.get(SYS_NAME)) or address)
        name = name if name not in names else to_identifier(f"{name}-{address}")
        names.add(name)
        fits = all_profiles.choose(text(system.get(SYS_OBJECT_ID)), text(system.get(SYS_DESCR)))
        print(f"  # {fits.name}: {text(system.get(SYS_DESCR))[:100]}")
        entry = {"id": name, "site": site, "address": address, "agent": agent, "credential": credential}
        if options.port != 161:
            entry["port"] = options.port
        print("  - " + json.dumps(entry, ensure_ascii=False))  # JSON is YAML
    print(f"{len(found)} of {network.num_addresses} addresses answer", file=sys.stderr)
    return 0 if found else 1


async def _ask_all(
    addresses: list[str], port: int, credentials: dict[str, Credential], config: SnmpConfig
) -> list[tuple[str, str, dict[str, Value]]]:
    turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(number: int, address: str) -> tuple[str, str, dict[str, Value]] | None:
        await asyncio.sleep(number / _ADDRESSES_A_SECOND)  # paced: a thin link is not to feel it
        async with turns:
            for name, credential in credentials.items():
                try:
                    session = Session(address, port, credential, timeout_seconds=config.answer_seconds, retries=1)
                    await session.open()
                    system = await session.get([SYS_OBJECT_ID, SYS_DESCR, SYS_NAME])
                except DeviceError:
                    continue
                if system:
                    return address, name, system
        return None

    answers = await asyncio.gather(*(ask(number, address) for number, address in enumerate(addresses)))
    return [answer for answer in answers if answer]


def profiles(options: argparse.Namespace, config: SnmpConfig) -> int:
    """Check a file or folder, list what there is, or print one with what it extends."""
    if options.action == "check":
        path = Path(options.what) if options.what else SHIPPED
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        shipped = [load_profile(file) for file in sorted(SHIPPED.glob("*.yaml"))]
        Profiles([*shipped, *(load_profile(file) for file in files)])
        print(f"{path}: {len(files)} profiles, no faults")
        return 0
    known = load_profiles(config.profiles_folder)
    if options.action == "list":
        for name, profile in sorted(known.all.items()):
            print(f"{name:<22} {profile.vendor:<26} {' '.join(profile.object_ids) or profile.description}")
        return 0
    if options.what not in known.all:
        raise HaidangError(f"there is no profile {options.what!r}", remedy="See: haidang-agent profiles list")
    profile = known.all[options.what]
    print(f"{profile.name} ({profile.vendor or 'any vendor'}), {profile.file}")
    for sensors in profile.entity_sensors:
        print(f"  {sensors.entry}  entity sensors")
    for table in profile.tables:
        metrics = sorted({reading.metric for reading in table.readings})
        print(f"  {table.entry}  {table.name}: {', '.join(metrics)}")
    return 0
