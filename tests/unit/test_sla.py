"""The month's figures against sums by hand and by brute force; the report in both languages."""

from __future__ import annotations

import ast
import csv
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from haidang_collector.ledger.database import Ledger
from haidang_collector.months import month, month_of
from haidang_collector.outage import sla
from haidang_collector.outage import store as kept
from haidang_collector.outage.cause import Cause, Kind
from haidang_collector.outage.model import Changes, Downtime, MaintenanceWindow, Outage, Says, Seen
from haidang_collector.outage.remarks import Remark
from haidang_collector.principals import Principal
from haidang_collector.registry.model import Registry
from haidang_collector.reports.sla import Report, as_csv, as_pdf, table
from haidang_wire.errors import HaidangError
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.province import registry

REGISTRY = Registry.model_validate(registry())
PERIOD = month("2026-10").period
DAY = 86400.0
JUDGED = 0.95


def always(registry: Registry = REGISTRY, until: float = PERIOD[1]) -> list[Seen]:
    """Everything was measured, from the month's beginning on."""
    elements = [("circuit", circuit.id) for circuit in registry.circuits] + [("site", s.id) for s in registry.sites]
    return [Seen(kind, element, Says.LIVE, PERIOD[0], until) for kind, element in elements]


def figures(
    downtimes: list[Downtime], work: list[MaintenanceWindow], now: float = PERIOD[1], seen: list[Seen] | None = None,
    registry: Registry = REGISTRY,
) -> list[sla.Figures]:  # fmt: skip
    record = sla.Record(downtimes, work, always(registry) if seen is None else seen)
    return sla.figures(registry, PERIOD, record, now, JUDGED)


def of(figures: list[sla.Figures], kind: str, element: str) -> sla.Figures:
    (found,) = [each for each in figures if (each.kind, each.element) == (kind, element)]
    return found


def test_a_month_has_its_days_and_what_is_none_is_refused() -> None:
    assert (PERIOD[1] - PERIOD[0]) / DAY == 31
    december = month("2026-12")
    assert (december.period[1] - december.period[0]) / DAY == 31
    assert december.period[1] == month("2027-01").period[0]
    assert month_of(december.period[1] - 1) == december == month("2026-12")
    assert str(month("2026-1")) == "2026-01"
    for text in ("2026-13", "10/2026", "", "2026", "9999-12", "0001-01"):
        with pytest.raises(HaidangError, match="no month"):
            month(text)


def test_a_month_is_of_the_time_zone_where_it_is_counted() -> None:
    code = "from haidang_collector.months import month; print(month('2026-10').period)"
    summer = "CET-1CEST,M3.5.0,M10.5.0/3"
    for zone, before_utc in (("ICT-7", 7 * 3600), ("UTC0", 0), (summer, 2 * 3600)):
        told = subprocess.run(
            [sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=True
        )
        october = 1790812800.0  # 2026-10-01T00:00Z
        # Where clocks are put back on the 25th, October has an hour more.
        longer = 3600 if zone == summer else 0
        assert ast.literal_eval(told.stdout) == (october - before_utc, october - before_utc + 31 * DAY + longer)


def test_figures_count_downtime_without_planned_work() -> None:
    at = PERIOD[0] + 10 * DAY
    downtimes = [
        Downtime("circuit", "r2-hub", at, "o1", at + 3600),
        Downtime("circuit", "r2-hub", at + 4000, "o1", at + 4600),  # it flapped: the same outage
        Downtime("circuit", "r2-hub", at + 5 * DAY, "o2", at + 5 * DAY + 7200),  # half of it planned
        Downtime("circuit", "r2-hub", PERIOD[0] - 500, "o0", PERIOD[0] + 600),  # began the month before
        Downtime("site", "hub", at, "o1", at + 3600),
    ]
    work = [MaintenanceWindow("hub", at + 5 * DAY - 1800, at + 5 * DAY + 3600)]
    found = figures(downtimes, work, PERIOD[1] + DAY)
    circuit = of(found, "circuit", "r2-hub")
    assert circuit.down_seconds == 3600 + 600 + 3600 + 600
    assert circuit.outages == 3
    assert circuit.measured_seconds == 31 * DAY - 5400
    assert circuit.availability_ratio == 1 - 8400 / (31 * DAY - 5400)
    assert circuit.mean_time_to_repair_seconds == 2800
    assert circuit.mean_time_between_failures_seconds == (31 * DAY - 5400 - 8400) / 3
    assert of(found, "site", "hub").down_seconds == 3600
    carrier = of(found, "carrier", "vta")
    assert carrier.outages == 3
    assert carrier.down_seconds == 8400
    assert of(found, "carrier", "vtb").availability_ratio == 1
    assert of(found, "circuit", "r1-r2").mean_time_to_repair_seconds is None


def test_an_open_outage_counts_until_now_and_the_rest_of_the_month_not_at_all() -> None:
    now = PERIOD[0] + 2 * DAY
    found = figures([Downtime("circuit", "r2-hub", now - 600, "o", None)], [], now)
    circuit = of(found, "circuit", "r2-hub")
    assert (circuit.down_seconds, circuit.measured_seconds) == (600, 2 * DAY)


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p))), max_size=6)


