"""Whose a name is, and who may say what: pure functions of a registry."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from haidang_collector.intake.ingest import Prepared, Speaker, prepare, read_delivery, restore
from haidang_collector.registry.assignments import Assignments
from haidang_collector.registry.file import RegistryError, load_registry
from haidang_collector.registry.model import Registry
from haidang_collector.registry.names import Holder, Names
from haidang_collector.registry.rights import NAMING, Rights, stored
from haidang_collector.settings import Limits
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import delivery, report

LIMITS = Limits()


def registry(**changes: Any) -> Registry:
    """A center, two districts, communes of the first: `xa` and `xb`."""
    document = {
        "province": {"name": "X", "center": "c"},
        "sites": [
            {"id": "c", "name": "C", "level": "province", "probe": "probe", "address": "10.0.0.1"},
            {"id": "h", "name": "H", "level": "district", "address": "10.0.1.1"},
            {"id": "k", "name": "K", "level": "district"},
            {"id": "xa", "name": "XA", "level": "commune", "parent": "h", "probe": "probe-xa", "address": "10.0.2.1"},
            {"id": "xb", "name": "XB", "level": "commune", "parent": "h"},
        ],
        "devices": [
            {"id": "sw-xa", "site": "xa", "address": "10.0.2.2", "agent": "poller", "credential": "s"},
            {"id": "sw-xb", "site": "xb", "address": "10.0.3.2"},
            {"id": "fw-xb", "site": "xb", "address": "10.0.3.3", "agent": "pc-xb", "credential": "s"},
        ],
        "services": [
            {"id": "vb", "kind": "document_system", "site": "c", "url": "https://a/", "serves": "all",
             "documents": {"url": "https://a/n", "count": "n", "electronic": "e"}},
            {"id": "own", "kind": "document_system", "site": "h", "url": "https://b/", "agent": "asker",
             "documents": {"url": "https://b/n", "count": "n", "electronic": "e"}},
            {"id": "web", "kind": "portal", "site": "h", "url": "https://c/", "agent": "asker"},
        ],
        "hosts": [{"id": "srv", "site": "h", "address": "10.0.1.9"}],
    }  # fmt: skip
    return Registry.model_validate({**document, **changes})


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        ("probe", {"c"}), ("probe-xa", {"xa"}), ("srv", {"h"}), ("sw-xa", {"xa"}), ("sw-xb", {"xb"}),
        ("poller", {"xa", "h", "c"}), ("pc-xb", {"xb", "h", "c"}), ("asker", {"h", "c"}), ("pc-7", None),
    ],
)  # fmt: skip
def test_whose_a_name_is(name: str, owners: set[str] | None) -> None:
    assert Names(registry()).owners(name) == owners


def test_a_name_of_two_things_belongs_where_both_may_be() -> None:
    devices = [
        {"id": f"sw-{site}", "site": site, "address": f"10.0.9.{number}", "agent": "poller", "credential": "s"}
        for number, site in enumerate(("xa", "xb", "k"))
    ]
    assert Names(registry(devices=devices[:2])).owners("poller") == {"h", "c"}
    assert Names(registry(devices=devices)).owners("poller") == {"c"}
    # Where it stands is said: then what it polls says nothing.
    host = {"id": "poller", "site": "xb", "address": "10.0.3.9"}
    assert Names(registry(devices=devices, hosts=[host])).owners("poller") == {"xb"}


def test_two_places_of_one_name_are_a_fault_and_nobodys(tmp_path: Any) -> None:
    hosts = [{"id": "probe", "site": "xa", "address": "10.0.2.9"}]
    twice = registry(hosts=hosts)
    assert Names(twice).owners("probe") == frozenset()
    assert Assignments(twice).of("probe", "c").paths == ()
    file = tmp_path / "registry.yaml"
    file.write_text(twice.model_dump_json(exclude_defaults=True))
    with pytest.raises(RegistryError, match="'probe' stands at 'c' already"):
        load_registry(file)
    # Without a center nothing need be over two districts.
    sites = [{"id": name, "name": name, "level": "commune"} for name in ("a", "b")]
    devices = [
        {"id": f"sw-{name}", "site": name, "address": f"10.0.0.{number}", "agent": "p", "credential": "s"}
        for number, name in enumerate(("a", "b"))
    ]
    file.write_text(json.dumps({"province": {"name": "X"}, "sites": sites, "devices": devices}))
    with pytest.raises(RegistryError, match="no site is over all that 'p' is named for"):
        load_registry(file)


def test_who_bears_anothers_name_is_found() -> None:
    holders = [Holder("probe", "xa"), Holder("probe-xa", "xa"), Holder("pc-1", "k"), Holder("sw-xb", "k")]
    assert Names(registry()).foreign(holders) == [Holder("probe", "xa"), Holder("sw-xb", "k")]


_SITES = st.sampled_from(["a", "b", "c", "d"])
_NAMES = st.sampled_from(["p", "q", "a", "dev-1", "dev-2"])


@st.composite
def _registries(draw: st.DrawFn) -> Registry:
    order = ["a", "b", "c", "d"]
    sites = [
        {"id": site, "name": site, "level": "commune", "parent": draw(st.sampled_from(["", *order[:number]])),
         "probe": draw(st.one_of(st.just(""), _NAMES)), "address": f"10.0.0.{number}"}
        for number, site in enumerate(order)
    ]  # fmt: skip
    devices = [
        {"id": name, "site": draw(_SITES), "address": "10.0.0.9", "agent": draw(st.one_of(st.just(""), _NAMES))}
        for name in draw(st.lists(st.sampled_from(["dev-1", "dev-2"]), unique=True))
    ]
    services = [
        {"id": "s", "kind": "portal", "site": draw(_SITES), "url": "https://a/", "agent": draw(_NAMES)}
        for _ in range(draw(st.integers(0, 1)))
    ]
    hosts = [{"id": name, "site": draw(_SITES), "address": "10.0.0.9"} for name in draw(st.lists(_NAMES, max_size=2))]
    province = {"name": "X", "center": draw(st.sampled_from(["", "a", "d"]))}
    return Registry.model_validate(
        {"province": province, "sites": sites, "devices": devices, "services": services, "hosts": hosts}
    )


@given(_registries(), _NAMES, _SITES)
def test_who_may_not_hold_a_name_gets_nothing_by_it(drawn: Registry, name: str, site: str) -> None:
    """Whatever the registry says: an agent has a role only at a site the registry puts its name at, and then speaks
    only of what it is assigned."""
    names, assignments = Names(drawn), Assignments(drawn)
    rights, assigned = assignments.rights(name, site), assignments.of(name, site)
    assert set(rights.devices) == {device.id for device in assigned.devices}
    assert rights.targets == {path.target for path in assigned.paths}
    assert set(rights.services) == {service.id for service in assigned.services}
    stands = {each.id for each in drawn.sites if each.probe == name}
    stands |= {host.site for host in drawn.hosts if host.id == name}
    stands |= {device.site for device in drawn.devices if device.id == name}
    if len(stands) == 1:
        assert names.owners(name) == stands
    if not names.may_hold(name, site):
        assert [*rights.devices, *rights.targets, *rights.services] == []
        assert all(not assignments.speaks_for(name, site, device.id) for device in drawn.devices)
    elif stands:
        assert stands == {site}
    for device in drawn.devices:
        if assignments.speaks_for(name, site, device.id):
            assert device.agent == name or (device.id == name and device.site == site)


def said(agent: str, site: str, source: str, where: Registry | None = None, **content: Any) -> Prepared:
    speaker = Speaker(agent, site, Assignments(where or registry()).rights(agent, site))
    raw = json.dumps(report(agent, source=source, **{"samples": [], **content})).encode()
    return prepare(raw, 0, speaker, time.time(), LIMITS)


def sample(metric: str, **labels: str) -> dict[str, Any]:
    return {"metric": f"haidang_{metric}", "labels": labels, "value": 1}


@pytest.mark.parametrize(
    ("agent", "site", "source", "metric", "labels", "reason"),
    [
        ("pc-1", "xb", "host", "interface_up", {"device": "pc-1", "interface": "e"}, ""),
        ("pc-1", "xb", "host", "interface_up", {"device": "sw-xb", "interface": "e"}, "foreign_device"),
        ("sw-xb", "xb", "host", "interface_up", {"device": "sw-xb", "interface": "e"}, ""),
        ("sw-xb", "k", "host", "interface_up", {"device": "sw-xb", "interface": "e"}, "foreign_device"),
        # Somebody polls it: who only bears its name is not it.
        ("sw-xa", "xa", "host", "interface_up", {"device": "sw-xa", "interface": "e"}, "foreign_device"),
        ("poller", "h", "snmp:sw-xa", "device_up", {"device": "sw-xa"}, ""),
        ("poller", "h", "snmp:sw-xa", "device_up", {"device": "sw-xb"}, "foreign_device"),
        ("probe", "c", "path_state", "path_reachable", {"target": "xa"}, ""),
        ("probe", "xa", "path_state", "path_reachable", {"target": "xa"}, "foreign_path"),
        ("pc-1", "c", "path_state", "path_reachable", {"target": "xa"}, "foreign_path"),
        ("probe-xa", "xa", "path_state", "path_reachable", {"target": "c"}, ""),
        ("probe-xa", "xa", "path_state", "path_reachable", {"target": "h"}, "foreign_path"),
        ("probe-xa", "xa", "paths", "path_hops", {"target": "h"}, "foreign_path"),
        ("pc-1", "xa", "reachability", "path_up", {"target": "c"}, ""),
        ("probe", "c", "services", "service_up", {"service": "vb"}, ""),
        ("pc-1", "xa", "services", "service_up", {"service": "vb"}, "foreign_service"),
        ("probe", "xa", "services", "service_up", {"service": "vb"}, "foreign_service"),
        ("probe", "c", "services", "service_up", {"service": "web"}, "foreign_service"),
        ("probe", "c", "services", "service_documents", {"service": "vb", "unit": "xa"}, ""),
        ("asker", "h", "services", "service_documents", {"service": "own", "unit": ""}, ""),
        ("asker", "h", "services", "service_documents", {"service": "own", "unit": "h"}, ""),
        ("asker", "h", "services", "service_documents", {"service": "own", "unit": "phong-7"}, ""),
        ("asker", "h", "services", "service_documents", {"service": "own", "unit": "xa"}, "foreign_unit"),
        ("asker", "h", "services", "service_documents", {"service": "web", "unit": "h"}, "foreign_unit"),
        ("pc-1", "h", "services", "service_documents", {"service": "vb", "unit": "h"}, "foreign_service"),
    ],
)  # fmt: skip
def test_who_may_say_a_sample(
    agent: str, site: str, source: str, metric: str, labels: dict[str, str], reason: str
) -> None:
    prepared = said(agent, site, source, samples=[sample(metric, **labels)])
    assert dict(prepared.refused_samples) == ({reason: 1} if reason else {})
    assert len(prepared.report.samples) == len(list(prepared.kept())) == (not reason)


@pytest.mark.parametrize(
    "source", ["snmp:sw-xb", "host:sw-xb", "links:sw-xb", "inventory:pc-1", "traps:sw-xa", "host:pc-1"]
)
def test_no_source_has_a_target_but_devices_that_are_assigned(source: str) -> None:
    speaker = Speaker("pc-1", "xb", Assignments(registry()).rights("pc-1", "xb"))
    batch = read_delivery(delivery(report("pc-1", source=source)), speaker, time.time(), LIMITS)
    assert (batch.prepared, dict(batch.refused_reasons)) == ([], {"foreign_device": 1})
    assert "not assigned" in batch.refused[0].detail


@pytest.mark.parametrize(
    ("agent", "site", "source", "kind", "key", "reason"),
    [
        ("pc-1", "xb", "inventory", "machine", "pc-1", ""),
        ("pc-1", "xb", "inventory", "machine", "pc-2", "foreign_key"),
        ("sw-xa", "xa", "inventory", "machine", "sw-xa", ""),
        ("sw-xa", "xa", "lldp", "neighbours", "sw-xa", "foreign_device"),
        ("sw-xb", "xb", "lldp", "neighbours", "sw-xb", ""),
        ("pc-1", "xb", "lldp", "neighbours", "sw-xb", "foreign_key"),
        ("pc-1", "xb", "host", "device", "sw-xb", "foreign_key"),
        ("poller", "c", "snmp:sw-xa", "neighbours", "sw-xa", ""),
        ("poller", "c", "snmp:sw-xa", "neighbours", "sw-xb", "foreign_key"),
        ("probe", "c", "routes", "route", "xa", ""),
        ("pc-1", "xa", "routes", "route", "xa", "foreign_path"),
        ("pc-1", "xa", "host", "what_nobody_knows", "pc-1", ""),
    ],
)  # fmt: skip
def test_who_may_say_a_fact(agent: str, site: str, source: str, kind: str, key: str, reason: str) -> None:
    prepared = said(agent, site, source, facts=[{"kind": kind, "key": key, "body": {}}])
    assert dict(prepared.refused_documents) == ({reason: 1} if reason else {})
    assert len(prepared.report.facts) + len(prepared.unknown_facts) == (not reason)


@pytest.mark.parametrize(
    ("agent", "site", "source", "kind", "body", "reason"),
    [
        ("pc-1", "xb", "links", "link_down", {"device": "pc-1", "interface": "e"}, ""),
        ("pc-1", "xb", "links", "link_down", {"device": "sw-xb", "interface": "e"}, "foreign_device"),
        ("pc-1", "xb", "host", "link_down", {"interface": "e"}, "nameless"),
        ("pc-1", "xb", "host", "anything", {"device": ["sw-xb"]}, "foreign_device"),
        ("pc-1", "xb", "host", "anything", {"device": 7}, "foreign_device"),
        ("pc-1", "xb", "host", "anything", {"device": "sw-xb"}, "foreign_device"),
        ("pc-1", "xb", "host", "anything", {"device": None}, "foreign_device"),
        ("sw-xa", "xa", "links", "link_down", {"device": "sw-xa"}, "foreign_device"),
        ("poller", "h", "traps:sw-xa", "dying_gasp", {"device": "sw-xa"}, ""),
        ("pc-1", "xb", "host", "dying_gasp", {}, "nameless"),
        ("probe", "c", "path_state", "path_down", {"target": "xa"}, ""),
        ("pc-1", "xa", "host", "path_down", {"target": "c"}, "foreign_path"),
        ("probe-xa", "xa", "host", "path_up", {"target": "h"}, "foreign_path"),
        ("pc-1", "xa", "host", "path_up", {}, "nameless"),
        ("pc-1", "xa", "host", "anything", {"service": "vb"}, "foreign_service"),
        ("pc-1", "xa", "host", "anything", {"site": "c"}, "foreign_site"),
        ("pc-1", "xa", "host", "anything", {"agent": "probe"}, "foreign_agent"),
        ("pc-1", "xa", "host", "network_device_new", {"mac": "x"}, "reserved_kind"),
        ("pc-1", "xa", "host", "machine_disputed", {}, "reserved_kind"),
        ("pc-1", "xa", "lifecycle", "agent_stopped", {"version": "1"}, ""),
    ],
)  # fmt: skip
def test_who_may_say_an_event(agent: str, site: str, source: str, kind: str, body: dict[str, Any], reason: str) -> None:
    prepared = said(agent, site, source, events=[{"kind": kind, "at": time.time(), "body": body}])
    assert dict(prepared.refused_documents) == ({reason: 1} if reason else {})
    assert len(prepared.report.events) == (not reason)


def test_what_is_refused_is_not_stored_either() -> None:
    bad, good = sample("interface_up", device="sw-xb", interface="e"), sample("host_processes")
    fact = {"kind": "neighbours", "key": "sw-xb", "body": {}}
    prepared = said("pc-1", "xb", "host", samples=[bad, good], facts=[fact])
    assert b"sw-xb" not in prepared.raw
    again = restore(prepared.raw, 1000.0, "pc-1", lambda source: stored("pc-1", "xb", source), LIMITS)
    assert again is not None
    assert (again.report, again.blocks) == (prepared.report, prepared.blocks)
    # What needs no change is stored as it came.
    raw = json.dumps(report("pc-1")).encode()
    assert prepare(raw, 0, Speaker("pc-1", "xb"), time.time(), LIMITS).raw == raw


def test_what_was_said_under_another_registry_is_asked_again() -> None:
    """A role that is taken away is not restored from the disk; what waits for Prometheus is told on as it came."""
    prepared = said("probe", "c", "path_state", samples=[sample("path_reachable", target="xa")])
    without = Assignments(registry(sites=[{"id": "c", "name": "C", "level": "province", "probe": "other"}]))
    rights = without.rights("probe", "c")
    again = restore(prepared.raw, 1.0, "probe", lambda source: rights.voice("probe", "c", source), LIMITS)
    assert again is not None
    assert again.report.samples == []
    told_on = restore(prepared.raw, 1.0, "probe", lambda source: stored("probe", "c", source), LIMITS)
    assert told_on is not None
    assert len(told_on.report.samples) == 1
    assert restore(b"{}", 1.0, "probe", lambda source: None, LIMITS) is None


def test_every_label_that_names_a_thing_is_asked() -> None:
    """A new metric with such a label is covered without a word."""
    assert NAMING["haidang_interface_up"] == ("device",)
    assert NAMING["haidang_service_documents"] == ("service", "unit")
    assert NAMING["haidang_path_round_trip_distribution_seconds_bucket"] == ("target",)
    assert NAMING["haidang_path_up"] == NAMING["haidang_host_load_average"] == ()
    assert Rights().voice("pc-1", "xb", "host") is not None
