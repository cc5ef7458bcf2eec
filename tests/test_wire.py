"""The codec against the vectors, against hostile answers, and against properties that hold for any bytes."""

import json
import re
import sys

import attrs
import cattrs
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from vector_data import RESPONSES, VALID_REQUESTS, build_body, build_headers, build_request, vector_id

from gateway360_async import (
    ApiError,
    Disposition,
    ErrorId,
    ErrorScope,
    FailureKind,
    Ok,
    PinParams,
    PinRequest,
    PinType,
    TransportFailure,
)
from gateway360_async._secret import Secret, SecretBytes
from gateway360_async._wire import MAX_ANSWER_BYTES, REQUEST_HEADERS, REQUEST_PATH, decode, encoder

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

KEY = "sk-live-9f8e7d6c5b4a"
NUMBER = "34666666111"
SENDER = "GOOD PIZZA"
JSON = {"content-type": "application/json"}
NOT_SENT, MAYBE_SENT, SENT = Disposition.NOT_SENT, Disposition.MAYBE_SENT, Disposition.SENT

OK_BODY = b'{"status":"ok"}'
HTML = b"<html>Something</html>"


def encode(request, api_key):
    return encoder(api_key)(request)


def exact(document):
    """Give a text that tells 1 from true and 1.0, which `==` does not."""
    return json.dumps(document, sort_keys=True)


def envelope(error_id=None, **fields):
    fields = {"status": "error", "error_id": error_id, **fields}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def assert_failure(result, disposition, kind, http_status):
    assert isinstance(result, TransportFailure)
    assert result.disposition is disposition
    assert result.kind is kind
    assert result.http_status == http_status
    assert str(http_status) in result.detail
    assert result.cause is None


# Encoding


@each("vector", VALID_REQUESTS, ids=vector_id)
def test_a_request_vector_encodes_to_its_wire_form_and_the_key(vector):
    body = encode(build_request(vector["fields"]), Secret(KEY))
    assert exact(json.loads(body)) == exact({"api_key": KEY, **vector["wire"]})


def test_a_body_is_compact_ascii_that_does_not_show_itself():
    body = encode(PinRequest(NUMBER, "CAF\u00c9", sms_text="\U0001f355 {PIN}"), Secret(KEY))
    assert isinstance(body, SecretBytes)
    assert body.isascii()
    assert b'","' in body
    assert b'", ' not in body
    assert KEY not in repr(body)
    assert NUMBER not in repr(body)


def test_default_pin_params_that_are_given_go_on_the_wire_in_full():
    document = json.loads(encode(PinRequest(NUMBER, SENDER, pin_params=PinParams()), Secret(KEY)))
    expected = {"type": "numeric", "length": 6, "expires_in": 3600, "max_tries": 3}
    assert exact(document["pin_params"]) == exact(expected)


def test_what_was_not_given_is_left_out():
    assert list(json.loads(encode(PinRequest(NUMBER, SENDER), Secret(KEY)))) == [
        "api_key",
        "msisdn",
        "sender",
        "hlr_lookup",
    ]


@each("key", ['quo"te', "back\\slash", "\u00e9\u00f1", "\U0001f355", "</script>"], ids=ascii)
def test_a_key_with_special_characters_arrives_as_it_is(key):
    assert json.loads(encode(PinRequest(NUMBER, SENDER), Secret(key)))["api_key"] == key


def test_a_hook_on_the_applications_own_converter_changes_nothing():
    for cls in (PinRequest, PinParams, PinType):
        cattrs.global_converter.register_unstructure_hook(cls, lambda _: "hijacked")
    request = PinRequest(NUMBER, SENDER, pin_params=PinParams())
    assert cattrs.unstructure(request) == "hijacked"
    body = encode(request, Secret(KEY))
    assert b"hijacked" not in body
    assert json.loads(body)["pin_params"]["type"] == "numeric"


