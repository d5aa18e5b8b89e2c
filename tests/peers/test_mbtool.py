"""mbtoolcli: moving values, identity, and its fault injection, over TCP and over a serial line."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from peers.kit import HOME, Peers, free_port
from peers.reading import connected, identity, read, registers, values
from peers.referee import Referee
from ullage_protocols.field.base import FieldError
from ullage_protocols.field.modbus.spec import ModbusDevice, ModbusTag, tag_at
from ullage_protocols.sample import Quality

MBTOOL = HOME / "mbtoolcli" / "bin" / "mbtool"
PLAIN = tag_at("plain", "holding:0")
EXCEPTION, DROP, DELAY, SHAPE, COUNT, VALUE, BAD_CRC = 10, 20, 30, 40, 50, 60, 70
FAULTS = [
    {"match": {"fc": 3, "addr": EXCEPTION}, "action": "exception", "code": 6},
    {"match": {"fc": 3, "addr": DROP}, "action": "drop", "count": 1, "every": 2},
    {"match": {"fc": 3, "addr": DELAY}, "action": "delay", "ms": 900},
    {"match": {"fc": 3, "addr": SHAPE}, "action": "garble", "byte": 0, "value": 7},
    {"match": {"fc": 3, "addr": COUNT}, "action": "garble", "byte": 1, "value": 2},
    {"match": {"fc": 3, "addr": VALUE}, "action": "garble", "byte": 3, "bit": 0},
    {"match": {"fc": 3, "addr": BAD_CRC}, "action": "bad_crc"},
]
"""A garbled reply carries a valid CRC: its function, its byte count or its value is what is wrong."""
WHO = {"vendor": "Acme", "product": "PK-3", "revision": "1.9", "product_name": "Packer", "model": "P3", "serial": "S-7"}


def start(peers: Peers, port: int, mode: str, faults: bool = True) -> int:
    """One packer, register n holding 100 + n, with the faults above."""
    table = [{"address": at, "value": 100 + at} for at in range(120)]
    bits = [{"address": at, "value": at % 4 == 1} for at in range(40)]
    packer = {"identity": WHO, "holding_registers": table, "input_registers": table, "coils": bits}
    for name, content in (("packer", {**packer, "discrete_inputs": bits}), ("faults", {"faults": FAULTS})):
        (peers.folder / f"{name}.json").write_text(json.dumps(content))
    command = [MBTOOL, "--slave", "-m", mode, "-H", "127.0.0.1", "-p", str(port), "-a", "1,5"]
    command += ["--register-map", peers.folder / "packer.json"]
    command += ["--faults", peers.folder / "faults.json"] if faults else []
    peers.start(*command, port=port)
    return port


@pytest.fixture(scope="module")
def plc(peers: Peers, referee: Referee) -> ModbusDevice:
    port = start(peers, referee.speaks(free_port(), "mbtcp"), "tcp")
    return ModbusDevice("packer", "127.0.0.1", port=port, timeout=0.5, max_gap=0, tags=(PLAIN,))


def faulty(plc: ModbusDevice, address: int, kind: str = "uint16") -> ModbusDevice:
    """PLAIN, then the faulty register in a request of its own."""
    return replace(plc, tags=(PLAIN, tag_at("faulty", f"holding:{address}", kind)))


async def polls(device: ModbusDevice, times: int) -> list[list[object] | str]:
    """What ``times`` polls gave: their values, or the reason why there was no reply; connecting anew after each."""
    found: list[list[object] | str] = []
    async with asyncio.timeout(30), connected(device) as client:
        for _ in range(times):
            try:
                samples = list(await client.read())
            except FieldError as error:
                found.append(str(error))
                await client.connect()
            else:
                assert all((sample.value is None) == (sample.quality is Quality.BAD) for sample in samples)
                assert all(sample.reason for sample in samples if sample.quality is Quality.BAD)
                found.append(values(samples))
    return found


def test_all_four_tables_of_both_units(plc: ModbusDevice) -> None:
    tags: tuple[ModbusTag, ...] = (*registers(80, 40), *registers(0, 120, "input"))
    tags += tuple(tag_at(f"{table}{at}", f"{table}:{at}") for table in ("coil", "discrete") for at in range(40))
    wanted = [100 + at for at in range(80, 120)] + [100 + at for at in range(120)]
    for unit in (1, 5):
        found = values(read(replace(plc, unit=unit, tags=tags)))
        assert found == wanted + [at % 4 == 1 for at in range(40)] * 2


def test_identity_as_far_as_the_device_says_that_it_goes(plc: ModbusDevice) -> None:
    """This server names itself of the basic level: maker, code and revision, and nothing beyond is asked of it."""
    who = identity(plc)
    assert (who.vendor, who.product, who.model, who.firmware) == ("Acme", "PK-3", "", "1.9")


def test_a_unit_that_is_not_there_keeps_silent(plc: ModbusDevice) -> None:
    (said,) = asyncio.run(polls(replace(plc, unit=9), 1))
    assert "no reply" in said


def test_an_exception_is_the_devices_own_word(plc: ModbusDevice) -> None:
    plain, busy = read(faulty(plc, EXCEPTION))
    assert (plain.value, busy.value) == (100, None)
    assert busy.reason == "device refused: exception 6 (device busy)"


def test_a_dropped_request_costs_its_poll_and_no_other(plc: ModbusDevice) -> None:
    """The first of every three requests is dropped."""
    found = asyncio.run(polls(faulty(plc, DROP), 6))
    assert [poll == [100, 100 + DROP] for poll in found] == [False, True, True] * 2
    assert all("no reply" in str(poll) for poll in found[::3])


def test_a_delayed_reply_is_late_for_its_own_poll_and_none_other(plc: ModbusDevice) -> None:
    """The reply takes 0.9 s, the timeout is 0.5 s: had it arrived in the next poll, 130 would stand for 100."""

    async def scene() -> None:
        async with asyncio.timeout(20), connected(faulty(plc, DELAY)) as late, connected(plc) as plain:
            for _ in range(2):
                with pytest.raises(FieldError, match="no reply"):
                    await late.read()
                for _ in range(8):
                    assert values(list(await plain.read())) == [100]
                    await asyncio.sleep(0.1)
                await late.connect()

    asyncio.run(scene())


def test_patience_gets_the_delayed_value(plc: ModbusDevice) -> None:
    assert values(read(replace(faulty(plc, DELAY), timeout=3.0))) == [100, 100 + DELAY]


@pytest.mark.parametrize("address", [SHAPE, COUNT])
def test_a_garbled_reply_is_bad_with_its_reason_and_never_a_value(plc: ModbusDevice, address: int) -> None:
    for poll in asyncio.run(polls(faulty(plc, address), 4)):
        assert isinstance(poll, str) or poll == [100, None]


def test_a_garbled_value_in_a_sound_frame_cannot_be_told_from_a_value(plc: ModbusDevice) -> None:
    """Said plainly: Modbus has nothing that would show it. Only a second source or plausibility can."""
    plain, garbled = read(faulty(plc, VALUE))
    assert (plain.value, garbled.value) == (100, (100 + VALUE) ^ 1)
    assert garbled.quality is Quality.GOOD


def test_a_moving_conveyor_moves_as_its_maker_says(peers: Peers, referee: Referee) -> None:
    """The tool's own conveyor: 2,000 pulses a second modulo 60,000, refreshed every 0.1 s; a slow roll of ±15°."""
    port = referee.speaks(free_port(), "mbtcp")
    peers.start(MBTOOL, "--slave", "-H", "127.0.0.1", "-p", str(port), "--device", "conveyor", port=port)
    tags = (
        tag_at("speed", "holding:0"),
        tag_at("position", "input:0"),
        tag_at("roll", "input:2", "int16", scale=0.01),
        tag_at("running", "coil:0"),
    )

    async def scene() -> None:
        async with asyncio.timeout(20), connected(ModbusDevice("line", "127.0.0.1", port=port, tags=tags)) as client:
            before = list(await client.read())
            for _ in range(4):
                await asyncio.sleep(0.5)
                speed, position, roll, running = after = list(await client.read())
                assert (speed.value, running.value) == (120, True)
                assert -15 <= roll.value <= 15
                passed = (position.source_time - before[1].source_time).total_seconds()
                moved = (position.value - before[1].value) % 60_000
                assert moved == pytest.approx(2000 * passed, abs=2000 * 0.4)
                assert moved > 0
                before = after
            assert roll.value != 0

    asyncio.run(scene())
