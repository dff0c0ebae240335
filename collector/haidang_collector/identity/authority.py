"""The collector's own certification authority: agents, scrapers, operators, the server itself.

One file, `ca.key`, is all of it, so that a crash leaves one state or the other: the key that issues, its certificate
and, while the CA is being replaced, the certificate of the one before with a certificate of the new key that the old
one signed ("new with old", RFC 4210, section 4.4). Whoever trusts either believes the server. `ca.pem`, for those who
verify, and `server.pem` are made from it.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from haidang_wire import authorities
from haidang_wire.errors import ConfigError, HaidangError

from haidang_collector.identity.files import write_private

_CA_DAYS = 20 * 365
_SERVER_DAYS = 365
# Certificates begin a little in the past, for clocks that are a little behind.
_BACKDATED = timedelta(hours=1)
# CAs begin before there were any: one that is made while the clock is ahead must count when it is right.
_CAS_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
_SCHEME = "haidang"
_BEGIN = b"-----BEGIN CERTIFICATE-----"
KINDS = ("agent", "scraper", "operator")
"""Whom a client certificate may name."""
LONGEST_DAYS = {"agent": 825, "scraper": 1095, "operator": 365}
"""The longest life of each kind. Agents renew by themselves, a scraper is a service beside the collector, and an
operator is a person with a telephone that gets lost."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its life in Unix seconds. `serial` and `authority` (the key that signed it) are hexadecimal."""

    pem: str
    begins: float
    ends: float
    serial: str
    authority: str

    @property
    def issued(self) -> float:
        """When it was made, to a second."""
        return self.begins + _BACKDATED.total_seconds()


@dataclass(frozen=True)
class Presented:
    """What a client's certificate says. That it is ours is verified elsewhere. Times are Unix seconds."""

    serial: str
    kind: str
    name: str
    begins: float
    ends: float
    authority: str

    @property
    def issued(self) -> float:
        """When it was made, to a second."""
        return self.begins + _BACKDATED.total_seconds()


@dataclass(frozen=True)
class Previous:
    """A CA that is being replaced: its certificate, and the new key's that it signed."""

    certificate: x509.Certificate
    successor: x509.Certificate

    @property
    def until(self) -> float:
        """When it ceases to count, in Unix seconds."""
        return self.successor.not_valid_after_utc.timestamp()


