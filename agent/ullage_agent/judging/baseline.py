"""The baseline in force: read and held against the configuration, or learned from the first stretch of live running."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path

from ullage_models.detect.baseline import Baseline
from ullage_models.errors import ModelError

from ..config import Config
from ..errors import AgentError
from ..say import say
from .rows import Row

_GOOD_SHARE = 0.9
"""Share of tags that must have a value for a row to be learned from."""
_AGAIN = 0.5
"""Part of the learning time that is waited for after a learning that failed."""
_LONGEST_LEARNING = 3600.0


def load_baseline(config: Config) -> Baseline | None:
    """The configured baseline, None where the file is missing. AgentError where it does not fit."""
    try:
        content = config.baseline.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise AgentError(f"baseline {config.baseline} cannot be read ({exc.strerror}); check the path") from exc
    try:
        baseline = Baseline.from_bytes(content)
    except ModelError as exc:
        raise AgentError(f"{config.baseline}: {exc}; or remove it to have it learned live") from exc
    known, wanted = set(baseline.names), set(config.watched)
    if known != wanted:
        parts = []
        if missing := sorted(known - wanted):
            parts.append(f"not configured (or not watched): {_listed(missing)}")
        if new := sorted(wanted - known):
            parts.append(f"not in the baseline: {_listed(new)}")
        raise AgentError(
            f"baseline {config.baseline} was learned from other tags; {'; '.join(parts)}; "
            "change the tags, or remove the file to have it learned anew"
        )
    return baseline


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"


class LiveLearning:
    """Records good rows to ``state/history.csv``, then learns from them in a process of its own."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file = config.state / "history.csv"
        self._header = "time," + ",".join(config.watched)
        self._rows = self._recorded()
        self._wanted = max(1, round(config.learn / config.interval))
        self._process: asyncio.subprocess.Process | None = None
        self.note = ""

    @property
    def status(self) -> str:
        """For the heartbeat."""
        share = min(100, round(100 * self._rows / self._wanted))
        return f"learning a baseline: {share}% of the rows" + (f"; {self.note}" if self.note else "")

    @property
    def enough(self) -> bool:
        return self._rows >= self._wanted

    def take(self, row: Row) -> None:
        """Records a row in which nearly all tags have a value."""
        if row.share < _GOOD_SHARE or self.enough:
            return
        cells = ["" if value != value else repr(value) for value in row.values.tolist()]
        try:
            with self._file.open("a", encoding="utf-8") as file:
                if file.tell() == 0:
                    file.write(self._header + "\n")
                file.write(row.time.isoformat() + "," + ",".join(cells) + "\n")
        except OSError as exc:
            self.note = f"{self._file} cannot be written ({exc.strerror}); make room on its disk"
            return
        self._rows += 1

    async def learn(self) -> Baseline | None:
        """Runs ``ullage-agent learn``; None when it failed, told in ``note``: more rows are recorded then."""
        roles = [f"{tag.name}={tag.role}" for tag in self._config.tags if tag.watch]
        command = [sys.executable, "-m", "ullage_agent", "learn", "--from", str(self._file)]
        command += ["--out", str(self._config.baseline), "--roles", *roles]
        if nice := shutil.which("nice"):
            command = [nice, "-n", "10", *command]
        say("learning", rows=self._rows)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(_LONGEST_LEARNING):
                _, errors = await self._process.communicate()
            if self._process.returncode == 0:
                return load_baseline(self._config)
            lines = errors.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {self._process.returncode}"
        except (OSError, TimeoutError, AgentError) as exc:
            reason = str(exc) or "it took more than an hour"
        finally:
            self.stop()
        self.note = f"learning failed: {reason[:300]}"
        say("learning-failed", why=reason)
        self._wanted = self._rows + max(1, round(_AGAIN * self._config.learn / self._config.interval))
        return None

    def stop(self) -> None:
        """Ends the learning process, if one runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _recorded(self) -> int:
        """Rows of an earlier, unfinished recording; one of other tags is set aside."""
        try:
            with self._file.open(encoding="utf-8", errors="replace") as file:
                if file.readline().rstrip("\n") == self._header:
                    return sum(1 for _ in file)
            self._file.replace(_free(self._file))
        except FileNotFoundError:
            return 0
        except OSError as exc:
            raise AgentError(f"{self._file} cannot be read ({exc.strerror}); check the folder") from exc
        return 0


def _free(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return name
