"""Whatever stands in a configuration file, the reader gives a Config or tells its faults: nothing else ever comes out.

Bounded by count, not by time: what hangs is seen by the suite's own end. Every run tries the same inputs.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ullage_agent.config.read import MAX_TEXT, load, read
from ullage_agent.config.sample import SAMPLE
from ullage_agent.errors import ConfigError
from ullage_protocols.errors import KeyFileError
from ullage_protocols.keys import PublicKey

FILE = Path("agent.toml")
FULL = re.sub(r"(?m)^(\s*)# (?=\[|\w+ = )", r"\1", SAMPLE)
"""The sample with every comment that is a key taken away: each key of each protocol stands in it."""
PIECES = (
    "[", "]", "[[", "]]", "{", "}", "=", '"', "'", '"""', "'''", ",", ".", "#", "\\", "\n", "\r", "\t", "\0", "\x7f",
    "0x", "0o9", "1e400", "-nan", "inf", "9" * 400, "-1", "true", "1979-05-27T07:32:00Z", "07:32:00", "\\ud800",
    "\\U0010ffff", "\ufeff", "\u202e", "é", "[agent]", "[[device]]", "[[device.tag]]", "[device.security]",
    'id = "x"', "device = 3", "device = [[]]", "device = [{tag = [{}]}]", "tag.name = 3", "a.b.c = {d.e = 1}",
    'host = ["a"]', "scan = 3", 'scan = "9999999h"', 'limit = "999999999GB"', "port = 1_000_000_000_000_000_000",
    "rollover = 1e309", "scale = nan", "scale = inf", "bit = -0", 'address = "holding:0x10000"', 'address = "4x99999"',
    'node = "ns=99999999999;i=-1"', 'url = "opc.tcp://[::1"', 'url = "opc.tcp://h:99999999"', 'url = "opc.tcp://a@b:1"',
)  # fmt: skip


def judged(text: str) -> bool:
    """Whether the text is a configuration; anything but ConfigError is let out."""
    try:
        read(text, FILE, files=False)
    except ConfigError as exc:
        faults = exc.faults
    else:
        return True
    assert faults
    assert all(re.match(r"agent\.toml:\d+: \S", fault) and len(fault) < 1200 for fault in faults), faults
    return False


def mutated(source: random.Random, text: str) -> str:
    """A few small changes somewhere in a text."""
    for _ in range(source.randint(1, 4)):
        at, until = sorted(source.randrange(len(text) + 1) for _ in range(2))
        match source.randrange(6):
            case 0:
                text = text[:at] + source.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + source.randint(1, 30) :]
            case 2:
                text = text[:at] + source.choice(PIECES) + text[at + source.randint(1, 8) :]
            case 3:
                lines = text.splitlines(keepends=True)
                lines.insert(source.randrange(len(lines) + 1), source.choice(lines or [""]))
                text = "".join(lines)
            case 4:
                text = (
                    text[:at]
                    + chr(source.choice((source.randrange(0xD800), source.randrange(0xE000, 0x110000))))
                    + text[at:]
                )
            case _:
                text = text[:at] + text[until : until + 200] + text[at:]
    return text


def test_the_full_sample_is_a_configuration_so_that_mutations_start_deep() -> None:
    assert judged(FULL.replace('trigger = ""', 'trigger = "line.count"'))


@pytest.mark.parametrize("seed", range(8))
def test_mutated_samples_are_read_or_told(seed: int) -> None:
    source = random.Random(seed)
    outcomes = {judged(mutated(source, source.choice((SAMPLE, FULL)))) for _ in range(250)}
    assert outcomes == {True, False}, "some mutations are harmless, some are not"


