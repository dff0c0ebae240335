"""/v1/machines, /v1/changes, /v1/software, /v1/network-devices: the inventory, for operators."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from haidang_wire.labels import IDENTIFIER
from pydantic import BaseModel, ConfigDict, Field

from haidang_collector.collector import Collector
from haidang_collector.http.bodies import body, problems, read_model
from haidang_collector.inventory import claims, export, lan, search
from haidang_collector.inventory.claims import Decision, NoSuchClaim
from haidang_collector.inventory.search import Filter
from haidang_collector.principals import Right
from haidang_collector.problems import Problem

_Text = Annotated[str, Field(max_length=200)]
# As many as fit into the longest address a request may have.
_Site = Annotated[str, Field(pattern=f"^(?:{IDENTIFIER.pattern})$")]
_Number = Annotated[int, Field(ge=1, le=2**53)]
_Offset = Annotated[int, Field(ge=0, le=10_000_000)]
_Limit = Annotated[int, Field(ge=1, le=1000)]
Sort = Literal[
    "name", "site", "model", "serial", "system", "last_seen", "first_seen", "memory_bytes", "least_free_ratio"
]
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Machine(BaseModel):
    """A machine; times in Unix seconds, null for what is not known. `dispute` is `open` of one whose agent says that it
    is the machine `claims`, of another site, `refused` when an operator did not believe that, `claimed` of that other
    one; else empty."""

    id: int
    site: str
    agent: str
    first_seen: float
    last_seen: float
    removed: float | None
    name: str
    manufacturer: str
    model: str
    serial: str
    uuid: str
    machine_id: str
    chassis: str
    system: str
    version: str
    support_ends: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    least_free_ratio: float | None
    disks_failing: int
    antivirus_on: bool | None
    encrypted: bool | None
    updates_pending: int | None
    claims: int | None
    dispute: str


class Claim(BaseModel):
    """What an operator says of a machine that claims to be another site's: that one `moved` here, this is an `other`
    one and both are, or the claim is `refused`."""

    model_config = ConfigDict(extra="forbid")
    decision: Decision


class Machines(BaseModel):
    """A page of machines, and how many there are."""

    total: int
    machines: list[Machine]


class Package(BaseModel):
    """Software on a machine."""

    name: str
    version: str
    publisher: str
    source: str


class Document(BaseModel):
    """A document, since when it says this, and when it was said last."""

    since: float
    seen: float
    body: dict[str, Any]


class WholeMachine(Machine):
    """A machine with everything that is known of it."""

    documents: dict[str, Document]
    software: list[Package]


class ChangeDocument(BaseModel):
    """What changed on a machine."""

    id: int
    machine: int
    at: float
    what: str
    before: str
    after: str
    name: str
    site: str


class Installed(Package):
    """Software, and on how many machines it is."""

    machines: int


class NetworkDevice(BaseModel):
    """A device a probe saw on a site's network. `known_as` is the machine or device it is, empty for none."""

    site: str
    mac: str
    address: str
    manufacturer: str
    first_seen: float
    last_seen: float
    known_as: str


def _filter(
    text: _Text = "",
    site: Annotated[list[_Site] | None, Query(max_length=250)] = None,
    chassis: _Text = "",
    system: _Text = "",
    software: _Text = "",
    software_version: _Text = "",
    antivirus_on: bool | None = None,
    encrypted: bool | None = None,
    support_ended: bool | None = None,
    low_disk: bool | None = None,
    failing_disk: bool | None = None,
    missing: bool | None = None,
    disputed: bool | None = None,
    removed: bool = False,
) -> Filter:
    return Filter(
        text, tuple(site or ()), chassis, system, software, software_version, antivirus_on, encrypted, support_ended,
        low_disk, failing_disk, missing, disputed, removed, time.time(),
    )  # fmt: skip


Wanted = Annotated[Filter, Depends(_filter)]


