"""The bodies of facts and events: what an agent writes and the collector reads, field by field.

A field that is not told is left out (here: None). Times are Unix seconds, sizes bytes, shares 0 to 1. Which kind has
which body: kinds.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Facts about devices and paths


@dataclass(frozen=True)
class Device:
    """`device`: what a device polled over SNMP says it is."""

    vendor: str | None = None
    model: str | None = None
    version: str | None = None
    serial: str | None = None
    name: str | None = None
    description: str | None = None
    location: str | None = None
    object_id: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class NeighbourEntry:
    """A neighbour at the device's own `interface` (LLDP, CDP): the other's system, chassis and port."""

    protocol: str | None = None
    interface: str | None = None
    system: str | None = None
    chassis: str | None = None
    port: str | None = None
    port_description: str | None = None


@dataclass(frozen=True)
class Neighbours:
    """`neighbours`: who is at the other end of each port."""

    neighbours: list[NeighbourEntry] = field(default_factory=list)


@dataclass(frozen=True)
class Route:
    """`route`: the routers on the way to a target, empty text for one that keeps still, and the path MTU."""

    hops: list[str] = field(default_factory=list)
    mtu_bytes: int | None = None
    reached: bool | None = None


@dataclass(frozen=True)
class Module:
    """A transceiver in a port."""

    vendor: str | None = None
    part: str | None = None
    serial: str | None = None


@dataclass(frozen=True)
class Transceivers:
    """`transceivers`: the module in each interface."""

    modules: dict[str, Module] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkAddress:
    """A device heard on a network."""

    mac: str
    address: str


@dataclass(frozen=True)
class Network:
    """`network`: what else is on the agent's networks."""

    devices: list[NetworkAddress] = field(default_factory=list)


# Facts about a machine: the inventory


@dataclass(frozen=True)
class Bios:
    """The firmware of a machine."""

    vendor: str | None = None
    version: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class Board:
    """The system board."""

    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None


@dataclass(frozen=True)
class Processor:
    """A socket."""

    name: str | None = None
    manufacturer: str | None = None
    cores: int | None = None
    threads: int | None = None
    speed_hertz: int | None = None


@dataclass(frozen=True)
class MemoryModule:
    """A module in a slot."""

    slot: str | None = None
    size_bytes: int | None = None
    type: str | None = None
    form: str | None = None
    speed_hertz: int | None = None
    manufacturer: str | None = None
    part: str | None = None
    serial: str | None = None


@dataclass(frozen=True)
class Memory:
    """Memory in all, and module by module."""

    total_bytes: int | None = None
    slots: int | None = None
    free_slots: int | None = None
    modules: list[MemoryModule] | None = None


@dataclass(frozen=True)
class Graphics:
    """A graphics adapter."""

    name: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Machine:
    """`machine`: what tells it from others, and what is built in."""

    name: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    family: str | None = None
    serial: str | None = None
    uuid: str | None = None
    machine_id: str | None = None
    sku: str | None = None
    asset_tag: str | None = None
    domain: str | None = None
    chassis: str | None = None
    bios: Bios | None = None
    board: Board | None = None
    processors: list[Processor] | None = None
    memory: Memory | None = None
    graphics: list[Graphics] | None = None
    macs: list[str] | None = None


@dataclass(frozen=True)
class Disk:
    """A disk and its health (SMART)."""

    name: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    size_bytes: int | None = None
    medium: str | None = None
    healthy: bool | None = None
    wear_ratio: float | None = None
    reallocated_sectors: int | None = None
    pending_sectors: int | None = None


@dataclass(frozen=True)
class Volume:
    """A mounted file system; `free_ratio` in twentieths."""

    mount: str | None = None
    filesystem: str | None = None
    size_bytes: int | None = None
    free_ratio: float | None = None


@dataclass(frozen=True)
class Disks:
    """`disks`: disks and volumes."""

    disks: list[Disk] | None = None
    volumes: list[Volume] | None = None


@dataclass(frozen=True)
class Updates:
    """Updates that wait, and when one was installed last."""

    pending: int | None = None
    security_pending: int | None = None
    last_installed: int | None = None


@dataclass(frozen=True)
class System:
    """`system`: the operating system."""

    family: str | None = None
    id: str | None = None
    name: str | None = None
    full_name: str | None = None
    edition: str | None = None
    version: str | None = None
    release: str | None = None
    build: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    server: bool | None = None
    installed: int | None = None
    updates: Updates | None = None


@dataclass(frozen=True)
class Package:
    """A package, program or hotfix; `role` is `update` or `component` for what is no program of its own."""

    name: str | None = None
    version: str | None = None
    publisher: str | None = None
    source: str | None = None
    architecture: str | None = None
    scope: str | None = None
    role: str | None = None
    installed: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class Software:
    """`software`: what is installed."""

    packages: list[Package] | None = None


@dataclass(frozen=True)
class Antivirus:
    """A product; `signatures` is when they were made."""

    name: str | None = None
    version: str | None = None
    on: bool | None = None
    up_to_date: bool | None = None
    signatures: int | None = None


@dataclass(frozen=True)
class EncryptedVolume:
    """Whether a volume is encrypted, and how."""

    volume: str | None = None
    encrypted: bool | None = None
    method: str | None = None


@dataclass(frozen=True)
class Tpm:
    """A trusted platform module."""

    present: bool | None = None
    version: str | None = None


@dataclass(frozen=True)
class Security:
    """`security`: what protects a machine."""

    antivirus: list[Antivirus] | None = None
    firewall: bool | None = None
    encryption: list[EncryptedVolume] | None = None
    secure_boot: bool | None = None
    tpm: Tpm | None = None
    automatic_updates: bool | None = None
    administrators: int | None = None
    remote_desktop: bool | None = None
    ssh: bool | None = None


@dataclass(frozen=True)
class Display:
    """A connected display, by its EDID; `size_millimetres` is width and height."""

    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    made: str | None = None
    size_millimetres: list[int] | None = None


@dataclass(frozen=True)
class Displays:
    """`displays`."""

    displays: list[Display] | None = None


@dataclass(frozen=True)
class Printer:
    """A printer's queue."""

    name: str | None = None
    driver: str | None = None
    port: str | None = None


@dataclass(frozen=True)
class Printers:
    """`printers`."""

    printers: list[Printer] | None = None


@dataclass(frozen=True)
class Logon:
    """`logon`: the day somebody was logged on last; who only where the registry allows it."""

    last: int | None = None
    user: str | None = None


# Events


@dataclass(frozen=True)
class DeviceEvent:
    """`link_up`, `link_down`, `dying_gasp` and any other notification of a device; `count` of those that were alike."""

    device: str | None = None
    interface: str | None = None
    admin_up: bool | None = None
    trap: str | None = None
    count: int | None = None
    values: dict[str, str] | None = None


@dataclass(frozen=True)
class PathEvent:
    """`path_up`, `path_down` and `path_changed`: the latter with the route before and after."""

    target: str | None = None
    before: list[str] | None = None
    hops: list[str] | None = None
    mtu_bytes: int | None = None
    reached: bool | None = None


@dataclass(frozen=True)
class LifecycleEvent:
    """`agent_started`, `agent_stopped`, `spool_damaged`: of the agent's own life."""

    version: str | None = None
