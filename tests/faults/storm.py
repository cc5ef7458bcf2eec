"""A gateway that fails at random: on accept, in mid-request, after it, in mid-answer, while idle.

Rules of this module:

- What happens is drawn from a seed. When it happens is the event loop's and the kernel's, so two runs differ
  in their order, and what is asserted of them must hold in any.
- A request counts as seen whole as soon as all its bytes are in this process, read or not: that is the
  strictest that a client can be held to.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from random import Random

from loopback import OK, Received, Server

NO_FUNDS = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(OK)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CALM = 0.5
"""The share of requests that nothing happens to, so that connections get old enough to break."""


class Storm:
    """The behaviour of a server. Stops with `over`."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.faults: Counter[str] = Counter()
        self.over = False

    def server(self, **settings) -> Server:
        self._server = Server(self.answer, before=self.before, **settings)
        return self._server

    async def before(self, received: Received) -> None:
        if self.over or self._random.random() > 0.15:
            return
        where = "idle" if received.earlier else "on accept"
        if self._random.random() < 0.5:
            where = "in mid-request"
            start = await received.reader.read(self._random.randrange(1, 400))
            if self.over:
                received.reader._buffer[:0] = start
                return
            self._note_if_whole(received, start)
        self._break_off(received, where)

    async def answer(self, received: Received) -> None:
        if self.over or self._random.random() < CALM:
            await received.answer()
            return
        fault = self._random.choice(
            (
                self.break_off,
                self.late,
                self.in_mid_answer,
                self.throttle,
                self.refuse,
                self.surplus,
                self.silence,
            )
        )
        await fault(received)

    async def break_off(self, received: Received) -> None:
        self._break_off(received, "after the request")

    async def late(self, received: Received) -> None:
        self.faults["late"] += 1
        for _ in range(self._random.randrange(20)):
            await asyncio.sleep(0)
        await received.answer()

    async def in_mid_answer(self, received: Received) -> None:
        answer = HEAD + OK
        await received.write(answer[: self._random.randrange(1, len(answer))])
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)
        self._break_off(received, "in mid-answer")

    async def throttle(self, received: Received) -> None:
        self.faults["429"] += 1
        await received.answer(429, b"")

    async def refuse(self, received: Received) -> None:
        self.faults["refused"] += 1
        await received.answer(200, NO_FUNDS)

    async def surplus(self, received: Received) -> None:
        """A refusal too many: whoever takes it for his answer denies an SMS that there is."""
        self.faults["surplus"] += 1
        body = b"%s%s" % (HEAD + OK, HEAD.replace(b"%d" % len(OK), b"%d" % len(NO_FUNDS)) + NO_FUNDS)
        received.answered = (200, OK)
        await received.write(body)

    async def silence(self, received: Received) -> None:
        if self._random.random() < 0.5:  # half as often: it takes as long as the read timeout
            await received.answer()
            return
        self.faults["silence"] += 1
        await received.silence()

    def _break_off(self, received: Received, where: str) -> None:
        if self._random.random() < 0.5:
            self.faults[f"RST {where}"] += 1
            with contextlib.suppress(OSError):  # the client was faster
                received.reset()
        else:
            self.faults[f"FIN {where}"] += 1
            received.writer.close()

    def _note_if_whole(self, received: Received, start: bytes) -> None:
        data = start + bytes(received.reader._buffer)
        head, _, body = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            received.body = body
            self._server.requests.append(received)
