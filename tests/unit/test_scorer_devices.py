"""Inventory, downtime and planned stops at the scorer: projected, answered, shown, and without a say in money."""

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
from sqlalchemy import select
from ullage_protocols import envelope
from ullage_protocols.event import decode_event
from ullage_protocols.evidence.verify import verify
from ullage_protocols.messages import Change, Downtime, Endpoint, Inventory, Maintenance, Message
from ullage_scorer.db.schema import agent_state, changes
from ullage_scorer.ingest import devices
from ullage_scorer.rebuild import digest, rebuild
from unit.scorer_kit import T0, Kit, Pen, at, beat, hello, policy, running, stopped
from unit.test_dashboard_html import HOSTILE, Audit, visitor

PLC = Inventory(
    "plc", "opcua", "Acme", "Filler", "F-9", "2.1", "SN-7", "Run",
    (Endpoint("opc.tcp://192.0.2.11:4840", "None", "None", ("anonymous",)),), True, False, "ab" * 32,
    T0 + timedelta(days=20), first=True,
)  # fmt: skip


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    found = Kit(tmp_path)
    yield found
    found.close()


def planned(
    start: float, end: float | None, told: float, *, phase: str = "start", line: str = "filling", id_: str = "m-1"
) -> tuple[Message, datetime]:
    until = None if end is None else at(end)
    return Maintenance.declared(id_, phase, line, "new seals", "eve", at(start), until, at(told)), at(told)


