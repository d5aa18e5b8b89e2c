"""Gathers the evidence of a claim: every record of its agents from the first on, receipts, keys, the worksheet."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row
from ullage_protocols import wire
from ullage_protocols.evidence.bundle import write_bundle
from ullage_protocols.keys import SigningKey
from ullage_protocols.receipt import Receipt

from ..db.scope import Scope
from ..ledger import store as ledger
from . import planned, store

_README = """Evidence of claim {claim} under policy {policy}

claim.json               the claim: policy terms, premium, outage, worksheet with every step, timeline
records/AGENT.jsonl      what the agent sent, one signed envelope a line, from its first record on
receipts/AGENT.jsonl     what the scorer confirmed to have, signed by the scorer
keys.json                public keys of the agents and of the scorer
manifest.json            SHA-256 of every file, signed by the scorer

Check it without any network:   ullage-verify FILE --trust KEY     (KEY: the scorer's key id that you hold)

How to redo the claim by hand
  1. From records/: the base64 payload of each envelope is one event; take those of type org.ullage.production.v1.
     Each says that from start to end the line made count units. The intervals of a line abut.
  2. Standard output: total count over total time of normal running before the outage, within the window that the
     policy's rule states; claim.json, worksheet, "standard output" names the units and seconds.
  3. The outage starts with the first interval below start_below of standard, and ends with the first that is back
     at end_at of standard and stays so for recovery_hold (policy terms, cover, rule).
  4. Waiting period: "excess" leaves out the loss until it has run out; "trigger" pays from the start once it has.
     An interval that spans its end is divided in proportion to time.
  5. Lost units are standard units less counted units over the same time; then follow the worksheet step by step.
"at_most" is what the amount could be at most if nothing had been made while nothing was known; it is not claimed.

"Committed before notification: partly" is expected where the draft was opened while the line still stood: what came
after the notification cannot have been committed before it. The verifier names the first record that came later.

Agents and their last record in here: {agents}
"""


def bundle(conn: Connection, scope: Scope, row: Row[Any], key: SigningKey, shown: dict[str, Any]) -> bytes:
    """The signed bundle of one claim. ``shown`` is the claim as the API shows it."""
    policy = store.policy(conn, scope, row.policy)
    document = json.loads(row.document)
    files: dict[str, bytes] = {}
    spans: dict[str, dict[str, int]] = {}
    keys: dict[str, list[str]] = {}
    used_of: dict[str, int] = dict(document["agents"])
    start = wire.parse_time(row.outage_start)
    end = None if row.outage_end is None else wire.parse_time(row.outage_end)
    for stop in planned.beside(planned.of_site(conn, scope, row.site), row.line, start, end):
        used_of[stop.agent] = max(used_of.get(stop.agent, 0), stop.sequence)
    for agent, used in sorted(used_of.items()):
        receipts = ledger.receipts_of(conn, agent)
        through = _covered(receipts, used, key)
        records = list(ledger.records(conn, agent, through))
        files[f"records/{agent}.jsonl"] = b"".join(record + b"\n" for record in records)
        files[f"receipts/{agent}.jsonl"] = b"".join(
            sealed + b"\n" for sealed in receipts if Receipt.open(sealed, key.public).through <= through
        )
        spans[agent] = {"first": 1, "last": len(records)}
        keys[agent] = [store.public_key(conn, scope, agent)]
    premium = store.last_premium(conn, scope, row.policy)
    claim = {
        "claim": shown, "terms": None if policy is None else json.loads(policy.terms),
        "premium": None if premium is None else json.loads(premium),
    }  # fmt: skip
    files["claim.json"] = wire.encode(claim)
    files["keys.json"] = wire.encode({"scorer": key.public.to_text(), "agents": keys})
    files["README.txt"] = _README.format(
        claim=row.id, policy=row.policy, agents=", ".join(f"{a} {s['last']}" for a, s in spans.items())
    ).encode()
    manifest = {
        "claim": row.id, "policy": row.policy, "opened_at": store.received_at(conn, row.opened),
        "window": {"start": row.outage_start, "end": row.outage_end or wire.format_time(_through(document))},
        "agents": spans,
    }  # fmt: skip
    return write_bundle(manifest=manifest, files=files, key=key)


def _covered(receipts: list[bytes], used: int, key: SigningKey) -> int:
    """The first sequence from ``used`` on that a receipt covers exactly, so that the last record is confirmed."""
    for sealed in receipts:
        through = Receipt.open(sealed, key.public).through
        if through >= used:
            return through
    return used


def _through(document: dict[str, Any]) -> Any:  # noqa: ANN401 - a datetime
    return wire.parse_time(document["outage"]["through"])
