"""A scorer in a folder: a real database, the real ingest, projector and API; agents that seal real records."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from ullage_protocols import envelope, topics, wire
from ullage_protocols.event import Event
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Anomaly, DeviceState, Heartbeat, Hello, Message, Production, TagShare, Technique
from ullage_protocols.mqtt import Incoming
from ullage_protocols.receipt import Down, Receipt
from ullage_scorer.app import create_app
from ullage_scorer.auth import service as auth
from ullage_scorer.db.engine import Database
from ullage_scorer.db.scope import SYSTEM
from ullage_scorer.db.upgrade import require_current
from ullage_scorer.ingest import state as agents
from ullage_scorer.ingest.service import Ingest
from ullage_scorer.policies import service as policies
from ullage_scorer.web import House
from ullage_scorer.worker import Worker

Said = tuple[Message, datetime]
T0 = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def key_of(name: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(name.encode()).digest())


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: datetime = T0) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Pen:
    """An agent's side: seals messages into a chain."""

    agent: str
    key: SigningKey
    sequence: int = 0
    head: str = ""
    bootid: str = "boot-1"
    sealed: list[bytes] = field(default_factory=list)

    def write(self, message: Message, at: datetime, **changes: Any) -> Incoming:
        event = Event(
            self.agent, self.sequence + 1, self.bootid, self.sequence * 1000, self.head, at, "", message
        )  # fmt: skip
        return self.write_payload(replace(event, **changes).encode())

    def write_raw(self, **changes: Any) -> Incoming:
        """A record whose body is changed after the fact, correctly signed and chained."""
        event = Event(self.agent, self.sequence + 1, self.bootid, 0, self.head, T0, "", beat())
        return self.write_payload(wire.encode({**wire.decode(event.encode()), **changes}))

    def write_payload(self, payload: bytes) -> Incoming:
        self.sequence += 1
        self.head = envelope.digest(payload)
        raw = envelope.seal(payload, envelope.EVENT, self.key)
        self.sealed.append(raw)
        return Incoming(topics.up(self.agent), raw, object())


class Outbox:
    """Stands where the link to the broker stands: keeps what was acknowledged and published, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        self.log.append((topic, payload))
        return True

    def ack(self, incoming: Incoming) -> None:
        self.log.append(("ack", incoming))

    def receipts(self, key: SigningKey) -> list[Receipt]:
        return [Receipt.open(raw, key.public) for topic, raw in self.log if topic.endswith("/receipt")]

    def requests(self, key: SigningKey) -> list[Down]:
        return [Down.open(raw, key.public) for topic, raw in self.log if topic.endswith("/down")]

    @property
    def acked(self) -> int:
        return sum(1 for topic, _ in self.log if topic == "ack")


@cache
def _fresh() -> bytes:
    """A migrated, empty database: made once, copied for every test."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/scorer.db")
        require_current(db)
        db.close()
        return db.path.read_bytes()


