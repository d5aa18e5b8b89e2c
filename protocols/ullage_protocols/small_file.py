"""Small files that people name in configurations: read whole within a bound, never what could block or be endless."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_small(path: Path, limit: int) -> bytes:
    """The bytes of ``path``. OSError where it cannot be read, is no regular file, or is longer than ``limit`` bytes."""
    # Without waiting: a named pipe would block at the opening already.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(None, "it is not a regular file", str(path))
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise OSError(None, f"it is longer than {limit} bytes", str(path))
    return raw
