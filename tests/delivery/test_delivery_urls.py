"""Report URLs: their settings, and tokens that only a holder of the secret can make."""

import base64
import pickle
import re
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each
from support.leaks import reachable, reported, shown

from gateway360_async import InvalidConfiguration, InvalidRequest, PinRequest
from gateway360_async.delivery import DeliveryReport, DeliveryReports, ForgedReport, dump_delivery_reports

URL = "https://example.com/hooks/sms"
SECRET = "an-old-s3cret-of-the-tests"
NUMBER = "34666666111"
REPORT_ID = "00112233445566778899aabbccddeeff"

PROPERTY = settings(deadline=None, max_examples=200, derandomize=True)
SECRETS = st.binary(min_size=16, max_size=64)
REPORT_IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
NUMBERS = st.from_regex(r"346[0-9]{8}", fullmatch=True)


def token_for(secret, report_id=REPORT_ID, number=NUMBER):
    return DeliveryReports(URL, secret).url_for(report_id, number).removeprefix(f"{URL}/")


def decoded(token):
    """A token's nonce, tag and MAC."""
    raw = base64.urlsafe_b64decode(token + "==")
    return raw[:16], raw[16:24], raw[24:]


def encoded(*parts):
    return base64.urlsafe_b64encode(b"".join(parts)).rstrip(b"=").decode()


def holds(secret, token, number=NUMBER):
    """Whether a report for a number is taken with a token. The memory store never waits."""
    report = DeliveryReport(sms_id="1", msisdn=number, status="DELIVRD")
    receiving = DeliveryReports(URL, secret).receive(token, dump_delivery_reports([report]))
    try:
        receiving.send(None)
    except StopIteration as returned:
        return bool(returned.value)
    except ForgedReport:
        return False


# --- tokens


@PROPERTY
@given(SECRETS, REPORT_IDS, NUMBERS)
def test_token_has_its_id_and_holds_for_its_number(secret, report_id, number):
    url = DeliveryReports(URL, secret).url_for(report_id, number)
    assert re.fullmatch(re.escape(URL) + "/[A-Za-z0-9_-]{54}", url)
    assert PinRequest(number, "X", report_url=url).report_url == url
    token = url.rpartition("/")[2]
    assert decoded(token)[0].hex() == report_id
    assert holds(secret, token, number)


@PROPERTY
@given(SECRETS, REPORT_IDS, NUMBERS, NUMBERS)
def test_token_does_not_hold_for_another_number(secret, report_id, number, other):
    assert holds(secret, token_for(secret, report_id, number), other) is (other == number)


@PROPERTY
@given(SECRETS, SECRETS, REPORT_IDS, NUMBERS)
def test_token_does_not_hold_with_another_secret(secret, other, report_id, number):
    token = token_for(secret, report_id, number)
    # HMAC fills a key up with zeros, so a secret and the same with zeros at its end are one.
    assert holds(other, token, number) is (secret.rstrip(b"\0") == other.rstrip(b"\0"))


def test_token_with_a_flipped_bit_does_not_hold():
    token = token_for(SECRET)
    raw = b"".join(decoded(token))
    assert holds(SECRET, token)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not holds(SECRET, encoded(flipped)), bit


def test_token_is_known_by_its_tag_whatever_its_number():
    nonce, tag, mac = decoded(token_for(SECRET))
    other_nonce, other_tag, other_mac = decoded(token_for(SECRET, "01" * 16))
    another = "another-secret-of-ours"
    assert DeliveryReports(URL, SECRET).knows(encoded(nonce, tag, other_mac))
    assert DeliveryReports(URL, [another, SECRET]).knows(encoded(nonce, tag, mac))
    assert not DeliveryReports(URL, another).knows(encoded(nonce, tag, mac))
    assert not DeliveryReports(URL, SECRET).knows(encoded(nonce, other_tag, mac))
    # The beginning of a MAC for a number is no tag, and a MAC is bound to its nonce.
    assert not DeliveryReports(URL, SECRET).knows(encoded(nonce, mac[:8], mac))
    assert not holds(SECRET, encoded(nonce, tag, other_mac))


def test_token_has_one_spelling():
    token = token_for(SECRET)
    others = [token[:-1] + char for char in map(chr, range(128)) if char != token[-1]]
    assert len(others) == 127
    # Base64 of 40 bytes leaves four bits of the last character unused: 15 other spellings of the same bytes.
    same = [other for other in others if re.fullmatch(r"[\w-]{54}", other, re.ASCII)]
    assert sum(decoded(other) == decoded(token) for other in same) == 15
    assert not any(holds(SECRET, other) for other in others)