def test_the_request_asks_for_what_the_codec_can_read():
    assert REQUEST_PATH == "/2fa/request"
    assert dict(REQUEST_HEADERS) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


@st.composite
def pin_requests(draw):
    integers = st.integers(0, 2**63 - 1)
    params = draw(
        st.none()
        | st.builds(
            PinParams,
            type=st.sampled_from(PinType),
            length=st.integers(4, 16),
            expires_in=integers,
            max_tries=integers,
        )
    )
    characters = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\r\n")
    text = draw(
        st.none()
        | st.tuples(st.text(characters, max_size=70), st.text(characters, max_size=70))
        .map("{PIN}".join)
        .filter(lambda text: text.count("{PIN}") == 1)
    )
    printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E, include_characters="\u00c9\u00fc")
    return PinRequest(
        draw(st.sampled_from(["", "+", "00"])) + f"346{draw(st.integers(0, 10**8 - 1)):08}",
        draw(
            st.text(printable, min_size=1, max_size=11).filter(str.strip).map(str.strip)
            | st.text("0123456789", min_size=1, max_size=15)
        ),
        hlr_lookup=draw(st.sampled_from([True, False, 1, 0])),
        sms_text=text,
        report_url=draw(st.sampled_from([None, "https://example.com/dlr?n=1", "http://[::1]:80/\u00e9"])),
        pin_params=params,
    )


@PROPERTY
@given(st.lists(pin_requests(), min_size=1, max_size=3), st.text(min_size=1, max_size=5), st.data())
def test_one_body_after_the_other_each_is_as_if_it_were_the_only_one(requests, key, data):
    key = key.encode("utf-8", "replace").decode()
    encode_next = encoder(Secret(key))
    for _ in range(6):
        request = data.draw(st.sampled_from(requests))
        request = data.draw(st.just(request) | st.just(attrs.evolve(request, msisdn="34666666112")))
        body = encode_next(request)
        assert body == encode(request, Secret(key))
        assert isinstance(body, SecretBytes)


@PROPERTY
@given(pin_requests())
def test_every_valid_request_arrives_as_it_was_built(request):
    document = json.loads(encode(request, Secret(KEY)))
    expected = {
        "api_key": KEY,
        "msisdn": request.msisdn,
        "sender": request.sender,
        "hlr_lookup": 1 if request.hlr_lookup else 0,
    }
    if request.sms_text is not None:
        expected["sms_text"] = request.sms_text
    if request.report_url is not None:
        expected["report_url"] = request.report_url
    if request.pin_params is not None:
        expected["pin_params"] = {
            "type": request.pin_params.type.value,
            "length": request.pin_params.length,
            "expires_in": request.pin_params.expires_in,
            "max_tries": request.pin_params.max_tries,
        }
    assert exact(document) == exact(expected)


# Decoding: the vectors


@each("vector", RESPONSES, ids=vector_id)
def test_a_response_vector_decodes_to_what_it_expects(vector):
    result = decode(vector["http_status"], build_headers(vector), build_body(vector["body"]))
    expect = vector["expect"]
    assert type(result).__name__ == expect["result"]
    assert result.disposition.value == expect["disposition"]
    if isinstance(result, ApiError):
        assert result.error_id == expect["error_id"]
        assert result.error_msg == expect["error_msg"]
        assert isinstance(result.error_id, ErrorId) is expect["known"]
    if not isinstance(result, Ok):
        assert result.http_status == vector["http_status"]


@each(
    "body", [OK_BODY, b' {"status":"ok"}', envelope("BAD_PARAMS"), HTML], ids=["ok", "ok-2", "error", "html"]
)
def test_the_counts_of_the_call_reach_the_result(body):
    result = decode(200, JSON, body, attempts=3, elapsed=1.5, retry_after=7.0)
    assert result.attempts == 3
    assert result.elapsed == 1.5
    assert isinstance(result, Ok) or result.retry_after == 7.0


