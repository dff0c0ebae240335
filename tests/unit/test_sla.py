"""The month's figures against sums by hand and by brute force; the report in both languages."""

from __future__ import annotations

import csv
import io
import subprocess
import time
from pathlib import Path

import pytest
from haidang_collector.audit import Principal
from haidang_collector.ledger import outages as kept
from haidang_collector.ledger.database import Ledger
from haidang_collector.outage import sla
from haidang_collector.outage.cause import Cause, Kind
from haidang_collector.outage.model import Changes, Downtime, Outage, Window
from haidang_collector.outage.remarks import Remark
from haidang_collector.outage.report import Report, as_csv, as_pdf, table
from haidang_collector.registry import Registry
from haidang_wire.errors import HaidangError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.province import registry

REGISTRY = Registry.model_validate(registry())
PERIOD = sla.month("2026-10")
DAY = 86400.0


def of(figures: list[sla.Figures], kind: str, element: str) -> sla.Figures:
    (found,) = [each for each in figures if (each.kind, each.element) == (kind, element)]
    return found


def test_a_month_has_its_days_and_what_is_none_is_refused() -> None:
    assert (PERIOD[1] - PERIOD[0]) / DAY == 31
    assert (sla.month("2026-12")[1] - sla.month("2026-12")[0]) / DAY == 31
    assert sla.month("2026-12")[1] == sla.month("2027-01")[0]
    for text in ("2026-13", "10/2026", "", "2026"):
        with pytest.raises(HaidangError, match="no month"):
            sla.month(text)


def test_figures_count_downtime_without_planned_work() -> None:
    at = PERIOD[0] + 10 * DAY
    downtimes = [
        Downtime("circuit", "r2-hub", at, "o1", at + 3600),
        Downtime("circuit", "r2-hub", at + 4000, "o1", at + 4600),  # it flapped: the same outage
        Downtime("circuit", "r2-hub", at + 5 * DAY, "o2", at + 5 * DAY + 7200),  # half of it planned
        Downtime("circuit", "r2-hub", PERIOD[0] - 500, "o0", PERIOD[0] + 600),  # began the month before
        Downtime("site", "hub", at, "o1", at + 3600),
    ]
    work = [Window("hub", at + 5 * DAY - 1800, at + 5 * DAY + 3600)]
    found = sla.figures(REGISTRY, PERIOD, downtimes, work, PERIOD[1] + DAY)
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
    found = sla.figures(REGISTRY, PERIOD, [Downtime("circuit", "r2-hub", now - 600, "o", None)], [], now)
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
    figures = sla.Figures("circuit", "c", "v", 1, 31 * DAY * 0.001, DAY, sla_ratio=0.995)
    assert sla.budget_used(figures, PERIOD) == pytest.approx(0.2)
    assert sla.budget_used(sla.Figures("circuit", "c", "v", 0, 0, DAY), PERIOD) is None


def made(carrier: str = "") -> Report:
    at = PERIOD[0] + 3 * DAY
    downtimes = [Downtime("circuit", "r2-hub", at, "hub-1", at + 3661)]
    outage = Outage(
        "hub-1", "site", "hub", "r2-hub", at, ("r2-hub",), {"hub", "x1"}, cause=Cause(Kind.FIBER_CUT), ended=at + 3661
    )
    return Report(REGISTRY, "2026-10", sla.figures(REGISTRY, PERIOD, downtimes, [], PERIOD[1]), [(outage, 35)], carrier)


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
        sla.figures(Registry.model_validate(document), PERIOD, [], [], PERIOD[1]),
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
        work = kept.plan(connection, Principal.itself(), "hub", now, now + 3600, "hàn nối")
        later = kept.plan(connection, Principal.itself(), "hub", now + 7200, now + 9000, "")
        assert [each.id for each in kept.list_planned(connection, now)] == [work.id, later.id]
        assert kept.end_planned(connection, Principal.itself(), work.id, now + 60).ends == now + 60
        kept.end_planned(connection, Principal.itself(), later.id, now + 60)
        assert [each.ends for each in kept.list_planned(connection)] == [now + 60]
        with pytest.raises(HaidangError, match="no planned work 99"):
            kept.end_planned(connection, Principal.itself(), 99, now)
        with pytest.raises(HaidangError, match="before it begins"):
            kept.plan(connection, Principal.itself(), "hub", now, now, "")
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


def test_what_nothing_tells_of_is_not_measured_rather_than_perfect() -> None:
    document = registry()
    document["sites"][1]["address"] = ""  # r1
    for circuit in document["circuits"]:
        circuit["sla_availability_ratio"] = 0.995
        circuit["ends"] = [{"site": end["site"]} for end in circuit["ends"]]
    unwatched = Registry.model_validate(document)
    found = sla.figures(unwatched, PERIOD, [], [], PERIOD[1])
    assert of(found, "site", "r1").measured_seconds == 0
    assert of(found, "circuit", "ttdl-r1").met is None  # no port, no address, and r1 is not watched
    assert of(found, "circuit", "r1-r2").met  # r2 is
    text = table(Report(unwatched, "2026-10", found, []), "en")
    (line,) = [line for line in text.splitlines() if line.startswith("ttdl-r1")]
    assert "100" not in line.replace("99.500%", "")
    text = as_csv(Report(unwatched, "2026-10", found, []))
    (row,) = [row for row in csv.DictReader(io.StringIO(text.lstrip("\ufeff"))) if row["element"] == "ttdl-r1"]
    assert (row["availability_ratio"], row["sla_kept"]) == ("", "")