def agent_of(kit: Kit, name: str = "a1") -> dict[str, Any]:
    answer = kit.client("acme").get(f"/api/v1/agents/{name}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def story(kit: Kit, pen: Pen) -> None:
    assert kit.client("acme").post("/api/v1/policies", json=policy()).status_code == 201
    kit.tell(pen, (hello(), T0), *running(0, 300), *stopped(300, 420))


def claim_of(kit: Kit) -> dict[str, Any]:
    (found,) = kit.client("acme").get("/api/v1/claims").json()["items"]
    detail = kit.client("acme").get(f"/api/v1/claims/{found['id']}").json()
    assert detail["claim"] == found
    return dict(found)


def text_of(kit: Kit, lang: str = "en") -> str:
    audit = Audit(visitor(kit).get(f"/?lang={lang}").text)
    assert audit.faults() == []
    return " ".join(audit.text.split())


def test_an_agent_of_old_that_says_none_of_it_is_answered_and_shown(kit: Kit) -> None:
    kit.tell(kit.enrol("a1"), (hello(), T0), (beat(), at(1)))
    shown = agent_of(kit)
    assert shown["maintenance"] == []
    assert [(d["name"], d["state"], d["inventory"], d["downtime"]) for d in shown["devices"]] == [
        ("plc", "good", None, [])
    ]
    assert "not told yet" in text_of(kit)


def test_an_inventory_is_answered_whole_with_its_changes(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.tell(pen, (hello(), T0), (PLC, at(1)))
    assert [d["state"] for d in agent_of(kit)["devices"]] == ["unknown"], "nothing was heard of how it answers"
    kit.tell(pen, (beat(), at(2)))
    newer = replace(PLC, firmware="3.0", first=False, changes=(Change("firmware", "2.1", "3.0"),))
    kit.tell(pen, (newer, at(3)))
    (device,) = agent_of(kit)["devices"]
    found = device["inventory"]
    assert (found["vendor"], found["product"], found["model"], found["firmware"]) == ("Acme", "Filler", "F-9", "3.0")
    assert (found["serial"], found["state"], found["anonymous"], found["encrypted"]) == ("SN-7", "Run", True, False)
    assert found["endpoints"][0]["logins"] == ["anonymous"]
    assert found["certificate"] == "ab" * 32
    assert [(c["field"], c["before"], c["after"]) for c in found["changes"]] == [("firmware", "2.1", "3.0")]
    for lang, words in (
        ("en", ("Acme Filler F-9", "Firmware 3.0", "anonymous login allowed", "not encrypted", "firmware: 2.1 → 3.0",
                "certificate expires in 19 days")),
        ("zh", ("允许匿名登录", "连接未加密", "固件: 2.1 → 3.0", "证书将在 19 天后到期")),
    ):  # fmt: skip
        kit.clock.now = at(10)
        text = text_of(kit, lang)
        for word in words:
            assert word in text, word
    kit.clock.now = T0 + timedelta(days=23)
    assert "certificate expired 3 days ago" in text_of(kit)


def test_a_device_is_lost_at_once_and_comes_back(kit: Kit) -> None:
    pen = kit.enrol("a1")
    kit.tell(pen, (hello(), T0), (beat(), at(1)), (Downtime("plc", "open", at(2), None, "silent", "no answer"), at(3)))
    (device,) = agent_of(kit)["devices"]
    assert (device["state"], device["reason"]) == ("lost", "no answer"), "the heartbeat before it said good"
    assert [(d["end"], d["cause"]) for d in device["downtime"]] == [(None, "silent")]
    assert "does not answer" in text_of(kit)
    assert "无应答" in text_of(kit, "zh")
    kit.tell(pen, (Downtime("plc", "close", at(2), at(9), "silent", "no answer"), at(9)))
    (device,) = agent_of(kit)["devices"]
    assert device["state"] == "good"
    assert [(d["start"], d["end"]) for d in device["downtime"]] == [("2026-11-23T08:00:02Z", "2026-11-23T08:00:09Z")]
    assert "7 s · does not answer" in text_of(kit)


def test_each_is_in_the_feed_of_changes_but_a_first_inventory(kit: Kit) -> None:
    pen = kit.enrol("a1")
    with kit.db.read() as conn:
        before = len(conn.execute(select(changes)).all())
    kit.tell(
        pen, (PLC, T0), (replace(PLC, first=False, changes=(Change("state", "Run", "Stop"),)), at(1)),
        (Downtime("plc", "open", at(2), None, "refused"), at(2)), planned(-600, None, 3, line=""),
    )  # fmt: skip
    with kit.db.read() as conn:
        rows = conn.execute(select(changes).order_by(changes.c.id)).all()[before:]
    assert {row.kind for row in rows} == {"agent"}
    assert [json.loads(row.document) for row in rows] == [
        {"agent": "a1", "device": "plc", "inventory": ["state"]},
        {"agent": "a1", "device": "plc", "downtime": "open", "cause": "refused"},
        {"agent": "a1", "line": "", "maintenance": "start", "id": "m-1", "retroactive": True},
    ]


def test_a_planned_stop_stands_beside_the_claim_and_moves_no_cent(kit: Kit) -> None:
    pen = kit.enrol("a1")
    story(kit, pen)
    before = claim_of(kit)
    assert before["planned_stops"] == []
    with kit.db.read() as conn:
        money = digest(conn)
    kit.tell(
        pen, planned(290, 700, 430), planned(0, 200, 431, id_="m-0"), planned(300, 400, 432, line="other", id_="m-2")
    )
    after = claim_of(kit)
    (stop,) = after.pop("planned_stops")
    before.pop("planned_stops")
    assert after == before
    assert (stop["line"], stop["reason"], stop["by"], stop["retroactive"]) == ("filling", "new seals", "eve", True)
    assert (stop["planned_end"], stop["end"]) == ("2026-11-23T08:11:40Z", None)
    with kit.db.read() as conn:
        assert digest(conn) == money
        held = conn.execute(select(agent_state.c.document)).scalar()
    report = rebuild(kit.db)
    assert report.same, report.difference
    with kit.db.read() as conn:
        assert conn.execute(select(agent_state.c.document)).scalar() == held
    for lang, words in (
        ("en", ("declared afterwards", "It changes no amount")),
        ("zh", ("事后申报", "不影响此处金额")),
    ):
        text = text_of(kit, lang)
        for word in words:
            assert word in text, word


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([planned(280, None, 280)], True),
        ([planned(280, None, 280, line="")], True),
        ([planned(280, 300, 280)], False),
        ([planned(421, None, 421)], True),
        ([planned(200, None, 200), planned(200, 290, 290, phase="stop")], False),
        ([planned(200, None, 200), planned(200, 310, 310, phase="stop")], True),
        ([planned(310, 400, 200), planned(310, 310, 250, phase="stop")], False),
        ([planned(280, None, 280, line="other")], False),
    ],
    ids=["open", "whole site", "over before", "while it lasts", "ended before", "ended within", "called off", "other"],
)  # fmt: skip
def test_which_planned_stops_stand_beside_an_outage(
    told: list[tuple[Message, datetime]], shown: bool, kit: Kit
) -> None:
    pen = kit.enrol("a1")
    story(kit, pen)
    kit.tell(pen, *told)
    found = claim_of(kit)["planned_stops"]
    assert bool(found) is shown
    assert not any(stop["retroactive"] for stop in found)


