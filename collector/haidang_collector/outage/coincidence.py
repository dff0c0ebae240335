"""How far apart in time two signs may lie and still be of one event. Seconds, the same for all who judge."""

from __future__ import annotations

SAME_SECONDS = 60.0
"""A site and the data center see one failure begin and end within so much of each other: what a late report says of a
beginning or an end is of the one that was seen live."""

PORT_SECONDS = 15.0
"""The port of a circuit goes down with the site behind it within so much: SNMP is polled, links tell at once."""

ROUTERS_SECONDS = 15.0
"""Routers next to each other that fall silent within so much do so for one reason."""

LINKS_SECONDS = 3.0
"""Links of one site that are lost within so much are lost by its device, not each by its own fiber."""

FEEDER_SECONDS = 30.0
"""Sites on one power line that are lost within so much lost their power."""

POWER_BEFORE_SECONDS = 2 * 3600.0
"""Power may have failed so long before a site was lost: a UPS lasts a while."""

POWER_AFTER_SECONDS = 120.0
"""That it failed is polled, so it may be told so much later than the site was lost."""


def is_power_lost_with(lost: float, sign: float) -> bool:
    """Whether a sign of failed power explains that a site was lost. Power that fails in the course of an outage did not
    cause it."""
    return lost - POWER_BEFORE_SECONDS <= sign <= lost + POWER_AFTER_SECONDS
