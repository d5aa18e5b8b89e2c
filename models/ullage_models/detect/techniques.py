"""From findings to the techniques they resemble, each with its reason. Candidates, not verdicts.

Identifiers and names are those of MITRE ATT&CK for ICS, version 18.1 (https://attack.mitre.org/matrices/ics/).
(c) 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE
Corporation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ullage_protocols.messages import Technique

from .findings import Code, Finding

NAMES = {
    "T0814": "Denial of Service",
    "T0815": "Denial of View",
    "T0826": "Loss of Availability",
    "T0828": "Loss of Productivity and Revenue",
    "T0830": "Adversary-in-the-Middle",
    "T0831": "Manipulation of Control",
    "T0832": "Manipulation of View",
    "T0836": "Modify Parameter",
    "T0855": "Unauthorized Command Message",
    "T0856": "Spoof Reporting Message",
    "T0857": "System Firmware",
    "T0858": "Change Operating Mode",
}

BY_CODE: dict[Code, tuple[tuple[str, str], ...]] = {
    Code.SETPOINT: (("T0836", "setpoint {tag} was changed to a value never seen in learning"),),
    Code.COMMAND: (
        ("T0855", "command {tag} takes a value never seen in learning"),
        ("T0831", "command {tag} drives the process otherwise than in learning"),
    ),
    Code.FROZEN: (("T0832", "{tag} no longer moves, so that its display hides the process"),),
    Code.STOPPED: (
        ("T0826", "{tag} is off: the line does not run"),
        ("T0828", "{tag} is off: nothing is produced"),
    ),
    Code.COUNTER_STILL: (("T0828", "counter {tag} stands still: nothing is produced"),),
    Code.COUNTER_BACK: (("T0856", "counter {tag} went back, which a true counter cannot"),),
    Code.LOST: (
        ("T0814", "the device of {tag} does not answer"),
        ("T0815", "{tag} cannot be seen"),
    ),
    Code.RANGE: (("T0831", "{tag} was driven far out of the range seen in learning"),),
}
"""Candidates by what was found. A broken relation depends on how many tags broke: see `candidates`."""

LONE_SHARE = 0.5
"""A tag with at least this share (0-1) of a broken relation stands alone against its peers."""


def technique(id: str, reason: str) -> Technique:
    """The candidate technique ``id`` of the table above, and why. KeyError for one that is not in it."""
    return Technique(id, NAMES[id], reason)


def candidates(
    findings: Sequence[Finding], shares: Sequence[tuple[str, float]], commands: frozenset[str]
) -> tuple[Technique, ...]:
    """The techniques that findings resemble, without duplicates, in the order of the findings.

    ``shares``: tags and their share (0-1) of a broken relation, largest first, empty if none is broken.
    ``commands``: the tags that command the process.

    >>> found = Finding(Code.SETPOINT, "level_sp", 0.6, 85.0, 60.0, "")
    >>> [(t.id, t.name, t.reason) for t in candidates([found], [], frozenset())]
    [('T0836', 'Modify Parameter', 'setpoint level_sp was changed to a value never seen in learning')]
    >>> [t.id for t in candidates([], [("level", 0.8), ("flow", 0.2)], frozenset())]
    ['T0856']
    """
    reasons: dict[str, str] = {}
    for finding in findings:
        for id_, text in BY_CODE.get(finding.code, ()):
            reasons.setdefault(id_, text.format(tag=finding.tag))
    if shares:
        top, share = shares[0]
        if top in commands:
            reasons.setdefault("T0831", f"command {top} disagrees with the process")
        elif share >= LONE_SHARE:
            reasons.setdefault("T0856", f"{top} alone disagrees with its peers")
        else:
            named = ", ".join(tag for tag, _ in shares[:3])
            reasons.setdefault("T0831", f"{named} left their usual relation together")
    return tuple(technique(id_, reason) for id_, reason in reasons.items())
