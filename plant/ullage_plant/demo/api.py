"""The scorer's HTTP interface as any program would use it: an address and an API key."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ..errors import PlantError


class Api:
    """JSON over HTTP on loopback. Errors carry the scorer's own explanation."""

    def __init__(self, base: str, token: str) -> None:
        self.base, self._token = base, token

    def get(self, path: str, **query: object) -> dict[str, Any]:
        if query:
            path = f"{path}?{urllib.parse.urlencode(query)}"
        value: dict[str, Any] = json.loads(self._call("GET", path, None))
        return value

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._call("POST", path, json.dumps(body).encode()))
        return value

    def download(self, path: str) -> bytes:
        return self._call("GET", path, None)

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the address is loopback HTTP, made by the demo itself
            self.base + path,
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as exc:
            reason = exc.read(2000).decode("utf-8", "replace")
            raise PlantError(f"{method} {path} answered {exc.code}: {reason}") from exc
        except OSError as exc:
            raise PlantError(f"{method} {path}: the scorer at {self.base} does not answer ({exc})") from exc
