"""Characters that people type: digits of any script, invisible ones, dashes, and their names."""

from support.cases import each

from gateway360_async._numbers._characters import (
    ascii_digit,
    ascii_form,
    has_lone_surrogate,
    is_dash,
    is_format,
    is_space,
    name_character,
)

DIRECTIONS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F]


def test_ascii_digit_of_any_script_is_mapped():
    assert {ascii_digit(ch) for ch in "7\u0667\uff17\u096d\U0001d7d5"} == {"7"}
    assert {ascii_digit(ch) for ch in "a \u00b2\u2466\u2166\u00bd\u4e03\ud800"} == {""}


def test_ascii_form_narrows_full_width_alone():
    assert "".join(map(ascii_form, "\uff21\uff5a\uff0b\uff0dA\u0410")) == "Az+-A\u0410"


@each(
    ("kind", "members", "others"),
    [
        (
            is_format,
            [*map(chr, DIRECTIONS), *"\u200b\xad\ufe0f\ufeff\U000e0101"],
            "a1 -+.\n\u00a0\u2010\u0301",
        ),
        (
            is_space,
            " \t\n\r\v\f\x85\u00a0\u1680\u2007\u2009\u202f\u205f\u3000\u2028\u2029",
            "a-\u200b\x1c\x1f\0",
        ),
        (is_dash, "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe63\uff0d", "a1 _.~\u00ad"),
        (has_lone_surrogate, ["a\ud83c", "\udfff"], ["a\U0001f355", ""]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_kind_of_character_has_its_members_and_no_others(kind, members, others):
    assert [ascii(ch) for ch in members if not kind(ch)] == []
    assert [ascii(ch) for ch in others if kind(ch)] == []


def test_name_character_gives_code_point_name_and_position():
    assert name_character("\u00b2", 5) == "U+00B2 SUPERSCRIPT TWO at position 5"
    assert name_character("\0", 5) == "U+0000 at position 5"
    assert name_character("\U0001f355", 5) == "U+1F355 SLICE OF PIZZA at position 5"
