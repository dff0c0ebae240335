"""All machines that are asked for as CSV or XLSX, a few hundred at a time: nothing holds all of them."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import xlsxwriter

from haidang_collector.inventory import search
from haidang_collector.inventory.search import Filter
from haidang_collector.ledger.database import Ledger
from haidang_collector.printable import CsvWriter, plain

_COLUMNS = (
    ("id", "Number", "Số"), ("site", "Site", "Cơ quan"), ("name", "Name", "Tên máy"),
    ("chassis", "Kind", "Loại"), ("manufacturer", "Manufacturer", "Hãng"), ("model", "Model", "Kiểu máy"),
    ("serial", "Serial", "Số sê-ri"), ("system", "System", "Hệ điều hành"), ("version", "Version", "Phiên bản"),
    ("support_ends", "Support ends", "Hết hỗ trợ"), ("memory_bytes", "Memory (GB)", "Bộ nhớ (GB)"),
    ("disk_bytes", "Disks (GB)", "Ổ đĩa (GB)"), ("least_free_ratio", "Least free (%)", "Trống ít nhất (%)"),
    ("disks_failing", "Failing disks", "Ổ đĩa sắp hỏng"), ("antivirus_on", "Antivirus on", "Diệt vi-rút bật"),
    ("encrypted", "Encrypted", "Mã hóa"), ("updates_pending", "Updates pending", "Bản vá chờ cài"),
    ("agent", "Agent", "Tác tử"), ("first_seen", "First seen", "Thấy lần đầu"),
    ("last_seen", "Last seen", "Thấy lần cuối"), ("dispute", "Dispute", "Tranh chấp"),
)  # fmt: skip
_TIMES = ("support_ends", "first_seen", "last_seen")
_YES = {"en": ("yes", "no"), "vi": ("có", "không")}
_DISPUTES = {
    "open": ("claims to be machine {claims} of another site", "nhận là máy số {claims} của cơ quan khác"),
    "claimed": ("another site claims it", "cơ quan khác nhận là của mình"),
    "refused": ("claim to be machine {claims} refused", "không được nhận là máy số {claims}"),
}
_BLOCK = 256 * 1024
Row = list[str | float]


def titles(language: str) -> list[str]:
    """The titles of the columns."""
    return [vietnamese if language == "vi" else english for _, english, vietnamese in _COLUMNS]


def row(machine: dict[str, Any], language: str) -> Row:
    """One machine, as people read it; names of machines come from their users."""
    words = _DISPUTES.get(machine["dispute"], ("", ""))[language == "vi"].format(claims=machine["claims"])
    return [_value(name, words if name == "dispute" else machine[name], language) for name, _, _ in _COLUMNS]


def _value(name: str, value: Any, language: str) -> str | float:
    if value is None:
        return ""
    if name in _TIMES:
        return datetime.fromtimestamp(value, UTC).astimezone().strftime("%Y-%m-%d")
    if name in ("memory_bytes", "disk_bytes"):
        return float(round(value / 2**30, 1))
    if name == "least_free_ratio":
        return float(round(value * 100))
    if isinstance(value, bool):
        return _YES[language][not value]
    return float(value) if isinstance(value, (int, float)) else plain(str(value))


async def _rows(ledger: Ledger, wanted: Filter, language: str) -> AsyncIterator[list[Row]]:
    after = 0
    while True:
        after, rows = await ledger.read(_rows_after, wanted, after, language)
        if not rows:
            return
        yield rows


def _rows_after(connection: sa.Connection, wanted: Filter, after: int, language: str) -> tuple[int, list[Row]]:
    """The next machines by number as rows, and the last one's number."""
    found = search.chunk_after(connection, wanted, after)
    return found[-1]["id"] if found else after, [row(machine, language) for machine in found]


async def as_csv(ledger: Ledger, wanted: Filter, language: str) -> AsyncIterator[bytes]:
    """CSV with the mark by which Excel knows UTF-8."""
    head: list[Row] = [[*titles(language)]]
    mark = "\ufeff"
    async for rows in _rows(ledger, wanted, language):
        # Hundreds of rows at once would keep every delivery waiting that comes meanwhile.
        yield await asyncio.to_thread(_csv, mark, [*head, *rows])
        head, mark = [], ""
    yield _csv(mark, head)


def _csv(mark: str, rows: Iterable[Row]) -> bytes:
    buffer = io.StringIO()
    buffer.write(mark)
    writer = CsvWriter(buffer)
    for each in rows:
        writer.row(each)
    return buffer.getvalue().encode()


async def as_xlsx(ledger: Ledger, wanted: Filter, language: str) -> AsyncIterator[bytes]:
    """A workbook, written to a file row by row and sent from there."""
    # What a thread still writes when nobody wants it any more is no reason to fail.
    with tempfile.TemporaryDirectory(prefix="haidang-export-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "machines.xlsx"
        book = xlsxwriter.Workbook(str(file), {"constant_memory": True, "strings_to_formulas": False})
        sheet = book.add_worksheet("Máy trạm" if language == "vi" else "Workstations")
        sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        sheet.set_column(0, len(_COLUMNS) - 1, 16)
        sheet.write_row(0, 0, titles(language), bold)
        at = 1
        async for rows in _rows(ledger, wanted, language):
            await asyncio.to_thread(_write, sheet, at, rows)
            at += len(rows)
        sheet.autofilter(0, 0, at - 1, len(_COLUMNS) - 1)
        await asyncio.to_thread(book.close)
        for block in _blocks(file):
            yield block


def _write(sheet: Any, at: int, rows: Iterable[Row]) -> None:
    for line, each in enumerate(rows, at):
        for column, value in enumerate(each):
            if isinstance(value, str):
                sheet.write_string(line, column, value)
            else:
                sheet.write_number(line, column, value)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            yield block
