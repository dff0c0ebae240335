"""The month's report for the province's leaders: are the plan's targets met? As PDF and XLSX, with charts."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import sqlalchemy as sa
import xlsxwriter
from fpdf import FPDF

from haidang_collector.inventory.search import MISSING_SECONDS
from haidang_collector.ledger.tables import machines, plan_figures
from haidang_collector.months import Month
from haidang_collector.plan.figures import ALL, FIGURES
from haidang_collector.printable import plain
from haidang_collector.registry.model import Registry
from haidang_collector.reports import pdf as pages

_TEXTS = {
    "en": {
        "title": "The plan's targets", "month": "Month", "figure": "Figure", "target": "Target", "end": "End of month",
        "mean": "Mean of the month", "before": "Month before", "met": "Met", "yes": "yes", "no": "NO",
        "fiber": "Agencies on fiber", "appliance": "Agencies with a security appliance that works",
        "workstation": "Officials with a workstation", "document_system": "Agencies that reach the document system",
        "online_services": "Online services that answer", "electronic_documents": "Documents that are electronic",
        "it_officer": "Agencies with an IT officer", "levels": "By level", "level": "Level", "province": "Province",
        "department": "Departments", "district": "Districts", "commune": "Communes", "days": "Day by day", "day": "Day",
        "sites": "Agencies that do not meet a target", "site": "Agency", "missing": "Not met", "none": "None.",
        "machines": "Workstations and servers", "total": "In use", "unsupported": "System past its support",
        "unprotected": "Without antivirus that is on", "failing": "With a failing disk", "unknown": "–",
        "note": "From live evidence, not from declarations; – is not measured. {days} of {of} days have figures."
                " {province}, {date}.",
        "more": "… and {count} more: see the workbook.",
    },
    "vi": {
        "title": "Các chỉ tiêu của kế hoạch", "month": "Tháng", "figure": "Chỉ tiêu", "target": "Mục tiêu",
        "end": "Cuối tháng", "mean": "Trung bình tháng", "before": "Tháng trước", "met": "Đạt", "yes": "có",
        "no": "KHÔNG", "fiber": "Cơ quan có cáp quang", "appliance": "Cơ quan có thiết bị bảo mật hoạt động tốt",
        "workstation": "Cán bộ có máy trạm", "document_system": "Cơ quan dùng được hệ thống văn bản",
        "online_services": "Dịch vụ trực tuyến hoạt động", "electronic_documents": "Văn bản điện tử",
        "it_officer": "Cơ quan có cán bộ CNTT", "levels": "Theo cấp", "level": "Cấp", "province": "Cấp tỉnh",
        "department": "Sở, ngành", "district": "Cấp huyện", "commune": "Cấp xã", "days": "Theo ngày", "day": "Ngày",
        "sites": "Các cơ quan chưa đạt chỉ tiêu", "site": "Cơ quan", "missing": "Chưa đạt", "none": "Không có.",
        "machines": "Máy trạm và máy chủ", "total": "Đang dùng", "unsupported": "Hệ điều hành hết hỗ trợ",
        "unprotected": "Không bật diệt vi-rút", "failing": "Ổ đĩa sắp hỏng", "unknown": "–",
        "note": "Theo số đo thực tế, không theo khai báo; – là không đo. Có số liệu {days}/{of} ngày."
                " {province} lập ngày {date}.",
        "more": "… và {count} cơ quan khác: xem bảng tính.",
    },
}  # fmt: skip
LANGUAGES = tuple(_TEXTS)
_MOST_SITES = 60
# Blue and orange of Okabe and Ito, told apart by everybody.
_MET, _NOT_MET, _GRAY = (0, 114, 178), (213, 94, 0), (120, 120, 120)
_LEVELS = ("province", "department", "district", "commune")


@dataclass(frozen=True)
class Report:
    """What a month's report is made of. `days` are those of the month that are over or under way; `province` by
    figure the ratio of each day; `levels` and `sites` those of the last day there is; `before` those of the last day
    before the month."""

    registry: Registry
    month: str
    days: list[str]
    province: dict[str, dict[str, float]] = field(default_factory=dict)
    levels: dict[tuple[str, str], float] = field(default_factory=dict)
    sites: dict[tuple[str, str], float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    machines: dict[str, int] = field(default_factory=dict)

    def target(self, figure: str) -> float:
        """The plan's target for a figure, a share from 0 to 1."""
        return float(getattr(self.registry.province.targets, figure))

    def end(self, figure: str) -> float | None:
        """The figure of the last day; None without one."""
        days = self.province.get(figure, {})
        return days[max(days)] if days else None

    def mean(self, figure: str) -> float | None:
        """The mean of the days that have the figure; None without one."""
        days = self.province.get(figure, {})
        return sum(days.values()) / len(days) if days else None

    def met(self, figure: str) -> bool | None:
        """Whether the target is met at the end; compared as people read it, to a hundredth of a percent."""
        end = self.end(figure)
        return None if end is None else round(end, 4) >= round(self.target(figure), 4)

    def unmet(self) -> list[tuple[str, list[str]]]:
        """(site's name, figures) of sites below a target, those below most first."""
        found: dict[str, list[str]] = {}
        for (site, figure), ratio in self.sites.items():
            # A single agency either has a thing or not; what is wanted of 70% of them is wanted of none in particular.
            if round(ratio, 4) < (1.0 if figure in _WHOLE else round(self.target(figure), 4)):
                found.setdefault(site, []).append(figure)
        names = {site.id: site.name for site in self.registry.sites}
        rows = [(names.get(site, site), sorted(figures, key=FIGURES.index)) for site, figures in found.items()]
        return sorted(rows, key=lambda row: (-len(row[1]), row[0]))


