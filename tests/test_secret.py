"""The key, and the bodies that hold it, stay out of everything that people and tools print."""

import copy
import json
import logging
import pickle
import pprint
import re
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each

from gateway360_async._redaction import Secret, SecretBytes, mask_msisdn, mask_msisdn_in

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

KEY = "sk-live-9f8e7d6c5b4a"
BODY = b'{"api_key":"sk-live-9f8e7d6c5b4a","msisdn":"34666666111"}'

SHOWN = [
    *(repr, str, format, pprint.pformat, lambda value: f"{value!a}"),
    lambda value: "%s" % (value,),  # noqa: UP031
    lambda value: "%r" % (value,),  # noqa: UP031
    lambda value: str([value]),
    lambda value: repr({"key": value}),
]


def test_secret_reveals_its_value_and_prints_none_of_it(caplog):
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    logging.getLogger("test").warning("key %s %r", secret, secret)
    shown = [show(secret) for show in SHOWN]
    assert all("*****" in text for text in (*shown, caplog.text))
    attributes = [repr(getattr(secret, name)) for name in dir(secret)]
    assert not any(KEY in text for text in (*shown, *attributes, caplog.text))


@each(
    "carry",
    [
        *(lambda value, protocol=protocol: pickle.dumps(value, protocol) for protocol in range(6)),
        *(copy.copy, copy.deepcopy, json.dumps, vars),
    ],
)
def test_secret_and_secret_bytes_leave_by_no_copy(carry):
    for value in (Secret(KEY), SecretBytes(BODY)):
        with pytest.raises(TypeError) as caught:
            carry(value)
        assert KEY not in str(caught.value)


def test_secrets_stay_hidden_when_a_comparison_fails():
    with pytest.raises(AssertionError) as caught:
        assert [Secret(KEY)] == [Secret(KEY), None]
    assert KEY not in str(caught.value)


QUOTED = [
    *(KEY, 'quo"te', "apo'strophe", "back\\slash", "at its end\\", "\u00e9\u00f1", "\u00e9'\u00f1"),
    "\U0001f355",
]


@each("key", QUOTED, ids=ascii)
def test_redact_blanks_the_value_however_it_is_quoted(key):
    secret = Secret(key)
    for ensure_ascii in (True, False):
        body, blank = (json.dumps({"api_key": value}, ensure_ascii=ensure_ascii) for value in (key, "*****"))
        for quote in (str, repr, str.encode, lambda text: bytearray(text.encode())):
            assert secret.redact(f"{quote(body)}") == f"{quote(blank)}"
    assert secret.redact(f"{[key]}").strip("[]")[1:-1] == "*****"
    assert secret.redact(f"{key} and {key}!") == "***** and *****!"
    assert secret.redact("nothing here") == "nothing here"


@each("form", ["k%26y%2F+%C3%B1", "k%26y/%20%C3%B1", "k%26y%2F%20%C3%B1", "k%26y%2f+%c3%b1"])
def test_redact_blanks_the_value_in_a_url(form):
    assert Secret("k&y/ ñ").redact(f"https://e.com/?key={form}&x=1") == "https://e.com/?key=*****&x=1"


def test_redact_typed_blanks_a_pin_in_any_case_and_without_zeros():
    assert Secret("0AB1").redact_typed("0ab1, AB1, 00AB1") == "*****, AB1, 0*****"
    assert Secret("00123456").redact_typed("123456 and 00123456") == "***** and *****"


def test_secret_bytes_are_bytes_that_show_their_length_only():
    body = SecretBytes(BODY)
    assert isinstance(body, bytes)
    assert body == BODY == b"".join([body]) == bytes(body)
    assert body in {BODY}
    assert json.loads(body)["api_key"] == KEY
    for show in SHOWN:
        shown = show(body)
        assert f"<{len(BODY)} secret bytes>" in shown
        assert KEY not in shown
        assert "34666666111" not in shown


def test_traceback_with_locals_does_not_show_the_key():
    def fail(secret, body):
        nested = {"secret": secret, "bodies": [body]}
        raise RuntimeError(len(nested))

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(KEY), SecretBytes(BODY))
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "nested = " in text, "the locals were not captured: this test proves nothing"
    assert "secret bytes>" in text
    assert KEY not in text


@PROPERTY
@given(st.integers(10**6, 10**15 - 1).map(str))
def test_mask_msisdn_keeps_the_first_two_and_last_three_digits(number):
    assert mask_msisdn(number) == f"{number[:2]}*****{number[-3:]}"


@each(
    "said",
    [
        *("34611222333", "+34 611 222 333", "+34%20611%20222%20333", "0034-611-222-333", "(34) 611.222.333"),
        *("611222333", "611 222 333", "0611 22 23 33"),
    ],
)
def test_mask_msisdn_in_finds_a_number_however_it_is_written(said):
    masked = mask_msisdn_in(f"no route to {said}, sorry", "34611222333")
    assert "222" not in masked
    assert masked.startswith("no route to ")
    assert masked.endswith("34*****333, sorry")


@each("said", ["1611222333", "6112223334", "611222", "1222333", "12:34:56.789"])
def test_mask_msisdn_in_leaves_other_digits(said):
    assert mask_msisdn_in(said, "34611222333") == said


@pytest.mark.parametrize(
    "text", ["all connection attempts failed", "[Errno 111] Connect call failed ('127.0.0.1', 50901)"]
)
def test_text_without_a_number_is_masked_without_a_pattern(text, monkeypatch):
    """To compile one takes milliseconds, in which the event loop does nothing else."""
    monkeypatch.setattr(re, "sub", None)
    assert mask_msisdn_in(text, "34666666111") == text


def test_mask_msisdn_in_finds_a_number_behind_a_percent_sign():
    assert mask_msisdn_in("%20320%204(7", "1203204") == "%12*****204(7"
