"""A configuration to start from, made of guesses that its comments own up to. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..config import LINE_ROLES
from .found import ServerFound, UnitFound
from .guess import Guess
from .opcua import usable

MOST_TAGS = 1000
_LINE = "line-1"


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    keys: tuple[tuple[str, object], ...]
    role: str
    why: str
    sure: bool
    text: bool = False


def configuration(source: str, units: Sequence[UnitFound] = (), server: ServerFound | None = None) -> str:
    """TOML for ``ullage-agent``; empty where nothing was found that a tag can be made of. ``source`` is the address."""
    devices = [device for unit in units if (device := _unit(unit, len(units) > 1)) is not None]
    if server is not None and (tags := _nodes(server)):
        devices.append(("opcua-server", [("protocol", "opcua"), ("url", server.url)], tags))
    if not devices:
        return ""
    used: set[str] = set()
    names: set[str] = set()
    lines = [
        f"# Found at {_plain(source)}. Everything below is a guess: hold it against the device's",
        "# manual, name the tags, remove what is not needed. `ullage-agent check` reads every tag once;",
        "# `ullage-agent sample-config` shows all keys.",
        "", "[agent]", 'id = "gateway-1"            # the name under which the scorer enrols this gateway',
        "", "[broker]", 'host = "127.0.0.1"          # the broker; port, certificates and login: see sample-config',
        "", "[scorer]", 'public_key = "scorer.pub"   # a file to be made: what `ullage-scorer enrol` prints',
    ]  # fmt: skip
    left = MOST_TAGS
    for name, keys, tags in devices:
        lines += ["", "[[device]]", f"name = {_text(name)}", *(f"{key} = {_value(value)}" for key, value in keys)]
        lines.append('scan = "1s"')
        for tag in tags[:left]:
            lines += ["", *_tag(tag, used, names)]
        if len(tags) > left:
            lines += ["", f"  # {len(tags) - left} more were found"]
        left = max(left - len(tags), 1)
    return "\n".join(lines) + "\n"


def _tag(tag: _Tag, used: set[str], names: set[str]) -> Iterator[str]:
    """One tag; a role that another has already, and all of a tag that is not sure, as a comment."""
    name, number = tag.name, 2
    while name in names:
        name, number = f"{tag.name}-{number}", number + 1
    names.add(name)
    yield f"  # {_plain(tag.why)}"
    mark = "  " if tag.sure else "  # "
    yield f"{mark}[[device.tag]]"
    yield f"{mark}name = {_text(name)}"
    for key, value in tag.keys:
        yield f"{mark}{key} = {_value(value)}"
    if tag.text:
        yield f"{mark}watch = false"
    if tag.role == "measurement":
        return
    if tag.role in LINE_ROLES:
        taken = tag.role in used
        if tag.sure:
            used.add(tag.role)
        yield f'{"  # " if taken else mark}role = "{tag.role}"'
        yield f'{"  # " if taken else mark}line = "{_LINE}"'
    else:
        yield f'{mark}role = "{tag.role}"'


_Device = tuple[str, list[tuple[str, object]], list[_Tag]]


def _unit(unit: UnitFound, several: bool) -> _Device | None:
    spec = unit.device
    prefix = f"u{spec.unit}." if several else ""
    tags = [_register(guess, prefix) for guess in unit.guesses]
    if not tags:
        return None
    if not any(tag.sure for tag in tags):
        tags = [_Tag(tag.name, tag.keys, tag.role, tag.why, True, tag.text) for tag in tags]
    keys: list[tuple[str, object]] = [("protocol", spec.protocol)]
    if spec.serial:
        keys += [
            ("serial", spec.serial), ("baud", spec.baud), ("parity", spec.parity), ("stop_bits", spec.stop_bits)
        ]  # fmt: skip
    else:
        keys += [("host", spec.host), ("port", spec.port)]
        if several and spec.share:
            keys.append(("share", True))
    return spec.name, [*keys, ("unit", spec.unit)], tags


def _register(guess: Guess, prefix: str) -> _Tag:
    keys: list[tuple[str, object]] = [("address", f"{guess.table}:{guess.address}")]
    if guess.bit is not None:
        keys.append(("bit", guess.bit))
    elif guess.type != "bit":
        keys.append(("type", guess.type))
    if guess.length:
        keys.append(("length", guess.length))
    if guess.order != "ABCD":
        keys.append(("order", guess.order))
    if guess.scale != 1:
        keys.append(("scale", guess.scale))
    if guess.unit:
        keys.append(("unit", guess.unit))
    if guess.none:
        keys.append(("none", list(guess.none)))
    name = guess.name or f"{guess.table}.{guess.address}" + (f".{guess.bit}" if guess.bit is not None else "")
    return _Tag(
        prefix + name, tuple(keys), guess.role, f"{guess.why}; it read {shown(guess.value)}", guess.sure,
        text=guess.type == "string",
    )  # fmt: skip


def _nodes(server: ServerFound) -> list[_Tag]:
    nodes = usable(server.nodes)
    tags = []
    for node in nodes:
        why = f"{node.meaning or node.path}, {node.type or 'of unknown type'}; it read {shown(node.value)}"
        tags.append(_Tag(_named(node.name), (("node", node.node),), node.role, why, True, isinstance(node.value, str)))
    return tags if any(not tag.text for tag in tags) else []


def _named(text: str) -> str:
    """A name that a configuration takes."""
    name = re.sub(r"[=,;\"']", "_", _plain(text)).strip()[:90]
    return name or "tag"


def shown(value: object) -> str:
    """A value in a comment or a line, bounded."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:.7g}" if isinstance(value, float) else str(value)
    return _plain(text)[:80]


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)