_WHOLE = ("fiber", "appliance", "document_system", "it_officer")


def gather(connection: sa.Connection, registry: Registry, month: Month, now: float) -> Report:
    """Read a month out of the ledger."""
    first, after = str(month.first), str(month.after)
    found = Report(registry, str(month), [str(day) for day in month.days_until(now)])
    table = plan_figures.c
    within = sa.and_(table.day >= first, table.day < after)
    rows = connection.execute(sa.select(table.day, table.figure, table.ratio).where(within, table.level == ALL))
    for day, figure, ratio in rows:
        found.province.setdefault(figure, {})[day] = ratio
    last = connection.execute(sa.select(sa.func.max(table.day)).where(within)).scalar()
    for level, site, figure, ratio in connection.execute(
        sa.select(table.level, table.site, table.figure, table.ratio).where(table.day == (last or ""))
    ):
        if site:
            found.sites[site, figure] = ratio
        else:
            found.levels[level, figure] = ratio
    before = sa.select(sa.func.max(table.day)).where(table.day < first).scalar_subquery()
    for figure, ratio in connection.execute(
        sa.select(table.figure, table.ratio).where(table.day == before, table.level == ALL)
    ):
        found.before[figure] = ratio
    found.machines.update(_machines(connection, now))
    return found


def _machines(connection: sa.Connection, now: float) -> dict[str, int]:
    table = machines.c
    counts = {
        "total": sa.true(),
        "unsupported": table.support_ends < now,
        "unprotected": table.antivirus_on.is_(False),
        "failing": table.disks_failing > 0,
    }
    columns = [sa.func.coalesce(sa.func.sum(sa.case((which, 1), else_=0)), 0) for which in counts.values()]
    in_use = (table.removed.is_(None), table.last_seen >= now - MISSING_SECONDS)
    row = connection.execute(sa.select(*columns).where(*in_use)).one()
    return {name: int(value) for name, value in zip(counts, row, strict=True)}


def as_text(report: Report, language: str) -> str:
    """The report as a table for the terminal."""
    texts = _TEXTS[language]
    lines = [_row(report, figure, texts) for figure in FIGURES]
    head = [texts[name] for name in ("figure", "target", "end", "mean", "before", "met")]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    rows = ("  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in [head, *lines])
    return "\n".join(rows) + "\n"


def _row(report: Report, figure: str, texts: Mapping[str, str]) -> list[str]:
    met = report.met(figure)
    return [
        texts[figure], _percent(report.target(figure)), _percent(report.end(figure)), _percent(report.mean(figure)),
        _percent(report.before.get(figure)), texts["unknown"] if met is None else texts["yes" if met else "no"],
    ]  # fmt: skip


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio * 100:.1f} %"


