"""The last gate before the wire: over TCP, TLS and serial alike, what is not a whole read request does not leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn


class ReadOnlyTransport:
    """A transport that carries whole read requests and nothing else.

    ``reads`` says whether bytes are that; ``judge`` raises SendRefused with what is wrong where they are not.

    It is the only one to hold the transport, and none of its verbs takes bytes but ``ask``.
    """

    __slots__ = ("__carry", "__inner", "__judge", "__reads")

    def __init__(
        self, inner: asyncio.Transport, reads: Callable[[bytes], object], judge: Callable[[bytes], NoReturn]
    ) -> None:
        self.__inner = inner
        self.__reads = reads
        self.__judge = judge
        self.__carry = inner.write

    def ask(self, data: bytes) -> None:
        """Sends read requests; raises SendRefused, with nothing sent, for anything else."""
        if not self.__reads(data):
            self.__judge(data)
        self.__carry(data)

    def drop(self) -> None:
        """Ends the connection at once: nothing unsent is worth flushing to a device."""
        self.__inner.abort()

    def certificate(self) -> tuple[bytes, str] | None:
        """The certificate that the peer showed over TLS, in DER, and its end as OpenSSL writes it; None without."""
        tls = self.__inner.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        return None if der is None else (der, str(tls.getpeercert().get("notAfter", "")))
