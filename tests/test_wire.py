"""The codec of Request PIN against the vectors, and against answers that are not to be trusted.

`test_wire_fuzz` draws answers at random, `test_wire_bounds` counts what reading them costs.
"""

import json
import sys

import attrs
import cattrs
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from support.cases import each
from support.vector_data import RESPONSES, VALID_REQUESTS, build_body, build_headers, build_request, vector_id

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
from gateway360_async._operations import (
    MAX_ANSWER_BYTES,
    REQUEST_HEADERS,
    REQUEST_PIN,
    VERIFY_PIN,
    PinCheck,
    canonical,
    decode,
    encoder,
)
from gateway360_async._redaction import Secret, SecretBytes

PROPERTY = settings(deadline=None, max_examples=100, derandomize=True)

KEY = "sk-live-9f8e7d6c5b4a"
NUMBER = "34666666111"
SENDER = "GOOD PIZZA"
JSON = {"content-type": "application/json"}
NOT_SENT, MAYBE_SENT = Disposition.NOT_SENT, Disposition.MAYBE_SENT

OK_BODY = b'{"status":"ok"}'
HTML = b"<html>Something</html>"


def encode(request, key=KEY):
    return encoder(Secret(key))(request)


def exact(document):
    """Give a text that tells 1 from true and 1.0, which `==` does not."""
    return json.dumps(document, sort_keys=True)


def envelope(error_id=None, **fields):
    fields = {"status": "error", "error_id": error_id, **fields}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def assert_failure(result, disposition, kind, http_status, reason=""):
    assert isinstance(result, TransportFailure)
    assert (result.disposition, result.kind, result.http_status) == (disposition, kind, http_status)
    assert str(http_status) in result.detail
    assert reason in result.detail
    assert result.cause is None


def assert_unreadable(body, reason="", headers=JSON):
    assert_failure(decode(200, headers, body), MAYBE_SENT, FailureKind.UNREADABLE, 200, reason)


# Encoding


@each("vector", VALID_REQUESTS, ids=vector_id)
def test_request_vector_encodes_to_its_wire_form_and_the_key(vector):
    request = build_request(vector["fields"])
    assert exact(json.loads(encode(request))) == exact({"api_key": KEY, **vector["wire"]})
    assert exact(json.loads(canonical(request))) == exact(vector["wire"])


def test_body_is_compact_ascii_that_does_not_show_itself():
    body = encode(PinRequest(NUMBER, "CAF\u00c9", sms_text="\U0001f355 {PIN}"))
    assert isinstance(body, SecretBytes)
    assert body.isascii()
    assert b'","' in body
    assert b'", ' not in body
    assert KEY not in repr(body)
    assert NUMBER not in repr(body)


@each("key", ['quo"te', "back\\slash", "\u00e9\u00f1", "\U0001f355", "</script>"], ids=ascii)
def test_key_with_special_characters_arrives_as_it_is(key):
    assert json.loads(encode(PinRequest(NUMBER, SENDER), key))["api_key"] == key


def test_hook_on_the_applications_converter_changes_nothing():
    for cls in (PinRequest, PinParams, PinType):
        cattrs.global_converter.register_unstructure_hook(cls, lambda _: "hijacked")
    request = PinRequest(NUMBER, SENDER, pin_params=PinParams())
    assert cattrs.unstructure(request) == "hijacked"
    assert json.loads(encode(request))["pin_params"]["type"] == "numeric"
    assert b"hijacked" not in encode(request)


def test_operations_are_those_of_the_api():
    assert (REQUEST_PIN.name, REQUEST_PIN.path, REQUEST_PIN.repeatable) == (
        "request_pin",
        "/2fa/request",
        True,
    )
    assert (VERIFY_PIN.name, VERIFY_PIN.path, VERIFY_PIN.repeatable) == ("verify_pin", "/2fa/verify", False)
    body = VERIFY_PIN.encoder(Secret(KEY))(PinCheck(NUMBER, Secret("0123")))
    assert isinstance(body, SecretBytes)
    assert json.loads(body) == {"api_key": KEY, "msisdn": NUMBER, "pin": "0123"}
    assert dict(REQUEST_HEADERS) == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


integers = st.integers(0, 2**63 - 1)
params = st.builds(PinParams, st.sampled_from(PinType), st.integers(4, 16), integers, integers)
characters = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\r\n")
texts = st.tuples(st.text(characters, max_size=70), st.text(characters, max_size=70)).map("{PIN}".join)
printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E, include_characters="\u00c9\u00fc")
senders = st.text(printable, min_size=1, max_size=11).filter(str.strip).map(str.strip)
pin_requests = st.builds(
    PinRequest,
    st.builds("{}346{:08}".format, st.sampled_from(["", "+", "00"]), st.integers(0, 10**8 - 1)),
    senders | st.text("0123456789", min_size=1, max_size=15),
    hlr_lookup=st.sampled_from([True, False, 1, 0]),
    sms_text=st.none() | texts.filter(lambda text: text.count("{PIN}") == 1),
    report_url=st.sampled_from([None, "https://example.com/dlr?n=1", "http://[::1]:80/\u00e9"]),
    pin_params=st.none() | params,
)


