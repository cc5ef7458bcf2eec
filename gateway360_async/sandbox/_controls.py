"""What a user may change while the sandbox runs: faults of the next requests, and switches that stay.

Rules of this module:

- It may be called from any thread. A change counts from the next request that comes.
- What is set is checked when it is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ._arguments import choice as _choice
from ._arguments import count as _count
from ._arguments import digits as _digits
from ._arguments import seconds as _seconds
from ._arguments import statuses as _statuses
from ._changes import Changes
from ._faults import Fault as _Fault
from ._faults import Faults, Script, failure, prepared, throttling
from ._gateway import Gateway
from ._pins import VERIFY_ANSWERS, VerifyAnswer
from ._records import FaultKind
from ._reporter import Reporter

__all__ = ["Controls"]


class Controls:
    """The base of `Sandbox`: what can be changed while it runs."""

    def __init__(self, gateway: Gateway, reporter: Reporter, changes: Changes, latency: float) -> None:
        self._gateway: Final = gateway
        self._reporter: Final = reporter
        self._changes: Final = changes
        self._latency = latency
        self._script: Final = Script(self._changed)

    def _changed(self) -> None:
        self._changes.tell("switch")

    def lose_next_answer(self, count: int = 1) -> None:
        """Carry the next request out, send its SMS, and close the connection without a byte of an answer.

        Faults that are asked for by this and its like stand in one list, in the order of the calls, and each
        request, to send a PIN or to verify one, takes the first. Only then do the switches count: `faults`.

        Args:
            count: How many requests in a row.

        Raises:
            ValueError: `count` is not 1 to 100,000. So of all methods that have it.
        """
        self._script.add(_Fault("lose"), count)

    def throttle_next(self, count: int = 1, retry_after: int | None = None) -> None:
        """Answer the next request with HTTP 429, without an envelope. Nothing is sent.

        Args:
            count: How many requests in a row.
            retry_after: Seconds, for the header `Retry-After`; `None`: without it.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._script.add(throttling(retry_after), count)

    def fail_next(self, count: int = 1, http_status: int = 500) -> None:
        """Answer the next request with a 5xx, without a body. Nothing is sent, which the answer does not say.

        Args:
            count: How many requests in a row.
            http_status: 500 to 599.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._script.add(failure(http_status), count)

    def answer_next(
        self, http_status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the next request with an answer of your own. Nothing is sent, whatever it says.

        Args:
            http_status: 200 to 599.
            body: As it is; a mapping is sent as JSON.
            headers: More headers. The content type is `application/json` unless one is given here.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._script.add(prepared(http_status, body, headers))

    def delay_next(self, seconds: float, count: int = 1) -> None:
        """Have the next request take longer, and carry it out then. It takes `latency` as well.

        Args:
            seconds: How much longer, in seconds.
            count: How many requests in a row.

        Raises:
            ValueError: An argument is wrong; the text begins with its name.
        """
        self._script.add(_Fault("delay", seconds=_seconds("seconds", seconds)), count)

    @property
    def pending_faults(self) -> list[FaultKind]:
        """What the next requests will meet, by its kind, in order: what was asked for, and met nothing yet."""
        return self._script.pending

    @property
    def faults(self) -> Faults:
        """Switches that stay: `gateway.faults.lose_answers = True`."""
        return self._script.faults

    @property
    def balance(self) -> int | None:
        """How many SMS the account can still pay for; `None`: any number. Can be set."""
        return self._gateway.balance

    @balance.setter
    def balance(self, value: int | None) -> None:
        self._gateway.balance = _count("balance", value)
        self._changed()

    @property
    def latency(self) -> float:
        """Seconds from having read a request to asking the gateway. Can be set; counts from the next request.

        A client that gives up in the meantime does not stop its SMS, as with any gateway.
        """
        return self._latency

    @latency.setter
    def latency(self, value: float) -> None:
        self._latency = _seconds("latency", value)
        self._changed()

    @property
    def hlr_fail_prefix(self) -> str:
        """Numbers that begin with these digits fail the HLR lookup. Can be set."""
        return self._gateway.hlr_fail_prefix

    @hlr_fail_prefix.setter
    def hlr_fail_prefix(self, value: str) -> None:
        self._gateway.hlr_fail_prefix = _digits("hlr_fail_prefix", value)
        self._changed()

    @property
    def verify_answer(self) -> VerifyAnswer:
        """How a verification is answered: `"nested"`, `"flat"`, `"camel"` or `"list"`. Can be set."""
        return self._gateway.verify_answer

    @verify_answer.setter
    def verify_answer(self, value: VerifyAnswer) -> None:
        self._gateway.verify_answer = _choice("verify_answer", value, VERIFY_ANSWERS)
        self._changed()

    @property
    def delivery(self) -> Sequence[str]:
        """The statuses that are reported of each SMS, in turn, if its request has a `report_url`; none: `()`.

        Can be set; counts from the next SMS.
        """
        return self._reporter.statuses

    @delivery.setter
    def delivery(self, value: Sequence[str]) -> None:
        self._reporter.statuses = _statuses("delivery", value)
        self._changed()

    @property
    def delivery_delay(self) -> float:
        """Seconds before each of these reports. Can be set; counts from the next SMS."""
        return self._reporter.delay

    @delivery_delay.setter
    def delivery_delay(self, value: float) -> None:
        self._reporter.delay = _seconds("delivery_delay", value)
        self._changed()

    def block(self, key: str | None = None) -> None:
        """Refuse a key from now on; `None`: the account's."""
        self._gateway.blocked_keys.add(self._gateway.api_key if key is None else key)
        self._changed()

    def unblock(self, key: str | None = None) -> None:
        """Accept a key again, if it is the account's; `None`: the account's."""
        self._gateway.blocked_keys.discard(self._gateway.api_key if key is None else key)
        self._changed()

    @property
    def blocked(self) -> bool:
        """Whether the account's key is refused: see `block`."""
        return self._gateway.api_key in self._gateway.blocked_keys
