"""Characters that people type: digits of any script, invisible ones, dashes, and their names."""

import pytest

from gateway360_async._text import (
    ascii_digit,
    ascii_form,
    has_lone_surrogate,
    is_dash,
    is_format,
    is_space,
    name_character,
)


@pytest.mark.parametrize(
    ("ch", "digit"), [("7", "7"), ("\u0667", "7"), ("\uff17", "7"), ("\u096d", "7"), ("\U0001d7d5", "7")]
)
def test_ascii_digit_of_any_script_is_mapped(ch, digit):
    assert ascii_digit(ch) == digit


@pytest.mark.parametrize("ch", ["a", " ", "\u00b2", "\u2466", "\u2166", "\u00bd", "\u4e03", "\ud800"])
def test_ascii_digit_of_no_decimal_is_empty(ch):
    assert ascii_digit(ch) == ""


@pytest.mark.parametrize(
    ("ch", "form"),
    [("\uff21", "A"), ("\uff5a", "z"), ("\uff0b", "+"), ("\uff0d", "-"), ("A", "A"), ("\u0410", "\u0410")],
)
def test_ascii_form_narrows_full_width_alone(ch, form):
    assert ascii_form(ch) == form


def test_is_format_covers_what_phones_and_chats_add():
    marks = [
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x200B,
        0x200E,
        0x200F,
        0xAD,
        0xFE0F,
        0xFEFF,
        0xE0101,
    ]
    assert [hex(mark) for mark in marks if not is_format(chr(mark))] == []
    assert not any(map(is_format, "a1 -+.\n\u00a0\u2010\u0301"))


def test_is_space_covers_unicode_spaces_and_line_ends():
    assert all(map(is_space, " \t\n\r\v\f\x85\u00a0\u1680\u2007\u2009\u202f\u205f\u3000\u2028\u2029"))
    assert not any(map(is_space, "a-\u200b\x1c\x1f\0"))


def test_is_dash_covers_hyphens_dashes_and_minus():
    assert all(map(is_dash, "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe63\uff0d"))
    assert not any(map(is_dash, "a1 _.~\u00ad"))


def test_has_lone_surrogate_tells_halves_from_whole_characters():
    assert has_lone_surrogate("a\ud83c")
    assert not has_lone_surrogate("a\U0001f355")


@pytest.mark.parametrize(
    ("ch", "named"),
    [
        ("\u00b2", "U+00B2 SUPERSCRIPT TWO at position 5"),
        ("\0", "U+0000 at position 5"),
        ("\U0001f355", "U+1F355 SLICE OF PIZZA at position 5"),
    ],
)
def test_name_character_gives_code_point_name_and_position(ch, named):
    assert name_character(ch, 5) == named
