"""The OPC UA client, and the only importer of asyncua. Cyclic reads; no request but Read and session upkeep
leaves: the observer below refuses the others.

asyncua logs freely under the logger name ``asyncua``; the process on top sets its level.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.observer import Observer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError
from cryptography import x509

from ullage_protocols.field.base import Clock, FieldError, Identity, SendRefused, bad_sample
from ullage_protocols.field.opcua.spec import OpcuaDevice, OpcuaSecurity
from ullage_protocols.field.opcua.values import to_sample, undecodable
from ullage_protocols.field.scan import Columns, Scan, scan_of
from ullage_protocols.sample import Sample

_T = TypeVar("_T")
_NO_WATCHDOG = 86_400.0
"""Seconds between asyncua's own probes of the server: the cyclic reads are probe enough."""
_TOO_MUCH = frozenset(
    {
        StatusCodes.BadTooManyOperations,
        StatusCodes.BadEncodingLimitsExceeded,
        StatusCodes.BadResponseTooLarge,
        StatusCodes.BadRequestTooLarge,
    }
)
"""Service faults that a smaller request can cure."""
_POLICIES: dict[str, type] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128Sha256RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


_READING = (
    ua.CreateSessionRequest,
    ua.ActivateSessionRequest,
    ua.CloseSessionRequest,
    ua.ReadRequest,
)


class ReadOnlyObserver(Observer):
    """asyncua asks it before every service request; what neither reads nor keeps a session does not leave."""

    def observe_request(self, request: object) -> AbstractContextManager[None]:
        """Lets a reading request pass; raises SendRefused, with nothing sent, for any other."""
        if type(request) not in _READING:
            raise SendRefused(f"{type(request).__name__} is no read; this connection only reads, nothing was sent")
        return nullcontext()


