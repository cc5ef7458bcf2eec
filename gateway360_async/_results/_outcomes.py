"""The results of calls, and the errors that `unwrap()` makes of them.

Invariants:

- `NOT_SENT` is said only where it is certain.
- Results are frozen, compare by value, pickle, and hold neither key nor number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Literal, NoReturn, TypeAlias, cast

import attrs

from .._exceptions import Gateway360Error
from .._redaction import printable
from ._error_ids import ErrorId, ErrorScope, known_error_id, scope_of


class Disposition(StrEnum):
    """The fate of the SMS."""

    SENT = "sent"
    """The gateway accepted the request: one SMS, and the PIN before it is void."""
    NOT_SENT = "not_sent"
    """Certainly no SMS: the request never left, or the gateway refused it."""
    MAYBE_SENT = "maybe_sent"
    """The request left and its answer is missing or says nothing: there may be an SMS."""


class FailureKind(StrEnum):
    """Why there is no envelope. For people and metrics: what to do next, `.disposition` says."""

    CONNECT = "connect"
    """No connection: name not resolved, refused, unreachable, reset or timed out while connecting."""
    TLS = "tls"
    """The TLS handshake broke off or timed out: another try may succeed."""
    TLS_REFUSED = "tls_refused"
    """TLS refused for good: an untrusted certificate, a wrong host name, no TLS at that port."""
    PROXY = "proxy"
    """The proxy refused to connect."""
    POOL = "pool"
    """No connection became free within the pool timeout."""
    TIMEOUT = "timeout"
    """The gateway took longer than the write or read timeout."""
    DISCONNECTED = "disconnected"
    """The connection broke during the exchange."""
    PROTOCOL = "protocol"
    """The answer is not HTTP."""
    THROTTLED = "throttled"
    """HTTP 429: too many requests. The gateway did not take this one."""
    HTTP_STATUS = "http_status"
    """An HTTP answer without an envelope, such as a proxy's error page or a redirect."""
    UNREADABLE = "unreadable"
    """A successful HTTP answer that holds no envelope this client can trust."""
    DEADLINE = "deadline"
    """The call's deadline passed."""
    CANCELLED = "cancelled"
    """A batch was left early and cancelled this call."""
    INTERRUPTED = "interrupted"
    """An earlier run of the batch ended between this request's start and its answer."""
    STORE = "store"
    """The client's store could not be asked, or the call ended before it answered, so nothing was sent. Only the store
    knows the result of an earlier call with the same idempotency key, or of an earlier run's row."""
    UNEXPECTED = "unexpected"
    """The transport raised something that it should not have; `cause` holds it."""
    PREFIX_NOT_ALLOWED = "prefix_not_allowed"
    """The client's `SpendGuard` does not allow numbers that begin like this one."""
    REGION_NOT_ALLOWED = "region_not_allowed"
    """The client's `SpendGuard` does not allow numbers of this one's region."""
    ATTEMPT_LIMIT = "attempt_limit"
    """As many requests have been tried, for this number or by the client, as its `SpendGuard` allows for now."""
    NUMBER_LIMIT = "number_limit"
    """This number has had all the SMS that the client's `SpendGuard` allows it for now."""
    PREFIX_LIMIT = "prefix_limit"
    """Numbers of this prefix have had all the SMS that the client's `SpendGuard` allows them for now."""
    CLIENT_LIMIT = "client_limit"
    """The client has sent all that its `SpendGuard` allows for now."""
    TOTAL_LIMIT = "total_limit"
    """The client has sent all that its `SpendGuard` ever allows."""


class SkipReason(StrEnum):
    """Why a batch did not send an entry."""

    DUPLICATE = "duplicate"
    """An earlier entry of the batch has the same number: another PIN would void the first."""
    INVALID = "invalid"
    """The entry does not make a valid request."""
    HALTED = "halted"
    """The batch was halted before, by an error that every other request would get as well."""
    ALREADY_COMPLETED = "already_completed"
    """The client's store holds the result of this number from the same batch: an earlier run's, or another machine's."""


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _effort(attempts: int, replayed: bool, elapsed: float | None = None) -> str:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    took = "" if elapsed is None else f", {elapsed:.3f} s"
    return f"{tries}{took}{', by an earlier call' if replayed else ''}"