@PROPERTY
@given(st.lists(pin_requests, min_size=1, max_size=3), st.text(min_size=1, max_size=5), st.data())
def test_body_after_another_is_as_if_it_were_the_only_one(requests, key, data):
    key = key.encode("utf-8", "replace").decode()
    encode_next = encoder(Secret(key))
    for _ in range(6):
        request = data.draw(st.sampled_from(requests))
        request = data.draw(st.just(request) | st.just(attrs.evolve(request, msisdn="34666666112")))
        body = encode_next(request)
        assert body == encode(request, key)
        assert isinstance(body, SecretBytes)


@PROPERTY
@given(pin_requests)
def test_request_arrives_as_it_was_built(request):
    fields = attrs.asdict(request, filter=lambda _, value: value is not None)
    del fields["line_types"]
    expected = {"api_key": KEY, **fields, "hlr_lookup": 1 if request.hlr_lookup else 0}
    assert exact(json.loads(encode(request))) == exact(expected)


# Decoding: the vectors, and the meaning of an envelope


@each("vector", RESPONSES, ids=vector_id)
def test_response_vector_decodes_to_its_expectation(vector):
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


@each("body", [OK_BODY, b' {"status":"ok"}', envelope("BAD_PARAMS"), HTML])
def test_counts_of_the_call_reach_the_result(body):
    result = decode(200, JSON, body, attempts=3, elapsed=1.5, retry_after=7.0)
    assert (result.attempts, result.elapsed) == (3, 1.5)
    assert isinstance(result, Ok) or result.retry_after == 7.0
    result = decode(200, JSON, body)
    assert (result.attempts, result.elapsed) == (1, 0.0)


@each("http_status", [100, 101, 199, *range(200, 310), 400, 401, 404, 429, 500, 503])
def test_ok_is_believed_under_a_2xx_alone(http_status):
    result = decode(http_status, JSON, OK_BODY)
    if 200 <= http_status < 300:
        assert isinstance(result, Ok)
    else:
        assert isinstance(result, TransportFailure)
        assert result.disposition is MAYBE_SENT


@each("http_status", [200, 302, 400, 401, 403, 429, 500, 503, 599])
@each("error_id", [*(error_id.value for error_id in ErrorId), "BRAND_NEW"])
def test_error_id_makes_an_api_error_under_any_status(error_id, http_status):
    result = decode(http_status, JSON, envelope(error_id, error_msg="m"), retry_after=2.0)
    assert result == ApiError(error_id, "m", http_status, retry_after=2.0)
    if error_id == "BRAND_NEW":
        assert type(result.error_id) is str
        assert result.scope is ErrorScope.GATEWAY
    else:
        assert result.error_id is ErrorId(error_id)


CONTRADICTIONS = [
    *(b'{"status":"error"}', b'{"status":"error","error_id":null}', b'{"status":"error","error_id":""}'),
    *(b'{"status":"error","error_id":["BAD_PARAMS"]}', b'{"status":"ok","error_id":"BAD_PARAMS"}'),
    *(b'{"status":"ok","error_id":""}', b'{"status":"ok","error_id":false}', b'{"status":"pending"}'),
    *(b'{"status":""}', b'{"status":"ok "}', b'{"status":"\\ud800"}', b'{"status":"ok\\udfff"}'),
]


@each("body", CONTRADICTIONS)
@each("http_status", [200, 307, 400, 500])
def test_envelope_that_contradicts_itself_may_have_been_sent(http_status, body):
    kind = FailureKind.UNREADABLE if http_status == 200 else FailureKind.HTTP_STATUS
    assert_failure(decode(http_status, JSON, body), MAYBE_SENT, kind, http_status)


@each("body", [b"{}", b'{"message":"Not Found"}', b'{"status":404}', b'{"status":null}'])
@each(("http_status", "disposition"), [(200, MAYBE_SENT), (404, NOT_SENT), (502, MAYBE_SENT)])
def test_object_that_is_no_envelope_means_the_same_as_http(http_status, disposition, body):
    assert decode(http_status, JSON, body).disposition is disposition


@each(
    ("bodies", "disposition"),
    [
        ((b"", b" \r\n", HTML, b"{}", b'"slow down"', *CONTRADICTIONS[:4]), NOT_SENT),
        ((OK_BODY, b'{"status":"queued"}', b'{"status":"error","error_id"'), MAYBE_SENT),
    ],
)
def test_too_many_requests_without_an_id_is_throttled(bodies, disposition):
    for body in bodies:
        result = decode(429, JSON, body, retry_after=2.0)
        assert_failure(result, disposition, FailureKind.THROTTLED, 429)
        assert result.retry_after == 2.0


