"""The month's report: a table for the terminal, CSV for spreadsheets, PDF for a carrier. English and Vietnamese."""

from __future__ import annotations

import io
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from haidang_collector import pdf as pages
from haidang_collector.outage.model import Outage
from haidang_collector.outage.remarks import CAUSES
from haidang_collector.outage.sla import Figures
from haidang_collector.printable import CsvWriter, plain
from haidang_collector.registry import Registry

_TEXTS = {
    "en": {
        "title": "Availability of circuits", "month": "Month", "carrier": "Carrier", "circuit": "Circuit",
        "carrier_circuit": "Carrier's number", "site": "Site", "outages": "Outages", "down": "Down (h:mm:ss)",
        "availability": "Availability", "sla": "SLA", "met": "Kept", "mttr": "MTTR (h:mm:ss)", "mtbf": "MTBF (h)",
        "yes": "yes", "no": "NO", "all": "All circuits", "began": "Began", "ended": "Ended", "cause": "Cause",
        "affected": "Sites / officials", "list": "Outages of the month", "none": "None.", "open": "still open",
        "circuits": "Circuits",
        "note": "Planned work does not count; – is not measured. Times are local. {province}, {date}.",
        "planned": "planned work",
    },
    "vi": {
        "title": "Độ sẵn sàng của các tuyến truyền dẫn", "month": "Tháng", "carrier": "Nhà mạng", "circuit": "Tuyến",
        "carrier_circuit": "Mã kênh", "site": "Cơ quan", "outages": "Số sự cố", "down": "Gián đoạn (g:pp:gg)",
        "availability": "Độ sẵn sàng", "sla": "Cam kết", "met": "Đạt", "mttr": "MTTR (g:pp:gg)", "mtbf": "MTBF (giờ)",
        "yes": "có", "no": "KHÔNG", "all": "Toàn bộ tuyến", "began": "Bắt đầu", "ended": "Kết thúc",
        "cause": "Nguyên nhân", "affected": "Cơ quan / cán bộ", "list": "Các sự cố trong tháng", "none": "Không có.",
        "open": "chưa khắc phục", "circuits": "Tuyến",
        "note": "Không tính thời gian bảo trì có kế hoạch; – là không đo. Giờ địa phương. {province} lập ngày {date}.",
        "planned": "bảo trì có kế hoạch",
    },
}  # fmt: skip
LANGUAGES = tuple(_TEXTS)


@dataclass(frozen=True)
class Report:
    """Figures of a month, and its outages with the officials each cut off; `carrier` narrows it to one."""

    registry: Registry
    month: str
    figures: list[Figures]
    outages: list[tuple[Outage, int]]
    carrier: str = ""

    def rows(self, kind: str) -> list[Figures]:
        """The figures of a kind, those of the carrier alone when one is asked for."""
        wanted = [each for each in self.figures if each.kind == kind]
        return [each for each in wanted if not self.carrier or each.carrier == self.carrier]

    def listed(self) -> list[tuple[Outage, int]]:
        """The outages, those on the carrier's circuits alone when one is asked for."""
        own = {circuit.id for circuit in self.registry.circuits if circuit.carrier == self.carrier}
        return [each for each in self.outages if not self.carrier or own & set(each[0].circuits)]


