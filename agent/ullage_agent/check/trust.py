"""Certificates on which a secured OPC UA connection stands: the server's that is trusted, and the agent's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from ullage_protocols.field.opcua.spec import OpcuaDevice

from ..config import Config
from .found import PartFound

SOON = timedelta(days=30)


def parts(config: Config, now: datetime) -> Iterator[PartFound]:
    """One a certificate; none where no device needs any."""
    own: dict[Path, str] = {}
    for device in config.devices:
        spec = device.spec
        if not isinstance(spec, OpcuaDevice):
            continue
        if spec.trusted is not None:
            todo = f"`ullage-agent trust {device.name}` shows what the server shows and stores it once you accept it"
            yield _certificate(f"of {device.name}", spec.trusted, now, todo)
        if spec.security is not None:
            own[spec.security.certificate] = "`ullage-agent trust --own` makes it"
        if spec.user_certificate is not None:
            own[spec.user_certificate] = "have the plant's engineer issue one"
    for path, todo in own.items():
        yield _certificate("own", path, now, todo)


def _certificate(whose: str, path: Path, now: datetime, todo: str) -> PartFound:
    try:
        data = path.read_bytes()[:65536]
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
        found = load(data)
    except FileNotFoundError:
        return PartFound("trust", False, f"certificate {whose}: {path} is missing; {todo}")
    except OSError as exc:
        return PartFound("trust", False, f"certificate {whose}: {path} cannot be read ({exc.strerror}); mend its mode")
    except ValueError:
        return PartFound("trust", False, f"certificate {whose}: {path} is no certificate; remove it, then {todo}")
    first, last = found.not_valid_before_utc, found.not_valid_after_utc
    if now < first:
        why = f"is valid from {first:%Y-%m-%d %H:%M} UTC on only; check the gateway's clock"
        return PartFound("trust", False, f"certificate {whose} {why}")
    if now > last:
        return PartFound("trust", False, f"certificate {whose} expired on {last:%Y-%m-%d}; renew it, then {todo}")
    told = f"certificate {whose} is valid until {last:%Y-%m-%d}"
    return PartFound("trust", True, f"{told}: renew it soon" if last - now < SOON else told)
