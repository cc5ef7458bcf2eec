"""Rows with bytes behind an answer that no request is waiting for: the next call must get an answer of its own.

Each kind of surplus bytes is put in each place where a layer may keep them: the parser, the TLS library, a
buffer of the event loop's, the kernel. A call before makes the connection; it is never used again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.faults.matrix import TLS, Row
from support.faults.scenes import (
    LAYERS,
    OTHER,
    PASSES,
    REQUEST,
    Scene,
    Setting,
    pass_by,
    second_call,
    serving,
    unheard,
)
from support.loopback import OK, Received

from gateway360_async import Disposition, Ok, PinResult
from gateway360_async.transports import Phase

NO_FUNDS = b'{"status":"error","error_id":"NOT_ENOUGH_BALANCE"}'
RECORD = 16 * 1024
"""Plain bytes in a TLS record at most."""


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


KINDS = {
    "ok": http(OK),
    "429": b"HTTP/1.1 429 x\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
    "line end": b"\r\n",
    "byte": b"H",
}
NO_RECORD = b"\x17\x03\x03\x00\x20" + b"x" * 32
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: %s\r\n\r\n"

Place = Callable[[Received, bytes], tuple[bytes, bytes]]
"""Gives the bytes to be written at once, and those to be written when the next request has come."""


def in_one_segment(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
    return received.records(http(OK) + surplus), b""


def in_its_own_record(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
    return received.records(http(OK), surplus), b""


def cut(after: Callable[[int], int]) -> Place:
    """In a record of its own, of which so many bytes come with the answer."""

    def place(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
        answer, rest = received.records(http(OK)), received.records(surplus)
        middle = after(len(rest))
        return answer + rest[:middle], rest[middle:]

    return place


def behind(size: int) -> Place:
    """After an answer that fills so many bytes as the kernel sees them: one receive buffer."""

    def place(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
        written = received.records(INTERIM % b"x")
        overhead = len(written) - len(INTERIM % b"x")  # of each record
        while size - len(written) > 65_500:
            written += received.records(INTERIM % (b"x" * 8000))
        left = size - len(written)
        plain = left - -(-left // (RECORD + overhead)) * overhead
        body = OK.ljust(plain - len(http(b" " * 20_000)) + 20_000)
        written += received.records(http(body))
        assert len(written) == size
        return written + received.records(surplus), b""

    return place


def behind_full_records(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
    """After an answer of exactly four records: as many plain bytes as one receive buffer holds."""
    body = OK.ljust(4 * RECORD - len(http(b" " * 20_000)) + 20_000)
    return received.records(http(body), surplus), b""


def no_record(received: Received, surplus: bytes) -> tuple[bytes, bytes]:
    """Behind the answer's record, one that is not encrypted with the connection's key.

    The server does not hear of it, or it would close the connection by itself.
    """
    received.below_tls.pause_reading()
    return received.records(http(OK)) + NO_RECORD, b""


def placed(
    place: Place | None, surplus: bytes = b"", *, refused: bool = False, close_notify: bool = False
) -> Setting:
    """A gateway that sends a surplus with its first answer, and answers the next request as it should."""

    def setting(layer: str) -> Any:
        held: list[tuple[Received, bytes]] = []

        async def behave(received: Received) -> None:
            number = received.json["msisdn"]
            if number == OTHER.msisdn and place is not None:
                received.answered = (200, OK)
                now, later = place(received, surplus)
                received.wire(now + (received.close_notify() if close_notify else b""))
                held.append((received, later))
                return
            for earlier, rest in held:
                earlier.wire(rest)
                await pass_by()
            held.clear()
            await received.answer(body=NO_FUNDS if refused and number == REQUEST.msisdn else OK)

        return serving(behave)(layer)

    return setting


def late(surplus: bytes, *, passes: int) -> Any:
    """Write while the connection is idle, so many passes of the event loop before it is used again."""

    async def act(scene: Scene) -> PinResult:
        assert isinstance(await scene.client.send(OTHER), Ok)
        await scene.gateway.requests[0].write(surplus)
        await pass_by(passes)
        return await scene.client.send(REQUEST)

    return act


def _row(fault: str, setting: Setting, *, refused: bool = False, **more: Any) -> Row:
    said = Disposition.NOT_SENT if refused else Disposition.SENT
    return Row(fault, setting, Phase.ANSWERED, said, posts=1, connections=2, **{"act": second_call, **more})


def _surplus(fault: str, kind: str, place: Place | None, **more: Any) -> Row:
    refused = kind == "ok"  # so that the surplus, taken for the answer, would say something else
    setting = placed(place, KINDS[kind], refused=refused)
    return _row(f"surplus {kind}, {fault}", setting, refused=refused, **more)


IN_THE_PROXY = {
    "proxy": "it is in the proxy's kernel, and no client can know of it before its request has gone"
}

ROWS = (
    *(
        _surplus(fault, kind, place, layers=layers)
        for fault, place, layers in (
            ("in the answer's segment", in_one_segment, LAYERS),
            ("in its own record", in_its_own_record, TLS),
            ("its record cut in its head", cut(lambda size: 2), TLS),
            ("its record cut before its end", cut(lambda size: size - 1), TLS),
            ("cut in the middle", cut(lambda size: size // 2), LAYERS),
            ("after 65,536 bytes", behind(65_536), LAYERS),
            ("after 262,144 bytes", behind(262_144), LAYERS),
            ("after four full records", behind_full_records, TLS),
        )
        for kind in KINDS
        if not (kind == "byte" and fault == "cut in the middle")  # plain, a byte has no middle
    ),
    *(
        _surplus("late, in the kernel", kind, None, act=late(KINDS[kind], passes=0), without=IN_THE_PROXY)
        for kind in KINDS
    ),
    *(_surplus("late, read while idle", kind, None, act=late(KINDS[kind], passes=PASSES)) for kind in KINDS),
    _row(
        "a record that cannot be read in the answer's segment",
        placed(no_record),
        act=unheard(second_call),
        layers=TLS,
    ),
    _row(
        "the end of TLS in the answer's segment, and no FIN",
        placed(in_one_segment, close_notify=True),
        layers=TLS,
    ),
)
