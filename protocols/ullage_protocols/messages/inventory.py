"""What a device is and how it is exposed, and what of it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from ullage_protocols import wire
from ullage_protocols.checked import Fields, time_text
from ullage_protocols.errors import WireError

MAX_ENDPOINTS, MAX_LOGINS, MAX_CHANGES = 32, 8, 32
_URL, _WORD, _LINE = 300, 120, 200


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way in that the device offers: its security policy and mode, and the logins it takes."""

    url: str
    policy: str
    mode: str
    logins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One field of the inventory that is no longer what was last sealed, before and after as text."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """One device as it shows itself; texts are the device's own words, empty where it says nothing.

    ``state`` is its operating mode. ``anonymous`` tells whether it lets in who gives no name (None: not known, or the
    protocol has no logins); ``encrypted`` whether the agent's own connection is. ``certificate`` is the SHA-256 of the
    certificate that it showed, in hex. ``changes`` compares with the last inventory of the device that was sealed;
    the ``first`` one has none. Only what reading shows is in it: nothing is ever tried out on a device.
    """

    NAME: ClassVar[str] = "inventory"
    device: str
    protocol: str
    vendor: str = ""
    product: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    state: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    anonymous: bool | None = None
    encrypted: bool = False
    certificate: str = ""
    certificate_expires: datetime | None = None
    changes: tuple[Change, ...] = ()
    first: bool = False

    def to_json(self) -> wire.Json:
        return {
            "device": self.device, "protocol": self.protocol, "vendor": self.vendor, "product": self.product,
            "model": self.model, "firmware": self.firmware, "serial": self.serial, "state": self.state,
            "endpoints": [
                {"url": e.url, "policy": e.policy, "mode": e.mode, "logins": list(e.logins)} for e in self.endpoints
            ],
            "anonymous": self.anonymous, "encrypted": self.encrypted, "certificate": self.certificate,
            "certificate_expires": time_text(self.certificate_expires),
            "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in self.changes],
            "first": self.first,
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        f = Fields(body, cls.NAME)
        endpoints = tuple(
            Endpoint(
                e.text("url", limit=_URL), e.text("policy", limit=_WORD), e.text("mode", limit=_WORD),
                e.texts("logins", limit=MAX_LOGINS),
            )
            for e in f.objects("endpoints", limit=MAX_ENDPOINTS)
        )  # fmt: skip
        changes = tuple(
            Change(c.text("field", limit=_WORD), c.text("before"), c.text("after"))
            for c in f.objects("changes", limit=MAX_CHANGES)
        )
        found = cls(
            f.text("device", limit=_LINE), f.text("protocol", limit=_WORD), f.text("vendor", limit=_LINE),
            f.text("product", limit=_LINE), f.text("model", limit=_LINE), f.text("firmware", limit=_LINE),
            f.text("serial", limit=_LINE), f.text("state", limit=_LINE), endpoints, f.optional_truth("anonymous"),
            f.truth("encrypted"), f.hash_or_empty("certificate"), f.optional_time("certificate_expires"), changes,
            f.truth("first"),
        )  # fmt: skip
        if found.first and found.changes:
            raise WireError("inventory: the first of a device has nothing to be compared with, so no 'changes'")
        return found
