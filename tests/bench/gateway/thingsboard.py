"""ThingsBoard IoT Gateway from PyPI: blocks of registers by address ranges, telemetry a device over MQTT."""

from __future__ import annotations

import json
from collections.abc import Callable

import paho.mqtt.client as paho

from .contenders import Feed, Load, device_name, device_number
from .plant import BENCH

_LIMITS = {"rateLimits": {}, "gatewayRateLimits": {}, "maxPayloadSize": 65536, "maxInflightMessages": 0}
"""What the harness answers, in the platform's place, when the gateway asks how much it may send: no limit."""
_UNLIMITED = "0:0,"


class ThingsBoard:
    paces = (0.25, 0.15)
    does = "time of the read; no quality, no signature; store-and-forward as file or SQLite"

    def __init__(self, *, single: bool = False) -> None:
        self._single = single
        self.name = "thingsboard-single" if single else "thingsboard"

    def missing(self) -> str:
        return "" if (BENCH / "thingsboard/bin/thingsboard-gateway").exists() else "thingsboard"

    def prepare(self, load: Load) -> tuple[list[str], dict[str, str]]:
        config = load.folder / "config"
        config.mkdir(exist_ok=True)
        for name, body in (
            ("tb_gateway.json", self._gateway(load)),
            ("modbus.json", {"master": {"slaves": [self._device(load, n) for n in range(load.devices)]}}),
            ("logs.json", _LOGS),
        ):
            (config / name).write_text(json.dumps(body))
        return [str(BENCH / "thingsboard/bin/thingsboard-gateway")], {"TB_GW_CONFIG_DIR": str(config)}

    def _gateway(self, load: Load) -> dict[str, object]:
        data = load.folder / "store"
        data.mkdir(exist_ok=True)
        limits = [
            f"{prefix}ateLimits" for prefix in ("r", "dpR", "messagesR", "deviceMessagesR", "deviceR", "deviceDpR")
        ]
        return {
            "thingsboard": {
                "host": "127.0.0.1", "port": load.broker, "remoteShell": False, "remoteConfiguration": False,
                "statistics": {"enable": False}, "deviceFiltering": {"enable": False}, "maxPayloadSizeBytes": 65536,
                "minPackSendDelayMS": 0 if load.prompt else 50, "minPackSizeToSend": 1 if load.prompt else 500,
                "checkConnectorsConfigurationInSeconds": 60, "handleDeviceRenaming": True,
                "security": {"type": "accessToken", "accessToken": "bench"}, "qos": 1,
                "reportStrategy": {"type": "ON_RECEIVED"},
                "checkingDeviceActivity": {
                    "checkDeviceInactivity": load.tell, "inactivityTimeoutSeconds": 3,
                    "inactivityCheckPeriodSeconds": 1,
                },
                **dict.fromkeys(limits, _UNLIMITED),
            },
            "storage": {
                "type": "file" if load.store else "memory", "read_records_count": 100, "max_records_count": 100000,
                "data_folder_path": f"{data}/", "max_file_count": 10, "max_read_records_count": 10,
                "max_records_per_file": 10000,
            },
            "grpc": {"enabled": False},
            "connectors": [{"name": "plc", "type": "modbus", "configuration": "modbus.json"}],
        }  # fmt: skip

    def _device(self, load: Load, number: int) -> dict[str, object]:
        one = {"type": "16uint", "functionCode": 3, "objectsCount": 1}
        if self._single:
            tags = [{"tag": f"r{at}", "address": at, **one} for at in range(load.registers)]
        else:
            # One range: its values are kept under its tag, so a second range of that name would mix with the first.
            tags = [{"tag": "r${address}", "address": f"0-{load.registers - 1}", "maxRegistersPerRequest": 125, **one}]
        return {
            "host": "127.0.0.1", "port": load.base + number, "type": "tcp", "method": "socket", "unitId": 1,
            "deviceName": device_name(number), "timeout": 1, "byteOrder": "BIG", "wordOrder": "BIG", "retries": 0,
            "pollPeriod": max(1, round(load.scan * 1000)), "connectAttemptTimeMs": 500, "connectAttemptCount": 2,
            "waitAfterFailedAttemptsMs": 30000, "timeseries": tags, "attributes": [], "attributeUpdates": [], "rpc": [],
        }  # fmt: skip

    def hear(self, feed: Feed, when: float, topic: str, payload: bytes) -> None:
        if topic == "v1/gateway/telemetry":
            for name, packs in json.loads(payload).items():
                for pack in packs:
                    values = pack["values"]
                    feed.sample(when, len(values), device_number(name), values.get("r1"))
        elif topic == "v1/gateway/disconnect":
            feed.tell(when, device_number(json.loads(payload)["device"]), "disconnect")

    def attend(self, feed: Feed, port: int) -> Callable[[], None]:
        """Answers the gateway's question for its limits, as the platform would; without it nothing is ever sent."""
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="platform")
        client.reconnect_delay_set(1, 1)

        def asked(_client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
            client.publish(message.topic.replace("request", "response"), json.dumps(_LIMITS), qos=1)

        def connected(*_: object) -> None:
            client.subscribe("v1/devices/me/rpc/request/+", 1)

        client.on_message, client.on_connect = asked, connected
        client.connect("127.0.0.1", port)
        client.loop_start()
        return client.loop_stop


_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "root": {"level": "ERROR", "handlers": ["out"]},
}
