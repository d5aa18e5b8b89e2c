"""The agent's configuration: everything wrong is told at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from ullage_agent.__main__ import main
from ullage_agent.config import Config
from ullage_agent.config.places import Places
from ullage_agent.config.read import load, read
from ullage_agent.config.sample import SAMPLE
from ullage_agent.errors import ConfigError
from ullage_protocols.field.opcua.spec import OpcuaDevice
from ullage_protocols.keys import SigningKey

BAD = """\
[agent]
id = "Filler GW"
hearbeat = "15s"
[broker]
host = "127.0.0.1"
port = 99999
ca = "nope.pem"
[scorer]
public_key = "scorer.pub"
[production]
interval = "60"
[outbox]
limit = "1KB"
[[device]]
name = "plc"
protocol = "modbus-tcp"
host = "127.0.0.1"
scan = "250ms"
  [[device.tag]]
  name = "a"
  address = "bogus:1"
  [[device.tag]]
  name = "a"
  address = "holding:1"
  role = "counter"
  [[device.tag]]
  name = "n"
  address = "holding:2"
  role = "count"
[[device]]
name = "plc"
protocol = "profinet"
"""

FAULTS = """\
agent.toml:2: id "Filler GW" is not 1 to 64 characters of a-z, 0-9 and -; change it
agent.toml:3: unknown key 'hearbeat' in [agent]; did you mean 'heartbeat'?
agent.toml:6: port 99999 is not a whole number from 1 to 65535; change it
agent.toml:7: [broker] ca {folder}/nope.pem does not exist; check the path
agent.toml:9: public key {folder}/scorer.pub cannot be read: [Errno 2] No such file or directory: \
'{folder}/scorer.pub'; check the path in the configuration (the scorer prints its key; save it there)
agent.toml:11: interval "60" is not a duration; write it as "250ms", "5s", "1m" or "2h"
agent.toml:13: limit "1KB" is too small; use at least 100 KB
agent.toml:21: tag 'a': address 'bogus:1' is in no known notation; known are zero-based: holding:0, input:3, \
coil:1, discrete:2, hexadecimal holding:0x10; one-based: 40001 or 400001 (holding), 30001 (input), \
10001 (discrete), 00001 (coil), 4x0001
agent.toml:23: tag name 'a' is used twice; names are unique over all devices
agent.toml:25: role 'counter' is unknown; did you mean 'count'? use one of count, running, energy, setpoint, \
command, state, measurement
agent.toml:29: tag 'n' with role count names no line; add line = "line-1"
agent.toml:30: [device] lacks tag; add at least one [[device.tag]] to device 'plc'
agent.toml:31: device name 'plc' is used twice; names are unique
agent.toml:32: protocol 'profinet' is unknown; use one of modbus-tcp, modbus-tls, modbus-rtu, modbus-rtu-tcp, opcua
"""


def faults_of(text: str, path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, path)
    return [fault.replace(f"{path}:", "agent.toml:") for fault in caught.value.faults]


def test_every_fault_is_listed_with_its_line(tmp_path: Path) -> None:
    found = faults_of(BAD, tmp_path / "agent.toml")
    assert found == FAULTS.format(folder=tmp_path).splitlines()


def test_the_command_lists_them_on_stderr_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(BAD)
    assert main(["run", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == len(FAULTS.splitlines())
    assert not (tmp_path / "state").exists(), "nothing half-starts"


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[agent\n", 1, "not TOML"),
        ("[agent]\nid = 'a'\nid = 'b'\n", 3, "not TOML"),
        ("", 1, "lacks"),
        ("device = 3\n", 1, "array of tables"),
        ("agent = 3\n", 1, "must be a table"),
        ("[[agent]]\n", 1, "must be a table"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, line: int, word: str, tmp_path: Path) -> None:
    found = faults_of(text, tmp_path / "agent.toml")
    assert any(fault.startswith(f"agent.toml:{line}: ") and word in fault for fault in found), found


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"[agent]\n\xff\xfe")
    with pytest.raises(ConfigError, match=r":2: not UTF-8"):
        load(tmp_path / "binary.toml")


def sample(tmp_path: Path, text: str = SAMPLE) -> Config:
    (tmp_path / "scorer.pub").write_text(SigningKey.generate().public.to_text())
    return read(text, tmp_path / "agent.toml")


def test_the_sample_is_a_whole_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample-config"]) == 0
    config = sample(tmp_path, capsys.readouterr().out)
    assert config.state == tmp_path / "state"
    assert (config.heartbeat, config.interval, config.production, config.learn) == (15.0, 0.25, 60.0, 600.0)
    assert config.outbox == 256_000_000
    count = config.tags[0]
    assert (count.role, count.line, count.modulus) == ("count", "line-1", 65536)


def test_every_commented_key_of_the_sample_is_known_and_its_default(tmp_path: Path) -> None:
    lines = []
    for line in SAMPLE.splitlines():
        bare = line.strip().removeprefix("# ")
        commented = line.strip().startswith("# ") and (bare.startswith("[") or " = " in bare.split("#")[0])
        lines.append(bare if commented else line)
    text = (
        "\n".join(lines)
        .replace('trigger = ""', 'trigger = "line.count"')
        .replace('interval = "1s"', 'interval = "250ms"')
    )
    for name in ("ca.pem", "gateway.pem", "gateway.key", "agent.der", "agent.pem", "tank.der", "broker.password"):
        (tmp_path / name).write_text("secret\n")
    (tmp_path / "opcua.password").write_text("secret\n")
    full, plain = sample(tmp_path, text), sample(tmp_path)
    assert full.broker.password == "secret"
    assert isinstance(full.devices[1].spec, OpcuaDevice)
    assert full.devices[1].spec.security is not None
    assert full.tags == plain.tags
    assert full.devices[0] == plain.devices[0]
    for name in ("heartbeat", "learn", "production", "outbox", "baseline", "state", "interval"):
        assert getattr(full, name) == getattr(plain, name), name


@pytest.mark.parametrize(
    ("kind", "more", "modulus"),
    [
        ("uint16", "", 65536.0),
        ("int16", "", 65536.0),
        ("uint32", "", 2.0**32),
        ("uint64", "", None),
        ("float32", "", None),
        ("uint16", "rollover = 10000", 10000.0),
        ("uint16", "scale = 0.5", 32768.0),
    ],
)
def test_where_a_counter_rolls_over(kind: str, more: str, modulus: float | None, tmp_path: Path) -> None:
    text = SAMPLE.replace('type = "uint16"', f'type = "{kind}"\n{more}')
    assert sample(tmp_path, text).tags[0].modulus == modulus


def test_a_second_count_of_a_line_is_refused(tmp_path: Path) -> None:
    text = SAMPLE.replace('role = "running"', 'role = "count"').replace("discrete:0", "holding:99")
    with pytest.raises(ConfigError, match="line 'line-1' has two tags with role count"):
        sample(tmp_path, text)


def test_key_makes_a_key_before_any_other_file_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(SAMPLE)
    assert main(["key", "--config", str(file)]) == 0
    shown = capsys.readouterr().out.strip()
    assert shown == SigningKey.from_file(tmp_path / "state" / "agent.key").public.to_text()
    assert main(["key", "--config", str(file), "--json"]) == 0
    assert shown in capsys.readouterr().out


def test_places_step_over_strings_and_arrays_that_span_lines() -> None:
    places = Places('a = """\n[b]\nx = 1\n"""\nc = [\n  "d = 1",\n]\n[[t]]\ne = "]["\n[[t]]\n[[t.u]]\nf.g = 1\n')
    assert places.line(("c",)) == 5
    assert places.line(("t", 0, "e")) == 9
    assert places.line(("t", 1)) == 10
    assert places.line(("t", 1, "u", 0, "f", "g")) == 12
    assert places.line(("t", 1, "u", 0, "missing")) == 11
    assert places.line(("b",)) == 1
