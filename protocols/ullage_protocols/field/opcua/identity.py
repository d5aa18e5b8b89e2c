"""What a server says of itself: product, firmware, state, the ways in that it offers, and its certificate."""

from __future__ import annotations

from typing import Any

from . import services
from .link import Link
from .nodeids import NodeId
from .variants import Text

_TEXTS = {"product": 2261, "model": 2262, "vendor": 2263, "firmware": 2264, "build": 2265}
_STATE = 2259
STATES = (
    "Running", "Failed", "NoConfiguration", "Suspended", "Shutdown", "Test", "CommunicationFault", "Unknown",
)  # fmt: skip
MODES = {1: "None", 2: "Sign", 3: "SignAndEncrypt"}
LOGINS = {0: "anonymous", 1: "user name", 2: "certificate", 3: "token"}
_MOST = 64


def identify(link: Link) -> dict[str, Any]:
    """As JSON for the agent; texts bounded; the certificate in hex. Raises FieldError."""
    found = services.values(link.ask(services.read([NodeId(0, node) for node in (*_TEXTS.values(), _STATE)])))
    told: dict[str, Any] = {}
    for word, (value, status) in zip((*_TEXTS, "state"), found, strict=False):
        text = str(value)[:200] if isinstance(value, Text) and not status >> 30 else ""
        if word == "state" and isinstance(value, int) and not isinstance(value, bool):
            text = STATES[value] if 0 <= value < len(STATES) else str(value)
        told[word] = "".join(letter for letter in text if letter.isprintable())
    if build := told.pop("build"):
        told["firmware"] = f"{told['firmware']} build {build}".strip()
    offers = services.endpoints(link.ask(services.get_endpoints(link.url)))
    told["endpoints"] = described(offers)
    told["certificate"] = next((offer.certificate for offer in offers if offer.certificate), b"").hex()
    return told


def described(offers: list[services.Offer]) -> list[list[Any]]:
    """Each endpoint as url, policy, mode and logins."""
    return [
        [
            offer.url[:200],
            offer.policy.rpartition("#")[2][:60],
            MODES.get(offer.mode, str(offer.mode)),
            sorted({LOGINS.get(login.type, "unknown") for login in offer.logins}),
        ]
        for offer in offers[:_MOST]
    ]
