"""The gateway's behaviour: what it answers, what it sends, which PIN is valid.

Rules of this module:

- No I/O and no asyncio: the clock and the random source are handed in, so every test of it is exact.
- Checks come in this order, and the first that fails is the answer: content type, JSON, key, fields, HLR,
  balance. What is refused sends nothing, costs nothing, and leaves the PIN before it valid.
- The raw key is kept in no log: a request is masked before it is kept.
"""

from __future__ import annotations

import logging
import string
import time
from collections.abc import Callable, Collection, Mapping
from random import Random, SystemRandom
from typing import Final, TypeVar, cast

from ._checks import PLACEHOLDER, PinOrder, Refusal, read_key, read_object, read_order
from ._records import Message, ReceivedRequest

__all__ = ["HLR_FAIL_PREFIX", "Gateway"]

_logger = logging.getLogger("gateway360_async.sandbox")
_T = TypeVar("_T")

HLR_FAIL_PREFIX: Final = "99999"
"""Numbers that begin with this fail the HLR lookup. No country has 999, so it is never somebody's number."""

# The vendor's own text is not published.
_DEFAULT_TEXT: Final = f"Your verification code is {PLACEHOLDER}"
_ALPHABETS: Final[Mapping[str, str]] = {
    "numeric": string.digits,
    "alpha": string.ascii_uppercase,
    "alphanumeric": string.ascii_uppercase + string.digits,
}
_MASK: Final = "*****"
_LOGGED_DEPTH: Final = 20


class Gateway:
    """The gateway of one account.

    Args:
        api_key: The account's key.
        balance: How many SMS the account can still pay for; `None`: any number.
        hlr_fail_prefix: Numbers that begin with this fail the HLR lookup.
        blocked_keys: Keys that are refused.
        forbidden_senders: Senders that are not allowed.
        clock: Seconds since any moment, as a float.
        rng: Where the PINs come from.
        keep: How many messages, and how many requests, are kept at most; `None`: all. A PIN whose message
            is not kept any more cannot be confirmed.
        on_message: Called with every message that is sent. Its failure is logged, and changes no answer.
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
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        self.api_key: Final = api_key
        self.balance = balance
        self.blocked_keys = set(blocked_keys)
        self.messages: Final[list[Message]] = []
        self.requests: Final[list[ReceivedRequest]] = []
        self._hlr_fail_prefix = hlr_fail_prefix
        self._forbidden_senders = frozenset(forbidden_senders)
        self._clock = clock
        self._rng = SystemRandom() if rng is None else rng
        self._keep = keep
        self._on_message = on_message
        self._last: dict[str, Message] = {}

    def handle(self, path: str, content_type: str | None, body: bytes) -> tuple[int, dict[str, str]]:
        """Answer a request.

        Args:
            path: The URL's path, for the log.
            content_type: The header, or `None`.
            body: The body.

        Returns:
            The HTTP status and the envelope.
        """
        fields: dict[str, object] | None = None
        http_status, envelope = 200, {"status": "ok"}
        try:
            fields = read_object(content_type, body)
            self._require_key(read_key(fields))
            self._send(self._accept(read_order(fields)))
        except Refusal as refusal:
            http_status, envelope = refusal.http_status, refusal.envelope
        received = ReceivedRequest(
            at=self._clock(),
            path=path,
            content_type=cast("str | None", self._masked(content_type)),
            body=None if fields is None else self._masked_fields(fields),
            size=len(body),
            http_status=http_status,
            envelope=envelope.copy(),
        )
        self._append(self.requests, received)
        return http_status, envelope

    def _require_key(self, key: object) -> None:
        if key != self.api_key or key in self.blocked_keys:
            raise Refusal("UNAUTHORIZED", "Your API key may be invalid or your IP is blocked.")

    def _accept(self, order: PinOrder) -> PinOrder:
        if order.sender in self._forbidden_senders:
            raise Refusal("INVALID_SENDER", "The sender is not allowed for this message.")
        if order.hlr_lookup and order.msisdn.startswith(self._hlr_fail_prefix):
            raise Refusal("INVALID_NUMBER", "HLR query returned error.")
        if self.balance is not None:
            if self.balance <= 0:
                raise Refusal("NOT_ENOUGH_BALANCE", "The account has no funds.")
            self.balance -= 1
        return order

    def _send(self, order: PinOrder) -> None:
        now = self._clock()
        pin = "".join(self._rng.choice(_ALPHABETS[order.pin_type]) for _ in range(order.pin_length))
        text = _DEFAULT_TEXT if order.sms_text is None else order.sms_text
        message = Message(
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
        if (previous := self._last.get(order.msisdn)) is not None:
            previous.make_void("replaced")
        self._last[order.msisdn] = message
        for dropped in self._append(self.messages, message):
            if self._last.get(dropped.msisdn) is dropped:
                del self._last[dropped.msisdn]
        if self._on_message is not None:
            try:
                self._on_message(message)
            except Exception:
                _logger.exception("on_message failed; the SMS counts as sent all the same")

    def _append(self, items: list[_T], item: _T) -> list[_T]:
        """Append an item, and return those that are not kept any more."""
        items.append(item)
        surplus = 0 if self._keep is None else max(0, len(items) - self._keep)
        dropped = items[:surplus]
        del items[:surplus]
        return dropped

    def check_pin(self, msisdn: str, pin: str) -> bool:
        """Confirm a PIN, once. A failed try counts."""
        message = self._last.get(msisdn)
        if message is None or message.void_reason is not None:
            return False
        if pin == message.pin:
            message.make_void("verified")
            return True
        message.tries += 1
        if message.tries == message.max_tries:
            message.make_void("tries")
        return False

    def last_message(self, msisdn: str) -> Message | None:
        """Return the newest SMS to a number, or `None`."""
        return self._last.get(msisdn)

    def _masked_fields(self, fields: dict[str, object]) -> dict[str, object]:
        # By its name, as it may be another account's; and by its value, as it may have come in elsewhere.
        named = {name: _MASK if name == "api_key" else value for name, value in fields.items()}
        return cast("dict[str, object]", self._masked(named))

    def _masked(self, value: object, depth: int = _LOGGED_DEPTH) -> object:
        if isinstance(value, str):
            return value.replace(self.api_key, _MASK)
        if isinstance(value, list) and depth:
            return [self._masked(item, depth - 1) for item in cast("list[object]", value)]
        if isinstance(value, dict) and depth:
            pairs = cast("dict[object, object]", value).items()
            return {self._masked(name): self._masked(item, depth - 1) for name, item in pairs}
        return _MASK if isinstance(value, (list, dict)) else value