@pytest.mark.parametrize("seed", range(4))
def test_pieces_put_together_are_read_or_told(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(500):
        judged(source.choice(("", " ", "\n", "\n\n")).join(source.choices(PIECES, k=source.randint(0, 40))))


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_told(text: str) -> None:
    judged(text)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_in_a_file_are_read_or_told(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_bytes(raw)
    with pytest.raises(ConfigError):
        load(file, files=False)


def _values() -> Iterator[str]:
    yield from ("3", "-3", "1.5", "true", "nan", "inf", "-inf", "1e308", "[]", "{}", "[[]]", "[{}]", "[1, 'a', {}]")
    yield from ("''", '"\\u0000"', '"\\U0010FFFF"', "1979-05-27", "07:32:00", "1979-05-27T07:32:00+01:00")
    yield from ("9" * 20, "-" + "9" * 4000, "0x" + "f" * 5000, f'"{"é" * 5000}"', "{a = {b = {c = [[[]]]}}}")
    yield from ('"1e9h"', '"999999999d"', '"999999999GB"', '"0ms"', '"٣s"', '"1\\n"', '"holding:٣"')


@pytest.mark.parametrize("value", list(_values()), ids=range(len(list(_values()))))
def test_every_key_with_a_value_that_nobody_expects(value: str) -> None:
    lines = FULL.splitlines()
    for number, line in enumerate(lines):
        if (found := re.match(r"\s*\w+ = ", line)) is not None:
            judged("\n".join([*lines[:number], found[0] + value, *lines[number + 1 :]]))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 50_000,
        "a = " + "[" * 400 + "]" * 400,
        "a = " + "{b = " * 20_000,
        "a = " + "{b = " * 300 + "1" + "}" * 300,
        "[" + "a." * 20_000 + "b]",
        "a." * 20_000 + "b = 1",
        "[[" + "a." * 3_000 + "b]]\n" + "[[" + "a." * 3_000 + "b]]",
        "[[device]]\n" * 20_000,
        "[[device]]\n[[device.tag]]\n" * 5_000,
        "".join(f"k{n} = 1\n" for n in range(20_000)),
        'a = "' + "\\" * 100_001,
        'a = """' + '"' * 50_000,
        "a = 1" + "0" * 100_000,
        "\n" * 900_000,
        "\n".join(f"a{n}.b.c = {{x = 1}}" for n in range(20_000)),
        "a = {" + "b." * 50_000 + "c = 1}",
        '"a".' * 50_000 + "b = 1",
        "a = [\n" + "#" * 50_000 + "\n" * 50_000,
        '"' * 100_000,
    ],
    ids=range(19),
)
def test_deep_long_and_lopsided_files_are_told(text: str) -> None:
    assert not judged(text)


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[" * (MAX_TEXT + 1))
    with pytest.raises(ConfigError, match="longer than"):
        load(tmp_path / "agent.toml")


def test_a_lone_surrogate_is_told(tmp_path: Path) -> None:
    assert not judged('[agent]\nid = "\\ud800"\n')
    judged(SAMPLE.replace("line.count", "line\udfff.count").replace("0.2.10", "0.2.\udc80"))
    (tmp_path / "agent.toml").write_bytes(SAMPLE.encode().replace(b"line.count", b"line\xed\xa0\x80"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "agent.toml", files=False)


def test_an_endless_integer_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^agent\.toml:3: not TOML"):
        read("[agent]\n\na = 1" + "0" * 5000, FILE)
    with pytest.raises(ConfigError, match=r"agent\.toml:2: heartbeat \(a value beyond all bounds\) is not a duration"):
        read("[agent]\nheartbeat = 0x" + "f" * 5000, FILE, files=False)


def test_of_thousands_of_unknown_keys_the_first_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        read("".join(f"k{n} = 1\n" for n in range(5000)), FILE)
    told = [fault for fault in caught.value.faults if "unknown key" in fault]
    assert (len(told), told[-1]) == (21, "agent.toml:21: and 4980 more unknown keys in [the file]")


@pytest.mark.parametrize("kind", ["pipe", "zero", "long", "folder"])
def test_a_configuration_that_is_no_small_file_is_told_and_never_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)
    with pytest.raises(KeyFileError):
        PublicKey.from_file(path)
