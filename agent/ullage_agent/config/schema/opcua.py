"""The keys of an OPC UA device and its tags; as ``config/opcua.py`` reads them."""

from __future__ import annotations

from typing import get_args

from ullage_protocols.field.opcua.spec import Mode, Policy

from .parts import Json, choice, duration, file, table, text

SAYS = "One OPC UA server; needs ullage-agent[opcua]."
_SECURITY = table("Security", "A signed or encrypted connection; without it, neither.", {
    "policy": choice("Security policy.", get_args(Policy)),
    "mode": choice("Whether messages are only signed.", get_args(Mode), "SignAndEncrypt"),
    "certificate": file("The agent's certificate (DER).", example="agent.der"),
    "key": file("The agent's private key (PEM).", example="agent.pem"),
    "server_certificate": file("The server's certificate that is trusted (DER).", example="tank.der"),
}, ("policy", "certificate", "key", "server_certificate"))  # fmt: skip
DEVICES: dict[str, dict[str, Json]] = {
    "opcua": {
        "url": text("Its address.", form="^opc\\.tcp://", example="opc.tcp://192.0.2.11:4840"),
        "timeout": duration("Bounds the connect and every request.", "2s"),
        "user": text("User name; without it the login is anonymous.", example="reader"),
        "password_file": file("File that holds the user's password.", example="opcua.password"),
        "password": text("The password itself; a password_file keeps it out of this file.", example="(a password)"),
        "security": _SECURITY,
    }
}
NEEDS: dict[str, tuple[str, ...]] = {"opcua": ("url",)}

TAG: dict[str, Json] = {"node": text("The node id.", form="^.", example="ns=2;s=tank.level")}
TAG_NEEDS = ("node",)
