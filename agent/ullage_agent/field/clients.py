"""From a device's configuration to its field client. Each protocol's code is loaded only where a device needs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ullage_protocols.field.base import FieldClient
from ullage_protocols.field.opcua.spec import OpcuaDevice

from ..clock import Clock
from ..config import DeviceConfig
from ..errors import AgentError

if TYPE_CHECKING:
    from ullage_protocols.field.modbus.bus import BusPool


class Clients:
    """Makes the clients of one process: units on one line share what they are reached by."""

    def __init__(self) -> None:
        self._pool: BusPool | None = None

    def client_for(self, device: DeviceConfig, clock: Clock) -> FieldClient:
        """The field client of ``device``. AgentError where a library is missing that it needs."""
        spec = device.spec
        try:
            if isinstance(spec, OpcuaDevice):
                from ullage_protocols.field.opcua.client import OpcuaClient

                return OpcuaClient(spec, clock.now)
            from ullage_protocols.field.modbus.bus import BusPool
            from ullage_protocols.field.modbus.client import ModbusClient
        except ImportError as exc:
            raise AgentError(f"device {device.name}: a library is missing ({exc}); install ullage-agent anew") from exc
        # Its serial transport logs what reaches the agent as an exception anyway.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._pool = self._pool or BusPool()
        return ModbusClient(spec, clock.now, self._pool)
