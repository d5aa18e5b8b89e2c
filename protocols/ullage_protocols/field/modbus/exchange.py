"""Questions that are out together, and how each was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ullage_protocols.field.errors import FieldError
from ullage_protocols.field.modbus.frames import Answer, Question
from ullage_protocols.field.modbus.guard import ReadOnlyTransport


class Exchange:
    """``questions`` on their way; good replies go to ``raw``, each at its question's offset.

    ``failed`` holds by question what came instead: an exception code or a reason; for 43/14 its answer. ``times``
    are the loop's, one a reply; ``first`` and ``last`` bound them. ``only_fitting``: on a serial line, what does not
    fit the question is passed over and its reply awaited further. ``done`` resolves when every question has been
    answered, and raises FieldError when the connection is lost before.
    """

    __slots__ = ("done", "failed", "first", "last", "left", "only_fitting", "questions", "raw", "sent", "times")

    def __init__(self, questions: Sequence[Question], raw: bytearray, done: asyncio.Future[None]) -> None:
        self.questions, self.raw, self.done = questions, raw, done
        self.failed: dict[int, Answer] = {}
        self.times = [0.0] * len(questions)
        self.first = self.last = 0.0
        self.only_fitting = False
        self.sent = 0
        self.left = len(questions)

    def take(self, index: int, answer: Answer) -> None:
        """Keeps the judged reply to question ``index``."""
        question = self.questions[index]
        if isinstance(answer, bytes) and question.size >= 0:
            self.raw[question.offset : question.end] = answer
        else:
            self.failed[index] = answer


class Link(Protocol):
    """One open connection. ``broken`` says why it can carry no more; ``heard`` when it last gave a whole reply.

    ``on_lost`` is called when the peer ends it."""

    broken: FieldError | None
    heard: float
    on_lost: Callable[[], None] | None

    @property
    def guard(self) -> ReadOnlyTransport | None:
        """The transport under it."""
        ...

    def start(self, questions: Sequence[Question], raw: bytearray, timeout: float, window: int) -> Exchange:
        """Sends ``questions``, at most ``window`` at once; each reply within ``timeout`` seconds of the one before."""
        ...

    def forget(self) -> None:
        """Gives up what is out: its replies, should they still come, answer nothing."""
        ...

    def drop(self, error: FieldError) -> None:
        """Ends the connection."""
        ...
