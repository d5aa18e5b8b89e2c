"""A picture of a page, by the machine's own headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import PlantError

CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def photograph(address: str, out: Path, folder: Path, *, width: int = 1360, height: int = 1700) -> None:
    """Writes ``out`` (PNG). Only loopback addresses are ever opened."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise PlantError("a picture needs chromium; as root run: apt-get install chromium")
    with tempfile.TemporaryDirectory(dir=folder) as profile:
        argv = [
            chromium, *CHROMIUM, f"--user-data-dir={profile}", f"--window-size={width},{height}",
            "--timeout=5000", f"--screenshot={out.resolve()}", address,
        ]  # fmt: skip
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as exc:
            raise PlantError(f"chromium did not draw {out} within a minute; try again on a quieter machine") from exc
    if done.returncode != 0 or not out.exists():
        raise PlantError(f"chromium could not draw {out}: {done.stderr.strip()[-400:]}")