@given(SPANS, SPANS)
def test_intervals_are_what_counting_second_by_second_gives(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    within = (5.0, 50.0)
    merged, work = sla.merged(some, within), sla.merged(others, within)
    seconds = {n for begins, ends in some for n in range(begins, ends) if 5 <= n < 50}
    planned = {n for begins, ends in others for n in range(begins, ends)}
    assert sla.length(merged) == len(seconds)
    assert sla.length(sla.without(merged, work)) == len(seconds - planned)


def test_the_budget_is_of_the_whole_month() -> None:
    figures = sla.Figures("circuit", "c", "v", 1, 31 * DAY * 0.001, DAY, 0.995, DAY)
    assert sla.budget_used(figures, PERIOD) == pytest.approx(0.2)
    assert sla.budget_used(sla.Figures("circuit", "c", "v", 0, 0, DAY, 0, DAY), PERIOD) is None
    assert sla.budget_used(sla.Figures("circuit", "c", "v", 0, 0, 0, 0.995, DAY), PERIOD) is None


def made(carrier: str = "") -> Report:
    at = PERIOD[0] + 3 * DAY
    downtimes = [Downtime("circuit", "r2-hub", at, "hub-1", at + 3661)]
    outage = Outage(
        "hub-1", "site", "hub", "r2-hub", at, ("r2-hub",), {"hub", "x1"}, cause=Cause(Kind.FIBER_CUT), ended=at + 3661
    )
    return Report(REGISTRY, "2026-10", figures(downtimes, []), [(outage, 35)], carrier)


def test_the_table_and_csv_say_it_in_order() -> None:
    text = table(made(), "vi")
    (line,) = [line for line in text.splitlines() if line.startswith("r2-hub")]
    assert "VT-r2-hub" in line
    assert "1:01:01" in line
    assert "99.8633%" in line
    assert "Viễn thông A" in text
    assert "Độ sẵn sàng" in text
    assert "UBND hub" in text
    rows = list(csv.DictReader(io.StringIO(as_csv(made()).lstrip("\ufeff"))))
    (row,) = [row for row in rows if row["element"] == "r2-hub"]
    assert (row["outages"], row["down_seconds"], row["mttr_seconds"]) == ("1", "3661.0", "3661.0")
    assert {row["carrier"] for row in csv.DictReader(io.StringIO(as_csv(made("vtb")).lstrip("\ufeff")))} == {"vtb"}


def test_what_looks_like_a_formula_is_none_in_a_spreadsheet() -> None:
    document = registry()
    document["circuits"][0]["carrier_circuit_id"] = '=HYPERLINK("http://x")'
    report = Report(
        Registry.model_validate(document),
        "2026-10",
        figures([], [], registry=Registry.model_validate(document)),
        [],
    )
    assert "\"'=HYPERLINK" in as_csv(report)


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (
            "vi",
            [
                "Độ sẵn sàng của các tuyến truyền dẫn",
                "Tỉnh Ví Dụ",
                "Viễn thông A",
                "đứt cáp quang",
                "Gián đoạn",
                "VT-r2-hub",
            ],
        ),
        ("en", ["Availability of circuits", "fiber cut", "Outages of the month", "VT-r2-hub"]),
    ],
)
def test_the_pdf_holds_every_letter(tmp_path: Path, language: str, texts: list[str]) -> None:
    from pypdf import PdfReader

    file = tmp_path / "sla.pdf"
    file.write_bytes(as_pdf(made("vta"), language))
    said = " ".join(page.extract_text() for page in PdfReader(file).pages)
    for text in texts:
        assert text.replace(" ", "") in said.replace(" ", "").replace("\n", ""), text
    assert "r5-dual" not in said


