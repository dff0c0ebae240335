"""The agent onto this machine, from the collector, with the machine's own Python (3.9 or later) and nothing else.

Safe to run again: what is right already is left alone. A version lives in a folder of its own, made whole beside the
one in use; /opt/haidang is a link that changes in one step. The new version must deliver a report, or the one before
runs again. Identity and spool (/var/lib/haidang-agent) are never touched.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import getpass
import hashlib
import http.client
import json
import math
import os
import platform
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LINK = Path("/opt/haidang")
VERSIONS = "haidang-agent-"
STATE = Path("/var/lib/haidang-agent")
CONFIGURATION = Path("/etc/haidang")
UNITS = Path("/etc/systemd/system")
SERVICE, PRIVILEGED, TIMER = (
    "haidang-agent.service",
    "haidang-agent-privileged.service",
    "haidang-agent-privileged.timer",
)
DROP_INS = UNITS / f"{SERVICE}.d"
USER = "haidang-agent"
ROLES = ("probe", "switch", "wan")
NEEDED_BYTES = 200 * 2**20
# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h): a clock that says less than when this was made can't be right.
NO_CHECK_TIME = 0x200000
# Who answers may be anybody, before the CA is believed and on the line after it: what an answer may cost is bounded.
PATIENCE = 15.0  # seconds of one operation
WHOLE = 60.0  # of one answer, and what its size takes over a line of 32 kbit/s
SLOWEST = 4_000
MOST_BYTES = 64 * 2**10
MOST_OF_MANIFEST = 2**20
MOST_OF_FILE = 32 * 2**20  # where the manifest does not say how large it is
MOST_ADDRESSES = 8

TEXTS = {
    "not root": ("must run as root: sudo sh haidang.sh", "phải chạy bằng quyền root: sudo sh haidang.sh"),
    "no systemd": ("this machine does not run systemd: see docs/install-agency.md for an installation by hand",
                   "máy này không dùng systemd: xem docs/vi/install-agency.md để cài bằng tay"),
    "running": ("another installation is running", "một lần cài đặt khác đang chạy"),
    "no space": ("{where} has {free} MB free, {needed} MB are needed: make room and run this again",
                 "{where} còn trống {free} MB, cần {needed} MB: hãy giải phóng rồi chạy lại"),
    "unknown host": ("the name {host} is not known here: check /etc/resolv.conf, or ask for a line with the address",
                     "không phân giải được tên {host}: kiểm tra /etc/resolv.conf, hoặc xin dòng lệnh dùng địa chỉ IP"),
    "no route": ("there is no route to {host}: check the cable, the address and the gateway (ip route), then the WAN link",
                 "không có đường đến {host}: kiểm tra cáp, địa chỉ và cổng mặc định (ip route), rồi đường WAN"),
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
    "time": ("by this machine's clock the certificate of {host} does not count ({detail}): set the clock (timedatectl"
             " set-time) and run this again; if it is right, tell the data center",
             "theo đồng hồ máy này, chứng thư của {host} không có hiệu lực ({detail}): hãy chỉnh đồng hồ (timedatectl"
             " set-time) rồi chạy lại; nếu đồng hồ đúng thì báo trung tâm dữ liệu"),
    "no bundle": ("the collector serves no agent: its operator sets bundle_dir (docs/install-datacenter.md)",
                  "máy chủ thu thập không có gói cài: người vận hành đặt bundle_dir (docs/install-datacenter.md)"),
    "no wheels": ("there is nothing for Python {python} on {architecture}; there is for: {kinds}",
                  "không có gói cho Python {python} trên {architecture}; hiện có: {kinds}"),
    "no probe": ("a probe needs Python 3.10 or later (here: {python})", "đầu dò cần Python 3.10 trở lên (máy này: {python})"),
    "checksum": ("{name} is not what the collector announced: run this again; if it stays so tell the data center",
                 "{name} không đúng mã kiểm tra của máy chủ: hãy chạy lại; nếu vẫn vậy hãy báo trung tâm dữ liệu"),
    "clock": ("this machine's clock is wrong by {seconds} s: set it (timedatectl set-time); the agent copes until then",
              "đồng hồ máy này sai {seconds} giây: hãy chỉnh (timedatectl set-time); tạm thời tác tử tự bù"),
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


class Limited(ssl.SSLSocket):
    """No operation takes longer than PATIENCE, and none goes on beyond `ends` (steady clock): a limit of each is none
    of the whole."""

    ends = math.inf

    def hurry(self) -> None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self.settimeout(min(PATIENCE, left))

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().recv_into(*arguments, **named)

    def send(self, *arguments: Any, **named: Any) -> int:
        self.hurry()
        return super().send(*arguments, **named)


class Line(http.client.HTTPSConnection):
    """A connection with an end as a whole, from the first address that is tried."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        context.sslsocket_class = Limited
        super().__init__(host, port, timeout=PATIENCE, context=context)
        self._tls = context
        self.ends = time.monotonic() + 2 * PATIENCE

    def end_in(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        if isinstance(self.sock, Limited):
            self.sock.ends = self.ends

    def connect(self) -> None:
        plain = self._dial()
        try:
            plain.settimeout(min(PATIENCE, max(0.001, self.ends - time.monotonic())))  # of the whole handshake
            wrapped = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:  # whatever it was, it is raised again
            plain.close()
            raise
        assert isinstance(wrapped, Limited)
        wrapped.ends, self.sock = self.ends, wrapped

    def _dial(self) -> socket.socket:
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:MOST_ADDRESSES]:  # a name may have thousands
            left = self.ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("no address answers in time")
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(min(PATIENCE, left))
                plain.connect(address)
                return plain
            except OSError as error:
                failure = error
                plain.close()
        raise failure


