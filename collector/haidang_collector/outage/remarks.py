"""What is said of an outage, in both languages of those who read it: its cause, and what speaks for that."""

from __future__ import annotations

from typing import NamedTuple


class Remark(NamedTuple):
    """One thing that speaks for a cause."""

    en: str
    vi: str

    def say(self, language: str) -> str:
        """The text in a language, `en` or `vi`."""
        return self.vi if language == "vi" else self.en


def remark(key: str, **values: object) -> Remark:
    """A text of this file with its values; a value that is a remark itself is said in the language around it."""

    def filled(language: str) -> str:
        own = {name: value.say(language) if isinstance(value, Remark) else value for name, value in values.items()}
        return _REMARKS[key].say(language).format(**own)

    return Remark(filled("en"), filled("vi"))


# By the names of causes (outage/cause.py).
CAUSES = {
    "fiber_cut": Remark("fiber cut", "đứt cáp quang"),
    "far_device": Remark("device at the far end", "thiết bị đầu xa"),
    "power": Remark("power", "mất điện"),
    "carrier": Remark("carrier or routing", "nhà mạng hoặc định tuyến"),
    "center": Remark("data center", "trung tâm dữ liệu"),
    "unknown": Remark("not known", "chưa rõ"),
}

_REMARKS = {
    # Power
    "ups": Remark("UPS {device} on battery", "UPS {device} chạy bằng ắc quy"),
    "battery": Remark("{agent} on battery", "{agent} chạy bằng pin"),
    "gasp": Remark("dying gasp of {device}", "{device} báo mất nguồn (dying gasp)"),
    "at": Remark("{what} at {at}", "{what} lúc {at}"),
    "of site": Remark("{site}: {what}", "{site}: {what}"),
    "feeder": Remark(
        "other sites of feeder {feeder} were lost at the same time",
        "các cơ quan khác cùng lộ điện {feeder} mất kết nối cùng lúc",
    ),
    # The port of a circuit
    "port unknown": Remark(
        "{circuit}: nothing is known of the port at {site}", "{circuit}: không có thông tin về cổng tại {site}"
    ),
    "port down before": Remark(
        "{circuit}: {port} was down before, since {at}", "{circuit}: {port} đã mất kết nối từ trước, lúc {at}"
    ),
    "port last seen": Remark(
        "{circuit}: {port} was last seen at {at}, up", "{circuit}: {port} lần cuối được thấy còn kết nối lúc {at}"
    ),
    "port up again": Remark(
        "{circuit}: {port} has its link again, since {at}", "{circuit}: {port} đã có kết nối trở lại từ {at}"
    ),
    "no neighbour": Remark(
        "{circuit}: {port} has a link but no neighbour",
        "{circuit}: {port} có kết nối nhưng không thấy thiết bị bên kia",
    ),
    "nothing passes": Remark(
        "{circuit}: {port} has a link, but nothing passes", "{circuit}: {port} có kết nối nhưng không truyền được gì"
    ),
    "nothing passes, light": Remark(
        "{circuit}: {port} has a link, {light_dbm:.1f} dBm, but nothing passes",
        "{circuit}: {port} có kết nối, {light_dbm:.1f} dBm, nhưng không truyền được gì",
    ),
    "shut down": Remark(
        "{circuit}: {port} was shut down by its operator, since {at}", "{circuit}: {port} bị người vận hành tắt từ {at}"
    ),
    "light, no link": Remark(
        "{circuit}: {port} sees light ({light_dbm:.1f} dBm) but has no link, since {at}",
        "{circuit}: {port} có ánh sáng ({light_dbm:.1f} dBm) nhưng không có kết nối, từ {at}",
    ),
    "no link": Remark(
        "{circuit}: {port} at {site} has no link, since {at}", "{circuit}: {port} tại {site} mất kết nối từ {at}"
    ),
    "no light": Remark(
        "{circuit}: {port} at {site} has no link and no light, since {at}",
        "{circuit}: {port} tại {site} mất kết nối và mất ánh sáng từ {at}",
    ),
    "lost its link": Remark("{port} lost its link", "{port} mất kết nối"),
    "at the far end": Remark("{circuit}: at the far end {what}", "{circuit}: ở đầu xa, {what}"),
    "together with": Remark("{circuit}: {what}, with {site}", "{circuit}: {what}, cùng với {site}"),
    # Sites
    "no circuit": Remark("the registry has no circuit to it", "sổ đăng ký không có tuyến nào đến đây"),
    "lost together": Remark(
        "all links to {sites} were lost within {seconds:.0f} s",
        "mọi đường đến {sites} mất trong vòng {seconds:.0f} giây",
    ),
    "all pass nothing": Remark(
        "nothing passes on any link to {sites}", "mọi đường đến {sites} đều không truyền được gì"
    ),
    "isolated": Remark(
        "none of {sites} sites answers, in any direction", "không cơ quan nào trong số {sites} trả lời, theo mọi hướng"
    ),
}
