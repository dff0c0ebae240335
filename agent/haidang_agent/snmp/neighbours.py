"""Who is at the other end of each port: LLDP (IEEE 802.1AB, LLDP-MIB) and CDP (CISCO-CDP-MIB)."""

from __future__ import annotations

from haidang_agent.snmp.device import Device
from haidang_agent.snmp.values import mac, number, text

_LLDP_REMOTE = "1.0.8802.1.1.2.1.4.1.1"
_LLDP_LOCAL_PORT = "1.0.8802.1.1.2.1.3.7.1"
_CDP = "1.3.6.1.4.1.9.9.23.1.2.1.1"
_PORT_ID_MAC = 3  # LldpPortIdSubtype
_CHASSIS_ID_MAC = 4  # LldpChassisIdSubtype


async def read(device: Device) -> list[dict[str, str]]:
    """Each neighbour as protocol, interface (ours), system, chassis, port, port_description (theirs)."""
    return [*await _lldp(device), *await _cdp(device)]


async def _lldp(device: Device) -> list[dict[str, str]]:
    systems = await device.column(f"{_LLDP_REMOTE}.9")
    chassis, chassis_kinds = await device.column(f"{_LLDP_REMOTE}.5"), await device.column(f"{_LLDP_REMOTE}.4")
    if not chassis and not systems:
        return []
    ports, port_kinds = await device.column(f"{_LLDP_REMOTE}.7"), await device.column(f"{_LLDP_REMOTE}.6")
    descriptions = await device.column(f"{_LLDP_REMOTE}.8")
    found = []
    for index in dict.fromkeys([*chassis, *systems]):
        parts = index.split(".")  # lldpRemTimeMark, lldpRemLocalPortNum, lldpRemIndex
        chassis_id, port_id = chassis.get(index), ports.get(index)
        found.append(
            {
                "protocol": "lldp",
                "interface": await _local(device, parts[1]) if len(parts) > 1 else "",
                "system": text(systems.get(index)),
                "chassis": (number(chassis_kinds.get(index)) == _CHASSIS_ID_MAC and mac(chassis_id))
                or text(chassis_id),
                "port": (number(port_kinds.get(index)) == _PORT_ID_MAC and mac(port_id)) or text(port_id),
                "port_description": text(descriptions.get(index)),
            }
        )
    return found


async def _local(device: Device, number_of_port: str) -> str:
    # lldpLocPortNum may be the ifIndex, the bridge port, or neither: its id or description tells.
    for column in (3, 4):
        name = text((await device.column(f"{_LLDP_LOCAL_PORT}.{column}")).get(number_of_port))
        port = await device.port_by_name(name)
        if port:
            return port
    return (
        await device.port_by_bridge_port(number_of_port)
        or (await device.ports()).get(number_of_port)
        or f"port {number_of_port}"
    )


async def _cdp(device: Device) -> list[dict[str, str]]:
    systems, ports = await device.column(f"{_CDP}.6"), await device.column(f"{_CDP}.7")
    names = await device.ports()
    return [
        {
            "protocol": "cdp",
            "interface": names.get(index.partition(".")[0], f"port {index.partition('.')[0]}"),
            "system": text(system),
            "chassis": "",
            "port": text(ports.get(index)),
            "port_description": "",
        }
        for index, system in systems.items()
    ]
