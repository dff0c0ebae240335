"""SNMP credentials, by name, from a file of their own that only the agent's user may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from haidang_wire.errors import ConfigError

from haidang_agent.config import key, load_tables
from haidang_agent.platform.files import refuse_readable

if TYPE_CHECKING:
    from gufo.snmp.user import User

_AUTH = {
    "md5": "Md5Key", "sha": "Sha1Key", "sha224": "Sha224Key",
    "sha256": "Sha256Key", "sha384": "Sha384Key", "sha512": "Sha512Key",
}  # fmt: skip
_PRIVACY = {"des": "DesKey", "aes128": "Aes128Key", "aes192": "Aes192Key", "aes256": "Aes256Key"}
# Reeder's draft, which Cisco and others use, extends short keys in another way than Blumenthal's.
_EXPANSION = {"blumenthal": "Blumenthal", "cisco": "Cisco"}


@dataclass(frozen=True)
class Credential:
    """One `[NAME]` of the credentials file. What is secret is not shown by repr()."""

    version: str = key("2c", "1, 2c or 3.")
    community: str = field(default="", repr=False, metadata={"doc": "Community (versions 1 and 2c).", "minimum": None})
    user: str = key("", "User name (version 3).")
    auth: str = key("", "Authentication: md5, sha, sha224, sha256, sha384 or sha512; empty for none.")
    auth_password: str = field(default="", repr=False, metadata={"doc": "Its password.", "minimum": None})
    privacy: str = key("", "Privacy: des, aes128, aes192 or aes256; empty for none.")
    privacy_password: str = field(default="", repr=False, metadata={"doc": "Its password.", "minimum": None})
    key_extension: str = key("blumenthal", "How aes192 and aes256 lengthen a short key: blumenthal or cisco.")

    def problem(self) -> str:
        """What is wrong with it, or nothing."""
        if self.version not in ("1", "2c", "3"):
            return f"version must be 1, 2c or 3, not {self.version!r}"
        if self.version != "3":
            return "" if self.community else "community is missing"
        if not self.user:
            return "user is missing"
        for name, known in (("auth", _AUTH), ("privacy", _PRIVACY)):
            kind = getattr(self, name)
            if kind and kind not in known:
                return f"{name} must be one of {', '.join(known)}, not {kind!r}"
            if kind and len(getattr(self, f"{name}_password")) < 8:
                return f"{name}_password must have at least 8 characters (RFC 3414, section 11.2)"
        if self.privacy and not self.auth:
            return "privacy needs auth (RFC 3411, section 3.4.3)"
        return "" if self.key_extension in _EXPANSION else f"key_extension must be one of {', '.join(_EXPANSION)}"

    def snmp_user(self) -> User:
        """The user as the SNMP library wants it (version 3)."""
        from gufo.snmp import user as users

        auth = getattr(users, _AUTH[self.auth])(self.auth_password.encode()) if self.auth else None
        privacy = getattr(users, _PRIVACY[self.privacy])(self.privacy_password.encode()) if self.privacy else None
        return users.User(self.user, auth_key=auth, priv_key=privacy)


def load_credentials(path: Path) -> dict[str, Credential]:
    """The credentials of a file, by name.

    Raises ConfigError with file and key, and for a file that others may read.
    """
    found: dict[str, Credential] = load_tables(path, Credential)
    refuse_readable(path)
    for name, credential in found.items():
        problem = credential.problem()
        if problem:
            raise ConfigError(f"{name}.{problem}", where=str(path))
    return found
