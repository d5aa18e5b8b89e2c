"""An OPC UA server with one flat folder of read-only variables ``ns=2;s=<tag>``."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from asyncua import ua
from asyncua.common.callback import CallbackType
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from ..errors import PlantError
from ..tags import NAMESPACE, OpcKind
from .endpoint import Endpoint, claim

Value = float | int | bool | None  # None: no value, reported with a bad status


class OpcUaFace:
    """Serves variables whose values are pushed by ``publish``; never written from outside."""

    def __init__(self, name: str, variables: Iterable[tuple[str, OpcKind]], wanted: Endpoint) -> None:
        self.endpoint = wanted
        self._name = name
        self._kinds = {tag: ua.VariantType[kind] for tag, kind in variables}
        self._ids: dict[str, ua.NodeId] = {}
        self._server: Server | None = None
        self.reads = 0

    @property
    def url(self) -> str:
        """The address that clients use."""
        return f"opc.tcp://{self.endpoint}"

    async def start(self) -> None:
        """Build the address space and listen. Raises ``PlantError`` if the address cannot be had."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
        self.endpoint = claim(self.endpoint, "OPC UA")
        server = Server()
        server.disable_clock()
        # The standard address space is a hundred thousand lasting objects: not worth looking through for garbage.
        gc.disable()
        try:
            await server.init()
            gc.freeze()
        finally:
            gc.enable()
        server.set_endpoint(self.url)
        server.set_server_name(self._name)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        if index != 2:
            raise PlantError(f"the OPC UA namespace got index {index} instead of 2: use the locked version of asyncua")
        folder = await server.nodes.objects.add_object(_node(self._name), self._name)
        for tag, kind in self._kinds.items():
            node = _node(tag)
            await folder.add_variable(node, tag, _blank(kind), kind)
            self._ids[tag] = node
        for asked in (CallbackType.PreRead, CallbackType.ItemSubscriptionCreated):
            server.subscribe_server_callback(asked, self._asked)
        self._server = server
        try:
            await server.start()
        except OSError as fault:
            raise PlantError(f"cannot listen on {self.endpoint} for OPC UA: {fault.strerror}") from fault

    async def stop(self) -> None:
        """Close every session and the listener."""
        if self._server is not None:
            await self._server.stop()

    def _asked(self, event: object, dispatcher: object) -> None:
        self.reads += 1

    async def publish(self, values: Iterable[tuple[str, Value]], time: datetime) -> None:
        """Set values with their source time (aware); None is reported as Bad."""
        if self._server is None:
            raise PlantError("the OPC UA face is not started: call start first")
        stamp = _stamp(time)
        now = _stamp(datetime.now(UTC))
        for tag, value in values:
            kind = self._kinds[tag]
            status = StatusCodes.Bad if value is None else StatusCodes.Good
            await self._server.write_attribute_value(
                self._ids[tag],
                ua.DataValue(
                    ua.Variant(_blank(kind) if value is None else _cast(value, kind), kind),
                    ua.StatusCode(ua.UInt32(status)),
                    SourceTimestamp=stamp,
                    ServerTimestamp=now,
                ),
            )


def _node(tag: str) -> ua.NodeId:
    return ua.NodeId(ua.String(tag), ua.Int16(2))


def _stamp(time: datetime) -> ua.DateTime:
    # asyncua wants UTC without a zone.
    utc = time.astimezone(UTC)
    return ua.DateTime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond)


def _blank(kind: ua.VariantType) -> float | int | bool:
    return _cast(0, kind)


def _cast(value: float, kind: ua.VariantType) -> float | int | bool:
    if kind is ua.VariantType.Boolean:
        return bool(value)
    return float(value) if kind is ua.VariantType.Double else int(value)