class Center:
    """The collector, believed by the fingerprint of its CA."""

    def __init__(self, url: str, fingerprint: str, released: float) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self._connection = self._connect(ssl._create_unverified_context())  # noqa: S323  # believed by its fingerprint
        served = self._get("/v1/ca.pem").decode("ascii", "replace")
        self._connection.close()
        context = ssl.create_default_context(cadata=self._pinned(served, fingerprint))
        impossible = time.time() < released
        if impossible:
            context.verify_flags |= NO_CHECK_TIME
        self._connection = self._connect(context)
        if impossible:
            self._require_life(released)

    def _pinned(self, served: str, fingerprint: str) -> str:
        """The CA of the fingerprint: while the collector's CA is being replaced it shows two."""
        pems: list[str] = re.findall("-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", served)
        try:
            seen = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(): pem for pem in pems}
        except ValueError:
            seen = {}
        if not seen:
            raise Failure("not ours", host=self.host, port=self.port, detail="no CA")
        if fingerprint not in seen:
            raise Failure("other CA", host=self.host)
        return seen[fingerprint]

    def _require_life(self, released: float) -> None:
        """This machine's clock can't be right: then the collector's own time must lie in its certificate's life."""
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        certificate = self._connection.sock.getpeercert() or {}
        begins, ends = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
        self._get("/healthz")
        try:
            told = parsedate_to_datetime(self.date).timestamp()
        except (ValueError, TypeError):
            told = 0.0
        if not max(begins, released) <= told <= ends:
            raise Failure("not ours", host=self.host, port=self.port, detail="certificate has expired")

    def _connect(self, context: ssl.SSLContext) -> Line:
        where: dict[str, Any] = {"host": self.host, "port": self.port}
        connection = Line(self.host, self.port, context)
        try:
            connection.connect()
        except socket.gaierror as error:
            raise Failure("unknown host", **where) from error
        except ConnectionRefusedError as error:
            raise Failure("closed", **where) from error
        except ssl.SSLCertVerificationError as error:
            key = "time" if error.verify_code in (9, 10) else "not ours"  # not begun, has ended
            raise Failure(key, detail=error.verify_message, **where) from error
        except ssl.SSLError as error:
            raise Failure("not ours", detail=error.reason or str(error), **where) from error
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
                raise Failure("no route", **where) from error
            raise Failure("silent", seconds=int(PATIENCE), **where) from error
        return connection

    def _get(self, path: str, most: int = MOST_BYTES) -> bytes:
        seconds = WHOLE + most / SLOWEST
        self._connection.end_in(seconds)
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            body = answer.read(most + 1)
            if answer.length and len(body) <= most:  # read() of so many bytes says nothing of an end before them
                raise http.client.IncompleteRead(body, answer.length)
        except (TimeoutError, socket.timeout) as error:
            raise Failure("slow", host=self.host, path=path, seconds=int(seconds)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure("broken off", host=self.host, detail=printable(error)) from error
        if len(body) > most:
            raise Failure("large", host=self.host, path=path, most=most)
        self.date = answer.headers.get("Date", "")
        if answer.status == 404 and path == "/install/manifest.json":
            raise Failure("no bundle")
        if answer.status != 200:
            raise Failure("not ours", host=self.host, port=self.port, detail=f"HTTP {answer.status}")
        return body

    def manifest(self) -> dict[str, Any]:
        """What there is to install."""
        try:
            return dict(json.loads(self._get("/install/manifest.json", MOST_OF_MANIFEST)))
        except (ValueError, TypeError, RecursionError) as error:
            raise Failure("not ours", host=self.host, port=self.port, detail="no manifest") from error

    def fetch(self, name: str, checksum: str, most: int, to: Path) -> None:
        """A file of at most so many bytes into the folder, if it is what was announced."""
        body = self._get(f"/install/{name}", most)
        if hashlib.sha256(body).hexdigest() != checksum:
            raise Failure("checksum", name=name)
        (to / name).write_bytes(body)

    def warn_of_clock(self) -> None:
        """The collector's time is in its answer."""
        with contextlib.suppress(ValueError, TypeError):
            wrong = time.time() - parsedate_to_datetime(self.date).timestamp()
            if abs(wrong) > 60:
                tell("clock", seconds=round(wrong))


class Version:
    """One build of the agent in a folder of its own."""

    def __init__(self, manifest: dict[str, Any], roles: tuple[str, ...]) -> None:
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        kinds = manifest["sets"]
        kind = f"{python}-{platform.machine()}"
        if kind not in kinds:
            raise Failure("no wheels", python=python, architecture=platform.machine(), kinds=", ".join(sorted(kinds)))
        component = "probe" if "probe" in roles else "agent"
        if component not in kinds[kind]:
            raise Failure("no probe", python=python)
        self.build = str(manifest["build"])
        self.folder = LINK.with_name(VERSIONS + self.build + ("-probe" if component == "probe" else ""))
        sizes = manifest.get("sizes", {})  # bundles of before have none
        self.files = {
            name: (str(manifest["files"][name]), min(int(sizes.get(name, MOST_OF_FILE)), MOST_OF_FILE))
            for name in kinds[kind][component]
        }

    @property
    def complete(self) -> bool:
        """Whether it was made to the end."""
        return (self.folder / ".complete").exists()

    def make(self, center: Center) -> None:
        """Raises Failure; then nothing of it is left."""
        free = shutil.disk_usage(LINK.parent).free
        if free < NEEDED_BYTES:
            raise Failure("no space", where=LINK.parent, free=free // 2**20, needed=NEEDED_BYTES // 2**20)
        shutil.rmtree(self.folder, ignore_errors=True)
        wheels = self.folder / "wheels"
        try:
            wheels.mkdir(parents=True)
            tell("fetch", build=self.build, count=len(self.files))
            for name, (checksum, most) in self.files.items():
                center.fetch(name, checksum, most, wheels)
            tell("make", folder=self.folder)
            self._install(wheels)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Failure("disk", where=error.filename or self.folder, detail=error.strerror) from error
        except Failure:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _install(self, wheels: Path) -> None:
        # Debian's Python has neither pip nor what makes it (python3-venv): pip's own wheel can be run as it is.
        # -I: root takes no module of the folder or the environment this is called in.
        run(sys.executable, "-I", "-m", "venv", "--without-pip", str(self.folder))
        pip = next(wheels.glob("pip-*.whl"))
        others = [str(file) for file in sorted(wheels.glob("*.whl")) if file != pip]
        python = str(self.folder / "bin/python")
        run(python, "-I", f"{pip}/pip", "--isolated", "--quiet", "--disable-pip-version-check", "install", "--no-index",
            "--no-deps", "--no-cache-dir", *others)  # fmt: skip
        shutil.rmtree(wheels)
        if shutil.which("restorecon"):  # what SELinux wants of programs under /opt
            run("restorecon", "-R", str(self.folder))
        # It must at least start and measure here.
        run(
            str(self.folder / "bin/haidang-agent"), "once", "--source", "host", "--state-dir", str(self.folder / "none")
        )
        (self.folder / ".complete").write_text(self.build + "\n")


def units(folder: Path, roles: tuple[str, ...]) -> dict[Path, str]:
    """The unit files of a version."""
    packaging = next(folder.glob("lib/python3*/site-packages/haidang_agent/packaging"), None)
    if packaging is None:
        raise Failure("disk", where=folder, detail="no units in it")
    found = {UNITS / name: packaging / name for name in (SERVICE, PRIVILEGED, TIMER)}
    found.update({DROP_INS / f"{role}.conf": packaging / f"{role}.conf" for role in roles})
    return {to: file.read_text(encoding="utf-8") for to, file in found.items() if file.exists()}


def units_are(wanted: dict[Path, str]) -> bool:
    """Whether exactly these are in place."""
    ours = [*DROP_INS.glob("*.conf")] if DROP_INS.is_dir() else []
    if any(file not in wanted for file in ours if file.stem in ROLES):
        return False
    return all(file.exists() and file.read_text(encoding="utf-8") == text for file, text in wanted.items())


def put_units(wanted: dict[Path, str]) -> None:
    for role in ROLES:
        file = DROP_INS / f"{role}.conf"
        if file not in wanted:
            file.unlink(missing_ok=True)
    for file, text in wanted.items():
        file.parent.mkdir(exist_ok=True)
        new = file.with_name(f"{file.name}.new")  # a full disk must not leave half a unit
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    run("systemctl", "daemon-reload")


def by_hand() -> Path:
    """An installation by hand is a folder where the link is to be: it becomes the version before."""
    folder = LINK.rename(LINK.with_name(f"{VERSIONS}by-hand-{int(time.time())}"))
    LINK.symlink_to(folder.name)
    return folder


def switch(folder: Path, roles: tuple[str, ...]) -> None:
    """Make a version the one in use, and start it."""
    put_units(units(folder, roles))
    new = LINK.with_name(f"{LINK.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.replace(LINK)
    run("systemctl", "enable", "--quiet", SERVICE, TIMER)
    run("systemctl", "reset-failed", SERVICE, check=False)
    run("systemctl", "restart", SERVICE, check=False)  # whether it works is asked of it, not of systemd
    run("systemctl", "restart", TIMER)


def read_status() -> bytes:
    """What the agent says of itself. Its user may put anything there: only a file is read, and no more than it writes."""
    descriptor = os.open(STATE / "status.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(2**16) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def delivers(since: float, seconds: float) -> str:
    """Wait for a delivery; what is wrong, or nothing."""
    deadline = time.monotonic() + seconds
    detail = ""
    while time.monotonic() < deadline:
        active = run("systemctl", "is-active", SERVICE, check=False)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            status = json.loads(read_status())
            if status["written"] >= since:
                detail = printable(status["last_error"])
                if active == "active" and (status["last_delivery"] or 0) >= since:
                    return ""
        again = run("systemctl", "show", "--value", "--property", "NRestarts", SERVICE, check=False)
        if active not in ("active", "activating") or (again.isdigit() and int(again) >= 2):
            detail = run("journalctl", "-u", SERVICE, "-n", "3", "-o", "cat", "--no-pager", check=False)
            break
        time.sleep(0.5)
    return printable("; ".join(detail.strip().splitlines())) or "no delivery"


def works(folder: Path, roles: tuple[str, ...], seconds: float) -> str:
    """Switch to a version and wait for what it delivers; what is wrong, or nothing."""
    began = time.time()
    try:
        switch(folder, roles)
    except (Failure, OSError) as failure:
        return str(failure)
    return delivers(began, seconds)


def enrol(url: str, fingerprint: str, folder: Path, name: str, token: str) -> None:
    """With this token or one from the keyboard or the standard input, never from a process list."""
    if not token:
        token = getpass.getpass(say("ask token")) if sys.stdin.isatty() else sys.stdin.readline()
    if not token.strip():
        raise Failure("no token")
    tell("enrol")
    given = ["--collector", url, "--ca-fingerprint", fingerprint, "--state-dir", str(STATE), "--token", "-"]
    command = [str(folder / "bin/haidang-agent"), "enrol", *given, *(["--name", name] if name else [])]
    done = subprocess.run(command, input=token, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise Failure("enrolment", detail=printable(done.stderr.strip().replace("haidang-agent: ", "")))


def make_user() -> None:
    if run("getent", "passwd", USER, check=False) == "":
        run("useradd", "--system", "--home-dir", str(STATE), "--shell", "/usr/sbin/nologin", USER)
    STATE.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(STATE, USER, USER)
    CONFIGURATION.mkdir(exist_ok=True)


def install(options: argparse.Namespace) -> dict[str, object]:
    """What was done."""
    token = ""
    if options.token_file:  # gone whatever comes
        token = Path(options.token_file).read_text(encoding="utf-8")
        Path(options.token_file).unlink()
    present = tuple(role for role in ROLES if (DROP_INS / f"{role}.conf").exists())
    roles = present if options.roles is None else tuple(sorted(filter(None, options.roles.split(","))))
    if unknown := set(roles) - set(ROLES):
        sys.exit(f"--roles: {', '.join(sorted(unknown))}: there are {', '.join(ROLES)}")
    center = Center(options.url, options.fingerprint, options.released)
    version = Version(center.manifest(), roles)
    center.warn_of_clock()
    before = LINK.resolve() if LINK.is_symlink() and LINK.exists() else None
    enrolled = (STATE / "enrolment.json").exists()
    right = before == version.folder and version.complete and units_are(units(version.folder, roles))
    runs = right and run("systemctl", "is-active", SERVICE, check=False) == "active"
    did = ([] if right else [f"install {version.build}"]) + ([] if enrolled else ["enrol"])
    did += [] if runs and enrolled else ["start"]
    if options.prepare:
        did = [] if version.complete else [f"make {version.build}"]
        if did and not options.dry_run:
            version.make(center)
        return {"changed": bool(did), "build": version.build, "did": did}
    result: dict[str, object] = {"changed": bool(did), "build": version.build, "did": did}
    if options.dry_run or not did:
        tell("would" if did else "same", what=", ".join(did), build=version.build)
        return result
    if not version.complete:
        version.make(center)
    make_user()
    if not enrolled:
        enrol(options.url, options.fingerprint, version.folder, options.name, token)
    tell("start")
    if LINK.exists() and not LINK.is_symlink():
        before = by_hand()
    wrong = works(version.folder, roles, options.wait)
    if wrong and before and before != version.folder:
        again = works(before, present, options.wait)
        if LINK.resolve() != version.folder:  # a disk that takes nothing may have kept the new one in place
            shutil.rmtree(version.folder, ignore_errors=True)
        key = "not back" if again else "rolled back"
        raise Failure(key, build=version.build, detail=wrong, before=before.name, again=again)
    for folder in LINK.parent.glob(f"{VERSIONS}*"):  # older ones, and what a power cut left unfinished
        if folder not in (version.folder, before) and "by-hand" not in folder.name:
            shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        raise Failure("not delivered", build=version.build, seconds=int(options.wait), detail=wrong)
    tell("done", build=version.build)
    return result


def uninstall(options: argparse.Namespace) -> dict[str, object]:
    """Away with it; identity and spool only with --purge."""
    files = [UNITS / name for name in (SERVICE, PRIVILEGED, TIMER)]
    folders = [LINK, *LINK.parent.glob(f"{VERSIONS}*")]
    state = [STATE, CONFIGURATION] if options.purge else []
    there = [each for each in (*files, *folders, *state) if each.exists() or each.is_symlink()]
    if not there or options.dry_run:
        tell(*(("would",) if there else ("nothing",)), what=", ".join(map(str, there)))
        return {"changed": bool(there)}
    run("systemctl", "disable", "--now", SERVICE, TIMER, check=False)
    for file in files:
        file.unlink(missing_ok=True)
    shutil.rmtree(DROP_INS, ignore_errors=True)
    run("systemctl", "daemon-reload")
    LINK.unlink(missing_ok=True) if LINK.is_symlink() else shutil.rmtree(LINK, ignore_errors=True)
    for folder in folders[1:]:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.purge:
        tell("removed", kept=f"{STATE}, {CONFIGURATION}")
        return {"changed": True}
    for folder in state:
        shutil.rmtree(folder, ignore_errors=True)
    run("userdel", USER, check=False)
    tell("removed all")
    return {"changed": True}


def run(*command: str, check: bool = True) -> str:
    """What it printed, stripped. Raises Failure with what it said when it fails."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=600,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure("command", command=command[0], detail=error) from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failure("command", command=" ".join(command[:3]), detail=printable("; ".join(said[-3:])))
    return done.stdout.strip()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No two installations at once."""
    with Path("/run/haidang-install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failure("running") from error
        yield


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # as the interpreter made it
    parser = argparse.ArgumentParser(prog="haidang.sh", description="Hải Đăng's agent on this machine")
    parser.add_argument("action", nargs="?", choices=("install", "uninstall"), default="install",
                        help="install (also upgrades; the default) or uninstall")  # fmt: skip
    parser.add_argument(
        "--token-file", default="", help="file with the token, removed when it is read (default: the standard input)"
    )
    parser.add_argument("--name", default="", help="name of this agent (default: the host name)")
    parser.add_argument("--roles", help=f"of {', '.join(ROLES)}, separated by commas (default: as they are)")
    parser.add_argument("--wait", type=float, default=90.0, metavar="SECONDS", help="for the first delivery")
    parser.add_argument("--purge", action="store_true", help="uninstall: identity, spool and configuration too")
    parser.add_argument("--prepare", action="store_true", help="only make the version ready: enrol and start nothing")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("--url", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fingerprint", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--released", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.token_file:
        options.token_file = str(Path(options.token_file).absolute())
    os.chdir("/")  # what is run from here on finds nothing in a folder of somebody's
    os.umask(0o022)  # the agent's user must be able to read its program, whatever root is used to
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"  # as after `su`
    try:
        if os.geteuid() != 0:
            raise Failure("not root")
        if not Path("/run/systemd/system").is_dir():
            raise Failure("no systemd")
        with alone():
            result = {"install": install, "uninstall": uninstall}[options.action](options)
    except (Failure, OSError) as failure:
        print(f"Hải Đăng: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
