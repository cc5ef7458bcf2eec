"""The key, and the bodies that hold it, stay out of everything that people and tools print."""

import copy
import json
import logging
import pickle
import pprint
import traceback

import pytest
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway360_async._secret import Secret, SecretBytes, mask_msisdn, mask_msisdn_in

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

KEY = "sk-live-9f8e7d6c5b4a"
BODY = b'{"api_key":"sk-live-9f8e7d6c5b4a","msisdn":"34666666111"}'

SHOWN = {
    "repr": repr,
    "str": str,
    "format": format,
    "f-string": lambda value: f"{value}",
    "f-string-r": lambda value: f"{value!r}",
    "f-string-a": lambda value: f"{value!a}",
    "percent-s": lambda value: "%s" % (value,),  # noqa: UP031
    "percent-r": lambda value: "%r" % (value,),  # noqa: UP031
    "in-a-list": lambda value: str([value]),
    "in-a-dict": lambda value: repr({"key": value}),
    "pprint": pprint.pformat,
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def test_reveal_is_the_way_to_the_value():
    assert Secret(KEY).reveal() == KEY


@each("show", SHOWN.values(), ids=SHOWN.keys())
def test_a_secret_is_not_shown(show):
    assert KEY not in show(Secret(KEY))
    assert "*****" in show(Secret(KEY))


def test_a_secret_is_not_logged(caplog):
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("key %s %r", Secret(KEY), Secret(KEY))
    assert caplog.records
    assert KEY not in caplog.text


def test_a_secret_has_no_vars():
    with pytest.raises(TypeError) as caught:
        vars(Secret(KEY))
    assert KEY not in str(caught.value)


def test_no_attribute_of_a_secret_shows_the_value():
    secret = Secret(KEY)
    for name in dir(secret):
        assert KEY not in repr(getattr(secret, name))


@each("protocol", PROTOCOLS)
def test_a_secret_refuses_to_be_pickled(protocol):
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps({"key": Secret(KEY)}, protocol)
    assert KEY not in str(caught.value)


@each("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_secret_is_refused_or_hidden(copied):
    try:
        shown = repr(copied(Secret(KEY)))
    except TypeError as exc:
        shown = str(exc)
    assert KEY not in shown


def test_json_does_not_write_a_secret():
    with pytest.raises(TypeError) as caught:
        json.dumps({"key": Secret(KEY)})
    assert KEY not in str(caught.value)


def test_two_secrets_of_one_value_stay_hidden_when_a_comparison_fails():
    with pytest.raises(AssertionError) as caught:
        assert [Secret(KEY)] == [Secret(KEY), None]
    assert KEY not in str(caught.value)


def test_redact_blanks_the_value_wherever_it_stands():
    assert Secret(KEY).redact(f"{KEY} and {KEY}!") == "***** and *****!"


QUOTED = [
    KEY,
    'quo"te',
    "apo'strophe",
    "back\\slash",
    "at its end\\",
    "\u00e9\u00f1",
    "\u00e9'\u00f1",
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


def test_redact_leaves_other_text_alone():
    assert Secret(KEY).redact("nothing here") == "nothing here"


def test_secret_bytes_are_bytes():
    body = SecretBytes(BODY)
    assert isinstance(body, bytes)
    assert body == BODY
    assert body in {BODY}
    assert hash(body) == hash(BODY)
    assert len(body) == len(BODY)
    assert b"".join([body]) == BODY
    assert bytes(body) == BODY
    assert json.loads(body)["api_key"] == KEY


@each("show", SHOWN.values(), ids=SHOWN.keys())
def test_secret_bytes_show_their_length_only(show):
    shown = show(SecretBytes(BODY))
    assert KEY not in shown
    assert "34666666111" not in shown
    assert f"<{len(BODY)} secret bytes>" in shown


def test_secret_bytes_have_no_vars():
    with pytest.raises(TypeError):
        vars(SecretBytes(BODY))


def test_a_traceback_with_locals_does_not_show_the_key():
    def fail(secret, body):
        nested = {"secret": secret, "bodies": [body]}
        raise RuntimeError(len(nested))

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(KEY), SecretBytes(BODY))
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "nested = " in text, "the locals were not captured: this test proves nothing"
    assert "secret bytes>" in text
    assert KEY not in text


@each(
    ("number", "masked"),
    [("34666666111", "34*****111"), ("1234567", "12*****567"), ("123456789012345", "12*****345")],
)
def test_a_number_shows_its_first_two_and_last_three_digits(number, masked):
    assert mask_msisdn(number) == masked


@PROPERTY
@given(st.integers(10**6, 10**15 - 1).map(str))
def test_a_masked_number_hides_its_length_and_its_middle(number):
    masked = mask_msisdn(number)
    assert number not in masked
    assert len(masked) == 10
    assert sum(character.isdigit() for character in masked) == 5


def test_a_body_cannot_be_pickled_or_copied():
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="API key"):
            carry(SecretBytes(b"body"))


@each(
    "said",
    [
        "34611222333",
        "+34 611 222 333",
        "+34%20611%20222%20333",
        "0034-611-222-333",
        "(34) 611.222.333",
        "611222333",
        "611 222 333",
        "0611 22 23 33",
    ],
)
def test_number_in_a_text_is_masked_however_it_is_written(said):
    masked = mask_msisdn_in(f"no route to {said}, sorry", "34611222333")
    assert "222" not in masked
    assert masked.startswith("no route to ")
    assert masked.endswith("34*****333, sorry")


@each("said", ["1611222333", "6112223334", "611222", "1222333", "12:34:56.789"])
def test_other_digits_in_a_text_stay(said):
    assert mask_msisdn_in(said, "34611222333") == said


@each("form", ["k%26y%2F+%C3%B1", "k%26y/%20%C3%B1", "k%26y%2F%20%C3%B1", "k%26y%2f+%c3%b1"])
def test_key_in_a_url_is_blanked_out(form):
    assert (
        Secret("k&y/ ñ").redact(f"https://example.com/?key={form}&x=1")
        == "https://example.com/?key=*****&x=1"
    )