class Kit:
    """A scorer without processes: everything real but the broker."""

    def __init__(self, folder: Path, *, pragmas: tuple[str, ...] = ()) -> None:
        self.url = f"sqlite:///{folder / 'scorer.db'}"
        self.pragmas = pragmas
        self.key = key_of("scorer")
        self.clock = Clock()
        self.open()

    def open(self) -> None:
        self.db = Database(self.url, pragmas=self.pragmas)
        if not self.db.path.exists():
            self.db.path.write_bytes(_fresh())
        require_current(self.db)
        self.worker = Worker(self.db, clock=self.clock)
        self.ingest = Ingest(self.db, self.key, clock=self.clock, committed=self.worker.wake)
        self.out = Outbox()
        self.ingest.outlet = self.out
        house = House(
            self.db, self.key, self.clock, self.worker.submit, auth.authenticate,
            lambda: {"ok": True, "database": "ok"},
        )  # fmt: skip
        self.app = create_app(house)

    def restart(self) -> None:
        self.db.close()
        self.open()

    def close(self) -> None:
        self.db.close()

    def token(self, tenant: str, role: str = "admin", sites: list[str] | None = None) -> str:
        return auth.create_key(self.db, tenant=tenant, role=role, sites=sites, note="", now=self.clock())[1]

    def client(self, tenant: str, role: str = "admin", sites: list[str] | None = None) -> TestClient:
        token = self.token(tenant, role, sites)
        return TestClient(self.app, headers={"authorization": f"Bearer {token}"}, raise_server_exceptions=False)

    def enrol(self, agent: str, *, site: str = "plant-a", tenant: str = "acme") -> Pen:
        policies.ensure_site(self.worker.submit, SYSTEM, site=site, tenant=tenant)
        key = key_of(agent)
        self.worker.submit(
            agents.ENROL,
            lambda conn: agents.prepare_enrol(
                conn, SYSTEM, agent=agent, tenant=tenant, site=site, public_key=key.public.to_text(), at=self.clock()
            ),
        )
        return Pen(agent, key)

    def send(self, *batch: Incoming) -> None:
        self.ingest.handle(batch)

    def tell(self, pen: Pen, *messages: tuple[Message, datetime]) -> None:
        """Seals, sends and projects."""
        self.send(*[pen.write(message, at) for message, at in messages])
        self.worker.catch_up()


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def beat(**changes: Any) -> Heartbeat:
    return replace(Heartbeat(10.0, 1, 0.01, False, (DeviceState("plc", "good", 1.0),)), **changes)


def hello() -> Hello:
    return Hello("0.1.0", "start", ("plc",), ("plc.level",), "a" * 64, T0, T0, 100)


def made(
    start: float, end: float, count: int | None, *, line: str = "filling", observed: float = 1.0
) -> tuple[Message, datetime]:
    running = 0.0 if not count else end - start
    return Production(line, at(start), at(end), count, running, None, observed), at(end)


def anomaly(
    episode: str, phase: str, severity: float, start: float, now: float, *, kind: str = "process"
) -> tuple[Message, datetime]:
    return (
        Anomaly(
            episode, phase, kind, severity, 9.0, 3.0, at(start), at(now) if phase == "close" else None,
            (TagShare("plc.level", 0.7, 1.0, 2.0), TagShare("plc.valve", 0.3, None, None)),
            (Technique("T0836", "Modify Parameter", "a setpoint moved"),),
        ),
        at(now),
    )  # fmt: skip


def policy(**changes: Any) -> dict[str, Any]:
    """Terms of a policy: 60 s waiting (excess), 2.5 CNY a bottle."""
    cover = {
        "limit": "8000000", "waiting_seconds": 60, "contribution_per_unit": "2.5",
        "indemnity_period_seconds": 86400 * 90,
        "standard_output": {"window_seconds": 600, "min_measured_seconds": 30, "recovery_hold_seconds": 5},
        **changes.pop("cover", {}),
    }  # fmt: skip
    return {
        "id": "p-1", "site": "plant-a", "insured": "Acme Bottling", "sector": "key_manufacturing", "currency": "CNY",
        "start": "2026-11-23T00:00:00Z", "end": "2027-11-23T00:00:00Z", "cover": cover,
        "rating": {"annual_gross_profit": "40000000"}, **changes,
    }  # fmt: skip


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Observes until a condition holds; fails after a bound."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


def stopped(start: float, end: float, *, line: str = "filling") -> list[Said]:
    """Intervals of 10 s in which nothing was made."""
    return [made(s, s + 10, 0, line=line) for s in range(int(start), int(end), 10)]


def running(start: float, end: float, *, line: str = "filling") -> list[Said]:
    """Intervals of 10 s with 20 bottles each: 7,200 an hour."""
    return [made(s, s + 10, 20, line=line) for s in range(int(start), int(end), 10)]
