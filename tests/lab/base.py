"""The machines' common base: Debian, made once and kept, and a repository of the packages a data center installs.

The base is bare: systemd, sshd, Python. What a data center needs is installed on the machine, by Ansible, from a
repository on its own disk, since the lab has no internet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

MIRROR = os.environ.get("HAIDANG_LAB_MIRROR", "http://deb.debian.org/debian")
CACHE = Path(os.environ.get("HAIDANG_LAB_CACHE", "/var/cache/haidang-lab"))
RELEASE = "bookworm"
# sudo and curl: an agency's machine has them. snmpd, lldpd: off, but on switches. libfaketime: for wrong clocks.
IN_BASE = (
    "ca-certificates", "curl", "dbus", "iproute2", "iputils-ping", "libfaketime", "lldpd", "nftables", "openssh-server",
    "procps", "python3", "python3-apt", "python3-venv", "snmp", "snmpd", "sudo", "systemd", "systemd-sysv",
)  # fmt: skip
OFF = ("snmpd", "lldpd", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")
IN_REPOSITORY = ("nginx-light", "prometheus", "prometheus-alertmanager")
REPOSITORY = "/srv/packages"
_RECIPE = 3  # another number makes all bases anew


def base() -> Path:
    """Its folder, made if it is not there. AssertionError with the log's path when that fails."""
    recipe = repr((_RECIPE, MIRROR, RELEASE, IN_BASE, OFF, IN_REPOSITORY))
    folder = CACHE / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob("base-*"):
        shutil.rmtree(old)
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", f"--include={','.join(IN_BASE)}", RELEASE, str(new), MIRROR)
    _make_repository(new)
    _run("chroot", str(new), "systemctl", "disable", *OFF)
    _set_up(new)
    new.rename(folder)
    return folder


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with (CACHE / "base.log").open("ab") as log:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    assert done.returncode == 0, f"{command[0]} failed: {CACHE / 'base.log'}"


def _make_repository(root: Path) -> None:
    _run(
        "chroot",
        str(root),
        "apt-get",
        "install",
        "-qq",
        "-y",
        "--no-install-recommends",
        "--download-only",
        *IN_REPOSITORY,
    )
    packages = root / REPOSITORY.lstrip("/")
    packages.mkdir(parents=True)
    index = []
    for deb in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        deb.rename(packages / deb.name)
        control = subprocess.run(
            ["dpkg-deb", "--field", str(packages / deb.name)], capture_output=True, text=True, check=True
        ).stdout
        body = (packages / deb.name).read_bytes()
        checksum = hashlib.sha256(body).hexdigest()
        index.append(f"{control}Filename: ./{deb.name}\nSize: {len(body)}\nSHA256: {checksum}\n")
    (packages / "Packages").write_text("\n".join(index))
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{REPOSITORY} ./\n")
    _run("chroot", str(root), "apt-get", "clean")
    _run("chroot", str(root), "apt-get", "update")


def _set_up(root: Path) -> None:
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (root / "etc/ssh/sshd_config.d/lab.conf").write_text("PermitRootLogin prohibit-password\nUseDNS no\n")
    (root / "etc/machine-id").write_text("")  # each machine gets its own at its first start
    (root / "etc/resolv.conf").write_text("")
    journal = root / "etc/systemd/journald.conf.d"
    journal.mkdir()
    (journal / "lab.conf").write_text("[Journal]\nStorage=persistent\nSystemMaxUse=32M\n")
