"""What one registry says otherwise than another, by names alone: keys and telephone numbers stay in the registry."""

from __future__ import annotations

from typing import Any

from haidang_collector.registry.model import Registry


def difference(before: Registry | None, after: Registry) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(before, after) for the audit: how many of each kind there were and are; with the latter the ids that were
    added, removed and changed."""
    were, are = _kinds(before), _kinds(after)
    told: dict[str, Any] = {kind: len(each) for kind, each in are.items()}
    for kind, now in are.items():
        was = were.get(kind, {})
        changes = {
            "added": sorted(now.keys() - was.keys()),
            "removed": sorted(was.keys() - now.keys()),
            "changed": sorted(id for id in now.keys() & was.keys() if now[id] != was[id]),
        }
        told |= {f"{kind}_{how}": ids for how, ids in changes.items() if ids and before}
    if before:
        told |= {"province_changed": True} if before.province != after.province else {}
    return {kind: len(each) for kind, each in were.items()} if before else None, told


def _kinds(registry: Registry | None) -> dict[str, dict[str, Any]]:
    """Kind of thing (`sites`, `devices`…) → the things of that kind by id."""
    if registry is None:
        return {}
    lists = {name: getattr(registry, name) for name in Registry.model_fields}
    return {name: {each.id: each for each in value} for name, value in lists.items() if isinstance(value, list)}
