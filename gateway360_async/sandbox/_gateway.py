"""The gateway's behaviour: what it answers, what it sends, which PIN is valid.

- No I/O and no asyncio, so that every test of it is exact.
- Checks come in this order, and the first that fails is the answer: content type, JSON, key, fields, HLR,
  balance. A request that is refused sends nothing, costs nothing, and leaves the PIN before it valid.
- No log keeps the raw key, or a PIN that is verified: a request is masked before it is kept.
- Requests come from one thread, the event loop's, and a user's calls from any: a lock holds each change of several
  steps together, and no code of the user's but the clock runs under it.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random, SystemRandom
from typing import Any, ClassVar, Final, TypeVar, cast

from starlette.responses import JSONResponse, Response

from ._changes import Changes, Watch
from ._checks import PLACEHOLDER, PinOrder, Refusal, read_attempt, read_mandatory, read_object, read_order
from ._faults import Fault, FaultControls
from ._records import (
    VERIFY_ANSWERS,
    Message,
    Operation,
    ReceivedRequest,
    VerifyAnswer,
    make_pin,
    try_pin,
)
from ._settings import choice, count, digits, seconds, statuses, text, texts

__all__ = ["HLR_FAIL_PREFIX", "Gateway"]

_logger = logging.getLogger("gateway360_async.sandbox")
_T = TypeVar("_T")

HLR_FAIL_PREFIX: Final = "34744"
"""Numbers that begin with this fail the HLR lookup. They are valid Spanish mobiles, for a client sends to no others."""

# The vendor's own text is not published.
_DEFAULT_TEXT: Final = f"Your verification code is {PLACEHOLDER}"
_MASK: Final = "*****"
_SECRET_NAMES: Final = frozenset({"api_key", "pin"})
_DEPTH: Final = 20


class Gateway(FaultControls):
    """The part of `Sandbox` that needs no server: one account and its settings."""

    balance: int | None = None
    """SMS that the account can still pay for; `None`: any number. Can be set."""
    latency: float = 0.0
    """Seconds from having read a request to asking the gateway. Can be set; counts from the next request.

    A client that gives up in the meantime does not stop its SMS, as with any gateway.
    """
    hlr_fail_prefix: str = HLR_FAIL_PREFIX
    """Numbers that begin with these digits fail the HLR lookup. Can be set."""
    verify_answer: VerifyAnswer = "nested"
    """The shape of the answer to a verification: `"nested"`, `"flat"`, `"camel"` or `"list"`. Can be set."""
    delivery: Sequence[str] = ("DELIVRD",)
    """The statuses that are reported of each SMS, in turn, if its request has a `report_url`; none: `()`.

    Can be set; counts from the next SMS.
    """
    delivery_delay: float = 0.0
    """Seconds before each of these reports. Can be set; counts from the next SMS."""

    _CHECKS: ClassVar[Mapping[str, Callable[[str, Any], object]]] = {
        "balance": count,
        "latency": seconds,
        "hlr_fail_prefix": digits,
        "verify_answer": partial(choice, choices=VERIFY_ANSWERS),
        "delivery": statuses,
        "delivery_delay": seconds,
    }
    _rng: Random = SystemRandom()

    def __init__(
        self,
        api_key: str,
        *,
        blocked_keys: Collection[str],
        forbidden_senders: Collection[str],
        clock: Callable[[], float],
        keep: int | None,
        on_message: Callable[[Message], None] | None,
    ) -> None:
        self._changes: Final = Changes()
        super().__init__(partial(self._changes.tell, "switch"))
        self._api_key: Final = text("api_key", api_key)
        self._blocked_keys = set(texts("blocked_keys", blocked_keys))
        self._forbidden_senders = frozenset(texts("forbidden_senders", forbidden_senders))
        self._clock = clock
        self._keep: Final = count("keep", keep)
        self._on_message = on_message
        self._messages: Final[list[Message]] = []
        self._requests: Final[list[ReceivedRequest]] = []
        self._last: Final[dict[str, Message]] = {}
        self._cleared: tuple[list[Message], list[ReceivedRequest]] = ([], [])
        self._message_ids = itertools.count(1)
        self._request_ids = itertools.count(1)

    @property
    def api_key(self) -> str:
        """The key that it accepts."""
        return self._api_key

    @property
    def keep(self) -> int | None:
        """The most messages, and the most requests, that are kept; `None`: all."""
        return self._keep

    @property
    def messages(self) -> list[Message]:
        """Every SMS that was "sent", the oldest first. The list itself, which may be cleared."""
        return self._messages

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request that was answered, the oldest first. The list itself, which may be cleared."""
        return self._requests

    def messages_to(self, msisdn: str) -> list[Message]:
        """Return the SMS to one number, in digits as it was sent, the oldest first."""
        return [message for message in self._messages if message.msisdn == msisdn]

    def last_pin(self, msisdn: str) -> str | None:
        """Return the PIN of the newest SMS to a number, valid or not, or `None`."""
        message = self._last.get(msisdn)
        return None if message is None else message.pin

    def check_pin(self, msisdn: str, pin: str) -> bool:
        """Say whether a PIN confirms a number, as the gateway would.

        It has to be the number's last PIN, neither expired nor used up. A failed try counts, and a PIN
        confirms once.
        """
        return bool(self._try_pin(msisdn, pin)["verified"])

    def block(self, key: str | None = None) -> None:
        """Refuse a key from now on; `None`: the account's."""
        self._blocked_keys.add(self._api_key if key is None else key)
        self._changed()

    def unblock(self, key: str | None = None) -> None:
        """Accept a key again, if it is the account's; `None`: the account's."""
        self._blocked_keys.discard(self._api_key if key is None else key)
        self._changed()

    @property
    def blocked(self) -> bool:
        """Whether the account's key is refused: see `block`."""
        return self._api_key in self._blocked_keys

    def clear(self) -> None:
        """Forget the messages, with their PINs, and the requests.

        Their numbers (`Message.id`) are not given again, and every setting stays.
        """
        with self._lock:
            if self._messages or self._requests:  # a second one in a row forgets nothing
                self._cleared = (self._messages.copy(), self._requests.copy())
            self._messages.clear()
            self._requests.clear()
            self._last.clear()
        self._changes.tell("cleared")

    def undo_clear(self) -> None:
        """Undo the last `clear`. A PIN that was replaced since then stays void."""
        with self._lock:
            (messages, requests), self._cleared = self._cleared, ([], [])
            self._messages[:0] = messages
            self._requests[:0] = requests
            for message in reversed(messages):  # of several to a number, the newest is the last one's
                newest = self._last.setdefault(message.msisdn, message)
                if newest is not message:
                    message.make_void("replaced")
            if self._keep is not None:
                del self._messages[: -self._keep], self._requests[: -self._keep]
        self._changes.tell("cleared")

    def watch(self) -> Watch:
        """Watch the changes from now on: `async for change in gateway.watch():`.

        It belongs to the running event loop. A `Change` says of what kind it is, and no more: `messages`, `requests` and the settings say the rest.
        Any number may watch, also from a loop that is not the sandbox's.

        Raises:
            RuntimeError: No event loop runs here.
        """
        return self._changes.watch()

    def _handle(
        self, operation: Operation, path: str, content_type: str | None, body: bytes, fault: Fault
    ) -> Response | None:
        """Carry out a request if its fault lets it, log and answer it (`None`: lost)."""
        fields: dict[str, object] | None = None
        message: Message | None = None
        verified: bool | None = None
        http_status, envelope = 200, dict[str, Any](status="ok")
        try:
            fields = read_object(content_type, body)
            if fault.response is None:
                self._require_key(fields)
                if operation == "verify":
                    said = self._try_pin(*read_attempt(fields))
                    envelope |= VERIFY_ANSWERS[self.verify_answer](said)
                    verified = bool(said["verified"])
                else:
                    message = self._send(read_order(fields))
        except Refusal as refusal:
            http_status, envelope = refusal.http_status, refusal.envelope
        response = fault.response or JSONResponse(envelope, http_status)
        if fault.response is not None:
            envelope = _masked_fields(_object_in(bytes(response.body)), self._api_key)
        received = ReceivedRequest(
            id=next(self._request_ids),
            at=self._clock(),
            operation=operation,
            path=path,
            content_type=None if content_type is None else content_type.replace(self._api_key, _MASK),
            body=None if fields is None else _masked_fields(fields, self._api_key),
            size=len(body),
            http_status=response.status_code,
            envelope=envelope,
            fault=fault.kind,
            message_id=None if message is None else message.id,
            verified=verified,
        )
        self._append(self._requests, received)
        self._changes.tell("request")
        return None if fault.kind == "lose" else response

    def _require_key(self, fields: Mapping[str, object]) -> None:
        if read_mandatory(fields, "api_key") != self._api_key or self.blocked:
            raise Refusal("UNAUTHORIZED", "Your API key may be invalid or your IP is blocked.")

    def _send(self, order: PinOrder) -> Message:
        self._charge(order)
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
            replaces = previous is not None and previous.void_reason is None
            if previous is not None:
                previous.make_void("replaced")
            self._last[order.msisdn] = message
            for dropped in self._append(self._messages, message):
                if self._last.get(dropped.msisdn) is dropped:
                    del self._last[dropped.msisdn]
        try:
            self._sent(message)
        except Exception:
            _logger.exception("on_message failed; the SMS counts as sent all the same")
        if replaces:
            self._changes.tell("pin")
        self._changes.tell("message")
        return message

    def _charge(self, order: PinOrder) -> None:
        if order.sender in self._forbidden_senders:
            raise Refusal("INVALID_SENDER", "The sender is not allowed for this message.")
        if order.hlr_lookup and order.msisdn.startswith(self.hlr_fail_prefix):
            raise Refusal("INVALID_NUMBER", "HLR query returned error.")
        with self._lock:
            if self.balance is None:
                return
            if self.balance <= 0:
                raise Refusal("NOT_ENOUGH_BALANCE", "The account has no funds.")
            vars(self)["balance"] -= 1  # not set by a user: no change of a switch

    def _sent(self, message: Message) -> None:
        if self._on_message is not None:
            self._on_message(message)

    def _append(self, items: list[_T], item: _T) -> list[_T]:
        """Append an item, and return those that are not kept any more."""
        items.append(item)
        surplus = 0 if self._keep is None else max(0, len(items) - self._keep)
        dropped = items[:surplus]
        del items[:surplus]
        return dropped

    def _try_pin(self, msisdn: str, pin: str) -> dict[str, Any]:
        with self._lock:
            said, counted = try_pin(self._last.get(msisdn), pin)
        if counted:
            self._changes.tell("pin")
        return said


def _object_in(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", document) if isinstance(document, dict) else {}


def _masked_fields(fields: Mapping[str, object], key: str) -> dict[str, Any]:
    """Blank the account's key, and the values of fields that hold a key or a PIN."""
    named = {name: _MASK if name in _SECRET_NAMES else value for name, value in fields.items()}
    return cast("dict[str, Any]", _masked(named, key, _DEPTH))


def _masked(value: object, key: str, depth: int) -> object:
    if isinstance(value, str):
        return value.replace(key, _MASK)
    if isinstance(value, list) and depth:
        return [_masked(item, key, depth - 1) for item in cast("list[object]", value)]
    if isinstance(value, dict) and depth:
        pairs = cast("dict[object, object]", value).items()
        return {_masked(name, key, 0): _masked(item, key, depth - 1) for name, item in pairs}
    return _MASK if isinstance(value, (list, dict)) else value  # nested very deeply
