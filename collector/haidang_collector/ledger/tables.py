"""The tables. A change here comes with a migration (ledger/migrations/versions)."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

MAX_INTEGER = 2**53 - 1
"""What 64 bits hold though a thousand be summed, and every reader of JSON tells apart (RFC 8259, 6)."""

# Times are Unix seconds on the collector's clock, corrected where an agent measured them.

registry = Table(
    "registry",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1: the registry that is in force
    Column("loaded", Float, nullable=False),
    Column("document", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("site", String(63), nullable=False),
    Column("uses_left", Integer),  # NULL: as many as come before it expires
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Float),
)

# `change` grows with each enrolment, move and revocation, so that whoever reads along takes only what is new.
agents = Table(
    "agents",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("site", String(63), nullable=False, index=True),
    Column("token", String(16), nullable=False),
    Column("enrolled", Float, nullable=False),
    Column("certificate_ends", Float, nullable=False),
    Column("stopped", Boolean, nullable=False, default=False),
    Column("revoked", Float),
    Column("change", Integer, nullable=False, index=True, default=0, server_default="0"),
)

# Client certificates that were issued and may still be shown. `authority` is the CA's key identifier (RFC 5280,
# section 4.2.1.2) and `serial` the number, both hexadecimal; `revoked` is from when it is refused.
certificates = Table(
    "certificates",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("name", String(63), nullable=False),
    Column("authority", String(64), nullable=False),
    Column("issued", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
    Column("reason", String(20), nullable=False),
    Column("change", Integer, nullable=False, index=True),
    Index("certificates_of", "kind", "name"),
)

# Certificates of a name issued until then are refused, also those without a row.
revocations = Table(
    "revocations",
    metadata,
    Column("kind", String(10), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("at", Float, nullable=False),
)

# Times whose certificates have no row and count all the same: before there were rows, between a backup and its return.
unlisted = Table(
    "unlisted",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(10), nullable=False),
    Column("issued_from", Float, nullable=False),
    Column("issued_until", Float, nullable=False),
    Column("until", Float, nullable=False),
)

# How many enrolled at a site on a day (days since 1970, UTC); only today's are kept.
enrolments = Table(
    "enrolments",
    metadata,
    Column("site", String(63), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
)

# Which sequences of an agent's epoch are here: bit `sequence % 1024` of chunk `sequence // 1024`.
delivered = Table(
    "delivered",
    metadata,
    Column("agent", String(63), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
    Column("updated", Float, nullable=False),
)

# The current report of each source, from which the exposition is made again after a restart.
latest = Table(
    "latest",
    metadata,
    Column("agent", String(63), primary_key=True),
    Column("source", String(100), primary_key=True),
    Column("taken", Float, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),  # in the order in which they became durable
)

# The time `latest` is dated by: in this boot, the Unix time at which the steady clock says zero.
time_base = Table(
    "time_base",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("boot", String(40), nullable=False),
    Column("anchor", Float, nullable=False),
)

# The last time that was believed, and for how many seconds a clock that is far ahead of it has gone on.
known_time = Table(
    "known_time",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("newest", Float, nullable=False),
    Column("held", Float, nullable=False),
)

# Late reports on their way to remote write.
late = Table(
    "late",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("taken", Float, nullable=False),
    Column("report", LargeBinary, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("agent", String(63), primary_key=True),
    Column("kind", String(100), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("site", String(63), nullable=False),
    Column("body", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("seen", Float, nullable=False),
)

fact_history = Table(
    "fact_history",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(63), nullable=False),
    Column("kind", String(100), nullable=False),
    Column("key", String(200), nullable=False),
    Column("site", String(63), nullable=False),
    Column("body", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Index("fact_history_of", "agent", "kind", "key", "since"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(63), nullable=False),
    Column("site", String(63), nullable=False, index=True),
    Column("kind", String(100), nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("received", Float, nullable=False),
    Column("body", Text, nullable=False),
)

# Reports that were refused, for whoever mends what made them: of each agent, kind of source and reason the last one.
quarantine = Table(
    "quarantine",
    metadata,
    Column("agent", String(63), primary_key=True),
    Column("source", String(32), primary_key=True),
    Column("reason", String(32), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("first", Float, nullable=False),
    Column("last", Float, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("report", LargeBinary, nullable=False),  # compressed; its first 64 KiB
)

# One row a failure. `sites` and `circuits` are JSON lists, `evidence` a JSON list of [English, Vietnamese].
outages = Table(
    "outages",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("kind", String(10), nullable=False),  # site, circuit, center
    Column("site", String(63), nullable=False),
    Column("circuit", String(63), nullable=False),
    Column("started", Float, nullable=False, index=True),
    Column("ended", Float),
    Column("cause", String(20), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("sites", Text, nullable=False),
    Column("circuits", Text, nullable=False),
    Column("officials", Integer, nullable=False),
    Column("planned", Boolean, nullable=False),
    Column("flaps", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("updated", Float, nullable=False),
)

# What an outage was before late reports changed it.
outage_revisions = Table(
    "outage_revisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("outage", String(100), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("cause", String(20), nullable=False),
    Column("evidence", Text, nullable=False),
)

# When each site and circuit was down: what availability is made of.
downtimes = Table(
    "downtimes",
    metadata,
    Column("kind", String(10), primary_key=True),  # site, circuit
    Column("element", String(63), primary_key=True),
    Column("started", Float, primary_key=True),
    Column("ended", Float),
    Column("outage", String(100), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),  # why it ended where nothing was seen of it any more
    Index("downtimes_of_outage", "outage"),
)

# When something told of each site and circuit: the time that availability is of. `says`: see outage/model.py.
measured = Table(
    "measured",
    metadata,
    Column("kind", String(10), primary_key=True),  # site, circuit
    Column("element", String(63), primary_key=True),
    Column("says", String(10), primary_key=True),
    Column("begins", Float, primary_key=True),
    Column("ends", Float, nullable=False, index=True),
)

# Of a site or circuit, announced beforehand.
maintenance = Table(
    "maintenance",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("element", String(63), nullable=False),
    Column("begins", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("text", Text, nullable=False),
    Column("created", Float, nullable=False),
)

# Every change by command or over HTTP. Triggers refuse updates and deletions, see migration 0004.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("kind", String(10), nullable=False),  # operator, command, token, collector
    Column("name", String(63), nullable=False),
    Column("origin", String(200), nullable=False),
    Column("action", String(50), nullable=False),
    Column("object", String(200), nullable=False),
    Column("before", Text),  # JSON, NULL for what was not
    Column("after", Text),
    Index("audit_of_action", "action", "at"),
    sqlite_autoincrement=True,
)

# One row a machine, whatever its name, system, disk or agent is now. What is searched by stands in columns.
machines = Table(
    "machines",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("site", String(63), nullable=False, index=True),
    Column("agent", String(63), nullable=False, index=True),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False, index=True),
    Column("removed", Float),  # taken out of use by an operator
    Column("name", String(200), nullable=False, default=""),
    Column("manufacturer", String(200), nullable=False, default=""),
    Column("model", String(200), nullable=False, default=""),
    Column("serial", String(200), nullable=False, default="", index=True),
    Column("uuid", String(40), nullable=False, default="", index=True),
    Column("machine_id", String(200), nullable=False, default="", index=True),
    Column("chassis", String(20), nullable=False, default="other"),
    Column("system", String(200), nullable=False, default=""),
    Column("version", String(100), nullable=False, default=""),
    Column("support_ends", Float),
    Column("memory_bytes", BigInteger),
    Column("disk_bytes", BigInteger),
    Column("least_free_ratio", Float),
    Column("disks_failing", Integer, nullable=False, default=0),
    Column("antivirus_on", Boolean),
    Column("encrypted", Boolean),
    Column("updates_pending", Integer),
    Column("folded", Text, nullable=False, default=""),  # what texts are looked for in, see inventory/fold.py
    # The machine of another site that this one says it is, and whether that is open or refused (inventory/claims.py).
    Column("claims", Integer, index=True),
    Column("dispute", String(10), nullable=False, default="", server_default=""),
)

machine_macs = Table(
    "machine_macs",
    metadata,
    Column("mac", String(20), primary_key=True),
    Column("machine", Integer, primary_key=True),
    Index("machine_macs_of", "machine"),
)

# The current document of each kind; compressed JSON. Software is in `installed`.
machine_documents = Table(
    "machine_documents",
    metadata,
    Column("machine", Integer, primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("since", Float, nullable=False),
    Column("seen", Float, nullable=False),
)

# Long lists of software (JSON) until they are in rows of `installed`.
software_lists = Table(
    "software_lists",
    metadata,
    Column("machine", Integer, primary_key=True),
    Column("seen", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# What changed, when: `before` and `after` as people read them, empty for what came or went.
machine_changes = Table(
    "machine_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("machine", Integer, nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("what", String(50), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index("machine_changes_of", "machine", "at"),
)

software = Table(
    "software",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(300), nullable=False, index=True),
    Column("version", String(200), nullable=False),
    Column("publisher", String(200), nullable=False),
    Column("source", String(20), nullable=False),
    Column("folded", String(300), nullable=False),
    Index("software_known", "name", "version", "publisher", "source", unique=True),
)

installed = Table(
    "installed",
    metadata,
    Column("machine", Integer, primary_key=True),
    Column("software", Integer, primary_key=True),
    Index("installed_where", "software"),
    sqlite_with_rowid=False,
)

# What probes see on the networks of a site, managed or not.
network_devices = Table(
    "network_devices",
    metadata,
    Column("site", String(63), primary_key=True),
    Column("mac", String(20), primary_key=True),
    Column("address", String(45), nullable=False),
    Column("manufacturer", String(200), nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
)

# What is at the other end of each port, by whom and over what it is said (topology/links.py). `agent` is empty for the
# registry's. Of devices' neighbours there are those of the newest fact alone; `last_seen` is exact to the hour.
links = Table(
    "links",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("agent", String(63), nullable=False),
    Column("source", String(10), nullable=False),  # registry, lldp, cdp, arp, other
    Column("site", String(63), nullable=False),
    Column("device", String(200), nullable=False),
    Column("interface", String(255), nullable=False),
    Column("system", String(255), nullable=False),
    Column("chassis", String(255), nullable=False),
    Column("port", String(255), nullable=False),
    Column("port_description", String(255), nullable=False),
    Column("address", String(45), nullable=False),
    Column("far_site", String(63), nullable=False),
    Column("far_device", String(63), nullable=False),
    Column("circuit", String(63), nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Index("links_of", "agent", "device"),
    Index("links_at", "site", "device"),
)

# The plan's figures of each day: what monthly reports are made of. `site` is empty for a level, `all` for the province.
plan_figures = Table(
    "plan_figures",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("level", String(20), primary_key=True),
    Column("site", String(63), primary_key=True),
    Column("figure", String(30), primary_key=True),
    Column("ratio", Float, nullable=False),
)
