"""The result type: what each result says happened, and how it compares, prints, pickles and unwraps."""

import copy
import pickle

import attrs
import pytest
from cases import each

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

NOT_SENT, MAYBE_SENT, SENT = Disposition.NOT_SENT, Disposition.MAYBE_SENT, Disposition.SENT

SAMPLES = [
    Ok(),
    Ok(3, 1.25),
    ApiError(ErrorId.INVALID_NUMBER, "HLR query returned error."),
    ApiError(ErrorId.UNKNOWN_ERROR, None, 500, 2, 0.5, 7.0),
    ApiError("BRAND_NEW", None, 503, attempts=2),
    TransportFailure(FailureKind.CONNECT, NOT_SENT),
    TransportFailure(
        FailureKind.HTTP_STATUS, MAYBE_SENT, 502, "HTTP 502", 4, 12.0, OSError("boom"), retry_after=1.0
    ),
    *(Skipped(reason, "why") for reason in SkipReason),
]


def sample_id(result):
    return f"{type(result).__name__}-{result.disposition}"


def test_the_dispositions_are_the_words_of_the_promise():
    assert {item.value for item in Disposition} == {"sent", "not_sent", "maybe_sent"}


def test_an_accepted_request_was_sent():
    assert Ok().disposition is SENT


@each("reason", SkipReason)
def test_what_was_skipped_was_not_sent(reason):
    assert str(Skipped(reason, "why")) == f"not sent, skipped as {reason}: why"
    assert str(Skipped(reason, "why", Ok())) == f"{Ok()}; skipped as {reason}: why"
    assert Skipped(reason).disposition is NOT_SENT


@each("http_status", [200, 302, 400, 401, 429, 499, 500, 503, 599])
@each("error_id", [item for item in ErrorId if item is not ErrorId.UNKNOWN_ERROR])
def test_a_published_error_was_not_sent_whatever_the_http_status(error_id, http_status):
    assert ApiError(error_id, http_status=http_status).disposition is NOT_SENT


@each("http_status", [200, 302, 400, 401, 429, 500, 503])
def test_an_unknown_error_may_have_been_sent_whatever_the_http_status(http_status):
    assert ApiError(ErrorId.UNKNOWN_ERROR, http_status=http_status).disposition is MAYBE_SENT


@each(
    ("http_status", "disposition"),
    [
        (200, NOT_SENT),
        (302, NOT_SENT),
        (400, NOT_SENT),
        (429, NOT_SENT),
        (499, NOT_SENT),
        (500, MAYBE_SENT),
        (501, MAYBE_SENT),
        (503, MAYBE_SENT),
    ],
)
def test_an_unpublished_error_may_have_been_sent_only_under_a_5xx(http_status, disposition):
    assert ApiError("BRAND_NEW", http_status=http_status).disposition is disposition


@each(
    ("error_id", "scope"),
    [
        (ErrorId.JSON_PARSE_ERROR, ErrorScope.CLIENT),
        (ErrorId.BAD_PARAMS, ErrorScope.REQUEST),
        (ErrorId.INVALID_NUMBER, ErrorScope.NUMBER),
        (ErrorId.UNAUTHORIZED, ErrorScope.ACCOUNT),
        (ErrorId.UNKNOWN_ERROR, ErrorScope.GATEWAY),
        ("BRAND_NEW", ErrorScope.GATEWAY),
    ],
)
def test_an_api_error_says_whose_matter_it_is(error_id, scope):
    assert ApiError(error_id).scope is scope


def test_ok_unwraps_to_itself():
    result = Ok(2, 0.5)
    assert result.unwrap() is result


@each(
    ("result", "error"),
    [
        (ApiError(ErrorId.BAD_PARAMS), RejectedError),
        (ApiError(ErrorId.UNKNOWN_ERROR), RejectedError),
        (ApiError("BRAND_NEW", http_status=500), RejectedError),
        (TransportFailure(FailureKind.CONNECT, NOT_SENT), NotSentError),
        (TransportFailure(FailureKind.DEADLINE, NOT_SENT), NotSentError),
        (TransportFailure(FailureKind.TIMEOUT, MAYBE_SENT), MaybeSentError),
        (TransportFailure(FailureKind.DEADLINE, MAYBE_SENT), MaybeSentError),
    ],
)
def test_unwrap_raises_the_error_that_holds_the_result(result, error):
    with pytest.raises(error) as caught:
        result.unwrap()
    assert type(caught.value) is error
    assert caught.value.result is result
    assert str(caught.value) == str(result)


def test_the_root_of_those_errors_holds_the_result_too():
    result = ApiError(ErrorId.BAD_PARAMS)
    assert ResultError(result).result is result


def test_a_result_is_of_one_attempt_that_took_no_time_unless_it_says_otherwise():
    assert Ok() == Ok(1, 0.0)
    assert ApiError("X") == ApiError("X", None, 200, 1, 0.0, None)
    failure = TransportFailure(FailureKind.POOL, NOT_SENT)
    assert failure == TransportFailure(FailureKind.POOL, NOT_SENT, None, "", 1, 0.0, None, None)


