"""The gateway's behaviour: what it answers, what it sends, which PIN is valid.

Rules of this module:

- No I/O and no asyncio: the clock and the random source are handed in, so every test of it is exact.
- Checks come in this order, and the first that fails is the answer: content type, JSON, key, fields, HLR,
  balance. What is refused sends nothing, costs nothing, and leaves the PIN before it valid.
- The raw key and the PINs that are verified are kept in no log: a request is masked before it is kept.
- Requests come from one thread, the event loop's. What its user calls may come from another one: a lock holds
  each of the few changes that are more than one step together, and no code of the user's but the clock runs under it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection
from random import Random, SystemRandom
from typing import Any, Final, TypeVar

from ._changes import ChangeKind
from ._checks import PLACEHOLDER, PinOrder, Refusal, read_attempt, read_key, read_object, read_order
from ._faults import Fault
from ._masking import masked_fields, masked_text
from ._pins import VERIFY_ANSWERS, Trial, VerifyAnswer, make_pin, try_pin
from ._records import FaultKind, Message, Operation, ReceivedRequest

__all__ = ["HLR_FAIL_PREFIX", "Gateway"]

_logger = logging.getLogger("gateway360_async.sandbox")
_T = TypeVar("_T")

HLR_FAIL_PREFIX: Final = "34744"
"""Numbers that begin with this fail the HLR lookup. They are valid Spanish mobiles, for a client sends to no others."""

# The vendor's own text is not published.
_DEFAULT_TEXT: Final = f"Your verification code is {PLACEHOLDER}"


def _nobody(kind: ChangeKind) -> None:
    """Nobody watches."""


class Gateway:
    """The gateway of one account.

    Args:
        api_key: The account's key.
        balance: How many SMS the account can still pay for; `None`: any number.
        hlr_fail_prefix: Numbers that begin with this fail the HLR lookup.
        blocked_keys: Keys that are refused.
        forbidden_senders: Senders that are not allowed.
        clock: Seconds since any moment, as a float.
        rng: Where the PINs and the ids of messages come from.
        keep: How many messages, and how many requests, are kept at most; `None`: all. A PIN whose message
            is not kept any more cannot be confirmed.
        verify_answer: How a verification is answered.
        on_message: Called with every message that is sent. Its failure is logged, and changes no answer.
        tell: Called after every change, with its kind.
    """

    def __init__(
        self,
        api_key: str,
        *,
        balance: int | None = None,
        hlr_fail_prefix: str = HLR_FAIL_PREFIX,
        blocked_keys: Collection[str] = (),
        forbidden_senders: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        keep: int | None = None,
        verify_answer: VerifyAnswer = "nested",
        on_message: Callable[[Message], None] | None = None,
        tell: Callable[[ChangeKind], None] = _nobody,
    ) -> None:
        self.api_key: Final = api_key
        self.blocked_keys: Final = set(blocked_keys)
        self.hlr_fail_prefix = hlr_fail_prefix
        self.verify_answer: VerifyAnswer = verify_answer
        self.messages: Final[list[Message]] = []
        self.requests: Final[list[ReceivedRequest]] = []
        self._balance = balance
        self._forbidden_senders = frozenset(forbidden_senders)
        self._clock = clock
        self._rng = SystemRandom() if rng is None else rng
        self.keep: Final = keep
        self._on_message = on_message
        self._tell = tell
        self._last: dict[str, Message] = {}
        self._cleared: tuple[list[Message], list[ReceivedRequest]] = ([], [])
        self._message_ids = itertools.count(1)
        self._request_ids = itertools.count(1)
        self._lock = threading.Lock()

    def handle(
        self,
        path: str,
        content_type: str | None,
        body: bytes,
        *,
        operation: Operation = "request",
        fault: FaultKind | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Carry a request out, and answer it.

        Args:
            path: The URL's path, for the log.
            content_type: The header, or `None`.
            body: The body.
            operation: What is asked.
            fault: What the answer meets on its way, for the log.

        Returns:
            The HTTP status and the envelope.
        """
        fields: dict[str, object] | None = None
        message: Message | None = None
        trial: Trial | None = None
        http_status, envelope = 200, dict[str, Any](status="ok")
        try:
            fields = read_object(content_type, body)
            self._require_key(read_key(fields))
            if operation == "verify":
                attempt = read_attempt(fields)
                trial = self._try_pin(attempt.msisdn, attempt.pin)
                envelope |= VERIFY_ANSWERS[self.verify_answer](trial)
            else:
                message = self._send(self._accept(read_order(fields)))
        except Refusal as refusal:
            http_status, envelope = refusal.http_status, {**refusal.envelope}
        received = ReceivedRequest(
            id=next(self._request_ids),
            at=self._clock(),
            operation=operation,
            path=path,
            content_type=masked_text(content_type, self.api_key),
            body=None if fields is None else masked_fields(fields, self.api_key),
            size=len(body),
            http_status=http_status,
            envelope=envelope.copy(),
            fault=fault,
            message_id=None if message is None else message.id,
            verified=None if trial is None else trial.verified,
        )
        self._append(self.requests, received)
        self._tell("request")
        return http_status, envelope

    def turn_away(
        self, path: str, content_type: str | None, body: bytes, *, operation: Operation, fault: Fault
    ) -> None:
        """Keep a request that is answered without being carried out."""
        try:
            fields = masked_fields(read_object(content_type, body), self.api_key)
        except Refusal:
            fields = None
        received = ReceivedRequest(
            id=next(self._request_ids),
            at=self._clock(),
            operation=operation,
            path=path,
            content_type=masked_text(content_type, self.api_key),
            body=fields,
            size=len(body),
            http_status=fault.http_status,
            envelope=masked_fields(fault.envelope, self.api_key),
            fault=fault.kind,
        )
        self._append(self.requests, received)
        self._tell("request")

    def _require_key(self, key: object) -> None:
        if key != self.api_key or key in self.blocked_keys:
            raise Refusal("UNAUTHORIZED", "Your API key may be invalid or your IP is blocked.")

    def _accept(self, order: PinOrder) -> PinOrder:
        if order.sender in self._forbidden_senders:
            raise Refusal("INVALID_SENDER", "The sender is not allowed for this message.")
        if order.hlr_lookup and order.msisdn.startswith(self.hlr_fail_prefix):
            raise Refusal("INVALID_NUMBER", "HLR query returned error.")
        with self._lock:
            if self._balance is not None:
                if self._balance <= 0:
                    raise Refusal("NOT_ENOUGH_BALANCE", "The account has no funds.")
                self._balance -= 1
        return order

    def _send(self, order: PinOrder) -> Message:
        now = self._clock()
        pin = make_pin(self._rng, order.pin_type, order.pin_length)
        text = _DEFAULT_TEXT if order.sms_text is None else order.sms_text
        message = Message(
            id=next(self._message_ids),
            sms_id=f"{self._rng.getrandbits(128):032x}",
            msisdn=order.msisdn,
            sender=order.sender,
            text=text.replace(PLACEHOLDER, pin),
            pin=pin,
            pin_type=order.pin_type,
            sent_at=now,
            expires_at=now + order.expires_in if order.expires_in else None,
            max_tries=order.max_tries,
            report_url=order.report_url,
            clock=self._clock,
        )
        with self._lock:
            previous = self._last.get(order.msisdn)
            replaces = False
            if previous is not None and previous.void_reason is None:
                previous.make_void("replaced")
                replaces = True
            self._last[order.msisdn] = message
            for dropped in self._append(self.messages, message):
                if self._last.get(dropped.msisdn) is dropped:
                    del self._last[dropped.msisdn]
        if self._on_message is not None:
            try:
                self._on_message(message)
            except Exception:
                _logger.exception("on_message failed; the SMS counts as sent all the same")
        if replaces:
            self._tell("pin")
        self._tell("message")
        return message

    def _append(self, items: list[_T], item: _T) -> list[_T]:
        """Append an item, and return those that are not kept any more."""
        items.append(item)
        surplus = 0 if self.keep is None else max(0, len(items) - self.keep)
        dropped = items[:surplus]
        del items[:surplus]
        return dropped

    def _try_pin(self, msisdn: str, pin: str) -> Trial:
        with self._lock:
            trial = try_pin(self._last.get(msisdn), pin)
        if trial.counted:
            self._tell("pin")
        return trial

    def check_pin(self, msisdn: str, pin: str) -> bool:
        """Confirm a PIN, once. A failed try counts."""
        return self._try_pin(msisdn, pin).verified

    def last_message(self, msisdn: str) -> Message | None:
        """Return the newest SMS to a number, or `None`."""
        return self._last.get(msisdn)

    def clear(self) -> None:
        """Forget the messages, with their PINs, and the requests, until `undo_clear`."""
        with self._lock:
            if self.messages or self.requests:  # a second one in a row forgets nothing
                self._cleared = (self.messages.copy(), self.requests.copy())
            self.messages.clear()
            self.requests.clear()
            self._last.clear()
        self._tell("cleared")

    def undo_clear(self) -> None:
        """Bring back the messages and requests that `clear` took last. A newer PIN of a number stays the valid one."""
        with self._lock:
            (messages, requests), self._cleared = self._cleared, ([], [])
            self.messages[:0] = messages
            self.requests[:0] = requests
            for message in reversed(messages):  # of several to a number, the newest is the last one's
                newest = self._last.setdefault(message.msisdn, message)
                if newest is not message and message.void_reason is None:
                    message.make_void("replaced")
            if self.keep is not None:
                del self.messages[: -self.keep], self.requests[: -self.keep]
        self._tell("cleared")

    @property
    def balance(self) -> int | None:
        """How many SMS the account can still pay for; `None`: any number. Can be set."""
        return self._balance

    @balance.setter
    def balance(self, value: int | None) -> None:
        with self._lock:
            self._balance = value