def table(report: Report, language: str) -> str:
    """For the terminal."""
    kinds = ("circuit", "carrier") if report.carrier else ("circuit", "carrier", "site")
    parts = [
        _aligned(_header(language, kind), [_row(report, each, language) for each in report.rows(kind)])
        for kind in kinds
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_csv(report: Report) -> str:
    """For spreadsheets: numbers as numbers, with units in the names; begins with a byte order mark, without which
    they take UTF-8 for something else."""
    text = io.StringIO(newline="")
    writer = CsvWriter(text)
    names = [
        "month", "kind", "element", "carrier", "carrier_circuit", "outages", "down_seconds", "measured_seconds",
        "availability_ratio", "sla_ratio", "sla_kept", "mttr_seconds", "mtbf_seconds",
    ]  # fmt: skip
    writer.row(names)
    numbers = {circuit.id: circuit.carrier_circuit_id for circuit in report.registry.circuits}
    for kind in ("circuit", "carrier", *(() if report.carrier else ("site",))):
        for each in report.rows(kind):
            repair, between = each.mean_time_to_repair_seconds, each.mean_time_between_failures_seconds
            writer.row(
                [
                    report.month, kind, each.element, each.carrier, numbers.get(each.element, ""),
                    each.outages, f"{each.down_seconds:.1f}", f"{each.measured_seconds:.1f}",
                    _or(each.availability_ratio, ".6f", ""), each.sla_ratio or "",
                    "" if each.met is None else int(each.met),
                    _or(repair, ".1f", ""), _or(between, ".1f", ""),
                ]
            )  # fmt: skip
    return "\ufeff" + text.getvalue()


def as_pdf(report: Report, language: str) -> bytes:
    """For a carrier. Raises HaidangError when the font is not installed."""
    texts = _TEXTS[language]
    names = {carrier.id: carrier.name for carrier in report.registry.carriers}
    who = f"{texts['carrier']}: {names.get(report.carrier, report.carrier)}. " if report.carrier else ""
    under = f"{report.registry.province.name}. {who}{texts['month']}: {report.month}"
    pdf = pages.begin(f"{texts['title']} {report.month}", under)
    for kind in ("circuit", "carrier"):
        rows = [_row(report, each, language) for each in report.rows(kind)]
        pages.table(pdf, _header(language, kind), rows)
    pages.heading(pdf, texts["list"])
    outages = [_outage_row(report, outage, officials, language) for outage, officials in report.listed()]
    if outages:
        pages.table(pdf, [texts[name] for name in ("began", "ended", "circuits", "cause", "affected")], outages)
    else:
        pages.paragraph(pdf, texts["none"])
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    pages.paragraph(pdf, texts["note"].format(province=report.registry.province.name, date=today), 8)
    return bytes(pdf.output())


def _header(language: str, kind: str) -> list[str]:
    texts = _TEXTS[language]
    first = [texts["circuit"], texts["carrier_circuit"]] if kind == "circuit" else [texts[kind]]
    return [*first, *(texts[name] for name in ("outages", "down", "availability", "sla", "met", "mttr", "mtbf"))]


def _row(report: Report, each: Figures, language: str) -> list[str]:
    texts = _TEXTS[language]
    numbers = {circuit.id: circuit.carrier_circuit_id for circuit in report.registry.circuits}
    names = {site.id: site.name for site in report.registry.sites}
    names |= {carrier.id: carrier.name for carrier in report.registry.carriers}
    first = (
        [each.element, numbers.get(each.element, "")]
        if each.kind == "circuit"
        else [names.get(each.element, each.element)]
    )
    repair, between = each.mean_time_to_repair_seconds, each.mean_time_between_failures_seconds
    return [
        *first, str(each.outages), _span(each.down_seconds), _or(each.availability_ratio, ".4%", "–"),
        f"{each.sla_ratio:.3%}" if each.sla_ratio else "–",
        "–" if each.met is None else texts["yes"] if each.met else texts["no"],
        "–" if repair is None else _span(repair), "–" if between is None else f"{between / 3600:.1f}",
    ]  # fmt: skip


def _outage_row(report: Report, outage: Outage, officials: int, language: str) -> list[str]:
    texts = _TEXTS[language]
    cause = texts["planned"] if outage.planned else CAUSES[outage.cause.kind].say(language)
    return [
        _time(outage.started),
        _time(outage.ended) if outage.ended else texts["open"],
        ", ".join(outage.circuits) or outage.site,
        cause,
        f"{len(outage.sites)} / {officials}",
    ]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _or(value: float | None, form: str, none: str) -> str:
    return none if value is None else format(value, form)


def _aligned(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [[unicodedata.normalize("NFC", plain(value)) for value in row] for row in [header, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines)