@each(
    "token",
    [
        *("", "x", "a" * 53, "a" * 55, "A" * 53 + "=", " " + "A" * 53, "A" * 53 + "\n", "+" * 54),
        *("é" * 54, "٣" * 54, "../../etc", None, b"A" * 54),
    ],
)
def test_value_that_is_no_token_does_not_hold(token):
    assert not DeliveryReports(URL, SECRET).knows(token)
    assert not holds(SECRET, token)


@PROPERTY
@given(st.text(max_size=64) | st.from_regex(r"[A-Za-z0-9_-]{54}", fullmatch=True))
def test_guessed_token_does_not_hold(token):
    assert not holds(SECRET, token)


def test_token_format_is_frozen():
    """A token is out for up to 48 hours: a change of its format would refuse true reports."""
    token = token_for("0123456789abcdef", "000102030405060708090a0b0c0d0e0f")
    assert token == "AAECAwQFBgcICQoLDA0OD-Xl6itkoO2ktW9tcENMX2xnKALAWs_9Sw"


# --- rotation


def test_first_secret_signs_and_all_verify():
    old, new = "an-old-s3cret-of-mine", b"a-new-s3cret-of-mine"
    before, after = token_for(old), token_for([new, old])
    assert before != after == token_for(new)
    assert holds((new, old), before)
    assert holds((new, old), after)
    assert holds((old, new), after)
    assert not holds([new], before)


def test_secret_is_the_same_as_text_and_as_utf8():
    text = "a secret of señor Núñez"
    assert token_for(text) == token_for(text.encode())


# --- ids and numbers


