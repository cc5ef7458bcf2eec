"""Verify PIN: what its answers mean, by pure tests. The spellings are guesses; that a guess never verifies is not."""

from __future__ import annotations

import json
import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    FailureKind,
    InvalidRequest,
    NotVerified,
    Ok,
    TransportFailure,
    Verified,
)
from gateway360_async._operations import blanked, checked_pin, decode_verification

JSON = {"content-type": "application/json"}
PROPERTY = settings(deadline=None, max_examples=200, derandomize=True)


def read(document, http_status=200, headers=JSON):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_verification(http_status, headers, body)


VERIFIED = [
    {"status": "ok", "verified": True},
    {"verified": True},
    {"status": "ok", "isVerified": "true"},
    {"status": "ok", "is_verified": 1},
    {"status": "ok", "result": {"verified": True}},
    {"status": "ok", "data": {"PIN-Verified": "TRUE"}},
    {"success": True, "response": {"verified": True, "status": "ok"}},
    {"status": "ok", "verified": True, "inner": {"verified": 1}},
    {"status": "ok", "result": [{"verified": True}]},
    {"status": "ok", "Result": [{"isVerified": 1}]},
]


@each("document", VERIFIED, ids=json.dumps)
def test_answer_that_says_so_verifies(document):
    result = read(document)
    assert isinstance(result, Verified)
    assert result.raw == document
    assert result.disposition is Disposition.SENT
    assert result.verified_before is None


@each("document", [{"status": "ok", "verified": False}, {"verified": False}])
@each("http_status", [200, 400, 401, 404, 422])
def test_answer_that_denies_it_does_not_under_any_status(document, http_status):
    result = read(document, http_status)
    assert isinstance(result, NotVerified)
    assert result.disposition is Disposition.SENT


@each(
    ("fields", "tries"),
    [
        *(({"remaining_tries": 2}, 2), ({"triesRemaining": "2"}, 2), ({"tries_left": 0}, 0)),
        *(({"attempts-remaining": 2}, 2), ({"other": 2}, None)),
        *(({"remaining_tries": value}, None) for value in (None, -1, 1.5, True, "many")),
        ({"remaining_tries": 1, "data": {"tries_left": 2}}, None),
    ],
)
def test_tries_are_found_under_any_likely_name(fields, tries):
    result = read({"status": "ok", "verified": False, "more": fields, "message": "no"})
    assert isinstance(result, NotVerified)
    assert (result.tries_remaining, result.message) == (tries, "no")


def test_message_is_the_outermost_text_and_can_be_stored():
    assert read({"data": {"message": "a"}, "verified": False, "message": "b"}).message == "b"
    assert read(b'{"verified":false,"message":"\\ud800"}').message == "?"


@each("name", ["already_verified", "verifiedBefore", "previously_verified"])
@each("verified", [True, False])
def test_verified_before_is_told(name, verified):
    result = read({"status": "ok", "verified": verified, name: True})
    assert isinstance(result, Verified if verified else NotVerified)
    assert result.verified_before is True
    assert ("before" in str(result)) is verified


UNCLEAR = [
    {"status": "ok"},
    {},
    {"verified": None},
    {"verified": "maybe"},
    {"verified": 1.0},
    {"verified": 2},
    {"verified": [True]},
    {"verified": True, "data": {"verified": False}},
    {"verified": True, "data": {"verified": "perhaps"}},
    {"status": "error", "verified": True},
    {"status": "error", "error_id": "NO_SUCH_PIN", "verified": True},
    {"data": {"status": "error", "error_id": "PIN_EXPIRED", "verified": True}},
    {"status": "ok", "data": {"status": "error", "verified": True}},
    {"status": "failed", "verified": True},
    {"status": "ERROR", "verified": True},
    {"status": False, "verified": True},
    {"success": False, "verified": True},
    {"success": None, "verified": True},
    {"status": "ok", "errors": ["x"], "verified": True},
    {"status": "ok", "previous": {"verified": True}},
    {"status": "ok", "history": [{"verified": True}]},
    {"status": "ok", "data": [{"verified": True}]},
    {"status": "ok", "verified_before": {"verified": True}},
    {"status": "ok", "verified": True, "a": [[{"verified": False}]]},
    {"status": "ok", "error_id": "BAD_PARAMS", "verified": True},
    {"status": "ok", "message": "PIN verified"},
    {"status": "ok", "result": []},
    {"status": "ok", "result": [[{"verified": True}]]},
    {"status": "ok", "result": [{"verified": True}, {"verified": True}]},
    {"status": "ok", "result": [{"verified": True}, {}]},
    {"status": "ok", "result": [True]},
]


