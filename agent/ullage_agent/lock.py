"""One agent a state folder: a lock that the operating system drops with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import StateError


class FolderLock:
    """Holds ``folder`` until ``release`` or the end of the process. Raises StateError when another holds it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StateError(f"state folder {folder} cannot be used ({exc.strerror}); make it writable") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StateError(
                f"state folder {folder} is in use by another agent (process {holder}); "
                "stop that one, or give this one a state folder of its own"
            ) from exc
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._fd)


def holder(folder: Path) -> int | None:
    """The process that holds ``folder``, as far as this one can see; None where none does."""
    try:
        process = int((folder / "lock").read_text("ascii").strip())
        os.kill(process, 0)
    except PermissionError:
        return process
    except (OSError, ValueError):
        return None
    return process
