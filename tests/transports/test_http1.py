"""The reader of answers: bytes in, an answer out, and never a byte of the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway360_async.transports._http1 import MAX_HEAD_BYTES, AnswerReader, HttpParserError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n"
BODY = b'{"status":"ok"}'
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ANSWERS = {
    "length": HEAD + BODY,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD + BODY,
    "chunks": CHUNKED + b'8\r\n{"status\r\n7;x=y\r\n":"ok"}\r\n0\r\n\r\n',
    "chunk of line ends": CHUNKED + b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"f\r\n" + BODY + b"\r\n0\r\nx-a: b\r\nretry-after: 9\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "empty": b"HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n",
    "length of a body that begins with a line end": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
}
SURPLUS = [b"\r\n", b"x", b"\n", HEAD + BODY, b"HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n"]
answers = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


def reader(max_bytes: int = 65536) -> AnswerReader:
    made = AnswerReader()
    made.max_bytes = max_bytes
    return made


def body_of(answer: bytes) -> bytes:
    made = reader()
    assert not made.feed(answer)
    return made.body


@answers
def test_answer_in_one_piece_is_complete(answer):
    made = reader()
    assert made.feed(answer) is False
    assert (made.complete, made.reusable) == (True, True)
    assert made.status in (200, 204, 429)


@answers
def test_answer_byte_by_byte_is_the_same(answer):
    made = reader()
    for index in range(len(answer)):
        assert not made.complete
        assert made.feed(answer[index : index + 1]) is False
    assert (made.complete, made.body) == (True, body_of(answer))


@answers
@pytest.mark.parametrize("surplus", SURPLUS, ids=repr)
@given(cut=st.integers(0))
def test_answer_with_surplus_says_so_wherever_it_is_cut(answer, surplus, cut):
    data = answer + surplus
    cut %= len(answer) + 1
    made = reader()
    first = made.feed(data[:cut])
    assert first is False
    assert made.feed(data[cut:]) is True
    assert (made.complete, made.body) == (True, body_of(answer))


@given(data=st.binary(max_size=300), cut=st.integers(0))
def test_bytes_of_any_kind_end_in_an_answer_or_an_error(data, cut):
    """No other exception, and no more of a body than the cap and one byte."""
    made = reader(max_bytes=10)
    try:
        made.feed(HEAD[: cut % len(HEAD)] + data)
        made.end()
    except HttpParserError:
        return
    assert len(made.body) <= 11


def test_reader_after_reset_reads_the_next_answer():
    made = reader()
    for answer in ANSWERS.values():
        made.feed(answer)
        assert made.complete
        made.reset()
        assert (made.complete, made.status, made.headers, made.body) == (False, 0, {}, b"")


def test_trailer_is_no_header():
    made = reader()
    made.feed(ANSWERS["trailers"])
    assert "retry-after" not in made.headers


@pytest.mark.parametrize(
    ("answer", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
    ],
)
def test_connection_is_reusable_by_the_answers_word(answer, reusable):
    made = reader()
    made.feed(answer)
    assert (made.complete, made.reusable) == (True, reusable)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n"])
def test_body_without_length_ends_with_the_connection(head):
    made = reader()
    made.feed(head + BODY)
    made.feed(b" ")
    assert not made.complete
    assert made.end()
    assert (made.body, made.reusable) == (BODY + b" ", False)


@pytest.mark.parametrize(
    "cut", [b"", b"HTTP/1.1 2", HEAD[:-2], HEAD, HEAD + BODY[:-1], CHUNKED + b"f\r\n" + BODY]
)
def test_end_in_the_middle_is_no_answer(cut):
    made = reader()
    made.feed(cut)
    assert not made.end()


@pytest.mark.parametrize(
    "answer", [HEAD + BODY, CHUNKED + b"f\r\n" + BODY, b"HTTP/1.1 200 OK\r\n\r\n" + BODY]
)
def test_body_over_the_cap_is_cut_and_complete(answer):
    made = reader(max_bytes=4)
    made.feed(answer)
    assert (made.complete, made.reusable, made.body) == (True, False, BODY[:5])


@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "in pieces"])
def test_head_over_the_cap_is_an_error(whole):
    def head(size: int) -> bytes:
        start, end = b"HTTP/1.1 200 OK\r\nx: ", b"\r\ncontent-length: 0\r\n\r\n"
        return start + b"x" * (size - len(start) - len(end)) + end

    def feed(data: bytes) -> AnswerReader:
        made = reader()
        for start in range(0, len(data), len(data) if whole else 1000):
            made.feed(data[start : start + (len(data) if whole else 1000)])
        return made

    assert feed(head(MAX_HEAD_BYTES)).complete
    with pytest.raises(HttpParserError, match="102400 bytes"):
        feed(head(MAX_HEAD_BYTES + 1))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",  # line ends that are not HTTP's could hide where the head ends
        b"220 mail.test ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
        b"HTTP/1.1 99 x\r\ncontent-length: 0\r\n\r\n",
        CHUNKED + b"zz\r\n",
    ],
)
def test_answer_that_breaks_the_protocol_is_an_error(answer):
    with pytest.raises(HttpParserError):
        reader().feed(answer)


def test_switched_protocol_is_an_answer_that_ends_http():
    made = reader()
    assert made.feed(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n") is False
    assert (made.complete, made.status, made.reusable) == (True, 101, False)
