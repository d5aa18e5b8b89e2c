"""The page as HTML: what it shows, that every string is escaped, who may see it, what its headers forbid."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ullage_protocols.messages import Anomaly, TagShare, Technique
from ullage_scorer.auth import service as auth
from ullage_scorer.auth import store as auth_store
from ullage_scorer.dashboard import pages, store
from ullage_scorer.db.scope import SYSTEM, Scope
from ullage_scorer.policies import service as policies
from unit import scorer_kit as scorer

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e{{7*7}}&amp;"
STATIC = Path(pages.__file__).parent / "static"


class Audit(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def faults(self) -> list[str]:
        """Anything inline, anything from elsewhere."""
        found = []
        for tag, attrs in self.tags:
            if tag in ("style", "img", "iframe", "object", "base") or (tag == "script" and "src" not in attrs):
                found.append(f"<{tag}>")
            found += [f"{tag} {name}" for name in attrs if name.startswith("on") or name == "style"]
            for name in ("src", "href", "action", "sse-connect"):
                value = attrs.get(name) or "/"
                if not value.startswith(("/", "#")) or value.startswith("//"):
                    found.append(f"{tag} {name}={value}")
        return found


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[scorer.Kit]:
    found = scorer.Kit(tmp_path)
    yield found
    found.close()


def visitor(kit: scorer.Kit, tenant: str = "acme", role: str = "admin", sites: list[str] | None = None) -> TestClient:
    """A browser that has opened a login link."""
    link = kit.client(tenant, role, sites).post("/api/v1/login-links").json()["path"]
    client = TestClient(kit.app, follow_redirects=False, raise_server_exceptions=False)
    assert client.get(link).status_code == 303
    return client


def story(kit: scorer.Kit) -> str:
    """Five minutes of running, an anomaly, a stop that outlasts the waiting period; gives the claim's id."""
    pen = kit.enrol("gw-1")
    assert kit.client("*").post("/api/v1/policies", json=scorer.policy()).status_code == 201
    kit.tell(pen, (scorer.hello(), scorer.at(0)), *(scorer.made(10.0 * n, 10.0 * n + 10, 100) for n in range(30)))
    kit.tell(pen, scorer.anomaly("ep-1", "open", 0.9, 290, 295))
    kit.tell(pen, *(scorer.made(300 + 10.0 * n, 310 + 10.0 * n, 0) for n in range(12)))
    kit.tell(pen, (scorer.beat(pending=7), scorer.at(420)))
    kit.clock.now = scorer.at(420)
    kit.tell(pen, (scorer.beat(pending=7), scorer.at(421)))
    claim: str = kit.client("acme").get("/api/v1/claims").json()["items"][0]["id"]
    return claim


def test_an_empty_scorer_has_a_page_that_says_what_to_do(kit: scorer.Kit) -> None:
    answer = visitor(kit).get("/")
    assert answer.status_code == 200
    assert "No site yet" in Audit(answer.text).text
    assert Audit(answer.text).faults() == []


def test_the_page_shows_the_whole_story(kit: scorer.Kit) -> None:
    claim = story(kit)
    answer = visitor(kit).get("/")
    audit = Audit(answer.text)
    text = " ".join(audit.text.split())
    assert audit.faults() == []
    shown = kit.client("acme").get(f"/api/v1/claims/{claim}").json()
    premium = kit.client("acme").get("/api/v1/premiums").json()["items"][-1]
    indemnity = f"{float(shown['claim']['indemnity']):,.2f}"
    for expected in (
        "filling stands still. 600 units a minute are missing.", "stopped", "0 / 600", "7 waiting", claim, "draft",
        indemnity, "1,200 units", "T0836 Modify Parameter", "a setpoint moved", "plc.level", "70%", "Acme Bottling",
        "8,000,000.00", "1 min", f"{float(premium['indicated']):,.2f}", f"{float(premium['charged']):,.2f}",
    ):  # fmt: skip
        assert expected in text, expected
    for step in shown["worksheet"]:
        assert step["name"].capitalize() in text
    series = [json.loads(attrs["data-series"] or "") for _, attrs in audit.tags if "data-plot" in attrs]
    assert series[0]["rate"] == [600.0] * 30 + [0.0] * 12
    assert series[0]["standard"] == 600.0
    assert series[0]["waiting"] == scorer.at(360).timestamp()
    assert series[0]["marks"] == [scorer.at(290).timestamp()]
    assert series[1]["indicated"][-1] > series[1]["indicated"][0] == 1.0
    assert ("a", f"/api/v1/claims/{claim}/evidence") in [(tag, attrs.get("href")) for tag, attrs in audit.tags]