def test_an_answer_is_of_one_attempt_that_took_no_time_unless_the_call_says_otherwise():
    assert decode(200, JSON, OK_BODY) == Ok(1, 0.0)
    assert decode(400, JSON, envelope("BAD_PARAMS")) == ApiError(ErrorId.BAD_PARAMS, None, 400)
    result = decode(502, JSON, HTML)
    assert (result.attempts, result.elapsed, result.retry_after) == (1, 0.0, None)


# Decoding: what an envelope means


@each("http_status", [200, 201, 202, 204, 299])
def test_ok_is_ok_under_any_2xx(http_status):
    assert isinstance(decode(http_status, JSON, OK_BODY), Ok)


@each("http_status", [100, 101, 199, 300, 301, 302, 303, 307, 308, 400, 401, 404, 429, 500, 503])
def test_ok_under_any_other_status_may_have_been_sent(http_status):
    result = decode(http_status, JSON, OK_BODY)
    assert isinstance(result, TransportFailure)
    assert result.disposition is MAYBE_SENT


@each("http_status", [200, 302, 400, 401, 403, 429, 500, 503])
@each("error_id", ErrorId)
def test_a_published_id_decides_whatever_the_http_status(error_id, http_status):
    result = decode(http_status, JSON, envelope(error_id.value, error_msg="m"))
    assert isinstance(result, ApiError)
    assert result.error_id is error_id
    assert result.http_status == http_status
    assert result.error_msg == "m"
    assert result.disposition is (MAYBE_SENT if error_id is ErrorId.UNKNOWN_ERROR else NOT_SENT)


@each(
    ("http_status", "disposition"),
    [
        (200, NOT_SENT),
        (400, NOT_SENT),
        (429, NOT_SENT),
        (500, MAYBE_SENT),
        (503, MAYBE_SENT),
        (599, MAYBE_SENT),
    ],
)
def test_an_unpublished_id_stays_a_plain_string(http_status, disposition):
    result = decode(http_status, JSON, envelope("BRAND_NEW"))
    assert isinstance(result, ApiError)
    assert type(result.error_id) is str
    assert result.error_id == "BRAND_NEW"
    assert result.scope is ErrorScope.GATEWAY
    assert result.disposition is disposition


@each(
    "body",
    [
        b'{"status":"error"}',
        b'{"status":"error","error_id":null}',
        b'{"status":"error","error_id":""}',
        b'{"status":"error","error_id":["BAD_PARAMS"]}',
        b'{"status":"ok","error_id":"BAD_PARAMS"}',
        b'{"status":"ok","error_id":""}',
        b'{"status":"ok","error_id":false}',
        b'{"status":"pending"}',
        b'{"status":""}',
        b'{"status":"ok "}',
        b'{"status":"\\ud800"}',
        b'{"status":"ok\\udfff"}',
    ],
    ids=lambda body: body.decode(),
)
@each(
    ("http_status", "kind"),
    [
        (200, FailureKind.UNREADABLE),
        (307, FailureKind.HTTP_STATUS),
        (400, FailureKind.HTTP_STATUS),
        (500, FailureKind.HTTP_STATUS),
    ],
)
def test_an_envelope_that_contradicts_itself_may_have_been_sent(http_status, kind, body):
    assert_failure(decode(http_status, JSON, body), MAYBE_SENT, kind, http_status)


@each(
    "body",
    [b"{}", b'{"message":"Not Found"}', b'{"status":404}', b'{"status":null}'],
    ids=lambda body: body.decode(),
)
@each(("http_status", "disposition"), [(200, MAYBE_SENT), (404, NOT_SENT), (502, MAYBE_SENT)])
def test_a_json_object_that_is_no_envelope_means_what_http_means(http_status, disposition, body):
    result = decode(http_status, JSON, body)
    assert isinstance(result, TransportFailure)
    assert result.disposition is disposition


