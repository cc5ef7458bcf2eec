"""Claims: who sends a wish, and what became of it, for all who ask.

Rules of this module:

- A claim is made in one step, so of two who hold the same wish one gets it. It has a lease: whoever holds it has ended
  by then, one way or the other, and what is not settled by then may have been sent.
- Only a wish that certainly was not sent can be claimed again, unless the caller wants even what may have been sent.
- Nothing here waits for somebody else's claim: the caller does, who knows for how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .._errors import FleetError
from .._records import is_settled, read_result, write_result
from .._results import Disposition, PinResult
from ._link import Link
from ._names import Names
from ._wishes import Admission, Answer, Left, Verdict, Wish

__all__ = ["Claims"]


_GIVEN_UP: Final = 600_000
"""Milliseconds for which a claim that was given up before it came is remembered: a packet may be that late."""


class Claims:
    """Makes claims, and settles them.

    Args:
        link: The way to Redis.
        names: What things are called there.
    """

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names

    async def admit(self, wish: Wish, token: str, *, patience: float) -> Answer:
        """Claim a wish, or learn why not.

        Args:
            wish: The wish.
            token: What tells this claim from others: asking again with it changes nothing.
            patience: Seconds for which it is tried again while Redis is away.

        Raises:
            FleetError: Redis is away, refuses, or has forgotten what it knew.
        """
        limits = wish.limits
        memory = await self._link.memory(patience=patience)
        answer: list[Any] = await self._link.run(
            "admit",
            [self._names.memory, wish.record, *_counted(wish), self._names.given_up(token)],
            [
                memory,
                token,
                wish.fingerprint,
                wish.lease,
                wish.keep,
                wish.report_id or "",
                "1" if wish.resend_unknown else "",
                wish.cooldown,
                "1" if wish.force else "",
                limits.window,
                *(
                    "" if rule is None else rule[1]
                    for rule in (limits.prefix, limits.everybody, limits.total)
                ),
            ],
            patience=patience,
        )
        verdict = Verdict(answer[0].decode())
        if verdict is Verdict.LOST:
            raise _lost()
        if verdict is Verdict.GRANTED:
            admission = Admission(wish, token, again=bool(answer[1]))
            return Answer(verdict, admission, _read(answer[2]))
        if verdict in (Verdict.SETTLED, Verdict.COOLING):
            return Answer(verdict, result=_read(answer[1]))
        if verdict is Verdict.UNSETTLED:
            return Answer(verdict, result=_read(answer[2]), report_id=_text(answer[1]))
        if verdict in (Verdict.BUSY, Verdict.NUMBER):
            return Answer(verdict, report_id=_text(answer[1]), left=int(answer[2]))
        return Answer(verdict, report_id=_text(answer[1]) if verdict is Verdict.HOT else None)

    async def settle(self, admission: Admission, result: PinResult, *, counts: bool, patience: float) -> None:
        """Record what became of a wish.

        Args:
            admission: Its claim.
            result: What became of it.
            counts: Whether it may be an SMS, so that it counts on the guard.
            patience: Seconds for which it is tried again while Redis is away.

        Raises:
            FleetError: Redis is away, or refuses.
        """
        wish = admission.wish
        state = "O"
        if is_settled(result):
            state = "M" if result.disposition is Disposition.MAYBE_SENT else "S"
        await self._link.run(
            "settle",
            [wish.record, *_counted(wish), self._names.given_up(admission.token)],
            [
                admission.token,
                state,
                write_result(result),
                wish.keep,
                0 if result.disposition is Disposition.NOT_SENT else wish.cooldown,
                "1" if counts else "",
                _GIVEN_UP,
            ],
            patience=patience,
        )

    async def refuse(self, wish: Wish, token: str, result: PinResult, *, patience: float) -> None:
        """Record why a wish was not admitted, unless somebody else has claimed it by now. Raises `FleetError`."""
        given = [token, wish.fingerprint, write_result(result), wish.keep]
        await self._link.run("refuse", [wish.record], given, patience=patience)

    async def close(self, claims: Sequence[tuple[str, str]], *, patience: float) -> list[bool]:
        """Let nobody send wishes any more whose outcome, not sent, is about to be told.

        Args:
            claims: Their records, and the tokens of the claims that ended so.
            patience: Seconds for which it is tried again while Redis is away.

        Returns:
            Whether it is so, for each. Otherwise somebody else has claimed it by now.

        Raises:
            FleetError: Redis is away, or refuses.
        """
        given = ["C", *(token for _, token in claims)]
        done: list[int] = await self._link.run(
            "close", [record for record, _ in claims], given, patience=patience
        )
        return [closed == 1 for closed in done]

    async def reopen(self, record: str, *, patience: float) -> None:
        """Let a wish be sent again that was closed. Raises `FleetError`."""
        await self._link.run("close", [record], ["O"], patience=patience)

    async def look(self, records: Sequence[str], *, patience: float) -> list[Left | None]:
        """Say how far wishes have come; `None`: nobody has claimed it. Raises `FleetError`."""
        memory = await self._link.memory(patience=patience)
        answer: list[Any] = await self._link.run(
            "look", [self._names.memory, *records], [memory], patience=patience
        )
        if answer[0] == b"lost":
            raise _lost()
        return [_left(found) for found in answer[1]]


def _counted(wish: Wish) -> list[str]:
    limits = wish.limits
    rules = (limits.prefix, limits.everybody, limits.total)
    return [wish.number or "", *("" if rule is None else rule[0] for rule in rules)]


def _left(found: list[Any]) -> Left | None:
    state, token, report_id, result, left, fingerprint, again, before = found
    if not state:
        return None
    anybodys = dict.fromkeys((b"O", b"C"), Verdict.GRANTED)
    verdict = {b"S": Verdict.SETTLED, **anybodys}.get(state, Verdict.UNSETTLED)
    if state == b"B" and left > 0:
        verdict = Verdict.BUSY
    return Left(
        verdict,
        token.decode(),
        fingerprint,
        _read(result),
        _text(report_id),
        int(left),
        again=bool(again),
        before=_read(before),
    )


def _text(value: bytes) -> str | None:
    return value.decode() or None


def _read(text: bytes) -> PinResult | None:
    try:
        return read_result(text.decode()) if text else None
    except Exception:  # noqa: BLE001  # whatever cattrs or json makes of a text that this library did not write
        raise FleetError("holds a record that cannot be read", "records that this library wrote") from None


def _lost() -> FleetError:
    return FleetError(
        "has forgotten what it knew when this client began, or is another one",
        "the one from before; or restart what uses it, if what was sent lately may be forgotten",
    )