@dataclass(frozen=True)
class Next:
    """What the CA will be, and is not before `Authority.take`."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    previous: Previous | None

    @property
    def trusted(self) -> list[str]:
        """Fingerprints of the CAs that will count, the issuing one first."""
        previous = [self.previous.certificate] if self.previous else []
        return [fingerprint(each) for each in (self.certificate, *previous)]


class Authority:
    """Key and certificates of the CA in the state folder, made there the first time."""

    def __init__(self, state_dir: Path, passphrase: bytes | None = None) -> None:
        """Raises ConfigError when the files can't be read or written."""
        self.key_file = state_dir / "ca.key"
        self.certificate_file = state_dir / "ca.pem"
        self.server_file = state_dir / "server.pem"
        self._passphrase = passphrase
        try:
            if not self.key_file.exists():
                self._write(Next(*_new_root(), None))
            self.load()
        except OSError as error:
            raise ConfigError(f"the CA can't be read or made: {error}", where=str(state_dir)) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the CA's key can't be used: {error}",
                where=str(self.key_file),
                remedy="Check ca_key_passphrase_file, or restore the folder from its backup",
            ) from error

    def load(self) -> None:
        """Read the file (again), and make ca.pem of it. Raises OSError, ValueError, TypeError; nothing has changed
        then."""
        read = self._signature()
        key_pem, begin, rest = self.key_file.read_bytes().partition(_BEGIN)
        # A folder of the first version has the certificate beside the key.
        found = x509.load_pem_x509_certificates(begin + rest if begin else self.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_pem, self._passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("not an elliptic curve key")
        if found[0].public_key() != key.public_key() or len(found) not in (1, 3):
            raise ValueError("key and certificates are not of each other")
        self._key, self.certificate = key, found[0]
        self._previous = Previous(found[1], found[2]) if len(found) == 3 else None
        self._read = read
        if not begin:
            self._write(Next(key, self.certificate, None))
            self._read = self._signature()
        self._publish()

    def changed(self) -> bool:
        """Whether the file is another one than was read, or the CA before this one has ended since."""
        return self._signature() != self._read or self._published != self.pem

    def _signature(self) -> tuple[int, int]:
        status = self.key_file.stat()
        return status.st_ino, status.st_mtime_ns

    def _publish(self) -> None:
        self._published = self.pem
        self._version = authorities.version(authorities.split(self._published))
        with_content = self._published.encode()
        if not self.certificate_file.exists() or self.certificate_file.read_bytes() != with_content:
            write_private(self.certificate_file, with_content, mode=0o644, as_folder=True)

    def _write(self, what: Next) -> None:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self._passphrase:
            encryption = serialization.BestAvailableEncryption(self._passphrase)
        others = (what.previous.certificate, what.previous.successor) if what.previous else ()
        content = _private_pem(what.key, encryption) + b"".join(map(_pem, (what.certificate, *others)))
        write_private(self.key_file, content, as_folder=True)

    @property
    def previous(self) -> Previous | None:
        """The CA that is being replaced, while it counts."""
        return self._previous if self._previous and self._previous.until > time.time() else None

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The CAs whose certificates count, the issuing one first."""
        return (self.certificate, *((self.previous.certificate,) if self.previous else ()))

    @property
    def pem(self) -> str:
        """The trusted CAs."""
        return b"".join(map(_pem, self.trusted)).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the issuing CA's certificate, 64 hexadecimal digits: what agents pin."""
        return fingerprint(self.certificate)

    @property
    def version(self) -> str:
        """Names this set of trusted CAs: an agent that has another one renews."""
        return self._version

    @property
    def key_identifier(self) -> str:
        """The key identifier of the CA that issues, as certificates of it name it."""
        return _key_identifier(self.certificate)

    def ends(self) -> dict[str, float]:
        """Key identifier → the time (Unix seconds) until which that trusted CA counts."""
        found = {self.key_identifier: self.certificate.not_valid_after_utc.timestamp()}
        if self.previous:
            found[_key_identifier(self.previous.certificate)] = self.previous.until
        return found

    def successor(self, overlap_days: float) -> Next:
        """The next CA; this one counts for so many days more. Raises HaidangError while one is replaced already.

        The old key signs the new one, and nothing after: it is not kept.
        """
        if self.previous:
            until = datetime.fromtimestamp(self.previous.until).astimezone()
            raise HaidangError(
                f"the CA before this one counts until {until:%Y-%m-%d %H:%M}",
                remedy="Wait, or end it: haidang-collector ca retire",
            )
        key, certificate = _new_root()
        ends = min(datetime.now(UTC) + timedelta(days=overlap_days), self.certificate.not_valid_after_utc)
        return Next(key, certificate, Previous(self.certificate, _root(key, self._key, self.certificate.subject, ends)))

    def without_previous(self) -> Next:
        """This CA alone: the one that was replaced ends now. Raises HaidangError when there is none."""
        if not self.previous:
            raise HaidangError("no CA is being replaced", remedy="Begin with: haidang-collector ca rotate")
        return Next(self._key, self.certificate, None)

    def take(self, what: Next) -> None:
        """Be what was made of this one. Raises HaidangError when the file has changed since, OSError."""
        if self.changed():
            raise HaidangError("another command has changed the CA meanwhile", remedy="See: haidang-collector ca show")
        self._write(what)
        self.load()

    def issue_client(self, request_pem: str, kind: str, name: str, days: float) -> Issued:
        """A client certificate for the key of a request; kind is one of KINDS.

        Nothing else of the request is believed. Raises HaidangError for a request that is none.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
            if not request.is_signature_valid:
                raise ValueError("its signature is not valid")
            key = request.public_key()
        except (ValueError, TypeError, InvalidSignature) as error:
            raise HaidangError(f"the certificate request can't be used: {error}") from error
        uri = x509.UniformResourceIdentifier(f"{_SCHEME}://{kind}/{name}")
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._issue(key, name, [uri], usage, timedelta(days=days))

    def ensure_server(self, names: tuple[str, ...]) -> tuple[float, float]:
        """Make or renew the server's certificate when a third of its life is left, when it has not begun (the clock was
        ahead), when other names are wanted, or when the CA has changed. Returns its life, in Unix seconds."""
        wanted = [_general_name(name) for name in names]
        chain = [self.previous.successor] if self.previous else []
        if self.server_file.exists():
            present, *others = x509.load_pem_x509_certificates(self.server_file.read_bytes())
            alternatives = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            begins, ends = present.not_valid_before_utc.timestamp(), present.not_valid_after_utc.timestamp()
            ours = _issuer_identifier(present) == self.key_identifier and others == chain
            now = time.time()
            if ours and list(alternatives) == wanted and begins <= now < ends - _SERVER_DAYS * 86400 / 3:
                return begins, ends
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issued = self._issue(key.public_key(), names[0], wanted, usage, timedelta(days=_SERVER_DAYS))
        # Without the CA's own certificate: a client that trusts the one before would follow it to nowhere.
        pem = issued.pem.encode() + b"".join(map(_pem, chain)) + _private_pem(key, serialization.NoEncryption())
        write_private(self.server_file, pem, as_folder=True)
        return issued.begins, issued.ends

    def _issue(
        self,
        key: CertificatePublicKeyTypes,
        common_name: str,
        alternatives: list[x509.GeneralName],
        usage: x509.ExtendedKeyUsage,
        life: timedelta,
    ) -> Issued:
        now = datetime.now(UTC)
        signer = self._key  # once: another thread may take over another CA
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(min(now + life, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        return Issued(
            _pem(certificate).decode(),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
            f"{certificate.serial_number:x}",
            _issuer_identifier(certificate),
        )

    def verify(self, certificate: x509.Certificate) -> None:
        """Raises HaidangError unless a trusted CA of ours signed the certificate: for those that a trusted proxy
        passes on (TLS itself checks the others)."""
        signer = _issuer_identifier(certificate)
        for each in self.trusted:
            try:
                if _key_identifier(each) == signer:
                    certificate.verify_directly_issued_by(each)
                    return
            except (ValueError, TypeError, InvalidSignature):
                continue
        raise HaidangError("the client certificate is not of this collector's CA")


def presented(certificate: x509.Certificate) -> Presented | None:
    """What a client's certificate names; None for one that is not for clients or names nothing it may name.

    Raises ValueError for one that can't be understood.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    named = peer_name(names.get_values_for_type(x509.UniformResourceIdentifier))
    if named is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        return None
    return Presented(
        f"{certificate.serial_number:x}",
        *named,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        _issuer_identifier(certificate),
    )


