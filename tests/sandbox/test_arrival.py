"""What the phone's page says of how a text arrives."""

import pytest

from gateway360_async.sandbox._arrival import arrival


@pytest.mark.parametrize(
    ("text", "segments", "said"),
    [
        ("123456", 1, ("1 segment", "GSM-7, 6 of 160 units")),
        ("x" * 161, 2, ("2 segments", "GSM-7, 161 of 306 units")),
        ("á1234", 1, ("1 segment", "UCS-2, 5 of 70 units", "not in GSM-7: á")),
        ("абвгдежз", 1, ("1 segment", "UCS-2, 8 of 70 units", "not in GSM-7: а б в г д е and 2 more")),
        (
            "x\r\n@a.example #1234",
            1,
            ("1 segment", "GSM-7, 19 of 160 units", "browsers fill it in on a.example"),
        ),
        ("@a.example #1234\nmore", 1, ("1 segment", "GSM-7, 21 of 160 units")),
        ("write @a.example #1234", 1, ("1 segment", "GSM-7, 22 of 160 units")),
    ],
    ids=ascii,
)
def test_arrival_says_segments_alphabet_and_autofill(text, segments, said):
    assert arrival(text) == (segments, said)