def test_new_id_is_new_every_time():
    reports = DeliveryReports(URL, SECRET)
    ids = {reports.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", report_id) for report_id in ids)


@each("report_id", ["", "x" * 32, "AB" * 16, "ab" * 15, "ab" * 17, "ab" * 16 + "\n", None, b"ab" * 16])
def test_url_for_refuses_a_wrong_report_id(report_id):
    with pytest.raises(InvalidRequest) as caught:
        DeliveryReports(URL, SECRET).url_for(report_id, NUMBER)
    assert caught.value.field == "report_id"


@each("number", [NUMBER, f"+{NUMBER}", f"00{NUMBER}"])
def test_url_for_ignores_a_plus_or_zeros_before_a_number(number):
    reports = DeliveryReports(URL, SECRET)
    assert reports.url_for("ab" * 16, number) == reports.url_for("ab" * 16, NUMBER)


@each(
    "number",
    ["", "+", "34 666 666 111", "123456", "1" * 16, f"+00{NUMBER}", f"0{NUMBER}", "٣" * 9, 34666666111, None],
)
def test_url_for_refuses_a_wrong_number(number):
    with pytest.raises(InvalidRequest) as caught:
        DeliveryReports(URL, SECRET).url_for("ab" * 16, number)
    assert caught.value.field == "msisdn"


def test_wrong_number_is_in_no_frame_of_the_error():
    with pytest.raises(InvalidRequest) as caught:
        DeliveryReports(URL, SECRET).url_for("ab" * 16, NUMBER + "x")
    assert NUMBER not in "".join(reported(caught.value))


# --- the URL


@each(
    ("url", "base", "path"),
    [
        ("https://example.com", "https://example.com", ""),
        ("https://example.com/", "https://example.com", ""),
        ("https://example.com/sms", "https://example.com/sms", "/sms"),
        ("https://example.com/hooks/sms//", "https://example.com/hooks/sms", "/hooks/sms"),
        ("https://Example.com:8443/~a/b_c-d.e/1", "https://example.com:8443/~a/b_c-d.e/1", "/~a/b_c-d.e/1"),
        ("https://example.com:443/sms", "https://example.com/sms", "/sms"),
        ("https://example.com/a/../sms", "https://example.com/sms", "/sms"),
        ("https://[2001:db8::1]/sms", "https://[2001:db8::1]/sms", "/sms"),
        ("https://señor.example/sms", "https://xn--seor-hqa.example/sms", "/sms"),
        ("http://127.0.0.1:8000/sms", "http://127.0.0.1:8000/sms", "/sms"),
        ("http://localhost/sms", "http://localhost/sms", "/sms"),
        ("http://[::1]:8/sms", "http://[::1]:8/sms", "/sms"),
    ],
)
def test_url_is_normalised(url, base, path):
    reports = DeliveryReports(url, SECRET)
    assert (reports.url, reports.path) == (base, path)
    made = reports.url_for("ab" * 16, NUMBER)
    assert made.startswith(base + "/")
    assert made.count("/") == base.count("/") + 1
    assert PinRequest(NUMBER, "X", report_url=made).report_url == made


@each(
    ("url", "problem"),
    [
        (None, "is of type NoneType"),
        (b"https://example.com", "is of type bytes"),
        ("", "is not an absolute"),
        ("example.com/sms", "is not an absolute"),
        ("/sms", "is not an absolute"),
        ("ftp://example.com/sms", "is not an absolute"),
        ("https:///sms", "is not an absolute"),
        ("https://example.com:0/sms", "is not an absolute"),
        ("https://exa%20mple.com/sms", "is not an absolute"),
        ("https://example.com:99999/sms", "is not"),
        ("https://example.com:x/sms", "is not a URL"),
        ("https://exa mple.com/sms", "is not"),
        ("https://[::1/sms", "is not a URL"),
        ("https://example.com/\nsms", "is not a URL"),
        ("https://xn--/sms", "is not a URL"),
        ("https://me@example.com/sms", "holds a user"),
        ("https://me:pass@example.com/sms", "holds a user"),
        ("https://example.com/sms?x=1", "holds a user"),
        ("https://example.com/sms?", "holds a user"),
        ("https://example.com/sms#x", "holds a user"),
        ("https://example.com/sms#", "holds a user"),
        ("https://example.com/a b", "has a path"),
        ("https://example.com/{token}", "has a path"),
        ("https://example.com/a%2Fb", "has a path"),
        ("https://example.com//sms", "has a path"),
        ("https://example.com" + "/x" * 11, "has a path"),
        ("https://example.com/" + "x" * 101, "has a path"),
        ("http://example.com/sms", "is plain http://"),
        ("http://127.0.0.1.example.com/sms", "is plain http://"),
        ("http://0.0.0.0/sms", "is plain http://"),
    ],
)
def test_wrong_url_is_refused(url, problem):
    with pytest.raises(InvalidConfiguration, match=re.escape(problem)) as caught:
        DeliveryReports(url, SECRET)
    assert caught.value.setting == "url"
    assert "pass" not in "".join((str(caught.value), *map(str, caught.value.args)))


def test_insecure_url_is_allowed_on_request():
    assert (
        DeliveryReports("http://example.com/sms", SECRET, allow_insecure=True).url == "http://example.com/sms"
    )


# --- the secret


@each(
    ("secret", "problem"),
    [
        ("", "has 0 bytes"),
        ("x" * 15, "has 15 bytes"),
        (b"x" * 15, "has 15 bytes"),
        ([], "is an empty sequence"),
        ((), "is an empty sequence"),
        (["x" * 16, "y" * 15], "has 15 bytes"),
        (["x" * 16, None], "is of type NoneType"),
        (None, "is of type NoneType"),
        (12345678901234567890, "is of type int"),
        ({"x" * 16}, "is of type set"),
        ("x" * 16 + "\ud800", "is not Unicode"),
    ],
)
def test_wrong_secret_is_refused(secret, problem):
    with pytest.raises(InvalidConfiguration) as caught:
        DeliveryReports(URL, secret)
    assert (caught.value.setting, caught.value.problem) == ("secret", problem)


def test_secret_of_16_bytes_is_enough():
    assert DeliveryReports(URL, "x" * 16).path == "/hooks/sms"
    assert DeliveryReports(URL, "é" * 8).path == "/hooks/sms"


def test_secret_is_shown_nowhere():
    reports = DeliveryReports(URL, [SECRET, SECRET[::-1].encode()])
    seen = [*shown(reports), repr(vars(reports)), *(text for _, text in reachable(reports))]
    with pytest.raises(TypeError) as refused:
        pickle.dumps(reports)
    seen += reported(refused.value)
    with pytest.raises(InvalidRequest) as raised:
        reports.url_for("x", NUMBER)
    seen += reported(raised.value)
    for wrong in ({"url": "http://example.com"}, {"max_entries": 0}, {"poll": 0}):
        with pytest.raises(InvalidConfiguration) as caught:
            DeliveryReports(**{"url": URL, "secret": SECRET} | wrong)
        seen += reported(caught.value)
    assert not any(SECRET in text or SECRET[::-1] in text for text in seen)
    assert repr(reports) == f"DeliveryReports({URL!r})"


def test_refused_secret_is_in_no_frame_of_the_error():
    for secret in ("short-s3cret", b"short-s3cret", [SECRET, "short-s3cret"]):
        with pytest.raises(InvalidConfiguration) as caught:
            DeliveryReports(URL, secret)
        text = "".join(reported(caught.value))
        assert "short-s3cret" not in text
        assert SECRET not in text
        assert "short-s3cret" not in "".join(traceback.format_exception(caught.value))
