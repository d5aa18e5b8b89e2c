"""A station on the plant network that writes to the line controller: the attacker's or the operator's."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from .errors import PlantError
from .faces.endpoint import Endpoint
from .scenarios import Scenario, Write, setting, writes
from .tags import BY_NAME, CLEAR_FORCES, TAGS, TICK, UNIT, LineState
from .truth import rfc3339

TIMEOUT = 3.0  # s for a connection or an answer
WAIT = 90.0  # s for the line to run again after a reset


class Station:
    """A Modbus connection to the line controller. Every fault is a ``PlantError`` with a clear sentence."""

    def __init__(self, endpoint: Endpoint) -> None:
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
        self._endpoint = endpoint
        self._client = ModbusTcpClient(endpoint.host, port=endpoint.port, timeout=TIMEOUT, retries=0)

    def __enter__(self) -> Station:
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise PlantError(
                f"nobody answers at {self._endpoint} over Modbus: check the address, and that ullage-plant run is up"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def write(self, write: Write) -> str:
        """Carry out one write; returns the time at which it was confirmed."""
        values = list(write.values)
        if write.table == "coil":
            self._ask("write_coils", write.address, [bool(value) for value in values], write.means)
        else:
            self._ask("write_registers", write.address, values, write.means)
        return rfc3339(datetime.now(UTC))

    def state(self) -> LineState:
        """The state that the line controller reports."""
        register = BY_NAME["line.state"].register
        address = register.address if register else 0
        words = self._ask("read_holding_registers", address, None, "line.state").registers
        if len(words) != 1 or words[0] not in LineState._value2member_map_:
            raise PlantError(f"{self._endpoint} reports line state {words}: this is not the plant's line controller")
        return LineState(words[0])

    def _ask(self, method: str, address: int, values: list[Any] | None, means: str) -> Any:  # noqa: ANN401
        call = getattr(self._client, method)
        try:
            reply = call(address, count=1, device_id=UNIT) if values is None else call(address, values, device_id=UNIT)
        except (ModbusException, OSError) as fault:
            raise PlantError(
                f"{self._endpoint} did not answer within {TIMEOUT:g} s ({means}): it is silent or gone; try again"
            ) from fault
        if reply.isError():
            raise PlantError(f"{self._endpoint} refused {means} ({reply}): see the register map in plant/README.md")
        return reply


async def _reports(url: str) -> dict[str, Any]:
    from asyncua.client.client import Client

    async with Client(url, timeout=TIMEOUT) as client:
        nodes = {tag.name: client.get_node(f"ns=2;s={tag.name}") for tag in TAGS if tag.node}
        return {name: await node.read_value() for name, node in nodes.items()}


def reports(endpoint: Endpoint) -> dict[str, Any]:
    """What the tank controller reports over OPC UA. Raises ``PlantError`` if it cannot be asked."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    try:
        return asyncio.run(_reports(f"opc.tcp://{endpoint}"))
    except Exception as fault:  # asyncua raises many kinds, for a peer that is gone as for one that speaks otherwise
        raise PlantError(
            f"{endpoint} does not report the plant's tags over OPC UA ({type(fault).__name__}): check the address"
        ) from fault


def attack(
    endpoint: Endpoint, scenario: Scenario, tag: str | None, value: float | None, tank: Endpoint | None = None
) -> dict[str, Any]:
    """Carry out a scenario; the record says what was written and when, and what ``tank`` reports afterwards."""
    planned = writes(scenario, tag, value)
    with Station(endpoint) as station:
        done = [
            {
                "time": station.write(one),
                "table": one.table,
                "address": one.address,
                "values": one.values,
                "means": one.means,
            }
            for one in planned
        ]
    record: dict[str, Any] = {
        "attack": scenario.name,
        "technique": scenario.technique,
        "technique_name": scenario.technique_name,
        "modbus": str(endpoint),
        "writes": done,
    }
    if tank is not None:
        time.sleep(2 * TICK)  # the tank controller's reports follow within one tick
        record["reported"] = reports(tank)
    return record


def reset(endpoint: Endpoint, wait: float = WAIT) -> dict[str, Any]:
    """The operator restores the setpoints, releases the forces, resets the trip and starts the line.

    A trip is reset only once the level is within its limits: asked for again until it works, for ``wait`` s at most.
    """
    done: list[dict[str, Any]] = []
    with Station(endpoint) as station:

        def write(one: Write) -> None:
            done.append({"time": station.write(one), "means": one.means})

        write(Write("holding", CLEAR_FORCES, (1,), "release every force"))
        for tag in TAGS:
            if tag.writable and tag.register and tag.register.table == "holding" and tag.default is not None:
                write(setting(tag, tag.default))
        until = time.monotonic() + wait
        while station.state() is LineState.TRIPPED:
            if done[-1]["means"] == "line.reset = 1":
                done.pop()
            write(setting(BY_NAME["line.reset"], 1))
            if station.state() is LineState.TRIPPED:
                if time.monotonic() > until:
                    raise PlantError(
                        f"the trip could not be reset within {wait:g} s: the level is still outside its limits; "
                        "wait and reset again"
                    )
                time.sleep(0.25)
        write(setting(BY_NAME["line.run"], 1))
        state = station.state()
    return {"operate": "reset", "modbus": str(endpoint), "state": state.name.lower(), "writes": done}