@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each("result", SAMPLES, ids=sample_id)
def test_a_result_survives_pickling(result, protocol):
    revived = pickle.loads(pickle.dumps(result, protocol))
    assert type(revived) is type(result)
    assert revived == result
    assert hash(revived) == hash(result)
    assert revived.disposition is result.disposition
    assert str(revived) == str(result)


@each("copied", [copy.copy, copy.deepcopy])
@each("result", SAMPLES, ids=sample_id)
def test_a_result_survives_copying(result, copied):
    assert copied(result) == result


@each("error_id", [*ErrorId, "BRAND_NEW"])
def test_pickling_keeps_known_ids_known_and_unknown_ids_plain(error_id):
    revived = pickle.loads(pickle.dumps(ApiError(error_id)))
    assert revived.error_id == error_id
    assert type(revived.error_id) is type(error_id)


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("this one does not pickle")


def test_a_failure_pickles_without_its_cause():
    failure = TransportFailure(FailureKind.DISCONNECTED, MAYBE_SENT, detail="reset", cause=Unpicklable("x"))
    revived = pickle.loads(pickle.dumps(failure))
    assert revived.cause is None
    assert revived == failure
    assert isinstance(failure.cause, Unpicklable), "pickling must not change the failure itself"


def test_the_cause_does_not_count_in_comparisons():
    one = TransportFailure(FailureKind.CONNECT, NOT_SENT, cause=OSError(1))
    other = TransportFailure(FailureKind.CONNECT, NOT_SENT, cause=OSError(2))
    assert one == other
    assert hash(one) == hash(other)


@each(
    "change",
    [
        {"kind": FailureKind.TLS},
        {"disposition": MAYBE_SENT},
        {"http_status": 502},
        {"detail": "other"},
        {"attempts": 2},
        {"elapsed": 1.0},
        {"retry_after": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_other_field_of_a_failure_counts_in_comparisons(change):
    failure = TransportFailure(FailureKind.CONNECT, NOT_SENT)
    assert attrs.evolve(failure, **change) != failure


def test_results_of_different_classes_are_not_equal():
    assert Ok() != ApiError(ErrorId.BAD_PARAMS)
    assert TransportFailure(FailureKind.CONNECT, NOT_SENT) != Skipped(SkipReason.HALTED)


@each("result", SAMPLES, ids=sample_id)
def test_a_result_is_frozen(result):
    for field in attrs.fields(type(result)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(result, field.name, None)
    with pytest.raises(AttributeError):
        result.note = "something of the caller's"


@each(
    ("result", "words"),
    [
        (Ok(1, 0.25), ["sent", "1 attempt", "0.250 s"]),
        (Ok(2, 0.25), ["sent", "2 attempts"]),
        (ApiError(ErrorId.INVALID_NUMBER, "HLR query."), ["not sent", "INVALID_NUMBER", "HLR query."]),
        (ApiError(ErrorId.UNKNOWN_ERROR), ["may have been sent", "UNKNOWN_ERROR", "1 attempt"]),
        (ApiError("BRAND_NEW", http_status=500, attempts=3), ["may have been sent", "BRAND_NEW", "3 att"]),
        (TransportFailure(FailureKind.TLS, NOT_SENT, detail="reset"), ["not sent", "tls", "reset"]),
        (TransportFailure(FailureKind.TIMEOUT, MAYBE_SENT, detail="x"), ["may have been sent", "timeout"]),
        (Skipped(SkipReason.DUPLICATE, "sent before"), ["not sent", "duplicate", "sent before"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_reads_as_a_sentence(result, words):
    text = str(result)
    assert all(word in text for word in words), text
    assert "None" not in text
    assert "<" not in text


@each("result", SAMPLES, ids=sample_id)
def test_a_repr_names_the_class_and_shows_each_field(result):
    text = repr(result)
    assert text.startswith(f"{type(result).__name__}(")
    assert all(f"{field.name}=" in text for field in attrs.fields(type(result)) if field.name != "raw")
    assert "raw=" not in text  # a whole answer, which nobody wants in a log


def test_the_repr_of_a_failure_shows_plain_words():
    text = repr(TransportFailure(FailureKind.CONNECT, NOT_SENT, detail="refused", elapsed=0.1234567))
    assert "kind=connect" in text
    assert "disposition=not_sent" in text
    assert "elapsed=0.123s" in text


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
def test_results_match_by_class_field_and_position(result, expected):
    assert classify(result) == expected


def test_what_the_gateway_says_cannot_talk_to_a_terminal():
    shown = str(ApiError("NEW\x07", "\x1b[2J\x1b]0;title\x07", 400))
    assert shown.isprintable()
    assert "\\x1b[2J" in shown
    assert str(
        TransportFailure(FailureKind.PROTOCOL, Disposition.MAYBE_SENT, detail="line\nbreak")
    ).isprintable()
