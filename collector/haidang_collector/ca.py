"""The collector's own certification authority: agents, scrapers, operators, the server itself."""

from __future__ import annotations

import ipaddress
import os
import secrets
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
from haidang_wire.errors import ConfigError, HaidangError

_CA_DAYS = 20 * 365
_SERVER_DAYS = 365
# Certificates begin a little in the past, for clocks that are a little behind.
_BACKDATED = timedelta(hours=1)
_SCHEME = "haidang"
KINDS = ("agent", "scraper", "operator")
"""Whom a client certificate may name."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its life in Unix seconds."""

    pem: str
    begins: float
    ends: float


class Authority:
    """Key and certificate of the CA in the state folder, made there the first time."""

    def __init__(self, state_dir: Path, passphrase: bytes | None = None) -> None:
        """Raises ConfigError when the files can't be read or written."""
        self.key_file = state_dir / "ca.key"
        self.certificate_file = state_dir / "ca.pem"
        self.server_file = state_dir / "server.pem"
        try:
            if not self.key_file.exists():
                self._create(passphrase)
            self._key = _load_key(self.key_file, passphrase)
            self.certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        except OSError as error:
            raise ConfigError(f"the CA can't be read or made: {error}", where=str(state_dir)) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the CA's key can't be used: {error}",
                where=str(self.key_file),
                remedy="Check ca_key_passphrase_file, or restore the folder from its backup",
            ) from error

    def _create(self, passphrase: bytes | None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hải Đăng CA")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=_CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        write_private(self.key_file, _private_pem(key, encryption))

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, 64 hexadecimal digits: what agents pin."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

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

    def ensure_server(self, names: tuple[str, ...]) -> float:
        """Make or renew the server's certificate when a third of its life is left, or when
        other names are wanted. Returns when it ends, in Unix seconds."""
        wanted = [_general_name(name) for name in names]
        if self.server_file.exists():
            present = x509.load_pem_x509_certificate(self.server_file.read_bytes())
            alternatives = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            ends = present.not_valid_after_utc.timestamp()
            if list(alternatives) == wanted and ends - time.time() > _SERVER_DAYS * 86400 / 3:
                return ends
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issued = self._issue(key.public_key(), names[0], wanted, usage, timedelta(days=_SERVER_DAYS))
        pem = issued.pem.encode() + self.pem.encode() + _private_pem(key, serialization.NoEncryption())
        write_private(self.server_file, pem)
        return issued.ends

    def _issue(
        self,
        key: CertificatePublicKeyTypes,
        common_name: str,
        alternatives: list[x509.GeneralName],
        usage: x509.ExtendedKeyUsage,
        life: timedelta,
    ) -> Issued:
        begins = datetime.now(UTC) - _BACKDATED
        ends = datetime.now(UTC) + life
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return Issued(pem, begins.timestamp(), ends.timestamp())

    def verify(self, certificate: x509.Certificate) -> None:
        """Raises HaidangError unless the certificate is ours, for clients, and in its life:
        for certificates that a trusted proxy passes on (TLS itself checks the others)."""
        now = datetime.now(UTC)
        try:
            certificate.verify_directly_issued_by(self.certificate)
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise HaidangError("the client certificate is not of this collector's CA") from error
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise HaidangError("the client certificate is not for clients")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise HaidangError("the client certificate has ended or not begun")


def peer_name(uris: list[str]) -> tuple[str, str] | None:
    """(kind, name) from the URIs of a certificate's subjectAltName; None when it names
    nothing a certificate may name."""
    for uri in uris:
        kind, _, name = uri.removeprefix(f"{_SCHEME}://").partition("/")
        if uri.startswith(f"{_SCHEME}://") and kind in KINDS and name:
            return kind, name
    return None


def write_private(path: Path, content: bytes) -> None:
    """Atomic and durable, mode 0600: a new file of the caller's own, whatever lies there. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    new = f"{path.name}.{secrets.token_hex(8)}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:  # whatever it was, it is raised again
            os.unlink(new, dir_fd=folder)
            raise
        os.fsync(folder)
    finally:
        os.close(folder)


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


def _private_pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _load_key(path: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


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
