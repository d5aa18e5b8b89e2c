"""A row of a history as holding registers: the row number as uint32, then each tag as float32; all change at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import RefusedWriteError
from ..faces.line_image import float_words

ROW_TAG = "replay.row"
FIRST = 2  # address of the first tag
NOTHING = (0x7FC0, 0)  # NaN


class ReplayImage:
    """Image of unit 1 of a replay; read only. Before the first row the number is 0 and every tag NaN."""

    coils = 0
    discretes = 0

    def __init__(self, tags: Sequence[str]) -> None:
        self._tags = tuple(tags)
        self._words = [0, 0, *(NOTHING * len(self._tags))]
        self.holding = (range(len(self._words)),)

    @property
    def map(self) -> dict[str, str]:
        """Address of every tag."""
        places = {tag: f"holding:{FIRST + 2 * index}" for index, tag in enumerate(self._tags)}
        return {ROW_TAG: "holding:0", **places}

    def show(self, number: int, values: Sequence[float | None]) -> None:
        """Put a row into the registers."""
        words = [number >> 16 & 0xFFFF, number & 0xFFFF]
        for value in values:
            words.extend(NOTHING if value is None else float_words(value))
        self._words = words

    def refresh(self) -> None:
        """The registers are always up to date."""

    def silent(self) -> bool:
        """A replay always answers."""
        return False

    def read_coils(self) -> list[bool]:
        """There are none."""
        return []

    def read_discretes(self) -> list[bool]:
        """There are none."""
        return []

    def read_holding(self, block: range) -> list[int]:
        """All registers of the present row."""
        return self._words[: len(block)]

    def write_coils(self, address: int, values: list[bool], who: str) -> None:
        """Always refused."""
        raise RefusedWriteError("a replay is read only")

    def write_holding(self, address: int, values: list[int], who: str) -> None:
        """Always refused."""
        raise RefusedWriteError("a replay is read only")


_HEAD = """\
# A starting configuration to watch a replayed history over Modbus TCP. The files it names lie beside it.
[agent]
id = "replay-gw"
state = "state"

[broker]
host = "127.0.0.1"
port = 1883

[scorer]
public_key = "scorer.pub"

[baseline]
file = "baseline.npz"

[watch]
trigger = "replay.row"      # a row is judged each time this tag changes

[[device]]
name = "replay"
protocol = "modbus-tcp"
host = {host}
port = {port}
unit = 1
scan = "{scan}ms"
  [[device.tag]]
  name = "replay.row"
  address = "holding:0"
  type = "uint32"
  watch = false
"""


def agent_config(image: ReplayImage, host: str, port: int, scan_ms: int) -> str:
    """A starting configuration of an agent, in TOML, that watches every tag of the replay."""
    # A JSON string without control characters is a TOML basic string.
    text = _HEAD.format(host=json.dumps(host), port=port, scan=scan_ms)
    for tag, address in image.map.items():
        if tag != ROW_TAG:
            name = json.dumps(tag, ensure_ascii=False)
            text += f'  [[device.tag]]\n  name = {name}\n  address = "{address}"\n  type = "float32"\n'
    return text
