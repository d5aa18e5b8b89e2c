"""What a device is: told once, told again when it changed, and which changes are integrity events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ullage_agent.config import DeviceConfig
from ullage_agent.config.read import read
from ullage_agent.config.sample import SAMPLE
from ullage_agent.field.inventory import INTEGRITY, POSTURE, Inventories, inventory, reasons
from ullage_protocols import wire
from ullage_protocols.field.base import Endpoint, Identity
from ullage_protocols.messages import Inventory
from ullage_protocols.messages.inventory import MAX_ENDPOINTS

MODBUS, OPCUA = read(SAMPLE, Path("agent.toml"), files=False).devices
EXPIRY = datetime(2027, 1, 1, tzinfo=UTC)
OFFERED = Endpoint("opc.tcp://192.0.2.11:4840", "None", "None", ("Anonymous", "UserName"))
TANK = Identity("Acme", "Tank", "T-9", "3.0", "SN-7", "Run", (OFFERED,), "ab" * 32, EXPIRY)


def first(device: DeviceConfig = OPCUA, identity: Identity = TANK) -> Inventory:
    found = inventory(device, identity, True, None)
    assert found is not None
    return found


def test_the_first_inventory_tells_everything_and_no_change() -> None:
    found = first()
    assert found.first
    assert (found.changes, reasons(found)) == ((), ())
    assert (found.device, found.protocol, found.vendor, found.product) == ("tank-controller", "opcua", "Acme", "Tank")
    assert (found.model, found.firmware, found.serial, found.state) == ("T-9", "3.0", "SN-7", "Run")
    assert (found.anonymous, found.encrypted) == (True, True)
    assert (found.certificate, found.certificate_expires) == ("ab" * 32, EXPIRY)
    assert [e.policy for e in found.endpoints] == ["None"]


def test_nothing_new_is_nothing_to_seal() -> None:
    assert inventory(OPCUA, TANK, True, first()) is None
    several = replace(TANK, endpoints=(OFFERED, replace(OFFERED, policy="Basic256Sha256")))
    turned = replace(several, endpoints=several.endpoints[::-1])
    assert inventory(OPCUA, turned, True, first(identity=several)) is None, "their order says nothing"


def test_a_protocol_without_logins_leaves_anonymous_open() -> None:
    found = inventory(MODBUS, Identity("Acme"), False, None)
    assert found is not None
    assert (found.protocol, found.anonymous, found.encrypted) == ("modbus-tcp", None, False)


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("firmware", "device tank-controller: firmware changed from '3.0' to 'other'"),
        ("vendor", "device tank-controller: vendor changed from 'Acme' to 'other'"),
        ("product", "device tank-controller: product changed from 'Tank' to 'other'"),
        ("model", "device tank-controller: model changed from 'T-9' to 'other'"),
        ("serial", "device tank-controller: serial number changed from 'SN-7' to 'other'"),
        ("state", "device tank-controller: operating mode changed from 'Run' to 'other'"),
    ],
)
def test_a_changed_identity_is_an_integrity_event(field: str, sentence: str) -> None:
    found = inventory(OPCUA, replace(TANK, **{field: "other"}), True, first())
    assert found is not None
    assert not found.first
    assert [(c.field, c.after) for c in found.changes] == [(field, "other")]
    assert reasons(found) == (sentence,)


def test_a_changed_certificate_is_an_integrity_event_and_its_expiry_alone_is_not() -> None:
    found = inventory(OPCUA, replace(TANK, certificate="cd" * 32), True, first())
    assert found is not None
    assert reasons(found)[0].startswith("device tank-controller: certificate changed from 'abab")
    later = inventory(OPCUA, replace(TANK, certificate_expires=datetime(2028, 1, 1, tzinfo=UTC)), True, first())
    assert later is not None
    assert [c.field for c in later.changes] == ["certificate_expires"]
    assert reasons(later) == ()


def test_what_was_told_and_is_told_no_more_is_an_integrity_event_the_other_way_round_is_not() -> None:
    gone = inventory(OPCUA, replace(TANK, serial=""), True, first())
    assert gone is not None
    assert reasons(gone) == ("device tank-controller no longer tells its serial number, which was 'SN-7'",)
    back = inventory(OPCUA, TANK, True, gone)
    assert back is not None
    assert reasons(back) == ()


def test_a_changed_posture_is_on_record_and_no_integrity_event() -> None:
    safe = replace(TANK, endpoints=(replace(OFFERED, policy="Basic256Sha256", logins=("UserName",)),))
    found = inventory(OPCUA, safe, False, first())
    assert found is not None
    assert [c.field for c in found.changes] == ["endpoints", "anonymous", "encrypted"]
    assert [(c.before, c.after) for c in found.changes][1:] == [("yes", "no"), ("yes", "no")]
    assert reasons(found) == ()


def test_an_identity_that_says_nothing_at_all_changes_nothing() -> None:
    assert inventory(OPCUA, Identity(), True, first()) is None
    found = inventory(OPCUA, Identity(), False, first())
    assert found is not None
    assert [c.field for c in found.changes] == ["encrypted"]
    assert found.firmware == "3.0"


def test_every_field_is_compared() -> None:
    known = {"device", "changes", "first", *INTEGRITY, *POSTURE}
    assert known == set(first().to_json())


words = st.text(max_size=400)
identities = st.builds(
    Identity, words, words, words, words, words, words,
    st.lists(st.builds(Endpoint, words, words, words, st.lists(words, max_size=12).map(tuple)), max_size=50).map(tuple),
)  # fmt: skip


@given(identities, identities)
def test_whatever_a_device_says_can_be_sealed_and_is_then_the_same(one: Identity, other: Identity) -> None:
    before = first(identity=one)
    assert Inventory.from_json(wire.decode(wire.encode(before.to_json()))) == before
    assert inventory(OPCUA, one, True, before) is None
    after = inventory(OPCUA, other, True, before)
    if after is not None:
        assert Inventory.from_json(wire.decode(wire.encode(after.to_json()))) == after
        assert inventory(OPCUA, other, True, after) is None


def test_the_largest_inventory_fits_an_envelope() -> None:
    endpoint = Endpoint("\U0001f3ed" * 900, "\U0001f3ed" * 900, "\U0001f3ed" * 900, ("\U0001f3ed" * 900,) * 40)
    offers = tuple(replace(endpoint, mode=f"{n}" + endpoint.mode) for n in range(200))
    wide = replace(TANK, endpoints=offers, vendor="\U0001f3ed" * 900)
    found = inventory(OPCUA, wide, True, replace(first(), product="other"))
    assert found is not None
    assert len(found.endpoints) == MAX_ENDPOINTS
    assert len(wire.encode(found.to_json())) < wire.MAX_BYTES * 0.7


def test_it_is_remembered_over_a_restart_and_a_damaged_memory_is_a_fresh_start() -> None:
    kept: dict[str, str] = {}
    told = Inventories(kept.get).take(OPCUA, TANK, True)
    assert told is not None
    found, draft, keep = told
    assert (draft.message, draft.subject) == (found, "tank-controller")
    kept.update(keep)
    again = Inventories(kept.get)
    assert again.take(OPCUA, TANK, True) is None
    changed = again.take(OPCUA, replace(TANK, firmware="4"), True)
    assert changed is not None
    assert [c.field for c in changed[0].changes] == ["firmware"]
    assert again.take(OPCUA, replace(TANK, firmware="4"), True) is None
    for damaged in ("{", "[]", "{}", '{"device": 3}'):
        fresh = Inventories(lambda _, text=damaged: text).take(OPCUA, TANK, True)
        assert fresh is not None
        assert fresh[0].first
