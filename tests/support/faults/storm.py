"""A gateway that fails at random: on accept, in mid-request, after it, in mid-answer, behind it, while idle.

Rules of this module:

- What happens is drawn from a seed. When it happens is the event loop's and the kernel's, so two runs differ
  in their order, and what is asserted of them must hold in any.
- A request counts as seen whole as soon as all its bytes are in this process, read or not: that is the
  strictest that a client can be held to.
- Each answer names the number that it is for, a surplus one the number that has its answer already.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from random import Random

from support.loopback import OK, Received, Server

NO_FUNDS = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CALM = 0.5
"""The share of requests that nothing happens to, so that connections get old enough to break."""
BREAKS = ("on accept", "in mid-request", "after the request", "in mid-answer", "idle")
FAULTS = (
    *(f"{how} {where}" for how in ("FIN", "RST") for where in BREAKS),
    "late",
    "429",
    "refused",
    "silence",
    "surplus in one segment",
    "surplus cut",
)
FAULTS_OF_TLS = ("surplus in its own record", "end of TLS")


def http(number: str, status: int = 200, body: bytes = OK) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nx-for: {number}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def forget(received: Received) -> None:
    """Keep of a request that is over no more than it takes to count it: there are tens of thousands."""
    received.body = received.body.rstrip()
    del received.reader, received.writer


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
            data = start + bytes(received.reader._buffer)
            self._break_off(received, where)
            self._note_if_whole(received, data)
            return
        self._break_off(received, where)

    async def answer(self, received: Received) -> None:
        try:
            await self._answer(received)
        finally:
            forget(received)

    async def _answer(self, received: Received) -> None:
        if self.over or self._random.random() < CALM:
            await self.say(received)
            return
        faults = [
            self.break_off,
            self.late,
            self.in_mid_answer,
            self.throttle,
            self.refuse,
            self.surplus,
            self.surplus,
            self.silence,
        ]
        if received.writer.get_extra_info("ssl_object") is not None:
            faults.append(self.end_of_tls)
        await self._random.choice(faults)(received)

    async def say(self, received: Received, status: int = 200, body: bytes = OK) -> None:
        received.answered = (status, body)
        await received.write(http(received.json["msisdn"], status, body))

    async def break_off(self, received: Received) -> None:
        self._break_off(received, "after the request")

    async def late(self, received: Received) -> None:
        self.faults["late"] += 1
        for _ in range(self._random.randrange(20)):
            await asyncio.sleep(0)
        await self.say(received)

    async def in_mid_answer(self, received: Received) -> None:
        answer = http(received.json["msisdn"])
        await received.write(answer[: self._random.randrange(1, len(answer))])
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)
        self._break_off(received, "in mid-answer")

    async def throttle(self, received: Received) -> None:
        self.faults["429"] += 1
        await self.say(received, 429, b"")

    async def refuse(self, received: Received) -> None:
        self.faults["refused"] += 1
        await self.say(received, 200, NO_FUNDS)

    async def surplus(self, received: Received) -> None:
        """Say too much: taken for the next answer, it denies an SMS, makes one up, or makes a second one."""
        number = received.json["msisdn"]
        received.answered = (200, OK)
        answer = http(number)
        surplus = self._random.choice(
            (http(number), http(number, 200, NO_FUNDS), http(number, 429, b""), b"\r\n", b"H")
        )
        places = ["in one segment", "cut"]
        if received.writer.get_extra_info("ssl_object") is not None:
            places.append("in its own record")
        place = self._random.choice(places)
        self.faults[f"surplus {place}"] += 1
        if place == "in one segment":
            received.wire(received.records(answer + surplus))
            return
        first, rest = received.records(answer), received.records(surplus)
        middle = self._random.randrange(1, len(rest) + 1) if place == "cut" else len(rest)
        received.wire(first + rest[:middle])
        for _ in range(self._random.randrange(40)):
            await asyncio.sleep(0)
        received.wire(rest[middle:])

    async def end_of_tls(self, received: Received) -> None:
        self.faults["end of TLS"] += 1
        received.answered = (200, OK)
        received.wire(received.records(http(received.json["msisdn"])) + received.close_notify())
        await received.until_gone()

    async def silence(self, received: Received) -> None:
        if self._random.random() < 0.5:  # half as often: it takes as long as the read timeout
            await self.say(received)
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

    def _note_if_whole(self, received: Received, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            received.body = body
            self._server.requests.append(received)
            forget(received)
