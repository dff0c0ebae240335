"""The family of errors a person is meant to read: what, where, and what to do."""

from __future__ import annotations


class HaidangError(Exception):
    """An error whose text is for a person; command lines print it without a traceback.

    what: what is wrong; where: the file, field, device or address it is wrong at;
    remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class ConfigError(HaidangError):
    """A configuration or registry file says something that can't be used."""
