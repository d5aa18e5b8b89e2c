"""What a configuration that was read anew changes. Pure but for reading the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .config import Config, DeviceConfig
from .config.read import load

_FIXED = ("agent", "state", "broker", "scorer", "outbox", "listen", "log")
"""What is settled for the life of a process."""


@dataclass(frozen=True, slots=True)
class Change:
    """``ended`` names of devices no longer polled (or polled anew), ``started`` devices to be polled from now on,
    ``watch`` whether the rows that detection judges are others; ``told`` in words."""

    config: Config
    ended: tuple[str, ...]
    started: tuple[DeviceConfig, ...]
    watch: bool
    told: tuple[str, ...]

    @property
    def anything(self) -> bool:
        return bool(self.told)


def change(now: Config) -> Change:
    """The change to what the file says now. ConfigError with every fault."""
    return between(now, load(now.path))


def between(now: Config, then: Config) -> Change:
    """What leads from one configuration to another; what is settled for the life of a process stays and is told."""
    fixed = [name for name in _FIXED if getattr(now, name) != getattr(then, name)]
    then = replace(then, **{name: getattr(now, name) for name in _FIXED})
    before = {device.name: device for device in now.devices}
    after = {device.name: device for device in then.devices}
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    other = [name for name in after if name in before and before[name] != after[name]]
    told = []
    for names, what in ((new, "added"), (gone, "removed"), (other, "changed")):
        if names:
            told.append(f"devices {what}: {_listed(names)}")
    told += [
        f"{name} is now {getattr(then, name):g} s"
        for name in ("heartbeat", "production")
        if getattr(now, name) != getattr(then, name)
    ]
    watched = [(tag.name, tag.role) for tag in now.tags if tag.watch] != [
        (tag.name, tag.role) for tag in then.tags if tag.watch
    ]
    settings = any(getattr(now, name) != getattr(then, name) for name in ("baseline", "learn", "trigger", "interval"))
    if watched:
        told.append("the watched tags are others")
    elif settings:
        told.append("the settings of detection are others")
    if fixed:
        told.append(f"needs a restart to count: {', '.join(fixed)}")
    return Change(
        then, (*gone, *other), tuple(after[name] for name in (*new, *other)), watched or settings, tuple(told)
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
