"""One subscription: created, proven alive, and listened to. A lost report is asked for again, or said to be lost."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from ullage_protocols.field.errors import FieldError, HostileError

from . import services
from .channel import Message
from .link import Link, answer
from .reading import TOO_MUCH
from .services import Item, Report, ServiceFault
from .statuses import told
from .values import Block, Decoder, told_block
from .wire import Reader

_TOO_MANY_PUBLISH = 0x80780000
_NO_DEADBAND = frozenset({0x80440000, 0x80450000, 0x808E0000})
"""Statuses of an item whose deadband the server does not know; it is then watched without one."""
_OUTSTANDING = 3
"""Questions for a report that wait at the server, so that no report waits for a question."""
_BURST, _SHARE = 20.0, 0.25
"""So many questions at once, then one in so much of the publishing interval: no flood of reports is asked for."""
_MOST_ROWS = 100_000
_MOST_AGAIN = 16
_DATA, _STATUS, _EVENTS = 811, 820, 916
_ITEMS = 1000
_ROUNDS = 0xFFFFFFFF


class Subscription:
    """Times in seconds; ``now`` is the monotonic clock's. Raises FieldError where it is or has come to an end."""

    def __init__(
        self, link: Link, items: Sequence[Item], publishing: float, keepalive: float, limit: int, now: float
    ) -> None:
        self._link = link
        count = max(1, math.ceil(keepalive / publishing))
        request = services.create_subscription(
            publishing * 1000, count, max(3 * count, math.ceil(60 / publishing)), _MOST_ROWS
        )
        self.granted = services.granted(link.ask(request))
        interval = self.granted.interval / 1000
        if not 0 < interval <= 86_400 or not 1 <= self.granted.keepalive <= 1_000_000:
            raise HostileError(f"a subscription reporting every {interval:g} s, alive every {self.granted.keepalive}")
        self.silence = interval * self.granted.keepalive + link.timeout
        """Seconds without a report after which the subscription is lost."""
        self.refused: dict[int, str] = {}
        self._create(list(items), limit or _ITEMS)
        self._decoder = Decoder(handles=True)
        self._expected: int | None = None
        self._acknowledge: list[tuple[int, int]] = []
        self._waiting: set[int] = set()
        self._most = _OUTSTANDING
        self._pause = _SHARE * interval
        self._left, self._counted = _BURST, now
        self.post(now)

    def _create(self, items: list[Item], size: int) -> None:
        while items:
            some, items = items[:size], items[size:]
            try:
                reader = self._link.ask(services.create_items(self.granted.id, some))
            except ServiceFault as fault:
                if fault.status not in TOO_MUCH or len(some) == 1:
                    raise
                size = len(some) // 2
                items = some + items
                continue
            found = services.created_items(reader)
            if len(found) != len(some):
                raise HostileError(f"{len(found)} monitored items for {len(some)}")
            for item, (status, _) in zip(some, found, strict=True):
                if item.deadband and status in _NO_DEADBAND:
                    items.append(item._replace(deadband=0.0))
                elif status >> 30:
                    self.refused[item.handle] = f"server refused to watch it: {told(status)}"

    def post(self, now: float) -> None:
        """Asks for as many reports as may be asked for by now."""
        self._left = min(self._left + (now - self._counted) / self._pause, _BURST)
        self._counted = now
        while len(self._waiting) < self._most and self._left >= 1:
            self._left -= 1
            request = services.publish(self._acknowledge)
            self._acknowledge = []
            handle = self._link.post(request, patient=True)
            self._waiting.add(handle)
            self._link.wanted.add(handle)

    def rest(self) -> float:
        """Seconds until another report may be asked for; many where enough are asked for."""
        return self._pause if len(self._waiting) < self._most else 86_400.0

    def heard(self, message: Message, now: float) -> tuple[list[Block], str] | None:
        """The rows of one report, handles in the first column; and which reports before it are lost for good.

        None where the server only takes fewer questions.
        """
        self._waiting.discard(message.request)
        try:
            reader = answer(message, services.PUBLISH)
        except ServiceFault as fault:
            if fault.status != _TOO_MANY_PUBLISH or not self._waiting:
                raise FieldError(f"subscription lost: {fault}") from fault
            self._most = len(self._waiting)
            return None
        report = services.report(reader)
        if report.subscription != self.granted.id:
            raise HostileError(f"a report of subscription {report.subscription}, which is not ours")
        blocks, gap = self._missed(report)
        if report.notifications:
            self._expected = _after(report.sequence)
            self._acknowledge.append((report.subscription, report.sequence))
            blocks += self._rows(report.notifications)
        self.post(now)
        return blocks, gap

    def _missed(self, report: Report) -> tuple[list[Block], str]:
        """Asks again for the reports before ``report`` that did not come."""
        expected, self._expected = self._expected, report.sequence
        if expected is None or report.sequence == expected:
            return [], ""
        lost = (report.sequence - expected) % _ROUNDS
        if lost > 1_000_000:
            raise HostileError(f"report {report.sequence} where {expected} was next")
        blocks: list[Block] = []
        missing = [expected + number for number in range(min(lost, _MOST_AGAIN))]
        if lost <= _MOST_AGAIN:
            try:
                for sequence in missing:
                    reader = self._link.ask(services.republish(self.granted.id, sequence))
                    _, notifications = services.message(reader)
                    reader.done()
                    blocks += self._rows(notifications)
                    self._acknowledge.append((self.granted.id, sequence))
            except ServiceFault:
                pass
            else:
                return blocks, ""
        return blocks, f"reports {expected} to {(expected + lost - 1)} were lost; the server no longer has them"

    def _rows(self, notifications: list[tuple[int, bytes]]) -> list[Block]:
        blocks = []
        for kind, body in notifications:
            reader = Reader(body)
            if kind == _STATUS:
                raise FieldError(f"subscription ended by the server: {told(reader.u32())}")
            if kind == _EVENTS:
                continue
            if kind != _DATA:
                raise HostileError(f"a notification of type {kind}")
            if int.from_bytes(body[:4], "little") > _MOST_ROWS:
                raise HostileError(f"more than {_MOST_ROWS} rows in a report, the most that were asked for")
            block = self._decoder.decode(reader)
            services.end(reader)
            blocks.append(block)
        return blocks


def handles_of(block: Block) -> set[int]:
    """Whose rows a block of notifications holds."""
    column, data = block.columns[0], bytes(block.data)
    places = range(column.first, column.first + block.n * column.stride, max(column.stride, 1))
    return {int.from_bytes(data[at : at + 4], "little") for at in places} if column.letter else set()


def lost_block(n: int, gap: str) -> Block:
    """A row for each of ``n`` tags: nobody knows what became of it meanwhile."""
    return told_block([gap] * n, array("I", range(n)))


def _after(sequence: int) -> int:
    return sequence + 1 if sequence < _ROUNDS else 1
