"""Policies, endorsements, claims' steps, paging, login links, problems: what the API promises."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ullage_scorer.auth import service as auth
from unit.scorer_kit import T0, Kit, anomaly, at, beat, key_of, policy, running, stopped


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    found = Kit(tmp_path)
    yield found
    found.close()


@pytest.fixture
def client(kit: Kit) -> TestClient:
    kit.enrol("a1")
    return kit.client("acme")


def test_a_quote_has_every_step_and_stores_nothing(client: TestClient) -> None:
    before = client.get("/api/v1/ledger").json()
    answer = client.post("/api/v1/policies/quote", json=policy())
    assert answer.status_code == 200
    premium = answer.json()["premium"]
    assert [s["name"] for s in premium["steps"]][:2] == ["size base premium", "limit"]
    assert premium["steps"][-1]["result"].startswith(f"{float(premium['gross']['amount']):,.2f}")
    assert client.get("/api/v1/ledger").json() == before
    assert client.get("/api/v1/policies").json()["items"] == []


def test_binding_the_same_terms_twice_is_one_policy_and_other_terms_are_refused(client: TestClient) -> None:
    first = client.post("/api/v1/policies", json=policy())
    again = client.post("/api/v1/policies", json=policy())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = client.post("/api/v1/policies", json=policy(insured="Somebody else"))
    assert (other.status_code, other.headers["content-type"]) == (409, "application/problem+json")
    assert len(client.get("/api/v1/policies").json()["items"]) == 1
    assert client.get("/api/v1/ledger").json()["position"] == 3


def test_without_an_id_the_terms_name_the_policy(client: TestClient) -> None:
    terms = policy()
    del terms["id"]
    first, again = (client.post("/api/v1/policies", json=terms) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


def test_two_at_once_are_one(client: TestClient) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(client.post("/api/v1/policies", json=policy()).status_code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 200, 200, 201]


def test_two_policies_may_not_cover_one_line_at_one_time(client: TestClient) -> None:
    assert client.post("/api/v1/policies", json=policy(lines=["filling"])).status_code == 201
    clash = client.post("/api/v1/policies", json=policy(id="p-2", lines=["filling", "packing"]))
    assert clash.status_code == 409
    assert "p-1" in clash.json()["detail"]
    assert client.post("/api/v1/policies", json=policy(id="p-3", lines=["packing"])).status_code == 201


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surprise": 1}, "surprise"),
        ({"start": "2026-11-23"}, "start"),
        ({"start": 1700000000}, "start"),
        ({"end": "2026-11-22T00:00:00Z"}, "end after"),
        ({"end": "2028-11-22T00:00:00Z"}, "days"),
        ({"currency": "XXX"}, "XXX"),
        ({"currency": "EUR"}, "plan"),
        ({"sector": "piracy"}, "piracy"),
        ({"plan": "nowhere-1999"}, "nowhere-1999"),
        ({"market": "xx"}, "xx"),
        ({"cover": {"limit": 8000000}}, "limit"),
        ({"cover": {"limit": "-1"}}, "limit"),
        ({"cover": {"limit": "9" * 15}}, "limit"),
        ({"cover": {"waiting_seconds": -1}}, "waiting_seconds"),
        ({"cover": {"waiting_seconds": "60"}}, "waiting_seconds"),
        ({"cover": {"waiting_seconds": 86400 * 91}}, "indemnity_period"),
        ({"cover": {"rate_of_gross_profit": "1.5"}}, "rate_of_gross_profit"),
        ({"cover": {"sum_insured": "100"}}, "gross_profit_at_risk"),
        ({"cover": {"standard_output": {"start_below": "0.95"}}}, "start_below"),
        ({"rating": {"annual_gross_profit": "1"}}, "annual_gross_profit"),
        ({"rating": {"annual_gross_profit": "40000000", "schedule": {"luck": "-0.1"}}}, "luck"),
    ],
)
def test_wrong_terms_are_refused_with_what_is_wrong_and_nothing_is_written(
    client: TestClient, change: dict[str, Any], said: str
) -> None:
    before = client.get("/api/v1/ledger").json()
    for path in ("policies", "policies/quote"):
        answer = client.post(f"/api/v1/{path}", json=policy(**change))
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert said in answer.text
    assert client.get("/api/v1/ledger").json() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b'{"id":' * 5000, b"9" * 400_000])
def test_hostile_bodies_are_problems_not_faults(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/v1/policies", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["status"] == answer.status_code


def test_a_body_that_is_too_large_is_not_read(client: TestClient) -> None:
    answer = client.post("/api/v1/policies", content=b" " * 600_000, headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["nothing", "sites/%00", "agents/" + "x" * 3000, "claims/..%2f..", "policies/%F0%9F%92%A5", "events?limit=0",
     "events?limit=501", "events?after=-1", "events?after=99999999999999999999", "scores?after=x"],
)  # fmt: skip
def test_odd_addresses_are_404_or_422(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_endorsement_moves_the_charged_relativity_by_one_step(kit: Kit, client: TestClient) -> None:
    client.post("/api/v1/policies", json=policy())
    path = "/api/v1/policies/p-1/endorsements"
    body = {"name": "e-1", "effective": "2026-12-23T00:00:00Z", "note": "agreed by phone"}
    assert client.post(path, json=body).status_code == 409, "nothing is indicated yet"
    pen = kit.enrol("a1")
    pen.key = key_of("a1")
    kit.tell(pen, *[anomaly(f"e{i}", "open", 1.0, i, i + 1, kind="integrity") for i in range(8)])
    answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["reason"], shown["relativity_charged"]) == ("endorsement", "1.05")
    endorsement = shown["trace"]["endorsement"]
    base, due = float(shown["base"]), float(endorsement["due"]["amount"])
    assert due == pytest.approx(base * 0.05 * 335 / 365, abs=0.01)
    again = client.post(path, json=body)
    assert (again.status_code, again.json()) == (200, shown)
    assert client.post(path, json={**body, "note": "other"}).status_code == 409
    late = client.post(path, json={**body, "name": "e-2", "effective": "2028-01-01T00:00:00Z"})
    assert late.status_code == 422


@pytest.mark.parametrize("mode", ["renewal", "decrease"])
def test_the_law_mode_forbids_an_increase(kit: Kit, client: TestClient, mode: str) -> None:
    client.post("/api/v1/policies", json=policy(law_mode=mode))
    kit.tell(kit.enrol("a1"), anomaly("e1", "open", 1.0, 0, 1))
    body = {"name": "e-1", "effective": "2026-12-23T00:00:00Z"}
    answer = client.post("/api/v1/policies/p-1/endorsements", json=body)
    assert answer.status_code == 409
    assert mode in answer.json()["detail"]


def test_a_claim_takes_only_the_steps_that_its_table_allows(kit: Kit, client: TestClient) -> None:
    client.post("/api/v1/policies", json=policy())
    kit.tell(kit.enrol("a1"), *running(0, 300), *stopped(300, 420), *running(420, 440))
    (claim,) = client.get("/api/v1/claims").json()["items"]
    path = f"/api/v1/claims/{claim['id']}/transitions"
    refused = client.post(path, json={"event": "pay", "role": "handler"})
    assert refused.status_code == 409
    assert "notify" in refused.json()["detail"]
    for event, role, state in (
        ("notify", "insured", "notified"), ("open", "handler", "open"), ("reserve", "handler", "reserved"),
        ("agree", "supervisor", "agreed"), ("pay", "handler", "paid"), ("close", "handler", "closed"),
    ):  # fmt: skip
        answer = client.post(path, json={"event": event, "role": role, "note": "so be it"})
        assert (answer.status_code, answer.json()["claim"]["state"]) == (200, state)
    detail = client.get(f"/api/v1/claims/{claim['id']}").json()
    assert [m["kind"] for m in detail["timeline"]][-6:] == ["notify", "open", "reserve", "agree", "pay", "close"]
    assert detail["timeline"][-1]["detail"]["note"] == "so be it"
    assert list(detail["possible"]) == ["reopen"]


def test_pages_follow_each_other_without_gap_or_repeat(kit: Kit, client: TestClient) -> None:
    kit.tell(kit.enrol("a1"), *[(beat(), at(i)) for i in range(25)])
    seen, after = [], 0
    while after is not None:
        page = client.get(f"/api/v1/events?limit=7&after={after}").json()
        seen += [e["sequence"] for e in page["items"]]
        after = page["next"]
    assert seen == list(range(1, 26))
    newest = client.get("/api/v1/events?limit=3&newest=true&type=heartbeat").json()["items"]
    assert [e["sequence"] for e in newest] == [25, 24, 23]


def test_enrolling_again_is_no_change_and_another_key_is_refused(kit: Kit, client: TestClient) -> None:
    body = {"id": "a1", "site": "plant-a", "public_key": key_of("a1").public.to_text()}
    assert client.post("/api/v1/agents", json=body).status_code == 200
    other = {**body, "public_key": key_of("x").public.to_text()}
    assert client.post("/api/v1/agents", json=other).status_code == 409
    twin = {**body, "id": "a2"}
    assert client.post("/api/v1/agents", json=twin).status_code == 409
    fresh = client.post("/api/v1/agents", json={**other, "id": "a2"})
    assert (fresh.status_code, fresh.json()["sequence"]) == (201, 0)
    bad = client.post("/api/v1/agents", json={**body, "id": "A 1"})
    assert bad.status_code == 422
    client.post("/api/v1/agents/a1/revoke", json={"reason": "stolen"})
    assert client.post("/api/v1/agents", json=body).status_code == 409, "a revoked key does not come back"


def test_a_login_link_works_once_and_not_for_ever(kit: Kit, client: TestClient) -> None:
    path = client.post("/api/v1/login-links").json()["path"]
    token = path.partition("token=")[2]
    opened = auth.open_session(kit.db, link=token, now=kit.clock())
    assert opened is not None
    session, scope = opened
    assert scope.tenant == "acme"
    assert auth.open_session(kit.db, link=token, now=kit.clock()) is None
    page = TestClient(kit.app, cookies={"ullage_session": session})
    assert page.get("/api/v1/me").json()["tenant"] == "acme"
    auth.close_session(kit.db, session)
    assert page.get("/api/v1/me").status_code == 401
    old = client.post("/api/v1/login-links").json()["path"].partition("token=")[2]
    kit.clock.forward(901)
    assert auth.open_session(kit.db, link=old, now=kit.clock()) is None


def test_no_token_is_stored(kit: Kit) -> None:
    token = kit.token("acme")
    with kit.db.read() as conn:
        conn.exec_driver_sql("SELECT 1")
    assert token.encode() not in kit.db.path.read_bytes()
    assert token.removeprefix("ullage_").encode() not in kit.db.path.with_name("scorer.db-wal").read_bytes()


def test_the_stream_resumes_behind_the_last_id(kit: Kit, client: TestClient) -> None:
    client.post("/api/v1/policies", json=policy())
    kit.tell(kit.enrol("a1"), anomaly("e1", "open", 0.5, 0, 1))
    kit.app.state.stopping.set()

    def read(headers: dict[str, str]) -> list[tuple[int, str]]:
        with client.stream("GET", "/api/v1/stream?after=0", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [answer.status_code, "".join(answer.iter_text())]  # type: ignore[list-item]

    assert read({})[1] == ": welcome\n\n", "a scorer that stops ends its streams at once"
    kit.app.state.stopping.clear()
    reader = threading.Timer(1.0, kit.app.state.stopping.set)
    reader.start()
    body = str(read({"last-event-id": "3"})[1])
    reader.join()
    blocks = [dict(line.split(": ", 1) for line in b.splitlines()) for b in body.split("\n\n")[1:] if b]
    assert [int(b["id"]) for b in blocks] == list(range(4, 4 + len(blocks)))
    assert [b["event"] for b in blocks][-3:] == ["anomaly", "premium", "score"]
    assert json.loads(blocks[-3]["data"])["episode"] == "e1"


def test_the_schema_describes_every_route(kit: Kit) -> None:
    schema = TestClient(kit.app).get("/api/v1/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            assert route.get("summary"), (method, path)
            assert route.get("description"), (method, path)
    assert T0.isoformat()
