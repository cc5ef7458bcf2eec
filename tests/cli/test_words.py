"""Numbers and texts as people read them."""

from __future__ import annotations

import pytest

from gateway360_async._redaction import printable
from gateway360_async.cli._words import a_second, count, duration, share


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.00042, "0.4 ms"),
        (0.0094, "9.4 ms"),
        (0.0095, "10 ms"),
        (0.0524, "52 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (725, "12 min 5 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (10925, "3 h 2 min"),
        (7_200_000, "2,000 h 0 min"),
    ],
)
def test_duration_is_in_the_unit_that_fits_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 8, "12.5 %"),
        (0, 8, "0.0 %"),
        (8, 8, "100.0 %"),
        (1, 1_000_000, "<0.1 %"),
        (999_999, 1_000_000, ">99.9 %"),
        (0, 0, "-"),
    ],
)
def test_share_is_0_only_of_nothing_and_100_only_of_all(part, whole, text):
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.346, "0.35"), (0.999, "1.0"), (8.14, "8.1"), (9.96, "10"), (1234.4, "1,234")]
)
def test_rate_has_no_digits_that_say_nothing(rate, text):
    assert a_second(rate) == text


def test_count_has_its_thousands_apart():
    assert count(1234567) == "1,234,567"


def test_printable_escapes_what_a_terminal_obeys():
    assert printable("\x1b[2J café \ud800\n") == "\\x1b[2J café \\ud800\\n"
