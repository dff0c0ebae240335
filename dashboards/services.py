"""Services: what officials and citizens use."""

from dashboards.shared import Board
from dashboards.states import BAD, GOOD, NONE_WANTED, PLAIN, READ, STATES, UP, WARN, named, over_time, share
from dashboards.words import ANSWERS

TITLE = "Services"
DESCRIPTION = "Document system, portal, one-stop shop and public services: do they answer, how fast, certificates."


def build(board: Board) -> None:
    board.choose("service", "Service", "label_values(haidang_service_info, service)")
    of = 'service=~"$service"'
    none = "No service is asked: register services, and enable sources.services at the agent that asks."
    board.number(
        "Services", "In the registry.", f"count(haidang_service_info{{{of}}}) or 0 * {READ}", steps=PLAIN, width=6
    )
    board.number(
        "Down",
        "Do not answer now.",
        f"sum(haidang_service_up{{{of}}} == bool 0)",
        steps=NONE_WANTED,
        width=6,
        empty=none,
    )
    board.number("Certificates ending", "Within 30 days.",
                 f"sum(haidang_service_certificate_ends_timestamp_seconds{{{of}}} - time() < bool 2592000)",
                 steps=share(1, 1), width=6, empty="No service has a certificate.")  # fmt: skip
    board.number("Electronic documents", "Share of all documents.", 'haidang_plan_ratio{level="all",figure="electronic_documents"}',
                 unit="percentunit", steps=((None, BAD), (0.8, GOOD)), width=6, link=board.link("plan", "The plan"), empty="No document system tells its counts.")  # fmt: skip
    board.table("Services", "Whether they answer.", named(f"haidang_service_info{{{of}}} * on (service) group_left (agent) haidang_service_up"),
                {"service": "Service", "kind": "Kind", "name": "Site", "agent": "Agent", "Value": "Answers"}, width=12, steps=UP, words=ANSWERS, empty=none,
                links={"name": board.link("site", "Site", site="${__data.fields.site}")})  # fmt: skip
    board.table("Certificates", "How long they last.", f"sort((haidang_service_certificate_ends_timestamp_seconds{{{of}}} - time()) / 86400)",
                {"service": "Service", "Value": "Ends in"}, unit=board.unit("days"), width=12,
                steps=((None, BAD), (14, WARN), (30, GOOD)), empty="No service has a certificate.")  # fmt: skip
    board.timeline("State", "Whether they answered.", over_time(f"haidang_service_up{{{of}}}", "service, agent"), "{{service}}",
                   STATES, empty=none)  # fmt: skip
    board.series("Response time", "From the question to the whole answer.", {"{{service}}": f"haidang_service_response_seconds{{{of}}}"},
                 unit="s", least=0, steps=share(1, 5), empty=none)  # fmt: skip
    board.bars("Electronic documents by unit", "The units with the least.",
               "bottomk(15, haidang_service_documents_electronic / haidang_service_documents)", "{{unit}}", unit="percentunit",
               most=1, steps=((None, BAD), (0.8, GOOD)), empty="No document system tells its counts.")  # fmt: skip
