"""From what a server says about a node to a Sample, pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from ullage_protocols.field.base import bad_sample
from ullage_protocols.sample import Quality, Sample

MAX_TEXT = 1024
"""The longest text value, in characters, that is taken as a value."""
_SEVERITY_SHIFT = 30
_GOOD, _UNCERTAIN = 0, 1
_FIRST_YEAR, _LAST_YEAR = 1970, 9998
"""A DateTime outside these years is OPC UA's way of saying that there is none (Part 6, 5.2.2.5)."""


def to_sample(
    tag: str,
    value: object,
    status: int,
    status_name: str,
    *,
    source: datetime | None,
    server: datetime | None,
    seen: datetime,
) -> Sample:
    """The sample of one node.

    ``status`` is the 32-bit OPC UA status code: its two top bits give the quality, 3 (reserved) counting as
    bad. ``source`` and ``server`` may be naive and then are UTC. Source time is the source's, else the
    server's, else ``seen``. Numbers, booleans and text of up to 1024 characters are values; all else is bad.
    """
    told = f"{status_name} (0x{status:08X})"
    severity = status >> _SEVERITY_SHIFT
    time = _aware(source) or _aware(server) or seen
    if severity not in (_GOOD, _UNCERTAIN):
        return Sample(tag, None, Quality.BAD, time, seen, f"server says {told}")
    if not isinstance(value, bool | int | float | str):
        found = "no value" if value is None else f"a {type(value).__name__}"
        return Sample(tag, None, Quality.BAD, time, seen, f"{found} where one number, truth or text is needed")
    if isinstance(value, float) and not math.isfinite(value):
        return Sample(tag, None, Quality.BAD, time, seen, f"not a finite number: {value}")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return Sample(tag, None, Quality.BAD, time, seen, f"text of {len(value)} characters, over {MAX_TEXT}")
    if severity == _UNCERTAIN:
        return Sample(tag, value, Quality.UNCERTAIN, time, seen, f"server says {told}")
    return Sample(tag, value, Quality.GOOD, time, seen)


def undecodable(tag: str, error: Exception, seen: datetime) -> Sample:
    """The bad sample of a node whose value the server encodes in a form that cannot be read."""
    return bad_sample(tag, f"value cannot be decoded: {type(error).__name__}", seen)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
