"""What changed between two documents of a kind, as people would say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from haidang_collector.inventory.body import Body, dict_of, int_of, list_of, text_of, texts_of


@dataclass(frozen=True)
class Change:
    """`what` is memory_removed, disk_added, renamed, …; `before` and `after` are texts, empty for nothing."""

    what: str
    before: str = ""
    after: str = ""


def changes(kind: str, before: Body, after: Body) -> list[Change]:
    """Changes between two documents, which may hold anything: they come from agents."""
    read = _KINDS.get(kind)
    return list(read(before, after)) if read else []


def _machine(before: Body, after: Body) -> Iterator[Change]:
    yield from _texts(before, after, {"name": "renamed", "asset_tag": "asset_tag_changed", "domain": "domain_changed"})
    yield from _texts(dict_of(before, "bios"), dict_of(after, "bios"), {"version": "bios_updated"})
    yield from _texts(dict_of(before, "board"), dict_of(after, "board"), {"serial": "board_replaced"})
    old, new = dict_of(before, "memory"), dict_of(after, "memory")
    if "modules" in old and "modules" in new:
        yield from _things("memory", list_of(old, "modules"), list_of(new, "modules"), _module_key, _module)
    elif int_of(old, "total_bytes") and int_of(new, "total_bytes"):
        one, two = int_of(old, "total_bytes"), int_of(new, "total_bytes")
        # What a system counts differs a little from version to version.
        if abs(two - one) > one / 10:
            yield Change("memory_added" if two > one else "memory_removed", size(one), size(two))
    processors = [", ".join(text_of(each, "name") for each in list_of(body, "processors")) for body in (before, after)]
    if all(processors) and processors[0] != processors[1]:
        yield Change("processor_replaced", *processors)
    cards = [set(texts_of(body, "macs")) for body in (before, after)]
    if cards[0] and cards[1]:
        yield from (Change("network_card_removed", mac) for mac in sorted(cards[0] - cards[1]))
        yield from (Change("network_card_added", "", mac) for mac in sorted(cards[1] - cards[0]))


def _disks(before: Body, after: Body) -> Iterator[Change]:
    old, new = list_of(before, "disks"), list_of(after, "disks")
    yield from _things("disk", old, new, _disk_key, _disk)
    health = {_disk_key(disk): disk.get("healthy") for disk in old}
    for disk in new:
        if disk.get("healthy") is False and health.get(_disk_key(disk)) is not False:
            yield Change("disk_failing", "", _disk(disk))


def _system(before: Body, after: Body) -> Iterator[Change]:
    names = [" ".join(filter(None, (text_of(body, "name"), text_of(body, "version")))) for body in (before, after)]
    installed = [int_of(body, "installed") for body in (before, after)]
    if all(installed) and abs(installed[0] - installed[1]) > 86400:
        yield Change("reinstalled", *names)
    elif names[0] != names[1]:
        yield Change("system_changed", *names)
    elif text_of(before, "build") != text_of(after, "build") and text_of(after, "build"):
        yield Change("system_updated", text_of(before, "build"), text_of(after, "build"))


def software(before: set[tuple[str, str]], after: set[tuple[str, str]]) -> list[Change]:
    """Between two lists of (name, version)."""
    old: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    for name, version in sorted(before - after):
        old.setdefault(name, []).append(version)
    for name, version in sorted(after - before):
        new.setdefault(name, []).append(version)
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = ", ".join(old.get(name, ())), ", ".join(new.get(name, ()))
        what = (
            "software_updated"
            if name in old and name in new
            else f"software_{'removed' if name in old else 'installed'}"
        )
        found.append(
            Change(what, f"{name} {was}".strip() if name in old else "", f"{name} {now}".strip() if name in new else "")
        )
    return found


def _security(before: Body, after: Body) -> Iterator[Change]:
    for name in ("firewall", "secure_boot", "automatic_updates", "remote_desktop"):
        if isinstance(before.get(name), bool) and isinstance(after.get(name), bool) and before[name] != after[name]:
            yield Change(f"{name}_{'on' if after[name] else 'off'}")
    one, two = int_of(before, "administrators"), int_of(after, "administrators")
    if one and two and one != two:
        yield Change("administrators_changed", str(one), str(two))
    old = {text_of(each, "name"): each.get("on") for each in list_of(before, "antivirus")}
    new = {text_of(each, "name"): each.get("on") for each in list_of(after, "antivirus")}
    if "antivirus" in before and "antivirus" in after:
        yield from (Change("antivirus_removed", name) for name in sorted(old.keys() - new.keys()))
        yield from (Change("antivirus_added", "", name) for name in sorted(new.keys() - old.keys()))
        for name in sorted(old.keys() & new.keys()):
            if bool(old[name]) != bool(new[name]):
                yield Change(f"antivirus_{'on' if new[name] else 'off'}", "", name)
    was = {text_of(each, "volume"): each.get("encrypted") for each in list_of(before, "encryption")}
    for each in list_of(after, "encryption"):
        if was.get(text_of(each, "volume")) is True and each.get("encrypted") is False:
            yield Change("encryption_lost", text_of(each, "volume"))
        elif was.get(text_of(each, "volume")) is False and each.get("encrypted") is True:
            yield Change("encryption_on", "", text_of(each, "volume"))


def _displays(before: Body, after: Body) -> Iterator[Change]:
    yield from _things("display", list_of(before, "displays"), list_of(after, "displays"), _display, _display)


def _printers(before: Body, after: Body) -> Iterator[Change]:
    yield from _things("printer", list_of(before, "printers"), list_of(after, "printers"), _name, _name)


def _things(
    what: str, before: list[Body], after: list[Body], key: Callable[[Body], str], said: Callable[[Body], str]
) -> Iterator[Change]:
    old, new = {key(each): each for each in before}, {key(each): each for each in after}
    yield from (Change(f"{what}_removed", said(old[each])) for each in sorted(old.keys() - new.keys()))
    yield from (Change(f"{what}_added", "", said(new[each])) for each in sorted(new.keys() - old.keys()))


def _texts(before: Body, after: Body, names: dict[str, str]) -> Iterator[Change]:
    for name, what in names.items():
        was, now = text_of(before, name), text_of(after, name)
        if was and now and was != now:
            yield Change(what, was, now)


def _module_key(module: Body) -> str:
    # Two modules of a kind without serials differ by their slots.
    serial = text_of(module, "serial")
    return f"{int_of(module, 'size_bytes')} {serial or text_of(module, 'slot')}"


def _module(module: Body) -> str:
    slot = text_of(module, "slot")
    return " ".join(
        filter(None, (size(int_of(module, "size_bytes")), text_of(module, "type"), f"({slot})" if slot else ""))
    )


def _disk_key(disk: Body) -> str:
    return text_of(disk, "serial") or f"{text_of(disk, 'name')} {text_of(disk, 'model')} {int_of(disk, 'size_bytes')}"


def _disk(disk: Body) -> str:
    serial = text_of(disk, "serial")
    known = (
        text_of(disk, "model") or text_of(disk, "name"),
        size(int_of(disk, "size_bytes")),
        f"[{serial}]" if serial else "",
    )
    return " ".join(filter(None, known))


def _display(display: Body) -> str:
    return " ".join(filter(None, (text_of(display, name) for name in ("manufacturer", "model", "serial"))))


def _name(thing: Body) -> str:
    return text_of(thing, "name")


def size(value: int) -> str:
    """Bytes for people, as makers count disks and memory alike closely enough to be known again."""
    for unit, power in (("TB", 40), ("GB", 30), ("MB", 20)):
        if value >= 1 << power:
            return f"{round(value / (1 << power), 1):g} {unit}"
    return f"{value} B"


_KINDS: dict[str, Callable[[Body, Body], Iterator[Change]]] = {
    "machine": _machine, "disks": _disks, "system": _system, "security": _security, "displays": _displays,
    "printers": _printers,
}  # fmt: skip
