"""The month's report: a table for the terminal, CSV for spreadsheets, PDF for a carrier. English and Vietnamese."""

from __future__ import annotations

import io
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from haidang_collector.outage.model import Outage
from haidang_collector.outage.remarks import CAUSES
from haidang_collector.outage.sla import Figures, Judgement
from haidang_collector.printable import CsvWriter, plain
from haidang_collector.registry.model import Registry
from haidang_collector.reports import pdf as pages
from haidang_collector.settings import Outages

_TEXTS = {
    "en": {
        "title": "Availability of circuits", "month": "Month", "carrier": "Carrier", "circuit": "Circuit",
        "carrier_circuit": "Carrier's number", "site": "Site", "outages": "Outages", "down": "Down (h:mm:ss)",
        "availability": "Availability", "measured": "Measured", "sla": "SLA", "met": "SLA kept",
        "mttr": "MTTR (h:mm:ss)", "mtbf": "MTBF (h)", "kept": "yes", "missed": "NO", "not_judged": "not judged",
        "unmeasured": "unmeasured", "began": "Began", "ended": "Ended", "cause": "Cause",
        "affected": "Sites / officials", "list": "Outages of the month", "none": "None.", "open": "still open",
        "circuits": "Circuits",
        "note": "Availability is of the measured time alone; Measured is its share of the month so far. Planned work"
                " does not count. An SLA is judged when at least {share} was measured. Times are local."
                " {province}, {date}.",
        "planned": "planned work",
    },
    "vi": {
        "title": "Độ sẵn sàng của các tuyến truyền dẫn", "month": "Tháng", "carrier": "Nhà mạng", "circuit": "Tuyến",
        "carrier_circuit": "Mã kênh", "site": "Cơ quan", "outages": "Số sự cố", "down": "Gián đoạn (g:pp:gg)",
        "availability": "Độ sẵn sàng", "measured": "Đã đo", "sla": "Cam kết", "met": "Đạt cam kết",
        "mttr": "MTTR (g:pp:gg)", "mtbf": "MTBF (giờ)", "kept": "có", "missed": "KHÔNG",
        "not_judged": "không đánh giá", "unmeasured": "không đo được", "began": "Bắt đầu",
        "ended": "Kết thúc", "cause": "Nguyên nhân", "affected": "Cơ quan / cán bộ", "list": "Các sự cố trong tháng",
        "none": "Không có.", "open": "chưa khắc phục", "circuits": "Tuyến",
        "note": "Độ sẵn sàng chỉ tính trên thời gian đã đo; cột Đã đo là tỷ lệ của thời gian đó trong tháng đến nay."
                " Không tính thời gian bảo trì có kế hoạch. Cam kết chỉ được đánh giá khi đã đo ít nhất {share}."
                " Giờ địa phương. {province} lập ngày {date}.",
        "planned": "bảo trì có kế hoạch",
    },
}  # fmt: skip
LANGUAGES = tuple(_TEXTS)
_KEPT = {Judgement.KEPT: 1, Judgement.MISSED: 0}


@dataclass(frozen=True)
class Report:
    """Figures of a month, and its outages with the officials each cut off; `carrier` narrows it to one;
    `judged_ratio` is the share of the time from which on an SLA is judged."""

    registry: Registry
    month: str
    figures: list[Figures]
    outages: list[tuple[Outage, int]]
    carrier: str = ""
    judged_ratio: float = Outages().sla_judged_ratio

    def rows(self, kind: str) -> list[Figures]:
        """The figures of a kind, those of the carrier alone when one is asked for."""
        wanted = [each for each in self.figures if each.kind == kind]
        return [each for each in wanted if not self.carrier or each.carrier == self.carrier]

    def listed(self) -> list[tuple[Outage, int]]:
        """The outages, those on the carrier's circuits alone when one is asked for."""
        own = {circuit.id for circuit in self.registry.circuits if circuit.carrier == self.carrier}
        return [each for each in self.outages if not self.carrier or own & set(each[0].circuits)]


def table(report: Report, language: str) -> str:
    """The report as tables for the terminal."""
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
        "counted_seconds", "measured_ratio", "availability_ratio", "sla_ratio", "sla_kept", "judgement", "mttr_seconds",
        "mtbf_seconds",
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
                    f"{each.counted_seconds:.1f}", _or(each.measured_ratio, ".6f", ""),
                    _or(each.availability_ratio, ".6f", ""), each.sla_ratio or "", _KEPT.get(each.judgement, ""),
                    str(each.judgement),
                    _or(repair, ".1f", ""), _or(between, ".1f", ""),
                ]
            )  # fmt: skip
    return "\ufeff" + text.getvalue()


def as_pdf(report: Report, language: str) -> bytes:
    """The report as PDF, for a carrier. Raises HaidangError when the font is not installed."""
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
    share = f"{report.judged_ratio:.0%}"
    pages.paragraph(pdf, texts["note"].format(province=report.registry.province.name, date=today, share=share), 8)
    return bytes(pdf.output())


def _header(language: str, kind: str) -> list[str]:
    texts = _TEXTS[language]
    first = [texts["circuit"], texts["carrier_circuit"]] if kind == "circuit" else [texts[kind]]
    return [
        *first,
        *(texts[name] for name in ("outages", "down", "availability", "measured", "sla", "met", "mttr", "mtbf")),
    ]


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
        *first, str(each.outages), _span(each.down_seconds),
        _or(each.availability_ratio, ".4%", texts["unmeasured"]), _or(each.measured_ratio, ".2%", "–"),
        f"{each.sla_ratio:.3%}" if each.sla_ratio else "–",
        texts[_said(each.judgement)] if each.sla_ratio else "–",
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


def _said(judgement: Judgement) -> str:
    """Where nothing was measured, nothing was judged."""
    return Judgement.NOT_JUDGED if judgement == Judgement.UNMEASURED else judgement


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