@each(
    ("body", "disposition"),
    [
        (b"", NOT_SENT),
        (b" \r\n", NOT_SENT),
        (HTML, NOT_SENT),
        (b"{}", NOT_SENT),
        (b'"slow down"', NOT_SENT),
        (b'{"status":"error"}', NOT_SENT),
        (b'{"status":"error","error_msg":"slow down"}', NOT_SENT),
        (b'{"status":"ok"}', MAYBE_SENT),
        (b'{"status":"queued"}', MAYBE_SENT),
        (b'{"status":"error","error_id"', MAYBE_SENT),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else None,
)
def test_too_many_requests_without_an_id_is_throttled(body, disposition):
    result = decode(429, JSON, body, retry_after=2.0)
    assert_failure(result, disposition, FailureKind.THROTTLED, 429)
    assert result.retry_after == 2.0


def test_too_many_requests_with_an_id_is_an_api_error():
    result = decode(429, JSON, envelope("TOO_MANY_REQUESTS"), retry_after=2.0)
    assert isinstance(result, ApiError)
    assert result.error_id == "TOO_MANY_REQUESTS"
    assert result.disposition is NOT_SENT
    assert result.retry_after == 2.0


# Decoding: what HTTP means without an envelope


@each("body", [b"", b" \n", HTML, b"Moved", b"[]", b"null"], ids=repr)
@each(
    ("http_status", "disposition"),
    [
        *((status, MAYBE_SENT) for status in (200, 201, 204, 206)),
        *((status, NOT_SENT) for status in (301, 302, 307, 308)),
        *((status, MAYBE_SENT) for status in (100, 101, 300, 303, 304, 305, 306)),
        *((status, NOT_SENT) for status in (400, 401, 402, 403, 404, 405, 407, 408, 411, 413, 415, 422, 499)),
        *((status, MAYBE_SENT) for status in (500, 501, 502, 503, 504, 520, 599, 600, 999, 0)),
    ],
)
def test_without_an_envelope_only_http_itself_can_say_not_sent(http_status, disposition, body):
    kind = FailureKind.UNREADABLE if 200 <= http_status < 300 else FailureKind.HTTP_STATUS
    assert_failure(decode(http_status, {}, body), disposition, kind, http_status)


@each("http_status", [302, 400, 401, 404])
@each(
    "body",
    [
        b'{"status":"err',
        b'\r\n\t {"status":"error","error_id":"UNKN',
        b"{",
        b"{not json}",
        b'{"status":"error","status":"ok"}',
        b'{"status":"ok","n":NaN}',
        b'{"status":"error","error_msg":"\xff"}',
        b'{"status":"ok","pad":"' + b"x" * MAX_ANSWER_BYTES + b'"}',
        b'{"status":"ok","deep":' + b"[" * 100,
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_a_broken_json_object_under_a_4xx_may_have_said_anything(http_status, body):
    assert_failure(decode(http_status, JSON, body), MAYBE_SENT, FailureKind.HTTP_STATUS, http_status)


# Decoding: the answer is not trusted


def assert_unreadable(result, reason=""):
    assert_failure(result, MAYBE_SENT, FailureKind.UNREADABLE, 200)
    assert reason in result.detail


@each("name", ["content-encoding", "Content-Encoding", "CONTENT-ENCODING"])
@each("value", ["gzip", "GZIP", "br", "identity, gzip", "x"])
def test_a_compressed_answer_is_not_read(name, value):
    # The second is what the fast path for the published answer would take.
    assert_unreadable(decode(200, {name: value}, b"\x1f\x8b\x08\x00"), "compressed")
    assert_unreadable(decode(200, {"a": "b", name: value}, OK_BODY), "compressed")


@each("lines", [["identity", "gzip"], ["gzip", "identity"], ["", "br"]], ids=str)
def test_no_line_of_a_field_hides_another(lines):
    # What a compressed body says, nobody knows: a 404 does not make it a refusal.
    for headers in (
        CIMultiDict(("Content-Encoding", value) for value in lines),
        {"content-encoding": ", ".join(lines)},
    ):
        result = decode(404, headers, b"\x1f\x8b\x08\x00")
        assert_failure(result, MAYBE_SENT, FailureKind.HTTP_STATUS, 404)
        assert "compressed" in result.detail


@each("value", ["identity", "Identity", " identity ", "", "identity, identity"])
@each("body", [OK_BODY, b'{ "status": "ok" }'], ids=["to the letter", "spaced"])
def test_identity_is_no_compression(value, body):
    assert isinstance(decode(200, {"Content-Encoding": value}, body), Ok)


def padded(size):
    body = build_body(f"@pad:{size - len(build_body('@pad:0'))}")
    assert len(body) == size
    return body


def test_an_answer_of_64_kib_is_read_and_not_one_byte_more():
    assert MAX_ANSWER_BYTES == 65536
    assert isinstance(decode(200, JSON, padded(65536)), Ok)
    assert_unreadable(decode(200, JSON, padded(65537)), "longer than")
    assert_unreadable(decode(200, JSON, OK_BODY + b" " * 65536), "longer than")


def nested(depth, opening=b"[", closing=b"]", beside=b"0"):
    """Make an `ok` whose JSON is nested that deep, the outermost object counted."""
    deep = opening * (depth - 1) + b"1" + closing * (depth - 1)
    return b'{"status":"ok","x":' + deep + b',"y":' + beside + b"}"


@each("beside", [b"0", b"[{},[]]"], ids=["alone", "with shallow siblings"])
@each(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_a_depth_of_64_is_read_and_65_is_not(opening, closing, beside):
    assert isinstance(decode(200, JSON, nested(64, opening, closing, beside)), Ok)
    assert_unreadable(decode(200, JSON, nested(65, opening, closing, beside)), "deep")


def test_many_brackets_that_are_not_deep_are_read():
    body = b'{"status":"ok","x":[' + b"[],{}," * 100 + b"[]]}"
    assert isinstance(decode(200, JSON, body), Ok)


@each("text", ["[" * 100, "{" * 100, '\\"' + "[" * 100, "\\\\", '\\\\\\"' + "[{" * 50, "]" * 100], ids=repr)
def test_brackets_inside_a_string_are_no_depth(text):
    body = f'{{"status":"ok","x":"{text}","y":["{text}"]}}'.encode()
    assert isinstance(decode(200, JSON, body), Ok)


def test_a_string_does_not_hide_the_depth_behind_it():
    body = b'{"status":"ok","x":"\\\\","y":' + b"[" * 64 + b"]" * 64 + b"}"
    assert_unreadable(decode(200, JSON, body), "deep")


@each("http_status", [200, 500])
@each("body", ["@deep:65", "@deep:60000", "@deep:65536", "@deep:100000"])
def test_a_depth_that_would_exhaust_the_stack_is_refused(http_status, body):
    result = decode(http_status, JSON, build_body(body))
    assert isinstance(result, TransportFailure)
    assert result.disposition is MAYBE_SENT


@each(
    "body",
    [
        b"[" * 70 + b'"' + b'\\"' * 30_000,
        b"[" * 70 + b'"' * 60_001,
        b"[" * 70 + b'"' + b"\\" * 60_001,
        b"[" * 70 + b'"a\\' * 20_000,
        b'{"a":"' + b'\\"' * 30_000 + b"[" * 70,
        b'{"a":"' + b"[" * 70 + b"\\u" * 30_000,
    ],
    ids=["escaped quotes", "quotes", "backslashes", "mixed", "in an object", "half escapes"],
)
def test_an_unterminated_string_is_read_once(body):
    # A scan that starts anew at every quote takes minutes here: then pytest-timeout ends it.
    result = decode(200, JSON, body)
    assert isinstance(result, TransportFailure)
    assert result.disposition is MAYBE_SENT


@each(
    "body",
    [
        b"\xef\xbb\xbf" + OK_BODY,
        OK_BODY.decode().encode("utf-16"),
        OK_BODY.decode().encode("utf-16-le"),
        OK_BODY.decode().encode("utf-32"),
        b'{"status":"ok","x":"\xe9"}',
        b'{"status":"ok","x":"\xed\xa0\x80"}',
        b'{"status":"ok","x":"\xc0\x80"}',
    ],
    ids=["BOM", "UTF-16", "UTF-16-LE", "UTF-32", "Latin-1", "encoded surrogate", "overlong"],
)
def test_only_plain_utf8_is_read(body):
    assert_unreadable(decode(200, JSON, body))


@each(
    "body",
    [
        OK_BODY + OK_BODY,
        OK_BODY + b",",
        OK_BODY + b"\x00",
        b"\x0b" + OK_BODY,
        b")]}',\n" + OK_BODY,
        b"{'status':'ok'}",
        b'{status:"ok"}',
        b'{"status":"ok",}',
        b'{"status":"ok"}//',
        b'{"status":"ok","x":01}',
        b'{"status":"ok","x":.5}',
        b'{"status":"ok","x":+1}',
        b'{"status":"ok","x":0x1}',
        b'{"status":"ok","x":"\n"}',
        b'{"status":"ok","x":"\\x41"}',
        b'{"status":"ok","x":tru}',
        b'{"status":"ok","x":NaN}',
        b'{"status":"ok","x":Infinity}',
        b'{"status":"ok","x":[-Infinity]}',
        b'{"status":"ok","status":"ok"}',
        b'{"status":"ok","st\\u0061tus":"error"}',
        b'{"status":"ok","x":{"y":1,"y":1}}',
        b'["status","ok"]',
        b'[{"status":"ok"}]',
        b'"{\\"status\\":\\"ok\\"}"',
        b"true",
    ],
    ids=ascii,
)
def test_what_two_parsers_could_read_in_two_ways_is_not_read(body):
    assert_unreadable(decode(200, JSON, body))


@each("limit", [None, 0], ids=["Python's own limit", "no limit"])
def test_an_integer_of_4300_digits_is_read_and_4301_is_not(limit):
    before = sys.get_int_max_str_digits()
    try:
        if limit is not None:
            sys.set_int_max_str_digits(limit)
        assert isinstance(decode(200, JSON, build_body("@hugeint:4300")), Ok)
        assert_unreadable(decode(200, JSON, build_body("@hugeint:4301")), "too many digits")
        assert_unreadable(decode(200, JSON, build_body("@hugeint:60000")), "too many digits")
    finally:
        sys.set_int_max_str_digits(before)


def test_an_integer_that_the_application_does_not_allow_does_not_raise():
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)
        assert_unreadable(decode(200, JSON, build_body("@hugeint:641")), "not JSON")
    finally:
        sys.set_int_max_str_digits(before)


@each("number", ["1e999", "-0", "1E+2", "0.1e-5", "9" * 400 + ".0"])
def test_other_numbers_of_json_are_read(number):
    assert isinstance(decode(200, JSON, f'{{"status":"ok","x":{number}}}'.encode()), Ok)


@each("field", ["error_id", "error_msg"])
@each("escape", ["\\ud800", "\\udfff", "\\ude00\\ud83d"])
def test_a_lone_surrogate_becomes_something_that_can_be_printed(field, escape):
    body = f'{{"status":"error","error_id":"X","error_msg":"m","{field}_":1}}'
    body = re.sub(rf'"{field}":"\w"', lambda _: f'"{field}":"a{escape}b"', body).encode()
    result = decode(400, JSON, body)
    assert isinstance(result, ApiError)
    text = getattr(result, field)
    assert text.startswith("a?")
    assert text.endswith("?b")
    str(result).encode()


def test_an_escaped_pair_is_the_character_that_it_stands_for():
    result = decode(400, JSON, b'{"status":"error","error_id":"X","error_msg":"\\ud83c\\udf55"}')
    assert result.error_msg == "\U0001f355"


@each("error_msg", [b"5", b"null", b"true", b'["m"]', b'{"a":1}'])
def test_a_message_of_another_type_is_no_message(error_msg):
    result = decode(400, JSON, b'{"status":"error","error_id":"BAD_PARAMS","error_msg":' + error_msg + b"}")
    assert isinstance(result, ApiError)
    assert result.error_msg is None


@each("http_status", [200, 404, 429, 500])
@each(
    "body",
    [
        b"<html>m4rker</html>",
        b'{"m4rker',
        b'{"m4rker":1,"m4rker":2}',
        b'{"status":"m4rker"}',
        b'{"status":"ok","error_id":"m4rker"}',
        b'"m4rker"',
        b'{"m4rker":"' + b"x" * 70_000 + b'"}',
        b"\xffm4rker",
    ],
    ids=lambda body: ascii(body[:30]),
)
def test_a_failures_text_holds_nothing_of_the_answer(http_status, body):
    result = decode(http_status, {"server": "m4rker"}, body)
    assert isinstance(result, TransportFailure)
    assert "m4rker" not in repr(result)
    assert "m4rker" not in str(result)


# Decoding: what holds for any answer

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["ok", "error", "OK", None, True]) | json_values,
        "error_id": st.sampled_from(["", "BRAND_NEW", None, *ErrorId]) | json_values,
        "error_msg": json_values,
        "other": json_values,
    },
)
bodies = (
    st.binary(max_size=60)
    | st.text('{}[]":,\\ ostauekrrid_0', max_size=60).map(str.encode)
    | envelopes.map(json.dumps).map(str.encode)
    | json_values.map(json.dumps).map(str.encode)
    | st.tuples(envelopes.map(json.dumps).map(str.encode), st.integers(0, 60)).map(
        lambda cut: cut[0][: cut[1]]
    )
    | st.sampled_from([OK_BODY, b" " + OK_BODY, envelope("BAD_PARAMS"), envelope("UNKNOWN_ERROR")])
)
http_statuses = st.sampled_from([200, 201, 204, 301, 303, 307, 400, 404, 429, 500, 503]) | st.integers(0, 999)
header_maps = st.dictionaries(
    st.sampled_from(["content-encoding", "Content-Encoding", "content-type"]) | st.text(max_size=8),
    st.sampled_from(["identity", "gzip", ""]) | st.text(max_size=8),
    max_size=3,
)


