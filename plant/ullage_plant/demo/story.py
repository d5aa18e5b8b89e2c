"""The story in six steps. Each step is observed through the product's own interfaces, never assumed.

Exit status: 0 every step was seen; 1 a step was not, and it is named; 2 the demo could not be set up;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..errors import PlantError
from .picture import photograph
from .processes import Children
from .screen import Screen
from .truth import Truth
from .world import AGENT, SITE, World, open_folder

WAITING = timedelta(seconds=10)
PRICE = Decimal("3.20")  # CNY a bottle
GROSS_PROFIT_RATE = Decimal("0.42")
LINE = "line-1"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ullage-plant demo", description="From a plant to a claim, on this machine.")
    parser.add_argument("--dir", type=Path, default=Path(".demo"), help="folder for logs and evidence (default .demo)")
    parser.add_argument("--seed", type=int, default=11, help="seed of the simulated plant (default 11)")
    parser.add_argument("--learn", default="40s", help="normal running to learn the baseline from (default 40s)")
    parser.add_argument("--picture", type=Path, help="write a picture of the live page here (needs chromium)")
    parser.add_argument("--exit", action="store_true", help="exit at the end even at a terminal")
    try:
        args = parser.parse_args(argv)
    except SystemExit as exc:
        return int(exc.code or 0)
    # Set even where a shell started us with the interrupt ignored, as it does for background jobs.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    screen = Screen()
    try:
        with contextlib.closing(open_folder(args.dir.resolve())), Children() as children:
            world = World(args.dir.resolve(), children, seed=args.seed, learn=args.learn)
            return _tell(Story(world, screen), args)
    except KeyboardInterrupt:
        screen.say("stopped; nothing is left running")
        return 130
    except PlantError as exc:
        screen.say(f"the demo could not be set up: {exc}")
        return 2


def _interrupt(_signal: int, _frame: object) -> None:
    # Once is enough: a second Ctrl-C must not cut the tidying short.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell(story: Story, args: argparse.Namespace) -> int:
    screen = story.screen
    screen.say("starting a broker, a plant, a scorer and an agent on this machine")
    story.world.start()
    screen.say(f"live page: {story.page()}")
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("the agent connects and learns; the policy is quoted and bound", story.bind),
        ("normal running: nothing is sent, the relativity stands", story.normal),
        ("an attacker on the plant network writes a setpoint", story.attack),
        ("the line trips; the waiting period runs out; a claim is drafted", story.trip),
        ("the line recovers; the loss is final", story.recover),
        ("the evidence is exported, verified, and a bit is flipped", story.evidence),
    )
    for number, (text, step) in enumerate(steps, 1):
        screen.step(number, text)
        try:
            step()
        except PlantError as exc:
            screen.say(f"step {number} was not seen ({text}): {exc}")
            for child in story.world.children.dead():
                screen.say(f"{child.name} ended with status {child.process.returncode}:\n{child.tail()}")
            return 1
    if args.picture:
        try:
            photograph(story.page(), args.picture, story.world.folder)
            screen.say(f"picture of the page: {args.picture}")
        except PlantError as exc:
            screen.say(f"no picture: {exc}")
    screen.table()
    screen.say(f"evidence: {story.bundle}")
    screen.say(f"verify it yourself: ullage-verify {story.bundle} --trust {story.world.scorer_key}")
    if screen.at_terminal and sys.stdin.isatty() and not args.exit:
        screen.say(f"everything stays up until Ctrl-C: {story.page()}")
        with contextlib.suppress(KeyboardInterrupt):
            while not story.world.children.dead():
                time.sleep(0.5)
    return 0


class Story:
    """The six steps over one world, and what was seen in them."""

    def __init__(self, world: World, screen: Screen) -> None:
        self.world, self.screen = world, screen
        self.truth = Truth(world.truth_file)
        self.policy = ""
        self.claim = ""
        self.after_learning = 0
        self.episode: dict[str, Any] = {}
        self.relativity = Decimal(1)
        self.bundle = world.folder / "claim.zip"
        self._inception = datetime.now(UTC)

    def page(self) -> str:
        return self.world.address + str(self.world.api.post("/api/v1/login-links", {})["path"])

    # -- observing -------------------------------------------------------------------------------------

    def await_(self, probe: Callable[[], Any], timeout: float, what: str) -> Any:  # noqa: ANN401 - what the probe saw
        """Asks until the probe answers something; PlantError naming what was not seen."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = probe()
            if found:
                return found
            dead = self.world.children.dead()
            if dead:
                raise PlantError(f"{dead[0].name} ended with status {dead[0].process.returncode}:\n{dead[0].tail()}")
            self.screen.waiting(f"{what} ({deadline - time.monotonic():.0f} s left)")
            time.sleep(0.2)
        raise PlantError(f"not seen within {timeout:.0f} s: {what}")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """All events of the agent of one type, as the ledger has them."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.world.api.get(
                "/api/v1/events", agent=AGENT, type=f"org.ullage.{kind}.v1", after=after, limit=500
            )
            found.extend(page["items"])
            if not page.get("next"):
                return found
            after = page["next"]

    def anomalies(self) -> list[dict[str, Any]]:
        return [event for event in self.events("anomaly") if event["position"] > self.after_learning]

    def claims(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.world.api.get("/api/v1/claims", site=SITE)["items"]
        return items

    def scores(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.world.api.get("/api/v1/scores", policy=self.policy)["items"]
        return items

    # -- the six steps ---------------------------------------------------------------------------------

    def bind(self) -> None:
        """The agent is heard, a policy is quoted and bound, a baseline is learned and sealed."""
        step = "1 baseline, policy"
        hello = self.await_(lambda: self.events("hello"), 30, "the agent's first record in the ledger")[0]
        self.screen.seen(step, "agent in the ledger", f"{AGENT}, {len(hello['event']['data']['tags'])} tags")
        quoted = self.world.api.post("/api/v1/policies/quote", self.terms())
        premium = quoted["premium"]["gross"]
        self.screen.seen(
            step,
            "quoted",
            f"{_money(premium)} a year, {len(quoted['premium']['steps'])} steps, {quoted['terms']['plan']}",
        )
        bound = self.world.api.post("/api/v1/policies", self.terms())
        self.policy = str(bound["id"])
        self.screen.seen(step, "bound", f"{self.policy}, waiting {WAITING.seconds} s, {bound['state']}")
        learned = self.await_(self.baseline, 120, "a baseline learned from normal running")
        body = learned["event"]["data"]
        self.after_learning = int(learned["position"])
        span = datetime.fromisoformat(body["baseline_to"]) - datetime.fromisoformat(body["baseline_from"])
        self.screen.seen(
            step, "baseline", f"{body['baseline'][:12]}…, {body['baseline_rows']} rows in {span.total_seconds():.0f} s"
        )

    def terms(self) -> dict[str, Any]:
        """The policy of the demo: a waiting period of seconds, otherwise as any other."""
        start = self._inception
        return {
            "site": SITE,
            "lines": [LINE],
            "insured": "Bottling Plant Co., Ltd.",
            "sector": "industrial_internet",
            "currency": "CNY",
            "start": start.isoformat(),
            "end": (start + timedelta(days=365)).isoformat(),
            "cover": {
                "limit": "5000000.00",
                "waiting_seconds": WAITING.total_seconds(),
                "unit_price": str(PRICE),
                "rate_of_gross_profit": str(GROSS_PROFIT_RATE),
                "standard_output": {"end_at": "0.95"},
            },
            "rating": {"annual_gross_profit": "36000000.00"},
        }

    def baseline(self) -> dict[str, Any] | None:
        return next((e for e in self.events("hello") if e["event"]["data"]["baseline"]), None)

    def normal(self) -> None:
        """A stretch of normal running in which production is reported and nothing else happens."""
        step = "2 normal running"
        wanted = 6

        def produced() -> list[dict[str, Any]]:
            made = [e for e in self.events("production") if e["position"] > self.after_learning]
            return made if len(made) >= wanted else []

        intervals = self.await_(produced, 60, f"{wanted} production intervals of normal running")
        found = self.anomalies()
        if found:
            raise PlantError(f"an anomaly was sent in normal running: {found[0]['event']['data']['reasons']}")
        made = sum(e["event"]["data"]["count"] or 0 for e in intervals)
        self.screen.seen(step, "anomalies", f"0 in {len(intervals)} intervals, {made} bottles")
        self.relativity = Decimal(self.scores()[-1]["relativity"])
        if self.relativity != 1:
            raise PlantError(f"the relativity moved to {self.relativity} without an anomaly")
        self.screen.seen(step, "indicated relativity", f"{self.relativity:.4f}")

    def attack(self) -> None:
        """A process on the plant network writes a setpoint over Modbus; the agent explains, the scorer moves."""
        step = "3 attack"
        wrote = self.world.run_json("ullage-plant", "attack", "modify-parameter", "--modbus", self.world.modbus)
        self.screen.seen(step, "attacker wrote", _written(wrote))
        opened = self.await_(self.anomalies, 30, "an anomaly from the agent")[0]
        self.episode = opened["event"]["data"]
        delay = datetime.fromisoformat(opened["event"]["time"]) - datetime.fromisoformat(
            str(wrote["writes"][0]["time"])
        )
        tags = ", ".join(tag["tag"] for tag in self.episode["tags"][:3])
        self.screen.seen(step, "anomaly", f"after {delay.total_seconds():.1f} s, {self.episode['kind']}: {tags}")
        technique = self.await_(
            lambda: next((t for t in self.latest()["techniques"] if t["id"] == wrote["technique"]), None),
            20, f"technique {wrote['technique']} among the candidates",
        )  # fmt: skip
        self.screen.seen(step, "resembles", f"{technique['id']} {technique['name']}: {technique['reason']}")
        moved = self.await_(
            lambda: next((s for s in self.scores() if Decimal(s["relativity"]) > self.relativity), None),
            20, "the indicated relativity moving",
        )  # fmt: skip
        if not moved["reasons"]:
            raise PlantError("the relativity moved without a reason")
        self.screen.seen(step, "indicated relativity", f"{self.relativity:.4f} → {Decimal(moved['relativity']):.4f}")
        self.screen.seen(step, "score", f"{Decimal(moved['score']):.1f}: {moved['reasons'][0]['en']}")
        premium = self.world.api.get("/api/v1/premiums", policy=self.policy)["items"][-1]
        self.screen.seen(
            step, "premium", f"net {premium['base']} {premium['currency']}, indicated {premium['indicated']}, "
            f"charged {premium['charged']}"
        )  # fmt: skip

    def latest(self) -> dict[str, Any]:
        """The agent's last word about the episode of the attack."""
        told: list[dict[str, Any]] = [e["event"]["data"] for e in self.anomalies()]
        return [data for data in told if data["episode"] == self.episode["episode"]][-1]

    def trip(self) -> None:
        """The plant's interlock trips the line; the scorer sees output stand still and drafts a claim."""
        step = "4 outage, claim"
        trip = self.await_(lambda: self.truth.records("trip"), 90, "the interlock tripping the line")[0]
        self.screen.seen(step, "the plant tripped", f"{trip['cause']} at {trip['time'][11:19]} UTC")
        self.await_(
            lambda: self.world.api.get(f"/api/v1/sites/{SITE}")["state"] == "stopped", 20, "the site shown as stopped"
        )
        claim = self.await_(self.claims, 30, "a claim drafted after the waiting period")[0]
        self.claim = str(claim["id"])
        self.screen.seen(step, "claim", f"{self.claim} is a {claim['state']}, opened by telemetry")
        # The outage goes on for a while, as real ones do, so that there is a loss after the waiting period.
        far = self.await_(lambda: self.grown(Decimal(250)), 60, "a shortage of 250 bottles after the waiting period")
        detail = self.world.api.get(f"/api/v1/claims/{self.claim}")
        self.screen.seen(
            step, "so far", f"short {Decimal(far['shortage']):.0f} bottles, "
            f"indemnity {far['indemnity']} {far['currency']}, {len(detail['worksheet'])} steps kept"
        )  # fmt: skip

    def grown(self, units: Decimal) -> dict[str, Any] | None:
        claim: dict[str, Any] = self.claims()[0]
        return claim if Decimal(claim["shortage_after_waiting"]) >= units else None

    def recover(self) -> None:
        """The operator restores the plant; the anomaly closes; the final loss is set beside the truth."""
        step = "5 recovery"
        self.world.run("ullage-plant", "operate", "reset", "--modbus", self.world.modbus)
        outage = self.await_(self.truth.outage, 60, "the line back at nominal speed, by the plant's own record")
        final = self.await_(lambda: next((c for c in self.claims() if c["final"]), None), 60, "the claim's final loss")
        self.await_(lambda: self.latest()["phase"] == "close", 90, "the anomaly closed")
        self.screen.seen(step, "anomaly", f"closed, severity {self.latest()['severity']:.2f}")
        lost = Decimal(repr(self.truth.lost_after(outage, WAITING)))
        true_amount = (lost * PRICE * GROSS_PROFIT_RATE).quantize(Decimal("0.01"))
        amount = Decimal(str(final["indemnity"]))
        difference = abs(amount - true_amount) / true_amount
        seconds = (outage.end - outage.start).total_seconds()
        self.screen.seen(step, "outage", f"{seconds:.1f} s by the plant's own record")
        self.screen.seen(
            step, "final loss", f"{final['shortage_after_waiting']} bottles after waiting (truth {lost:.1f})"
        )
        self.screen.seen(step, "indemnity", f"{amount} CNY (truth {true_amount}), {difference:.2%} apart")
        if difference >= Decimal("0.01"):
            raise PlantError(f"the loss is {difference:.2%} from the plant's truth; less than 1% was promised")

    def evidence(self) -> None:
        """The bundle is exported and verified without network; one flipped bit is found and named."""
        step = "6 evidence"
        raw = self.world.api.download(f"/api/v1/claims/{self.claim}/evidence")
        self.bundle.write_bytes(raw)
        trust = ("--trust", self.world.scorer_key)
        self.world.run("ullage-verify", str(self.bundle), *trust)
        self.screen.seen(step, "bundle", f"{len(raw):,} bytes, verified: authentic")
        flipped = bytearray(raw)
        at = raw.index(b"records/") + len(raw) // 3
        flipped[at] ^= 1
        copy = self.world.folder / "claim-flipped.zip"
        copy.write_bytes(flipped)
        report = json.loads(self.world.run("ullage-verify", str(copy), *trust, "--json", expect=1).stdout)
        faults = report["faults"]
        if not faults:
            raise PlantError(f"a flipped bit at byte {at} was not found")
        self.screen.seen(step, "bit flipped at byte", f"{at}: {_place(faults[0])}")


def _money(amount: dict[str, Any]) -> str:
    return f"{Decimal(amount['amount']):,.2f} {amount['currency']}"


def _written(wrote: dict[str, Any]) -> str:
    return "; ".join(f"{w['means']} ({w['table']}:{w['address']})" for w in wrote["writes"])


def _place(fault: object) -> str:
    if isinstance(fault, dict):
        return ": ".join(str(fault[key]) for key in ("place", "what") if fault.get(key))
    return str(fault)