def as_pdf(report: Report, language: str) -> bytes:
    """The report as PDF, for leaders: the answer, then what it stands on. Raises HaidangError without the font."""
    texts = _TEXTS[language]
    province = report.registry.province.name
    pdf = pages.begin(texts["title"], f"{province}. {texts['month']}: {report.month}", landscape=False)
    head = [texts[name] for name in ("figure", "target", "end", "mean", "before", "met")]
    pages.table(pdf, head, [_row(report, figure, texts) for figure in FIGURES])
    _bars(pdf, report, texts)
    pages.heading(pdf, texts["days"])
    _lines(pdf, report, texts)
    levels = [level for level in _LEVELS if any((level, figure) in report.levels for figure in FIGURES)]
    pages.heading(pdf, texts["levels"])
    rows = [[texts[figure], *(_percent(report.levels.get((level, figure))) for level in levels)] for figure in FIGURES]
    pages.table(pdf, [texts["figure"], *(texts[level] for level in levels)], rows)
    pages.heading(pdf, texts["machines"])
    names = ("total", "unsupported", "unprotected", "failing")
    pages.table(pdf, [texts[name] for name in names], [[str(report.machines.get(name, 0)) for name in names]])
    pages.heading(pdf, texts["sites"])
    unmet = report.unmet()
    listed = [[site, "; ".join(texts[figure] for figure in figures)] for site, figures in unmet[:_MOST_SITES]]
    pages.table(pdf, [texts["site"], texts["missing"]], listed)
    if not unmet:
        pages.paragraph(pdf, texts["none"])
    if len(unmet) > _MOST_SITES:
        pages.paragraph(pdf, texts["more"].format(count=len(unmet) - _MOST_SITES))
    measured = len({day for days in report.province.values() for day in days})
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    note = texts["note"].format(days=measured, of=len(report.days), province=province, date=today)
    pages.paragraph(pdf, note, 8)
    return bytes(pdf.output())


def _bars(pdf: FPDF, report: Report, texts: Mapping[str, str]) -> None:
    """Each figure as a bar, with a line where its target is."""
    left, width, height = pdf.l_margin + 75, pdf.epw - 95, 7
    pdf.set_font("dejavu", "", 8)
    for figure in FIGURES:
        y = pdf.get_y()
        pdf.text(pdf.l_margin, y + 4.5, texts[figure])
        pdf.set_draw_color(*_GRAY)
        pdf.rect(left, y + 1, width, height - 2)
        end = report.end(figure)
        if end is not None:
            pdf.set_fill_color(*(_MET if report.met(figure) else _NOT_MET))
            pdf.rect(left, y + 1, width * end, height - 2, style="F")
        target = left + width * report.target(figure)
        pdf.set_draw_color(0)
        pdf.set_line_width(0.6)
        pdf.line(target, y, target, y + height)
        pdf.set_line_width(0.2)
        pdf.text(left + width + 2, y + 4.5, _percent(end))
        pdf.set_y(y + height)
    pdf.ln(4)


def _lines(pdf: FPDF, report: Report, texts: Mapping[str, str]) -> None:
    """Seven small charts, a figure each: 0 to 100 % over the days of the month."""
    column, wide, high = 0, (pdf.epw - 10) / 2, 18.0
    pdf.set_font("dejavu", "", 7)
    top = pdf.get_y()
    for figure in FIGURES:
        if column == 0 and top + high + 8 > pdf.eph + pdf.t_margin:
            pdf.add_page()
            top = pdf.get_y()
        x = pdf.l_margin + column * (wide + 10)
        pdf.text(x, top + 3, texts[figure])
        pdf.set_draw_color(*_GRAY)
        pdf.rect(x, top + 5, wide, high - 5)
        target = top + high - (high - 5) * report.target(figure)
        pdf.set_dash_pattern(dash=1, gap=1)
        pdf.line(x, target, x + wide, target)
        pdf.set_dash_pattern()
        days = report.province.get(figure, {})
        pdf.set_draw_color(*(_MET if report.met(figure) else _NOT_MET))
        pdf.set_line_width(0.5)
        step = wide / max(1, len(report.days) - 1)
        points = [
            (x + number * step, top + high - (high - 5) * days[day])
            for number, day in enumerate(report.days)
            if day in days
        ]
        for (x1, y1), (x2, y2) in pairwise(points):
            pdf.line(x1, y1, x2, y2)
        for x1, y1 in points:
            pdf.circle(x1, y1, 0.4)
        pdf.set_line_width(0.2)
        column = (column + 1) % 2
        top += high + 4 if column == 0 else 0
    pdf.set_y(top + (high + 4 if column else 0))
    pdf.ln(2)


