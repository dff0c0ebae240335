"""The CAs an agent trusts: one, or two while the collector's CA is being replaced. PEM in a file and in answers."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable

MOST_AUTHORITIES = 4
MOST_BYTES = 16 * 1024
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?")


def split(text: str) -> list[str]:
    """Each certificate (PEM) of a text. Raises ValueError when there is none, too much, or anything else in it."""
    found = _CERTIFICATE.findall(text) if len(text) <= MOST_BYTES else []
    if not 1 <= len(found) <= MOST_AUTHORITIES or _CERTIFICATE.sub("", text).strip():
        raise ValueError("not certificates of CAs")
    return [each.strip() + "\n" for each in found]


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, 64 hexadecimal digits: what tokens name. Raises ValueError."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def version(pems: Iterable[str]) -> str:
    """Names a set of CAs: 16 hexadecimal digits, whatever their order. Raises ValueError."""
    return hashlib.sha256(" ".join(sorted(map(fingerprint, pems))).encode()).hexdigest()[:16]
