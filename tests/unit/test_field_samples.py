"""The sample configurations beside the clients say only what the clients take."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import ullage_protocols.field.base
from ullage_protocols.field.modbus.spec import ModbusDevice, tag_at
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaTag

FIELD = Path(inspect.getfile(ullage_protocols.field.base)).parent
OF_THE_AGENT = {"role", "line", "scan", "watch", "protocol", "tag"}
COMMENTED = re.compile(r"^(\s*)# (\w+ = |\[)", re.MULTILINE)


def device(protocol: str, *, uncommented: bool = False) -> dict[str, Any]:
    text = (FIELD / protocol / "sample.toml").read_text(encoding="utf-8")
    if uncommented:
        text = COMMENTED.sub(r"\1\2", text)
    (found,) = tomllib.loads(text)["device"]
    return dict(found)


def own(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in OF_THE_AGENT}


def test_the_modbus_sample_is_a_device() -> None:
    found = device("modbus")
    built = ModbusDevice(**own(found), tags=tuple(tag_at(**own(tag)) for tag in found["tag"]))
    assert [tag.type for tag in built.tags] == ["uint32", "bit", "bit", "float32", "uint8", "string"]
    assert built.tags[4].named(2) == "cleaning"


def test_what_the_modbus_sample_comments_out_is_the_default() -> None:
    plain, full = device("modbus"), device("modbus", uncommented=True)
    assert full.pop("timeout") == "1s"
    tags = tuple(tag_at(**own(tag)) for tag in full["tag"])
    assert tags == tuple(tag_at(**own(tag)) for tag in plain["tag"])
    assert ModbusDevice(**own(full), tags=tags) == ModbusDevice(**own(plain), tags=tags)


def test_the_opcua_sample_is_a_device() -> None:
    found = device("opcua")
    built = OpcuaDevice(**own(found), tags=tuple(OpcuaTag(**own(tag)) for tag in found["tag"]))
    assert built.tags[0] == OpcuaTag("tank.level", "ns=2;s=tank.level")
    assert built.timeout == 2.0
