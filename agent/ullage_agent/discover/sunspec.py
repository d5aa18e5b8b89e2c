"""SunSpec: the models that an inverter or meter lays out in its registers, and what their points mean. Pure.

After the SunSpec Information Model Specification: at one of three places stand the characters SunS, then models one
after the other, each as id, length and points, until id 0xFFFF.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import NamedTuple

from .guess import Guess

BASES = (40000, 50000, 0)
_MARK = b"SunS"
_END = 0xFFFF
MOST_MODELS = 64

NAMES = {
    1: "common", 11: "Ethernet link layer", 12: "IPv4", 13: "IPv6", 17: "serial interface",
    101: "inverter, single phase", 102: "inverter, split phase", 103: "inverter, three phase",
    111: "inverter, single phase, float", 112: "inverter, split phase, float", 113: "inverter, three phase, float",
    120: "nameplate", 121: "basic settings", 122: "measurements, status", 123: "immediate controls", 124: "storage",
    126: "static volt-var", 127: "freq-watt parameters", 128: "dynamic reactive current", 131: "watt-PF",
    132: "volt-watt", 160: "multiple MPPT", 201: "meter, single phase", 202: "meter, split phase",
    203: "meter, wye three phase", 204: "meter, delta three phase", 211: "meter, single phase, float",
    212: "meter, split phase, float", 213: "meter, wye three phase, float", 214: "meter, delta three phase, float",
    302: "irradiance", 303: "module temperature", 307: "base meteorology", 401: "string combiner",
    403: "string combiner", 501: "solar module", 701: "DER AC measurement", 702: "DER capacity",
    713: "DER storage capacity",
    802: "battery",
    803: "lithium-ion battery bank",
}  # fmt: skip


class Model(NamedTuple):
    """One model; ``address`` is where its id stands, ``length`` counts what follows id and length."""

    id: int
    address: int
    length: int

    @property
    def name(self) -> str:
        return NAMES.get(self.id, "unknown here")


class Point(NamedTuple):
    """A point ``at`` registers from its model's id; ``factor`` is where the power of ten of its scale stands, or 0."""

    name: str
    at: int
    type: str
    factor: int = 0
    unit: str = ""


def _row(names: str, first: int, type: str, unit: str, factor: int = 0) -> Iterator[Point]:
    """Points side by side."""
    width = 2 if type in ("float32", "acc32") else 1
    for number, name in enumerate(names.split()):
        yield Point(name, first + number * width, type, factor, unit)


_INVERTER = (
    *_row("A AphA AphB AphC", 2, "uint16", "A", 6),
    *_row("PPVphAB PPVphBC PPVphCA PhVphA PhVphB PhVphC", 7, "uint16", "V", 13),
    Point("W", 14, "int16", 15, "W"), Point("Hz", 16, "uint16", 17, "Hz"), Point("VA", 18, "int16", 19, "VA"),
    Point("VAr", 20, "int16", 21, "var"), Point("PF", 22, "int16", 23, "%"), Point("WH", 24, "acc32", 26, "Wh"),
    Point("DCA", 27, "uint16", 28, "A"), Point("DCV", 29, "uint16", 30, "V"), Point("DCW", 31, "int16", 32, "W"),
    *_row("TmpCab TmpSnk TmpTrns TmpOt", 33, "int16", "degC", 37),
    Point("St", 38, "enum16"),
)  # fmt: skip
_INVERTER_FLOAT = (
    *_row("A AphA AphB AphC", 2, "float32", "A"),
    *_row("PPVphAB PPVphBC PPVphCA PhVphA PhVphB PhVphC", 10, "float32", "V"),
    Point("W", 22, "float32", 0, "W"), Point("Hz", 24, "float32", 0, "Hz"), Point("VA", 26, "float32", 0, "VA"),
    Point("VAr", 28, "float32", 0, "var"), Point("PF", 30, "float32", 0, "%"), Point("WH", 32, "float32", 0, "Wh"),
    Point("DCA", 34, "float32", 0, "A"), Point("DCV", 36, "float32", 0, "V"), Point("DCW", 38, "float32", 0, "W"),
    *_row("TmpCab TmpSnk TmpTrns TmpOt", 40, "float32", "degC"),
    Point("St", 48, "enum16"),
)  # fmt: skip
_METER = (
    *_row("A AphA AphB AphC", 2, "int16", "A", 6),
    *_row("PhV PhVphA PhVphB PhVphC PPV PPVphAB PPVphBC PPVphCA", 7, "int16", "V", 15),
    Point("Hz", 16, "int16", 17, "Hz"),
    *_row("W WphA WphB WphC", 18, "int16", "W", 22),
    *_row("VA VAphA VAphB VAphC", 23, "int16", "VA", 27),
    *_row("VAR VARphA VARphB VARphC", 28, "int16", "var", 32),
    *_row("PF PFphA PFphB PFphC", 33, "int16", "%", 37),
    Point("TotWhExp", 38, "acc32", 54, "Wh"), Point("TotWhImp", 46, "acc32", 54, "Wh"),
)  # fmt: skip
_METER_FLOAT = (
    *_row("A AphA AphB AphC", 2, "float32", "A"),
    *_row("PhV PhVphA PhVphB PhVphC PPV PPVphAB PPVphBC PPVphCA", 10, "float32", "V"),
    Point("Hz", 26, "float32", 0, "Hz"),
    *_row("W WphA WphB WphC", 28, "float32", "W"),
    *_row("VA VAphA VAphB VAphC", 36, "float32", "VA"),
    *_row("VAR VARphA VARphB VARphC", 44, "float32", "var"),
    *_row("PF PFphA PFphB PFphC", 52, "float32", ""),
    Point("TotWhExp", 60, "float32", 0, "Wh"), Point("TotWhImp", 68, "float32", 0, "Wh"),
)  # fmt: skip
_COMMON = (Point("Mn", 2, "string"), Point("Md", 18, "string"), Point("Vr", 42, "string"), Point("SN", 50, "string"))
_LENGTHS = {"Mn": 16, "Md": 16, "Vr": 8, "SN": 16}
POINTS: dict[int, tuple[Point, ...]] = {
    1: _COMMON,
    **dict.fromkeys((101, 102, 103), _INVERTER), **dict.fromkeys((111, 112, 113), _INVERTER_FLOAT),
    **dict.fromkeys((201, 202, 203, 204), _METER), **dict.fromkeys((211, 212, 213, 214), _METER_FLOAT),
}  # fmt: skip
_NOT = {"int16": 0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF, "acc32": 0}
_AS = {"enum16": "uint16", "acc32": "uint32"}

