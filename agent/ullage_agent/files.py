"""Output files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import AgentError


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[str] | IO[bytes]]:
    """A file that takes its name only when everything has been written to disk.

    ``mode`` is "w" (UTF-8 text) or "wb". AgentError where it cannot be written; nothing half-written stays behind.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(
            descriptor, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else ""
        ) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as fault:
        raise AgentError(
            f"{path}: cannot be written ({fault.strerror or fault}); check the folder and the space left"
        ) from fault
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
