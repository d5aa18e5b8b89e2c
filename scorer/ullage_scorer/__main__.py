"""ullage-scorer: serve, migrate, enrol, key, rebuild, sample-config."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import exc as sa_exc
from ullage_models.errors import ModelError
from ullage_protocols.errors import ProtocolError
from ullage_protocols.keys import PublicKey, SigningKey

from . import config, serve
from .auth import service as auth
from .db.engine import Database, ProcessLock, explain, path_of
from .db.scope import ROLES, SYSTEM
from .db.upgrade import migrate, require_current
from .errors import ConfigError, DatabaseError, ScorerError
from .ingest import state as agents
from .policies import service as policies
from .rebuild import rebuild
from .worker import Worker


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a rebuild that differs, 2 wrong usage, configuration or database."""
    args = _parser().parse_args(argv)
    if argv is None and args.run is not _serve:
        # As other tools do: end quietly when `| head` has seen enough. Never where sockets are written to.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        status: int = args.run(args)
    except ConfigError as exc:
        for fault in exc.faults:
            print(f"ullage-scorer: {fault}", file=sys.stderr)
        return 2
    except (ScorerError, ProtocolError, ModelError) as exc:
        print(f"ullage-scorer: {exc}", file=sys.stderr)
        return 2
    except sa_exc.DBAPIError as exc:
        print(f"ullage-scorer: {explain(exc, path_of(args.database))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ullage-scorer",
        description="Keeps the ledger of what agents measured; derives scores, premiums and claims.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, text: str, run: object, *, database: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if database:
            sub.add_argument("--database", required=name != "serve", metavar="URL", help="sqlite:///path/to/file.db")
        return sub

    sub = command("serve", "Run the scorer.", _serve)
    sub.add_argument("--http", metavar="HOST:PORT", help="where the API and the page listen (default 127.0.0.1:8080)")
    sub.add_argument("--broker", metavar="HOST:PORT", help="the MQTT broker (default 127.0.0.1:1883)")
    sub.add_argument("--key", metavar="FILE", help="the scorer's signing key (default: beside the database)")
    sub.add_argument("--config", type=Path, metavar="FILE.toml", help="a configuration file; flags override it")
    command("migrate", "Bring a database to this program's version.", _migrate)
    sub = command("enrol", "Make an agent's public key known; the site is made if it is missing.", _enrol)
    sub.add_argument("--agent", required=True, metavar="ID")
    sub.add_argument("--site", required=True)
    sub.add_argument("--tenant", required=True)
    sub.add_argument("--public-key", required=True, metavar="FILE|TEXT")
    sub.add_argument("--key", metavar="FILE", help="the scorer's signing key (default: beside the database)")
    sub.add_argument("--json", action="store_true")
    sub = command("key", "Make an API key and print its token once.", _key)
    sub.add_argument("--tenant", required=True, help="whose rows it reads; '*' is every tenant (role admin only)")
    sub.add_argument("--role", required=True, choices=ROLES)
    sub.add_argument("--site", action="append", help="limit it to this site; may be given several times")
    sub.add_argument("--note", default="")
    sub.add_argument("--json", action="store_true")
    sub = command("rebuild", "Replay the ledger and compare scores, premiums and claims byte for byte.", _rebuild)
    sub.add_argument("--replace", action="store_true", help="keep what was replayed even where it differs")
    sub.add_argument("--json", action="store_true")
    command("sample-config", "Print a configuration file to start from.", _sample, database=False)
    return parser


def _serve(args: argparse.Namespace) -> int:
    found = config.load(args.config, database=args.database, http=args.http, broker=args.broker, key=args.key)
    args.database = found.database
    return serve.serve(found)


def _sample(_args: argparse.Namespace) -> int:
    print(config.SAMPLE, end="")
    return 0


def _open(url: str) -> Database:
    db = Database(url)
    require_current(db)
    return db


def _migrate(args: argparse.Namespace) -> int:
    db = Database(args.database)
    lock = ProcessLock(db.path)
    lock.take("ullage-scorer migrate")
    try:
        before, after = migrate(db)
    finally:
        lock.release()
        db.close()
    print(f"{db.path}: " + (f"already at {after}" if before == after else f"{before or 'new'} -> {after}"))
    return 0


def _enrol(args: argparse.Namespace) -> int:
    public = _public_key(args.public_key)
    db = _open(args.database)
    try:
        key = SigningKey.load_or_create(Path(args.key) if args.key else db.path.with_suffix(".key"))
        worker = Worker(db, clock=serve.now)
        policies.ensure_site(worker.submit, SYSTEM, site=args.site, tenant=args.tenant)
        at = worker.submit(
            agents.ENROL,
            lambda conn: agents.prepare_enrol(
                conn, SYSTEM, agent=args.agent, tenant=args.tenant, site=args.site, public_key=public, at=serve.now()
            ),
        )
    finally:
        db.close()
    text = key.public.to_text()
    shown: dict[str, Any] = {"agent": args.agent, "site": args.site, "tenant": args.tenant, "new": at is not None}
    print(json.dumps(shown | {"scorer_key": text}) if args.json else text)
    return 0


def _public_key(given: str) -> str:
    if given.startswith("ed25519:"):
        return PublicKey.from_text(given).to_text()
    return PublicKey.from_file(Path(given)).to_text()


def _key(args: argparse.Namespace) -> int:
    db = _open(args.database)
    try:
        id_, token = auth.create_key(
            db, tenant=args.tenant, role=args.role, sites=args.site, note=args.note, now=serve.now()
        )
    finally:
        db.close()
    print(json.dumps({"id": id_, "token": token, "role": args.role, "tenant": args.tenant}) if args.json else token)
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    path = path_of(args.database)
    if not path.is_file():
        raise DatabaseError(f"there is no database {path} to rebuild; check the path")
    db = Database(args.database)
    lock = ProcessLock(db.path)
    lock.take("ullage-scorer rebuild")
    try:
        require_current(db)
        report = rebuild(db, replace=args.replace)
    finally:
        lock.release()
        db.close()
    if args.json:
        print(
            json.dumps(
                {
                    "before": report.before, "after": report.after, "same": report.same, "rows": report.rows,
                    "position": report.position, "chain": report.chain, "difference": report.difference,
                    "replaced": report.replaced,
                }
            )
        )  # fmt: skip
    else:
        print(f"ledger  {report.position} entries, chain {report.chain or '(empty)'}")
        print(f"before  {report.before}\nafter   {report.after}  ({report.rows} rows)")
        kept = "replaced by what was replayed" if report.replaced else "kept as it was; --replace keeps the replay"
        print("the same bytes" if report.same else f"DIFFERENT at {report.difference}\n{kept}")
    return 0 if report.same else 1


if __name__ == "__main__":
    raise SystemExit(main())