# Decoding: HTTP without an envelope


@each("body", [b"", b" \n", HTML, b"Moved", b"[]", b"null"])
@each(
    ("statuses", "disposition"),
    [
        ((200, 201, 204, 206, 100, 101, 300, 303, 304, 305, 306), MAYBE_SENT),
        ((301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 407, 408, 411, 413, 415, 422, 499), NOT_SENT),
        ((500, 501, 502, 503, 504, 520, 599, 600, 999, 0), MAYBE_SENT),
    ],
)
def test_http_alone_says_not_sent_where_it_refuses(statuses, disposition, body):
    for http_status in statuses:
        kind = FailureKind.UNREADABLE if 200 <= http_status < 300 else FailureKind.HTTP_STATUS
        assert_failure(decode(http_status, {}, body), disposition, kind, http_status)


BROKEN = [
    *(b'{"status":"err', b'\r\n\t {"status":"error","error_id":"UNKN', b"{", b"{not json}"),
    *(b'{"status":"error","status":"ok"}', b'{"status":"ok","n":NaN}'),
    *(b'{"status":"error","error_msg":"\xff"}', b'{"status":"ok","deep":' + b"[" * 100),
    b'{"status":"ok","pad":"' + b"x" * MAX_ANSWER_BYTES + b'"}',
]


@each("http_status", [302, 400, 401, 404])
@each("body", BROKEN, ids=lambda body: ascii(body[:40]))
def test_broken_object_under_a_4xx_may_have_been_sent(http_status, body):
    assert_failure(decode(http_status, JSON, body), MAYBE_SENT, FailureKind.HTTP_STATUS, http_status)


# Decoding: the answer is not trusted


@each("name", ["content-encoding", "Content-Encoding", "CONTENT-ENCODING"])
@each("value", ["gzip", "GZIP", "br", "identity, gzip", "x"])
def test_compressed_answer_is_not_read(name, value):
    # The second is what the fast path for the published answer would take.
    assert_unreadable(b"\x1f\x8b\x08\x00", "compressed", {name: value})
    assert_unreadable(OK_BODY, "compressed", {"a": "b", name: value})


@each("lines", [["identity", "gzip"], ["gzip", "identity"], ["", "br"]], ids=str)
def test_compression_is_found_on_any_line_of_a_field(lines):
    # A compressed body may say anything: a 404 does not make it a refusal.
    several = CIMultiDict(("Content-Encoding", value) for value in lines)
    for headers in (several, {"content-encoding": ", ".join(lines)}):
        result = decode(404, headers, b"\x1f\x8b\x08\x00")
        assert_failure(result, MAYBE_SENT, FailureKind.HTTP_STATUS, 404, "compressed")


@each("value", ["identity", "Identity", " identity ", "", "identity, identity"])
@each("body", [OK_BODY, b'{ "status": "ok" }'])
def test_identity_is_no_compression(value, body):
    assert isinstance(decode(200, {"Content-Encoding": value}, body), Ok)


def padded(size):
    body = build_body(f"@pad:{size - len(build_body('@pad:0'))}")
    assert len(body) == size
    return body


def nested(depth, opening=b"[", closing=b"]", beside=b"0"):
    """Make an `ok` whose JSON is nested that deep, the outermost object counted."""
    deep = opening * (depth - 1) + b"1" + closing * (depth - 1)
    return b'{"status":"ok","x":' + deep + b',"y":' + beside + b"}"


def said(inner):
    return f'{{"status":"ok","x":{inner}}}'.encode()


STRINGS = ["[" * 100, "{" * 100, '\\"' + "[" * 100, "\\\\", '\\\\\\"' + "[{" * 50, "]" * 100]
ESCAPED = b'{"status":"ok","x":"\\\\","y":'  # a string that ends, before whatever stands behind it


