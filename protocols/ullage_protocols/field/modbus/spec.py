"""What to read from a Modbus unit, and on which way it is reached: tags and devices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from ullage_protocols.field.errors import SpecError
from ullage_protocols.field.modbus.addresses import BIT_TABLES, LAST_ADDRESS, TABLES, Table, parse_address

TagType = Literal[
    "bit", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
    "bcd16", "bcd32", "string",
]  # fmt: skip
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
Half = Literal["low", "high"]
Protocol = Literal["modbus-tcp", "modbus-tls", "modbus-rtu", "modbus-rtu-tcp"]
Parity = Literal["even", "odd", "none"]

TYPES: tuple[str, ...] = get_args(TagType)
ORDERS: tuple[str, ...] = get_args(Order)
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
PARITIES: tuple[str, ...] = get_args(Parity)
MAX_REGISTERS = 125
"""The most registers one read request may ask for (Modbus Application Protocol V1.1b3, 6.3 and 6.4)."""
MAX_BITS = 2000
"""The most coils or discrete inputs one read request may ask for (the same, 6.1 and 6.2)."""
MAX_IN_FLIGHT = 16
"""The most transactions that a Modbus/TCP client may have open (Messaging on TCP/IP V1.0b, 4.4.1.2)."""

_WIDTHS = {
    "bit": 1, "int8": 1, "uint8": 1, "int16": 1, "uint16": 1, "bcd16": 1, "int32": 2, "uint32": 2, "float32": 2,
    "bcd32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
_PLAIN = frozenset({"bit", "string"})
"""Types that are no numbers: without scale, offset and sentinels."""


@dataclass(frozen=True, slots=True)
class ModbusTag:
    """One named point.

    ``address`` is zero-based. ``order`` names the bytes as they arrive, most significant first being ABCD;
    CDAB swaps words, BADC the bytes within each word, DCBA both (64-bit types and strings alike: all words reversed).
    ``bit`` picks one bit (0 is the least significant) of a register and goes with type "bit"; ``byte`` the "low"
    (default) or "high" half of a register and goes with int8 and uint8. ``length`` is a string's, in registers.
    The value is ``raw * scale + offset``; with 1 and 0 an integer stays an integer. ``none`` are raw values, before
    scale and as they stand unsigned in the registers, that say "not implemented". ``unit`` is the unit of measure.
    ``enum`` names values: see ``named``.
    """

    name: str
    table: Table
    address: int
    type: TagType = "uint16"
    order: Order = "ABCD"
    bit: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    group: int = 0
    byte: Half = "low"
    length: int = 0
    unit: str = ""
    none: tuple[int, ...] = ()
    enum: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        where = f"tag {self.name!r}"
        if not self.name:
            raise SpecError("a Modbus tag has no name; give it one")
        for word, value, known in (
            ("table", self.table, TABLES),
            ("type", self.type, TYPES),
            ("order", self.order, ORDERS),
            ("byte", self.byte, get_args(Half)),
        ):
            if value not in known:
                raise SpecError(f"{where}: {word} {value!r} is unknown; one of {', '.join(known)}")
        self._check_length(where)
        if not _is_int(self.address) or not 0 <= self.address <= LAST_ADDRESS - self.width + 1:
            raise SpecError(
                f"{where}: address {self.address!r} with {self.width} register(s) does not fit the table"
                f" (zero-based 0 to {LAST_ADDRESS})"
            )
        self._check_bit(where)
        if not math.isfinite(self.scale) or not math.isfinite(self.offset) or self.scale == 0:
            raise SpecError(f"{where}: scale must be finite and not 0, offset finite")
        if self.type in _PLAIN and (self.scale != 1 or self.offset != 0 or self.none):
            raise SpecError(f"{where}: a {self.type} has neither scale nor offset nor 'none'; remove them")
        if over := [value for value in self.none if not 0 <= value < 1 << self.bits]:
            raise SpecError(f"{where}: none {over[0]:#x} does not fit the {self.bits} bits of {self.type}")
        if self.enum and self.type == "string":
            raise SpecError(f"{where}: enum names numbers, a string has none; remove it")

    def _check_length(self, where: str) -> None:
        if self.type == "string":
            if not _is_int(self.length) or not 1 <= self.length <= MAX_REGISTERS:
                raise SpecError(f"{where}: a string needs 'length', its registers, from 1 to {MAX_REGISTERS}")
        elif self.length:
            raise SpecError(f"{where}: 'length' goes with type 'string', not {self.type!r}")
        if self.byte != "low" and self.type not in ("int8", "uint8"):
            raise SpecError(f"{where}: 'byte' goes with types int8 and uint8, not {self.type!r}")

    def _check_bit(self, where: str) -> None:
        if self.table in BIT_TABLES:
            if self.type != "bit" or self.bit is not None:
                raise SpecError(f"{where}: a {self.table} is one bit; give it type 'bit' and no 'bit' number")
        elif self.type == "bit":
            if not _is_int(self.bit) or not 0 <= cast(int, self.bit) <= 15:
                raise SpecError(f"{where}: type 'bit' in a register needs 'bit' from 0 (least significant) to 15")
        elif self.bit is not None:
            raise SpecError(f"{where}: 'bit' goes with type 'bit', not {self.type!r}")

    @property
    def width(self) -> int:
        """How many registers (or bits, in the bit tables) the tag takes."""
        return self.length if self.type == "string" else _WIDTHS[self.type]

    @property
    def bits(self) -> int:
        """How many bits the raw value has."""
        return 8 if self.type in ("int8", "uint8") else 16 * self.width

    def named(self, value: object) -> str:
        """What ``enum`` calls ``value``; empty where it has no name."""
        return next((name for number, name in self.enum if number == value), "")


def tag_at(
    name: str,
    address: str,
    type: str | None = None,
    *,
    table: str = "",
    order: str = "ABCD",
    bit: int | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    group: int = 0,
    byte: str = "low",
    length: int = 0,
    unit: str = "",
    none: int | str | Sequence[int | str] = (),
    enum: Mapping[str, str] | None = None,
) -> ModbusTag:
    """A tag from configuration text. Without ``type``: bit where a bit is addressed, else uint16.

    ``none`` is one raw value or several, each a number or text such as "0x8000"; a negative one is meant as the
    two's complement of the tag's bits. ``enum`` is numbers, as text, to names.
    """
    where = f"tag {name!r}"
    try:
        place, number = parse_address(address, table)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    if type is None:
        type = "bit" if place in BIT_TABLES or bit is not None else "uint16"
    bits = 8 if type in ("int8", "uint8") else 16 * _WIDTHS.get(type, 1)
    sentinels = tuple(
        _whole(f"{where}: none", value) for value in (none if isinstance(none, list | tuple) else (none,))
    )
    return ModbusTag(
        name, place, number, cast(TagType, type), cast(Order, order), bit, scale, offset, group, cast(Half, byte),
        length, unit, tuple(value + (1 << bits) if -(1 << bits - 1) <= value < 0 else value for value in sentinels),
        tuple((_whole(f"{where}: enum", key), str(label)) for key, label in (enum or {}).items()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModbusDevice:
    """One unit, and how it is reached: TCP, TLS and RTU over TCP by ``host`` and ``port``, RTU by ``serial``.

    ``timeout`` (seconds) bounds the connect and each request. ``max_registers`` and ``max_gap`` (registers)
    bound a merged read; a device that dislikes merged reads gets ``max_gap=0``. ``in_flight`` requests may be out at
    once (TCP and TLS). ``share``: units behind one gateway share its connection and are asked in turn; those on one
    serial line always do. ``serial`` is a port such as /dev/ttyUSB0 with ``baud``, ``parity`` and ``stop_bits``.
    For TLS ``ca`` is whom to trust, ``certificate`` and ``key`` say who we are, ``server_name`` what the device's
    certificate must be made out to (default: the host).
    """

    name: str
    host: str = ""
    port: int = 502
    unit: int = 1
    timeout: float = 1.0
    max_registers: int = MAX_REGISTERS
    max_gap: int = 8
    tags: tuple[ModbusTag, ...] = ()
    protocol: Protocol = "modbus-tcp"
    in_flight: int = 1
    share: bool = False
    serial: str = ""
    baud: int = 19200
    parity: Parity = "even"
    stop_bits: int = 1
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        where = f"device {self.name!r}"
        if self.protocol not in PROTOCOLS:
            raise SpecError(f"{where}: protocol {self.protocol!r} is unknown; one of {', '.join(PROTOCOLS)}")
        if self.protocol == "modbus-rtu":
            if not self.name or not self.serial or self.host:
                raise SpecError(f"{where}: a modbus-rtu device needs a name and a serial port, and no host")
        elif not self.name or not self.host or self.serial:
            raise SpecError(f"{where}: a {self.protocol} device needs a name and a host, and no serial port")
        for word, value, low, high in (
            ("port", self.port, 1, 65535),
            ("unit", self.unit, 0, 255),
            ("max_registers", self.max_registers, 4, MAX_REGISTERS),
            ("max_gap", self.max_gap, 0, MAX_REGISTERS),
            ("in_flight", self.in_flight, 1, MAX_IN_FLIGHT),
            ("baud", self.baud, 300, 4_000_000),
            ("stop_bits", self.stop_bits, 1, 2),
        ):
            if not _is_int(value) or not low <= value <= high:
                raise SpecError(f"{where}: {word} must be a whole number from {low} to {high}, not {value!r}")
        if self.parity not in PARITIES:
            raise SpecError(f"{where}: parity {self.parity!r} is unknown; one of {', '.join(PARITIES)}")
        if not math.isfinite(self.timeout) or self.timeout <= 0:
            raise SpecError(f"{where}: timeout must be a positive number of seconds, not {self.timeout!r}")
        self._check_way(where)
        self._check_tags(where)

    def _check_way(self, where: str) -> None:
        if self.protocol == "modbus-tls":
            if self.ca is None or self.certificate is None or self.key is None:
                raise SpecError(f"{where}: modbus-tls needs ca, certificate and key; name the three files")
        elif self.ca or self.certificate or self.key or self.server_name:
            raise SpecError(f"{where}: ca, certificate, key and server_name go with modbus-tls, not {self.protocol}")
        if self.rtu and self.unit == 0:
            raise SpecError(f"{where}: unit 0 is the broadcast of a serial line, nobody answers it; use 1 to 247")
        if self.in_flight > 1 and (self.rtu or self.share):
            raise SpecError(f"{where}: in_flight over 1 is not for a line or connection that units share; remove it")

    def _check_tags(self, where: str) -> None:
        if not self.tags:
            raise SpecError(f"{where}: no tag is configured; give it at least one")
        names = Counter(tag.name for tag in self.tags)
        if twice := [name for name, count in names.items() if count > 1]:
            raise SpecError(f"{where}: tag name {twice[0]!r} is used twice; names are unique within a device")
        if wide := [tag for tag in self.tags if tag.table not in BIT_TABLES and tag.width > self.max_registers]:
            raise SpecError(
                f"{where}: tag {wide[0].name!r} takes {wide[0].width} registers, max_registers is {self.max_registers}"
            )

    @property
    def rtu(self) -> bool:
        """Whether its frames are those of a serial line."""
        return self.protocol in ("modbus-rtu", "modbus-rtu-tcp")

    @property
    def shared(self) -> bool:
        """Whether its line or connection also serves other units, each in its turn."""
        return self.share or self.rtu

    @property
    def where(self) -> str:
        """The place it is reached at, as messages name it."""
        return self.serial or f"{self.host}:{self.port}"


def line_faults(devices: Sequence[ModbusDevice | None]) -> list[tuple[int, str]]:
    """Where devices on one line disagree about it: the position of the later one and what is wrong.

    None stands where a device is of another kind.
    """
    first: dict[str, ModbusDevice] = {}
    faults: list[tuple[int, str]] = []
    for position, device in enumerate(devices):
        if device is None or not device.shared:
            continue
        other = first.setdefault(device.where, device)
        faults.extend(
            (
                position,
                f"devices {other.name!r} and {device.name!r} share {device.where} and differ in {word}:"
                f" {getattr(other, word)} and {getattr(device, word)}; give both the same",
            )
            for word in ("protocol", "baud", "parity", "stop_bits", "ca", "certificate", "key", "server_name")
            if getattr(device, word) != getattr(other, word)
        )
    return faults


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(where: str, value: object) -> int:
    try:
        if isinstance(value, str) and len(value) <= 24:
            return int(value, 0)
    except ValueError:
        pass
    if _is_int(value):
        return cast(int, value)
    raise SpecError(f'{where} {value!r} is no whole number; write it as 32768 or "0x8000"')
