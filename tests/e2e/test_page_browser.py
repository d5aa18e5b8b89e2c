"""The page in a real browser: it moves without a reload, hostile strings stay text, a lost stream is told."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from e2e.page_browser import Browser, served
from ullage_protocols.messages import Anomaly, TagShare, Technique
from ullage_scorer.auth import service as auth
from ullage_scorer.auth import store as auth_store
from ullage_scorer.db.scope import SYSTEM
from ullage_scorer.policies import service as policies
from unit import scorer_kit as scorer

pytestmark = pytest.mark.e2e
HOSTILE = "</script><script>window.owned=1</script>\"'><img src=x onerror=window.owned=1>\u202e"
NOTED = (
    "window.refusals = [];"
    "document.addEventListener('securitypolicyviolation', (e) => window.refusals.push(e.violatedDirective))"
)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[scorer.Kit]:
    found = scorer.Kit(tmp_path)
    yield found
    found.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


def link_of(kit: scorer.Kit, tenant: str = "acme") -> str:
    path: str = kit.client(tenant).post("/api/v1/login-links").json()["path"]
    return path


def test_an_anomaly_a_stop_and_a_claim_appear_without_a_reload(kit: scorer.Kit, browser: Browser) -> None:
    pen = kit.enrol("gw-1")
    assert kit.client("*").post("/api/v1/policies", json=scorer.policy()).status_code == 201
    kit.tell(pen, *(scorer.made(10.0 * n, 10.0 * n + 10, 100) for n in range(30)))
    with served(kit.app, kit.app.state.stopping) as address:
        browser.open(address + link_of(kit))
        browser.until("document.getElementById('connection')?.dataset.state === 'live'")
        browser.evaluate("window.witness = 'not reloaded';" + NOTED)
        assert browser.evaluate("document.querySelectorAll('.anomaly, .claim').length") == 0
        assert "runs at its standard output" in browser.evaluate("document.querySelector('.sentence').textContent")

        kit.tell(pen, scorer.anomaly("ep-1", "open", 0.9, 290, 295))
        browser.until("document.querySelector('.anomaly.is-open.is-new')?.textContent.includes('T0836')")
        assert (
            browser.evaluate("document.getElementById('announcer').textContent") == "New anomaly, process, severity 90%"
        )

        kit.tell(pen, *(scorer.made(300 + 10.0 * n, 310 + 10.0 * n, 0) for n in range(12)))
        browser.until("document.querySelector('.claim')?.textContent.includes('draft')")
        browser.until("document.querySelector('.sentence').textContent.includes('600 units a minute are missing')")
        browser.evaluate("document.querySelector('.claim summary').focus();document.activeElement.click()")
        before = browser.until(
            "!document.querySelector('.claim details').open && document.querySelector('.claim .strong').textContent"
        )

        kit.tell(pen, *(scorer.made(420 + 10.0 * n, 430 + 10.0 * n, 0) for n in range(3)))
        browser.until(f"document.querySelector('.claim .strong').textContent !== {before!r}")
        assert browser.evaluate("document.querySelector('.claim details').open") is False
        assert browser.evaluate("document.activeElement.localName") == "summary"
        assert browser.evaluate("document.querySelectorAll('[data-plot] canvas').length") == 2
        browser.dark()
        browser.until("document.querySelectorAll('[data-plot] canvas').length === 2")

        assert browser.evaluate("window.witness") == "not reloaded"
        assert browser.evaluate("window.refusals") == []
        assert browser.log == []
    browser.until("document.getElementById('connection').dataset.state === 'offline'")
    assert browser.evaluate("document.getElementById('offline').hidden") is False


def test_hostile_strings_stay_text_in_a_browser(kit: scorer.Kit, browser: Browser) -> None:
    kit.worker.submit(
        policies.CREATE_SITE,
        lambda conn: policies.prepare_site(conn, SYSTEM, site="plant-a", tenant="acme", name=HOSTILE),
    )
    pen = kit.enrol("gw-1")
    assert kit.client("*").post("/api/v1/policies", json=scorer.policy(insured=HOSTILE)).status_code == 201
    message, at = scorer.anomaly("ep-1", "open", 0.9, 290, 295)
    assert isinstance(message, Anomaly)
    hostile = replace(
        message, episode=HOSTILE, tags=(TagShare(HOSTILE, 1.0, 1.0, 2.0, HOSTILE),),
        techniques=(Technique("T0836", HOSTILE, HOSTILE),), reasons=(HOSTILE,),
    )  # fmt: skip
    with served(kit.app, kit.app.state.stopping) as address:
        browser.open(address + link_of(kit))
        browser.until("document.getElementById('connection')?.dataset.state === 'live'")
        browser.evaluate(NOTED)
        # Through the stream too: what arrives later is put into the page by script.
        kit.tell(pen, *(scorer.made(10.0 * n, 10.0 * n + 10, 100, line=HOSTILE) for n in range(30)))
        kit.tell(pen, *(scorer.made(300 + 10.0 * n, 310 + 10.0 * n, 0, line=HOSTILE) for n in range(12)))
        kit.tell(pen, (hostile, at))
        browser.until("document.querySelector('.anomaly')?.textContent.includes('onerror')")
        browser.until("document.querySelector('.claim')?.textContent.includes('onerror')")
        assert browser.evaluate("window.owned") is None
        assert browser.evaluate("document.querySelectorAll('main script, main img, main style').length") == 0
        assert browser.evaluate("window.refusals") == []
        assert browser.log == []


def _first_push(address: str, path: str, cookie: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"cookie": cookie})
        answer = connection.getresponse()
        if answer.status != 200:
            return f"{answer.status}"
        found = b""
        while not (found.count(b"\n\n") >= 2 and found.endswith(b"\n\n")):
            piece = answer.read1(65536)
            assert piece, "the stream ended"
            found += piece
        return found.decode()


def test_the_stream_shows_each_tenant_its_own(kit: scorer.Kit) -> None:
    pen = kit.enrol("gw-1")
    kit.tell(pen, *(scorer.made(10.0 * n, 10.0 * n + 10, 100) for n in range(30)))
    with served(kit.app, kit.app.state.stopping) as address:
        cookies = {}
        for tenant in ("acme", "other"):
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", link_of(kit, tenant))
                cookies[tenant] = str(connection.getresponse().getheader("set-cookie")).partition(";")[0]
        own = _first_push(address, "/live?site=plant-a", cookies["acme"])
        foreign = _first_push(address, "/live?site=plant-a", cookies["other"])
        assert "filling" in own
        assert "gw-1" in own
        assert "No site yet" in foreign
        assert not any(secret in foreign for secret in ("plant-a", "filling", "gw-1"))
        assert _first_push(address, "/live", "") == "401"


def test_a_stream_ends_when_its_key_is_revoked(kit: scorer.Kit) -> None:
    pen = kit.enrol("gw-1")
    key, token = auth.create_key(kit.db, tenant="acme", role="auditor", sites=None, note="", now=kit.clock())
    opened = auth.open_session(kit.db, api_token=token, now=kit.clock())
    assert opened is not None
    with served(kit.app, kit.app.state.stopping) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/live", headers={"cookie": f"ullage_session={opened[0]}"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read1(65536)
            with kit.db.write() as conn:
                auth_store.revoke(conn, SYSTEM, key, "2026-11-23T08:00:00.000000Z")
            kit.tell(pen, scorer.made(0, 10, 100, line="secret-line"))
            rest = b""
            while piece := answer.read1(65536):
                rest += piece
                assert b"secret-line" not in rest
