"""The door to the broker: the only importer of paho-mqtt.

The broker is disposable. A link keeps nothing beyond what is in flight: every connection starts clean,
what was not acknowledged is forgotten here and comes again from the outbox. MQTT 5 is tried first and 3.1.1
taken where the broker has no 5; nothing above depends on which it was.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

_PROTOCOLS: dict[str, tuple[MQTTProtocolVersion, ...]] = {
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
}
_IN_FLIGHT = 2000
_CONNECT_TIMEOUT = 10.0
_BACKOFF = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and how it is to be convinced. TLS is used when ``ca`` is given."""

    host: str
    port: int = 1883
    protocol: str = "auto"
    username: str = ""
    password: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive: int = 20

    def __repr__(self) -> str:
        return f"BrokerSettings({self.host}:{self.port}, protocol={self.protocol}, tls={self.ca is not None})"

    def faults(self) -> list[str]:
        """Everything wrong with these settings, each with what to do; files are looked for."""
        found = []
        if self.protocol not in _PROTOCOLS:
            found.append(f"protocol {self.protocol!r} is unknown; use one of {', '.join(sorted(_PROTOCOLS))}")
        if not 1 <= self.port <= 65535:
            found.append(f"port {self.port} is not a port; use 1 to 65535 (1883, or 8883 with TLS)")
        if (self.certificate is None) != (self.key is None):
            found.append("certificate and key belong together; give both or neither")
        if self.certificate is not None and self.ca is None:
            found.append("a client certificate needs ca: the file with the broker's certificate authority")
        found.extend(
            f"{name} {path} does not exist; check the path"
            for name, path in (("ca", self.ca), ("certificate", self.certificate), ("key", self.key))
            if path is not None and not path.is_file()
        )
        return found


@dataclass(frozen=True, slots=True)
class _Token:
    client: paho.Client
    mid: int
    qos: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came; ``token`` is what ``Link.ack`` needs to acknowledge it."""

    topic: str
    payload: bytes
    token: object


class Link:
    """A connection to the broker that comes back by itself. Callbacks run on the link's own thread.

    ``on_state(connected, sentence)`` tells every change; connected means that the subscriptions are granted.
    A message is acknowledged to the broker only by ``ack``, so a receiver may commit first.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        subscribe: Sequence[str],
        on_message: Callable[[Incoming], None],
        on_state: Callable[[bool, str], None],
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._topics = list(subscribe)
        self._on_message = on_message
        self._on_state = on_state
        self._versions = list(_PROTOCOLS[settings.protocol])
        self._client: paho.Client | None = None
        self._granted = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{client_id}", daemon=True)
        self._refusal = ""
        self._connected_once = False
        self._last_sentence = ""

    @property
    def connected(self) -> bool:
        return self._granted.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Disconnects and waits for the thread, bounded by a few seconds."""
        self._stopping.set()
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3.0)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hands a message over at QoS 1. False when there is no connection or too much is in flight."""
        client = self._client
        if client is None or not self._granted.is_set():
            return False
        try:
            return client.publish(topic, payload, qos=1).rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        except (ValueError, OSError):
            return False

    def ack(self, incoming: Incoming) -> None:
        """Acknowledges to the broker. A message of an earlier connection is left alone: it comes again."""
        token = incoming.token
        if isinstance(token, _Token) and token.client is self._client and token.qos > 0:
            with contextlib.suppress(OSError, ValueError):
                token.client.ack(token.mid, token.qos)

    def _run(self) -> None:
        delay = _BACKOFF[0]
        while not self._stopping.is_set():
            reached = self._session()
            self._granted.clear()
            if self._stopping.is_set():
                return
            if reached:
                delay = _BACKOFF[0]
            self._say(False, self._refusal or "the connection to the broker was lost; trying again")
            # Jitter, so that a thousand agents do not come back in one instant.
            self._stopping.wait(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _BACKOFF[1])

    def _session(self) -> bool:
        """One connection from start to end; True if the subscriptions were granted."""
        self._refusal = ""
        self._ended.clear()
        try:
            client = self._make(self._versions[0])
        except (OSError, ValueError) as exc:
            self._refusal = f"broker {self._where}: TLS cannot be set up ({exc}); check ca, certificate and key"
            return False
        self._client = client
        try:
            client.connect(self._settings.host, self._settings.port, self._settings.keepalive)
            # paho's own thread must do all writing: a publish from another thread would otherwise write too,
            # and two half-sent packets would mix.
            client.loop_start()
            greeted_by = _CONNECT_TIMEOUT
            while not self._ended.wait(0.5) and not self._stopping.is_set():
                greeted_by -= 0.5
                if greeted_by <= 0 and not self._granted.is_set():
                    self._refusal = f"broker {self._where} accepts connections but does not answer; trying again"
                    break
        except ssl.SSLError as exc:
            self._refusal = f"broker {self._where}: TLS failed ({exc.reason or exc}); check ca, certificate and key"
        except (OSError, ValueError) as exc:
            self._refusal = f"broker {self._where} cannot be reached ({exc}); is it running, is the address right?"
        finally:
            reached = self._granted.is_set()
            self._granted.clear()
            self._client = None
            with contextlib.suppress(OSError, ValueError):
                client.disconnect()
            client.loop_stop()
        return reached

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _make(self, version: MQTTProtocolVersion) -> paho.Client:
        s = self._settings
        five = version == MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else True,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.max_queued_messages_set(_IN_FLIGHT)
        if s.username:
            client.username_pw_set(s.username, s.password)
        if s.ca is not None:
            context = ssl.create_default_context(cafile=str(s.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if s.certificate is not None:
                context.load_cert_chain(str(s.certificate), None if s.key is None else str(s.key))
            client.tls_set_context(context)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        client.on_disconnect = self._disconnected
        return client

    def _connected(
        self, client: paho.Client, _user: object, _flags: object, code: ReasonCode, _props: Properties | None
    ) -> None:
        if code.is_failure:
            name = str(code)
            if "protocol" in name.lower() and len(self._versions) > 1:
                self._versions.pop(0)
                self._refusal = f"broker {self._where} has no MQTT 5; going on with 3.1.1"
            else:
                self._refusal = f"broker {self._where} refuses this client: {name}; check its name and credentials"
            client.disconnect()
        elif self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        else:
            self._ready()

    def _subscribed(
        self, client: paho.Client, _user: object, _mid: int, codes: Sequence[ReasonCode], _props: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = f"broker {self._where} refuses a subscription; its access list must allow {self._topics}"
            client.disconnect()
        else:
            self._ready()

    def _ready(self) -> None:
        self._connected_once = True
        self._granted.set()
        self._say(True, f"connected to the broker at {self._where}")

    def _received(self, client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        self._on_message(Incoming(message.topic, bytes(message.payload), _Token(client, message.mid, message.qos)))

    def _disconnected(
        self, _client: paho.Client, _user: object, _flags: object, code: ReasonCode, _props: Properties | None
    ) -> None:
        # A broker that knows only 3.1.1 may hang up instead of answering a version 5 greeting.
        if code.is_failure and not self._refusal:
            if len(self._versions) > 1 and not self._connected_once:
                self._versions.append(self._versions.pop(0))
            self._refusal = f"the connection to the broker at {self._where} was lost ({code}); trying again"
        self._ended.set()

    def _say(self, connected: bool, sentence: str) -> None:
        if connected or sentence != self._last_sentence:
            self._on_state(connected, sentence)
        self._last_sentence = "" if connected else sentence