def router(collector: Collector) -> APIRouter:
    """The inventory of this collector."""

    def require_look(request: Request) -> None:
        collector.peers.require(request.scope, Right.LOOK)

    routes = APIRouter(dependencies=[Depends(require_look)])
    ledger = collector.ledger

    @routes.get("/v1/machines", response_model=Machines, responses=problems(401, 422, 503))
    async def machines(
        wanted: Wanted, sort: Sort = "name", descending: bool = False, offset: _Offset = 0, limit: _Limit = 50
    ) -> dict[str, Any]:
        """Machines that fit, a page of them."""

        def ask(connection: Any) -> tuple[int, list[dict[str, Any]]]:
            return search.find(connection, wanted, sort=sort, descending=descending, offset=offset, limit=limit)

        total, found = await ledger.read(ask)
        return {"total": total, "machines": found}

    @routes.get("/v1/machines.csv", response_model=None, responses=problems(401, 422, 503))
    async def machines_csv(wanted: Wanted, language: Literal["en", "vi"] = "en") -> StreamingResponse:
        """All machines that fit, as CSV."""
        headers = {"Content-Disposition": 'attachment; filename="machines.csv"'}
        return StreamingResponse(export.as_csv(ledger, wanted, language), media_type="text/csv", headers=headers)

    @routes.get("/v1/machines.xlsx", response_model=None, responses=problems(401, 422, 503))
    async def machines_xlsx(wanted: Wanted, language: Literal["en", "vi"] = "en") -> StreamingResponse:
        """All machines that fit, as a workbook."""
        headers = {"Content-Disposition": 'attachment; filename="machines.xlsx"'}
        return StreamingResponse(export.as_xlsx(ledger, wanted, language), media_type=_XLSX, headers=headers)

    @routes.get("/v1/machines/{number}", response_model=WholeMachine, responses=problems(401, 404, 422, 503))
    async def machine(number: _Number) -> dict[str, Any]:
        """One machine, with its documents and software."""
        found = await ledger.read(search.machine, number)
        if found is None:
            raise Problem(404, "not_found", f"there is no machine {number}")
        return found

    @routes.delete(
        "/v1/machines/{number}", response_model=None, status_code=204, responses=problems(401, 403, 404, 415, 422, 503)
    )
    async def remove(request: Request, number: _Number) -> None:
        """The machine is out of use: neither counted nor missed, until it is seen again."""
        principal = collector.peers.require(request.scope, Right.CHANGE)
        if not await ledger.run(search.remove, principal, number, time.time()):
            raise Problem(404, "not_found", f"there is no machine {number}")

    @routes.post(
        "/v1/machines/{number}/decision", response_model=WholeMachine,
        responses=problems(401, 403, 404, 413, 415, 422, 503), openapi_extra=body(Claim),
    )  # fmt: skip
    async def decide(request: Request, number: _Number) -> dict[str, Any]:
        """End the dispute of a machine that claims to be another site's; the machine it is from now on."""
        principal = collector.peers.require(request.scope, Right.CHANGE)
        wanted = await read_model(request, Claim)

        def settle(connection: Any) -> dict[str, Any] | None:
            decided = claims.decide(connection, principal, number, wanted.decision, time.time())
            return search.machine(connection, decided)

        try:
            found = await ledger.run(settle)
        except NoSuchClaim as error:
            raise Problem(404, "not_found", str(error)) from error
        assert found is not None
        return found

    @routes.get("/v1/changes", response_model=list[ChangeDocument], responses=problems(401, 422, 503))
    async def changes(
        machine: _Number | None = None,
        what: _Text = "",
        begins: Annotated[float, Field(ge=0)] = 0.0,
        offset: _Offset = 0,
        limit: _Limit = 100,
    ) -> list[dict[str, Any]]:
        """What changed, the newest first."""

        def ask(connection: Any) -> list[dict[str, Any]]:
            return search.changes(connection, machine=machine, what=what, begins=begins, offset=offset, limit=limit)

        return await ledger.read(ask)

    @routes.get("/v1/software", response_model=list[Installed], responses=problems(401, 422, 503))
    async def software(text: _Text = "", offset: _Offset = 0, limit: _Limit = 100) -> list[dict[str, Any]]:
        """Software by name and version, that on most machines first."""

        def ask(connection: Any) -> list[dict[str, Any]]:
            return search.software_counts(connection, text, offset=offset, limit=limit)

        return await ledger.read(ask)

    @routes.get("/v1/network-devices", response_model=list[NetworkDevice], responses=problems(401, 422, 503))
    async def network_devices(
        site: _Text = "", managed: bool | None = None, offset: _Offset = 0, limit: _Limit = 100
    ) -> list[dict[str, Any]]:
        """What probes see on networks, those seen last first."""

        def ask(connection: Any) -> list[dict[str, Any]]:
            return lan.devices(connection, site=site, managed=managed, offset=offset, limit=limit)

        return await ledger.read(ask)

    return routes
