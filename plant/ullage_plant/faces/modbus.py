"""A Modbus TCP server over a register image that is asked for at each request.

The image is asked for and sliced without giving up control in between, so one reply never mixes two moments.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from ..errors import PlantError, RefusedWriteError
from .endpoint import Endpoint, claim

_COILS, _DISCRETES, _HOLDING = (1, 5, 15), (2,), (3, 6, 16, 22, 23)

peer: ContextVar[str] = ContextVar("peer", default="unknown")


class Image(Protocol):
    """What a Modbus unit shows: bits and holding registers, and what a write does."""

    coils: int
    discretes: int

    @property
    def holding(self) -> Sequence[range]:
        """The blocks of holding registers that exist."""

    def refresh(self) -> None:
        """Called before every read and write."""

    def silent(self) -> bool:
        """Whether requests are left without an answer."""

    def read_coils(self) -> list[bool]:
        """All coils, from address 0."""

    def read_discretes(self) -> list[bool]:
        """All discrete inputs, from address 0."""

    def read_holding(self, block: range) -> list[int]:
        """The holding registers of one of the blocks in ``holding``."""

    def write_coils(self, address: int, values: list[bool], who: str) -> None:
        """Raises ``RefusedWriteError``."""

    def write_holding(self, address: int, values: list[int], who: str) -> None:
        """Raises ``RefusedWriteError``."""


class _Handler(ServerRequestHandler):
    """One connection: knows who asks, and can keep silent."""

    async def handle_request(self) -> None:
        face: ModbusFace = self.server.face
        if face.image.silent():
            return
        address = self.transport.get_extra_info("peername") if self.transport else None
        peer.set(f"modbus {address[0]}:{address[1]}" if address else "modbus")
        await super().handle_request()  # type: ignore[no-untyped-call]


class _Server(ModbusTcpServer):
    def __init__(self, face: ModbusFace, device: SimDevice, address: tuple[str, int]) -> None:
        super().__init__(device, address=address)
        self.face = face

    def callback_new_connection(self) -> _Handler:
        return _Handler(self, self.trace_packet, self.trace_pdu, self.trace_connect)  # type: ignore[no-untyped-call]


class ModbusFace:
    """Serves ``image`` as unit ``unit``. ``start`` raises ``PlantError`` if the address cannot be had."""

    def __init__(self, image: Image, wanted: Endpoint, unit: int = 1) -> None:
        self.image = image
        self.endpoint = wanted
        self._unit = unit
        self._server: _Server | None = None
        self.reads = 0

    async def start(self) -> None:
        """Listen; ``endpoint`` then holds the port that was chosen."""
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
        self.endpoint = claim(self.endpoint, "Modbus TCP")
        blocks = [
            SimData(block.start, values=[0] * len(block), datatype=DataType.REGISTERS) for block in self.image.holding
        ]
        device = SimDevice(
            self._unit,
            simdata=(
                [SimData(0, values=[False] * max(1, self.image.coils), datatype=DataType.BITS)],
                [SimData(0, values=[False] * max(1, self.image.discretes), datatype=DataType.BITS)],
                blocks,
                [SimData(0, values=[0], datatype=DataType.REGISTERS, readonly=True)],
            ),
            action=self._access,
        )
        self._server = _Server(self, device, (self.endpoint.host, self.endpoint.port))
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as fault:
            raise PlantError(f"cannot listen on {self.endpoint} for Modbus TCP; give another address") from fault

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    async def _access(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called before each reply: bring the registers up to date, or carry out a write."""
        image = self.image
        image.refresh()
        if values is not None:
            try:
                if function in _COILS:
                    image.write_coils(address, [bool(value) for value in values], peer.get())
                elif function in _HOLDING:
                    image.write_holding(address, [int(value) for value in values], peer.get())
            except RefusedWriteError:
                return ExcCodes.ILLEGAL_VALUE
            return None
        self.reads += 1
        if function in _COILS:
            _pack(image.read_coils(), registers, image.coils)
        elif function in _DISCRETES:
            _pack(image.read_discretes(), registers, image.discretes)
        elif function in _HOLDING:
            for block in image.holding:
                if block.start <= address < block.stop:
                    registers[block.start - start : block.stop - start] = image.read_holding(block)
        return None


def _pack(bits: list[bool], registers: list[int], size: int) -> None:
    for index, bit in enumerate(bits[:size]):
        word, place = divmod(index, 16)
        registers[word] = registers[word] | (1 << place) if bit else registers[word] & ~(1 << place)
