"""Discovery and check against servers that share no code with them: pymodbus's and asyncua's."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from pymodbus import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from ullage_agent.__main__ import main
from ullage_agent.config.read import load

COUNT, TEMPERATURE, SPEED = 20, 22, 24
IDENTITY = ModbusDeviceIdentification(
    info_name={"VendorName": "Acme", "ProductCode": "P1", "MajorMinorRevision": "2.0"}
)


def swapped(value: float) -> list[int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return [low, high]


def sunspec_map() -> list[int]:
    inverter = bytearray(b"\x80\x00" * 50)
    struct.pack_into(">hh", inverter, 24, 150, 1)  # W and W_SF
    common = b"Acme".ljust(32, b"\0") + b"Sun 5".ljust(32, b"\0") + bytes(68)
    raw = b"SunS" + struct.pack(">HH", 1, 66) + common + struct.pack(">HH", 103, 50) + inverter + b"\xff\xff\0\0"
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@asynccontextmanager
async def controller() -> AsyncIterator[tuple[int, set[int]]]:
    """A unit 1 with holes, a count and a CDAB float that move with every read, a CDAB setting, a SunSpec map; and the
    function codes that arrived."""
    asked: set[int] = set()
    reads = iter(range(1, 10**6))

    async def moved(code: int, start: int, address: int, count: int, cells: list[int], values: object) -> None:
        asked.add(code)
        if code == 3 and start <= COUNT < start + len(cells):
            step = next(reads)
            cells[COUNT - start] = 65500 + step & 0xFFFF
            cells[TEMPERATURE - start : TEMPERATURE - start + 2] = swapped(71.3 + (step * 7 % 11) / 13)

    suns = sunspec_map()
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[True, False] * 8, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [
                SimData(0, values=[1, 2, 3], datatype=DataType.REGISTERS),
                SimData(COUNT, values=[65500, 0, *swapped(71.3), *swapped(600.0)], datatype=DataType.REGISTERS),
                SimData(40000, values=suns, datatype=DataType.REGISTERS),
            ],
            [SimData(5, values=[9] * 40, datatype=DataType.REGISTERS)],
        ),
        action=moved,
    )  # fmt: skip
    server = ModbusTcpServer(device, address=("127.0.0.1", 0), identity=IDENTITY)
    await server.serve_forever(background=True)
    try:
        assert isinstance(server.transport, asyncio.Server)
        yield server.transport.sockets[0].getsockname()[1], asked
    finally:
        await server.shutdown()


async def run(*arguments: object) -> int:
    async with asyncio.timeout(60):
        return await asyncio.to_thread(main, [str(argument) for argument in arguments])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_modbus_device_is_found_configured_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    file = tmp_path / "agent.toml"

    async def scene() -> None:
        async with controller() as (port, asked):
            url = f"modbus://127.0.0.1:{port}/1"
            assert await run("discover", url, "--json", "--watch", "0.2s", "--out", file) == 0
            (unit,) = told(capsys)["units"]
            assert (unit["vendor"], unit["firmware"]) == ("Acme", "2.0")
            assert unit["ranges"]["holding"][:2] == [[0, 3], [COUNT, COUNT + 6]]
            assert unit["ranges"]["holding"][2][0] == 40000
            assert [model["id"] for model in unit["sunspec"]] == [1, 103]
            tags = {(tag["table"], tag["address"]): tag for tag in unit["tags"]}
            assert tags["holding", COUNT]["role"] == "count"
            assert (tags["holding", TEMPERATURE]["type"], tags["holding", TEMPERATURE]["order"]) == ("float32", "CDAB")
            assert tags["holding", SPEED]["value"] == 600.0
            named = {tag["name"]: tag for tag in unit["tags"] if tag["name"]}
            assert (named["s103.W"]["value"], named["s103.W"]["unit"]) == (1500, "W")
            assert named["s1.Mn"]["value"] == "Acme"
            before = file.read_bytes()
            assert await run("discover", url, "--out", file) == 2, "nothing is overwritten"
            assert file.read_bytes() == before
            assert len(load(file, files=False).tags) >= 5
            assert "not overwritten" in capsys.readouterr().err
            assert await run("check", "--config", file, "--json") == 1, "neither broker nor scorer key"
            found = told(capsys)
            assert {tag["quality"] for tag in found["tags"]} == {"good"}
            assert {part["part"] for part in found["parts"] if not part["good"]} == {"scorer", "broker"}
            assert (found["devices"][0]["vendor"], found["devices"][0]["encrypted"]) == ("Acme", False)
            assert asked <= {1, 2, 3, 4}

    asyncio.run(scene())


def test_units_that_are_not_there_are_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with controller() as (port, _):
            assert await run("discover", f"modbus://127.0.0.1:{port}", "--json", "--watch", "0s", "--units", "1-4") == 0
            assert [unit["unit"] for unit in told(capsys)["units"]] == [1]
            assert await run("discover", f"modbus://127.0.0.1:{port}", "--units", "5-6") == 1
            assert "no unit answers" in capsys.readouterr().out

    asyncio.run(scene())


def test_the_requests_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        async with controller() as (port, _):
            url = f"modbus://127.0.0.1:{port}/1"
            assert await run("discover", url, "--json", "--watch", "0s", "--max-requests", "30") == 0
            (unit,) = told(capsys)["units"]
            assert not unit["whole"]
            assert any("--max-requests" in note for note in unit["notes"])

    asyncio.run(scene())


def test_check_suggests_the_order_and_shows_unit_name_and_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"

    async def scene() -> None:
        async with controller() as (port, _):
            file.write_text(
                f"""
