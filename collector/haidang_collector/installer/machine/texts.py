"""What the installation says, in English and Vietnamese. What names an operating system's own tools stands with the
system's part (`WORDS`)."""

from __future__ import annotations

import os
import sys

Texts = dict[str, tuple[str, str]]
TEXTS: Texts = {
    "running": ("another installation is running", "một lần cài đặt khác đang chạy"),
    "no space": ("{where} has {free} MB free, {needed} MB are needed: make room and run this again",
                 "{where} còn trống {free} MB, cần {needed} MB: hãy giải phóng rồi chạy lại"),
    "closed": ("{host} answers, but its port {port} is closed: the collector does not run there, or a firewall refuses",
               "{host} có trả lời nhưng cổng {port} đóng: máy chủ thu thập chưa chạy, hoặc tường lửa từ chối"),
    "silent": ("{host} port {port} does not answer within {seconds} s: the WAN is down, or a firewall drops it on the way",
               "{host} cổng {port} không trả lời trong {seconds} giây: mất WAN, hoặc tường lửa chặn trên đường"),
    "not ours": ("{host} port {port} is not a collector of Hải Đăng ({detail})",
                 "{host} cổng {port} không phải máy chủ thu thập Hải Đăng ({detail})"),
    "broken off": ("the connection to {host} broke off ({detail}): run this again",
                   "kết nối đến {host} bị ngắt ({detail}): hãy chạy lại"),
    "slow": ("{host} did not give the whole answer in {seconds} s ({path}): the line is too slow, or something on the way"
             " holds it up; run this again",
             "{host} không trả lời xong trong {seconds} giây ({path}): đường truyền quá chậm hoặc bị giữ lại trên đường; hãy"
             " chạy lại"),
    "large": ("{host} answers with more than {most} bytes where no more can be ({path}): it is not a collector of Hải Đăng,"
              " or something on the way changes what it says. Nothing of it was used; tell the data center",
              "{host} trả lời hơn {most} byte, nhiều hơn mức có thể ({path}): không phải máy chủ thu thập Hải Đăng, hoặc có"
              " kẻ sửa đổi trên đường. Chưa dùng gì từ đó; hãy báo trung tâm dữ liệu"),
    "other CA": ("{host} shows another CA than the pinned one: it was replaced since this line was printed, or this is"
                 " another collector, or somebody in between. Nothing was sent or installed; ask the data center for a"
                 " new line",
                 "{host} dùng CA khác với CA đã ghim: CA đã được thay sau khi in dòng lệnh này, hoặc máy chủ khác, hoặc có"
                 " kẻ đứng giữa. Chưa gửi hay cài gì; hãy xin trung tâm dữ liệu dòng lệnh mới"),
    "no bundle": ("the collector serves no agent: its operator sets bundle_dir (docs/install-datacenter.md)",
                  "máy chủ thu thập không có gói cài: người vận hành đặt bundle_dir (docs/install-datacenter.md)"),
    "no wheels": ("there is nothing for Python {python} on {architecture}; there is for: {kinds}",
                  "không có gói cho Python {python} trên {architecture}; hiện có: {kinds}"),
    "no probe": ("a probe needs Python 3.10 or later (here: {python})", "đầu dò cần Python 3.10 trở lên (máy này: {python})"),
    "checksum": ("{name} is not what the collector announced: run this again; if it stays so tell the data center",
                 "{name} không đúng mã kiểm tra của máy chủ: hãy chạy lại; nếu vẫn vậy hãy báo trung tâm dữ liệu"),
    "no token": ("this machine is not enrolled: a token from the data center is needed on the standard input",
                 "máy này chưa ghi danh: cần mã ghi danh của trung tâm dữ liệu qua đầu vào chuẩn"),
    "ask token": ("Token from the data center: ", "Mã ghi danh của trung tâm dữ liệu: "),
    "enrolment": ("enrolment failed: {detail}", "ghi danh không thành công: {detail}"),
    "command": ("{command} failed: {detail}", "{command} không thành công: {detail}"),
    "disk": ("{where}: {detail}", "{where}: {detail}"),
    "not delivered": ("{build} is installed and runs, but has delivered nothing within {seconds} s: {detail}. It goes on"
                      " trying; haidang-agent doctor says more",
                      "đã cài và chạy {build} nhưng chưa gửi được gì trong {seconds} giây: {detail}. Tác tử vẫn thử tiếp;"
                      " xem haidang-agent doctor"),
    "rolled back": ("{build} did not work ({detail}): {before} runs again, nothing is lost",
                    "{build} không hoạt động ({detail}): đã chạy lại {before}, không mất gì"),
    "not back": ("{build} did not work ({detail}), and {before}, which is in its place again, does not deliver either"
                 " ({again}). What was measured is kept; haidang-agent doctor says more",
                 "{build} không hoạt động ({detail}), và {before} đã đặt lại cũng chưa gửi được ({again}). Số liệu đã đo"
                 " vẫn được giữ; xem haidang-agent doctor"),
    "fetch": ("Fetching {build}: {count} files", "Đang tải {build}: {count} tệp"),
    "make": ("Making {folder}", "Đang tạo {folder}"),
    "enrol": ("Enrolling", "Đang ghi danh"),
    "start": ("Starting, and waiting for the first delivery", "Đang khởi động và chờ lần gửi đầu tiên"),
    "done": ("The agent {build} runs and delivers", "Tác tử {build} đang chạy và gửi được số liệu"),
    "same": ("The agent {build} runs already: nothing to do", "Tác tử {build} đã chạy sẵn: không cần làm gì"),
    "would": ("Would be done: {what}", "Sẽ làm: {what}"),
    "removed": ("The agent is removed. Kept: {kept}", "Đã gỡ tác tử. Còn giữ: {kept}"),
    "removed all": ("The agent is removed, with identity and spool", "Đã gỡ tác tử, cả định danh và dữ liệu chờ gửi"),
    "nothing": ("No agent is installed here", "Máy này chưa cài tác tử"),
}  # fmt: skip


class Failure(Exception):
    """What stops the installation, in the words of TEXTS."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(say(key, **values))


def say(key: str, **values: object) -> str:
    """A text in the language of the environment."""
    chosen = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return TEXTS[key][chosen.startswith("vi")].format(**values)


def tell(key: str, **values: object) -> None:
    print(say(key, **values), file=sys.stderr, flush=True)


def printable(text: object) -> str:
    """A text of somebody else's for root's terminal: one line, of a bounded length."""
    return "".join(each if each.isprintable() else " " for each in str(text)[:500])
