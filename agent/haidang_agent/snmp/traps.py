"""The trap receiver: one UDP port, a gate before anything is decoded, pysnmp behind it.

Versions 1, 2c and 3; informs are acknowledged (RFC 3413, section 3.4). A sender is known by its
address, which the registry gives to a device, and must use that device's credential: its version, its
community, or its user at its security level. What came before (RFC 3414, section 3.2.7) is not believed again.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from pyasn1.codec.ber import decoder
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Integer, ObjectIdentifier, OctetString
from pysnmp.carrier.asyncio.dgram import udp, udp6
from pysnmp.entity import config as engine_config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413.ntfrcv import NotificationReceiver
from pysnmp.error import PySnmpError
from pysnmp.proto import rfc1155, rfc1902
from pysnmp.proto.mpmod.rfc3412 import SNMPv3Message
from pysnmp.proto.rfc3411 import CONFIRMED_CLASS_PDUS
from pysnmp.proto.secmod.rfc3414.service import UsmSecurityParameters

from haidang_agent.config import TrapsConfig
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.flood import Gate
from haidang_agent.snmp.fresh import Fresh, Repeated, Strange
from haidang_agent.snmp.session import Value

log = logging.getLogger(__name__)

Bindings = list[tuple[str, Value]]

_AUTH = {
    "": engine_config.USM_AUTH_NONE,
    "md5": engine_config.USM_AUTH_HMAC96_MD5,
    "sha": engine_config.USM_AUTH_HMAC96_SHA,
    "sha224": engine_config.USM_AUTH_HMAC128_SHA224,
    "sha256": engine_config.USM_AUTH_HMAC192_SHA256,
    "sha384": engine_config.USM_AUTH_HMAC256_SHA384,
    "sha512": engine_config.USM_AUTH_HMAC384_SHA512,
}
_PRIVACY = {
    ("", "blumenthal"): engine_config.USM_PRIV_NONE,
    ("des", "blumenthal"): engine_config.USM_PRIV_CBC56_DES,
    ("aes128", "blumenthal"): engine_config.USM_PRIV_CFB128_AES,
    ("aes192", "blumenthal"): engine_config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    ("aes256", "blumenthal"): engine_config.USM_PRIV_CFB256_AES_BLUMENTHAL,
    ("aes192", "cisco"): engine_config.USM_PRIV_CFB192_AES,
    ("aes256", "cisco"): engine_config.USM_PRIV_CFB256_AES,
}
# securityModel of each version (RFC 3411, SnmpSecurityModel), and version in a message (RFC 3584, section 1.1).
_MODELS = {"1": 1, "2c": 2, "3": 3}
_VERSIONS = {"1": 0, "2c": 1, "3": 3}
_RECEIVE_BUFFER_BYTES = 1 << 20
# Engine ids of a device's messages for which keys are held; each costs some.
_ENGINES_A_DEVICE = 2
OUTCOMES = ("accepted", "too_many", "unknown_sender", "refused", "repeated", "malformed")


@dataclass(frozen=True)
class Sender:
    """Whom an address belongs to: the device, the name of its credential."""

    device: str
    credential: str


@dataclass(frozen=True)
class _Message:
    """A datagram under way: what is said of it before it is decoded. Those of version 3 are b"" elsewhere."""

    sender: Sender
    address: str
    credential: Credential
    datagram: bytes
    engine_id: bytes = b""
    boots: int = 0
    seconds: int = 0


class Receiver:
    """Listens from `open()` to `close()`, and says `heard(device, bindings)` of each notification.

    `owner(address)` is whose an address is, or None; `dropped(device)` is said of each datagram above the limit,
    `strange(device)` of one with the device's credential and an engine that is not known as its own.
    `counts` is how many datagrams had which outcome. `fresh` is what came before, also before the last start.
    """

    def __init__(
        self,
        config: TrapsConfig,
        credentials: dict[str, Credential],
        owner: Callable[[str], Sender | None],
        heard: Callable[[str, Bindings], None],
        dropped: Callable[[str], None],
        counts: dict[str, int],
        boots: int,
        engine_id: bytes,
        fresh: Fresh,
        strange: Callable[[str], None] = lambda device: None,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._owner = owner
        self._heard = heard
        self._dropped = dropped
        self.counts = counts
        self._gate = Gate(config.a_second)
        self._fresh = fresh
        self._strange = strange
        self._users = {name: _User(each) for name, each in credentials.items() if each.version == "3"}
        fresh.kin = _kin(self._users)
        # Engine ids of each device; and whose keys pysnmp has for a user of an engine: devices may share names.
        self._engines: dict[str, OrderedDict[bytes, None]] = {}
        self._keys: dict[tuple[bytes, str], str] = {}
        self._message: _Message | None = None
        self._outcome = ""
        self._engine_id = engine_id
        self._engine = _engine(engine_id, boots)
        self._communities = {f"community-{n}": each for n, each in enumerate(_communities(credentials))}
        for name, community in self._communities.items():
            engine_config.add_v1_system(self._engine, name, community)
        # pysnmp's notion of engines' times is one for all devices, and ends after five minutes: ours decides.
        usm = self._engine.security_models[_MODELS["3"]]
        self._pysnmps_times: dict[Any, Any] = usm._SnmpUSMSecurityModel__timeline
        NotificationReceiver(self._engine, self._on_notification)
        self._transport: Any = None

    async def open(self) -> None:
        """Bind the port. Raises OSError."""
        six = ":" in self._config.address
        kind, domain = (udp6.Udp6Transport, udp6.DOMAIN_NAME) if six else (udp.UdpTransport, udp.DOMAIN_NAME)
        receiver = self

        class Gated(kind):  # type: ignore[misc, valid-type]  # pysnmp has no types
            def datagram_received(self, datagram: bytes, address: Any) -> None:
                receiver.take(datagram, address, lambda: self._callback_function(self, address, datagram))

        self._transport = Gated().open_server_mode((self._config.address, self._config.port))
        engine_config.add_transport(self._engine, domain, self._transport)
        self._engine.transport_dispatcher.job_started(1)
        await self._transport._lport
        with contextlib.suppress(OSError):
            at = self._transport.transport.get_extra_info("socket")
            at.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)

    def close(self) -> None:
        """Stop listening."""
        self._engine.close_dispatcher()

    def keep(self, devices: Collection[str]) -> None:
        """Forget all others."""
        self._gate.keep(devices)
        self._fresh.keep(devices)
        for device in [each for each in self._engines if each not in devices]:
            for engine_id in self._engines.pop(device):
                self._forget_keys(engine_id)

    def take(self, datagram: bytes, address: Any, process: Callable[[], None]) -> None:
        """One datagram: counted, and processed if it may be."""
        plain = _plain(address[0])
        sender = self._owner(plain)
        if sender is None:
            self.counts["unknown_sender"] += 1
            return
        # What can't be of this device costs it nothing of what it may send.
        credential = self._credentials.get(sender.credential)
        if credential is None or not _begins_with(datagram, credential):
            self.counts["refused"] += 1
            return
        if not self._gate.admits(sender.device):
            self.counts["too_many"] += 1
            self._dropped(sender.device)
            return
        # No credential fits, or it is no notification: pysnmp drops it without a word.
        self._outcome = "refused"
        self._message = _Message(sender, plain, credential, datagram)
        try:
            if credential.version != "3" or self._meet(self._message):
                process()
        except (PySnmpError, PyAsn1Error):
            self._outcome = "malformed"
        except Exception:  # pysnmp's parsers raise anything for garbage; from the network nothing may end us
            self._outcome = "malformed"
            log.debug("a datagram of %s", sender.device, exc_info=True)
        finally:
            self._message = None
        if self._outcome:
            self.counts[self._outcome] += 1

    def _meet(self, message: _Message) -> bool:
        """Keys are made for the engine that sends (RFC 3414, section 2.6), of this device's user alone. Whether pysnmp
        is to see it."""
        engine_id, boots, seconds, user = _security_parameters(message.datagram)
        if not engine_id:
            self._outcome = ""  # a question after our own engine, which precedes an inform
            return True
        if user != message.credential.user:
            return False
        self._message = replace(message, engine_id=engine_id, boots=boots, seconds=seconds)
        if engine_id != self._engine_id:
            known = self._engines.setdefault(message.sender.device, OrderedDict())
            if engine_id not in known and len(known) >= _ENGINES_A_DEVICE:
                oldest, _ = known.popitem(last=False)
                self._forget_keys(oldest)
            known[engine_id] = None
        self._use_keys(engine_id, message.sender.credential)
        self._pysnmps_times.pop(OctetString(engine_id), None)
        return True

    def _use_keys(self, engine_id: bytes, credential: str) -> None:
        user = self._users[credential]
        if self._keys.get((engine_id, user.name)) == credential:
            return
        if (engine_id, user.name) in self._keys:
            engine_config.delete_v3_user(self._engine, user.name, OctetString(engine_id))
        engine_config.add_v3_user(
            self._engine, user.name, user.auth, user.auth_key, user.privacy, user.privacy_key,
            securityEngineId=OctetString(engine_id),
            authKeyType=engine_config.USM_KEY_TYPE_MASTER, privKeyType=engine_config.USM_KEY_TYPE_MASTER,
        )  # fmt: skip
        self._keys[engine_id, user.name] = credential

    def _forget_keys(self, engine_id: bytes) -> None:
        if not any(engine_id in engines for engines in self._engines.values()):
            for known, name in [key for key in self._keys if key[0] == engine_id]:
                engine_config.delete_v3_user(self._engine, name, OctetString(known))
                del self._keys[known, name]

    def _on_notification(
        self, engine: Any, reference: Any, context_engine: Any, context: Any, bindings: Any, cookie: Any
    ) -> None:
        if self._message is None:  # pysnmp calls this while it processes, never later
            return
        read = [(str(oid), _value(value)) for oid, value in bindings]
        said = engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        try:
            self._outcome = "accepted" if self._is_believed(self._message, said, bytes(context_engine)) else "refused"
        except Repeated:
            self._outcome = "repeated"
        except Strange:
            self._outcome = "refused"
            self._strange(self._message.sender.device)
        if self._outcome == "accepted":
            self._heard(self._message.sender.device, read)

    def _is_believed(self, message: _Message, said: Any, context_engine: bytes) -> bool:
        """Whether what pysnmp found right is also this device's. Raises Repeated, Strange."""
        credential, whose = message.credential, (message.sender.device, message.sender.credential)
        if int(said["securityModel"]) != _MODELS[credential.version]:
            return False
        if credential.version != "3":
            return self._communities.get(str(said["securityName"])) == credential.community
        # pysnmp accepts a known user's name without its password where the sender is authoritative.
        user = self._users[message.sender.credential]
        if str(said["securityName"]) != user.name or int(said["securityLevel"]) != user.level:
            return False
        # Who sends a trap is authoritative, and of an inform who receives it (RFC 3414, section 1.5.1).
        ours, inform = message.engine_id == self._engine_id, said["pdu"].tagSet in CONFIRMED_CLASS_PDUS
        if ours != inform:
            return False
        if user.level == 1:
            return True
        if ours:
            # The engine in an inform is ours; many senders name their own as that of the context.
            if self._fresh.is_anothers(*whose, context_engine):
                return False
        elif not self._fresh.is_new(*whose, message.address, message.engine_id, message.boots, message.seconds):
            return False
        self._fresh.note(*whose, message.datagram)
        return True


