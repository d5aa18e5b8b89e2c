"""The tables. Custody (ledger, agents, receipts, quarantine) is the truth; projections are rebuilt from the ledger.

Times are RFC 3339 texts in UTC with microseconds, so that they sort; documents are canonical JSON texts.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

metadata = MetaData()


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    return Column(name, String, primary_key=key, nullable=null)


def _int(name: str, *, key: bool = False, null: bool = False) -> Column[int]:
    return Column(name, Integer, primary_key=key, nullable=null, autoincrement=False)


# --- custody -----------------------------------------------------------------------------------------------
ledger = Table(
    "ledger", metadata,
    _int("position", key=True), _text("kind"), _text("tenant"), _text("agent"), _int("sequence", null=True),
    _text("type"), _text("received_at"), Column("body", LargeBinary, nullable=False), _text("digest"),
    _text("prev"), _text("hash"),
    UniqueConstraint("agent", "sequence", name="ledger_agent_sequence"),
    Index("ledger_type", "type", "position"),
)  # fmt: skip
agents = Table(
    "agents", metadata,
    _text("id", key=True), _text("tenant"), _text("site"), _text("public_key"), _text("keyid"), _text("enrolled_at"),
    _text("revoked_at", null=True), _text("state"), _int("sequence"), _text("head"), _text("last_seen", null=True),
    Index("agents_tenant", "tenant", "site"), Index("agents_keyid", "keyid"),
)  # fmt: skip
receipts = Table(
    "receipts", metadata,
    _text("agent", key=True), _int("through", key=True), _int("position"), _text("at"),
    Column("sealed", LargeBinary, nullable=False),
)  # fmt: skip
quarantine = Table(
    "quarantine", metadata,
    Column("id", Integer, primary_key=True, autoincrement=True), _text("agent"), _text("code"), _text("reason"),
    _text("topic"), _text("digest"), _int("size"), Column("first_bytes", LargeBinary, nullable=False),
    _int("count"), _text("first_at"), _text("last_at"),
    UniqueConstraint("agent", "code", "digest", name="quarantine_once"),
    sqlite_autoincrement=True,
)  # fmt: skip
refusals = Table(
    "refusals", metadata, _text("agent", key=True), _text("code", key=True), _int("count"), _text("last_at")
)

# --- access ------------------------------------------------------------------------------------------------
keys = Table(
    "keys", metadata,
    _text("id", key=True), _text("hash"), _text("tenant"), _text("role"), _text("sites", null=True),
    _text("note"), _text("created_at"), _text("revoked_at", null=True),
    UniqueConstraint("hash", name="keys_hash"),
)  # fmt: skip
sessions = Table(
    "sessions", metadata,
    _text("hash", key=True), _text("kind"), Column("key_id", String, ForeignKey("keys.id"), nullable=False),
    _text("expires_at"),
)  # fmt: skip

# --- projections -------------------------------------------------------------------------------------------
cursor = Table("cursor", metadata, _text("name", key=True), _int("position"))
agent_state = Table(
    "agent_state", metadata,
    _text("agent", key=True), _int("position"), _text("event_at"), _text("received_at"), _text("bootid"),
    _text("document"),
)  # fmt: skip
sites = Table(
    "sites", metadata,
    _text("id", key=True), _text("tenant"), _text("name"), _int("position"), _text("created_at"),
    Index("sites_tenant", "tenant"),
)  # fmt: skip
lines = Table(
    "lines", metadata,
    _text("site", key=True), _text("line", key=True), _text("agent"), _text("tenant"), _text("state"),
    _text("last_end"), _int("position"), _text("document"),
)  # fmt: skip
episodes = Table(
    "episodes", metadata,
    _text("agent", key=True), _text("episode", key=True), _text("tenant"), _text("site"), _text("kind"),
    _text("phase"), _text("start"), _text("end", null=True), _text("severity"), _text("score"), _int("position"),
    _int("opened"), _text("document"),
    Index("episodes_site", "site", "start"),
)  # fmt: skip
policies = Table(
    "policies", metadata,
    _text("id", key=True), _text("tenant"), _text("site"), _text("start"), _text("end"), _int("position"),
    _text("bound_at"), _text("digest"), _text("terms"), _text("state"),
    Index("policies_site", "site", "start"),
)  # fmt: skip
premiums = Table(
    "premiums", metadata,
    _text("policy", key=True), _int("position", key=True), _text("tenant"), _text("site"), _text("at"),
    _text("reason"), _text("currency"), _text("base"), _text("indicated"), _text("charged"),
    _text("relativity_indicated"), _text("relativity_charged"), _text("document"),
)  # fmt: skip
scores = Table(
    "scores", metadata,
    _text("policy", key=True), _int("position", key=True), _text("tenant"), _text("site"), _text("at"),
    _text("score"), _text("relativity"), _text("document"),
)  # fmt: skip
outages = Table(
    "outages", metadata,
    _text("site", key=True), _text("line", key=True), _text("policy", key=True), _text("tenant"), _int("position"),
    _text("state"),
)  # fmt: skip
stops = Table(
    "stops", metadata,
    _text("id", key=True), _text("tenant"), _text("site"), _text("line"), _text("policy"), _text("start"),
    _text("end", null=True), _text("decision"), _text("reason"), _int("position"), _text("document"),
    Index("stops_site", "site", "start"),
)  # fmt: skip
claims = Table(
    "claims", metadata,
    _text("id", key=True), _text("tenant"), _text("site"), _text("policy"), _text("line"), _text("state"),
    _text("outage_start"), _text("outage_end", null=True), _text("currency"), _text("indemnity"), _int("opened"),
    _int("position"), _text("updated_at"), _text("document"),
    Index("claims_site", "site", "outage_start"),
)  # fmt: skip
claim_log = Table(
    "claim_log", metadata,
    _text("claim", key=True), _int("position", key=True), _int("step", key=True), _text("at"), _text("kind"),
    _text("document"),
)  # fmt: skip
changes = Table(
    "changes", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False), _int("position"), _text("tenant"), _text("site"),
    _text("kind"), _text("at"), _text("document"),
)  # fmt: skip

MONEY = (policies, premiums, scores, stops, claims, claim_log)
"""What a rebuild compares, byte for byte."""
PROJECTIONS = (
    cursor, agent_state, sites, lines, episodes, policies, premiums, scores, outages, stops, claims, claim_log, changes
)  # fmt: skip