def test_the_evidence_bundle_opens_with_the_page_session(kit: scorer.Kit) -> None:
    claim = story(kit)
    answer = visitor(kit).get(f"/api/v1/claims/{claim}/evidence")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")


def test_silence_is_neither_output_nor_an_outage(kit: scorer.Kit) -> None:
    pen = kit.enrol("gw-1")
    kit.tell(pen, *(scorer.made(10.0 * n, 10.0 * n + 10, 100) for n in range(10)))
    assert "runs at its standard output" in visitor(kit).get("/").text
    kit.clock.forward(policies.STALE.total_seconds() + 1)
    text = visitor(kit).get("/").text
    assert "Nothing is heard from filling" in text
    assert "runs at its standard output" not in text


def test_time_that_was_not_seen_is_told_apart(kit: scorer.Kit) -> None:
    pen = kit.enrol("gw-1")
    kit.tell(
        pen, scorer.made(0, 10, 100), scorer.made(10, 20, None, observed=0.0), scorer.made(30, 40, 100)
    )  # fmt: skip
    audit = Audit(visitor(kit).get("/").text)
    series = next(json.loads(attrs["data-series"] or "") for _, attrs in audit.tags if "data-plot" in attrs)
    assert series["rate"] == [600.0, None, None, 600.0]
    assert series["blind"] is True


def test_every_string_of_others_is_escaped(kit: scorer.Kit) -> None:
    kit.worker.submit(
        policies.CREATE_SITE,
        lambda conn: policies.prepare_site(conn, SYSTEM, site="plant-a", tenant="acme", name=HOSTILE),
    )
    pen = kit.enrol("gw-1")
    terms = scorer.policy(insured=HOSTILE)
    assert kit.client("*").post("/api/v1/policies", json=terms).status_code == 201
    kit.tell(pen, *(scorer.made(10.0 * n, 10.0 * n + 10, 100, line=HOSTILE) for n in range(30)))
    kit.tell(pen, *(scorer.made(300 + 10.0 * n, 310 + 10.0 * n, 0, line=HOSTILE) for n in range(12)))
    message, at = scorer.anomaly("ep-1", "open", 0.9, 290, 295)
    assert isinstance(message, Anomaly)
    hostile = replace(
        message, episode=HOSTILE, tags=(TagShare(HOSTILE, 1.0, 1.0, 2.0, HOSTILE),),
        techniques=(Technique(HOSTILE[:16], HOSTILE, HOSTILE),), reasons=(HOSTILE,),
    )  # fmt: skip
    kit.tell(pen, (hostile, at))
    for lang in ("en", "zh"):
        answer = visitor(kit).get(f"/?lang={lang}")
        audit = Audit(answer.text)
        assert audit.faults() == []
        assert not any("\u202e" in part for part in (answer.text, *(str(attrs) for _, attrs in audit.tags)))
        assert audit.text.count("<script>alert(1)</script>") >= 8
        assert "{{7*7}}&amp;" in audit.text


