"""pysunspec2, as JSON. ``registers``: its own test device as registers, "SunS" to the end model.
``points PORT``: what its client reads from that device at PORT, point by point."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import sunspec2
from sunspec2.file.client import FileClientDevice
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

DEVICE = Path(sunspec2.__file__).parent / "tests" / "test_data" / "device_1547.json"


def points(model: object, group: object, path: str) -> Iterator[dict[str, object]]:
    for name, point in group.points.items():
        kind = point.pdef["type"]
        if kind == "pad":
            continue
        yield {
            "name": f"{path}.{name}",
            "type": kind,
            "address": model.model_addr + point.offset,
            "length": point.len,
            "value": point.value,
            "scaled": point.cvalue,
            "exponent": point.sf_value or 0,
        }
    for name, found in group.groups.items():
        for number, inner in enumerate(found if isinstance(found, list) else [found]):
            yield from points(model, inner, f"{path}.{name}{number}")


if sys.argv[1] == "registers":
    device = FileClientDevice(str(DEVICE))
    device.scan()
    data = b"SunS" + device.get_mb() + b"\xff\xff\x00\x00"
    print(json.dumps([int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]))
else:
    device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=int(sys.argv[2]), timeout=5)
    device.scan()
    read = (point for model in device.model_list for point in points(model, model, str(model.model_id)))
    print(json.dumps(list(read)))
    device.close()
