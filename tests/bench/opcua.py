"""Measures the OPC UA client beside asyncua's, on one server: ``python tests/bench/opcua.py [--json]``.

One asyncua server in a process of its own holds ``--tags`` doubles (``--mixed``: doubles, floats, integers and truths
in turn). Each client runs in a process of its own, one after the other, first reading all tags ``--rounds`` times,
then subscribed to all of them while the server changes every one each ``--interval`` seconds (longer where the server
does not manage). What counts is processor time of the client per million values; of ours, that of the agent's side
and of its reading process are told apart. Resident memory is read at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SLICE = 1e9
WAIT = 60.0


def cpu(pid: int) -> float:
    """Processor seconds of all threads of a process."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    ) / SLICE  # fmt: skip


def rss(pid: int) -> float:
    """Resident megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def values(tags: int, mixed: bool, turn: int) -> list[Any]:
    from asyncua import ua

    kinds = [ua.VariantType.Double, ua.VariantType.Float, ua.VariantType.Int32, ua.VariantType.Boolean]
    made = []
    for tag in range(tags):
        kind = kinds[tag % 4] if mixed else kinds[0]
        number = turn + tag / 7
        value = bool((turn + tag) % 2) if kind == kinds[3] else int(number) if kind == kinds[2] else number
        made.append(ua.Variant(value, kind))
    return made


async def serve(tags: int, mixed: bool, interval: float) -> None:
    from asyncua import Server, ua

    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/bench")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    folder = await server.nodes.objects.add_folder(ua.NodeId("bench", 2), "bench")
    nodes = [
        (await folder.add_variable(ua.NodeId(f"t{tag}", 2), f"t{tag}", value)).nodeid
        for tag, value in enumerate(values(tags, mixed, 0))
    ]
    async with server:
        assert server.bserver is not None
        assert server.bserver._server is not None
        print(server.bserver._server.sockets[0].getsockname()[1], flush=True)
        turn = 0
        while True:
            began = time.monotonic()
            turn += 1
            now = datetime.now(UTC).replace(tzinfo=None)
            for node, value in zip(nodes, values(tags, mixed, turn), strict=True):
                found = ua.DataValue(value, ua.StatusCode(), SourceTimestamp=now, ServerTimestamp=now)
                await server.iserver.aspace.write_attribute_value(node, ua.AttributeIds.Value, found)
            # The server's processor is its own; half of it is left to answer.
            await asyncio.sleep(max(interval - (time.monotonic() - began), time.monotonic() - began))


async def ours(port: int, tags: int, rounds: int, interval: float) -> dict[str, Any]:
    from ullage_protocols.field.opcua.client import OpcuaClient
    from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSubscription, OpcuaTag

    url = f"opc.tcp://127.0.0.1:{port}/bench"
    points = tuple(OpcuaTag(f"t{tag}", f"ns=2;s=t{tag}") for tag in range(tags))
    told: dict[str, Any] = {}
    for way in ("read", "subscribe"):
        wanted = OpcuaSubscription(interval) if way == "subscribe" else None
        client = OpcuaClient(
            OpcuaDevice("bench", url, timeout=20.0, tags=points, subscription=wanted), lambda: datetime.now(UTC)
        )
        await client.connect()
        turn = client.changes if wanted else client.read
        for _ in range(5):
            await turn()
        child = client.process
        assert child is not None
        before = cpu(os.getpid()), cpu(child)
        seen = 0
        end = time.monotonic() + WAIT
        target = tags * rounds if not wanted else tags * rounds // 4
        while seen < target and time.monotonic() < end:
            scan = await turn()
            assert scan.bad == 0
            seen += len(scan)
        agent, reader = cpu(os.getpid()) - before[0], cpu(child) - before[1]
        told[way] = {
            "values": seen,
            "agent": agent / seen * 1e6,
            "reader": reader / seen * 1e6,
            "both": (agent + reader) / seen * 1e6,
            "rss_agent_side": rss(os.getpid()),
            "rss_reader": rss(child),
        }
        await client.close()
    return told


async def theirs(port: int, tags: int, rounds: int, interval: float) -> dict[str, Any]:
    from asyncua import Client, ua

    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    told: dict[str, Any] = {}
    async with Client(f"opc.tcp://127.0.0.1:{port}/bench", timeout=20) as client:
        nodes = [client.get_node(f"ns=2;s=t{tag}") for tag in range(tags)]
        wanted = ua.ReadParameters()
        wanted.TimestampsToReturn = ua.TimestampsToReturn.Both
        wanted.NodesToRead = [ua.ReadValueId(NodeId=node.nodeid, AttributeId=ua.AttributeIds.Value) for node in nodes]
        rounds = max(rounds // 10, 10)
        before, seen = cpu(os.getpid()), 0
        for _ in range(rounds):
            seen += len(await client.uaclient.read(wanted))
        told["read"] = {"values": seen, "both": (cpu(os.getpid()) - before) / seen * 1e6, "rss": rss(os.getpid())}

        class Count:
            seen = 0

            def datachange_notification(self, _node: object, _value: object, _data: object) -> None:
                self.seen += 1

        count = Count()
        subscription = await client.create_subscription(interval * 1000, count)
        await subscription.subscribe_data_change(nodes, queuesize=10)
        end = time.monotonic() + WAIT
        while count.seen < 3 * tags and time.monotonic() < end:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0.1)
        before, start = cpu(os.getpid()), count.seen
        while count.seen - start < tags * rounds and time.monotonic() < end:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0.1)
        seen = count.seen - start
        told["subscribe"] = {"values": seen, "both": (cpu(os.getpid()) - before) / seen * 1e6, "rss": rss(os.getpid())}
    return told


def table(found: dict[str, Any]) -> str:
    lines = [
        "| client | way | values | CPU-s per million values | agent's side + reader | RSS, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, ways in found.items():
        for way, told in ways.items():
            split = f"{told['agent']:.3f} + {told['reader']:.3f}" if "agent" in told else ""
            memory = (
                f"{told['rss_agent_side']:.0f} (with numpy) + {told['rss_reader']:.0f}"
                if "rss_reader" in told
                else f"{told['rss']:.0f}"
            )
            lines.append(f"| {name} | {way} | {told['values']} | {told['both']:.3f} | {split} | {memory} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tags", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--interval", type=float, default=0.1)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role == "server":
        asyncio.run(serve(args.tags, args.mixed, args.interval))
    if args.role:
        run = ours if args.role == "ours" else theirs
        print(json.dumps(asyncio.run(run(args.port, args.tags, args.rounds, args.interval))))
        return 0
    command = [
        sys.executable, __file__, "--tags", str(args.tags), "--rounds", str(args.rounds),
        "--interval", str(args.interval), *(["--mixed"] if args.mixed else []),
    ]  # fmt: skip
    server = subprocess.Popen([*command, "--role", "server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        found = {
            name: json.loads(
                subprocess.run([*command, "--role", role, "--port", port], stdout=subprocess.PIPE, check=True).stdout
            )
            for name, role in (("ullage", "ours"), ("asyncua", "theirs"))
        }
    finally:
        server.kill()
        server.wait()
    print(json.dumps(found) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
