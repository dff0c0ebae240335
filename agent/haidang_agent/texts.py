"""What the command line says to people, in English and Vietnamese.

The language is that of the environment (LC_ALL, LC_MESSAGES, LANG), or `--language`.
"""

from __future__ import annotations

import os

_MOST_SHOWN = 4000

_TEXTS: dict[str, tuple[str, str]] = {
    "enrolled": (
        "Enrolled as {agent} of site {site}. Certificate until {until}. Start the agent with: {run}",
        "Đã đăng ký với tên {agent} tại cơ quan {site}. Chứng thư có hạn đến {until}. Chạy tác tử bằng lệnh: {run}",
    ),
    "already enrolled": (
        "this machine is already enrolled as {agent} of site {site}",
        "máy này đã được đăng ký với tên {agent} tại cơ quan {site}",
    ),
    "use force": ("To enrol it anew, add --force", "Để đăng ký lại, thêm --force"),
    "status agent": ("Agent", "Tác tử"),
    "status site": ("Site", "Cơ quan"),
    "status collector": ("Collector", "Máy chủ thu thập"),
    "status certificate": ("Certificate until", "Chứng thư có hạn đến"),
    "status delivery": ("Last delivery", "Lần gửi gần nhất"),
    "status waiting": ("Reports waiting", "Báo cáo đang chờ gửi"),
    "status spool": ("Spool", "Bộ đệm"),
    "status sources": ("Sources", "Nguồn đo"),
    "status problem": ("Problem", "Sự cố"),
    "never": ("never", "chưa bao giờ"),
    "ok": ("ok", "tốt"),
    "failed": ("FAILED", "LỖI"),
    "not running": (
        "The agent is not running (nothing written for {seconds:.0f} s)",
        "Tác tử không chạy (không ghi gì trong {seconds:.0f} giây)",
    ),
    "OK": ("OK", "TỐT"),
    "WARN": ("WARN", "CẢNH BÁO"),
    "FAIL": ("FAIL", "LỖI"),
    "check configuration": ("configuration", "cấu hình"),
    "check permissions": ("permissions", "quyền truy cập"),
    "check disk": ("disk", "ổ đĩa"),
    "check spool": ("spool", "bộ đệm"),
    "check certificate": ("certificate", "chứng thư"),
    "check echo": ("ICMP echo", "ICMP echo"),
    "check dns": ("DNS", "DNS"),
    "check route": ("route", "đường truyền"),
    "check tls": ("TLS", "TLS"),
    "check clock": ("clock", "đồng hồ"),
    "check agent": ("agent", "tác tử"),
    "check devices": ("devices", "thiết bị"),
    "devices ok": (
        "{count} assigned over SNMP, their credentials are known",
        "được giao {count} thiết bị SNMP, đã có mật khẩu",
    ),
    "devices no probe": (
        "{count} are assigned, but this agent is no probe: set sources.snmp.enabled",
        "được giao {count} thiết bị nhưng tác tử chưa bật: đặt sources.snmp.enabled",
    ),
    "devices credential": (
        "the registry names credentials that {file} does not have: {names}",
        "tệp {file} thiếu mật khẩu có tên trong khai báo: {names}",
    ),
    "check paths": ("paths", "tuyến đo"),
    "paths ok": (
        "{count} assigned by the registry are measured",
        "đang đo {count} tuyến được giao",
    ),
    "paths not enabled": (
        "{count} are assigned, but this agent measures none: set sources.paths.enabled",
        "được giao {count} tuyến nhưng tác tử chưa đo: đặt sources.paths.enabled",
    ),
    "paths key": (
        "the registry names STAMP keys that {file} does not have: {names}",
        "tệp {file} thiếu khóa STAMP có tên trong khai báo: {names}",
    ),
    "config ok": ("{file} is valid", "{file} hợp lệ"),
    "config default": ("no file: all defaults", "không có tệp: dùng giá trị mặc định"),
    "permissions ok": ("{path} belongs to the agent alone", "{path} chỉ tác tử truy cập được"),
    "permissions open": (
        "{path} can be read by others. Run: {remedy}",
        "{path} người khác đọc được. Chạy: {remedy}",
    ),
    "permissions missing": (
        "{path} is missing. Enrol again with --force",
        "Thiếu {path}. Hãy đăng ký lại với --force",
    ),
    "permissions write": (
        "{path} can't be written by this user. Run as root or as the agent's user",
        "Người dùng này không ghi được vào {path}. Hãy chạy bằng root hoặc người dùng của tác tử",
    ),
    "disk ok": ("{free} MB free at {path}", "còn trống {free} MB tại {path}"),
    "disk low": (
        "only {free} MB free at {path}: reports may be lost during an outage. Free some space",
        "chỉ còn {free} MB tại {path}: có thể mất báo cáo khi đứt mạng. Hãy giải phóng dung lượng",
    ),
    "spool ok": ("{reports} reports wait, {bytes} kB", "{reports} báo cáo đang chờ, {bytes} kB"),
    "spool old": (
        "{reports} reports wait, the oldest for {hours:.1f} hours: the collector was not reached since",
        "{reports} báo cáo đang chờ, cũ nhất {hours:.1f} giờ: từ đó chưa kết nối được máy chủ",
    ),
    "spool none": ("empty: the agent has not run yet", "trống: tác tử chưa chạy lần nào"),
    "spool damaged": (
        "damaged ({error}). It is set aside at the next start; check the disk",
        "bị hỏng ({error}). Sẽ được thay mới ở lần khởi động sau; hãy kiểm tra ổ đĩa",
    ),
    "certificate ok": ("valid for {days:.0f} more days", "còn hạn {days:.0f} ngày"),
    "certificate late": (
        "{days:.0f} days left and not renewed: the collector was not reached for long",
        "còn {days:.0f} ngày mà chưa gia hạn: đã lâu không kết nối được máy chủ",
    ),
    "certificate ended": (
        "ended {days:.0f} days ago. Ask the data center for a token and enrol with --force",
        "đã hết hạn {days:.0f} ngày. Xin trung tâm dữ liệu mã đăng ký mới và đăng ký lại với --force",
    ),
    "echo ok": ("this user may send echo requests", "người dùng này gửi được ICMP echo"),
    "echo forbidden": (
        "not allowed: reachability is not measured. The agent needs CAP_NET_RAW (its service unit gives it)",
        "không được phép: không đo được đường truyền. Tác tử cần CAP_NET_RAW (tệp dịch vụ đã cấp sẵn)",
    ),
    "dns ok": ("{host} is {address}", "{host} là {address}"),
    "dns failed": (
        "{host} does not resolve. Check the DNS server of this machine, or ask for the address in numbers",
        "không phân giải được {host}. Kiểm tra máy chủ DNS của máy này, hoặc dùng địa chỉ IP",
    ),
    "route ok": ("{host} port {port} answers in {ms:.0f} ms", "{host} cổng {port} trả lời sau {ms:.0f} ms"),
    "route proxy": ("through the proxy of the environment", "qua proxy của môi trường"),
    "route failed": (
        "{host} port {port}: {error}. Check cable, gateway and firewall; ask the data center whether the port is open",
        "{host} cổng {port}: {error}. Kiểm tra cáp, gateway, tường lửa; hỏi trung tâm dữ liệu xem cổng đã mở chưa",
    ),
    "tls ok": (
        "the collector proves itself and knows this agent",
        "máy chủ được xác thực và nhận ra tác tử này",
    ),
    "tls failed": ("{error}", "{error}"),
    "tls authority": (
        "the collector's certificate is of a CA that this agent does not know ({error}): the data center replaced its CA"
        " while this machine was away, or something else answers there. Ask the data center, and with a token of it run:"
        " haidang-agent enrol --force",
        "chứng thư của máy chủ thuộc CA mà tác tử này không biết ({error}): trung tâm dữ liệu đã thay CA khi máy này vắng"
        " mặt, hoặc có máy khác trả lời. Hãy hỏi trung tâm dữ liệu, xin mã đăng ký rồi chạy: haidang-agent enrol --force",
    ),
    "tls certificate": (
        "the collector does not accept this agent's certificate ({error}): it has ended, or its CA was replaced. Ask the"
        " data center for a token and run: haidang-agent enrol --force",
        "máy chủ không nhận chứng thư của tác tử này ({error}): đã hết hạn, hoặc CA đã được thay. Hãy xin trung tâm dữ"
        " liệu mã đăng ký rồi chạy: haidang-agent enrol --force",
    ),
    "tls time": (
        "by this machine's clock the collector's certificate does not count ({error}): set the clock; if it is right,"
        " tell the data center",
        "theo đồng hồ máy này, chứng thư của máy chủ không có hiệu lực ({error}): hãy chỉnh đồng hồ; nếu đồng hồ đúng"
        " thì báo trung tâm dữ liệu",
    ),
    "tls refused": (
        "the collector refuses this agent: {error}",
        "máy chủ từ chối tác tử này: {error}",
    ),
    "clock ok": ("within {amount} s of the collector's", "lệch không quá {amount} giây so với máy chủ"),
    "clock wrong": (
        "wrong by {offset:.0f} s. Reports are corrected, other programs are not: set the clock, and if it is"
        " wrong after each start, replace the CMOS battery",
        "sai {offset:.0f} giây. Báo cáo đã được chỉnh nhưng các phần mềm khác thì không: hãy chỉnh đồng hồ,"
        " nếu sai sau mỗi lần bật máy thì thay pin CMOS",
    ),
    "agent ok": ("runs", "đang chạy"),
    "agent sources": ("sources that fail: {names}", "nguồn đo bị lỗi: {names}"),
    "not checked": ("not checked: {why} failed", "không kiểm tra: {why} bị lỗi"),
}


def language(asked: str | None = None) -> str:
    """`en` or `vi`."""
    environment = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "vi" if (asked or environment).startswith("vi") else "en"


def shown(text: object) -> str:
    """A text as one line of printable characters: others' names may hold control sequences of terminals."""
    return "".join(each if each.isprintable() else " " for each in str(text)[:_MOST_SHOWN])


def say(key: str, language: str, **values: object) -> str:
    """The text of a key in a language."""
    return _TEXTS[key][language == "vi"].format(**values)