def presented_der(data: bytes) -> Presented | None:
    """The same of DER; None for what can't be understood, too: the CA signed it, but nobody can be told by it."""
    try:
        return presented(x509.load_der_x509_certificate(data))
    except ValueError:
        return None


def peer_name(uris: list[str]) -> tuple[str, str] | None:
    """(kind, name) from the URIs of a certificate's subjectAltName; None when it names
    nothing a certificate may name."""
    for uri in uris:
        kind, _, name = uri.removeprefix(f"{_SCHEME}://").partition("/")
        if uri.startswith(f"{_SCHEME}://") and kind in KINDS and name:
            return kind, name
    return None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, 64 hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def new_key_and_request(name: str) -> tuple[bytes, str]:
    """A private key and a certificate request for it, both PEM (for scrapers and operators)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return (
        _private_pem(key, serialization.NoEncryption()),
        request.public_bytes(serialization.Encoding.PEM).decode(),
    )


def as_pkcs12(key: bytes, certificate: str, name: str, password: str) -> bytes:
    """Key and certificate (PEM) as browsers and telephones import them (PKCS #12, RFC 7292)."""
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return pkcs12.serialize_key_and_certificates(
        name.encode(), private, x509.load_pem_x509_certificate(certificate.encode()), None,
        serialization.BestAvailableEncryption(password.encode()),
    )  # fmt: skip


def _new_root() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    # All have one name: a successor's certificate is then "self-issued" (RFC 5280, section 3.2), which counts in no
    # path length.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hải Đăng CA")])
    return key, _root(key, key, name, datetime.now(UTC) + timedelta(days=_CA_DAYS))


def _root(
    key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, name: x509.Name, ends: datetime
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_CAS_BEGIN)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _key_identifier(authority: x509.Certificate) -> str:
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def _issuer_identifier(certificate: x509.Certificate) -> str:
    try:
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return (named or b"").hex()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
