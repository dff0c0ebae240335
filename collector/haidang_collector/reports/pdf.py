"""What the PDF reports have in common: a page with every letter of Vietnamese, a title, tables."""

from __future__ import annotations

from pathlib import Path

from fpdf import FPDF
from haidang_wire.errors import HaidangError

from haidang_collector.printable import plain

# More letters in one cell are cut: a row must fit on a page.
_MOST = 300
# Debian's fonts-dejavu-core: every letter of Vietnamese.
_FONTS = Path("/usr/share/fonts/truetype/dejavu")


def begin(title: str, under: str, *, landscape: bool = True) -> FPDF:
    """A document with its title and the line below it. Raises HaidangError when the font is not installed."""
    if not (_FONTS / "DejaVuSans.ttf").exists():
        raise HaidangError("the font DejaVu Sans is not here", remedy="Install Debian's package fonts-dejavu-core")
    pdf = FPDF(orientation="landscape" if landscape else "portrait", format="A4")
    pdf.set_title(plain(title, _MOST))
    pdf.add_font("dejavu", "", _FONTS / "DejaVuSans.ttf")
    pdf.add_font("dejavu", "B", _FONTS / "DejaVuSans-Bold.ttf")
    pdf.add_page()
    pdf.set_font("dejavu", "B", 15)
    pdf.cell(text=plain(title, _MOST), new_x="LMARGIN", new_y="NEXT", h=9)
    pdf.set_font("dejavu", "", 10)
    pdf.cell(text=plain(under, _MOST), new_x="LMARGIN", new_y="NEXT", h=8)
    return pdf


def heading(pdf: FPDF, text: str) -> None:
    """The heading of a part."""
    pdf.set_font("dejavu", "B", 12)
    pdf.cell(text=plain(text, _MOST), new_x="LMARGIN", new_y="NEXT", h=9)


def paragraph(pdf: FPDF, text: str, size: int = 9) -> None:
    """Text as wide as the page."""
    pdf.set_font("dejavu", "", size)
    pdf.multi_cell(0, 5, plain(text), new_x="LMARGIN", new_y="NEXT")


def table(pdf: FPDF, header: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as what is in them, the header on each page; nothing without rows."""
    if not rows:
        return
    pdf.set_font("dejavu", "", 8)
    pdf.set_fill_color(255)
    pdf.set_draw_color(0)
    widths = tuple(max(9, *(min(60, len(row[column])) for row in [header, *rows])) for column in range(len(header)))
    with pdf.table(col_widths=widths, line_height=5, first_row_as_headings=True) as drawn:
        for values in [header, *rows]:
            line = drawn.row()
            for value in values:
                line.cell(plain(value, _MOST))
    pdf.ln(4)
