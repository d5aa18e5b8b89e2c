"""Installs the peers, each at its pinned version into a folder of its own under ``.bench/``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .plant import BENCH, CHECKOUT, HERE

_PEERS = HERE / "peers"
_LONGEST = 900


def install(names: set[str]) -> None:
    """Whatever of ``names`` is not there yet. CalledProcessError when a registry cannot be reached."""
    BENCH.mkdir(exist_ok=True)
    debian = ["mosquitto", "mosquitto-clients", *(["collectd-core"] if "collectd" in names else [])]
    subprocess.run([str(CHECKOUT / "tools/debian.sh"), *debian], check=True, timeout=_LONGEST)
    if names & {"thingsboard", "thingsboard-single"}:
        _python(BENCH / "thingsboard", _PEERS / "thingsboard.txt")
    if "node-red" in names and shutil.which("npm"):
        _node(BENCH / "node-red")


def _python(folder: Path, lock: Path) -> None:
    stamp = folder / ".lock"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    uv = str(CHECKOUT / ".tools/bin/uv")
    for argv in (
        [uv, "venv", "--quiet", "--clear", str(folder)],
        [uv, "pip", "sync", "--quiet", "--python", str(folder / "bin/python"), "--require-hashes", str(lock)],
    ):
        subprocess.run(argv, check=True, timeout=_LONGEST)
    stamp.write_bytes(lock.read_bytes())


def _node(folder: Path) -> None:
    lock, stamp = _PEERS / "package-lock.json", folder / ".lock"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_PEERS / name, folder / name)
    argv = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--omit=optional"]
    subprocess.run(argv, cwd=folder, check=True, timeout=_LONGEST)
    stamp.write_bytes(lock.read_bytes())
