"""What devices and tags may be called."""

from __future__ import annotations

NAME = r"[^\s=,;\"'][^=,;\"']{0,98}"
NAME_SHAPE = "a name of 1 to 99 characters without quotes, '=', ',' and ';'"
