"""The keys of an OPC UA device and its tags; as ``config/opcua.py`` reads them."""

from __future__ import annotations

from typing import get_args

from ullage_protocols.field.opcua.spec import Mode, Policy

from ...config.schema.parts import Json, choice, duration, file, number, table, text, truth, whole

SAYS = "One OPC UA server."
_SECURITY = table("Security", "A signed or encrypted connection; without it, neither.", {
    "policy": choice("Security policy.", get_args(Policy)),
    "mode": choice("Whether messages are only signed.", get_args(Mode), "SignAndEncrypt"),
    "certificate": file("The agent's certificate (DER or PEM); default: the one `trust --own` makes."),
    "key": file("The agent's private key (DER or PEM); goes with certificate."),
    "server_certificate": file("The server's certificate that is trusted; default: the one that `trust` stored."),
}, ("policy",))  # fmt: skip
DEVICES: dict[str, dict[str, Json]] = {
    "opcua": {
        "url": text("Its address.", form="^opc\\.tcp://", example="opc.tcp://192.0.2.11:4840"),
        "timeout": duration("Bounds the connect and every request.", "2s"),
        "mode": choice(
            "Whether tags are read at each scan, or the server reports changes.", ("poll", "subscribe"), "poll"
        ),
        "publishing": duration("Of a subscription: time between two reports; default: the scan interval."),
        "keepalive": duration("Of a subscription: how often the server says that nothing changed.", "5s"),
        "user": text("User name; without it the login is anonymous.", example="reader"),
        "password_file": file("File that holds the user's password.", example="opcua.password"),
        "password": text("The password itself; a password_file keeps it out of this file.", example="(a password)"),
        "user_certificate": file("Login by certificate (DER or PEM); goes with user_key."),
        "user_key": file("The key of user_certificate."),
        "server_certificate": file("The server's certificate that is trusted; default: the one that `trust` stored."),
        "allow_clear_password": truth("Whether the password may travel unprotected.", False),
        "security": _SECURITY,
    }
}
NEEDS: dict[str, tuple[str, ...]] = {"opcua": ("url",)}

TAG: dict[str, Json] = {
    "node": text("The node id, such as ns=2;s=tank.level; or give path.", example="ns=2;s=tank.level"),
    "path": text("The browse path, such as /Objects/2:Tank/2:Level, instead of node."),
    "sampling": duration("Of a subscription: how often the server looks; default: its own choice."),
    "queue": whole("Of a subscription: changes that the server keeps between two reports.", 1, 10_000, 10),
    "deadband": number("Of a subscription: changes smaller than this are not reported.", 0.0),
    "deadband_percent": number("The same in percent of the node's range; give one of the two.", 0.0),
}
TAG_NEEDS: tuple[str, ...] = ()