[agent]
id = "gw"
[broker]
host = "127.0.0.1"
port = 1
[scorer]
public_key = "scorer.pub"
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
port = {port}
tag = [
  {{name = "speed", address = "holding:{SPEED}", type = "float32", unit = "1/min"}},
  {{name = "right", address = "holding:{SPEED}", type = "float32", order = "CDAB", scan = "5s"}},
  {{name = "mode", address = "holding:1", enum = {{2 = "running"}}}},
  {{name = "lamp", address = "coil:0"}},
  {{name = "hole", address = "holding:9"}},
]
""",
                "utf-8",
            )
            assert await run("check", "--config", file, "--json") == 1
            tags = {tag["tag"]: tag for tag in told(capsys)["tags"]}
            assert list(tags) == ["speed", "right", "mode", "lamp", "hole"]
            assert (tags["speed"]["order"], tags["speed"]["order_value"]) == ("CDAB", 600.0)
            assert (tags["right"]["order"], tags["right"]["text"], tags["right"]["value"]) == ("", "600", 600.0)
            assert (tags["mode"]["text"], tags["mode"]["value"]) == ("2 (running)", 2)
            assert (tags["lamp"]["text"], tags["lamp"]["value"]) == ("true", True)
            assert (tags["hole"]["quality"], tags["hole"]["value"]) == ("bad", None)
            assert "illegal address" in tags["hole"]["reason"]
            assert await run("check", "--config", file) == 1
            assert 'value looks word-swapped: order = "CDAB" would read 600' in capsys.readouterr().out

    asyncio.run(scene())


@asynccontextmanager
async def machine() -> AsyncIterator[str]:
    """An OPC UA server with PackML names, and names of its own."""
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    packml = await server.register_namespace("http://opcfoundation.org/UA/PackML/")
    own = await server.register_namespace("urn:plant")
    status = await server.nodes.objects.add_object(packml, "Status")
    await status.add_variable(packml, "StateCurrent", 6, ua.VariantType.Int32)
    await status.add_variable(packml, "ProdProcessedCount", 41, ua.VariantType.Int32)
    tank = await server.nodes.objects.add_object(own, "Tank")
    await tank.add_variable(ua.NodeId("tank.level", own), ua.QualifiedName("Level", own), 61.5)
    async with server:
        host, port = server.bserver._server.sockets[0].getsockname()[:2]
        yield f"opc.tcp://{host}:{port}"


@pytest.mark.parametrize("mode", ["poll", "subscribe"])
def test_an_opcua_server_is_found_configured_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    file = tmp_path / "agent.toml"

    async def scene() -> None:
        async with machine() as url:
            assert await run("discover", url, "--json", "--out", file) == 0
            nodes = {node["name"]: node for node in told(capsys)["server"]["nodes"]}
            assert (nodes["StateCurrent"]["meaning"], nodes["StateCurrent"]["role"]) == ("PackML StateCurrent", "state")
            assert (nodes["ProdProcessedCount"]["role"], nodes["Level"]["value"]) == ("count", 61.5)
            config = load(file, files=False)
            assert {tag.name: tag.role for tag in config.tags} == {
                "StateCurrent": "state", "ProdProcessedCount": "count", "Level": "measurement",
            }  # fmt: skip
            file.write_text(file.read_text("utf-8").replace('scan = "1s"', f'scan = "200ms"\nmode = "{mode}"'), "utf-8")
            assert await run("check", "--config", file, "--json") == 1
            found = told(capsys)
            assert {tag["tag"]: (tag["value"], tag["quality"]) for tag in found["tags"]} == {
                "StateCurrent": (6, "good"), "ProdProcessedCount": (41, "good"), "Level": (61.5, "good"),
            }  # fmt: skip
            (device,) = found["devices"]
            assert (device["good"], device["anonymous"], device["state"]) == (True, True, "Running")
            assert next(part for part in found["parts"] if part["part"] == "clock")["good"]

    asyncio.run(scene())


def test_where_nobody_is_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("modbus://127.0.0.1:1", "opc.tcp://127.0.0.1:1", "modbus+rtu:///dev/no-such-port"):
        assert main(["discover", url]) == 2
        error = capsys.readouterr().err
        assert "check" in error
        assert "Traceback" not in error