def test_the_ledger_keeps_and_revises_outages(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    outage = Outage(
        "o",
        "site",
        "hub",
        "r2-hub",
        1000.0,
        ("r2-hub",),
        {"hub"},
        {"hub"},
        Cause(Kind.UNKNOWN, (Remark("one", "một"),)),
    )
    down = Downtime("site", "hub", 1000.0, "o")
    with ledger.transaction() as connection:
        kept.save(connection, Changes({"o": outage}, [down]), {"o": 5}, 1010.0)
        assert kept.load_open(connection) == (
            [Outage("o", "site", "hub", "r2-hub", 1000.0, ("r2-hub",), {"hub"}, set(), outage.cause)],
            [down],
            0,
        )
        outage.started, outage.cause = 999.0, Cause(Kind.POWER, (Remark("one", "một"), Remark("two", "hai")))
        kept.revise(connection, outage, "the site says so", 1020.0)
        outage.ended = 1100.0
        kept.save(connection, Changes({"o": outage}, []), {"o": 5}, 1110.0)
        ((found, officials),) = kept.between(connection, 0, 2000)
        assert (found.started, found.ended, found.cause, officials) == (999.0, 1100.0, outage.cause, 5)
        (before,) = connection.exec_driver_sql("SELECT started, cause, reason FROM outage_revisions").fetchall()
        assert tuple(before) == (1000.0, "unknown", "the site says so")
        # A ledger of before has its evidence in English alone.
        connection.exec_driver_sql("""UPDATE outages SET evidence = '["one"]'""")
        assert kept.between(connection, 0, 2000)[0][0].cause.evidence == (Remark("one", "one"),)
        assert kept.between(connection, 1200, 2000) == []
    ledger.close()


def test_planned_work_is_kept_ended_and_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    now = time.time()
    with ledger.transaction() as connection:
        work = kept.add_maintenance(connection, Principal.itself(), "hub", now, now + 3600, "hàn nối")
        later = kept.add_maintenance(connection, Principal.itself(), "hub", now + 7200, now + 9000, "")
        assert [each.id for each in kept.list_maintenance(connection, now)] == [work.id, later.id]
        assert kept.end_maintenance(connection, Principal.itself(), work.id, now + 60).ends == now + 60
        kept.end_maintenance(connection, Principal.itself(), later.id, now + 60)
        assert [each.ends for each in kept.list_maintenance(connection)] == [now + 60]
        with pytest.raises(HaidangError, match="no planned work 99"):
            kept.end_maintenance(connection, Principal.itself(), 99, now)
        with pytest.raises(HaidangError, match="before it begins"):
            kept.add_maintenance(connection, Principal.itself(), "hub", now, now, "")
    ledger.close()


def test_the_commands_speak_to_people(tmp_path: Path) -> None:
    from tests.conftest import BIN
    from tests.conftest import REGISTRY as EXAMPLE

    config = tmp_path / "c.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "haidang-collector"), "--config", str(config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert "there is no registry" in run("sla", "--month", "2026-10").stderr
    assert run("registry", "load", str(EXAMPLE)).returncode == 0
    done = run("sla", "--month", time.strftime("%Y-%m"), "--carrier", "vien-thong-a")
    assert done.returncode == 0, done.stderr
    assert "VTA-2026-0147" in done.stdout
    names = sorted(file.name for file in tmp_path.glob("sla-*"))
    assert names == [f"sla-{time.strftime('%Y-%m')}-vien-thong-a.{kind}" for kind in ("csv", "pdf")]
    assert "there is no carrier 'x'" in run("sla", "--month", "2026-10", "--carrier", "x").stderr
    assert "has not begun" in run("sla", "--month", "2999-01").stderr
    assert "there is no site or circuit 'x'" in run("maintenance", "add", "x", "--lasts", "1h").stderr
    assert "--lasts must be like" in run("maintenance", "add", "ttdl", "--lasts", "soon").stderr
    assert "--begins must be like" in run("maintenance", "add", "ttdl", "--lasts", "1h", "--begins", "morning").stderr
    assert run("maintenance", "add", "ttdl", "--lasts", "1h", "--text", "Thay nguồn").returncode == 0
    assert "Thay nguồn" in run("maintenance", "list").stdout
    assert run("maintenance", "end", "1").returncode == 0
    assert run("maintenance", "list").stdout == ""


def promised(ratio: float = 0.995) -> Registry:
    document = registry()
    for circuit in document["circuits"]:
        circuit["sla_availability_ratio"] = ratio
    return Registry.model_validate(document)


def line(text: str, of: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(of)]
    return found


def csv_row(report: Report, of: str) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(as_csv(report).lstrip("\ufeff")))
    (found,) = [row for row in rows if row["element"] == of]
    return found


