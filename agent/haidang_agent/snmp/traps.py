"""The trap receiver: one UDP port, a gate before anything is decoded, pysnmp behind it.

Versions 1, 2c and 3; informs are acknowledged (RFC 3413, section 3.4). A sender is known by its
address, which the registry gives to a device, and must use a credential of this machine's file.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
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
from pysnmp.proto.secmod.rfc3414.service import UsmSecurityParameters

from haidang_agent.config import TrapsConfig
from haidang_agent.snmp.credentials import Credential
from haidang_agent.snmp.flood import Gate
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
_RECEIVE_BUFFER_BYTES = 1 << 20
# Engine ids a device's messages may bring; each costs keys for every user.
_ENGINES_A_DEVICE = 2
OUTCOMES = ("accepted", "too_many", "unknown_sender", "refused", "malformed")


class Receiver:
    """Listens from `open()` to `close()`, and says `heard(device, bindings)` of each notification.

    `owner(address)` is the device an address belongs to, or None; `dropped(device)` is said of each
    datagram above the limit. `counts` is how many datagrams had which outcome.
    """

    def __init__(
        self,
        config: TrapsConfig,
        credentials: dict[str, Credential],
        owner: Callable[[str], str | None],
        heard: Callable[[str, Bindings], None],
        dropped: Callable[[str], None],
        counts: dict[str, int],
        boots: int,
        engine_id: bytes,
    ) -> None:
        self._config = config
        self._owner = owner
        self._heard = heard
        self._dropped = dropped
        self.counts = counts
        self._gate = Gate(config.a_second)
        self._users = [_User(each) for each in credentials.values() if each.version == "3"]
        self._levels = {user.name: user.level for user in self._users}
        self._engines: dict[str, OrderedDict[bytes, None]] = {}
        self._answered = False
        self._engine_id = engine_id
        self._engine = _engine(engine_id, boots)
        for number, credential in enumerate(c for c in credentials.values() if c.version != "3"):
            engine_config.add_v1_system(self._engine, f"community-{number}", credential.community)
        self._add_users(None)
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

    def take(self, datagram: bytes, address: Any, process: Callable[[], None]) -> None:
        """One datagram: counted, and processed if it may be."""
        device = self._owner(str(address[0]).removeprefix("::ffff:"))
        if device is None:
            self.counts["unknown_sender"] += 1
            return
        if not self._gate.admits(device):
            self.counts["too_many"] += 1
            self._dropped(device)
            return
        self._answered = False
        try:
            self._answered = not self._meet(device, datagram)
            process()
        except (PySnmpError, PyAsn1Error):
            self.counts["malformed"] += 1
            return
        except Exception:  # pysnmp's parsers raise anything for garbage; from the network nothing may end us
            self.counts["malformed"] += 1
            log.debug("a datagram of %s", device, exc_info=True)
            return
        if not self._answered:
            # No credential fits, or it was no notification; pysnmp drops it without a word.
            self.counts["refused"] += 1

    def _meet(self, device: str, datagram: bytes) -> bool:
        """Keys are made for the engine that sends (RFC 3414, section 2.6): for each new one, users
        are added. False for a question after our own engine, which precedes an inform."""
        engine_id = _sending_engine(datagram) if self._users else None
        if not engine_id:
            return engine_id is None
        known = self._engines.setdefault(device, OrderedDict())
        if engine_id in known or engine_id == self._engine_id:
            return True
        if len(known) >= _ENGINES_A_DEVICE:
            oldest, _ = known.popitem(last=False)
            if not any(oldest in engines for engines in self._engines.values()):
                for user in self._users:
                    engine_config.delete_v3_user(self._engine, user.name, OctetString(oldest))
        known[engine_id] = None
        self._add_users(engine_id)
        return True

    def _add_users(self, engine_id: bytes | None) -> None:
        for user in self._users:
            engine_config.add_v3_user(
                self._engine, user.name, user.auth, user.auth_key, user.privacy, user.privacy_key,
                securityEngineId=None if engine_id is None else OctetString(engine_id),
                authKeyType=engine_config.USM_KEY_TYPE_MASTER, privKeyType=engine_config.USM_KEY_TYPE_MASTER,
            )  # fmt: skip

    def _on_notification(
        self, engine: Any, reference: Any, context_engine: Any, context: Any, bindings: Any, cookie: Any
    ) -> None:
        self._answered = True
        said = engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        # pysnmp accepts a known user's name without its password where the sender is authoritative.
        if int(said["securityModel"]) == 3 and int(said["securityLevel"]) < self._levels.get(
            str(said["securityName"]), 3
        ):
            self.counts["refused"] += 1
            return
        device = self._owner(str(said["transportAddress"][0]).removeprefix("::ffff:"))
        if device is not None:
            self.counts["accepted"] += 1
            self._heard(device, [(str(oid), _value(value)) for oid, value in bindings])


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


def _sending_engine(datagram: bytes) -> bytes | None:
    """msgAuthoritativeEngineID of a version 3 message, empty in discovery; None for other versions."""
    if datagram[:1] != b"\x30" or b"\x02\x01\x03" not in datagram[:8]:
        return None
    message, _ = decoder.decode(datagram, asn1Spec=SNMPv3Message())
    parameters, _ = decoder.decode(bytes(message.getComponentByPosition(2)), asn1Spec=UsmSecurityParameters())
    engine_id = bytes(parameters.getComponentByPosition(0))
    return engine_id if 5 <= len(engine_id) <= 32 else b""


def _value(value: Any) -> Value:
    if isinstance(value, (rfc1155.IpAddress, rfc1902.IpAddress)):
        return str(value.prettyPrint())
    if isinstance(value, OctetString):
        return bytes(value)
    if isinstance(value, Integer):
        return int(value)
    return str(value) if isinstance(value, ObjectIdentifier) else None
