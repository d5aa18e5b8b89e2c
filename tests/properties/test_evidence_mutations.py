"""No changed bundle passes, and no honest one is refused."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from ullage_protocols import envelope, wire
from ullage_protocols.event import Event
from ullage_protocols.evidence.archive import pack
from ullage_protocols.evidence.bundle import write_bundle
from ullage_protocols.evidence.verify import verify
from ullage_protocols.keys import SigningKey
from ullage_protocols.messages import Production
from ullage_protocols.receipt import Receipt

SCORER = SigningKey.from_seed(b"s" * 32)
MUTANTS = 150
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def honest(rng: random.Random, *, agents: int, records: int) -> bytes:
    """A random bundle such as a scorer writes: chains that start anywhere, receipts that cover batches."""
    files: dict[str, bytes] = {"claim.json": wire.encode({"claim": "c", "note": rng.randbytes(8).hex()})}
    files["README.txt"] = b"Run: ullage-verify BUNDLE\n"
    spans, keys = {}, {}
    for number in range(agents):
        agent, key = f"gw-{number}", SigningKey.from_seed(rng.randbytes(32))
        first = rng.choice([1, rng.randint(2, 2**40)])
        head = "" if first == 1 else rng.randbytes(32).hex()
        lines, receipts = [], []
        for sequence in range(first, first + records):
            start = NOON + timedelta(seconds=sequence - first)
            message = Production("l1", start, start + timedelta(seconds=1), rng.randint(0, 9), 1.0, None, 1.0)
            payload = Event(agent, sequence, "b", sequence, head, start, "l1", message).encode()
            head = envelope.digest(payload)
            lines.append(envelope.seal(payload, envelope.EVENT, key) + b"\n")
            if rng.random() < 0.4 or sequence == first + records - 1:
                receipts.append(Receipt(agent, sequence, head, sequence, head, start).seal(SCORER) + b"\n")
        spans[agent] = {"first": first, "last": first + records - 1}
        keys[agent] = [key.public.to_text()]
        files[f"records/{agent}.jsonl"] = b"".join(lines)
        files[f"receipts/{agent}.jsonl"] = b"".join(receipts)
    files["keys.json"] = wire.encode({"scorer": SCORER.public.to_text(), "agents": keys})
    opened = wire.format_time(NOON + timedelta(seconds=rng.randint(-1, records)))
    window = {"start": wire.format_time(NOON), "end": wire.format_time(NOON + timedelta(hours=1))}
    manifest = {"claim": "c-1", "policy": "p-1", "opened_at": opened, "window": window, "agents": spans}
    return write_bundle(manifest=manifest, files=files, key=SCORER)


def test_every_honest_bundle_is_authentic() -> None:
    rng = random.Random(7)
    for _ in range(100):
        report = verify(honest(rng, agents=rng.randint(0, 3), records=rng.randint(1, 6)), trusted=[SCORER.public])
        assert report.exit_code == 0, report.to_text()
        assert all(part.complete and part.authentic == part.records for part in report.parts)


def test_every_single_flipped_bit_is_found_and_its_byte_named() -> None:
    """Every byte of a small bundle; the bits take turns, so that all eight are met in every part of it."""
    raw = honest(random.Random(1), agents=1, records=1)
    unnamed = []
    for byte in range(len(raw)):
        changed = bytearray(raw)
        changed[byte] ^= 1 << (byte % 8)
        report = verify(bytes(changed))
        assert report.exit_code == 1, f"byte {byte}: {report.to_text()}"
        if not any(fault.offset is not None or fault.line is not None for fault in report.faults):
            unnamed.append((byte, report.to_text()))
    assert not unnamed


def _member(rng: random.Random, raw: bytes) -> tuple[dict[str, bytes], str]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, rng.choice(sorted(name for name, body in files.items() if body))


def _flip(rng: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, raw: bytes) -> bytes:
    return raw[: rng.randrange(len(raw))]


def _delete(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at + rng.randint(1, 400) :]


def _duplicate(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at : at + rng.randint(1, 400)] + raw[at:]


def _append(rng: random.Random, raw: bytes) -> bytes:
    return raw + rng.randbytes(rng.randint(1, 50))


def _splice(rng: random.Random, raw: bytes) -> bytes:
    other, at = honest(rng, agents=1, records=2), rng.randrange(len(raw))
    spliced = raw[:at] + other[at:]
    return raw if spliced == other else spliced  # cut before the first difference, it is honest again


def _lines(rng: random.Random, raw: bytes) -> bytes:
    """Lines of a member deleted, doubled or swapped, and the archive written anew as a careful forger would."""
    files, name = _member(rng, raw)
    lines = files[name].splitlines(keepends=True)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(3)
    if how == 0:
        del lines[one]
    elif how == 1:
        lines.insert(other, lines[one])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return pack({**files, name: b"".join(lines)})


def _swap_members(rng: random.Random, raw: bytes) -> bytes:
    files, name = _member(rng, raw)
    other = rng.choice(sorted(files))
    return pack({**files, name: files[other], other: files[name]})


def _drop_or_add_member(rng: random.Random, raw: bytes) -> bytes:
    files, name = _member(rng, raw)
    if rng.random() < 0.5:
        files["records/extra.jsonl" if rng.random() < 0.5 else "note.txt"] = b"more"
    else:
        del files[name]
    return pack(files)


def _swap_key(rng: random.Random, raw: bytes) -> bytes:
    files, _ = _member(rng, raw)
    keys = json.loads(files["keys.json"])
    stranger = SigningKey.from_seed(rng.randbytes(32)).public.to_text()
    if rng.random() < 0.5:
        keys["scorer"] = stranger
    else:
        keys["agents"][rng.choice(sorted(keys["agents"]))] = [stranger]
    return pack({**files, "keys.json": wire.encode(keys)})


def _seal_anew(rng: random.Random, raw: bytes) -> bytes:
    """A record changed and sealed by a stranger who names the agent's key."""
    files, _ = _member(rng, raw)
    name = rng.choice(sorted(name for name in files if name.startswith("records/")))
    lines = files[name].splitlines(keepends=True)
    at = rng.randrange(len(lines))
    sealed = envelope.unseal(lines[at].strip())
    payload = sealed.payload.replace(b'"count":', b'"count":1')
    forged = json.loads(envelope.seal(payload, envelope.EVENT, SigningKey.from_seed(rng.randbytes(32))))
    forged["signatures"][0]["keyid"] = sealed.keyid
    lines[at] = wire.encode(forged) + b"\n"
    return pack({**files, name: b"".join(lines)})


def _rezip(rng: random.Random, raw: bytes) -> bytes:
    files, _ = _member(rng, raw)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return sink.getvalue()


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    _flip, _truncate, _delete, _duplicate, _append, _splice, _lines, _swap_members, _drop_or_add_member, _swap_key,
    _seal_anew, _rezip,
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__.strip("_"))
def test_no_changed_bundle_passes(mutate: Callable[[random.Random, bytes], bytes]) -> None:
    rng = random.Random(mutate.__name__)
    bundles = [honest(rng, agents=2, records=3) for _ in range(4)]
    tried = 0
    for number in range(MUTANTS):
        raw = bundles[number % len(bundles)]
        changed = mutate(rng, raw)
        if changed == raw:
            continue
        tried += 1
        report = verify(changed)
        assert report.exit_code != 0, f"mutant {number} of {mutate.__name__} passed"
        assert report.unreadable or report.faults, "a refusal without a place"
    assert tried > MUTANTS // 2
