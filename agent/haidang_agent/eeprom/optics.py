"""What a transceiver says of itself, whatever its memory map; and the numbers all maps are made of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

# In all maps: temperatures in 1/256 °C, voltages in 100 µV, bias in 2 µA, power in 0.1 µW.
CELSIUS, VOLTS, AMPERES, MILLIWATTS = 1 / 256, 1e-4, 2e-6, 1e-4

LEVELS = ("high_alarm", "low_alarm", "high_warning", "low_warning")  # in the order of all maps


@dataclass
class Lane:
    """One wavelength or fiber: powers in milliwatts, bias in amperes."""

    receive_power: float | None = None
    transmit_power: float | None = None
    bias: float | None = None


@dataclass
class Optics:
    """`lanes` by name ("" for a transceiver of one); `limits` by quantity and level, in the
    quantity's unit. None where the module does not measure."""

    vendor: str = ""
    part: str = ""
    serial: str = ""
    temperature: float | None = None
    voltage: float | None = None
    lanes: dict[str, Lane] = field(default_factory=dict)
    limits: dict[str, dict[str, float]] = field(default_factory=dict)


class TooShort(Exception):
    """A dump that ends before what its map promises."""


class Memory:
    """Bytes of a module by address. Raises TooShort beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def byte(self, at: int) -> int:
        return self.take(at, 1)[0]

    def take(self, at: int, size: int) -> bytes:
        part = self._data[at : at + size]
        if at < 0 or len(part) < size:
            raise TooShort(f"{len(self._data)} bytes, {at + size} are needed")
        return part

    def unsigned(self, at: int) -> int:
        return int.from_bytes(self.take(at, 2), "big")

    def signed(self, at: int) -> int:
        return int.from_bytes(self.take(at, 2), "big", signed=True)

    def float32(self, at: int) -> float:
        value: float = struct.unpack(">f", self.take(at, 4))[0]
        return value

    def text(self, at: int, size: int) -> str:
        raw = self.take(at, size).decode("latin-1")
        return " ".join("".join(c if c.isprintable() else " " for c in raw).split())

    def limits(self, at: int, meaning: Callable[[int], float], *, signed: bool = False) -> dict[str, float]:
        """Four limits in a row; nothing where all are the same (0, mostly): the module has none."""
        read = self.signed if signed else self.unsigned
        raw = [read(at + 2 * number) for number in range(4)]
        if len(set(raw)) == 1:
            return {}
        return {level: meaning(value) for level, value in zip(LEVELS, raw)}
