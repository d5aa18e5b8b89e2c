"""The program as it is started: commands, faults that end with a sentence and status 2, signals, the lock."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from ullage_scorer import config
from ullage_scorer.__main__ import main
from ullage_scorer.db.engine import Database, ProcessLock
from ullage_scorer.db.schema import metadata
from ullage_scorer.db.upgrade import migrate, require_current
from ullage_scorer.errors import ConfigError, DatabaseError
from unit.scorer_kit import key_of


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The program's main function, in this process because most of a start is the loading of libraries."""

    def inside(*args: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        status = main(list(args))
        return Done(status, *capsys.readouterr())

    return inside


def outside(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ullage_scorer", *args], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_enrol_key_and_rebuild_work_without_a_server(tmp_path: Path, run: Callable[..., Done]) -> None:
    public = key_of("a1").public.to_text()
    database = ("--database", "sqlite:///scorer.db")
    enrol = ("enrol", *database, "--agent", "a1", "--site", "plant-a", "--tenant", "acme", "--public-key")
    first = run(*enrol, public, "--json", cwd=tmp_path)
    assert (first.returncode, json.loads(first.stdout)["new"]) == (0, True)
    (tmp_path / "a1.pub").write_text(public + "\n")
    again = run(*enrol, "a1.pub", cwd=tmp_path)
    assert (again.returncode, again.stdout.strip()) == (0, json.loads(first.stdout)["scorer_key"])
    assert (tmp_path / "scorer.key").stat().st_mode & 0o077 == 0
    other = run(*enrol, key_of("a2").public.to_text(), cwd=tmp_path)
    assert (other.returncode, "Traceback" in other.stderr) == (2, False)
    assert "taken" in other.stderr
    rebuilt = run("rebuild", *database, "--json", cwd=tmp_path)
    assert (rebuilt.returncode, json.loads(rebuilt.stdout)["same"]) == (0, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("enrol", "--agent", "A b", "--site", "s", "--tenant", "t", "--public-key", "K"), "a-z"),
        (("enrol", "--agent", "a", "--site", "s", "--tenant", "t", "--public-key", "no.such.file"), "no.such.file"),
        (("enrol", "--agent", "a", "--site", "S/", "--tenant", "t", "--public-key", "K"), "site"),
        (("key", "--tenant", "*", "--role", "insurer"), "one tenant"),
        (("key", "--tenant", "T x", "--role", "insurer"), "tenant"),
    ],
)  # fmt: skip
def test_wrong_commands_end_with_a_sentence_and_status_2(
    tmp_path: Path, run: Callable[..., Done], args: tuple[str, ...], said: str
) -> None:
    given = [key_of("a").public.to_text() if a == "K" else a for a in args]
    found = run(given[0], "--database", "sqlite:///x.db", *given[1:], cwd=tmp_path)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_a_damaged_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database, it is a letter" * 100)
    found = outside("serve", "--database", "sqlite:///x.db", "--http", "127.0.0.1:0", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert "x.db is damaged" in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.db"]


def test_a_rebuild_of_a_database_that_is_not_there_makes_none(tmp_path: Path) -> None:
    found = outside("rebuild", "--database", "sqlite:///x.db", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert "there is no database x.db" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_torn_database_is_found_before_anything_starts(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    require_current(db)
    db.close()
    body = bytearray((tmp_path / "x.db").read_bytes())
    body[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    (tmp_path / "x.db").write_bytes(body)
    with pytest.raises(DatabaseError, match="damaged"):
        require_current(Database(f"sqlite:///{tmp_path / 'x.db'}"))


def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path, run: Callable[..., Done]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = f"127.0.0.1:{taken.getsockname()[1]}"
        found = run("serve", "--database", "sqlite:///x.db", "--http", http, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert f"--http {http} cannot be used (Address already in use)" in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_fault_of_a_configuration_is_listed_with_its_line(tmp_path: Path, run: Callable[..., Done]) -> None:
    (tmp_path / "s.toml").write_text(
        '[scorer]\ndatabase = "mysql://x"\nhttp = "here"\ncolour = "red"\n\n[broker]\naddress = "b:99999"\n'
        'certificate = "c.pem"\npassword_file = "nope"\n\n[extra]\nx = 1\n'
    )
    found = run("serve", "--config", "s.toml", cwd=tmp_path)
    assert (found.returncode, "Traceback" in found.stderr) == (2, False)
    for place in ("s.toml:2:", "s.toml:3:", "s.toml:4:", "s.toml:7:", "s.toml:8:", "s.toml:9:", "s.toml:11:"):
        assert place in found.stderr, found.stderr


def test_the_sample_configuration_is_valid_once_its_folder_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(config.SAMPLE.replace("/var/lib/ullage", str(tmp_path)))
    found = config.load(path, database=None, http="127.0.0.1:0", broker=None, key=None)
    assert (found.http, found.broker.port, found.key) == (("127.0.0.1", 0), 1883, tmp_path / "scorer.key")
    with pytest.raises(ConfigError, match="--database"):
        config.load(None, database=None, http=None, broker=None, key=None)


def test_migrations_give_exactly_the_tables_of_the_schema(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    before, after = migrate(db)
    assert (before, migrate(db)) == (None, (after, after))
    with db.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        assert set(inspect(conn).get_table_names()) == {*metadata.tables, "alembic_version"}
    db.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer"),
        ("DROP TABLE alembic_version", "another program"),
    ],
)
def test_a_database_of_another_version_is_refused(tmp_path: Path, statement: str, said: str) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    require_current(db)
    db.close()
    with sqlite3.connect(tmp_path / "x.db") as raw:
        raw.execute(statement)
    raw.close()
    for use in (require_current, migrate):
        with pytest.raises(DatabaseError, match=said):
            use(Database(f"sqlite:///{tmp_path / 'x.db'}"))  # type: ignore[operator]


def test_the_lock_keeps_a_second_program_away_and_a_dead_holder_does_not(tmp_path: Path) -> None:
    one, two = ProcessLock(tmp_path / "x.db"), ProcessLock(tmp_path / "x.db")
    one.take("ullage-scorer serve")
    with pytest.raises(DatabaseError, match=r"in use by ullage-scorer serve, process \d+"):
        two.take("ullage-scorer rebuild")
    one.release()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.db.lock").write_text("left by a killed process")
    two.take("ullage-scorer rebuild")
    two.release()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], Path]]:
    """A scorer whose broker is not there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        broker = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "-m", "ullage_scorer", "serve", "--database", f"sqlite:///{tmp_path / 'x.db'}",
         "--http", "127.0.0.1:0", "--broker", broker],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    yield process, json.loads(line), tmp_path
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)


def test_it_serves_without_a_broker_says_so_and_ends_clean(
    server: tuple[subprocess.Popen[str], dict[str, Any], Path], run: Callable[..., Done]
) -> None:
    process, ready, folder = server
    assert ready["ready"] is True
    assert ready["key"] == (folder / "x.key.pub").read_text().strip()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(ready["http"] + "/healthz", timeout=5)
    health = json.loads(refused.value.read())
    assert (refused.value.code, health["database"], health["broker_connected"]) == (503, "ok", False)
    busy = run("rebuild", "--database", f"sqlite:///{folder / 'x.db'}", cwd=folder)
    assert busy.returncode == 2
    assert "in use by ullage-scorer serve" in busy.stderr
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert time.monotonic() - begin < 3
    assert "Traceback" not in err
    assert sorted(p.name for p in folder.iterdir()) == ["x.db", "x.key", "x.key.pub"]


def test_an_open_stream_does_not_hold_it_up(
    server: tuple[subprocess.Popen[str], dict[str, Any], Path], run: Callable[..., Done]
) -> None:
    process, ready, folder = server
    token = run(
        "key", "--database", f"sqlite:///{folder / 'x.db'}", "--tenant", "acme", "--role", "auditor", cwd=folder
    ).stdout.strip()
    request = urllib.request.Request(ready["http"] + "/api/v1/stream", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as stream:
        assert stream.readline() == b": welcome\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert time.monotonic() - begin < 3
