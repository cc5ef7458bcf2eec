"""The decoder under fire: whatever comes back, it gives a result that says no more than is known.

The run of the suite is short and always the same. A long one draws anew and is bounded by its number:

    GATEWAY360_FUZZ=200000 pytest tests/test_wire_fuzz.py
"""

import json
import os
import pickle

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway360_async import ApiError, Disposition, ErrorId, FailureKind, Ok, TransportFailure
from gateway360_async._operations import decode
from gateway360_async._retry import parse_retry_after

LONG = int(os.environ.get("GATEWAY360_FUZZ", "0"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
FUZZ = (
    settings(max_examples=LONG, deadline=None, database=None, suppress_health_check=SLOW)
    if LONG
    else settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=SLOW)
)
pytestmark = pytest.mark.timeout(0 if LONG else 60)

# --- Answers -------------------------------------------------------------------------------------

ENVELOPES = [
    b'{"status":"ok"}',
    b'{"status":"error","error_id":"INENVELOPES_NUMBER","error_msg":"HLR query returned error."}',
    b'{"status":"ok","error_id":"BAD_PARAMS"}',  # contradicts itself
    b'{"status":"error","error_id":"UNKNOWN_ERROR","error_msg":null,"n":-1.5e3}',
    b'{"status":"error","error_id":"BRAND_NEW","error_msg":"\\u00e9\\ud83c\\udf55","a":[1,{"b":[]}]}',
    '{"status":"ok","x":"\u00e9\U0001f355"}'.encode(),
    b"\xef\xbb\xbf" + b'{"status":"ok"}',
]
PIECES = [*(bytes([byte]) for byte in b'"\\{}[],:\x00\xff'), b"\xed\xa0\x80", b"NaN", b"ok", b"1e9"]

pieces = st.sampled_from(PIECES + ENVELOPES) | st.binary(max_size=4)
mutations = st.tuples(
    st.sampled_from(["insert", "cut", "overwrite", "repeat", "truncate"]),
    st.integers(0, 90),
    st.integers(1, 12),
    pieces,
)


def mutated(body, changes):
    for how, place, length, piece in changes:
        at = place % (len(body) + 1)
        before, after = body[:at], body[at:]
        match how:
            case "insert":
                body = before + piece + after
            case "cut":
                body = before + after[length:]
            case "overwrite":
                body = before + piece + after[len(piece) :]
            case "repeat":
                body = before + after[:length] * 2 + after[length:]
            case _:
                body = before
    return body


spaces = st.sampled_from(["", "", "", " ", "\n\t", "\x0b", "\u00a0", "\ufeff", "/**/"])
numbers = st.sampled_from(
    "0 -0 1 01 -1 +1 .5 1. 1e999 -1E-999 1e 0x1 1_000 NaN -Infinity Infinity true null nul \u0661 \uff11".split()
) | st.integers(4299, 4302).map(lambda digits: "9" * digits)
escapes = st.sampled_from(r"\" \\ \/ \n \u0000 \ud800 \udc00\ud800 \ud83c\udf55 \u12 \x41 ".split() + ["\\"])
characters = st.sampled_from(
    [*"ok{}[]:,'", "\n", "\x00", "\x1b[31m", "\u202e", "\u00e9", "\U0001f355", "\x7f"]
)
strings = st.lists(characters | escapes, max_size=6).map(lambda parts: f'"{"".join(parts)}"')
keys = (
    st.sampled_from(['"status"', '"error_id"', '"error_msg"', r'"st\u0061tus"', '"x"', "status", '""'])
    | strings
)
values = st.sampled_from(
    ['"ok"', '"error"', '"OK"', '""', '"UNAUTHORIZED"', '"BRAND_NEW"', '"UNKNOWN_ERROR"']
)


def joined(items, opening, closing, space, tail):
    return f"{opening}{space}{f'{space},'.join(items)}{tail}{space}{closing}"


def arrays_and_objects(inner):
    tails = st.sampled_from(["", "", "", ",", ":"])
    members = st.tuples(keys, spaces, values | inner).map(lambda m: f"{m[0]}{m[1]}:{m[2]}")
    return (
        st.builds(joined, st.lists(inner, max_size=4), st.just("["), st.just("]"), spaces, tails)
        | st.builds(joined, st.lists(members, max_size=5), st.just("{"), st.just("}"), spaces, tails)
        | st.builds(lambda depth, text: "[" * depth + text + "]" * depth, st.integers(1, 70), inner)
        | st.builds(lambda depth, text: '{"x":' * depth + text + "}" * depth, st.integers(60, 70), inner)
    )


documents = st.recursive(numbers | strings | values, arrays_and_objects, max_leaves=8)
envelopes = st.builds(joined, st.lists(st.builds("{}:{}".format, keys, values | documents), max_size=5),
                      st.just("{"), st.just("}"), spaces, st.just(""))  # fmt: skip
# Envelopes that say something, with something hostile beside it.
ids = st.just('"UNKNOWN_ERROR"') | st.sampled_from(['"UNAUTHORIZED"', r'"NEW_\ud800"', "null"]) | strings
plausible = st.builds(
    '{{"error_id":{},"status":{},"error_msg":{}}}'.format,
    ids,
    st.just('"error"') | values,
    strings | documents,
)
# Envelopes that are whole, or but for one value or one key.
refusals = st.builds('{{"status":"error","error_id":{}}}'.format, st.just('"BRAND_NEW"') | ids)
flawed = st.builds('{{"x":{},{}:"ok"}}'.format, numbers | st.just("NaN"), keys)
twice = st.builds('{{"status":"ok",{0}:1,{0}:2}}'.format, keys)
bodies = st.one_of(
    refusals.map(lambda text: text.encode("utf-8", "surrogatepass")),
    (flawed | twice).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.builds(mutated, st.sampled_from(ENVELOPES), st.lists(mutations, min_size=1, max_size=5)),
    envelopes.map(lambda text: text.encode("utf-8", "surrogatepass")),
    documents.map(lambda text: text.encode("utf-8", "surrogatepass")),
    plausible.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(mutated, envelopes.map(str.encode), st.lists(mutations, min_size=1, max_size=2)),
    st.integers(4299, 4302).map(lambda digits: b'{"status":"ok","x":' + b"9" * digits + b"}"),
    st.builds(lambda piece, size: (piece * size)[:size], pieces.filter(bool), st.integers(65_000, 66_000)),
)

codings = st.sampled_from(
    ["", " ", "identity", "IDENTITY ", "gzip", "identity, gzip", "br", "x", "\x00", ","]
)
waits = st.sampled_from(["0", "1", "-1", "1e3", "9" * 400, "soon", "Wed, 21 Oct 2099 07:28:00 GMT", "\u0663"])
fields = st.one_of(
    st.tuples(st.sampled_from(["content-encoding", "Content-Encoding", "CONTENT-ENCODING"]), codings),
    st.tuples(st.sampled_from(["retry-after", "Retry-After"]), waits),
    st.tuples(st.text(max_size=17), st.text(max_size=8)),
)
# A dict is what comes from httpx, the other from aiohttp: it knows no case, and has a field as often as it came.
header_maps = st.just({}) | st.builds(
    lambda make, pairs: make(pairs), st.sampled_from([dict, CIMultiDict]), st.lists(fields, max_size=4)
)
http_statuses = st.sampled_from([200, 200, 200, 204, 301, 303, 400, 401, 429, 500, 503]) | st.integers(
    -1, 1000
)

# --- Results ----------------------------------------------------------------------------------


def said_by(body):
    """Read a body by the standard library alone, as tolerantly as that does."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def is_compressed(headers):
    codings = [value for name, value in headers.items() if name.lower() == "content-encoding"]
    return any(part.strip().lower() not in ("", "identity") for value in codings for part in value.split(","))


def judge(http_status, headers, body):
    """Decode, and hold the result against what can be known."""
    retry_after = parse_retry_after(headers.get("retry-after"), now=0.0)
    result = decode(http_status, headers, body, attempts=2, elapsed=0.5, retry_after=retry_after)
    document = said_by(body)
    match result:
        case Ok():
            assert document["status"] == "ok"
            assert document.get("error_id") is None
            assert 200 <= http_status < 300
            assert not is_compressed(headers)
        case ApiError(error_id=error_id):
            assert document["status"] == "error"
            assert document["error_id"].encode("utf-8", "replace").decode() == error_id != ""
            assert not is_compressed(headers)
        case TransportFailure():
            assert result.disposition is not Disposition.SENT
            if result.disposition is Disposition.NOT_SENT:
                assert 300 <= http_status < 500
                assert not is_compressed(headers)
                assert result.kind in (FailureKind.HTTP_STATUS, FailureKind.THROTTLED)
        case _:
            raise AssertionError(result)
    if 200 <= http_status < 300 and result.disposition is Disposition.NOT_SENT:
        assert isinstance(result, ApiError)
    assert (result.attempts, result.elapsed) == (2, 0.5)
    assert pickle.loads(pickle.dumps(result)) == result
    assert str(result).isprintable()  # nothing that a terminal obeys
    assert repr(result).isprintable()
    str(result).encode()
    hash(result)
    return result


@FUZZ
@given(http_statuses, header_maps, bodies)
def test_any_answer_is_a_result_that_says_no_more_than_known(http_status, headers, body):
    judge(http_status, headers, body)


@pytest.mark.parametrize("body", ENVELOPES, ids=ascii)
def test_neighbour_of_an_envelope_says_no_more_than_it(body):
    """Each byte left out, doubled, or replaced, in turn."""
    for at in range(len(body)):
        for piece in (b"", body[at : at + 1] * 2, *PIECES):
            judge(200, {}, body[:at] + piece + body[at + 1 :])


EVERY_RESULT = {
    (Ok, Disposition.SENT, False),
    (ApiError, Disposition.NOT_SENT, True),
    (ApiError, Disposition.NOT_SENT, False),
    (ApiError, Disposition.MAYBE_SENT, True),
    (ApiError, Disposition.MAYBE_SENT, False),
    (TransportFailure, Disposition.NOT_SENT, False),
    (TransportFailure, Disposition.MAYBE_SENT, False),
}
EVERY_REASON = {
    "the body is not JSON",
    "the body is not UTF-8",
    "the body is empty",
    "the body is compressed, although identity was asked for",
    "the body is longer than 65536 bytes",
    "the JSON is not an object",
    "the JSON has a key twice",
    "the JSON holds NaN",
    "the JSON is nested too deeply",
    "the JSON holds an integer with too many digits",
    "there is no envelope",
    "the envelope contradicts itself or the HTTP status",
}


def test_fuzz_reaches_every_kind_of_result():
    """Or it would prove nothing. In rounds, so that it does not hang on how one Hypothesis draws."""
    results, reasons = set(), set()

    def explore(http_status, headers, body):
        result = judge(http_status, headers, body)
        known = isinstance(getattr(result, "error_id", None), ErrorId)
        results.add((type(result), result.disposition, known))
        reasons.add(getattr(result, "detail", "").partition(": ")[2])

    quick = settings(FUZZ, max_examples=300, derandomize=False, database=None)
    for number in range(20):
        seed(number)(quick(given(http_statuses, header_maps, bodies)(explore)))()
        if results >= EVERY_RESULT and reasons >= EVERY_REASON:
            break
    assert results == EVERY_RESULT
    assert reasons >= EVERY_REASON
