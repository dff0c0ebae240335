"""The collector's configuration: a TOML file, decoded and checked by msgspec.

Every key has a default and a line of documentation; docs/collector-configuration.md is
generated from them. Unknown keys and wrong types are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from haidang_wire.errors import ConfigError
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Limits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[limits]`: what one request and one agent may use."""

    body_bytes: Annotated[Positive, Meta(description="Largest request body as sent (compressed).")] = 1_000_000
    decompressed_bytes: Annotated[Positive, Meta(description="Largest request body after decompression.")] = 16_000_000
    reports_a_request: Annotated[Positive, Meta(description="Most reports in one request.")] = 1_000
    samples_a_report: Annotated[Positive, Meta(description="Most samples in one report.")] = 50_000
    label_bytes: Annotated[Positive, Meta(description="Longest label value, in bytes of UTF-8.")] = 512
    documents_a_report: Annotated[Positive, Meta(description="Most facts and most events in one report.")] = 1_000
    series_an_agent: Annotated[
        Positive, Meta(description="Most current series of one agent, and of each device it watches.")
    ] = 50_000
    enrolments_a_site_a_day: Annotated[
        Positive, Meta(description="Most enrolments with tokens of one site in a day (UTC).")
    ] = 500
    waiting_requests: Annotated[
        Positive,
        Meta(description="Most requests that wait to be made durable; beyond it agents are told to come back."),
    ] = 2_000
    waiting_bytes: Annotated[
        Positive,
        Meta(description="Most bytes of requests that are being read or wait, in all; beyond it agents come back."),
    ] = 128_000_000


