"""The parts of a check that need no device: clock, state folder, keys, trust, a running agent."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ullage_agent.__main__ import main
from ullage_agent.check import files, trust
from ullage_agent.check.clock import judged
from ullage_agent.check.devices import Look, look, spared
from ullage_agent.check.found import DeviceFound, Found, PartFound, TagFound
from ullage_agent.check.shown import as_json, as_text
from ullage_agent.clock import Clock
from ullage_agent.config import Config
from ullage_agent.config.read import read
from ullage_agent.field.clients import Clients
from ullage_agent.lock import FolderLock
from ullage_agent.trust import own
from ullage_protocols.keys import SigningKey

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TEXT = """
[agent]
id = "gw"
[broker]
host = "127.0.0.1"
port = 1
[scorer]
public_key = "scorer.pub"
[[device]]
name = "line"
protocol = "modbus-rtu"
serial = "/dev/does-not-exist"
  [[device.tag]]
  name = "a"
  address = "holding:0"
[[device]]
name = "tank"
protocol = "opcua"
url = "opc.tcp://127.0.0.1:1"
[device.security]
policy = "Basic256Sha256"
  [[device.tag]]
  name = "b"
  node = "ns=2;s=b"
"""


def config(folder: Path, text: str = TEXT) -> Config:
    return read(text, folder / "agent.toml", files=True, scorer=False)


def part(found: Config, name: str) -> PartFound:
    return next(one for one in files.parts(found, files.running(found)) if one.part == name)


def test_a_clock_before_what_has_happened_cannot_be_right() -> None:
    later = NOW + timedelta(days=3)
    found = judged(NOW, [("the end of the baseline", NOW), ("the last sealed record", later)], [])
    assert not found.good
    assert "3 days before the last sealed record" in found.told
    assert "timedatectl" in found.told
    assert judged(later, [("the last sealed record", later)], []).good


@pytest.mark.parametrize(("ahead", "good"), [(0.2, True), (-59.0, True), (61.0, False), (-7200.0, False)])
def test_a_clock_far_from_a_servers_is_told(ahead: float, good: bool) -> None:
    found = judged(NOW, [], [("tank", ahead), ("other", 0.0)])
    assert found.good is good
    assert "tank" in found.told


def test_the_state_folder_must_have_room_for_the_outbox(tmp_path: Path) -> None:
    assert "made at the first run" in part(config(tmp_path), "state").told
    wide = config(tmp_path, TEXT + '[outbox]\nlimit = "900000GB"\n')
    found = part(wide, "state")
    assert not found.good
    assert "too little room" in found.told
    assert not (tmp_path / "state").exists(), "a check makes nothing"


def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert not part(config(tmp_path), "state").good


def test_keys_are_parts_and_no_reason_to_stop(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert part(found, "key").good, "it is made at the first run"
    assert not part(found, "scorer").good
    key = SigningKey.load_or_create(found.key)
    (tmp_path / "scorer.pub").write_text(key.public.to_text())
    assert part(found, "scorer").good
    found.key.chmod(0o644)
    assert not part(found, "key").good


def test_certificates_that_are_missing_expired_or_fine(tmp_path: Path) -> None:
    found = config(tmp_path)
    missing = list(trust.parts(found, NOW))
    assert [one.good for one in missing] == [False, False]
    assert "ullage-agent trust tank" in missing[0].told
    own(found, as_json=True)
    pinned = found.state / "trust" / "tank.der"
    pinned.write_bytes((found.state / "trust" / "agent.der").read_bytes())
    now = datetime.now(UTC)
    assert [one.good for one in trust.parts(found, now)] == [True, True]
    soon, gone = now + timedelta(days=365 * 5 - 10), now + timedelta(days=365 * 5 + 10)
    assert all("renew it soon" in one.told for one in trust.parts(found, soon))
    assert all(not one.good and "expired" in one.told for one in trust.parts(found, gone))
    pinned.write_bytes(b"nonsense")
    assert [one.good for one in trust.parts(found, now)] == [False, True]


def test_a_running_agents_serial_line_is_not_touched(tmp_path: Path) -> None:
    import asyncio

    found = config(tmp_path)
    assert files.running(found) is None
    lock = FolderLock(found.state)
    try:
        at_work = files.running(found)
        assert at_work is not None
        assert at_work.process == os.getpid()
        assert part(found, "agent").good
        assert spared(found, at_work) == {"line"}
        looking = Look(found.devices[0], spared=True)
        asyncio.run(look(looking, Clients(), Clock(), 1))
        assert [tag.good for tag in looking.tags] == [True]
        assert "running agent" in looking.tags[0].reason
    finally:
        lock.release()


def test_a_table_and_json_say_the_same() -> None:
    tag = TagFound("plc", "level", 23.5, "23.5 %", "%", "", "good", 0.1, 0.002, "")
    bad = TagFound("plc", "state", None, "", "", "", "bad", None, None, "device refused")
    device = DeviceFound("plc", "opcua", "opc.tcp://h:1", "ACME", "X", "", "1", "Running", True, True, "ab",
                         "2030-01-01T00:00:00+00:00", 0.1, True, "")  # fmt: skip
    found = Found((tag, bad), (device,), (PartFound("broker", True, "connected"),))
    text, told = as_text(found), json.loads(as_json(found))
    assert "1 of 4 not as they should be" in text
    assert told["good"] is False
    assert told["tags"][0]["value"] == 23.5
    for word in (
        "23.5 %",
        "device refused",
        "ACME X 1 Running",
        "anonymous login allowed",
        "certificate until 2030-01-01",
    ):
        assert word in text, word


def test_exit_status_tells_a_configuration_fault_from_a_bad_plant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(TEXT.replace("/dev/does-not-exist", str(tmp_path / "no-port")))
    assert main(["check", "--config", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {tag["quality"] for tag in told["tags"]} == {"bad"}
    assert all(tag["reason"] for tag in told["tags"])
    file.write_text(TEXT.replace("holding:0", "nowhere:0"))
    assert main(["check", "--config", str(file)]) == 2
