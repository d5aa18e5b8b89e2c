"""Node-RED with node-red-contrib-modbus: blocks of 125 registers, a function that names them, MQTT out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

from .contenders import Feed, Load, blocks, device_name, device_number
from .plant import BENCH

_NAME = """\
const tags = {}, values = msg.payload;
for (let i = 0; i < values.length; i++) tags["r" + (START + i)] = values[i];
return {topic: "nr/DEVICE", payload: {ts: Date.now(), tags}};
"""
_STATE = """\
const status = msg.status || {};
const name = status.source ? status.source.name : "?";
return {topic: "nr/status/" + name, payload: {text: status.text, fill: status.fill}};
"""
_AWAY = ("broken", "failure", "timeout", "reconnect", "error", "closed", "disconnect")
"""How a status begins that says so of a device; "waiting" and "initialized" are yellow too and say nothing."""


class NodeRed:
    name = "node-red"
    paces = (0.03, 0.025)
    does = "time of the read; no quality, no signature; no store: what finds no broker is gone"

    def missing(self) -> str:
        if shutil.which("node") is None:
            return "node"
        return "" if (BENCH / "node-red/node_modules/node-red-contrib-modbus").exists() else "node-red"

    def prepare(self, load: Load) -> tuple[list[str], dict[str, str]]:
        (load.folder / "flows.json").write_text(json.dumps(_flow(load)))
        settings = {
            "flowFile": "flows.json", "httpAdminRoot": False, "httpNodeRoot": False, "uiHost": "127.0.0.1", "uiPort": 0,
            "telemetry": {"enabled": False},
            "logging": {"console": {"level": "warn", "metrics": False, "audit": False}},
        }  # fmt: skip
        (load.folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)}\n")
        red = BENCH / "node-red/node_modules/node-red/red.js"
        return ["node", str(red), "-u", str(load.folder), "-s", str(load.folder / "settings.js"), "flows.json"], {}

    def attend(self, feed: Feed, port: int) -> Callable[[], None]:
        return lambda: None

    def hear(self, feed: Feed, when: float, topic: str, payload: bytes) -> None:
        kind, name = topic.split("/", 2)[0], topic.rsplit("/", 1)[1]
        if kind != "nr":
            return
        body = json.loads(payload)
        if topic.startswith("nr/status/"):
            if str(body.get("text")).startswith(_AWAY):
                feed.tell(when, device_number(name), str(body.get("text")))
        else:
            feed.sample(when, len(body["tags"]), device_number(name), body["tags"].get("r1"))


def _flow(load: Load) -> list[dict[str, object]]:
    broker = {
        "id": "broker", "type": "mqtt-broker", "name": "", "broker": "127.0.0.1", "port": str(load.broker),
        "clientid": "node-red", "autoConnect": True, "usetls": False, "protocolVersion": "4", "keepalive": "60",
        "cleansession": True, "autoUnsubscribe": True,
    }  # fmt: skip
    out = {"id": "out", "type": "mqtt out", "z": "flow", "topic": "", "qos": "1", "retain": "false", "broker": "broker"}
    state = {"id": "state", "type": "function", "z": "flow", "func": _STATE, "outputs": 1, "wires": [["out"]]}
    watch: dict[str, object] = {"id": "watch", "type": "status", "z": "flow", "scope": None, "wires": [["state"]]}
    nodes: list[dict[str, object]] = [{"id": "flow", "type": "tab", "label": "plant"}, broker, out]
    if load.tell:
        nodes += [state, watch]
    readers: list[str] = []
    for number in range(load.devices):
        name = device_name(number)
        nodes.append({
            "id": f"client-{name}", "type": "modbus-client", "name": name, "clienttype": "tcp", "bufferCommands": True,
            "stateLogEnabled": False, "queueLogEnabled": False, "failureLogEnabled": False, "tcpHost": "127.0.0.1",
            "tcpPort": str(load.base + number), "tcpType": "DEFAULT", "unit_id": "1", "commandDelay": "1",
            "clientTimeout": "1000", "reconnectOnTimeout": True, "reconnectTimeout": "500",
            "parallelUnitIdsAllowed": True,
        })  # fmt: skip
        for start, count in blocks(load.registers):
            reader, namer = f"read-{name}-{start}", f"name-{name}-{start}"
            readers.append(reader)
            nodes.append({
                "id": reader, "type": "modbus-read", "z": "flow", "name": name, "topic": "",
                "showStatusActivities": load.tell, "logIOActivities": False, "showErrors": False,
                "showWarnings": False, "unitid": "1",
                "dataType": "HoldingRegister", "adr": str(start), "quantity": str(count),
                "rate": str(max(1, round(load.scan * 1000))), "rateUnit": "ms", "delayOnStart": False,
                "startDelayTime": "", "server": f"client-{name}", "useIOFile": False, "ioFile": "",
                "useIOForPayload": False, "emptyMsgOnFail": False, "wires": [[namer], []],
            })  # fmt: skip
            code = _NAME.replace("START", str(start)).replace("DEVICE", name)
            nodes.append({"id": namer, "type": "function", "z": "flow", "func": code, "outputs": 1, "wires": [["out"]]})
    watch["scope"] = readers
    return nodes
