"""The configuration as JSON Schema (draft 2020-12), for editors: ``ullage-agent schema`` prints it.

It says which keys there are, of which type, with which default. What only the reader can judge (names used twice, files
that are missing, values out of a duration's bounds) stays with ``ullage-agent check``. Every key that the reader asks
for stands here and no other: a test holds the two together.
"""

from __future__ import annotations

from typing import Any

from ...config import LINE_ROLES, ROLES
from ...config.schema import modbus, opcua
from ...config.schema.parts import Json, array, choice, duration, file, size, table, text, truth, whole

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LINE = "^[A-Za-z0-9._-]{1,64}$"
PROTOCOLS = (*modbus.DEVICES, *opcua.DEVICES)

_DEVICE: dict[str, Json] = {
    "name": text("The device's name, unique in this file.", form="^.{1,99}$", example="plc-1"),
    "protocol": choice("How the device is spoken to.", PROTOCOLS),
    "scan": duration("How often its tags are read.", "1s"),
    "identify": truth("Whether it is asked what it is; false for one that takes offence.", True),
}
_TAG: dict[str, Json] = {
    "name": text("The tag's name, unique over all devices.", form="^.{1,99}$", example="line.count"),
    "role": choice("What the tag means.", ROLES, "measurement"),
    "line": text("The line that the roles count, running and energy speak of.", form=LINE, example="line-1"),
    "scan": duration("How often it is read; default: as often as its device."),
    "watch": truth("Whether the tag is part of the rows that detection judges.", True),
    "rollover": whole("Where a count starts over at 0, if not where its type does.", 2, 2**53, example=65536),
}
_TAG_RULES: list[Json] = [
    {
        "if": {"properties": {"role": {"enum": list(LINE_ROLES)}}, "required": ["role"]},
        "then": {"required": ["line"]},
    },
    {
        "if": {"required": ["rollover"]},
        "then": {"properties": {"role": {"const": "count"}}, "required": ["role"]},
    },
]


def device(protocol: str) -> Json:
    """The schema of a device that speaks ``protocol``, closed: no other key is known."""
    room = modbus if protocol in modbus.DEVICES else opcua
    tag = table("Tag", "One named measured point.", {**_TAG, **room.TAG}, ("name", *room.TAG_NEEDS))
    own = {**_DEVICE, **room.DEVICES[protocol], "tag": array("The tags that are read.", {**tag, "allOf": _TAG_RULES})}
    return table(f"Device ({protocol})", room.SAYS, own, ("name", "protocol", *room.NEEDS[protocol], "tag"))


def schema() -> Json:
    """The whole schema."""
    branches: list[Json] = [
        {
            "if": {"properties": {"protocol": {"const": protocol}}, "required": ["protocol"]},
            "then": {"$ref": f"#/$defs/{protocol}"},
        }
        for protocol in PROTOCOLS
    ]
    any_device: Json = {
        "title": "Device", "type": "object", "properties": _DEVICE, "required": ["name", "protocol"], "allOf": branches
    }  # fmt: skip
    tables: dict[str, Json] = {**_tables(), "device": array("What is read.", any_device)}
    whole_file = table(
        "Ullage agent", "Configuration of ullage-agent, usually agent.toml.", tables,
        ("agent", "broker", "scorer", "device"),
    )  # fmt: skip
    defs: dict[str, Any] = {protocol: device(protocol) for protocol in PROTOCOLS}
    return {"$schema": DIALECT, **whole_file, "$defs": defs}


def _tables() -> dict[str, Json]:
    return {
        "agent": table("Agent", "This gateway.", {
            "id": text("The name under which the scorer enrols this gateway.", form="^[a-z0-9-]{1,64}$", example="gw"),
            "state": file("Folder for key, outbox and history; one agent a folder.", "state"),
            "heartbeat": duration("How often the agent says that it lives.", "15s"),
        }, ("id",)),
        "broker": table("Broker", "The MQTT broker to which the agent publishes.", {
            "host": text("Name or address of the broker.", form=r"^\S{1,255}$", example="127.0.0.1"),
            "port": whole("Its port.", 1, 65535, 1883),
            "protocol": choice("Version of MQTT; auto tries 5, then 3.1.1.", ("auto", "5", "3.1.1"), "auto"),
            "username": text("User name at the broker."),
            "password_file": file("File that holds the password; goes with username."),
            "ca": file("Certificates to trust (PEM); turns TLS on."),
            "certificate": file("The gateway's certificate (PEM); goes with key."),
            "key": file("The gateway's private key (PEM)."),
        }, ("host",)),
        "scorer": table("Scorer", "The one scorer whose receipts count.", {
            "public_key": file("File with the scorer's public key, printed by ullage-scorer.", example="scorer.pub"),
        }, ("public_key",)),
        "baseline": table("Baseline", "What normal running looks like.", {
            "file": file("Made by `ullage-agent learn`; where it is missing it is learned live.", "baseline.npz"),
            "learn": duration("So much normal running is recorded first.", "10m"),
        }),
        "watch": table("Watch", "When a row of tags is judged.", {
            "trigger": text("A tag: a row is judged each time it changes, instead of once an interval."),
            "interval": duration("Time between two rows; default: the shortest scan of all devices."),
        }),
        "production": table("Production", "What the lines make.", {
            "interval": duration("The longest interval; it is cut at once where the line stops or starts.", "60s"),
        }),
        "outbox": table("Outbox", "What waits for the scorer's receipts.", {
            "limit": size("Room on the disk; when full, acquisition pauses.", "256MB"),
        }),
        "local": table("Local", "What is answered on this machine, to nobody else.", {
            "listen": text(
                "Loopback address and port for /metrics (Prometheus) and /healthz; default: none.",
                form=r"^((127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|localhost):\d{1,5})?$", example="127.0.0.1:9464",
            ),
        }),
        "log": table("Log", "What the agent says on standard error.", {
            "format": choice("One line an event, as key=value or as JSON.", ("text", "json"), "text"),
        }),
    }  # fmt: skip
