"""Who a device says it is: the objects of function 43/14 (Modbus Application Protocol V1.1b3, 6.21), bounded. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ullage_protocols.field.base import Identity

BASIC, REGULAR = 1, 2
MAX_REPLIES = 16
"""Replies that one identification may take."""
MAX_TEXT = 128
_VENDOR, _CODE, _REVISION, _PRODUCT, _MODEL = 0, 1, 2, 4, 5


@dataclass(frozen=True, slots=True)
class Part:
    """One reply: the highest ``level`` the device offers, ``objects`` by id, ``more`` the id to go on from or None."""

    level: int
    objects: dict[int, str]
    more: int | None


def parse(answer: bytes) -> Part | None:
    """The reply after function and kind; None where its lengths do not add up."""
    if len(answer) < 5:
        return None
    _, conformity, follows, following, count = answer[:5]
    objects: dict[int, str] = {}
    at = 5
    for _ in range(count):
        if len(answer) < at + 2 or len(answer) < at + 2 + answer[at + 1]:
            return None
        objects[answer[at]] = _text(answer[at + 2 : at + 2 + answer[at + 1]])
        at += 2 + answer[at + 1]
    return Part(conformity & 0x7F, objects, following if follows == 0xFF else None) if at == len(answer) else None


def identity_of(objects: dict[int, str]) -> Identity:
    """The objects that have a name of their own here."""
    product = objects.get(_PRODUCT, "") or objects.get(_CODE, "")
    code = objects.get(_CODE, "")
    return Identity(
        vendor=objects.get(_VENDOR, ""),
        product=product,
        model=objects.get(_MODEL, "") or (code if code != product else ""),
        firmware=objects.get(_REVISION, ""),
    )


def _text(raw: bytes) -> str:
    text = raw[:MAX_TEXT].decode("utf-8", "replace").strip("\0 ")
    return "".join(sign if sign.isprintable() else "?" for sign in text)