class OpcuaClient:
    """A FieldClient for one ``OpcuaDevice``; ``clock`` gives the moment of each reply, timezone-aware."""

    def __init__(self, device: OpcuaDevice, clock: Clock) -> None:
        self._device = device
        self._clock = clock
        self._nodes = [ua.NodeId.from_string(tag.node) for tag in device.tags]
        self._columns = Columns(tuple(range(len(device.tags))), tuple(tag.name for tag in device.tags))
        self._apart: set[int] = set()
        self._limit = 0
        self._client: Client | None = None

    @property
    def name(self) -> str:
        """The device's configured name."""
        return self._device.name

    @property
    def apart(self) -> frozenset[str]:
        """Names of the tags read one by one, because their values could not be decoded within a batch."""
        return frozenset(self._device.tags[position].name for position in self._apart)

    async def connect(self) -> None:
        """Opens channel and session within the device's timeout. Raises FieldError with the cause."""
        await self.close()
        device = self._device
        client = Client(device.url, timeout=device.timeout, watchdog_intervall=_NO_WATCHDOG)
        client.uaclient.observer = ReadOnlyObserver()
        client.name = client.description = "Ullage agent"
        client.application_uri = "urn:ullage:agent"
        if device.user is not None and device.password is not None:
            client.set_user(device.user)
            client.set_password(device.password)
        try:
            async with asyncio.timeout(device.timeout):
                if device.security is not None:
                    await _secure(client, device.security)
                await client.connect()
            self._limit = await self._max_nodes_per_read(client)
        except BaseException as error:
            await _drop(client)
            if not isinstance(error, Exception):
                raise
            raise FieldError(
                f"device {device.name}: cannot connect to {device.url}: {_cause(error)};"
                " check url, network, certificates and login"
            ) from error
        self._client = client

    @property
    def groups(self) -> tuple[Columns, ...]:
        """One group: all tags."""
        return (self._columns,)

    async def identify(self) -> Identity:
        """Nothing yet."""
        return Identity()

    async def read(self, group: int = 0) -> Scan:
        """One sample per tag, in configured order. Raises FieldError when the connection is gone."""
        samples: dict[int, Sample] = {}
        together = [position for position in range(len(self._nodes)) if position not in self._apart]
        size = self._limit or len(self._nodes)
        batches = [together[start : start + size] for start in range(0, len(together), size)]
        batches += [[position] for position in sorted(self._apart)]
        try:
            for batch in batches:
                samples.update(await self._read_batch(batch))
        except BaseException:
            client, self._client = self._client, None
            if client is not None:
                await _drop(client)
            raise
        return scan_of(self._columns, [samples[position] for position in range(len(self._nodes))])

    async def close(self) -> None:
        """Closes session and connection, waiting at most the timeout; safe at any time, any number of times."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._device.timeout):
                    await client.disconnect()
            await _drop(client)

    async def _read_batch(self, batch: Sequence[int]) -> dict[int, Sample]:
        """Samples by position. A batch that cannot be decoded is read in halves until its culprit is alone."""
        tags = self._device.tags
        try:
            values = await self._ask([self._nodes[position] for position in batch])
        except FieldError:
            raise
        except UaStatusCodeError as fault:
            if fault.code not in _TOO_MUCH or len(batch) == 1:
                raise FieldError(f"device {self.name}: server refused to read: {_cause(fault)}") from fault
            self._limit = len(batch) // 2
        except Exception as error:
            if len(batch) == 1:
                self._apart.add(batch[0])
                return {batch[0]: undecodable(tags[batch[0]].name, error, self._clock())}
        else:
            seen = self._clock()
            if len(values) != len(batch):
                reason = f"server gave {len(values)} values, asked for {len(batch)}"
                return {position: bad_sample(tags[position].name, reason, seen) for position in batch}
            return {
                position: _sample(tags[position].name, value, seen)
                for position, value in zip(batch, values, strict=True)
            }
        middle = len(batch) // 2
        return await self._read_batch(batch[:middle]) | await self._read_batch(batch[middle:])

    async def _ask(self, nodes: Sequence[ua.NodeId]) -> list[ua.DataValue]:
        if self._client is None:
            raise FieldError(f"device {self.name}: not connected; call connect() first")
        return await self._bounded(_read(self._client, nodes))

    async def _bounded(self, awaitable: Awaitable[_T]) -> _T:
        """``awaitable`` within the timeout; what says that the connection is gone becomes a FieldError."""
        try:
            async with asyncio.timeout(self._device.timeout):
                return await awaitable
        except TimeoutError as error:
            raise FieldError(f"device {self.name}: no reply within {self._device.timeout:g} s") from error
        except OSError as error:
            raise FieldError(f"device {self.name}: connection lost: {_cause(error)}") from error

    async def _max_nodes_per_read(self, client: Client) -> int:
        """The server's own limit, 0 where it has or tells none."""
        limit = ua.NodeId(ua.Int32(ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead))
        try:
            (found,) = await self._bounded(_read(client, [limit]))
        except (UaStatusCodeError, ValueError):
            return 0
        value = found.Value.Value if found.Value is not None else None
        told = found.StatusCode is None or found.StatusCode.is_good()
        return value if told and isinstance(value, int) and value > 0 else 0


async def _read(client: Client, nodes: Sequence[ua.NodeId]) -> list[ua.DataValue]:
    wanted = ua.ReadParameters()
    wanted.MaxAge = 0
    wanted.TimestampsToReturn = ua.TimestampsToReturn.Both
    wanted.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes]
    return await client.uaclient.read(wanted)


def _sample(tag: str, found: ua.DataValue, seen: datetime) -> Sample:
    status = found.StatusCode if found.StatusCode is not None else ua.StatusCode()
    return to_sample(
        tag,
        found.Value.Value if found.Value is not None else None,
        status.value,
        status.name,
        source=found.SourceTimestamp,
        server=found.ServerTimestamp,
        seen=seen,
    )


async def _secure(client: Client, security: OpcuaSecurity) -> None:
    certificate = await asyncio.to_thread(security.certificate.read_bytes)
    client.application_uri = _application_uri(certificate) or client.application_uri
    await client.set_security(
        _POLICIES[security.policy],
        security.certificate,
        security.key,
        server_certificate=str(security.server_certificate),
        mode=ua.MessageSecurityMode[security.mode],
    )


def _application_uri(certificate: bytes) -> str:
    """The URI a client certificate names; servers want to hear the same one in the session."""
    load = x509.load_pem_x509_certificate if b"-----BEGIN" in certificate else x509.load_der_x509_certificate
    try:
        names = load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


async def _drop(client: Client) -> None:
    """Ends the connection and asyncua's tasks without asking the server for anything."""
    protocol = client.uaclient.protocol
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()
    client.disconnect_socket()
    await client.disconnect()


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no reply within the timeout"
    return str(error).strip() or type(error).__name__