class _User:
    """A version 3 user with its keys made of the passwords once (RFC 3414, appendix A.2): ten
    milliseconds, which a sender that changes its engine id with each datagram must not cost us."""

    def __init__(self, credential: Credential) -> None:
        extended = credential.privacy in ("aes192", "aes256")
        self.name = credential.user
        self.level = 3 if credential.privacy else 2 if credential.auth else 1
        self.auth = _AUTH[credential.auth]
        self.privacy = _PRIVACY[credential.privacy, credential.key_extension if extended else "blumenthal"]
        self.auth_key = self.privacy_key = None
        if credential.auth:
            password = OctetString(credential.auth_password)
            self.auth_key = engine_config.AUTH_SERVICES[self.auth].hash_passphrase(password)
        if credential.privacy:
            password = OctetString(credential.privacy_password)
            self.privacy_key = engine_config.PRIV_SERVICES[self.privacy].hash_passphrase(self.auth, password)


def _kin(users: dict[str, _User]) -> dict[str, str]:
    """Name of a credential → the first of those whose messages its key verifies too."""
    first: dict[tuple[object, ...], str] = {}
    return {
        name: first.setdefault((user.name, user.auth, bytes(user.auth_key or b"")), name)
        for name, user in sorted(users.items())
    }


def _engine(engine_id: bytes, boots: int) -> Any:
    """An engine that is the same one after a restart, so that devices may know its id, and that
    keeps nothing in a folder for all (as SnmpEngine does when it is given an id)."""
    engine = SnmpEngine()
    builder = engine.get_mib_builder()
    own_id, own_boots = builder.import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots")
    own_id.syntax = own_id.syntax.clone(engine_id)
    own_boots.syntax = own_boots.syntax.clone(boots)
    engine.snmpEngineID = own_id.syntax
    return engine


