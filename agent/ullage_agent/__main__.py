"""The command ``ullage-agent``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ullage_models.errors import ModelError
from ullage_protocols.errors import ProtocolError

from .errors import AgentError, ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; 0 done, 1 not as it should be (``check``), 2 wrong use or configuration, told on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    if argv is None and given[:1] != ["run"]:
        # As other tools do: end quietly when `| head` has seen enough. Never where sockets are written to.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # These two have options of their own and carry what the running agent must not.
    if given[:1] == ["learn"]:
        from .offline.learn import main as learn

        return learn(given[1:])
    if given[:1] == ["backtest"]:
        from .offline.backtest import main as backtest

        return backtest(given[1:])
    args = _parser().parse_args(given)
    try:
        return _command(args)
    except ConfigError as exc:
        print("\n".join(exc.faults), file=sys.stderr)
    except (AgentError, ProtocolError, ModelError) as exc:
        print(f"ullage-agent {args.command}: {exc}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def _command(args: argparse.Namespace) -> int:
    if args.command == "sample-config":
        from .config.sample import SAMPLE

        print(SAMPLE, end="")
        return 0
    if args.command == "schema":
        from .config.schema import schema

        print(json.dumps(schema(), indent=2))
        return 0
    if args.command == "discover":
        from .discover import command as discover

        return discover(args)
    from .config.read import load

    if args.command == "key":
        return _key(load(args.config, files=False).key, as_json=args.json)
    if args.command == "maintenance":
        from .planned.maintenance import command

        return command(load(args.config, files=False), args)
    if args.command == "trust":
        from .trust import own, trust

        config = load(args.config, files=False)
        if args.own:
            return own(config, as_json=args.json)
        return trust(config, args.device, accept=args.accept, as_json=args.json)
    if args.command == "check":
        from .check import check

        return check(args.config, as_json=args.json)
    config = load(args.config)
    if args.command == "status":
        from .local.show import show

        return show(config, as_json=args.json)
    from .serve import serve

    return serve(config)


def _key(path: Path, *, as_json: bool) -> int:
    from ullage_protocols.keys import SigningKey

    public = SigningKey.load_or_create(path).public
    print(json.dumps({"key": public.to_text(), "keyid": public.keyid}) if as_json else public.to_text())
    return 0


def _discover(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", help="modbus://host[:port][/unit], modbus+rtu:///dev/ttyUSB0?baud=19200, "
                         "modbus+rtu+tcp://host[:port] or opc.tcp://host:port")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FILE", help="write a configuration to start from")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--units", default="", metavar="LIST", help="Modbus units such as 1,5,10-20; default 1-10,247")
    command.add_argument("--watch", type=_seconds, default=3.0, metavar="TIME", help="how long to watch; default 3s")
    command.add_argument("--pause", type=_seconds, default=0.0, metavar="TIME", help="between requests, such as 50ms")
    command.add_argument("--timeout", type=_seconds, default=1.0, metavar="TIME", help="of a request; default 1s")
    command.add_argument("--max-requests", type=int, default=1000, metavar="N", help="the most in all; default 1000")


def _seconds(text: str) -> float:
    """Seconds from "3s", "50ms", "1m", or a number of them."""
    number, unit = (text[:-2], 0.001) if text.endswith("ms") else (text.rstrip("sm"), 60.0 if text[-1:] == "m" else 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it as 3s or 50ms")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ullage-agent", description="Reads PLCs over Modbus and OPC UA, never writes; seals what it saw and sends it."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("run", "run the agent until it is stopped"),
        ("check", "read every device once and reach the broker; exit 0 if all is well, 1 if not"),
        ("status", "show what the running agent does; exit 0 if all is well, 1 if not"),
        ("key", "show the agent's public key; made where there is none"),
        ("trust", "show the certificates of OPC UA servers, and trust one whose fingerprint you give"),
        ("maintenance", "declare a planned stop, end it, or list them; sealed and on record"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument(
            "--config", type=Path, default=Path("agent.toml"), metavar="FILE", help="default agent.toml"
        )
        if name != "run":
            command.add_argument("--json", action="store_true", help="print JSON")
        if name == "trust":
            command.add_argument("device", nargs="?", help="the device; default: all OPC UA devices")
            command.add_argument("--accept", metavar="SHA256", help="trust the certificate with this fingerprint")
            command.add_argument("--own", action="store_true", help="make the agent's own certificate, or show it")
        if name == "maintenance":
            command.add_argument("action", choices=("start", "stop", "list"))
            command.add_argument("--reason", default="", help="why; start needs it")
            command.add_argument("--line", default="", help="the line; default: the whole site")
            command.add_argument("--start", metavar="TIME", help="when it starts or started; default now")
            command.add_argument("--end", metavar="TIME", help="its planned end (+2h: from its start), or its end")
            command.add_argument("--by", default="", metavar="NAME", help="who declares it; default: your user name")
    what = "look at a device that is not configured yet, reading only; exit 0 if anything answers, 1 if not"
    _discover(commands.add_parser("discover", help=what, description=what))
    commands.add_parser("sample-config", help="print a complete configuration with every default")
    commands.add_parser("schema", help="print the configuration's JSON Schema, for editors")
    commands.add_parser("learn", help="learn a baseline from a recorded history", add_help=False)
    commands.add_parser("backtest", help="run the detection over a recorded history", add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
