"""``ullage-plant``: run the plant, replay a recorded history, attack or operate a running plant, tell the demo."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .errors import PlantError

MODBUS = "127.0.0.1:5020"
OPCUA = "127.0.0.1:4840"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 done, 2 usage or configuration fault (one sentence on stderr)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        story = importlib.import_module("ullage_plant.demo.story")
        return int(story.main(arguments[1:]))
    parser = _parser()
    try:
        given = parser.parse_args(arguments)
    except SystemExit as left:
        return int(left.code or 0)
    try:
        status: int = given.do(given)
    except PlantError as fault:
        sys.stderr.write(f"ullage-plant: {fault}\n")
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ullage-plant", description="A simulated plant with real field protocols.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve the simulated plant over Modbus TCP and OPC UA until stopped")
    run.add_argument("--modbus", default=MODBUS, metavar="HOST:PORT", help="port 0 chooses a free one (%(default)s)")
    run.add_argument("--opcua", default=OPCUA, metavar="HOST:PORT", help="port 0 chooses a free one (%(default)s)")
    run.add_argument("--truth", type=Path, metavar="FILE", help="append what truly happened to FILE, as JSON Lines")
    run.add_argument("--seed", type=int, default=1, help="same seed, same plant (%(default)s)")
    run.add_argument("--speed", type=_positive, default=1.0, help="plant seconds per second (%(default)s)")
    run.add_argument(
        "--count-start", type=_uint16, default=64900, help="first value of the bottle counter (%(default)s)"
    )
    run.set_defaults(do=_run)

    replay = commands.add_parser("replay", help="serve a recorded history (CSV, may be gzipped)")
    replay.add_argument("file", type=Path, metavar="FILE.csv[.gz]", help="first column 'time', then one column per tag")
    replay.add_argument("--modbus", metavar="HOST:PORT", help=f"serve Modbus TCP here ({MODBUS} if neither is given)")
    replay.add_argument("--opcua", metavar="HOST:PORT", help=f"serve OPC UA here ({OPCUA} if neither is given)")
    pace = replay.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=_positive, default=1.0, help="times the file's own spacing (%(default)s)")
    pace.add_argument("--rows-per-second", type=_positive, metavar="R", help="a fixed rate instead")
    replay.add_argument("--from", dest="since", metavar="TIME", help="first time to serve (without a zone: UTC)")
    replay.add_argument("--to", dest="until", metavar="TIME", help="last time to serve")
    replay.add_argument("--loop", action="store_true", help="start again at the end, until stopped")
    replay.add_argument("--wait-for-reader", action="store_true", help="hold the first row until somebody reads")
    replay.add_argument("--hold", type=_not_negative, default=1.0, metavar="S", help="keep the last row for S seconds")
    replay.add_argument("--stamp", choices=("row", "now"), default="row", help="OPC UA source time (%(default)s)")
    replay.add_argument("--agent-config", type=Path, metavar="FILE", help="write a starting configuration of an agent")
    replay.set_defaults(do=_replay)

    attack = commands.add_parser("attack", help="act as an attacker on the network of a running plant")
    attack.add_argument("name", nargs="?", metavar="NAME", help="see --list")
    attack.add_argument("--list", action="store_true", help="list the scenarios")
    attack.add_argument("--json", action="store_true", help="list as JSON")
    attack.add_argument("--modbus", default=MODBUS, metavar="HOST:PORT", help="the line controller (%(default)s)")
    attack.add_argument("--opcua", metavar="URL", help="ask the tank controller afterwards what it reports")
    attack.add_argument("--tag", help="another tag than the scenario's own")
    attack.add_argument("--value", type=float, help="another value than the scenario's own")
    attack.set_defaults(do=_attack)

    operate = commands.add_parser("operate", help="act as the operator of a running plant")
    operate.add_argument("action", choices=("reset",), help="restore setpoints, release forces, reset the trip, start")
    operate.add_argument("--modbus", default=MODBUS, metavar="HOST:PORT", help="the line controller (%(default)s)")
    operate.set_defaults(do=_operate)

    commands.add_parser("demo", help="the whole story from plant to claim, see demo --help")
    return parser


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0")
    return value


def _uint16(text: str) -> int:
    value = _number(text)
    if not (value.is_integer() and 0 <= value <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(value)


# The servers are imported where they are used: a list of scenarios or a usage fault needs none of them.


def _run(given: argparse.Namespace) -> int:
    from .faces.endpoint import parse
    from .run import RunOptions, run

    options = RunOptions(
        parse(given.modbus), parse(given.opcua), given.truth, given.seed, given.speed, given.count_start
    )
    return asyncio.run(run(options))


def _replay(given: argparse.Namespace) -> int:
    from .faces.endpoint import parse
    from .replay.history import parse_time
    from .replay.serve import ReplayOptions, replay

    neither = given.modbus is None and given.opcua is None
    modbus = MODBUS if neither else given.modbus
    opcua = OPCUA if neither else given.opcua
    limits = []
    for name, text in (("--from", given.since), ("--to", given.until)):
        time = None if text is None else parse_time(text)
        if text is not None and time is None:
            raise PlantError(f"{name} {text!r} is not a time: write YYYY-MM-DD HH:MM:SS or ISO 8601")
        limits.append(time)
    options = ReplayOptions(
        file=given.file,
        modbus=parse(modbus) if modbus else None,
        opcua=parse(opcua) if opcua else None,
        speed=given.speed,
        rows_per_second=given.rows_per_second,
        since=limits[0],
        until=limits[1],
        loop=given.loop,
        wait_for_reader=given.wait_for_reader,
        hold=given.hold,
        stamp_rows=given.stamp == "row",
        agent_config=given.agent_config,
    )
    return asyncio.run(replay(options))


def _attack(given: argparse.Namespace) -> int:
    from .scenarios import BY_SCENARIO, SCENARIOS

    if given.list or (given.json and given.name is None):
        if given.json:
            sys.stdout.write(json.dumps([asdict(scenario) for scenario in SCENARIOS], indent=2) + "\n")
        else:
            for one in SCENARIOS:
                sys.stdout.write(f"{one.name:17} {one.technique} {one.technique_name}: {one.meaning}\n")
        return 0
    scenario = BY_SCENARIO.get(given.name or "")
    if scenario is None:
        raise PlantError(f"no scenario is called {given.name!r}; the scenarios are {', '.join(BY_SCENARIO)}")
    from .faces.endpoint import parse
    from .station import attack

    tank = parse(given.opcua) if given.opcua else None
    told = attack(parse(given.modbus), scenario, given.tag, given.value, tank)
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _operate(given: argparse.Namespace) -> int:
    from .faces.endpoint import parse
    from .station import reset

    sys.stdout.write(json.dumps(reset(parse(given.modbus))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