def _plain(address: Any) -> str:
    return str(address).removeprefix("::ffff:")


def _communities(credentials: dict[str, Credential]) -> list[str]:
    return sorted({each.community for each in credentials.values() if each.version != "3"})


def _begins_with(datagram: bytes, credential: Credential) -> bool:
    """Whether a message is of the version, and before version 3 of the community, of a credential. (RFC 1157, section
    4; RFC 3412, section 6: a SEQUENCE of the version as INTEGER, then the community as OCTET STRING or a SEQUENCE.)"""
    try:
        message = _content(datagram, 0, 0x30)[0]
        version, end = _content(datagram, message, 0x02)
        if int.from_bytes(datagram[version:end], "big", signed=True) != _VERSIONS[credential.version]:
            return False
        if credential.version == "3":
            return True
        community, end = _content(datagram, end, 0x04)
    except (IndexError, ValueError):
        return False
    return hmac.compare_digest(datagram[community:end], credential.community.encode())


def _content(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the content of the BER element at a place begins and ends. Raises IndexError, ValueError."""
    if data[at] != tag:
        raise ValueError("another tag")
    length, begins = data[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= 4:
            raise ValueError("a length of no bound")
        length, begins = int.from_bytes(data[begins : begins + octets], "big"), begins + octets
    if begins + length > len(data):
        raise ValueError("cut off")
    return begins, begins + length


def _security_parameters(datagram: bytes) -> tuple[bytes, int, int, str]:
    """msgAuthoritativeEngineID (empty in discovery), its boots and time, and msgUserName, of a version 3 message."""
    message, _ = decoder.decode(datagram, asn1Spec=SNMPv3Message())
    parameters, _ = decoder.decode(bytes(message.getComponentByPosition(2)), asn1Spec=UsmSecurityParameters())
    engine_id, boots, seconds, user = (parameters.getComponentByPosition(place) for place in range(4))
    engine_id = bytes(engine_id)
    engine_id = engine_id if 5 <= len(engine_id) <= 32 else b""
    return engine_id, int(boots), int(seconds), bytes(user).decode("utf-8", "replace")


def _value(value: Any) -> Value:
    if isinstance(value, (rfc1155.IpAddress, rfc1902.IpAddress)):
        return str(value.prettyPrint())
    if isinstance(value, OctetString):
        return bytes(value)
    if isinstance(value, Integer):
        return int(value)
    return str(value) if isinstance(value, ObjectIdentifier) else None
