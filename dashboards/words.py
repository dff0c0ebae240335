"""What labels hold, as people say it: English words by label and value; `texts.py` has their Vietnamese."""

from __future__ import annotations

from dashboards.states import BAD, GOOD, GRAY, NEUTRAL, WARN

# Of a label, each value's words.
WORDS = {
    "figure": {
        "fiber": "Agencies on fiber", "appliance": "Agencies with a security appliance that works",
        "workstation": "Officials with a workstation", "document_system": "Agencies that reach the document system",
        "online_services": "Online services that answer", "electronic_documents": "Documents that are electronic",
        "it_officer": "Agencies with an IT officer",
    },
    "level": {
        "all": "whole province", "province": "province", "department": "departments", "district": "districts (former)",
        "commune": "communes and wards", "other": "other",
    },
    "kind": {
        "portal": "portal", "document_system": "document system", "one_stop": "one-stop shop",
        "public_service": "online public service", "other": "other",
    },
    "chassis": {
        "desktop": "desktops", "laptop": "laptops", "tablet": "tablets", "server": "servers", "vm": "virtual machines",
        "other": "other",
    },
    "severity": {"critical": "critical", "warning": "warning", "info": "for a look", "none": "none"},
    "problem": {"wrong_port": "wrong port", "wrong_device": "wrong device", "undocumented": "not in the registry"},
    "outcome": {"live": "live", "late": "late", "duplicate": "twice", "refused": "refused"},
}  # fmt: skip
# Of a state, each value's words and colour.
Words = dict[str, tuple[str, str]]
REACHED: Words = {"1": ("up", GOOD), "0": ("down", BAD)}
ANSWERS: Words = {"1": ("answers", GOOD), "0": ("does not answer", BAD)}
SEVERITY_COLORS = {"critical": BAD, "warning": WARN, "info": NEUTRAL, "none": GRAY}
