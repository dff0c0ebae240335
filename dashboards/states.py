"""Well, not well, not known: the colours of each, and queries that tell them apart.

Nothing here may turn "nothing known" into "nothing wrong": a zero is only said where something was there to count.
"""

from __future__ import annotations

# Okabe and Ito's colours: told apart by everybody. Gray is what is not known, and nothing else.
GOOD, WARN, BAD, GRAY, NEUTRAL = "#009E73", "#E69F00", "#D55E00", "#999999", "#0072B2"
# Where the first colour begins: below it lies only what is not known, since Grafana gives that the lowest.
LOWEST = -1e12

Step = tuple[float | None, str]
# What is good when high, and what is good when it is zero.
UP: tuple[Step, ...] = ((None, BAD), (1, GOOD))
NONE_WANTED: tuple[Step, ...] = ((None, GOOD), (1, BAD))
PLAIN: tuple[Step, ...] = ((None, NEUTRAL),)

# What there is while Prometheus reads the collector, while the collector judges outages, while rules are evaluated.
READ = "max(haidang_collector_start_timestamp_seconds)"
JUDGED = "haidang_outages_judged == 1"
_WATCHDOG = 'ALERTS{alertname="HaidangWatchdog"}'
EVALUATED = f"time() - timestamp({_WATCHDOG}) < 60"
# Whoever is blind fires nothing: only this makes "nothing fires" known.
SEEN_AND_EVALUATED = f'{EVALUATED} and on () max(up{{job="haidang"}}) == 1'

STATES = {"1": ("up", GOOD), "0": ("down", BAD), "-1": ("not known", GRAY)}


def share(warn: float, bad: float) -> tuple[Step, ...]:
    """Good up to warn, bad from bad on."""
    return ((None, GOOD), (warn, WARN), (bad, BAD))


def at_least(warn: float, good: float) -> tuple[Step, ...]:
    """Bad below warn, good from good on."""
    return ((None, BAD), (warn, WARN), (good, GOOD))


def in_the_past(least: float) -> tuple[Step, ...]:
    """Of what was: bad below `least`; what was well says nothing of now, and is not green."""
    return ((None, BAD), (least, NEUTRAL))


def counted(condition: str, known: str) -> str:
    """How many series fulfil a condition: zero only where there are some of those that could."""
    return f"count({condition}) or 0 * count({known})"


def named(query: str) -> str:
    """Series of sites with the `name` of each, from the registry."""
    return f"{query} * on (site) group_left (name) haidang_site_info"


def named_over_time(query: str) -> str:
    """The same where the registry may not be told of any more: by the name that a site had last."""
    last = "topk by (site) (1, last_over_time(haidang_site_info[$__range] @ end()))"
    return f"{query} * on (site) group_left (name) {last}"


def targets_named(query: str) -> str:
    """What is measured, by `target`: sites with their names, circuits as they are called."""
    sites = named(f'label_replace({query}, "site", "$1", "target", "(.*)")')
    known = 'label_replace(haidang_site_info, "target", "$1", "site", "(.*)")'
    return f'{sites} or label_replace({query}, "name", "$1", "target", "(.*)") unless on (target) {known}'


def over_time(series: str, by: str, state: str = "") -> str:
    """A state over time (`series` itself, or what is made of it), -1 wherever nothing tells of what was told of in the
    time shown."""
    return f"({state or f'{series} + 0'} or on ({by}) 0 * last_over_time({series}[$__range] @ end()) - 1)"


def over_time_of(series: str, by: str, some: str) -> str:
    """The same for those alone that `some` answers, each with 0: far less to ask where it is few of many."""
    return f"(({series} and on ({by}) ({some})) + 0 or on ({by}) ({some}) - 1)"


def not_always(series: str) -> str:
    """Those that were 0 at some moment of the time shown, each with 0."""
    return f"min_over_time({series}[$__range] @ end()) == 0"


def circuit_states(circuits: str) -> str:
    """Circuits over time: 1 up, 0 down, -1 where nothing tells. `circuits` are matchers."""
    measured = f"haidang_circuit_measured{{{circuits}}}"
    unknown = f"{measured} - 1 or on (circuit) 0 * last_over_time({measured}[$__range] @ end()) - 1"
    return f"(haidang_circuit_up{{{circuits}}} + 0 or on (circuit) {unknown})"


# The center's own sight, in Unix seconds: when the collector last answered Prometheus, and when rules last ran.
_ANSWERS = 'timestamp(up{job="haidang"}) and up{job="haidang"} == 1'
_LAST_ANSWER = "max(last_over_time(center:haidang_answer:timestamp[3d]))"
_LAST_EVALUATION = "max(last_over_time(center:haidang_evaluation:timestamp[3d]))"
AGE = f"time() - max({_ANSWERS}) < 60"
BLIND = {
    "The center is blind, the collector does not answer since":
        f'1000 * {_LAST_ANSWER} and on () max(up{{job="haidang"}}) == 0',
    "The center is blind, Prometheus does not read the collector since":
        f'1000 * {_LAST_ANSWER} unless on () time() - max(timestamp(up{{job="haidang"}})) < 60',
    "Alerts are blind, their rules are not evaluated since":
        f'1000 * ({_LAST_EVALUATION} or 0 * max(up{{job="haidang"}})) unless on () {EVALUATED}',
    "Outages are not judged since": '1000 * max(ALERTS_FOR_STATE{alertname="HaidangOutagesNotJudged"})',
}  # fmt: skip