@each(
    "body",
    [
        *(padded(MAX_ANSWER_BYTES), nested(64), nested(64, b'{"a":', b"}"), nested(64, beside=b"[{},[]]")),
        *(said(f'"{text}"') for text in STRINGS),
        *map(said, ["1e999", "-0", "1E+2", "0.1e-5", "9" * 400 + ".0", "9" * 4300]),
        b'{"status":"ok","x":[' + b"[],{}," * 100 + b"[]]}",
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_json_within_the_bounds_is_read(body):
    assert isinstance(decode(200, JSON, body), Ok)


@each(
    ("body", "reason"),
    [
        *((padded(MAX_ANSWER_BYTES + 1), "longer than"), (OK_BODY + b" " * MAX_ANSWER_BYTES, "longer than")),
        *((nested(65, *pair), "deep") for pair in ((), (b'{"a":', b"}"), (b"[", b"]", b"[{},[]]"))),
        (ESCAPED + b"[" * 64 + b"]" * 64 + b"}", "deep"),
        *((build_body(f"@deep:{depth}"), "") for depth in (65, 60000, 65536, 100000)),
        # A scan that starts anew at every quote takes minutes here: then pytest-timeout ends it.
        *((b"[" * 70 + b'"' + piece, "") for piece in (b'\\"' * 30_000, b'"' * 60_000, b"\\" * 60_001)),
        *((b"[" * 70 + b'"a\\' * 20_000, ""), (b'{"a":"' + b'\\"' * 30_000 + b"[" * 70, "")),
        (b'{"a":"' + b"[" * 70 + b"\\u" * 30_000, ""),
        *((OK_BODY.decode().encode(encoding), "") for encoding in ("utf-16", "utf-16-le", "utf-32")),
        *((b"\xef\xbb\xbf" + OK_BODY, "not JSON"), (b'{"status":"ok","x":"\xe9"}', "not UTF-8")),
        *((b'{"status":"ok","x":"' + text + b'"}', "not UTF-8") for text in (b"\xed\xa0\x80", b"\xc0\x80")),
        *((OK_BODY + rest, "not JSON") for rest in (OK_BODY, b",", b"\x00", b"//")),
        *((before + OK_BODY, "not JSON") for before in (b"\x0b", b")]}',\n")),
        *((said(number), "not JSON") for number in ("01", ".5", "+1", "0x1", '"\n"', '"\\x41"', "tru")),
        *((said(number), "holds ") for number in ("NaN", "Infinity", "[-Infinity]")),
        *((body, "not JSON") for body in (b"{'status':'ok'}", b'{status:"ok"}', b'{"status":"ok",}')),
        *((b'{"status":"ok","status":"ok"}', "twice"), (b'{"status":"ok","st\\u0061tus":"error"}', "twice")),
        *((said('{"y":1,"y":1}'), "twice"),),
        *((b"true", "not an object"), (b'["status","ok"]', "not an object")),
        *((b'[{"status":"ok"}]', "not an object"), (b'"{\\"status\\":\\"ok\\"}"', "not an object")),
        *((build_body(f"@hugeint:{digits}"), "too many digits") for digits in (4301, 60000)),
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_json_that_two_parsers_could_read_in_two_ways_is_not(body, reason):
    assert_unreadable(body, reason)
    assert decode(500, JSON, body).disposition is MAYBE_SENT


def test_integer_is_bounded_whatever_the_applications_limit():
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(0)
        assert isinstance(decode(200, JSON, build_body("@hugeint:4300")), Ok)
        assert_unreadable(build_body("@hugeint:4301"), "too many digits")
        sys.set_int_max_str_digits(640)
        assert_unreadable(build_body("@hugeint:641"), "not JSON")
    finally:
        sys.set_int_max_str_digits(before)


@each("escape", ["\\ud800", "\\udfff", "\\ude00\\ud83d"])
def test_lone_surrogate_becomes_a_text_that_can_be_printed(escape):
    text = f"a{escape}b"
    result = decode(400, JSON, f'{{"status":"error","error_id":"{text}","error_msg":"{text}"}}'.encode())
    for said in (result.error_id, result.error_msg):
        assert said.startswith("a?")
        assert said.endswith("?b")
    str(result).encode()


def test_escaped_pair_is_the_character_that_it_stands_for():
    result = decode(400, JSON, b'{"status":"error","error_id":"X","error_msg":"\\ud83c\\udf55"}')
    assert result.error_msg == "\U0001f355"


@each("error_msg", [b"5", b"null", b"true", b'["m"]', b'{"a":1}'])
def test_message_of_another_type_is_no_message(error_msg):
    result = decode(400, JSON, b'{"status":"error","error_id":"BAD_PARAMS","error_msg":' + error_msg + b"}")
    assert isinstance(result, ApiError)
    assert result.error_msg is None


@each("http_status", [200, 404, 429, 500])
@each(
    "body",
    [
        *(b"<html>m4rker</html>", b'{"m4rker', b'{"m4rker":1,"m4rker":2}', b'{"status":"m4rker"}'),
        *(b'{"status":"ok","error_id":"m4rker"}', b'"m4rker"', b"\xffm4rker"),
        b'{"m4rker":"' + b"x" * 70_000 + b'"}',
    ],
    ids=lambda body: ascii(body[:30]),
)
def test_text_of_a_failure_holds_nothing_of_the_answer(http_status, body):
    result = decode(http_status, {"server": "m4rker"}, body)
    assert isinstance(result, TransportFailure)
    assert "m4rker" not in f"{result} {result!r}"
