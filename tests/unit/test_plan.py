"""The plan's figures and the month's report made of them."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import openpyxl
import pytest
import sqlalchemy as sa
from haidang_collector.ledger.database import Ledger
from haidang_collector.ledger.tables import plan_figures
from haidang_collector.months import month
from haidang_collector.plan.figures import FIGURES, Share, compute
from haidang_collector.plan.inputs import DAY, Appliance, Inputs
from haidang_collector.registry.model import Registry
from haidang_collector.reports import plan as report
from pypdf import PdfReader

NOW = 1_790_000_000.0
REGISTRY = Registry.model_validate(
    {
        "province": {"name": "Tỉnh Ví Dụ", "targets": {"appliance": 0.5}},
        "sites": [
            {"id": "ttdl", "name": "Trung tâm", "level": "province", "officials": 10, "it_officer": {"name": "An"}},
            {"id": "xa", "name": "UBND xã Đông Hòa", "level": "commune", "officials": 4},
            {"id": "cot", "name": "Cột viba", "level": "other"},
        ],
        "circuits": [{"id": "c1", "medium": "fiber", "ends": [{"site": "ttdl"}, {"site": "xa"}]},
                     {"id": "c2", "medium": "radio", "ends": [{"site": "ttdl"}, {"site": "cot"}]}],
        "devices": [{"id": "fw", "site": "ttdl", "role": "appliance", "address": "10.0.0.1"}],
        "services": [
            {"id": "vb", "kind": "document_system", "site": "ttdl", "url": "https://a/", "serves": "all", "agent": "p",
             "documents": {"url": "https://a/n", "count": "n", "electronic": "e"}},
            {"id": "cong", "kind": "portal", "site": "xa", "url": "https://b/", "agent": "p"},
            {"id": "motcua", "kind": "one_stop", "site": "xa", "url": "https://c/", "agent": "p"},
        ],
    }
)  # fmt: skip


def inputs() -> Inputs:
    found = Inputs()
    found.use(REGISTRY)
    found.circuits_up["c1"] = NOW - DAY + 60
    found.appliances["fw"] = Appliance(NOW - 30, True, {"haidang_appliance_license_ok": True})
    found.services = {"vb": (True, NOW), "cong": (True, NOW), "motcua": (False, NOW)}
    found.documents = {("vb", "ttdl"): (100, NOW), ("vb", "xa"): (300, NOW)}
    found.electronic = {("vb", "ttdl"): 90, ("vb", "xa"): 210}
    return found


def test_figures_of_sites_levels_and_the_province() -> None:
    found = compute(REGISTRY, inputs(), {"ttdl": 13, "xa": 1}, NOW)
    of = {key: share.ratio for key, share in found.sites.items()}
    assert of == {
        ("ttdl", "fiber"): 1, ("xa", "fiber"): 1, ("ttdl", "appliance"): 1, ("xa", "appliance"): 0,
        ("ttdl", "workstation"): 1, ("xa", "workstation"): 0.25, ("ttdl", "document_system"): 1,
        ("xa", "document_system"): 1, ("xa", "online_services"): 0.5, ("ttdl", "electronic_documents"): 0.9,
        ("xa", "electronic_documents"): 0.7, ("ttdl", "it_officer"): 1, ("xa", "it_officer"): 0,
    }  # fmt: skip
    province = {figure: share.ratio for (level, figure), share in found.levels.items() if level == "all"}
    # Eleven of fourteen officials: the three machines too many at one site are nobody's at the other.
    assert province["workstation"] == pytest.approx(11 / 14)
    assert province["electronic_documents"] == 0.75
    assert (province["appliance"], province["fiber"], province["online_services"]) == (0.5, 1, 0.5)
    assert found.levels["commune", "it_officer"].ratio == 0


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda e: e.circuits_up.update(c1=NOW - DAY - 60), ("ttdl", "fiber")),
        (lambda e: e.appliances.update(fw=Appliance(NOW - 3600, True)), ("ttdl", "appliance")),
        (lambda e: e.appliances.update(fw=Appliance(NOW, False)), ("ttdl", "appliance")),
        (lambda e: e.appliances.update(fw=Appliance(NOW, True, {"haidang_appliance_ha_ok": False})), ("ttdl", "appliance")),
        (lambda e: e.services.update(vb=(True, NOW - 3600)), ("xa", "document_system")),
        (lambda e: e.services.update(vb=(False, NOW)), ("xa", "document_system")),
    ],
)  # fmt: skip
def test_what_is_old_or_ill_does_not_count(change: object, key: tuple[str, str]) -> None:
    known = inputs()
    assert compute(REGISTRY, known, {}, NOW).sites[key].ratio == 1
    assert callable(change)
    change(known)
    assert compute(REGISTRY, known, {}, NOW).sites[key].ratio == 0


def test_where_nothing_tells_there_is_no_figure() -> None:
    known = inputs()
    known.documents.clear()
    sites = compute(REGISTRY, known, {}, NOW).sites
    assert ("xa", "electronic_documents") not in sites
    assert ("ttdl", "online_services") not in sites
    assert not [key for key in sites if key[0] == "cot"]


def test_a_share_stays_within_nothing_and_all() -> None:
    assert (Share(5, 2).ratio, Share(-1, 2).ratio) == (1, 0)


@pytest.fixture
def made(tmp_path: Path) -> report.Report:
    ledger = Ledger(tmp_path)
    now = time.mktime((2026, 10, 20, 12, 0, 0, 0, 0, -1))
    figures = compute(REGISTRY, inputs(), {"ttdl": 13, "xa": 1}, NOW)
    with ledger.transaction() as connection:
        for day in ("2026-09-30", "2026-10-01", "2026-10-02", "2026-10-19"):
            rows = [
                {
                    "day": day,
                    "level": level,
                    "site": "",
                    "figure": figure,
                    "ratio": share.ratio * (0.5 if day < "2026-10-02" else 1),
                }
                for (level, figure), share in figures.levels.items()
            ]
            rows += [
                {"day": day, "level": "commune", "site": site, "figure": figure, "ratio": share.ratio}
                for (site, figure), share in figures.sites.items()
            ]
            connection.execute(sa.insert(plan_figures), rows)
        found = report.gather(connection, REGISTRY, month("2026-10"), now)
    ledger.close()
    return found


def test_a_month_is_read_back(made: report.Report) -> None:
    assert (made.days[0], made.days[-1], len(made.days)) == ("2026-10-01", "2026-10-20", 20)
    assert (made.end("appliance"), made.before["appliance"], made.mean("fiber")) == (
        0.5,
        0.25,
        pytest.approx(2.5 / 3),
    )
    assert {figure: made.met(figure) for figure in FIGURES} == {
        "fiber": True, "appliance": True, "workstation": False, "document_system": True, "online_services": False,
        "electronic_documents": False, "it_officer": False,
    }  # fmt: skip
    assert made.unmet()[0] == (
        "UBND xã Đông Hòa",
        ["appliance", "workstation", "online_services", "electronic_documents", "it_officer"],
    )


@pytest.mark.parametrize("language", report.LANGUAGES)
def test_the_report_says_it_in_both_languages(made: report.Report, language: str) -> None:
    text = report.as_text(made, language)
    pdf = PdfReader(io.BytesIO(report.as_pdf(made, language)))
    said = "\n".join(page.extract_text() for page in pdf.pages)
    for word in ("UBND xã Đông Hòa", "Tỉnh Ví Dụ", "75.0 %", "78.6 %"):
        assert word in said
    word = "Văn bản điện tử" if language == "vi" else "Documents that are electronic"
    assert word in said
    assert word in text
    book = openpyxl.load_workbook(io.BytesIO(report.as_xlsx(made, language)))
    assert len(book.sheetnames) == 4
    first = book.worksheets[0]
    assert first["C2"].value == 1
    with zipfile.ZipFile(io.BytesIO(report.as_xlsx(made, language))) as parts:
        assert sum(name.startswith("xl/charts/chart") for name in parts.namelist()) == 2
    assert [row[0].value for row in book.worksheets[3].iter_rows(min_row=2)] == [site.name for site in REGISTRY.sites]