def test_what_nobody_measured_is_unmeasured_not_perfect() -> None:
    found = figures([], [], seen=[], registry=promised())
    circuit = of(found, "circuit", "ttdl-r1")
    assert (circuit.measured_seconds, circuit.measured_ratio, circuit.availability_ratio) == (0, 0, None)
    assert circuit.judgement == sla.Judgement.UNMEASURED
    assert of(found, "carrier", "vta").availability_ratio is None
    report = Report(promised(), "2026-10", found, [])
    for language, unmeasured, unjudged in (
        ("en", "unmeasured", "not judged"),
        ("vi", "không đo được", "không đánh giá"),
    ):
        said = line(table(report, language), "ttdl-r1")
        assert unmeasured in said
        assert unjudged in said
        assert "0.00%" in said
        assert "100" not in said
        assert f" {('yes', 'có')[language == 'vi']} " not in said
    row = csv_row(report, "ttdl-r1")
    assert (row["measured_ratio"], row["measured_seconds"]) == ("0.000000", "0.0")
    assert (row["availability_ratio"], row["sla_kept"], row["judgement"]) == ("", "", "unmeasured")


@pytest.mark.parametrize(
    ("share", "down", "judgement", "kept_column", "words"),
    [
        (1.0, 0.0, "kept", "1", {"en": "yes", "vi": "có"}),
        (0.96, 0.0, "kept", "1", {"en": "yes", "vi": "có"}),
        (0.96, 0.05, "missed", "0", {"en": "NO", "vi": "KHÔNG"}),
        (0.94, 0.0, "not_judged", "", {"en": "not judged", "vi": "không đánh giá"}),
        (0.94, 0.05, "not_judged", "", {"en": "not judged", "vi": "không đánh giá"}),
    ],
)
def test_an_sla_is_judged_only_where_enough_was_measured(
    share: float, down: float, judgement: str, kept_column: str, words: dict[str, str]
) -> None:
    whole = PERIOD[1] - PERIOD[0]
    seen = [Seen("circuit", "ttdl-r1", Says.LIVE, PERIOD[0], PERIOD[0] + share * whole)]
    lost = [Downtime("circuit", "ttdl-r1", PERIOD[0], "o", PERIOD[0] + down * whole)] if down else []
    found = figures(lost, [], seen=seen, registry=promised())
    circuit = of(found, "circuit", "ttdl-r1")
    assert circuit.judgement == judgement
    assert circuit.measured_ratio == pytest.approx(share)
    assert circuit.availability_ratio == pytest.approx(1 - down / share)
    report = Report(promised(), "2026-10", found, [])
    assert (csv_row(report, "ttdl-r1")["judgement"], csv_row(report, "ttdl-r1")["sla_kept"]) == (judgement, kept_column)
    for language, word in words.items():
        assert f"  {word}  " in line(table(report, language), "ttdl-r1")


def test_downtime_counts_where_it_was_measured_alone() -> None:
    """A collector that was away for the second half of an outage: neither its end nor its length is known."""
    at = PERIOD[0] + DAY
    seen = [
        Seen("circuit", "r2-hub", Says.LIVE, PERIOD[0], at + 600),
        Seen("circuit", "r2-hub", Says.LIVE, at + 4200, PERIOD[1]),
    ]
    circuit = of(figures([Downtime("circuit", "r2-hub", at, "o", at + 4800)], [], seen=seen), "circuit", "r2-hub")
    assert (circuit.down_seconds, circuit.outages) == (600 + 600, 1)
    assert circuit.measured_seconds == PERIOD[1] - PERIOD[0] - 3600


