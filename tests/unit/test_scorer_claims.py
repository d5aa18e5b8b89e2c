"""From production and anomalies to premiums and claims, to the cent, and the same again from the ledger."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from ullage_models.claims.outage import OutageWatch
from ullage_protocols.evidence.verify import verify
from ullage_protocols.messages import Anomaly, Production, TagShare, Technique
from ullage_scorer import worker
from ullage_scorer.db.schema import changes, claims, premiums
from ullage_scorer.errors import DatabaseError
from ullage_scorer.rebuild import digest, rebuild
from unit.scorer_kit import T0, Kit, Pen, anomaly, at, beat, hello, made, policy, running, stopped


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    found = Kit(tmp_path)
    yield found
    found.close()


def bind(kit: Kit, **changed: Any) -> Any:
    answer = kit.client("acme").post("/api/v1/policies", json=policy(**changed))
    assert answer.status_code == 201, answer.text
    return answer.json()


def items(kit: Kit, path: str) -> list[dict[str, Any]]:
    answer = kit.client("acme").get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def story(kit: Kit, pen: Pen) -> None:
    """300 s of 7,200 bottles an hour, 120 s of nothing, 30 s back; an episode around the stop."""
    kit.tell(pen, (hello(), T0), *running(0, 300), anomaly("e1", "open", 0.8, 290, 301))
    kit.tell(pen, *stopped(300, 360))
    assert items(kit, "claims") == [], "the waiting period of 60 s has not been outlasted"
    kit.tell(pen, *stopped(360, 420), *running(420, 450), anomaly("e1", "close", 0.9, 290, 451))


def test_a_claim_to_the_cent(kit: Kit) -> None:
    """120 s out, 60 s excess, 7,200 an hour, 2.50 CNY a bottle: 60 / 3600 x 7200 x 2.50 = 300.00 CNY."""
    pen = kit.enrol("a1")
    bind(kit)
    story(kit, pen)
    (claim,) = items(kit, "claims")
    assert (claim["indemnity"], claim["at_most"], claim["currency"]) == ("300.00", "300.00", "CNY")
    assert (claim["shortage"], claim["shortage_after_waiting"]) == ("240", "120")
    assert (claim["outage_start"], claim["outage_end"]) == ("2026-11-23T08:05:00Z", "2026-11-23T08:07:00Z")
    assert (claim["state"], claim["final"], claim["line"]) == ("draft", True, "filling")
    assert [(c["episode"], c["relation"]) for c in claim["causes"]] == [("e1", "overlaps the stop")]
    detail = kit.client("acme").get(f"/api/v1/claims/{claim['id']}").json()
    assert [m["kind"] for m in detail["timeline"]] == ["opened", "ended"]
    assert detail["worksheet"][-1]["result"] == "300.00 CNY"
    (stop,) = items(kit, "stops")
    assert stop["decision"] == "claim"


def test_a_deductible_and_a_trigger_waiting_period(kit: Kit) -> None:
    """Trigger: the whole 120 s count: 240 x 2.50 - 150 = 450.00 CNY."""
    pen = kit.enrol("a1")
    bind(kit, cover={"waiting_kind": "trigger", "deductible": "150"})
    story(kit, pen)
    assert [c["indemnity"] for c in items(kit, "claims")] == ["450.00"]


def test_missing_facts_are_named_instead_of_a_number(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit, cover={"contribution_per_unit": None, "unit_price": "3"})
    story(kit, pen)
    (claim,) = items(kit, "claims")
    assert (claim["indemnity"], claim["at_most"]) == ("0", None)
    assert any("rate_of_gross_profit" in fact for fact in claim["missing"])


def test_a_stop_shorter_than_the_waiting_period_is_on_record_without_a_claim(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    kit.tell(pen, *running(0, 300), *stopped(300, 350), *running(350, 400))
    assert items(kit, "claims") == []
    (stop,) = items(kit, "stops")
    assert (stop["decision"], stop["shortage"]) == ("no claim", "100")


def test_without_a_policy_a_stop_is_on_record_without_a_claim(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.tell(pen, *running(0, 300), *stopped(300, 500), *running(500, 520))
    assert items(kit, "claims") == []
    assert [s["decision"] for s in items(kit, "stops")] == ["no policy"]


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("2026-11-01T00:00:00Z", "2026-11-23T08:04:00Z", "after the period"),
        ("2026-11-23T08:05:30Z", "2027-11-01T00:00:00Z", "before the period"),
    ],
)
def test_a_stop_outside_the_period_of_insurance_is_on_record_without_a_claim(
    kit: Kit, start: str, end: str, reason: str
) -> None:
    pen = kit.enrol("a1")
    bind(kit, start=start, end=end)
    kit.tell(pen, *running(0, 300), *stopped(300, 500), *running(500, 520))
    assert items(kit, "claims") == []
    (stop,) = items(kit, "stops")
    assert stop["decision"] == "not covered"
    assert reason in stop["reason"]


def test_a_stop_that_outlasts_the_policy_belongs_to_the_policy_in_which_it_began(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit, start="2026-11-01T00:00:00Z", end="2026-11-23T08:06:00Z")
    bind(kit, id="p-2", start="2026-11-23T08:06:00Z", end="2027-11-01T00:00:00Z")
    kit.tell(pen, *running(0, 300), *stopped(300, 420), *running(420, 440))
    assert [(c["policy"], c["indemnity"]) for c in items(kit, "claims")] == [("p-1", "300.00")]


def test_production_from_before_the_bind_gives_the_standard(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.tell(pen, *running(0, 300))
    bind(kit)
    kit.tell(pen, *stopped(300, 420), *running(420, 440))
    assert [c["indemnity"] for c in items(kit, "claims")] == ["300.00"]


def test_every_line_of_every_agent_is_watched_on_its_own(kit: Kit) -> None:
    one, two = kit.enrol("a1"), kit.enrol("a2")
    bind(kit)
    kit.tell(one, *running(0, 300), *running(0, 300, line="packing"))
    kit.tell(two, *running(0, 300, line="labels"))
    kit.tell(one, *stopped(300, 420), *running(300, 440, line="packing"), *running(420, 440))
    kit.tell(two, *stopped(300, 480, line="labels"), *running(480, 500, line="labels"))
    assert sorted((c["line"], c["indemnity"]) for c in items(kit, "claims")) == [
        ("filling", "300.00"),
        ("labels", "600.00"),
    ]


def test_a_policy_covers_only_the_lines_that_it_names(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit, lines=["packing"])
    story(kit, pen)
    assert items(kit, "claims") == []
    assert [s["decision"] for s in items(kit, "stops")] == ["no policy"]


def test_repeated_and_overlapping_production_counts_once_and_is_told(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    kit.tell(pen, *running(0, 300), *running(100, 150), *stopped(300, 420), *stopped(300, 420), *running(420, 450))
    assert [c["indemnity"] for c in items(kit, "claims")] == ["300.00"]
    with kit.db.read() as conn:
        faults = conn.execute(select(changes.c.document).where(changes.c.kind == "fault")).scalars().all()
    assert len(faults) == 17
    assert all("not counted twice" in f for f in faults)


def test_an_anomaly_moves_the_indicated_relativity_and_leaves_the_charged_one(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bound = bind(kit)
    kit.tell(pen, anomaly("e1", "open", 0.8, 0, 1))
    first, second = items(kit, "premiums")
    assert (first["reason"], first["base"], first["charged"]) == ("bound", first["indicated"], first["base"])
    assert f"{first['base']}" == bound["premium"]["net"]["amount"]
    assert float(second["relativity_indicated"]) > 1
    assert float(second["indicated"]) > float(second["base"])
    assert (second["charged"], second["relativity_charged"]) == (first["base"], "1")
    scores = items(kit, "scores")
    assert len(scores) == 2
    (reason,) = scores[1]["reasons"]
    assert (reason["tag"], reason["technique"]) == ("plc.level", "T0836")
    assert scores[1]["at"] == "2026-11-23T08:00:01Z"


def test_the_reason_names_the_tag_that_the_technique_names_and_not_a_longer_or_louder_one(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    told, when = anomaly("e1", "open", 0.8, 0, 1, kind="integrity")
    assert isinstance(told, Anomaly)
    tags = (TagShare("tank.level", 0.8, 1.0, 2.0), TagShare("tank.level_setpoint", 0.2, 95.0, 60.0))
    technique = Technique("T0836", "Modify Parameter", "setpoint tank.level_setpoint was changed")
    kit.tell(pen, (replace(told, tags=tags, techniques=(technique,)), when))
    (reason,) = items(kit, "scores")[-1]["reasons"]
    assert reason["tag"] == "tank.level_setpoint"


def test_a_milder_update_of_an_episode_lowers_nothing_and_a_worse_one_raises(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    kit.tell(pen, anomaly("e1", "open", 0.8, 0, 1))
    kit.tell(pen, anomaly("e1", "update", 0.2, 0, 2))
    milder = [float(s["relativity"]) for s in items(kit, "scores")]
    assert milder[-1] == pytest.approx(milder[1], abs=1e-5)
    kit.tell(pen, anomaly("e1", "update", 0.1, 0, 1))
    assert len(items(kit, "scores")) == len(milder), "a telling that can never count adds no row"
    kit.tell(pen, anomaly("e1", "update", 0.9, 0, 3))
    worse = [float(s["relativity"]) for s in items(kit, "scores")]
    assert worse[-1] > milder[1]


def test_an_anomaly_after_the_policy_changes_no_premium(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit, start="2026-11-01T00:00:00Z", end="2026-11-23T08:00:00Z")
    kit.tell(pen, anomaly("e1", "open", 0.8, 0, 1))
    assert len(items(kit, "premiums")) == 1
    assert len(items(kit, "episodes")) == 1


def test_an_anomaly_told_after_its_claim_was_opened_is_linked(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    kit.tell(pen, *running(0, 300), *stopped(300, 420), *running(420, 440))
    assert items(kit, "claims")[0]["causes"] == []
    kit.tell(pen, anomaly("e9", "open", 0.8, 310, 450))
    assert [c["episode"] for c in items(kit, "claims")[0]["causes"]] == ["e9"]


def test_receive_times_change_no_cent(tmp_path: Path) -> None:
    """The same records, once at once and once with the scorer away for days: the same money."""
    found = []
    for name, delay in (("quick", 0.0), ("slow", 86400.0)):
        folder = tmp_path / name
        folder.mkdir()
        kit = Kit(folder)
        pen = kit.enrol("a1")
        bind(kit)
        messages = [*running(0, 300), anomaly("e1", "open", 0.8, 290, 301), *stopped(300, 420), *running(420, 440)]
        sent = [pen.write(message, when) for message, when in messages]
        for each in sent:
            kit.clock.forward(delay / len(sent))
            kit.send(each)
            if delay:
                kit.worker.catch_up()
        kit.worker.catch_up()
        keep = ("indemnity", "shortage", "outage_start", "outage_end", "causes", "id")
        found.append(
            (
                [{k: c[k] for k in keep} for c in items(kit, "claims")],
                [(p["indicated"], p["charged"], p["at"]) for p in items(kit, "premiums")],
                [(s["score"], s["relativity"], s["at"]) for s in items(kit, "scores")],
            )
        )
        kit.close()
    assert found[0] == found[1]


def test_projecting_twice_is_projecting_once(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    story(kit, pen)
    with kit.db.read() as conn:
        before = digest(conn)
    assert kit.worker.catch_up() == 0
    with kit.db.write() as conn:
        assert worker.project(conn, 100) == 0
        assert digest(conn) == before


def test_a_rebuild_gives_the_same_bytes(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    story(kit, pen)
    answer = kit.client("acme").post(
        f"/api/v1/claims/{items(kit, 'claims')[0]['id']}/transitions", json={"event": "notify", "role": "insured"}
    )
    assert answer.status_code == 200
    report = rebuild(kit.db)
    assert (report.same, report.difference) == (True, "")
    assert report.rows >= 9
    assert items(kit, "claims")[0]["state"] == "notified"


@pytest.mark.parametrize(("table", "value"), [(claims, {"indemnity": "300.01"}), (premiums, {"charged": "1.00"})])
def test_a_rebuild_names_the_first_row_that_differs(kit: Kit, table: Any, value: dict[str, str]) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    story(kit, pen)
    with kit.db.write() as conn:
        conn.execute(update(table).values(**value))
    report = rebuild(kit.db)
    assert not report.same
    ((column, planted),) = value.items()
    assert report.difference.startswith(f"{table.name} ")
    assert f"{column} stored '{planted}', replayed '" in report.difference
    assert not rebuild(kit.db).same, "what differs is evidence and is kept"
    assert rebuild(kit.db, replace=True).replaced
    assert rebuild(kit.db).same, "the ledger is the truth: the replayed rows stand once they are asked for"


def test_a_changed_ledger_is_found_by_its_chain(kit: Kit) -> None:
    kit.tell(kit.enrol("a1"), (beat(), T0))
    with kit.db.write() as conn:
        conn.execute(text("DROP TRIGGER ledger_no_update"))
        conn.execute(text("UPDATE ledger SET received_at = '2026-11-23T08:00:00.000001Z' WHERE position = 2"))
    with pytest.raises(DatabaseError, match="position 2"):
        rebuild(kit.db)


def test_an_entry_that_cannot_be_projected_is_noted_and_the_rest_goes_on(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    honest = OutageWatch.step

    def broken(self: OutageWatch, interval: Any) -> Any:
        if interval.start == at(20):
            raise ValueError("planted")
        return honest(self, interval)

    monkeypatch.setattr(OutageWatch, "step", broken)
    kit.tell(pen, *running(0, 60))
    with kit.db.read() as conn:
        (fault,) = conn.execute(select(changes.c.document).where(changes.c.kind == "fault")).scalars().all()
    assert "planted" in fault
    (site,) = items(kit, "sites")
    assert site["lines"][0]["end"] == "2026-11-23T08:01:00Z"


def test_the_evidence_of_a_claim_verifies_offline_and_a_flipped_bit_is_found(kit: Kit) -> None:
    pen, other = kit.enrol("a1"), kit.enrol("a2")
    bind(kit)
    kit.tell(other, (hello(), T0))
    story(kit, pen)
    (claim,) = items(kit, "claims")
    answer = kit.client("acme", "policyholder").get(f"/api/v1/claims/{claim['id']}/evidence")
    report = verify(answer.content, trusted=[kit.key.public])
    assert (report.faults, [part.agent for part in report.parts]) == ([], ["a1"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        records = bundle.read("records/a1.jsonl").splitlines()
        body = json.loads(bundle.read("claim.json"))
    assert records == pen.sealed
    assert body["claim"]["worksheet"][-1]["result"] == "300.00 CNY"
    assert body["terms"]["id"] == "p-1"
    spoiled = bytearray(answer.content)
    spoiled[len(spoiled) // 3] ^= 1
    assert verify(bytes(spoiled), trusted=[kit.key.public]).faults


def test_a_site_runs_stands_or_is_unknown(kit: Kit) -> None:
    pen = kit.enrol("a1")
    client = kit.client("acme")

    def state() -> str:
        return str(client.get("/api/v1/sites/plant-a").json()["state"])

    assert state() == "unknown"
    kit.tell(pen, *running(0, 10))
    assert state() == "running"
    kit.tell(pen, *stopped(10, 20))
    assert state() == "stopped"
    kit.clock.forward(36)
    assert state() == "unknown", "silence says nothing"


def test_silence_is_noticed_from_receive_times(kit: Kit) -> None:
    pen = kit.enrol("a1")
    client = kit.client("acme")
    kit.tell(pen, (hello(), T0), (beat(episode_open=True, outbox_share=0.5), at(1)))
    shown = client.get("/api/v1/agents/a1").json()
    assert (shown["silent_since"], shown["episode_open"], shown["outbox_share"]) == (None, True, 0.5)
    assert (shown["baseline"], shown["bootid"], shown["sequence"]) == ("a" * 64, "boot-1", 2)
    kit.clock.forward(35)
    assert client.get("/api/v1/agents/a1").json()["silent_since"] is None
    kit.clock.forward(1)
    assert client.get("/api/v1/agents/a1").json()["silent_since"] == "2026-11-23T08:00:00Z"


def test_a_clock_that_jumps_back_changes_nothing_that_was_counted(kit: Kit) -> None:
    pen = kit.enrol("a1")
    bind(kit)
    story(kit, pen)
    early = T0 - timedelta(days=3650)
    late: list[tuple[Any, datetime]] = [
        (Production("filling", early, early + timedelta(seconds=10), 999, 10.0, None, 1.0), early)
    ]
    kit.tell(pen, *late, made(450, 460, 20))
    assert [c["indemnity"] for c in items(kit, "claims")] == ["300.00"]