class Quotas(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[quotas]`: what one agent may use of what is everyone's. docs/security.md says what honest agents need."""

    bytes_a_second: Annotated[
        float,
        Meta(gt=0, description="Bytes of reports a second, decompressed; what is nothing but structure counts more."),
    ] = 1_000_000.0
    burst_bytes: Annotated[Positive, Meta(description="So many of them may come at once.")] = 32_000_000
    reports_a_second: Annotated[float, Meta(gt=0, description="Reports a second.")] = 100.0
    burst_reports: Annotated[Positive, Meta(description="So many of them may come at once.")] = 2_000
    facts_a_second: Annotated[
        float,
        Meta(
            gt=0,
            description="Facts a second; 2,048 bytes of an inventory, 256 of devices on networks, or 20 neighbours count as one.",
        ),
    ] = 20.0
    burst_facts: Annotated[Positive, Meta(description="So many of them may come at once.")] = 1_000
    events_a_day: Annotated[Positive, Meta(description="Events a day; those beyond it are left out.")] = 20_000
    kept_bytes_a_day: Annotated[
        Positive,
        Meta(
            description="Bytes a day that are new in the database for long: events, versions of facts, changes of machines, names of software, devices on networks."
        ),
    ] = 16_000_000
    renewals_a_day: Annotated[Positive, Meta(description="Renewals of a certificate a day.")] = 24
    epochs_a_day: Annotated[
        Positive, Meta(description="Starts of an agent, and blocks of 1,024 sequence numbers, a day.")
    ] = 10_000
    sources: Annotated[Positive, Meta(description="Sources an agent may have reported from lately.")] = 500
    source_bytes: Annotated[
        Positive, Meta(description="Bytes of the newest reports of all its sources, decompressed.")
    ] = 64_000_000
    series_a_day: Annotated[
        Positive, Meta(description="Different series a day (UTC) of one agent itself, and of each device it watches.")
    ] = 100_000
    facts: Annotated[Positive, Meta(description="Current facts of one agent.")] = 5_000
    fact_bytes: Annotated[Positive, Meta(description="Bytes of all current facts of one agent.")] = 8_000_000
    fact_versions: Annotated[
        Positive, Meta(description="Versions of a fact in its history; beyond them the oldest go.")
    ] = 1_000
    link_bytes: Annotated[
        Positive, Meta(description="Bytes of the links of all devices an agent tells of, 200 and its texts for each.")
    ] = 8_000_000
    late_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of `remote_write.queue_bytes` that late reports of one agent may take."),
    ] = 0.1


class DoorSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[door]`: what may be used before anyone is known, and by whom. An unknown peer is one that has shown no
    certificate of this collector's CA."""

    connections: Annotated[
        Positive,
        Meta(description="Most connections; fewer when the process' file limit is lower. Half stays for known peers."),
    ] = 16_384
    unknown_connections: Annotated[
        Positive, Meta(description="Most connections of unknown peers, at most half of all; beyond it the quiet leave.")
    ] = 8_192
    unknown_connections_an_address: Annotated[
        Positive,
        Meta(
            description="Most of them from one address (IPv6: network of 64 bits), at most three quarters of them. Machines behind one address translator count here until their certificate is shown."
        ),
    ] = 6_000
    unknown_requests: Annotated[
        Positive,
        Meta(
            description="Most requests of unknown peers whose headers, and most whose bodies, are being read at once."
        ),
    ] = 1_024
    connections_a_certificate: Annotated[
        Positive, Meta(description="Most connections with the same certificate's name.")
    ] = 16
    handshake_seconds: Annotated[float, Meta(gt=0, description="Time for TLS, from when a connection is accepted.")] = (
        20.0
    )
    idle_seconds: Annotated[
        float, Meta(gt=0, description="How long an unknown peer may say nothing, before its first request too.")
    ] = 5.0
    known_idle_seconds: Annotated[
        float, Meta(gt=0, description="The same of a known one: longer than the agents' interval.")
    ] = 130.0
    header_seconds: Annotated[float, Meta(gt=0, description="Time for a request's headers, from their first byte.")] = (
        10.0
    )
    header_bytes: Annotated[
        Positive, Meta(description="Largest request line and headers together, and trailers of a body.")
    ] = 32_768
    headers: Annotated[Positive, Meta(description="Most headers of a request, and most trailers.")] = 100
    body_seconds: Annotated[float, Meta(gt=0, description="Time for a whole body.")] = 120.0
    body_bytes_a_second: Annotated[Positive, Meta(description="Least rate of a body, over each ten seconds.")] = 1_000
    unread_seconds: Annotated[
        float,
        Meta(gt=0, description="How long an answer may wait for its reader to take the next 100 kB or so."),
    ] = 30.0
    unread_answers: Annotated[
        Positive,
        Meta(description="Most answers that wait for unknown readers; beyond it who has waited longest leaves."),
    ] = 256
    scrapes: Annotated[Positive, Meta(description="Most answers of /metrics that are being read at once.")] = 8
    downloads: Annotated[Positive, Meta(description="Most files of the bundle that are being read at once.")] = 64
    requests_a_second: Annotated[
        float, Meta(gt=0, description="Requests a second of one certificate's name, or of one address without one.")
    ] = 50.0
    burst_requests: Annotated[Positive, Meta(description="So many of them may come at once.")] = 1_000
    enrolment_failures_a_second: Annotated[
        float, Meta(gt=0, description="Failed enrolments an address may go on with, after 30 in a row.")
    ] = 2.0


class Disk(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[disk]`: how much of the state folder's disk stays free. What was refused is taken again with a fifth more."""

    documents_free_bytes: Annotated[
        int, Meta(ge=0, description="With less free, facts and events are left out of reports.")
    ] = 2_000_000_000
    reports_free_bytes: Annotated[
        int, Meta(ge=0, description="With less free, deliveries are refused: agents keep their reports.")
    ] = 500_000_000


class RemoteWrite(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[remote_write]`: where late samples go."""

    url: Annotated[
        str,
        Meta(
            description="Remote write endpoint of Prometheus or a compatible store, `http://127.0.0.1:9090/api/v1/write`; empty: late samples are dropped and counted."
        ),
    ] = ""
    token_file: Annotated[str, Meta(description="File with a bearer token for it, if it wants one.")] = ""
    timeout_seconds: Annotated[float, Meta(gt=0, description="Time limit of a request.")] = 15.0
    queue_bytes: Annotated[
        Positive,
        Meta(description="Most bytes of late reports that wait on disk; beyond it the oldest are dropped and counted."),
    ] = 2_000_000_000


class Outages(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[outages]`: how sure the engine wants to be."""

    hold_seconds: Annotated[
        float, Meta(ge=0, description="How long everything must be well before an outage has ended.")
    ] = 30.0
    flapping_hold_seconds: Annotated[
        float, Meta(ge=0, description="The same of one that came back and was lost again twice or more.")
    ] = 120.0
    sla_judged_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="An SLA is judged, kept or not, when at least this share of the month so far was measured, planned work left out.",
        ),
    ] = 0.95


