"""The OPC UA keys of a configuration, and what each fault says."""

from __future__ import annotations

from pathlib import Path

import pytest
from ullage_agent.config import Config
from ullage_agent.config.read import read
from ullage_agent.errors import ConfigError
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSubscription

HEAD = """
[agent]
id = "gw"
[broker]
host = "127.0.0.1"
[scorer]
public_key = "scorer.pub"
[[device]]
name = "tank 1"
protocol = "opcua"
url = "opc.tcp://127.0.0.1:4840"
"""
TAG = '[[device.tag]]\nname = "level"\n'


def config(device: str = "", tag: str = 'node = "i=1"') -> Config:
    return read(f"{HEAD}{device}\n{TAG}{tag}\n", Path("/plant/agent.toml"), files=False)


def device(device: str = "", tag: str = 'node = "i=1"') -> OpcuaDevice:
    spec = config(device, tag).devices[0].spec
    assert isinstance(spec, OpcuaDevice)
    return spec


def test_a_device_is_polled_unless_it_says_otherwise() -> None:
    assert device().subscription is None
    assert device('scan = "250ms"\nmode = "subscribe"').subscription == OpcuaSubscription(0.25, 5.0)
    full = device('mode = "subscribe"\npublishing = "2s"\nkeepalive = "10s"')
    assert full.subscription == OpcuaSubscription(2.0, 10.0)


def test_a_tag_says_where_it_is_and_how_it_is_watched() -> None:
    assert device(tag='path = "/Objects/2:Level"').tags[0].path == "/Objects/2:Level"
    tag = device(tag='node = "nsu=urn:p;i=1"\nsampling = "100ms"\nqueue = 3\ndeadband_percent = 2.5').tags[0]
    assert (tag.node, tag.sampling, tag.queue, tag.deadband, tag.percent) == ("nsu=urn:p;i=1", 0.1, 3, 2.5, True)
    tag = device(tag='node = "i=1"\ndeadband = 0.5').tags[0]
    assert (tag.deadband, tag.percent) == (0.5, False)


def test_certificates_are_where_trust_puts_them_unless_told_otherwise() -> None:
    security = device('[device.security]\npolicy = "Basic256Sha256"').security
    assert security is not None
    folder = Path("/plant/state/trust")
    assert security.mode == "SignAndEncrypt"
    assert (security.certificate, security.key) == (folder / "agent.der", folder / "agent.pem")
    assert security.server_certificate == folder / "tank 1.der"
    own = device('[device.security]\npolicy = "Basic256Sha256"\nserver_certificate = "x.der"').security
    assert own is not None
    assert own.server_certificate == Path("/plant/x.der")
    assert device('user = "u"\npassword = "p"').trusted == folder / "tank 1.der"
    assert device('user = "u"\npassword = "p"\nallow_clear_password = true').trusted is None
    assert device().trusted is None


@pytest.mark.parametrize(
    ("given", "tag", "fault"),
    [
        ('mode = "push"', 'node = "i=1"', "mode 'push' is unknown"),
        ('publishing = "0s"', 'node = "i=1"', "publishing"),
        ('user = "u"', 'node = "i=1"', "go together"),
        ('user_key = "k.pem"', 'node = "i=1"', "go together"),
        ('[device.security]\npolicy = "None"', 'node = "i=1"', "policy 'None' is unknown"),
        ('[device.security]\npolicy = "Basic256Sha256"\nkey = "k"', 'node = "i=1"', "certificate and key go together"),
        ("", "", "lacks node"),
        ("", 'node = "i=1"\npath = "/Objects"', "both say where"),
        ("", 'path = "Objects"', "is no browse path"),
        ("", 'node = "i=1"\nqueue = 0', "queue"),
        ("", 'node = "i=1"\ndeadband = -1.0', "is no width"),
        ("", 'node = "i=1"\ndeadband = 1.0\ndeadband_percent = 1.0', "two widths"),
    ],
)
def test_each_fault_is_told_with_its_line(given: str, tag: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"agent\.toml:\d+: .*{fault}"):
        config(given, tag)
