"""Opens the connection to a device: TCP, TLS with certificates on both sides, RTU over TCP, or a serial line."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from ullage_protocols.field.errors import FieldError, RefusedError, SilentError
from ullage_protocols.field.modbus.exchange import Link
from ullage_protocols.field.modbus.rtu import silence
from ullage_protocols.field.modbus.rtu_link import RtuLink
from ullage_protocols.field.modbus.socket_transport import connect
from ullage_protocols.field.modbus.spec import ModbusDevice
from ullage_protocols.field.modbus.tcp_link import TcpLink


async def open_link(device: ModbusDevice) -> Link:
    """A fresh connection, within the device's timeout. Raises FieldError with the cause."""
    serial = device.protocol == "modbus-rtu"
    try:
        async with asyncio.timeout(device.timeout):
            return await (_serial(device) if serial else _network(device))
    except (OSError, ValueError, RuntimeError) as error:
        cause = "no connection within the timeout" if isinstance(error, TimeoutError) else str(error)
        advice = (
            "check the port's name, its cable and the right to use it" if serial
            else "check certificates, server name and clock" if isinstance(error, ssl.SSLError)
            else "check address, port and network"
        )  # fmt: skip
        verb = "open" if serial else "connect to"
        family = SilentError if isinstance(error, TimeoutError) else RefusedError
        raise family(f"device {device.name}: cannot {verb} {device.where}: {cause}; {advice}") from error


async def _network(device: ModbusDevice) -> Link:
    loop = asyncio.get_running_loop()
    if device.protocol == "modbus-tcp":
        link = TcpLink(loop)
        await connect(loop, device.host, device.port, link)
        return link
    other = RtuLink(loop, 0.0) if device.rtu else TcpLink(loop)
    secured = device.protocol == "modbus-tls"
    await loop.create_connection(
        lambda: cast(asyncio.BaseProtocol, other),
        device.host,
        device.port,
        ssl=trust(device) if secured else None,
        server_hostname=(device.server_name or device.host) if secured else None,
    )
    return other


def trust(device: ModbusDevice) -> ssl.SSLContext:
    """Whom to believe and who we are; nothing below TLS 1.2 (Modbus/TCP Security, 5.1)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    doing = f"ca {device.ca}"
    try:
        context.load_verify_locations(device.ca)
        doing = f"certificate {device.certificate} with key {device.key}"
        # An empty password, so that an encrypted key is an error and no question on a terminal.
        context.load_cert_chain(str(device.certificate), device.key, password="")
    except OSError as error:
        raise ValueError(f"{doing} cannot be used: {error.strerror or error}") from error
    return context


async def _serial(device: ModbusDevice) -> Link:
    try:  # the one place that needs pymodbus and pyserial: an agent without a serial line never loads them
        import termios

        from pymodbus.transport.serialtransport import create_serial_connection
    except ImportError as error:
        raise FieldError(
            f"device {device.name}: a serial line needs pymodbus and pyserial ({error}); install ullage-agent[modbus]"
        ) from error
    loop = asyncio.get_running_loop()
    link = RtuLink(loop, silence(device.baud))
    try:
        await create_serial_connection(
            loop,
            lambda: link,
            device.serial,
            baudrate=device.baud,
            bytesize=8,
            parity=device.parity[0].upper(),
            stopbits=device.stop_bits,
            timeout=0,
        )
    except termios.error as error:  # which is no OSError
        raise ValueError(f"it does not take {device.baud} baud, {device.parity} parity: {error}") from error
    await link.made.wait()
    return link