def oracle(body):
    """Read a body by the standard library alone, as tolerantly as that does."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


@settings(PROPERTY, max_examples=200)
@given(http_statuses, header_maps, bodies)
def test_no_answer_makes_decode_raise_or_say_more_than_it_knows(http_status, headers, body):
    result = decode(http_status, headers, body)
    document = oracle(body)
    said = document.get("status")
    match result:
        case Ok():
            assert said == "ok"
            assert document.get("error_id") is None
            assert 200 <= http_status < 300
        case ApiError():
            assert said == "error"
            assert isinstance(document["error_id"], str)
            assert result.http_status == http_status
        case TransportFailure():
            assert result.disposition is not SENT
            assert result.http_status == http_status
            if result.disposition is NOT_SENT:
                assert 300 <= http_status < 500
                assert said != "ok"
    if 200 <= http_status < 300 and result.disposition is NOT_SENT:
        assert isinstance(result, ApiError)
    # Whatever came, it can be printed and stored.
    str(result).encode()
    repr(result).encode()


@PROPERTY
@given(st.text(), st.text(), http_statuses)
def test_every_error_envelope_is_an_api_error_that_says_what_came(error_id, error_msg, http_status):
    result = decode(http_status, JSON, envelope(error_id, error_msg=error_msg))
    if not error_id:
        assert isinstance(result, TransportFailure)
        return
    assert isinstance(result, ApiError)
    assert result.error_id == error_id.encode("utf-8", "replace").decode()
    assert result.error_msg == error_msg.encode("utf-8", "replace").decode()
