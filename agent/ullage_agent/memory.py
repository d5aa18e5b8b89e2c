"""Memory that a start has used and a long run does not need."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Returns freed memory to the system: reading a long configuration takes several times what it leaves."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return  # another C library than glibc, which keeps its own counsel
    trim(0)
