"""Results and error ids: what each says happened, and how it compares, prints, pickles and unwraps."""

import copy
import pickle

import attrs
import pytest
from support.cases import each

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    ErrorScope,
    FailureKind,
    MaybeSentError,
    NotSentError,
    Ok,
    RejectedError,
    ResultError,
    Skipped,
    SkipReason,
    TransportFailure,
)
from gateway360_async._results import known_error_id

NOT_SENT, MAYBE_SENT, SENT = Disposition.NOT_SENT, Disposition.MAYBE_SENT, Disposition.SENT
REFUSED = TransportFailure(FailureKind.CONNECT, NOT_SENT)

SAMPLES = [
    Ok(),
    Ok(3, 1.25),
    ApiError(ErrorId.INVALID_NUMBER, "HLR query returned error."),
    ApiError(ErrorId.UNKNOWN_ERROR, None, 500, 2, 0.5, 7.0),
    ApiError("BRAND_NEW", None, 503, attempts=2),
    REFUSED,
    TransportFailure(
        FailureKind.HTTP_STATUS, MAYBE_SENT, 502, "HTTP 502", 4, 12.0, OSError("boom"), retry_after=1.0
    ),
    *(Skipped(reason, "why") for reason in SkipReason),
]

# The table of the gateway's page, once more and by hand.
PUBLISHED = {
    "INVALID_CONTENT_TYPE": "client",
    "JSON_PARSE_ERROR": "client",
    "MISSING_PARAMS": "request",
    "BAD_PARAMS": "request",
    "INVALID_HLR_LOOKUP_PARAM": "request",
    "INVALID_PIN_PARAMS": "request",
    "INVALID_SMS_TEXT": "request",
    "INVALID_SENDER": "request",
    "INVALID_NUMBER": "number",
    "UNAUTHORIZED": "account",
    "NOT_ENOUGH_BALANCE": "account",
    "UNKNOWN_ERROR": "gateway",
}


def sample_id(result):
    return f"{type(result).__name__}-{result.disposition}"


# Ids and scopes


def test_enumerations_are_the_words_of_the_design():
    assert {item.value for item in Disposition} == {"sent", "not_sent", "maybe_sent"}
    assert {item.value for item in ErrorId} == set(PUBLISHED)
    assert {scope.value for scope in ErrorScope} == {"request", "number", "account", "client", "gateway"}


@each(("value", "scope"), PUBLISHED.items())
def test_error_id_that_is_published_is_a_member(value, scope):
    error_id = known_error_id(value)
    assert error_id is ErrorId(value)
    assert error_id.name == error_id == f"{error_id}" == value
    assert ApiError(value).scope is ErrorScope(scope)


@each("value", ["", "unauthorized", "UNAUTHORIZED ", "NUMBER_IS_BLACKLISTED", "ErrorId"])
def test_error_id_that_is_not_published_stays_a_string(value):
    assert type(known_error_id(value)) is str
    assert known_error_id(value) == value
    assert ApiError(value).scope is ErrorScope.GATEWAY


# Dispositions


def test_ok_was_sent_and_unwraps_to_itself():
    result = Ok(2, 0.5)
    assert result.disposition is SENT
    assert result.unwrap() is result


@each("reason", SkipReason)
def test_skipped_entry_was_not_sent_but_by_an_earlier_run(reason):
    assert str(Skipped(reason, "why")) == f"not sent, skipped as {reason}: why"
    assert str(Skipped(reason, "why", Ok())) == f"{Ok()}; skipped as {reason}: why"
    assert Skipped(reason).disposition is NOT_SENT
    assert Skipped(reason, result=Ok()).disposition is SENT


@each("http_status", [200, 302, 400, 401, 429, 499, 500, 503, 599])
@each("error_id", ErrorId)
def test_published_error_decides_under_any_http_status(error_id, http_status):
    maybe = error_id is ErrorId.UNKNOWN_ERROR
    assert ApiError(error_id, http_status=http_status).disposition is (MAYBE_SENT if maybe else NOT_SENT)


@each("http_status", [200, 302, 400, 429, 499, 500, 501, 503])
def test_unpublished_error_may_have_been_sent_under_a_5xx(http_status):
    expected = MAYBE_SENT if http_status >= 500 else NOT_SENT
    assert ApiError("BRAND_NEW", http_status=http_status).disposition is expected


# As values


@each(
    ("result", "error"),
    [
        *((ApiError(error_id, http_status=500), RejectedError) for error_id in (*ErrorId, "BRAND_NEW")),
        *((TransportFailure(kind, NOT_SENT), NotSentError) for kind in FailureKind),
        *((TransportFailure(kind, MAYBE_SENT), MaybeSentError) for kind in FailureKind),
    ],
)
def test_unwrap_raises_the_error_that_holds_the_result(result, error):
    with pytest.raises(error) as caught:
        result.unwrap()
    assert type(caught.value) is error
    assert caught.value.result is ResultError(result).result is result
    assert str(caught.value) == str(result)


@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each("result", SAMPLES, ids=sample_id)
def test_result_survives_pickling_and_copying(result, protocol):
    revived = pickle.loads(pickle.dumps(result, protocol))
    assert type(revived) is type(result)
    assert revived == copy.copy(result) == copy.deepcopy(result) == result
    assert hash(revived) == hash(result)
    assert revived.disposition is result.disposition
    assert str(revived) == str(result)


