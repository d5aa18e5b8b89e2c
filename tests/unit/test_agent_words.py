"""Whatever a device or a person calls itself: on terminals, in logs and in records it is words and no more."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

import pytest
from ullage_agent.planned.declared import Ask
from ullage_agent.say import say, speak
from ullage_agent.table_text import columns
from ullage_protocols.errors import WireError
from ullage_protocols.field.errors import FieldError, HostileError

EVIL = 'x" state=good why="\x1b]0;pwn\x07\x1b[2J\u202e\r\nFAKE'


@pytest.mark.parametrize("family", [FieldError, HostileError])
def test_a_devices_words_in_an_error_move_no_cursor(family: type[FieldError]) -> None:
    told = str(family(f"server ended the connection: {EVIL}"))
    assert told.isprintable()
    assert "FAKE" in told


def test_no_value_passes_for_another_field_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    say("device", product=EVIL, state="lost")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    parts = shlex.split(line)
    assert parts[1] == "device"
    assert [part.partition("=")[0] for part in parts[2:]] == ["product", "state"]
    assert parts[-1] == "state=lost"
    speak("json")
    try:
        say("device", product=EVIL, state="lost")
    finally:
        speak("text")
    told = json.loads(capsys.readouterr().err)
    assert told["product"].isprintable()
    assert told["state"] == "lost"


def test_a_table_stays_a_table() -> None:
    lines = columns([("tag", "value", ""), (EVIL, "1", "why")])
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("field", ["id", "line", "reason", "by"])
def test_a_declaration_is_one_plain_line(field: str) -> None:
    ask = Ask("m-1", "start", "line-1", "filters", "lead", None, None, datetime(2026, 1, 1, tzinfo=UTC)).to_json()
    assert Ask.from_json(ask).reason == "filters"
    with pytest.raises(WireError, match="cannot be printed"):
        Ask.from_json({**ask, field: "a\r\nb"})