class Console(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`[console]`: the pages for operators."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(https://[A-Za-z0-9.\-\[\]:]+)?$",
            description="Where browsers find it behind a reverse proxy, as `https://tram.tinh.gov.vn:9443`, if that is neither `public_url` nor one of `names` on port 443: changes are taken from pages of these addresses alone.",
        ),
    ] = ""
    prometheus_url: Annotated[
        str,
        Meta(
            description="The Prometheus that scrapes this collector, as `http://127.0.0.1:9090`: then the status page has the dashboards, too. Empty: none."
        ),
    ] = ""


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    state_dir: Annotated[
        str, Meta(description="Folder of the CA, the keys and the database. Back it up; nobody else may read it.")
    ] = "/var/lib/haidang-collector"
    listen_address: Annotated[str, Meta(description="Address to listen on; `0.0.0.0` or `::` for all.")] = "127.0.0.1"
    listen_port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 8443
    names: Annotated[
        tuple[str, ...],
        Meta(
            description="Host names and addresses under which agents reach the collector; they go into its certificate."
        ),
    ] = ("localhost", "127.0.0.1")
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^(https://[A-Za-z0-9.\-\[\]:]+)?$",
            description="The address machines install the agent from and report to, `https://tram.tinh.gov.vn:8443`. Empty: the first of `names` that is not this machine alone, and `listen_port`.",
        ),
    ] = ""
    bundle_dir: Annotated[
        str,
        Meta(
            description="Folder of an unpacked bundle (`make bundle`): what machines without internet install the agent from. Empty: none is served."
        ),
    ] = ""
    client_certificate_days: Annotated[
        float,
        Meta(gt=0, le=825, description="Life of an agent's certificate; agents renew it when half of it is over."),
    ] = 90.0
    ca_key_passphrase_file: Annotated[
        str,
        Meta(
            description="File with a passphrase that encrypts the CA's private key at rest, for example a systemd credential."
        ),
    ] = ""
    metrics_token_file: Annotated[
        str,
        Meta(
            description="File with a bearer token that opens /metrics and /sd to other machines. Without it only this machine and holders of a scraper's certificate may read them."
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses of reverse proxies that end TLS and pass the client's certificate on in the header Client-Cert (RFC 9440). Empty: such headers are ignored."
        ),
    ] = ()
    scrape_job: Annotated[
        str, Meta(description="The `job` label Prometheus gives to what it scrapes here; late samples carry it too.")
    ] = "haidang"
    scrape_instance: Annotated[
        str, Meta(description="The `instance` label, handed to Prometheus by /sd/collector; late samples carry it too.")
    ] = "collector"
    event_retention_days: Annotated[
        float, Meta(gt=0, description="How long events and the history of facts are kept.")
    ] = 800.0
    audit_retention_days: Annotated[
        float,
        Meta(ge=366, description="How long the audit of changes is kept; the database keeps at least a year of it."),
    ] = 1830.0
    fact_retention_days: Annotated[
        float,
        Meta(
            gt=0,
            description="How long a fact, a link, or a device on a network stays current that nobody reports any more.",
        ),
    ] = 400.0
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"
    limits: Limits = Limits()
    door: DoorSettings = DoorSettings()
    quotas: Quotas = Quotas()
    disk: Disk = Disk()
    remote_write: RemoteWrite = RemoteWrite()
    outages: Outages = Outages()
    console: Console = Console()

    @property
    def url(self) -> str:
        """Where agents find this collector."""
        names = [name for name in self.names if name not in ("localhost", "127.0.0.1", "::1")]
        name = (names or list(self.names))[0]
        return self.public_url or f"https://{f'[{name}]' if ':' in name else name}:{self.listen_port}"


def load_settings(path: Path | None) -> Settings:
    """Read the file at path; None gives all defaults. Raises ConfigError with file and key."""
    if path is None:
        return Settings()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(error), where=str(path), remedy="See docs/collector-configuration.md") from error


def read_secret(path: str) -> bytes | None:
    """The first line of a file that holds a secret; None for no file. Raises ConfigError."""
    if not path:
        return None
    try:
        secret = Path(path).read_bytes().splitlines()[0].strip()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=path) from error
    except IndexError:
        secret = b""
    if not secret:
        raise ConfigError("is empty", where=path, remedy="Put the secret into its first line")
    return secret


def documented_keys(kind: type[msgspec.Struct] = Settings, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every key as (name, type, default, documentation), for the reference."""
    rows = []
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            rows += documented_keys(field.type, f"{prefix}{field.encode_name}.")
            continue
        info = msgspec.json.schema(field.type)
        text = str(info.get("description", ""))
        default = msgspec.json.encode(field.default).decode()
        rows.append((prefix + field.encode_name, str(info.get("type", "")), default, text))
    return rows