@each("error_id", [*ErrorId, "BRAND_NEW"])
def test_error_id_keeps_its_type_when_pickled(error_id):
    assert type(pickle.loads(pickle.dumps(ApiError(error_id))).error_id) is type(error_id)


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("this one does not pickle")


def test_failure_leaves_its_cause_out_of_pickles_and_equality():
    failure = TransportFailure(FailureKind.DISCONNECTED, MAYBE_SENT, detail="reset", cause=Unpicklable("x"))
    revived = pickle.loads(pickle.dumps(failure))
    assert revived.cause is None
    assert revived == failure
    assert hash(revived) == hash(failure)
    assert isinstance(failure.cause, Unpicklable), "pickling must not change the failure itself"


@each(
    "change",
    [
        *({"kind": FailureKind.TLS}, {"disposition": MAYBE_SENT}, {"http_status": 502}, {"detail": "other"}),
        *({"attempts": 2}, {"elapsed": 1.0}, {"retry_after": 1.0}),
    ],
)
def test_other_field_of_a_failure_counts_in_comparisons(change):
    assert attrs.evolve(REFUSED, **change) != REFUSED


def test_results_of_two_classes_are_not_equal():
    assert Ok() != ApiError(ErrorId.BAD_PARAMS)
    assert REFUSED != Skipped(SkipReason.HALTED)


@each("result", SAMPLES, ids=sample_id)
def test_result_is_frozen_and_its_repr_names_each_field(result):
    fields = [field.name for field in attrs.fields(type(result))]
    for name in fields:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(result, name, None)
    with pytest.raises(AttributeError):
        result.note = "something of the caller's"
    text = repr(result)
    assert text.startswith(f"{type(result).__name__}(")
    assert all(f"{name}=" in text for name in fields if name != "raw")
    assert "raw=" not in text  # a whole answer is nothing for a log


def test_repr_of_a_failure_shows_plain_words():
    text = repr(TransportFailure(FailureKind.CONNECT, NOT_SENT, detail="refused", elapsed=0.1234567))
    assert all(shown in text for shown in ("kind=connect", "disposition=not_sent", "elapsed=0.123s"))


@each(
    ("result", "text"),
    [
        (Ok(1, 0.25), "sent (1 attempt, 0.250 s)"),
        (Ok(2, 0.25, replayed=True), "sent (2 attempts, 0.250 s, by an earlier call)"),
        (Ok(sms_id="1"), "sent, as its delivery report says (1 attempt, 0.000 s)"),
        (
            ApiError(ErrorId.INVALID_NUMBER, "HLR query."),
            "not sent, the gateway answered INVALID_NUMBER: HLR query. (1 attempt)",
        ),
        (ApiError("NEW", None, 500), "may have been sent, the gateway answered NEW (1 attempt)"),
        (
            TransportFailure(FailureKind.TLS, NOT_SENT, detail="reset"),
            "not sent, tls: reset (1 attempt, 0.000 s)",
        ),
        (
            TransportFailure(FailureKind.TIMEOUT, MAYBE_SENT),
            "may have been sent, timeout (1 attempt, 0.000 s)",
        ),
        (Skipped(SkipReason.DUPLICATE, "sent before"), "not sent, skipped as duplicate: sent before"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_result_reads_as_a_sentence(result, text):
    assert str(result) == text


def classify(result):
    match result:
        case Ok(attempts=attempts):
            return "sent", attempts
        case ApiError(error_id=ErrorId.UNAUTHORIZED):
            return "key", None
        case ApiError(error_id=error_id, scope=ErrorScope.GATEWAY):
            return "gateway", error_id
        case ApiError(ErrorId.INVALID_NUMBER as error_id, text):
            return error_id, text
        case TransportFailure(disposition=Disposition.NOT_SENT, kind=kind):
            return "again", kind
        case TransportFailure(FailureKind.TIMEOUT, Disposition.MAYBE_SENT):
            return "ask", None
        case Skipped(SkipReason.INVALID, detail):
            return "skipped", detail
    return None


@each(
    ("result", "expected"),
    [
        (Ok(2), ("sent", 2)),
        (ApiError(ErrorId.UNAUTHORIZED), ("key", None)),
        (ApiError("BRAND_NEW"), ("gateway", "BRAND_NEW")),
        (ApiError(ErrorId.INVALID_NUMBER, "HLR"), ("INVALID_NUMBER", "HLR")),
        (TransportFailure(FailureKind.POOL, NOT_SENT), ("again", "pool")),
        (TransportFailure(FailureKind.TIMEOUT, MAYBE_SENT), ("ask", None)),
        (Skipped(SkipReason.INVALID, "msisdn"), ("skipped", "msisdn")),
        (Skipped(SkipReason.HALTED), None),
    ],
)
def test_result_matches_by_class_field_and_position(result, expected):
    assert classify(result) == expected


def test_text_of_the_gateway_cannot_talk_to_a_terminal():
    shown = str(ApiError("NEW\x07", "\x1b[2J\x1b]0;title\x07", 400))
    assert shown.isprintable()
    assert "\\x1b[2J" in shown
    assert str(TransportFailure(FailureKind.PROTOCOL, MAYBE_SENT, detail="line\nbreak")).isprintable()