@attrs.frozen
class Ok:
    """The gateway accepted the request: one SMS was sent.

    Args:
        attempts: Attempts that were made, one that got no place in time included.
        elapsed: Seconds from the call to its result, over all attempts and waits.
        replayed: Whether this is an earlier call's result, by the client's `cooldown` or by its idempotency key: this
            call sent nothing.
        report_id: The id of the call's delivery report; `None`: the client asked for none.
        sms_id: The message's id, where a delivery report told it; the gateway's answer names none.
    """

    attempts: int = 1
    elapsed: float = attrs.field(default=0.0, repr=_seconds)
    replayed: bool = attrs.field(default=False, kw_only=True)
    report_id: str | None = attrs.field(default=None, kw_only=True)
    sms_id: str | None = attrs.field(default=None, kw_only=True)

    @property
    def disposition(self) -> Literal[Disposition.SENT]:
        """Whether an SMS was sent: `SENT` of an `Ok`.

        `NOT_SENT` or `MAYBE_SENT` of an `ApiError` or a `TransportFailure`; of a `Skipped`, as an earlier run found it.
        """
        return Disposition.SENT

    def unwrap(self) -> Ok:
        """Return an `Ok`; raise the `ResultError` of an `ApiError` or a `TransportFailure`."""
        return self

    def __str__(self) -> str:
        told = "" if self.sms_id is None else ", as its delivery report says"
        return f"sent{told} ({_effort(self.attempts, self.replayed, self.elapsed)})"


@attrs.frozen
class ApiError:
    """The gateway answered with an error envelope. The fields that are not named here are those of an `Ok`.

    Args:
        error_id: The id; a member of `ErrorId` if it is published, otherwise the plain string.
        error_msg: The gateway's text, for debugging only: never branch on it.
        http_status: The answer's HTTP status; an error can come with 200.
        retry_after: Seconds that the answer asked to wait (`Retry-After`), or `None`.
        report_id: The id of the call's delivery report, which `client.resolve` waits for, or `None`.
        raw: The answer's JSON object, with secrets blanked out; only of `verify_pin`, whose answers are known in part.
            It does not count in comparisons.
    """

    error_id: ErrorId | str = attrs.field(converter=known_error_id)
    error_msg: str | None = None
    http_status: int = 200
    attempts: int = 1
    elapsed: float = attrs.field(default=0.0, repr=_seconds)
    retry_after: float | None = None
    replayed: bool = attrs.field(default=False, kw_only=True)
    report_id: str | None = attrs.field(default=None, kw_only=True)
    raw: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)

    @property
    def disposition(self) -> Disposition:
        """Whether an SMS was sent: `SENT` of an `Ok`.

        `NOT_SENT` or `MAYBE_SENT` of an `ApiError` or a `TransportFailure`; of a `Skipped`, as an earlier run found it.
        """
        if isinstance(self.error_id, ErrorId):
            # The envelope says "not accepted"; this one does not say whether an SMS went out.
            unknown = self.error_id is ErrorId.UNKNOWN_ERROR
        else:
            # An id that is not published, under a 5xx, is a fault on the gateway's side that the vendor does not
            # describe. For Verify PIN (only its answers are kept) no id is published that would say "wrong PIN".
            unknown = self.http_status >= 500 or self.raw is not None
        return Disposition.MAYBE_SENT if unknown else Disposition.NOT_SENT

    @property
    def scope(self) -> ErrorScope:
        """The scope of this error; an id that is not published is the gateway's."""
        return scope_of(self.error_id)

    def unwrap(self) -> NoReturn:
        """Return an `Ok`; raise the `ResultError` of an `ApiError` or a `TransportFailure`."""
        raise RejectedError(self)

    def __str__(self) -> str:
        said = f": {self.error_msg}" if self.error_msg else ""
        happened = "may have been sent" if self.disposition is Disposition.MAYBE_SENT else "not sent"
        effort = _effort(self.attempts, self.replayed)
        return printable(f"{happened}, the gateway answered {self.error_id}{said} ({effort})")


