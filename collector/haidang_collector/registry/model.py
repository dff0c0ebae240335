"""The registry: what the province consists of, beforehand. Read from YAML files by registry_file.py, and loaded
into the ledger by `haidang-collector registry load`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from haidang_wire.labels import IDENTIFIER
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

Identifier = Field(pattern=f"^(?:{IDENTIFIER.pattern})$")
Level = Literal["province", "department", "district", "commune", "other"]
Role = Literal["switch", "router", "appliance", "ups", "other"]
ServiceKind = Literal["portal", "document_system", "one_stop", "public_service", "other"]
HostRole = Literal["probe", "wan", "switch"]
Medium = Literal["fiber", "copper", "radio", "satellite", "other"]


def _plain_address(value: str) -> str:
    return str(ipaddress.ip_address(value))


Address = Annotated[str, AfterValidator(_plain_address)]
"""An IP address, written as everybody writes it."""
AddressOrEmpty = Annotated[str, AfterValidator(lambda value: _plain_address(value) if value else "")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Officer(_Strict):
    """The IT officer of a site: who is told when something there is wrong."""

    name: str = Field(min_length=1)
    telephone: str = ""
    email: str = Field(default="", pattern=r"^$|^[^@\s]+@[^@\s]+$")


class Site(_Strict):
    """An agency's place on the WAN. `parent` is the site it belongs to in the administration.

    `address` is that of its router, which answers while the site is reachable (with STAMP at
    `stamp_port` too, signed with the key the probes know as `stamp_key`); `probe` the agent there
    that measures towards the data center and along the circuits that end here; `feeder` the power line
    it hangs on, for sites that lose their power together. On `sensitive_networks` (as 10.20.1.0/24) a
    device that was never seen before is told of.
    """

    id: str = Identifier
    name: str = Field(min_length=1, max_length=200)
    level: Level
    parent: str = ""
    officials: int = Field(default=0, ge=0)
    it_officer: Officer | None = None
    address: AddressOrEmpty = ""
    stamp_port: int = Field(default=0, ge=0, le=65535)
    stamp_key: str = Field(default="", max_length=100)
    probe: str = Field(default="", pattern=f"^$|^(?:{IDENTIFIER.pattern})$")
    feeder: str = Field(default="", max_length=100)
    sensitive_networks: list[str] = []

    @field_validator("sensitive_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        return [str(ipaddress.ip_network(each)) for each in value]


class Device(_Strict):
    """A switch, router, appliance or UPS. `agent` is the probe that polls it over SNMP with the
    credential it knows under that name; `trap_addresses` are others its traps may come from."""

    id: str = Identifier
    site: str
    role: Role = "other"
    address: Address
    port: int = Field(default=161, ge=1, le=65535)
    agent: str = Field(default="", pattern=f"^$|^(?:{IDENTIFIER.pattern})$")
    credential: str = Field(default="", max_length=100)
    profile: str = Field(default="", max_length=100)
    trap_addresses: list[Address] = []


class Carrier(_Strict):
    """Who owns fibers: whom to call."""

    id: str = Identifier
    name: str = Field(min_length=1, max_length=200)
    telephone: str = ""


class End(_Strict):
    """One end of a circuit: a port of a device where it is known (`interface` is its ifName), and the
    address on it, which the probe at the other end asks."""

    site: str
    device: str = ""
    interface: str = ""
    address: AddressOrEmpty = ""


class Circuit(_Strict):
    """A line between two sites. `carrier_circuit_id` is what its carrier calls it."""

    id: str = Identifier
    carrier: str = ""
    carrier_circuit_id: str = ""
    medium: Medium = "fiber"
    bandwidth_bits_per_second: float = Field(default=0, ge=0)
    sla_availability_ratio: float = Field(default=0, ge=0, le=1)
    ends: list[End] = Field(min_length=2, max_length=2)
    ring: str = ""


class Documents(_Strict):
    """Where a document system tells its counts, for the share that is electronic: a JSON document at `url`. `items`
    is the dotted path to a list of objects, one a unit (empty: the document itself is the only one); in each `unit`
    leads to the id of the site it is of (empty: the service's), `count` to all documents, `electronic` to those."""

    url: str = Field(pattern="^https?://")
    items: str = ""
    unit: str = ""
    count: str = Field(min_length=1)
    electronic: str = Field(min_length=1)


class Service(_Strict):
    """A service officials or citizens use. It is asked by `agent` (if it is not said, by the data center's probe) with
    the credential it knows under that name; `serves` says whose it is: its site's alone, or every agency's."""

    id: str = Identifier
    kind: ServiceKind
    site: str
    url: str = Field(pattern="^https?://")
    serves: Literal["site", "all"] = "site"
    agent: str = Field(default="", pattern=f"^$|^(?:{IDENTIFIER.pattern})$")
    credential: str = Field(default="", max_length=100)
    documents: Documents | None = None


class Host(_Strict):
    """A machine that Ansible installs the agent on; `id` is the agent's name. `address` and `port` are its sshd's,
    `user` who logs in there (empty: Ansible's own choice). `roles` are what it does besides: `probe` polls devices,
    `wan` answers and measures paths, `switch` reads its own optics and neighbours."""

    id: str = Identifier
    site: str
    address: Address
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(default="", max_length=32)
    roles: list[HostRole] = []


class Targets(_Strict):
    """What the plan wants, each a share from 0 to 1."""

    fiber: float = Field(default=1.0, ge=0, le=1)
    appliance: float = Field(default=0.7, ge=0, le=1)
    workstation: float = Field(default=1.0, ge=0, le=1)
    document_system: float = Field(default=1.0, ge=0, le=1)
    online_services: float = Field(default=1.0, ge=0, le=1)
    electronic_documents: float = Field(default=0.8, ge=0, le=1)
    it_officer: float = Field(default=1.0, ge=0, le=1)


class Province(_Strict):
    """The province as a whole. `center` is the site of the data center; if it is not said, the first
    one of level `province`. `report_last_user`: whether workstations say who was logged on last; the law
    on personal data may ask for consent first."""

    name: str = Field(min_length=1, max_length=200)
    center: str = ""
    targets: Targets = Targets()
    report_last_user: bool = False


class Registry(_Strict):
    """Everything the collector knows beforehand."""

    province: Province
    sites: list[Site] = Field(min_length=1)
    carriers: list[Carrier] = []
    circuits: list[Circuit] = []
    devices: list[Device] = []
    services: list[Service] = []
    hosts: list[Host] = []

    @property
    def center(self) -> str:
        """The id of the data center's site, from which everything is reached; empty when there is none."""
        at_level = (site.id for site in self.sites if site.level == "province")
        return self.province.center or next(at_level, "")

    def asks(self, service: Service) -> str:
        """The agent that asks a service; empty when there is none."""
        center = self.site(self.center)
        return service.agent or (center.probe if center else "")

    def is_site_or_circuit(self, identifier: str) -> bool:
        """Whether there is one of this id."""
        sites, circuits = (site.id for site in self.sites), (circuit.id for circuit in self.circuits)
        return identifier in {*sites, *circuits}

    def site(self, identifier: str) -> Site | None:
        """The site with this id."""
        return next((site for site in self.sites if site.id == identifier), None)