@pytest.mark.parametrize("path", ["/", "/login", "/static/page.js", "/static/vendor/htmx.min.js"])
def test_headers_allow_nothing_but_ourselves(kit: scorer.Kit, path: str) -> None:
    headers = visitor(kit).get(path).headers
    for part in (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "font-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    ):  # fmt: skip
        assert part in headers["content-security-policy"].split("; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_a_login_link_works_once(kit: scorer.Kit) -> None:
    link = kit.client("acme").post("/api/v1/login-links").json()["path"]
    first = TestClient(kit.app, follow_redirects=False).get(link)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    second = TestClient(kit.app, follow_redirects=False).get(link)
    assert second.status_code == 401
    assert "set-cookie" not in second.headers
    assert "used already" in second.text


def test_a_login_link_runs_out(kit: scorer.Kit) -> None:
    link = kit.client("acme").post("/api/v1/login-links").json()["path"]
    kit.clock.forward(auth.LINK_LIFE.total_seconds() + 1)
    assert TestClient(kit.app, follow_redirects=False).get(link).status_code == 401


def test_an_api_key_opens_the_page_and_signing_out_closes_it(kit: scorer.Kit) -> None:
    client = TestClient(kit.app, follow_redirects=False)
    assert client.get("/").headers["location"] == "/login"
    assert client.post("/login", data={"key": "ullage_wrong"}).status_code == 401
    assert client.post("/login", data={"key": f" {kit.token('acme')} "}).status_code == 303
    assert client.get("/").status_code == 200
    session = client.cookies["ullage_session"]
    assert client.post("/logout").status_code == 303
    client.cookies.set("ullage_session", session)
    assert client.get("/").headers["location"] == "/login"


def test_a_form_of_another_site_signs_nobody_in(kit: scorer.Kit) -> None:
    client = TestClient(kit.app, follow_redirects=False, headers={"sec-fetch-site": "cross-site"})
    assert client.post("/login", data={"key": kit.token("acme")}).status_code == 403
    assert client.post("/logout").status_code == 403


def test_a_revoked_key_closes_its_sessions(kit: scorer.Kit) -> None:
    id_, token = auth.create_key(kit.db, tenant="acme", role="auditor", sites=None, note="", now=kit.clock())
    client = TestClient(kit.app, follow_redirects=False)
    client.post("/login", data={"key": token})
    assert client.get("/").status_code == 200
    with kit.db.write() as conn:
        auth_store.revoke(conn, SYSTEM, id_, "2026-11-23T08:00:00.000000Z")
    assert client.get("/").headers["location"] == "/login"


def test_a_foreign_tenant_sees_nothing(kit: scorer.Kit) -> None:
    claim = story(kit)
    empty = visitor(kit, "other").get("/").text
    for client in (visitor(kit, "other"), visitor(kit, "acme", sites=["plant-b"])):
        for path in ("/", "/?site=plant-a"):
            text = client.get(path).text
            for secret in ("plant-a", "Acme", "gw-1", "filling", "plc.level", claim, "T0836"):
                assert secret not in text, secret
        assert client.get(f"/api/v1/claims/{claim}/evidence").status_code == 404
    assert "No site yet" in empty


def test_every_read_of_the_page_stays_inside_its_scope(kit: scorer.Kit) -> None:
    story(kit)
    reads: dict[str, tuple[Any, ...]] = {
        "open_episodes": (), "newest_episodes": ("plant-a", 9), "newest_production": ("plant-a", 9), "all_lines": (),
        "watches": (), "newest_stops": ("plant-a", 9), "newest_premiums": ("p-1", 9), "newest_claims": ("plant-a", 9),
    }  # fmt: skip
    taking = {
        name for name, found in inspect.getmembers(store, inspect.isfunction)
        if "scope" in inspect.signature(found).parameters
    }  # fmt: skip
    assert set(reads) == taking
    with kit.db.read() as conn:
        for name, arguments in reads.items():
            read = getattr(store, name)
            assert read(conn, Scope("admin", "acme"), *arguments), name
            assert not read(conn, Scope("admin", "other"), *arguments), name
            assert not read(conn, Scope("admin", "acme", frozenset({"plant-b"})), *arguments), name


def test_chinese_is_chosen_and_remembered(kit: scorer.Kit) -> None:
    story(kit)
    client = visitor(kit)
    assert 'lang="zh-CN"' in client.get("/", headers={"accept-language": "fr, zh-CN;q=0.8, en;q=0.5"}).text
    assert 'html lang="en"' in client.get("/").text
    chosen = client.get("/?lang=zh").text
    assert "filling 已停产，每分钟缺少 600 件。" in Audit(chosen).text
    assert 'html lang="zh-CN"' in client.get("/").text


def test_tables_and_landmarks_are_named(kit: scorer.Kit) -> None:
    story(kit)
    audit = Audit(visitor(kit).get("/").text)
    names = [tag for tag, _ in audit.tags]
    assert names.count("h1") == names.count("main") == 1
    assert all("scope" in attrs for tag, attrs in audit.tags if tag == "th")
    ids = [attrs["id"] for _, attrs in audit.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs["aria-labelledby"] in ids for _, attrs in audit.tags if "aria-labelledby" in attrs)
    assert ("p", "polite") in [(tag, attrs.get("aria-live")) for tag, attrs in audit.tags]


@pytest.mark.parametrize(
    "name", ["../routes.py", "%2e%2e/routes.py", "vendor/VENDORED.md", "", "page.js/", "//etc/passwd"]
)
def test_only_the_files_of_the_page_are_served(kit: scorer.Kit, name: str) -> None:
    assert TestClient(kit.app).get(f"/static/{name}").status_code == 404


def test_vendored_files_are_the_published_ones() -> None:
    listed: dict[str, Any] = dict(
        re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (STATIC / "vendor/VENDORED.md").read_text(), re.M)
    )
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (STATIC / "vendor").glob("*.min.*")}
    assert found == listed


def test_the_page_names_no_other_host() -> None:
    for path in (p for p in STATIC.rglob("*") if p.suffix in (".js", ".css")):
        hosts = set(re.findall(r"(?:https?:)?//([a-z0-9.-]+\.[a-z]{2,})/", path.read_text("utf-8")))
        assert hosts <= {"github.com"}, path.name  # uPlot's banner names its repository
