"""/v1/links: what is connected to what, and who says so, for operators."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request
from haidang_wire.labels import IDENTIFIER
from pydantic import BaseModel, ConfigDict, Field

from haidang_collector.collector import Collector
from haidang_collector.http.bodies import problems
from haidang_collector.principals import Right
from haidang_collector.topology import store
from haidang_collector.topology.links import Link, Source, resolved

_Name = Annotated[str, Field(pattern=f"^(?:{IDENTIFIER.pattern})$")]


class Wanted(BaseModel):
    """Which links: those with their near end at this site or device, of this source; and which page of them."""

    model_config = ConfigDict(extra="forbid")
    site: _Name | None = None
    device: _Name | None = None
    source: Source | None = None
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class LinkDocument(BaseModel):
    """A link as one of its ends, or the registry, tells it. Texts are empty where nothing was said; those of the far
    end are its own words, or a stranger's."""

    source: Source = Field(description="The registry, or what it was seen over; `other`: another protocol of lldpd's.")
    agent: str = Field(description="The agent that said it; empty for the registry.")
    site: str = Field(description="The near end's site.")
    device: str = Field(description="The near end's device; empty over ARP, where it is the agent's machine.")
    interface: str = Field(description="The near end's port; empty over ARP, which tells none.")
    far_site: str = Field(description="The site of `far_device`, or of the circuit's other end.")
    far_device: str = Field(description="The registry's device at the far end; empty when it is none of these.")
    far_system: str = Field(description="What the far end calls itself.")
    far_chassis: str = Field(description="What tells the far end's chassis from others, mostly its MAC address.")
    far_port: str = Field(description="The far end's port.")
    far_port_description: str = Field(description="What the far end says of this port.")
    far_address: str = Field(description="The far end's address, by the registry or over ARP.")
    circuit: str = Field(description="The circuit that the registry says this is; empty for what was seen.")
    first_seen: float = Field(description="Unix time: since when it is said without a gap, or is in the registry.")
    last_seen: float = Field(description="Unix time: when it was said last, to the hour; when the registry was loaded.")
    age_seconds: float = Field(description="How long ago that is.")


class Links(BaseModel):
    """A page of links by their near ends, and how many there are."""

    total: int
    links: list[LinkDocument]


def router(collector: Collector) -> APIRouter:
    """The links this collector knows."""

    def require_look(request: Request) -> None:
        collector.peers.require(request.scope, Right.LOOK)

    routes = APIRouter(dependencies=[Depends(require_look)])

    @routes.get("/v1/links", response_model=Links, responses=problems(401, 422, 503))
    async def links(wanted: Annotated[Wanted, Query()]) -> Links:
        """Links that fit, a page of them."""

        def ask(connection: sa.Connection) -> tuple[int, list[store.Kept]]:
            return store.find(connection, **wanted.model_dump())

        total, found = await collector.ledger.read(ask)
        engine, registry = collector.outage_watch.engine, collector.registry
        sites = {device.id: device.site for device in registry.devices} if registry else {}
        names = engine.evidence.documented.system_names if engine else {}
        now = collector.time_base.now()
        documents = [
            _document(resolved(each.link, sites, names), each.first_seen, each.last_seen, now) for each in found
        ]
        return Links(total=total, links=documents)

    return routes


def _document(link: Link, first_seen: float, last_seen: float, now: float) -> LinkDocument:
    return LinkDocument(
        source=link.source, agent=link.agent, site=link.site, device=link.device, interface=link.interface,
        far_site=link.far_site, far_device=link.far_device, far_system=link.system, far_chassis=link.chassis,
        far_port=link.port, far_port_description=link.port_description, far_address=link.address,
        circuit=link.circuit, first_seen=first_seen, last_seen=last_seen, age_seconds=max(0.0, now - last_seen),
    )  # fmt: skip
