"""A replayed history, met by independent clients over real sockets, equals the file."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import signal
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client
from pymodbus.client import ModbusTcpClient
from ullage_plant.__main__ import main

PLANT = [sys.executable, "-m", "ullage_plant"]
TAGS = [f"T{place}" for place in range(20)]
ROWS = 60


def cell(row: int, place: int) -> float:
    """The value of row ``row`` (from 1) names the row, so that a mixture of two rows shows."""
    return row * 100.0 + place


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "history.csv"
    lines = [",".join(["time", *TAGS, "label"])]
    for row in range(1, ROWS + 1):
        cells = [str(cell(row, place)) for place in range(len(TAGS))]
        if row % 10 == 0:
            cells[3], cells[4], cells[5] = "", "text", "NaN"
        lines.append(",".join([f"2016-07-04 00:{row - 1:02}:00", *cells, str(int(row > 50))]))
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def replaying(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [*PLANT, "replay", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def summary(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(out)
    return told


def modbus(ready: dict[str, Any]) -> ModbusTcpClient:
    host, port = ready["modbus"].split(":")
    client = ModbusTcpClient(host, port=int(port), timeout=2, retries=0)
    assert client.connect()
    return client


def read_row(client: ModbusTcpClient) -> tuple[int, list[float]]:
    registers = client.read_holding_registers(0, count=2 + 2 * len(TAGS), device_id=1).registers
    raw = struct.pack(f">{len(registers)}H", *registers)
    return struct.unpack(">I", raw[:4])[0], list(struct.unpack(f">{len(TAGS)}f", raw[4:]))


def holes(values: list[float]) -> list[int]:
    return [place for place, value in enumerate(values) if math.isnan(value)]


def check(row: int, values: list[float]) -> None:
    assert holes(values) == ([3, 4, 5] if row % 10 == 0 else [])
    for place, value in enumerate(values):
        assert math.isnan(value) or value == cell(row, place), (row, place)


def test_both_faces_serve_the_file_and_no_reply_mixes_two_rows(history: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    arguments = ["--modbus", "127.0.0.1:0", "--opcua", "127.0.0.1:0", "--rows-per-second", "25", "--wait-for-reader"]
    with replaying(str(history), *arguments, "--agent-config", str(config)) as (process, ready):
        assert ready["ready"] is True
        assert ready["map"] == {"replay.row": "holding:0"} | {
            tag: f"holding:{2 + 2 * place}" for place, tag in enumerate(TAGS)
        }
        device = tomllib.loads(config.read_text())["device"][0]
        assert f"{device['host']}:{device['port']}" == ready["modbus"]
        client = modbus(ready)

        async def over_opcua() -> dict[int, list[tuple[bool, Any]]]:
            seen: dict[int, list[tuple[bool, Any]]] = {}
            async with Client(ready["opcua"]) as opc:
                nodes = [opc.get_node(f"ns=2;s={tag}") for tag in ["replay.row", *TAGS]]
                while len(seen) < 25:
                    # One request, so one moment.
                    row, *values = await opc.uaclient.read_attributes([node.nodeid for node in nodes], 13)
                    number = row.Value.Value if row.Value is not None else None
                    if number:
                        seen[number] = [(value.StatusCode.is_good(), value.Value.Value) for value in values]
                        stamp = values[0].SourceTimestamp
                        assert (stamp.year, stamp.minute) == (2016, number - 1)
            return seen

        opcua_rows = asyncio.run(asyncio.wait_for(over_opcua(), 20))
        modbus_rows: set[int] = set()
        while len(modbus_rows) < 25:
            row, values = read_row(client)
            check(row, values)
            modbus_rows.add(row)
        client.close()
        told = summary(process)
    for row, good_values in opcua_rows.items():
        for place, (good, value) in enumerate(good_values):
            assert good is not (row % 10 == 0 and place in (3, 4, 5)), (row, place)
            assert value == (cell(row, place) if good else None)
    assert any(row % 10 == 0 for row in opcua_rows)
    assert any(row % 10 == 0 for row in modbus_rows)
    assert max(modbus_rows) - min(modbus_rows) == 24
    assert (told["done"], told["rows"], told["holes"], told["labelled"], told["warnings"]) == (True, ROWS, 18, 10, 0)


def test_before_the_first_reader_there_is_no_row_and_no_value(history: Path) -> None:
    with replaying(str(history), "--modbus", "127.0.0.1:0", "--wait-for-reader", "--hold", "0") as (_, ready):
        client = modbus(ready)
        row, values = read_row(client)
        assert row == 0
        assert holes(values) == list(range(len(TAGS)))
        assert client.write_register(2, 1, device_id=1).isError()
        client.close()


def test_a_part_of_the_file_by_time(history: Path) -> None:
    window = ["--from", "2016-07-04T00:10:00Z", "--to", "2016-07-04 00:19:00"]
    rate = ["--rows-per-second", "500", "--hold", "0"]
    with replaying(str(history), "--modbus", "127.0.0.1:0", *window, *rate) as (process, _):
        told = summary(process)
    assert (told["rows"], told["first"], told["last"]) == (10, "2016-07-04T00:10:00.000Z", "2016-07-04T00:19:00.000Z")


def test_the_files_own_spacing_sets_the_pace(history: Path) -> None:
    rate = ["--speed", "6000", "--hold", "0", "--to", "2016-07-04 00:50:00"]
    with replaying(str(history), "--modbus", "127.0.0.1:0", *rate) as (process, _):
        told = summary(process)
    assert told["rows"] == 51
    assert 0.45 < told["seconds"] < 2.0


def test_a_loop_goes_round_until_it_is_stopped(history: Path) -> None:
    rate = ["--rows-per-second", "200", "--loop", "--to", "2016-07-04 00:09:00"]
    with replaying(str(history), "--modbus", "127.0.0.1:0", *rate) as (process, ready):
        client = modbus(ready)
        rows = [read_row(client)[0]]
        while sum(later < earlier for earlier, later in itertools.pairwise(rows)) < 2:
            rows.append(read_row(client)[0])
            assert len(rows) < 20_000
        client.close()
        process.send_signal(signal.SIGTERM)
        told = summary(process)
    assert told["loops"] >= 2
    assert told["warnings"] == 0
    assert told["done"] is False


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (b"\x7fELF\xff\x00\x01" * 100, (), "not text in UTF-8"),
        (b"time,a\n", (), "no row to serve"),
        (b"time,a\n2020-01-01,1\n", ("--from", "2021-01-01"), "no row to serve"),
        (b"time,a\n2020-01-01,1\n", ("--from", "yesterday"), "is not a time"),
        (b"time,a\n2020-01-01,1\n", ("--agent-config", "/nowhere/agent.toml"), "cannot write"),
    ],
)
def test_what_cannot_be_replayed_ends_with_status_2_and_a_sentence(
    tmp_path: Path, content: bytes, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    assert main(["replay", str(path), "--modbus", "127.0.0.1:0", *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1
