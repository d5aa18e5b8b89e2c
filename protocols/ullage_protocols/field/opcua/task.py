"""What the process that reads a server is told to do: a device, flattened so that it needs nothing else to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .spec import OpcuaDevice


class Security(NamedTuple):
    policy: str
    mode: str
    certificate: str
    key: str


class Point(NamedTuple):
    """One tag. ``path`` is used where ``node`` is empty. ``sampling`` in ms; ``deadband`` 0: every change."""

    name: str
    node: str
    path: str
    group: int
    sampling: float
    queue: int
    deadband: float
    percent: bool


class Task(NamedTuple):
    """Times in seconds. ``publishing`` 0: tags are read, not subscribed to. ``trusted``: path of the pinned server
    certificate, empty where none is asked for."""

    url: str
    timeout: float
    points: list[Point]
    security: Security | None
    trusted: str
    user: str
    password: str
    user_certificate: str
    user_key: str
    clear: bool
    publishing: float
    keepalive: float

    @classmethod
    def of(cls, body: dict[str, Any]) -> Task:
        """From the agent's own JSON."""
        task = cls(**body)
        security = Security(*task.security) if task.security else None
        return task._replace(points=[Point(*point) for point in task.points], security=security)


def task_of(device: OpcuaDevice) -> Task:
    """What the process is told of ``device``."""
    security, subscription = device.security, device.subscription
    publishing = subscription.publishing if subscription else 0.0
    return Task(
        url=device.url,
        timeout=device.timeout,
        points=[
            Point(
                tag.name, tag.node, tag.path, tag.group,
                1000 * (publishing if tag.sampling is None else tag.sampling),
                tag.queue, tag.deadband, tag.percent,
            )
            for tag in device.tags
        ],
        security=Security(security.policy, security.mode, str(security.certificate), str(security.key))
        if security
        else None,
        trusted=str(device.trusted or ""),
        user=device.user or "",
        password=device.password or "",
        user_certificate=str(device.user_certificate or ""),
        user_key=str(device.user_key or ""),
        clear=device.allow_clear_password,
        publishing=publishing,
        keepalive=subscription.keepalive if subscription else 0.0,
    )  # fmt: skip
