"""What the configuration takes of Modbus: every way to a device, every kind of tag, and faults at their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from ullage_agent.config.read import read
from ullage_agent.errors import ConfigError
from ullage_protocols.field.modbus.spec import ModbusDevice
from ullage_protocols.keys import SigningKey

HEAD = """\
[agent]
id = "gw"
[broker]
host = "127.0.0.1"
[scorer]
public_key = "scorer.pub"
"""
TAG = '[[device.tag]]\nname = "{}"\naddress = "holding:0"\n'


def devices(text: str, folder: Path) -> list[ModbusDevice]:
    (folder / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    specs = [device.spec for device in read(HEAD + text, folder / "agent.toml").devices]
    return [spec for spec in specs if isinstance(spec, ModbusDevice)]


def faults(text: str, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        devices(text, folder)
    return [fault.partition("agent.toml:")[2] for fault in caught.value.faults]


def device(name: str, protocol: str, *lines: str) -> str:
    return "\n".join(["[[device]]", f'name = "{name}"', f'protocol = "{protocol}"', *lines, TAG.format(f"{name}.a")])


def test_every_way_to_a_device_is_configured(tmp_path: Path) -> None:
    for name in ("ca.pem", "agent.pem", "agent.key"):
        (tmp_path / name).touch()
    tcp, tls, rtu, over = devices(
        device("tcp", "modbus-tcp", 'host = "plc"', "in_flight = 4")
        + device("tls", "modbus-tls", 'host = "plc"', 'ca = "ca.pem"', 'certificate = "agent.pem"', 'key = "agent.key"')
        + device("rtu", "modbus-rtu", 'serial = "/dev/ttyS0"', "baud = 9600", 'parity = "none"', "stop_bits = 2")
        + device("over", "modbus-rtu-tcp", 'host = "plc"', "port = 4001", "unit = 9"),
        tmp_path,
    )
    assert (tcp.port, tcp.in_flight, tcp.shared) == (502, 4, False)
    assert (tls.port, tls.ca, tls.key) == (802, tmp_path / "ca.pem", tmp_path / "agent.key")
    assert (rtu.where, rtu.baud, rtu.parity, rtu.stop_bits, rtu.shared) == ("/dev/ttyS0", 9600, "none", 2, True)
    assert (over.where, over.unit, over.shared) == ("plc:4001", 9, True)


def test_every_kind_of_tag_is_configured(tmp_path: Path) -> None:
    (found,) = devices(
        device("plc", "modbus-tcp", 'host = "plc"')
        + '[[device.tag]]\nname = "mode"\naddress = "10h"\ntable = "input"\ntype = "uint8"\nbyte = "high"\n'
        + 'enum = {0 = "off", 1 = "on"}\nnone = [255, "0xFE"]\nunit = "°C"\n'
        + '[[device.tag]]\nname = "recipe"\naddress = "400101"\ntype = "string"\nlength = 8\norder = "BADC"\n',
        tmp_path,
    )
    mode, recipe = found.tags[1:]
    assert (mode.table, mode.address, mode.byte, mode.none, mode.unit) == ("input", 16, "high", (255, 254), "°C")
    assert mode.named(1) == "on"
    assert (recipe.address, recipe.width, recipe.order) == (100, 8, "BADC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (device("a", "modbus-tcp"), "7: [device] lacks host; add host"),
        (device("a", "modbus-rtu"), "7: [device] lacks serial; add serial"),
        (device("a", "modbus-rtu", 'serial = "/dev/ttyS0"', 'host = "x"'), "11: unknown key 'host'"),
        (device("a", "modbus-tcp", 'host = "x"', "in_flight = 17"), "11: in_flight 17 is not a whole number from 1"),
        (device("a", "modbus-tcp", 'host = "x"', "in_flight = 2", "share = true"), "11: device 'a': in_flight over 1"),
        (device("a", "modbus-tcp", 'host = "x"', 'ca = "ca.pem"'), "11: unknown key 'ca'"),
        (device("a", "modbus-rtu", 'serial = "x"', 'parity = "evn"'), "11: parity 'evn' is unknown; did you mean"),
        (device("a", "modbus-tls", 'host = "x"'), "7: [device] lacks ca; add ca"),
        (device("a", "modbus-tls", 'host = "x"', 'ca = "no.pem"'), "11: ca "),
        (device("a", "modbus-tcp", 'host = "x"') + "enum = 3\n", "14: enum is not numbers with their names"),
        (
            device("a", "modbus-tcp", 'host = "x"') + 'enum = {on = "x"}\n',
            "14: tag 'a.a': enum 'on' is",
        ),
        (device("a", "modbus-tcp", 'host = "x"') + 'none = "many"\n', "14: tag 'a.a': none 'many' is no whole number"),
        (device("a", "modbus-tcp", 'host = "x"') + 'type = "bcd16"\nnone = 65536\n', "15: tag 'a.a': none 0x10000"),
        (device("a", "modbus-tcp", 'host = "x"') + 'type = "string"\n', "11: tag 'a.a': a string needs 'length'"),
        (
            device("a", "modbus-rtu", 'serial = "x"') + device("b", "modbus-rtu", 'serial = "x"', "baud = 9600"),
            "14: devices 'a' and 'b' share x and differ in baud: 19200 and 9600; give both the same",
        ),
    ],
)
def test_a_fault_is_told_at_its_line(text: str, expected: str, tmp_path: Path) -> None:
    assert any(fault.startswith(expected) for fault in faults(text, tmp_path)), faults(text, tmp_path)
