"""The province of real machines: installed by Ansible from nothing, and what happens to it then."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, unavailable, wait_for
from tests.lab.lab import Lab, unable
from tests.lab.province import BY_HAND, CENTER, COMMUNES, HOSTS, HUB, TOPOLOGY, Province, make_bundle

pytestmark = [pytest.mark.system, pytest.mark.alone, pytest.mark.timeout(900)]
SCRIPT = "/root/haidang.sh"


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Province]:
    """Bare machines, then one run of each playbook."""
    if reason := unable():
        unavailable(reason)
    folder = tmp_path_factory.mktemp("lab")
    with Lab(TOPOLOGY, folder) as lab:
        made = Province(lab, folder, make_bundle(folder))
        made.write_inventory()
        # Nothing is there yet: it says what it would do, and does nothing.
        made.ansible("datacenter.yml", "--check", "--diff")
        assert not lab[CENTER].file("/opt/haidang-collector").exists()
        made.install()
        yield made


@pytest.fixture(autouse=True)
def well(province: Province) -> Iterator[None]:
    yield
    for machine in province.lab.machines.values():
        if not machine.runs:
            machine.plug()
            machine.wait()
        machine.mend()
    for one, other in TOPOLOGY.fibers:
        province.lab.restore(one, other)


def test_every_agent_is_enrolled_and_live_in_prometheus(province: Province) -> None:
    province.wait_until_live(*HOSTS)
    for name in (CENTER, HUB, *COMMUNES):
        failed = province.lab[name].run("systemctl", "--failed", "--no-legend", "--plain")
        assert failed == "", name
    # The center's probe asks the sites, the switch's agent polls its device, by credentials out of the vault.
    wait_for("sites are reached", lambda: len(province.query("haidang_site_up == 1")) >= len(HOSTS), 60)
    wait_for(
        "the switch is polled", lambda: province.query('haidang_device_up{device="sw-huyen",agent="huyen"} == 1'), 60
    )
    wait_for("an inventory", lambda: province.query("haidang_inventory_machines >= 1"), 90)


def test_root_reads_what_the_agent_may_not(province: Province) -> None:
    """Before the agent starts and once a day; the agent has no rights. There is no firmware here: a program says what
    it would say."""
    machine = province.lab["xa-1"]
    program = machine.file("/usr/sbin/dmidecode")
    program.write_text("#!/bin/sh\n[ $(id -u) = 0 ] && echo 'System Information' && echo '\tSerial Number: PF1ABCDE'\n")
    program.chmod(0o755)
    machine.run("systemctl", "restart", "haidang-agent")
    assert "PF1ABCDE" in machine.run("cat", "/run/haidang-agent/dmidecode")
    assert machine.run("systemctl", "show", "--value", "-p", "User", "haidang-agent") == "haidang-agent"
    (number,) = re.findall(r"\d+", machine.run("systemctl", "show", "--value", "-p", "MainPID", "haidang-agent"))
    rights = machine.run("cat", f"/proc/{number}/status")
    assert int(re.findall(r"CapEff:\s*(\w+)", rights)[0], 16) == 1 << 13  # CAP_NET_RAW alone
    assert machine.run("systemctl", "is-active", "haidang-agent-privileged.timer") == "active"
    # The timer's unit does the same later.
    machine.run("rm", "/run/haidang-agent/dmidecode")
    machine.run("systemctl", "start", "haidang-agent-privileged.service")
    assert "PF1ABCDE" in machine.run("cat", "/run/haidang-agent/dmidecode")
    program.unlink()


def test_a_cut_fiber_is_one_outage_with_its_cause(province: Province) -> None:
    province.wait_until_live(*HOSTS)
    site = 'haidang_outage_open{kind="site",site="xa-3"}'
    port = 'haidang_interface_up{device="sw-huyen",interface="to-xa-3"}'
    wait_for("the switch's port is known", lambda: province.query(f"{port} == 1"), 90)
    province.lab.cut(HUB, "xa-3")
    wait_for("the outage", lambda: province.query(site), 60)
    cause = f'haidang_outage_info{{cause="fiber_cut"}} and on (outage) {site}'
    wait_for("its cause", lambda: province.query(cause), 60)
    assert len(province.query('haidang_outage_open{kind="site"}')) == 1
    wait_for(
        "the page", lambda: province.query('ALERTS{alertname="HaidangSiteDown",alertstate="firing",site="xa-3"}'), 30
    )
    province.lab.restore(HUB, "xa-3")
    wait_for("it is over", lambda: not province.query(site), 120)


def test_nothing_secret_is_readable_or_said(province: Province) -> None:
    for name, file in ((CENTER, "/etc/haidang-collector/ca-passphrase"), (CENTER, "/etc/prometheus/haidang-token"),
                       (CENTER, "/var/lib/haidang-collector/ca.key"), (HUB, "/etc/haidang/snmp.toml"),
                       ("xa-1", "/var/lib/haidang-agent/identity.pem")):  # fmt: skip
        assert province.lab[name].file(file).stat().st_mode & 0o007 == 0, file
    assert b"ENCRYPTED" in province.lab[CENTER].file("/var/lib/haidang-collector/ca.key").read_bytes()
    log = (province.folder / "ansible.log").read_text(encoding="utf-8")
    assert "lab-token-5b1c" not in log
    assert "hd_" not in log  # tokens
    for name in (CENTER, "xa-1"):
        assert "hd_" not in province.lab[name].run("journalctl", "-b", "-o", "cat", "--no-pager")


def test_the_operators_pages_are_behind_the_proxy(province: Province) -> None:
    center = province.lab[CENTER]
    url = f"https://{province.center}"
    assert center.run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/console/") == "401"
    province.collector("operator", "truc-ban", "/var/lib/haidang-collector/operator.pem")
    pem = "/var/lib/haidang-collector/operator.pem"
    page = center.run("curl", "-sk", "--cert", pem, f"{url}/console/?language=vi")
    assert "Trung tâm dữ liệu tỉnh" in page
    # A header that somebody made up is not believed.
    made_up = ["-H", "Client-Cert: :MIIB:"]
    assert center.run("curl", "-sk", *made_up, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/console/") == "401"
    assert center.file("/var/lib/grafana/dashboards/haidang/vi/wall.json").exists()
    assert center.file("/etc/grafana/provisioning/datasources/haidang.yaml").exists()


def test_a_second_run_changes_nothing_and_a_dry_one_sees_nothing_to_do(province: Province) -> None:
    for playbook, arguments in (("datacenter.yml", ()), ("agencies.yml", ("-e", '{"waves": ["100%"]}'))):
        for check in ((), ("--check",)):
            province.ansible(playbook, *arguments, *check)
            assert set(province.changes().values()) == {0}, province.said[-4000:]


def test_units_are_hardened(province: Province) -> None:
    for name, unit, most in ((CENTER, "haidang-collector", 3.0), ("xa-1", "haidang-agent", 3.0)):
        said = province.lab[name].run("systemd-analyze", "security", "--no-pager", f"{unit}.service", check=False)
        exposure = float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0])
        assert exposure < most, said[-300:]


# The one line


def line(province: Province) -> str:
    return province.collector("token", "create", "--site", BY_HAND, "--line")


def test_one_line_installs_upgrades_and_uninstalls(province: Province) -> None:
    machine = province.lab[BY_HAND]
    said = line(province)
    # As on a machine where root's files are nobody else's to read, and after `su`.
    machine.run("sh", "-c", f"umask 077 && PATH=/usr/bin:/bin && cd /root && {said}")
    province.wait_until_live(BY_HAND)
    assert machine.run("systemctl", "is-active", "haidang-agent") == "active"
    assert machine.run("systemctl", "is-enabled", "haidang-agent") == "enabled"
    identity = machine.file("/var/lib/haidang-agent/identity.pem").read_bytes()
    # Again: nothing to do, nothing restarted.
    began = machine.run("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", "haidang-agent")
    again = json.loads(machine.run("sh", "-c", f"sh {SCRIPT} --json 2>/dev/null </dev/null"))
    assert again["changed"] is False
    assert machine.run("systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic", "haidang-agent") == began
    # Away, but for what it is; and back without a token.
    assert "/var/lib/haidang-agent" in machine.run("sh", "-c", f"sh {SCRIPT} uninstall 2>&1")
    assert not machine.file("/opt/haidang").is_symlink()
    assert not list(machine.file("/etc/systemd/system").glob("haidang*"))
    machine.run("sh", "-c", f"sh {SCRIPT} </dev/null 2>&1")
    assert machine.file("/var/lib/haidang-agent/identity.pem").read_bytes() == identity
    # Away with everything; the token is used up.
    machine.run("sh", "-c", f"sh {SCRIPT} uninstall --purge 2>&1")
    assert not machine.file("/var/lib/haidang-agent").exists()
    refused = machine.run("sh", "-c", f"cd /root && {{ {said}; }} 2>&1", check=False)
    assert "enrolment failed" in refused
    assert "token" in refused
    # A new machine under the old name: the data center says so.
    province.collector("agents", "release", BY_HAND)
    machine.run("sh", "-c", f"cd /root && {{ {line(province)}; }} 2>&1")
    province.wait_until_live(BY_HAND)


def test_each_way_to_fail_is_said_clearly(province: Province) -> None:
    machine, center = province.lab[BY_HAND], province.lab[CENTER]
    whole = line(province)

    def script(*before: str, language: str = "C.UTF-8", after: str = "") -> str:
        first = " && ".join(before)
        return machine.run(
            "env",
            f"LC_ALL={language}",
            "sh",
            "-c",
            f"{first or 'true'} && sh {SCRIPT} {after} </dev/null 2>&1",
            check=False,
        )

    # What was fetched is not what the line says.
    wrong = re.sub(r"echo '(.)", lambda first: f"echo '{'0' if first[1] != '0' else '1'}", whole)
    assert "FAILED" in machine.run("sh", "-c", f"cd /root && {{ {wrong}; }} 2>&1", check=False)
    machine.run("sh", "-c", f"cd /root && {{ {whole}; }} 2>&1")
    # No way there: the line itself says what to look at, so does the script.
    machine.ip("address", "flush", "dev", "br0")
    assert "ip route" in machine.run("sh", "-c", f"cd /root && {{ {whole}; }} 2>&1", check=False)
    assert "there is no route to" in script()
    assert "không có đường đến" in script(language="vi_VN.UTF-8")
    machine.move_to(machine.address)
    # The collector does not run.
    center.stop("haidang-collector")
    assert "port 8443 is closed" in script()
    center.run("systemctl", "start", "haidang-collector")
    wait_for("the collector is back", lambda: "closed" not in script(after="--dry-run"), 30)
    # Somebody in between; a firewall; a name.
    assert "another CA" in script(f"sed -i.kept \"s/--fingerprint '[0-9a-f]/--fingerprint 'x/\" {SCRIPT}")
    assert "is not known here" in script(
        f'sed "s#https://[0-9.]*:#https://tram.tinh.invalid:#" {SCRIPT}.kept > {SCRIPT}'
    )
    machine.run("cp", f"{SCRIPT}.kept", SCRIPT)
    # No Python that will do.
    machine.run("sh", "-c", "mkdir -p /root/away && mv /usr/bin/python3* /root/away/")
    try:
        assert "Python 3.9.2 or later is needed" in script()
    finally:
        machine.run("sh", "-c", "mv /root/away/* /usr/bin/")
    # A clock of three years ago is said, and stops nothing.
    library = next(machine.file("/usr/lib").glob("*/faketime/libfaketime.so.1")).relative_to(machine.root)
    said = script(f"export LD_PRELOAD=/{library} FAKETIME=-3y FAKETIME_DONT_FAKE_MONOTONIC=1", after="--dry-run")
    assert "clock is wrong by" in said
    # What came is not what was announced.
    bundle = center.file(f"/opt/haidang-bundles/{province.bundle.stem}")
    wheel = next(bundle.glob("psutil-*.whl"))
    good = wheel.read_bytes()
    machine.run("sh", "-c", f"sh {SCRIPT} uninstall 2>&1")
    try:
        wheel.write_bytes(good[:-1] + b"x")
        assert "is not what the collector announced" in script()
        assert not list(machine.file("/opt").glob("haidang-*"))
    finally:
        wheel.write_bytes(good)
    machine.fill_disk()
    assert "MB free" in script()
    machine.empty_disk()
    assert "runs and delivers" in script()


# What happens to it


def test_power_that_is_cut_during_an_outage_loses_nothing(province: Province) -> None:
    machine = province.lab["xa-2"]
    known = set(province.delivered("xa-2"))
    machine.run("systemctl", "restart", "haidang-agent")  # a life of which everything is this test's
    life = wait_for("it lives anew", lambda: max(set(province.delivered("xa-2")) - known, default=None), 60)
    province.lab.cut(HUB, "xa-2")
    status = machine.file("/var/lib/haidang-agent/status.json")
    waiting = wait_for(
        "reports wait", lambda: n if (n := json.loads(status.read_text())["spool_reports"]) >= 5 else 0, 120
    )
    machine.unplug()
    wait_for("it is missed", lambda: "xa-2" not in province.live(), 180)
    machine.plug()
    machine.wait()
    province.lab.restore(HUB, "xa-2")
    province.wait_until_live("xa-2", seconds=180)
    wait_for("what waited is delivered", lambda: province.delivered("xa-2")[life][0] >= waiting, 120)
    wait_for("nothing is lost", lambda: whole(province, "xa-2", known), 60)
    assert len(set(province.delivered("xa-2")) - known) >= 2  # the life the power cut ended, and the one after it


def other_version(province: Province, version: str, change: str = "") -> Path:
    """A bundle of another version of the agent; `change` is put into its service."""
    source = province.folder / f"source-{version}"
    if not source.exists():
        ignored = shutil.ignore_patterns(".*", "node_modules", "__pycache__", "dist", "tests", "bench")
        shutil.copytree(ROOT, source, ignore=ignored)
        file = source / "wire/haidang_wire/__init__.py"
        file.write_text(re.sub(r'__version__ = "[^"]+"', f'__version__ = "{version}"', file.read_text()))
        service = source / "agent/haidang_agent/service.py"
        service.write_text(service.read_text() + change)
    return make_bundle(province.folder, source)


def test_an_upgrade_goes_in_waves_and_is_taken_back_where_it_fails(province: Province) -> None:
    province.wait_until_live(*HOSTS)
    identities = {name: identity(province, name) for name in HOSTS}
    known = {name: set(province.delivered(name)) for name in HOSTS}
    old = version(province, "xa-1")
    # A version that does not run: the one before runs again, and says so.
    broken = "\n\ndef _broken(self):\n    raise SystemExit('a defect')\n\n\nService.run = _broken\n"
    province.bundle = other_version(province, "0.1.1", broken)
    province.ansible("datacenter.yml", "--limit", "collector")
    said = province.ansible("agencies.yml", "--limit", "xa-1", fails=True)
    assert "did not work" in said
    assert "runs again" in said
    assert version(province, "xa-1") == old
    province.wait_until_live("xa-1")
    # What fails half-way through the change is taken back as well.
    systemctl = province.lab["xa-1"].file("/usr/local/bin/systemctl")
    once = 'if [ "$1" = enable ] && mkdir /root/failed; then echo the disk is worn out >&2; exit 1; fi'
    systemctl.write_text(f'#!/bin/sh\n{once}\nexec /usr/bin/systemctl "$@"\n')
    systemctl.chmod(0o755)
    try:
        said = province.ansible("agencies.yml", "--limit", "xa-1", fails=True)
    finally:
        systemctl.unlink()
    assert re.search(r"worn out.{,1000}runs again", said, re.DOTALL), said[-3000:]
    assert version(province, "xa-1") == old
    province.wait_until_live("xa-1")
    # A good one, and a machine that can't take it: its wave is the last, and it is named.
    province.bundle = other_version(province, "0.1.2")
    province.ansible("datacenter.yml", "--limit", "collector")
    province.lab["xa-2"].fill_disk()
    waves = ("-e", '{"waves": [1, 3, "100%"]}')
    said = province.ansible("agencies.yml", *waves, fails=True)
    assert re.search(r"fatal: \[xa-2\].{,1000}MB free", said, re.DOTALL), said[-3000:]
    assert set(province.changes()) == {CENTER, HUB, "xa-1", "xa-2"}
    assert [version(province, name) for name in (CENTER, "xa-2", "xa-4")] == ["0.1.2", old, old]
    # It has room again: the rest follows.
    province.lab["xa-2"].mend()
    province.ansible("agencies.yml", *waves)
    province.wait_until_live(*HOSTS)
    assert {version(province, name) for name in HOSTS} == {"0.1.2"}
    assert {name: identity(province, name) for name in HOSTS} == identities
    # Collector and agents were restarted; every report of every life has arrived.
    wait_for("nothing is lost", lambda: all(whole(province, name, known[name]) for name in HOSTS), 60)


def test_a_collector_that_is_destroyed_is_restored_and_nobody_enrols_again(province: Province) -> None:
    province.wait_until_live(*HOSTS)
    agents = [name for name in HOSTS if name != CENTER]
    identities = {name: identity(province, name) for name in agents}
    province.ansible("backup.yml", "-e", f"backup_folder={province.folder / 'backups'}")
    (backup,) = (province.folder / "backups").iterdir()
    assert backup.stat().st_mode & 0o077 == 0
    province.lab.replace(CENTER)
    province.ansible("restore.yml", "-e", f"backup={backup}")
    province.wait_until_live(*agents, seconds=180)
    assert {name: identity(province, name) for name in agents} == identities
    # The probe at the center lived on the machine that is gone: a new one takes over its name.
    province.ansible("agencies.yml")
    province.wait_until_live(CENTER)


def whole(province: Province, agent: str, known: set[int]) -> bool:
    """Whether of each of its lives but those every report has arrived; their numbers begin with 1."""
    lives = province.delivered(agent)
    return all(count == last for epoch, (count, last) in lives.items() if epoch not in known)


def identity(province: Province, name: str) -> str:
    return hashlib.sha256(province.lab[name].file("/var/lib/haidang-agent/identity.pem").read_bytes()).hexdigest()


def version(province: Province, name: str) -> str:
    return province.lab[name].run("/opt/haidang/bin/haidang-agent", "--version")