def as_xlsx(report: Report, language: str) -> bytes:
    """The same for who wants to reckon: figures, days with a chart, levels, every agency."""
    texts = _TEXTS[language]
    memory = io.BytesIO()
    book = xlsxwriter.Workbook(memory, {"in_memory": True, "strings_to_formulas": False})
    bold, percent = book.add_format({"bold": True}), book.add_format({"num_format": "0.0%"})

    def sheet(name: str, head: list[str], rows: list[list[str | float | None]]) -> xlsxwriter.worksheet.Worksheet:
        made = book.add_worksheet(name[:31])
        made.write_row(0, 0, head, bold)
        made.set_column(0, 0, 46)
        made.set_column(1, len(head), 16)
        made.freeze_panes(1, 1)
        for number, row in enumerate(rows, 1):
            for column, value in enumerate(row):
                if isinstance(value, str):
                    made.write_string(number, column, plain(value))
                elif value is not None:
                    made.write_number(number, column, value, percent)
        return made

    rows: list[list[str | float | None]] = [
        [texts[f], report.target(f), report.end(f), report.mean(f), report.before.get(f), _row(report, f, texts)[-1]]
        for f in FIGURES
    ]
    name = texts["title"][:31]
    first = sheet(name, [texts[each] for each in ("figure", "target", "end", "mean", "before", "met")], rows)
    bars = book.add_chart({"type": "bar"})
    for column, color in ((2, "#0072B2"), (1, "#999999")):
        bars.add_series({
            "name": [name, 0, column], "categories": [name, 1, 0, len(FIGURES), 0],
            "values": [name, 1, column, len(FIGURES), column], "fill": {"color": color},
        })  # fmt: skip
    bars.set_x_axis({"min": 0, "max": 1, "num_format": "0%"})
    bars.set_y_axis({"reverse": True})
    bars.set_size({"width": 900, "height": 420})
    first.insert_chart(len(FIGURES) + 2, 0, bars)
    days = texts["days"][:31]
    daily: list[list[str | float | None]] = [
        [day, *(report.province.get(figure, {}).get(day) for figure in FIGURES)] for day in report.days
    ]
    second = sheet(days, [texts["day"], *(texts[figure] for figure in FIGURES)], daily)
    lines = book.add_chart({"type": "line"})
    for column in range(1, len(FIGURES) + 1):
        lines.add_series({
            "name": [days, 0, column], "categories": [days, 1, 0, len(report.days), 0],
            "values": [days, 1, column, len(report.days), column],
        })  # fmt: skip
    lines.set_y_axis({"min": 0, "max": 1, "num_format": "0%"})
    lines.set_size({"width": 900, "height": 420})
    second.insert_chart(len(report.days) + 2, 0, lines)
    by_level: list[list[str | float | None]] = [
        [texts[level], *(report.levels.get((level, figure)) for figure in FIGURES)] for level in _LEVELS
    ]
    sheet(texts["levels"], [texts["level"], *(texts[figure] for figure in FIGURES)], by_level)
    by_site: list[list[str | float | None]] = [
        [site.name, *(report.sites.get((site.id, figure)) for figure in FIGURES)] for site in report.registry.sites
    ]
    sheet(texts["site"], [texts["site"], *(texts[figure] for figure in FIGURES)], by_site)
    book.close()
    return memory.getvalue()