def test_an_end_keeps_what_the_start_told_and_afterwards_stays_afterwards(kit: Kit) -> None:
    pen = kit.enrol("a1")
    start, when = planned(0, 600, 300)
    kit.tell(pen, (start, when), planned(0, 500, 500, phase="stop"), planned(7, 600, 600, phase="stop", id_="m-lost"))
    first, lost = agent_of(kit)["maintenance"]
    assert (first["start"], first["planned_end"], first["end"]) == (
        "2026-11-23T08:00:00Z", "2026-11-23T08:10:00Z", "2026-11-23T08:08:20Z"
    )  # fmt: skip
    assert first["retroactive"], "its start was declared afterwards, whatever its end"
    assert first["declared_at"] == "2026-11-23T08:05:00Z"
    assert (lost["planned_end"], lost["end"]) == (None, "2026-11-23T08:10:00Z"), "an end whose start is not held"


def test_the_evidence_holds_the_declaration_though_it_came_after_the_stop(kit: Kit) -> None:
    pen = kit.enrol("a1")
    story(kit, pen)
    kit.tell(pen, *running(420, 470))
    kit.tell(pen, (beat(), at(480)), planned(290, 420, 490))
    claim = claim_of(kit)
    raw = kit.client("acme").get(f"/api/v1/claims/{claim['id']}/evidence").content
    assert verify(raw, trusted=[kit.key.public]).faults == []
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        records = archive.read("records/a1.jsonl").splitlines()
        shown = json.loads(archive.read("claim.json"))["claim"]["claim"]
    assert any(b"org.ullage.maintenance.v1" in envelope.unseal(record).payload for record in records)
    assert shown["planned_stops"][0]["retroactive"]


def test_strings_of_devices_and_declarations_are_escaped(kit: Kit) -> None:
    pen = kit.enrol("a1")
    hostile = replace(
        PLC, device=HOSTILE, vendor=HOSTILE, firmware=HOSTILE, protocol=HOSTILE[:100], first=False,
        changes=(Change(HOSTILE[:100], HOSTILE, HOSTILE),),
    )  # fmt: skip
    stop, when = planned(0, None, 0, line=HOSTILE[:100])
    assert isinstance(stop, Maintenance)
    kit.tell(
        pen, (replace(hello(), devices=(HOSTILE,)), T0), (hostile, T0),
        (Downtime(HOSTILE, "open", T0, None, "silent", HOSTILE), T0),
        (replace(stop, id=HOSTILE[:60], reason=HOSTILE, by=HOSTILE), when),
    )  # fmt: skip
    audit = Audit(visitor(kit).get("/").text)
    assert audit.faults() == []
    assert audit.text.count("<script>alert(1)</script>") >= 9


def test_what_is_kept_of_an_agent_is_bounded(kit: Kit) -> None:
    document: dict[str, Any] = {}
    pen = kit.enrol("a1")

    def tell(message: Message) -> None:
        sealed = pen.write(message, T0)
        devices.fold(document, decode_event(envelope.unseal(sealed.payload).payload))

    for n in range(40):
        tell(replace(PLC, first=False, changes=(Change("firmware", str(n), str(n + 1)),)))
        tell(Downtime("plc", "open", at(n), None, "silent"))
        tell(Downtime("plc", "close", at(n), at(n + 1), "silent"))
    assert [c["after"] for c in document["inventory"]["plc"]["changes"]][-1] == "40"
    assert len(document["inventory"]["plc"]["changes"]) == devices.MOST_CHANGES
    assert len(document["downtime"]["plc"]) == devices.MOST_DOWNTIMES
    assert all(d["end"] for d in document["downtime"]["plc"])
    for n in range(devices.MOST_PLANNED + 20):
        tell(planned(n, None, n, id_=f"m-{n}")[0])
    assert len(document["maintenance"]) == devices.MOST_PLANNED
