"""The drop folder: how a command asks something of the running agent, which holds the state folder for itself.

A command puts a small JSON file into ``requests/`` of the state folder; the agent takes it up within a second, or at
its next start, and leaves an answer beside it. Whoever may write there may also use the agent's key, so a request
needs no other proof. What is no request (too large, not JSON, not a file) is set aside in ``requests/refused/``.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage_protocols import wire
from ullage_protocols.errors import WireError

from ..errors import AgentError

MAX_BYTES = 16 * 1024
_MOST = 100
"""So many requests are taken up at once, and so many refused ones and answers are kept."""
_ANSWERS_LAST = 3600.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the name of its file, and what it holds."""

    name: str
    body: wire.Json


def put(state: Path, body: Mapping[str, Any]) -> str:
    """Drops a request, whole or not at all; its name. AgentError where the folder cannot be written."""
    folder, name = state / "requests", f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    try:
        _make(folder)
        _write(folder / f"{name}.json", wire.encode(body))
    except OSError as exc:
        raise AgentError(
            f"{folder} cannot be written ({exc.strerror}); run this as the user that the agent runs as"
        ) from exc
    return name


def answer(state: Path, name: str) -> wire.Json | None:
    """The answer to a request, once it is there; it is taken away."""
    path = state / "requests" / f"{name}.answer"
    try:
        body = wire.decode(path.read_bytes(), limit=MAX_BYTES, what="the agent's answer")
        path.unlink()
    except (OSError, WireError):
        return None
    return body


def waiting(state: Path) -> list[Request]:
    """The requests that nobody has taken up yet, oldest first; junk is passed over."""
    found = []
    for path in _files(state / "requests"):
        try:
            found.append(_read(path))
        except (OSError, WireError):
            continue
    return found


class Requests:
    """The agent's side. ``notes`` gathers what had to be set aside; the caller empties it."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "requests"
        self.notes: list[str] = []

    @property
    def any(self) -> bool:
        """Whether something waits."""
        return bool(_files(self._folder))

    def take(self) -> list[Request]:
        """The requests that wait, oldest first. Each stays until ``settle`` or ``refuse``."""
        found = []
        for path in _files(self._folder):
            try:
                found.append(_read(path))
            except FileNotFoundError:
                continue
            except (OSError, WireError) as exc:
                self._set_aside(path, str(exc))
        return found

    def settle(self, request: Request, told: Mapping[str, Any]) -> None:
        """Answers a request and forgets it. The answer is a courtesy: where it cannot be written, nothing is lost."""
        try:
            self._tidy()
            _write(self._folder / f"{request.name}.answer", wire.encode(told))
        except OSError as exc:
            self._note(f"the answer to request {request.name} could not be written: {exc.strerror}")
        (self._folder / f"{request.name}.json").unlink(missing_ok=True)

    def _set_aside(self, path: Path, why: str) -> None:
        aside = self._folder / "refused"
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)
            self._note(f"a request was set aside as requests/refused/{path.name}: {why}")
            for old in sorted(aside.iterdir())[:-_MOST]:
                old.unlink()
        except OSError as exc:
            self._note(
                f"requests/{path.name} is no request ({why}) and cannot be set aside ({exc.strerror}); remove it"
            )

    def _tidy(self) -> None:
        """Drops answers that nobody fetched, and what a killed command left half-written."""
        old = time.time() - _ANSWERS_LAST
        for path in self._folder.iterdir():
            if path.suffix in (".answer", ".part") and path.lstat().st_mtime < old:
                path.unlink(missing_ok=True)

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 10:
            self.notes.append(text[:500])


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".json")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)[:_MOST]]


def _read(path: Path) -> Request:
    # Never through a link, and never from a pipe that would block.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise WireError("it is not a file")
        raw = file.read(MAX_BYTES + 1)
    return Request(path.name.removesuffix(".json"), wire.decode(raw, limit=MAX_BYTES, what="it"))


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        _hand_over(folder, folder.parent)


def _write(path: Path, raw: bytes) -> None:
    part = path.with_suffix(".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(fd)
        _hand_over(part, path.parent)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _hand_over(path: Path, like: Path) -> None:
    """Where root drops a request, the agent's user must be able to read and remove it."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
