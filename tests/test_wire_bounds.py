"""The decoder's work and memory are bounded by the answer's length, for the worst that 64 KiB can hold.

Neither is measured by a clock: memory by `tracemalloc`, Python's steps by counting its trace events, and the
one scan that runs inside a regular expression by the property that makes it linear.
"""

import gc
import itertools
import random
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import each

from gateway360_async._operations import MAX_ANSWER_BYTES, decode
from gateway360_async._operations._json import _BRACKET

PROPERTY = settings(deadline=None, max_examples=300, derandomize=True)


def filled(piece, size):
    return (piece * (size // len(piece) + 1))[:size]


def listed(item):
    """Make an envelope that holds one item as often as there is room."""

    def build(size):
        head, tail = b'{"status":"ok","x":[', b"0]}"
        return head + (item + b",") * ((size - len(head) - len(tail)) // (len(item) + 1)) + tail

    return build


def distinct(size):
    """Make an envelope of as many different keys as there is room for."""
    keys = (b'"%x":{},' % number for number in itertools.count())
    body = b""
    while len(body) < size - 20:
        body += next(keys)
    return b"{" + body[:-1] + b"}"


def noise(size):
    return random.Random(360).randbytes(size)


HOSTILE = {
    "quotes": lambda size: filled(b'"', size),
    "brackets": lambda size: filled(b"[", size),
    "pairs of brackets": lambda size: filled(b"[]", size),
    "braces": lambda size: filled(b"{", size),
    "digits": lambda size: filled(b"9", size),
    "a fraction": lambda size: b"0." + filled(b"9", size - 2),
    "an exponent": lambda size: b"1e" + filled(b"9", size - 2),
    "backslashes": lambda size: filled(b"\\", size),
    "escaped quotes": lambda size: filled(b'\\"', size),
    "a string of escapes": lambda size: b'"' + filled(rb"\u00e9", size - 2 - (size - 2) % 6) + b'"',
    "surrogates": lambda size: b'"' + filled(rb"\ud800", size - 2 - (size - 2) % 6) + b'"',
    "white space": lambda size: filled(b" \n", size),
    "nulls": bytes,
    "not UTF-8": lambda size: filled(b"\xff", size),
    "noise": noise,
    "one wide character": lambda size: b'{"x":"' + "\U0001f355".encode() + filled(b"a", size - 12) + b'"}',
    "empty arrays": listed(b"[]"),
    "empty objects": listed(b"{}"),
    "objects": listed(b'{"a":{}}'),
    "nested objects": listed(b'{"":{"":{"":{"":{}}}}}'),
    "nested arrays": listed(b"[[[[[[[[]]]]]]]]"),
    "small numbers": listed(b"0"),
    "fractions": listed(b"1.5"),
    "long integers": listed(b"9" * 4300),
    "empty strings": listed(b'""'),
    "strings": listed(b'"ab"'),
    "many keys": distinct,
    "one key often": lambda size: b"{" + b'"a":0,' * ((size - 8) // 6) + b'"b":0}',
    "a list that is cut off": lambda size: listed(b"{}")(size)[:-1],
}
hostile = each("build", HOSTILE.values(), ids=list(HOSTILE))


def sized(build, size):
    """Build a body and, where that matters, show that it is as long as it claims."""
    body = build(size)
    assert size - 4400 < len(body) <= size
    return body


@pytest.mark.parametrize("http_status", [200, 404])
@hostile
def test_memory_of_a_hostile_answer_is_a_small_multiple(build, http_status):
    body = sized(build, MAX_ANSWER_BYTES)
    decode(200, {}, b'{"status":"error"}')  # what is imported and built once does not count
    tracemalloc.start()
    try:
        decode(http_status, {}, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # An array in an array is two characters in an answer, and 88 bytes in Python: that is the worst there is.
    assert peak < 64 * len(body)


def steps(body):
    """Count what Python does: each line, call and return, and each call of a function in C.

    Not what the garbage collector's callbacks do (hypothesis has one) nor the finalizers of other tests' remains:
    when a collection runs depends on everything that ran before, so none runs here.
    """
    count = 0

    def line(frame, event, arg):
        nonlocal count
        count += 1
        return line

    def call(frame, event, arg):
        nonlocal count
        count += 1

    before = sys.gettrace(), sys.getprofile()
    collected = gc.isenabled()
    gc.disable()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        decode(200, {}, body)
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
        if collected:
            gc.enable()
    return count


@hostile
def test_steps_of_a_hostile_answer_grow_no_faster_than_it(build):
    decode(200, {}, b'{"status":"error"}')
    half, whole = (steps(sized(build, size)) for size in (MAX_ANSWER_BYTES // 2, MAX_ANSWER_BYTES))
    assert whole <= 2 * half + 200
    assert whole < 8 * MAX_ANSWER_BYTES


@PROPERTY
@given(st.text('"\\[]{}a\n\U0001f355', max_size=40))
def test_scan_for_brackets_never_reads_a_character_twice(text):
    """When a scan begins to read a string, it has a match: it never comes back to look for another.

    A match that could fail after reading on would make the scan quadratic, inside one call of a C function,
    where no trace event would show it.
    """
    assert _BRACKET.match(f'"{text}') is not None
    end = 0
    for match in _BRACKET.finditer(text):
        # The text between two matches was given up at its first character: none of them can begin a match.
        assert not set(text[end : match.start()]) & set('"[]{}')
        end = match.end()


def test_answer_that_is_too_long_is_not_even_looked_at():
    long = filled(b"{}", 10 * MAX_ANSWER_BYTES)
    assert steps(long) == steps(filled(b"{}", MAX_ANSWER_BYTES + 1))
