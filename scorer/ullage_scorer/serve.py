"""Runs the scorer: database, projector, ingest, link to the broker, web server; and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import uvicorn
from sqlalchemy import exc as sa_exc
from ullage_protocols import topics
from ullage_protocols.keys import SigningKey
from ullage_protocols.mqtt import Link

from .app import create_app
from .auth import service as auth
from .config import ServeConfig
from .db.engine import Database, ProcessLock, explain, path_of
from .db.upgrade import require_current
from .errors import ConfigError
from .ingest.service import Ingest
from .web import House
from .worker import Worker

_log = logging.getLogger(__name__)


def now() -> datetime:
    """The scorer's clock: receive times, sessions, silence. No money is derived from it."""
    return datetime.now(UTC)


class _Server(uvicorn.Server):
    """A server that leaves the signals to us and says when it accepts."""

    def __init__(self, config: uvicorn.Config, ready: dict[str, Any]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(json.dumps(self._ready), flush=True)


def serve(config: ServeConfig) -> int:
    """Blocks until SIGTERM or SIGINT. Raises ScorerError or KeyFileError when it cannot start."""
    lock = ProcessLock(path_of(config.database))
    lock.take("ullage-scorer serve")
    try:
        with _listen(config.http) as listener:
            db = Database(config.database)
            try:
                if require_current(db) == "created":
                    _log.info("made a new database in %s", db.path)
                key = SigningKey.load_or_create(config.key)
                return _run(config, db, key, listener)
            finally:
                db.close()
    finally:
        lock.release()


def _listen(http: tuple[str, int]) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in http[0] else socket.AF_INET
        return socket.create_server(http, family=family, backlog=256)
    except OSError as exc:
        raise ConfigError(
            [f"--http {http[0]}:{http[1]} cannot be used ({os.strerror(exc.errno or 0)}); free it or give another"]
        ) from exc


def _run(config: ServeConfig, db: Database, key: SigningKey, listener: socket.socket) -> int:
    worker = Worker(db, clock=now)
    ingest = Ingest(db, key, clock=now, committed=worker.wake)
    broker = {"connected": False, "sentence": "not yet connected"}

    def on_state(connected: bool, sentence: str) -> None:
        broker.update(connected=connected, sentence=sentence)
        _log.info("%s", sentence)
        if connected:
            ingest.greet()

    link = Link(
        config.broker, client_id=f"ullage-scorer-{key.keyid[:12]}", subscribe=[topics.UP_OF_ALL],
        on_message=ingest.offer, on_state=on_state,
    )  # fmt: skip
    ingest.outlet = link

    def health() -> dict[str, Any]:
        database, lag = "ok", 0
        try:
            with db.read() as conn:
                lag = worker.lag(conn)
        except sa_exc.DBAPIError as exc:
            database = explain(exc, db.path)
        database = ingest.fault or worker.fault or database
        well = database == "ok" and bool(broker["connected"])
        return {
            "ok": well, "database": database, "broker": broker["sentence"], "broker_connected": broker["connected"],
            "projector_lag": lag, "waiting": ingest.waiting, "taken": ingest.taken,
        }  # fmt: skip

    app = create_app(House(db, key, now, worker.submit, auth.authenticate, health))
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    server = _Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=1, lifespan="off",
            ws="none",
        ),
        {"ready": True, "http": f"http://{shown}:{port}", "key": key.public.to_text()},
    )  # fmt: skip

    def stop(_signal: int, _frame: object) -> None:
        app.state.stopping.set()
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker.start()
    ingest.start()
    link.start()
    try:
        asyncio.run(server.serve([listener]))
    finally:
        app.state.stopping.set()
        link.stop()
        ingest.stop()
        worker.stop()
        sys.stdout.flush()
    _log.info("stopped")
    return 0
