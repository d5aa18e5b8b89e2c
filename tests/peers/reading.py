"""Our side in these tests: a field client, connected, read, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ullage_protocols.field.base import Identity
from ullage_protocols.field.modbus.bus import BusPool
from ullage_protocols.field.modbus.client import ModbusClient
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at
from ullage_protocols.field.opcua.client import OpcuaClient
from ullage_protocols.field.opcua.spec import OpcuaDevice
from ullage_protocols.sample import Sample

Client = ModbusClient | OpcuaClient


def clock() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def connected(device: ModbusDevice | OpcuaDevice, pool: BusPool | None = None) -> AsyncIterator[Any]:
    """A connected client of ``device``, closed at the end; clients on one serial line have one ``pool``."""
    client = ModbusClient(device, clock, pool) if isinstance(device, ModbusDevice) else OpcuaClient(device, clock)
    await client.connect()
    try:
        yield client
    finally:
        await client.close()


def with_client(device: ModbusDevice | OpcuaDevice, act: Callable[[Any], Awaitable[Any]]) -> Any:
    """Runs ``act`` with a connected client, within 30 s."""

    async def scene() -> Any:
        async with asyncio.timeout(30), connected(device) as client:
            return await act(client)

    return asyncio.run(scene())


def read(device: ModbusDevice | OpcuaDevice, times: int = 1) -> list[Sample]:
    """All samples of the last of ``times`` reads on one connection."""

    async def act(client: Client) -> list[Sample]:
        samples: list[Sample] = []
        for _ in range(times):
            samples = (await client.read()).samples()
        return samples

    return with_client(device, act)


def identity(device: ModbusDevice | OpcuaDevice) -> Identity:
    """What the device says it is."""

    async def act(client: Client) -> Identity:
        return await client.identify()

    return with_client(device, act)


def registers(address: int, count: int, table: str = "holding") -> tuple[ModbusTag, ...]:
    """One uint16 tag a register."""
    return tuple(tag_at(f"{table}.{at}", f"{table}:{at}") for at in range(address, address + count))


def values(samples: list[Sample]) -> list[object]:
    return [sample.value for sample in samples]
