"""The bench's own parts: a figure is worth what its counting is worth."""

from __future__ import annotations

import math
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.gateway.collectd import Collectd
from bench.gateway.contenders import Feed, Load
from bench.gateway.nodered import NodeRed
from bench.gateway.plant import Plant
from bench.gateway.table import table
from bench.gateway.thingsboard import ThingsBoard
from bench.gateway.tree import cost, family, stat_fields
from bench.gateway.trend import trend
from bench.gateway.ullage import Ullage
from bench.soak import _faults
from support.brokers import need
from ullage_agent.config.read import load as load_config
from ullage_plant.demo.processes import Children


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    need("cc")
    with Children() as children:
        made = Plant(children, tmp_path, 2, 130, cpu=min(os.sched_getaffinity(0)))
        yield made
        made.stop()


class Reader:
    """One connection to a device, a request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._number = 0

    def ask(self, pdu: bytes) -> bytes:
        self.send(pdu)
        return self.reply()

    def send(self, pdu: bytes) -> None:
        self._number += 1
        self._socket.sendall(struct.pack(">HHHB", self._number, 0, len(pdu) + 1, 9) + pdu)

    def reply(self) -> bytes:
        head = self._take(7)
        _, protocol, length, unit = struct.unpack(">HHHB", head)
        assert (protocol, unit) == (0, 9)
        return self._take(length - 1)

    def hears_nothing(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1) == b"never"
        except TimeoutError:
            return True

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def close(self) -> None:
        self._socket.close()


def read(address: int, count: int, function: int = 3) -> bytes:
    return struct.pack(">BHH", function, address, count)


def test_the_simulator_numbers_the_reads_of_register_one(plant: Plant) -> None:
    reader = Reader(plant.base)
    serials = [struct.unpack(">H", reader.ask(read(1, 1))[2:])[0] for _ in range(3)]
    reader.ask(read(2, 100))
    assert serials == [1, 2, 3]
    stats = plant.stats()
    assert stats["serials"] == [3, 0]
    assert (stats["requests"], stats["registers"]) == (4, 103)
    reader.close()


def test_the_simulator_refuses_what_a_device_would_refuse_and_counts_writes(plant: Plant) -> None:
    reader = Reader(plant.base + 1)
    assert reader.ask(read(100, 31)) == b"\x83\x02"
    assert reader.ask(read(0, 126)) == b"\x83\x03"
    assert reader.ask(struct.pack(">BHH", 6, 0, 1)) == b"\x86\x01"
    assert reader.ask(b"\x2b\x0e\x01\x00")[:2] == b"\x2b\x0e"
    assert (plant.stats()["writes"], plant.stats()["exceptions"]) == (1, 3)
    reader.close()


def test_requests_that_come_together_are_answered_in_order(plant: Plant) -> None:
    reader = Reader(plant.base)
    for count in (1, 2, 3):
        reader.send(read(1, count))
    assert [len(reader.reply()) for _ in range(3)] == [4, 6, 8]
    reader.close()


def test_a_hung_device_is_silent_and_a_killed_one_is_gone(plant: Plant) -> None:
    reader = Reader(plant.base)
    plant.ask("hang 0")
    reader.send(read(0, 1))
    assert reader.hears_nothing(0.3)
    plant.ask("kill 0")
    with pytest.raises(OSError, match=r"refused|reset"):
        Reader(plant.base)
    plant.ask("revive 0")
    again = Reader(plant.base)
    assert len(again.ask(read(0, 2))) == 6
    again.close()


def test_the_count_stands_while_counting_is_off(plant: Plant) -> None:
    assert plant.stats()["count"] == 0
    plant.ask("count on")
    while plant.stats()["count"] < 3:
        pass
    plant.ask("count off")
    stands = plant.stats()["count"]
    assert stands >= 3
    reader = Reader(plant.base)
    assert struct.unpack(">H", reader.ask(read(0, 1))[2:])[0] == stands == plant.stats()["count"]
    reader.close()


def test_a_family_is_a_process_with_its_descendants() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 30 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    while Path(f"/proc/{grandchild}/comm").read_text() != "sleep\n":  # it is still the shell's copy for a moment
        time.sleep(0.01)
    assert family(child.pid) == [child.pid, grandchild]
    assert cost(child.pid).rss > cost(grandchild).rss > 0
    os.kill(grandchild, 9)
    child.wait(timeout=5)
    child.stdout.close()


def test_a_name_with_brackets_does_not_shift_the_fields() -> None:
    text = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 100 20 3 0 20 0 1 0"
    assert stat_fields(text) == (3, 123 / os.sysconf("SC_CLK_TCK"))


def test_a_trend_knows_its_slope_and_how_sure_it_is() -> None:
    straight = trend([(float(second), 50 + 2.0 * second) for second in range(10)])
    assert (round(straight.slope, 9), straight.last) == (2.0, 68.0)
    noisy = trend([(float(second), 50 + (-1.0) ** second) for second in range(10)])
    assert abs(noisy.slope) < noisy.error * 2
    assert trend([(0.0, 1.0)]).error == math.inf


def test_growth_beyond_its_uncertainty_is_a_fault_and_noise_is_none() -> None:
    flat = trend([(10.0 * look, 40.0 + (look % 2)) for look in range(30)])
    leak = trend([(10.0 * look, 40.0 + 0.05 * look) for look in range(30)])
    step = trend([(10.0 * look, 40.0 + 0.001 * look) for look in range(30)])
    wild = trend([(10.0 * look, 40.0 + 12 * (look % 2)) for look in range(30)])
    assert wild.slope * 290 > 1
    assert _faults(wild, wild, 1.0, 290) == []
    assert _faults(flat, flat, 1.0, 290) == []
    assert _faults(step, step, 1.0, 290) == []
    assert len(_faults(leak, leak, 1.0, 290)) == 2


@pytest.mark.parametrize(
    ("contender", "topic", "payload"),
    [
        (ThingsBoard(), "v1/gateway/telemetry", b'{"d03": [{"ts": 1, "values": {"r0": 5, "r1": 17}}]}'),
        (NodeRed(), "nr/d03", b'{"ts": 1, "tags": {"r0": 5, "r1": 17}}'),
    ],
)
def test_a_peer_message_gives_its_tags_and_the_number_of_its_read(
    contender: ThingsBoard | NodeRed, topic: str, payload: bytes
) -> None:
    feed = Feed()
    contender.hear(feed, 4.0, topic, payload)
    assert (feed.first, feed.tags, feed.delivered) == (4.0, 2, {3: {17}})


def test_a_collectd_message_is_one_tag() -> None:
    feed = Feed()
    Collectd().hear(feed, 4.0, "collectd/d03/modbus-unit/gauge-r1", b"1795578935.470:17\0")
    Collectd().hear(feed, 5.0, "collectd/d03/modbus-unit/gauge-r2", b"1795578935.470:90\0")
    assert (feed.tags, feed.delivered) == (2, {3: {17}})


def test_the_agent_takes_the_configuration_of_the_reference_load(tmp_path: Path) -> None:
    contender = Ullage("ullage-200", 10)
    contender.prepare(Load(tmp_path, 20000, 20, 500, 1883, 1.0))
    config = load_config(tmp_path / "agent.toml")
    assert (len(config.devices), len(config.tags), len(config.watched)) == (20, 10000, 220)
    assert {device.scan for device in config.devices} == {1.0}


def test_the_table_holds_ours_against_the_best_peer() -> None:
    results = {
        "ullage": {"cost": {"cpu_per_million": 0.5}, "loss-frozen": {"acquired": 9, "lost": 0}},
        "a": {"cost": {"cpu_per_million": 2.0}, "loss-frozen": {"acquired": 9, "lost": 4}},
        "b": {"cost": {"failed": "it ended"}, "loss-frozen": {"acquired": 9, "lost": None}},
    }
    text = table(results, dict.fromkeys(results, ""))
    assert "0.5 (4x)" in text
    assert "failed" in text
    assert "4 of 9" in text
    assert "more than 0 of 9" in text
