"""Recorded histories as they are found: hostile, with holes, with clocks that jump."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ullage_plant.errors import PlantError
from ullage_plant.replay.history import History, parse_time
from ullage_plant.replay.image import ReplayImage, agent_config
from ullage_plant.replay.pace import Pace

HOSTILE = {
    "binary": (random.Random(1).randbytes(5000), "UTF-8"),
    "zero bytes": (b"time,a\n2020-01-01,\0\n", "zero bytes"),
    "empty": (b"", "is empty"),
    "one column": (b"time\n2020-01-01\n", "one column"),
    "other separator": (b"time;a\n2020-01-01;1\n", "separated by commas"),
    "no time": (b"a,b\n1,2\n", "first column is 'a'"),
    "label only": (b"time,label\n2020-01-01,0\n", "no tag"),
    "same name twice": (b"time,a,a\n2020-01-01,1,2\n", "two columns are called 'a'"),
    "unnamed column": (b"time,a,\n2020-01-01,1,2\n", "column 3 has no readable name"),
    "endless line": (b"time,a\n2020-01-01," + b"1" * 10_000_000 + b"\n", "longer than"),
    "endless header": (b"time," + b"a" * 10_000_000, "longer than"),
    "broken gzip": (gzip.compress(b"time,a\n" + b"2020-01-01,1\n" * 9000)[:60], "breaks off or is damaged"),
    "no gzip": (b"\x1f\x8b" + b"x" * 100, "breaks off or is damaged"),
}


@pytest.mark.parametrize(("content", "sentence"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_history_is_refused_with_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(PlantError, match=sentence):
        list(History(path).rows())


def test_a_file_that_is_not_there_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match="cannot read"):
        History(tmp_path / "nothing.csv")


@pytest.mark.parametrize("zipped", [False, True])
def test_holes_text_and_odd_rows_are_kept_as_holes(tmp_path: Path, zipped: bool) -> None:
    text = (
        "\ufefftime,a,b,label\r\n"
        "2020-01-01 00:00:00,1,-2.5,0\r\n"
        "2020-01-01T00:00:01Z,,text,1\r\n"
        "\r\n"
        "soon,nan,inf,\r\n"
        "2020-01-01T02:00:02+02:00,1e39\r\n"
        '2020-01-01,"3,4,0\r\n'
        "2020-01-02,5,6,0,7,8\r\n"
    ).encode()
    path = tmp_path / "file.csv.gz"
    path.write_bytes(gzip.compress(text) if zipped else text)
    history = History(path)
    rows = list(history.rows())
    assert history.tags == ("a", "b")
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.values for row in rows] == [(1, -2.5), (None, None), (None, None), (None, None), (None, None), (5, 6)]
    assert [row.holes for row in rows] == [0, 2, 2, 2, 2, 0]
    assert [row.misshapen for row in rows] == [False, False, False, True, True, True]
    assert [row.labelled for row in rows] == [False, True, False, False, False, False]
    assert rows[2].time is None
    assert rows[3].time == datetime(2020, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_a_time_without_a_zone_is_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert parse_time("2026-01-01 12:00:00") == parse_time("2026-01-01T13:00+01:00") == noon
    assert parse_time("0001-01-01T00:00:00+14:00") is None


def test_the_pace_is_the_files_own_and_survives_a_jumping_clock() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    pace = Pace(speed=2.0, rows_per_second=None)
    times = [0, 10, 20, None, 30, -1000, -990, 5000, 5010, 5010]
    waits, warned = [], []
    for place, offset in enumerate(times):
        waits.append(pace.wait(None if offset is None else start + timedelta(seconds=offset)))
        if pace.warning:
            warned.append(place)
    assert waits == [0, 5, 5, 5, 5, 5, 5, 5, 5, 0]
    assert warned == [3, 5, 7]


def test_a_fixed_rate_does_not_ask_the_clock() -> None:
    pace = Pace(speed=1.0, rows_per_second=50.0)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    assert [pace.wait(start + timedelta(hours=hour)) for hour in (0, 1, 2)] == [0.0, 0.02, 0.02]


def test_the_agent_configuration_names_every_tag_whatever_its_name() -> None:
    import tomllib

    tags = ["L_T1", 'quo"te', "back\\slash", "température °C"]
    image = ReplayImage(tags)
    config = tomllib.loads(agent_config(image, "127.0.0.1", 5020, 50))
    (device,) = config["device"]
    assert config["watch"] == {"trigger": "replay.row"}
    assert (device["protocol"], device["port"], device["unit"], device["scan"]) == ("modbus-tcp", 5020, 1, "50ms")
    assert device["tag"][0] == {"name": "replay.row", "address": "holding:0", "type": "uint32", "watch": False}
    assert [(tag["name"], tag["address"], tag["type"]) for tag in device["tag"][1:]] == [
        (name, f"holding:{2 + 2 * place}", "float32") for place, name in enumerate(tags)
    ]
