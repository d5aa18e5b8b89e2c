"""``ullage-agent discover``: first contact with a device that nobody has configured yet. It reads, and nothing else."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from ..errors import AgentError
from ..progress import Progress
from . import modbus, opcua
from .found import ServerFound, UnitFound
from .shown import as_json, server_text, units_text
from .starting import configuration
from .target import OpcuaTarget, target

_LEAST, _MOST = 20, 100_000


def command(args: argparse.Namespace) -> int:
    """0 when something answered, 1 when nothing did. AgentError for wrong use, FieldError where nobody is there."""
    wanted = target(args.url, args.units, args.timeout)
    if not _LEAST <= args.max_requests <= _MOST or not 0 <= args.pause <= 10 or not 0 <= args.watch <= 600:
        raise AgentError(f"--max-requests is {_LEAST} to {_MOST}, --pause up to 10 s, --watch up to 600 s")
    if args.out is not None and args.out.exists():
        raise AgentError(f"{args.out} exists already and is not overwritten; give --out another name")
    units: list[UnitFound] = []
    server: ServerFound | None = None
    if isinstance(wanted, OpcuaTarget):
        server = opcua.look(wanted.url, max(args.timeout, 2.0), 30.0)
    else:
        progress = Progress(sys.stderr)
        try:
            looking = modbus.look(wanted, args.max_requests, args.pause, args.watch, progress.show)
            units = asyncio.run(looking)
        finally:
            progress.end()
    print(as_json(units, server) if args.json else server_text(server) if server else units_text(units))
    if args.out is not None:
        _keep(args.out, configuration(args.url, units, server))
    return 0 if units or server else 1


def _keep(path: Path, text: str) -> None:
    if not text:
        raise AgentError(f"nothing was found that a tag can be made of; {path} is not made")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as exc:
        raise AgentError(f"{path} cannot be made ({exc.strerror}); check the folder") from exc
    print(f"{path}: a configuration to start from; try it with `ullage-agent check --config {path}`", file=sys.stderr)
