"""Deliveries out of real reports, broken in one to several ways: values, structure, identity, bytes, compression."""

from __future__ import annotations

import copy
import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).with_name("corpus.json")
# Sources of which no report can be recorded on every machine: as those sources write them.
_WRITTEN = [
    ("lldp", "neighbours", {"neighbours": [{"protocol": "lldp", "interface": "fiber", "system": "sw-2", "chassis": "02:00:00:00:00:01", "port": "1", "port_description": "ge1"}]}),
    ("lan", "network", {"devices": [{"mac": "02:00:00:00:00:01", "address": "10.9.0.7"}, {"mac": "00:00:0c:00:00:01", "address": "fe80::1"}]}),
    ("routes", "route", {"hops": ["10.0.0.1", "", "10.0.0.9"], "mtu_bytes": 1500, "reached": True}),
    ("transceivers", "transceivers", {"modules": {"ge1": {"vendor": "X", "part": "SFP-10G", "serial": "A1"}}}),
]  # fmt: skip
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**32 + 1, 2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 0.1, -0.0, 1e-300,
    1e16, 1e300, -1e300, 1.7976931348623157e308, "", " ", "\0", "\n", "a\x1b[2J", "\u202e\ud7ff\uffff", "đường dây số 9", "x" * 300,
    "y" * 5000, "=1+1|' /C calc'!A0", "'; DROP TABLE agents; --", "../../etc/passwd", "%s%n%x", "{{7*7}}", "NaN", "1e999", "-1",
    [], {}, [[]], [None], {"": None}, ["a"] * 50, [[[[[[[[[]]]]]]]]], {"a": {"a": {"a": {"a": 1}}}},
]  # fmt: skip
_IDENTITIES = ["probe-1", "pc-1", "honest-1", "ttdl", "xa", "sw-1", "sw-2", "cong", "ttdl-xa", "fiber", "agent", "site"]
_TIMES = [-1e300, -1e12, -1.0, 0.0, 9e8, 1e9, 4e9, 1e12, 1e300]


