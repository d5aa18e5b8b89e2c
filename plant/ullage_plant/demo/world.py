"""Everything that the demo starts, in the order in which a user would start it."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import IO, Any

from ..errors import PlantError
from .api import Api
from .broker import Broker
from .processes import Child, Children, command, free_port, wait_for

TENANT = "pilot-insurer"
SITE = "bottling-plant"
AGENT = "filler-gw-1"


class World:
    """A broker, a scorer, a plant and an agent on loopback, with all their files in one folder."""

    def __init__(self, folder: Path, children: Children, *, seed: int, learn: str) -> None:
        self.folder = folder
        self.children = children
        self.broker = Broker(folder)
        self.database = f"sqlite:///{folder / 'scorer.db'}"
        self.http = free_port()
        self._seed, self._learn = seed, learn
        self.truth_file = folder / "truth.jsonl"
        self.modbus = ""
        self.opcua = ""
        self.scorer_key = ""
        self.token = ""
        self.scorer: Child
        self.agent: Child

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def api(self) -> Api:
        return Api(self.address, self.token)

    def run(self, script: str, *args: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A command to its end. PlantError with its own words if the exit status is another than expected."""
        done = subprocess.run(
            [*command(script), *args], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        if expect is not None and done.returncode != expect:
            said = (done.stderr or done.stdout).strip()
            raise PlantError(f"`{script} {' '.join(args)}` ended with status {done.returncode}: {said}")
        return done

    def run_json(self, script: str, *args: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.run(script, *args).stdout.strip().splitlines()[-1])
        return value

    def spawn_plant(self) -> Child:
        return self.children.start(
            "plant",
            [
                *command("ullage-plant"), "run", "--modbus", "127.0.0.1:0", "--opcua", "127.0.0.1:0",
                "--truth", str(self.truth_file), "--seed", str(self._seed),
            ],
            cwd=self.folder,
        )  # fmt: skip

    def write_agent_config(self) -> Path:
        """agent.toml as a user would write it, with the ports of this run."""
        text = resources.files(__package__).joinpath("agent.toml").read_text("utf-8")
        config = self.folder / "agent.toml"
        config.write_text(
            text.replace("{broker_port}", str(self.broker.port))
            .replace("{learn}", self._learn)
            .replace("{modbus_port}", self.modbus.rpartition(":")[2])
            .replace("{opcua_url}", self.opcua),
            "utf-8",
        )
        return config

    def make_database(self) -> None:
        """A fresh database, and an API key for whoever tells the story."""
        self.run("ullage-scorer", "migrate", "--database", self.database)
        self.token = str(
            self.run_json(
                "ullage-scorer", "key", "--database", self.database, "--tenant", TENANT, "--role", "insurer",
                "--note", "demo", "--json",
            )["token"]
        )  # fmt: skip

    def enrol(self) -> None:
        """The agent makes its key, the scorer enrols it, and the agent is told the scorer's key."""
        (self.folder / "scorer.pub").touch()
        public = self.run_json("ullage-agent", "key", "--config", "agent.toml", "--json")["key"]
        enrolled = self.run_json(
            "ullage-scorer", "enrol", "--database", self.database, "--agent", AGENT, "--site", SITE,
            "--tenant", TENANT, "--public-key", public, "--json",
        )  # fmt: skip
        self.scorer_key = str(enrolled["scorer_key"])
        (self.folder / "scorer.pub").write_text(self.scorer_key + "\n", "utf-8")

    def start_scorer(self) -> Child:
        child = self.children.start(
            "scorer",
            [
                *command("ullage-scorer"), "serve", "--database", self.database,
                "--http", f"127.0.0.1:{self.http}", "--broker", f"127.0.0.1:{self.broker.port}",
            ],
            cwd=self.folder,
        )  # fmt: skip
        child.line(30)
        return child

    def healthy(self) -> bool:
        """What /healthz says; not yet, while it answers 503."""
        try:
            return bool(self.api.get("/healthz")["ok"])
        except PlantError:
            return False

    def start_agent(self) -> Child:
        child = self.children.start(
            "agent", [*command("ullage-agent"), "run", "--config", "agent.toml"], cwd=self.folder
        )
        child.line(30)
        return child

    def restart(self, child: Child, start: Callable[[], Child]) -> Child:
        """SIGKILL, as a power cut would, and up again."""
        child.kill()
        self.children.forget(child)
        return start()

    def start(self) -> None:
        """Broker, plant, keys, scorer and agent, each observed to be up before the next."""
        plant = self.spawn_plant()  # takes a few seconds, in which the rest comes up
        self.broker.start(self.children)
        self.make_database()
        ready = plant.line(30)
        self.modbus, self.opcua = str(ready["modbus"]), str(ready["opcua"])
        self.write_agent_config()
        self.enrol()
        self.scorer = self.start_scorer()
        wait_for(self.healthy, 20, f"the scorer well and at the broker\n{self.scorer.tail()}")
        self.agent = self.start_agent()


def open_folder(folder: Path) -> IO[str]:
    """An empty folder of the demo's own, locked against a second demo; the lock goes with the process."""
    marker = folder / ".ullage-demo"
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not marker.exists():
        raise PlantError(f"{folder} is not empty and not from an earlier demo; name another with --dir")
    lock = marker.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise PlantError(f"another demo is using {folder}; end it, or name another folder with --dir") from exc
    for entry in folder.iterdir():
        if entry != marker:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return lock