@attrs.frozen
class TransportFailure:
    """No envelope was read. The fields that are not named here are those of an `ApiError`.

    Args:
        kind: Why, in one word.
        disposition: `NOT_SENT` if the request certainly had no effect, otherwise `MAYBE_SENT`.
        http_status: The HTTP status, if an answer's headers were read.
        detail: Why, for people. Holds nothing of the request and nothing of the answer's body.
        cause: The HTTP library's error, without its traceback and its request (which holds the key), or `None`. It does
            not count in comparisons and stays behind when the result is pickled or copied.
    """

    kind: FailureKind = attrs.field(repr=str)
    disposition: Disposition = attrs.field(repr=str)
    http_status: int | None = None
    detail: str = ""
    attempts: int = 1
    elapsed: float = attrs.field(default=0.0, repr=_seconds)
    cause: BaseException | None = attrs.field(default=None, eq=False)
    retry_after: float | None = None
    replayed: bool = attrs.field(default=False, kw_only=True)
    report_id: str | None = attrs.field(default=None, kw_only=True)
    raw: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)

    def unwrap(self) -> NoReturn:
        """Return an `Ok`; raise the `ResultError` of an `ApiError` or a `TransportFailure`."""
        if self.disposition is Disposition.NOT_SENT:
            raise NotSentError(self)
        raise MaybeSentError(self)

    def __str__(self) -> str:
        happened = "not sent" if self.disposition is Disposition.NOT_SENT else "may have been sent"
        why = f"{self.kind}: {self.detail}" if self.detail else self.kind
        return printable(f"{happened}, {why} ({_effort(self.attempts, self.replayed, self.elapsed)})")

    def __reduce__(self) -> tuple[Callable[[], TransportFailure], tuple[()]]:
        fields = attrs.asdict(self, recurse=False) | {"cause": None}
        return partial(TransportFailure, **fields), ()


PinResult: TypeAlias = Ok | ApiError | TransportFailure
"""The result of one call. Match it exhaustively, or branch on `.disposition`."""


@attrs.frozen
class Skipped:
    """A batch did not send this entry.

    Args:
        reason: Why, in one word.
        detail: Why, for people.
        result: The result of an earlier run, if the reason is `ALREADY_COMPLETED`.
    """

    reason: SkipReason = attrs.field(repr=str)
    detail: str = ""
    result: PinResult | None = None

    @property
    def disposition(self) -> Disposition:
        """Whether an SMS was sent: `SENT` of an `Ok`.

        `NOT_SENT` or `MAYBE_SENT` of an `ApiError` or a `TransportFailure`; of a `Skipped`, as an earlier run found it.
        """
        return Disposition.NOT_SENT if self.result is None else self.result.disposition

    def __str__(self) -> str:
        happened = "not sent," if self.result is None else f"{self.result};"
        return f"{happened} skipped as {self.reason}: {self.detail}"


BatchResult: TypeAlias = PinResult | Skipped
"""The result of one entry of a batch."""


class ResultError(Gateway360Error):
    """A result that is not `Ok`, raised by its `unwrap()`."""

    @property
    def result(self) -> ApiError | TransportFailure:
        """The result that was unwrapped."""
        return cast("ApiError | TransportFailure", self.args[0])


class RejectedError(ResultError):
    """The gateway answered with an error envelope. `UNKNOWN_ERROR` may have been sent all the same."""

    @property
    def result(self) -> ApiError:
        """The gateway's answer."""
        return cast("ApiError", self.args[0])


class _FailureError(ResultError):
    @property
    def result(self) -> TransportFailure:
        """The failure that was unwrapped."""
        return cast("TransportFailure", self.args[0])


class NotSentError(_FailureError):
    """No envelope was read, and the request certainly had no effect."""


class MaybeSentError(_FailureError):
    """No envelope was read, and there may be an SMS: do not repeat the request without a thought."""
