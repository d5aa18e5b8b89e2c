"""Writes the evidence of a claim as one signed file, and reads the manifest that holds it together.

A bundle is the archive of ``archive.py`` with ``manifest.json`` (a DSSE envelope by the scorer over the hashes of
all others), ``claim.json``, ``keys.json``, ``records/{agent}.jsonl``, ``receipts/{agent}.jsonl`` and ``README.txt``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import envelope, topics, wire
from ..checked import Fields
from ..errors import WireError
from ..keys import PublicKey, SigningKey
from .archive import MAX_MEMBERS, check_name, pack

MANIFEST_NAME = "manifest.json"
KEYS_NAME = "keys.json"
MAX_MANIFEST = 4 * 1024 * 1024
MAX_AGENTS = 1000


@dataclass(frozen=True, slots=True)
class Manifest:
    """``agents``: first and last sequence of each; ``files``: SHA-256 (hex) and size in bytes of each."""

    claim: str
    policy: str
    opened_at: datetime
    start: datetime
    end: datetime
    agents: dict[str, tuple[int, int]]
    files: dict[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys that a bundle names: the scorer's, and those of each agent."""

    scorer: PublicKey
    agents: dict[str, tuple[PublicKey, ...]]


def write_bundle(*, manifest: Mapping[str, Any], files: Mapping[str, bytes], key: SigningKey) -> bytes:
    """The bundle's bytes: ``files`` and the manifest over them, signed by the scorer's ``key``.

    ``manifest`` holds ``claim``, ``policy``, ``opened_at`` (RFC 3339, when the notification was drafted),
    ``window`` {``start``, ``end``} and ``agents`` {id: {``first``, ``last``}}; further fields are kept. Equal
    arguments give equal bytes. Raises WireError where something is missing or does not fit together.
    """
    if MANIFEST_NAME in files:
        raise WireError(f"{MANIFEST_NAME} is written by the bundle itself; leave it out of the files")
    listed = {name: {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)} for name, body in files.items()}
    subject = f"evidence of claim {manifest.get('claim')}"
    payload = wire.encode({"subject": subject, **manifest, "version": 1, "files": listed})
    checked = read_manifest(payload)
    needed = {KEYS_NAME, "claim.json"}
    needed |= {f"{folder}/{agent}.jsonl" for agent in checked.agents for folder in ("records", "receipts")}
    if not needed <= set(files):
        raise WireError(f"the bundle lacks {', '.join(sorted(needed - set(files))[:5])}; add them to the files")
    if read_keys(files[KEYS_NAME]).scorer != key.public:
        raise WireError(f"{KEYS_NAME} names another scorer than the signing key {key.keyid}; write that key into it")
    sealed = envelope.seal(payload, envelope.MANIFEST, key, limit=MAX_MANIFEST)
    return pack({**files, MANIFEST_NAME: sealed})


def read_manifest(payload: bytes) -> Manifest:
    """The manifest in a payload; WireError with the first fault otherwise."""
    f = Fields(wire.decode(payload, limit=MAX_MANIFEST, what="manifest"), "manifest")
    f.integer("version", low=1, high=1)
    f.text("subject")
    window = Fields(f.body.get("window"), "manifest: window")
    agents: dict[str, tuple[int, int]] = {}
    for agent, span in _agents(f).body.items():
        s = Fields(span, f"manifest: agents {topics.check_name(agent, what='agent')}")
        first = s.integer("first", low=1)
        agents[agent] = (first, s.integer("last", low=first))
    listed = Fields(f.body.get("files"), "manifest: files").body
    if len(listed) >= MAX_MEMBERS:
        raise WireError(f"manifest lists {len(listed)} files where {MAX_MEMBERS - 1} are allowed")
    files: dict[str, tuple[str, int]] = {}
    for name, entry in listed.items():
        e = Fields(entry, f"manifest: files {check_name(name)}")
        files[name] = (e.hash_or_empty("sha256"), e.integer("size", low=0))
    return Manifest(
        f.text("claim", limit=200), f.text("policy", limit=200), f.time("opened_at"), window.time("start"),
        window.time("end"), agents, files,
    )  # fmt: skip


def read_keys(raw: bytes) -> Keys:
    """The keys in ``keys.json``; WireError or KeyFileError with the first fault otherwise."""
    f = Fields(wire.decode(raw, limit=MAX_MANIFEST, what=KEYS_NAME), KEYS_NAME)
    agents = _agents(f)
    return Keys(
        PublicKey.from_text(f.text("scorer", limit=80)),
        {
            topics.check_name(agent, what="agent"): tuple(map(PublicKey.from_text, agents.texts(agent, limit=100)))
            for agent in agents.body
        },
    )


def _agents(f: Fields) -> Fields:
    agents = Fields(f.body.get("agents"), f"{f.what}: agents")
    if len(agents.body) > MAX_AGENTS:
        raise WireError(f"{agents.what}: {len(agents.body)} where {MAX_AGENTS} are allowed")
    return agents