@each("document", UNCLEAR, ids=json.dumps)
def test_answer_that_is_not_clear_is_not_guessed(document):
    result = read(document)
    assert isinstance(result, TransportFailure)
    assert result.kind is FailureKind.UNREADABLE
    assert result.disposition is Disposition.MAYBE_SENT
    assert result.raw == document
    assert ".raw" in result.detail


@each("http_status", [301, 400, 403, 404, 500, 503])
def test_json_that_says_nothing_may_have_been_counted(http_status):
    result = read({"message": "no"}, http_status)
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT


@each("http_status", [300, 302, 400, 500])
def test_success_under_a_status_that_is_none_is_no_success(http_status):
    assert not isinstance(read({"status": "ok", "verified": True}, http_status), Verified)


@each("beside", [{"x": 1}, {"verified": True}, {"verified": False}])
def test_error_of_the_account_says_nothing_of_the_pin(beside):
    document = {"status": "error", "error_id": "UNAUTHORIZED", "error_msg": "no", **beside}
    result = read(document, 401)
    assert isinstance(result, ApiError)
    assert result.error_id is ErrorId.UNAUTHORIZED
    assert result.disposition is Disposition.NOT_SENT
    assert result.raw == document


def test_error_that_is_not_published_may_be_about_the_pin():
    denied = read({"status": "error", "error_id": "WRONG_PIN", "verified": False, "tries_left": 1}, 400)
    assert isinstance(denied, NotVerified)
    assert denied.tries_remaining == 1
    result = read({"status": "error", "error_id": "INVALID_PIN"})
    assert isinstance(result, ApiError)
    assert result.disposition is Disposition.MAYBE_SENT
    assert pickle.loads(pickle.dumps(result)).disposition is Disposition.MAYBE_SENT


@each("body", [b"", b"{}", b'{"status":"error"}', b'{"verified":false}'])
def test_too_many_requests_were_not_judged(body):
    result = read(body, 429)
    assert isinstance(result, TransportFailure)
    assert result.kind is FailureKind.THROTTLED
    assert result.disposition is Disposition.NOT_SENT


@each("body", [b"", b"<html>", b"[]", b'{"verified":true,"verified":true}', b'{"verified":true'])
def test_body_that_is_no_object_verifies_nothing(body):
    result = read(body)
    assert isinstance(result, TransportFailure)
    assert result.disposition is Disposition.MAYBE_SENT
    assert result.raw is None
    compressed = read(b'{"verified":true}', headers={**JSON, "content-encoding": "gzip"})
    assert isinstance(compressed, TransportFailure)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@PROPERTY
@given(
    st.dictionaries(
        st.sampled_from(
            ["status", "verified", "isVerified", "error_id", "data", "remaining_tries", "message"]
        ),
        json_values,
    ),
    st.sampled_from([200, 201, 302, 400, 401, 429, 500]),
)
def test_result_of_any_object_pickles(document, http_status):
    result = read(document, http_status)
    assert not isinstance(result, Ok)
    assert pickle.loads(pickle.dumps(result)) == result
    str(result)
    repr(result)
    if isinstance(result, Verified):
        assert 200 <= http_status < 300
        assert not document.get("error_id")


@PROPERTY
@given(st.binary(max_size=200))
def test_result_of_any_bytes_is_no_success(body):
    assert not isinstance(read(body), (Ok, Verified))


# The PIN


@each(
    ("typed", "pin"),
    [
        *(("1234", "1234"), ("0000", "0000"), (" 123456\n", "123456"), ("1" * 16, "1" * 16)),
        *((typed, "378742") for typed in ("378 742", "378-742", "37\u20108\u2014742\u2212")),
        *(("edqrl272", "EDQRL272"), ("OoIl", "OOIL")),
        ("\uff11\uff12\uff13\uff21\uff42", "123AB"),
        ("\u0661\u0662\u0663\u0664", "1234"),
        ("\u2066\u200e12\u00ad34\ufe0f\u2069\ufeff", "1234"),
        ("\u00a0\u20091\u30002\u20283\x854", "1234"),
        (" - ".join("0123456789ABCDEF"), "0123456789ABCDEF"),
    ],
    ids=ascii,
)
def test_checked_pin_reads_what_people_type(typed, pin):
    assert checked_pin(typed).reveal() == pin


