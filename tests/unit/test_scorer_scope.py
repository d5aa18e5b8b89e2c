"""Nobody sees another's rows: every route of the schema, every role, an own, a foreign and an unknown object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ullage_scorer.db.scope import ROLES
from unit.scorer_kit import T0, Kit, anomaly, hello, key_of, policy, running, stopped

BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/agents": {"id": "new", "site": "{site}", "public_key": key_of("new").public.to_text()},
    "/api/v1/agents/{agent}/revoke": {"reason": "stolen"},
    "/api/v1/sites": {"id": "{site}", "name": "mine", "tenant": "bolt"},
    "/api/v1/policies": policy(id="p-new", site="{site}"),
    "/api/v1/policies/quote": policy(id="p-new", site="{site}"),
    "/api/v1/policies/{policy}/endorsements": {"name": "e-1", "effective": "2026-12-01T00:00:00Z"},
    "/api/v1/claims/{claim}/transitions": {"event": "notify", "role": "insured"},
    "/api/v1/login-links": {},
}
OPEN = {"/healthz", "/api/v1/openapi.json"}
ENDLESS = {"/api/v1/stream"}


@dataclass(frozen=True)
class World:
    """Two tenants with one of everything each; ``own`` is acme, ``foreign`` is bolt."""

    kit: Kit
    own: dict[str, str]
    foreign: dict[str, str]
    clients: dict[str, TestClient]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    kit = Kit(tmp_path_factory.mktemp("scope"))
    names = {}
    for tenant, letter in (("acme", "a"), ("bolt", "b")):
        pen = kit.enrol(f"{tenant}-1", site=f"plant-{letter}", tenant=tenant)
        client = kit.client(tenant)
        answer = client.post(
            "/api/v1/policies", json=policy(id=f"p-{letter}", site=f"plant-{letter}", insured=f"insured-{tenant}")
        )
        assert answer.status_code == 201
        kit.tell(
            pen, (hello(), T0), *running(0, 300), anomaly("e1", "open", 0.5, 1, 301), *stopped(300, 420),
            *running(420, 440),
        )  # fmt: skip
        kit.send(pen.write_raw(type="org.ullage.poem.v1"))
        (claim,) = client.get("/api/v1/claims").json()["items"]
        names[tenant] = {
            "agent": f"{tenant}-1", "site": f"plant-{letter}", "policy": f"p-{letter}", "claim": claim["id"]
        }  # fmt: skip
    clients = {role: kit.client("acme", role) for role in ROLES}
    clients["limited"] = kit.client("acme", "admin", ["elsewhere"])
    yield World(kit, names["acme"], names["bolt"], clients)
    kit.close()


def routes(kit: Kit) -> list[tuple[str, str]]:
    schema = kit.app.openapi()
    return [
        (method.upper(), path)
        for path, methods in schema["paths"].items()
        for method in methods
        if path not in OPEN | ENDLESS
    ]  # fmt: skip


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda m: names[m[1]], value)
    if isinstance(value, dict):
        return {k: filled(v, names) for k, v in value.items()}
    return value


def ask(client: TestClient, method: str, path: str, names: dict[str, str]) -> Any:
    if method == "POST":
        assert path in BODIES, f"{path} has no body in this test: add one, so that its scope is tested"
        return client.post(filled(path, names), json=filled(BODIES[path], names))
    assert method == "GET", f"{method} {path}: this test does not know how to try it"
    return client.get(filled(path, names))


def test_without_a_key_everything_answers_401_with_one_body(world: World) -> None:
    nobody = TestClient(world.kit.app, raise_server_exceptions=False)
    bad = TestClient(world.kit.app, headers={"authorization": "Bearer ullage_nonsense"}, raise_server_exceptions=False)
    tried = routes(world.kit)
    assert len(tried) >= 24
    for method, path in [*tried, ("GET", "/api/v1/stream")]:
        for client in (nobody, bad):
            answer = ask(client, method, path, world.own)
            assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized"), (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("who", [*ROLES, "limited"])
def test_a_foreign_object_answers_exactly_as_an_unknown_one(world: World, who: str) -> None:
    client = world.clients[who]
    unknown = dict.fromkeys(world.own, "no-such-thing")
    tried = 0
    for method, path in routes(world.kit):
        if "{" not in path and (method == "GET" or "{site}" not in str(BODIES[path])):
            continue
        foreign, missing = ask(client, method, path, world.foreign), ask(client, method, path, unknown)
        assert foreign.status_code in (403, 404), (who, method, path, foreign.text)
        assert (foreign.status_code, foreign.json()) == (missing.status_code, missing.json()), (who, method, path)
        if "{" in path:
            assert foreign.status_code == 404, (who, method, path)
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("who", [*ROLES, "limited"])
def test_lists_hold_no_foreign_row(world: World, who: str) -> None:
    for method, path in routes(world.kit):
        if method != "GET" or "{" in path:
            continue
        for query in ("", f"?site={world.foreign['site']}", f"?agent={world.foreign['agent']}",
                      f"?policy={world.foreign['policy']}"):  # fmt: skip
            answer = world.clients[who].get(path + query)
            assert answer.status_code == 200, (path, answer.text)
            for secret in ("bolt", *world.foreign.values()):
                assert secret not in answer.text, (who, path, query, secret)
        if who == "limited":
            assert not answer.json().get("items"), path


def test_own_objects_are_seen_by_every_role(world: World) -> None:
    for method, path in routes(world.kit):
        if method != "GET":
            continue
        for who in ROLES:
            answer = ask(world.clients[who], method, path, world.own)
            assert answer.status_code == 200, (who, path, answer.text)
            if "{" not in path and path not in ("/api/v1/ledger", "/api/v1/me"):
                assert answer.json()["items"], (who, path)


@pytest.mark.parametrize("who", ["policyholder", "auditor"])
def test_only_insurers_and_admins_write(world: World, who: str) -> None:
    before = world.clients["admin"].get("/api/v1/ledger").json()
    for method, path in routes(world.kit):
        if method == "POST" and path not in ("/api/v1/login-links", "/api/v1/claims/{claim}/transitions"):
            answer = ask(world.clients[who], method, path, world.own)
            assert answer.status_code == 403, (who, path, answer.text)
    assert world.clients["admin"].get("/api/v1/ledger").json() == before


def test_a_person_acts_only_in_a_role_that_the_key_allows(world: World) -> None:
    path = filled("/api/v1/claims/{claim}/transitions", world.own)
    for who, role in (
        ("auditor", "insured"),
        ("policyholder", "handler"),
        ("insurer", "insured"),
    ):
        answer = world.clients[who].post(path, json={"event": "notify", "role": role})
        assert answer.status_code == 403, (who, role, answer.text)


def test_a_revoked_or_limited_key_sees_nothing_more(world: World) -> None:
    assert world.clients["limited"].get("/api/v1/me").json()["sites"] == ["elsewhere"]
    assert world.clients["limited"].get("/api/v1/quarantine").json()["items"] == []