def test_late_reports_fill_what_they_prove_as_they_say() -> None:
    at = PERIOD[0] + DAY
    live = [
        Seen("circuit", "r2-hub", Says.LIVE, PERIOD[0], at),
        Seen("circuit", "r2-hub", Says.LIVE, at + 3600, PERIOD[1]),
    ]

    def late(*parts: tuple[Says, float, float], downtimes: list[Downtime] | None = None) -> tuple[float, float, int]:
        seen = [*live, *(Seen("circuit", "r2-hub", says, at + begins, at + ends) for says, begins, ends in parts)]
        circuit = of(figures(downtimes or [], [], seen=seen), "circuit", "r2-hub")
        return circuit.measured_seconds - (PERIOD[1] - PERIOD[0]) + 3600, circuit.down_seconds, circuit.outages

    assert late() == (0, 0, 0)
    assert late((Says.UP, 0, 1800)) == (1800, 0, 0)
    assert late((Says.DOWN, 600, 1800)) == (1200, 1200, 1)
    assert late((Says.DOWN, 600, 1800), (Says.UP, 1200, 3600)) == (3000, 600, 1)  # it got through again
    assert late((Says.OWN_DOWN, 600, 1800), (Says.OWN_UP, 1200, 3600)) == (3000, 600, 1)
    assert late((Says.OWN_DOWN, 600, 1800), (Says.UP, 0, 3600)) == (3600, 0, 0)
    assert late((Says.DOWN, 600, 1800), (Says.OWN_UP, 0, 3600)) == (3600, 1200, 1)  # of what the center saw
    assert late((Says.LINK, 0, 1800), (Says.DOWN, 600, 1200)) == (1800, 600, 1)  # a carrier that lets nothing through
    assert late((Says.DARK, 600, 1200), (Says.UP, 0, 3600)) == (3600, 600, 1)
    assert late((Says.DOWN, -600, 4200)) == (3600, 3600, 1)  # what the engine judged stands
    known = [Downtime("circuit", "r2-hub", at - 60, "o", at + 1200)]
    assert late((Says.DOWN, 0, 1200), (Says.UP, 1200, 3600), downtimes=known) == (3600, 60 + 1200, 1)


@given(st.lists(st.tuples(st.sampled_from(Says), st.integers(0, 60), st.integers(0, 60)), max_size=8), SPANS, SPANS)
@example(said=[(Says.LIVE, 0, 1)], downs=[(0, 0)], works=[])
def test_figures_are_what_counting_second_by_second_gives(
    said: list[tuple[Says, int, int]], downs: list[tuple[int, int]], works: list[tuple[int, int]]
) -> None:
    period = (0.0, 60.0)
    seen = [Seen("site", "hub", says, min(a, b), max(a, b)) for says, a, b in said]
    downtimes = [Downtime("site", "hub", begins, str(n), ends) for n, (begins, ends) in enumerate(downs)]
    windows = [MaintenanceWindow("hub", begins, ends) for begins, ends in works]
    found = of(sla.figures(REGISTRY, period, sla.Record(downtimes, windows, seen), 50.0, JUDGED), "site", "hub")

    def seconds(*kinds: Says) -> set[int]:
        return {n for each in seen if each.says in kinds for n in range(int(each.begins), int(each.ends))}

    work = {n for begins, ends in works for n in range(begins, ends)}
    counted = set(range(50)) - work
    live = seconds(Says.LIVE)
    down = {n for begins, ends in downs for n in range(begins, ends)} & live
    late = seconds(Says.DARK) | (seconds(Says.DOWN) - seconds(Says.UP))
    late |= seconds(Says.OWN_DOWN) - seconds(Says.UP, Says.OWN_UP)
    down |= late - live
    assert found.counted_seconds == len(counted)
    assert found.measured_seconds == len(seconds(*Says) & counted)
    assert found.down_seconds == len(down & counted)
    assert found.down_seconds <= found.measured_seconds <= found.counted_seconds