class Mutator:
    """Makes deliveries of one agent; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.corpus: list[dict[str, Any]] = json.loads(CORPUS.read_text(encoding="utf-8"))
        like = {**self.corpus[0], "samples": [], "facts": [], "events": []}
        for source, kind, body in _WRITTEN:
            fact = {"kind": kind, "key": "probe-1", "body": body}
            self.corpus.append({**like, "source": source, "facts": [fact]})
        for kind in ("agent_started", "agent_stopped", "spool_damaged"):
            event = {"kind": kind, "at": like["taken"], "body": {"version": "0.1.0"}}
            self.corpus.append({**like, "source": "lifecycle", "events": [event]})
        self._sequence = 0
        self._structural: list[Callable[[Any], None]] = [
            self._replace, self._replace, self._replace, self._remove, self._repeat, self._graft, self._rename,
            self._impersonate, self._shift_time, self._unknown,
        ]  # fmt: skip

    def report(self, agent: str, now: float) -> dict[str, Any]:
        """A good report of the corpus, of this agent and time."""
        chosen = copy.deepcopy(self.random.choice(self.corpus))
        shift = now - chosen["taken"]
        self._sequence += 1
        for event in chosen["events"]:
            event["at"] += shift
        for fact in chosen["facts"]:
            fact["key"] = agent if fact["key"] == "probe-1" else fact["key"]
        return {**chosen, "agent": agent, "taken": now, "sequence": self._sequence, "epoch": self.random.choice((1, 2))}

    def delivery(self, agent: str) -> tuple[bytes, str]:
        """(body, Content-Encoding) of a delivery that is broken, or only odd."""
        now, choice = time.time(), self.random
        ages = (0, 0.5, 100, -5, 1e5, 1e9, 1e300)
        envelopes = [
            {"age": choice.choice(ages) if choice.random() < 0.2 else 0.1, "report": self.report(agent, now)}
            for _ in range(choice.choice((1, 1, 1, 2, 5)))
        ]
        document, reports = {"sent": now, "reports": envelopes}, [each["report"] for each in envelopes]
        for _ in range(choice.choice((0, 1, 1, 2, 3, 8))):
            target = document if choice.random() < 0.05 else choice.choice(reports)
            choice.choice(self._structural)(target)
        try:
            data = json.dumps(document, ensure_ascii=choice.random() < 0.5).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return b"", ""
        if choice.random() < 0.15:
            data = self._bytes(data)
        if choice.random() < 0.1:
            packed = gzip.compress(data, 1)
            return (self._bytes(packed) if choice.random() < 0.3 else packed), "gzip"
        return data, ""

    # Structure

    def _place(self, root: Any) -> tuple[Any, Any]:
        """A container somewhere in it, and a key or index of its."""
        at, place = root, None
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not keys:
                return (at, None) if place is None else place
            place = (at, self.random.choice(keys))
            below = at[place[1]]
            if not isinstance(below, (dict, list)) or not below or self.random.random() < 0.15:
                return place
            at = below

    def _replace(self, root: Any) -> None:
        at, key = self._place(root)
        if key is not None:
            at[key] = copy.deepcopy(self.random.choice(NASTY))

    def _remove(self, root: Any) -> None:
        at, key = self._place(root)
        if key is not None:
            del at[key]

    def _repeat(self, root: Any) -> None:
        at, key = self._place(root)
        if isinstance(at, list) and key is not None:
            at.extend([at[key]] * self.random.choice((1, 3, 100)))

    def _graft(self, root: Any) -> None:
        """A part of another report in the place of one."""
        at, key = self._place(root)
        other, place = self._place(copy.deepcopy(self.random.choice(self.corpus)))
        if key is not None and place is not None:
            at[key] = other[place]

    def _rename(self, root: Any) -> None:
        at, key = self._place(root)
        if isinstance(at, dict) and key is not None:
            at[self.random.choice(("", "x", "agent", "site", "device", "\0", "body", str(key).upper()))] = at.pop(key)

    def _impersonate(self, root: Any) -> None:
        at, key = self._place(root)
        if key is not None and isinstance(at[key], str):
            at[key] = self.random.choice(_IDENTITIES)
        elif isinstance(root, dict):
            root["source"] = self.random.choice(self.corpus)["source"]

    def _shift_time(self, root: Any) -> None:
        if not isinstance(root, dict):
            return
        events = root.get("events")
        event = self.random.choice(events) if isinstance(events, list) and events else None
        if isinstance(event, dict):
            event["at"] = self.random.choice(_TIMES)
        else:
            root["taken"] = self.random.choice(_TIMES)
        root["interval"] = self.random.choice((0.1, 15, 3600, 604800, 1e9))

    def _unknown(self, root: Any) -> None:
        at, _ = self._place(root)
        if isinstance(at, dict):
            at[f"new_{self.random.randrange(5)}"] = copy.deepcopy(self.random.choice(NASTY))

    # Bytes

    def _bytes(self, data: bytes) -> bytes:
        changed, choice = bytearray(data), self.random
        for _ in range(choice.choice((1, 1, 2, 10))):
            if not changed:
                break
            at = choice.randrange(len(changed))
            what = choice.randrange(5)
            if what == 0:
                changed[at] ^= 1 << choice.randrange(8)
            elif what == 1:
                del changed[at:]
            elif what == 2:
                changed[at:at] = choice.randbytes(choice.randrange(1, 9))
            elif what == 3:
                end = min(len(changed), at + choice.randrange(1, 50))
                changed[at:at] = changed[at:end] * choice.choice((1, 2, 50))
            else:
                changed[at : at + 1] = choice.choice(
                    (b'"', b"{", b"[", b"}", b"]", b",", b"1e999", b"\\ud800", b"\\u0000", b"null")
                )
        return bytes(changed)
