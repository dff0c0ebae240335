"""SFP and SFP+: SFF-8472 (rev 12.4), addresses A0h and A2h one after the other (256 bytes each)."""

from __future__ import annotations

from collections.abc import Callable

from haidang_agent.eeprom.optics import AMPERES, CELSIUS, MILLIWATTS, VOLTS, Lane, Memory, Optics

_A2 = 256
_TYPE = 92  # diagnostic monitoring type, table 8-5
_IMPLEMENTED, _EXTERNALLY_CALIBRATED, _ADDRESS_CHANGE = 0x40, 0x10, 0x04


def decode(memory: Memory) -> Optics:
    """Raises TooShort."""
    optics = Optics(memory.text(20, 16), memory.text(40, 16), memory.text(68, 16))
    kind = memory.byte(_TYPE)
    if not kind & _IMPLEMENTED or kind & _ADDRESS_CHANGE:
        return optics
    calibration = _Calibration(memory) if kind & _EXTERNALLY_CALIBRATED else None

    def linear(at: int, unit: float) -> Callable[[int], float]:
        return lambda raw: (calibration.linear(at, raw) if calibration else raw) * unit

    temperature, voltage = linear(84, CELSIUS), linear(88, VOLTS)
    bias, transmit = linear(76, AMPERES), linear(80, MILLIWATTS)

    def receive(raw: int) -> float:
        return (calibration.receive(raw) if calibration else raw) * MILLIWATTS

    optics.temperature = temperature(memory.signed(_A2 + 96))
    optics.voltage = voltage(memory.unsigned(_A2 + 98))
    optics.lanes[""] = Lane(
        receive_power=receive(memory.unsigned(_A2 + 104)),
        transmit_power=transmit(memory.unsigned(_A2 + 102)),
        bias=bias(memory.unsigned(_A2 + 100)),
    )
    optics.limits = {
        "temperature": memory.limits(_A2, temperature, signed=True),
        "voltage": memory.limits(_A2 + 8, voltage),
        "bias": memory.limits(_A2 + 16, bias),
        "transmit_power": memory.limits(_A2 + 24, transmit),
        "receive_power": memory.limits(_A2 + 32, receive),
    }
    return optics


class _Calibration:
    """Constants of an externally calibrated module (section 9.3): slope and offset, for received power a polynomial."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._receive = [memory.float32(_A2 + at) for at in (72, 68, 64, 60, 56)]

    def linear(self, at: int, raw: int) -> float:
        return raw * self._memory.unsigned(_A2 + at) / 256 + self._memory.signed(_A2 + at + 2)

    def receive(self, raw: int) -> float:
        return sum(factor * float(raw) ** power for power, factor in enumerate(self._receive))