@each(
    ("typed", "problem"),
    [
        ("", "is empty"),
        (" \u200b-\n", "is empty"),
        ("123", "has 3 characters"),
        ("p", "has 1 character"),
        ("1" * 17, "has 17 characters"),
        ("123.456", "holds U+002E FULL STOP at position 4"),
        ("123_456", "holds U+005F LOW LINE at position 4"),
        ("code: 123456", "holds U+003A COLON at position 5"),
        ("\u00b9234", "holds U+00B9 SUPERSCRIPT ONE at position 1"),
        ("12\u0410B", "holds U+0410 CYRILLIC CAPITAL LETTER A at position 3"),
        ("12\u00dfB", "holds U+00DF LATIN SMALL LETTER SHARP S at position 3"),
        ("1234\0", "holds U+0000 at position 5"),
        ("1234\x1c", "holds U+001C at position 5"),
        ("1234\ud800", "holds U+D800 at position 5"),
    ],
    ids=ascii,
)
def test_checked_pin_refuses_the_rest_without_quoting_it(typed, problem):
    with pytest.raises(InvalidRequest) as caught:
        checked_pin(typed)
    assert (caught.value.field, caught.value.problem) == ("pin", problem)
    assert "123" not in str(caught.value)
    # Of the module's own frames; a caller's are a caller's.
    assert not {"pin", "args", "read"} & {
        name for entry in caught.traceback[1:] for name in entry.frame.f_locals
    }


@each(("pin", "kind"), [(123456, "an int"), (None, "None"), (True, "True"), (b"1234", "bytes")])
def test_checked_pin_of_another_type_is_asked_for_as_text(pin, kind):
    with pytest.raises(InvalidRequest) as caught:
        checked_pin(pin)
    assert str(caught.value) == f"pin: expected the PIN as text, not {kind}"


@PROPERTY
@given(st.text(max_size=30) | st.text("aO0-\u0661\uff21 \u200b", max_size=30))
def test_checked_pin_is_of_the_gateways_alphabet_or_refused(typed):
    try:
        pin = checked_pin(typed).reveal()
    except InvalidRequest as exc:
        assert exc.field == "pin"
    else:
        assert re.fullmatch(r"[0-9A-Z]{4,16}", pin)
        assert checked_pin(pin).reveal() == pin


# The quotes of an answer


def test_blanked_leaves_no_secret_that_an_answer_quotes():
    def blank(text):
        return text.replace("1234", "*****")

    document = {
        "verified": False,
        "message": "1234 is wrong",
        "echo": ["1234", 1234, 12345, None, {"1234": True}],
    }
    result = blanked(read(document), blank)
    assert result.message == "***** is wrong"
    assert result.raw["echo"] == ["*****", "*****", "*****", None, {"*****": True}]
    error = blanked(read({"status": "error", "error_id": "E1234", "error_msg": "1234"}, 400), blank)
    assert (error.error_id, error.error_msg, error.raw["error_msg"]) == ("E*****", "*****", "*****")
    published = {"status": "error", "error_id": "UNAUTHORIZED"}
    kept = blanked(read(published, 401), lambda text: text.replace("AUTH", "*****"))
    assert kept.error_id is ErrorId.UNAUTHORIZED
    assert kept.error_msg is None
    named = {"verified": False, "PIN": 7, "msisdn": ["x"], "n": 34666666111.0, "f": 0.5, "zero": 908172}
    result = blanked(read(named), blank, frozenset({34666666111, 908172}))
    assert result.raw == {
        "verified": False,
        "f": 0.5,
        **dict.fromkeys(("PIN", "msisdn", "n", "zero"), "*****"),
    }
    assert blanked(Ok(), blank) == Ok()
    silent = read({"verified": False})
    assert blanked(silent, blank) == silent
    assert blanked(read(b"", 500), blank) == read(b"", 500)


def test_verify_results_read_as_sentences():
    assert str(Verified(elapsed=0.5)) == "verified (0.500 s)"
    assert str(NotVerified(tries_remaining=2)) == "not verified, tries remaining: 2 (0.000 s)"
    assert str(NotVerified()) == "not verified (0.000 s)"


def test_answer_without_a_verdict_keeps_its_retry_after():
    result = decode_verification(503, {}, b'{"busy":true}', retry_after=30.0)
    assert (result.disposition, result.retry_after) == (Disposition.MAYBE_SENT, 30.0)