Reading = Generator[tuple[int, int], bytes | None, list[Model]]
"""Gives address and count of holding registers, and is sent their bytes, None where they cannot be read."""


def walk() -> Reading:
    """The models of a device, none where it has no SunSpec map."""
    for base in BASES:
        if (yield base, 2) == _MARK:
            models: list[Model] = []
            at = base + 2
            while len(models) < MOST_MODELS and at + 2 <= 0x10000:
                head = yield at, 2
                if head is None:
                    break
                id, length = struct.unpack(">HH", head)
                if id == _END or at + 2 + length > 0x10000:
                    break
                models.append(Model(id, at, length))
                at += 2 + length
            return models
    return []


def tags(models: list[Model], bodies: dict[Model, bytes]) -> list[Guess]:
    """What the models of a known kind hold; points that the device says it does not implement are left out.

    ``bodies`` are a model's registers from its id on, as many as could be read.
    """
    found: list[Guess] = []
    seen: dict[int, int] = {}
    for model in models:
        seen[model.id] = seen.get(model.id, 0) + 1
        prefix = f"s{model.id}" + (f"-{seen[model.id]}" if seen[model.id] > 1 else "")
        body = bodies.get(model, b"")
        for point in POINTS.get(model.id, ()):
            found += _tag(model, point, body, prefix)
    return found


def _tag(model: Model, point: Point, body: bytes, prefix: str) -> list[Guess]:
    length = _LENGTHS.get(point.name, 0) if point.type == "string" else 0
    width = length or (2 if point.type in ("float32", "acc32") else 1)
    raw = body[2 * point.at : 2 * (point.at + width)]
    if len(raw) < 2 * width or point.at + width > model.length + 2:
        return []
    scale = 1.0
    value: float | int | str
    if point.type == "string":
        value = raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
        if not value:
            return []
    elif point.type == "float32":
        value = float(struct.unpack(">f", raw)[0])
        if value != value:
            return []
    else:
        whole = int.from_bytes(raw, "big")
        if whole == _NOT[point.type]:
            return []
        whole = whole - 0x10000 if point.type == "int16" and whole & 0x8000 else whole
        if point.factor:
            power = body[2 * point.factor : 2 * point.factor + 2]
            exponent = int.from_bytes(power, "big", signed=True) if len(power) == 2 else 0
            if not -10 <= exponent <= 10:
                return []
            scale = float(f"1e{exponent}")
        value = whole if scale == 1 else whole * scale
    return [Guess(
        "holding", model.address + point.at, _AS.get(point.type, point.type), value,
        f"SunSpec {model.id} ({model.name}) {point.name}", role="state" if point.type == "enum16" else "measurement",
        name=f"{prefix}.{point.name}", scale=scale, unit=point.unit, length=length,
        none=(_NOT[point.type],) if point.type in _NOT else (),
    )]  # fmt: skip
